package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"time"

	"sluice/cmd/sluice/snclient"
	"sluice/codec"
	sncodec "sluice/codec/sn"
)

// snSub subscribes over MQTT-SN and prints what comes.
func (c *command) snSub(ctx context.Context) error {
	var to snTarget
	f := c.flags("sn")
	to.flags(f)
	s := snSubscriber{out: bufio.NewWriter(c.stdout), enough: make(chan struct{})}
	topicFlags(f, &s.topics, codec.ValidFilter)
	var qos qosFlag
	wait := secondsFlag(0)
	f.Var(&qos, "q", "")
	f.Func("C", "", countFlag(&s.count))
	f.Var(&wait, "W", "")
	f.Var(&s.sleep, "sleep", "")
	f.BoolVar(&s.named, "v", false, "")
	f.BoolVar(&s.json, "json", false, "")
	lasts := f.Bool("c", false, "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	s.qos = int8(qos)
	switch {
	case len(s.topics) == 0:
		return usage("name a topic: -t, -short or -predefined")
	case *lasts && !isSet(f, "i"):
		return usage("a session that lasts belongs to a client identifier: -c needs -i")
	case s.sleep != 0 && (s.sleep < secondsFlag(time.Second) || s.sleep > secondsFlag(65535*time.Second)):
		return usage("-sleep is from 1 to 65535 seconds")
	}
	config, err := to.config()
	if err != nil {
		return err
	}
	config.CleanSession, config.Take = !*lasts, s.take
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(wait), errTimeIsUp)
		defer cancel()
	}
	for {
		err = s.once(ctx, &to, config)
		if !*lasts || s.sleep == 0 || err != snclient.ErrSilent {
			if err = to.late(err); err == errEnough {
				return nil
			}
			return ended(ctx, err, s.printed, s.count)
		}
		// A gateway that started again knows the session, but not its DTLS.
	}
}

// once is one connection. An error of connecting is never ErrSilent as such.
func (s *snSubscriber) once(ctx context.Context, to *snTarget, config snclient.Config) error {
	client, err := to.connect(ctx, config)
	if err != nil {
		return err
	}
	defer client.Disconnect()
	return s.run(ctx, client)
}

// snSubscriber prints messages.
type snSubscriber struct {
	topics      []snclient.Topic
	qos         int8
	count       uint64      // of messages to print, 0: no end
	sleep       secondsFlag // from one flush to the next, 0: stays awake
	named, json bool        // how to print them

	printed uint64
	enough  chan struct{} // closed when so many are printed
	out     *bufio.Writer
}

var errEnough = errors.New("as many messages as asked for")

func (s *snSubscriber) run(ctx context.Context, c *snclient.Client) error {
	for _, topic := range s.topics {
		if err := c.Subscribe(ctx, topic, s.qos); err != nil {
			return err
		}
	}
	if s.sleep == 0 {
		_, _, err := snclient.Await(ctx, c, s.enough)
		return err
	}
	for {
		if err := s.rest(ctx, c); err != nil {
			return err
		}
		if err := c.Wake(ctx); err != nil {
			return err
		}
		select {
		case <-s.enough:
			return nil
		default:
		}
	}
}

// rest sleeps. It wakes early, while there is still time to ask more than once.
func (s *snSubscriber) rest(ctx context.Context, c *snclient.Client) error {
	sleep := time.Duration(s.sleep)
	if err := c.Sleep(ctx, sleep); err != nil {
		return err
	}
	alarm := time.NewTimer(sleep * 3 / 4)
	defer alarm.Stop()
	_, _, err := snclient.Await(ctx, c, alarm.C)
	return err
}

// take prints a message, before it is acknowledged.
func (s *snSubscriber) take(m *snclient.Message) error {
	if s.count > 0 && s.printed == s.count {
		return errEnough // not acknowledged: it may come to another run
	}
	if err := s.print(m); err != nil {
		return err
	}
	if s.printed++; s.printed == s.count {
		close(s.enough)
	}
	return s.out.Flush()
}

func (s *snSubscriber) print(m *snclient.Message) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(describeSN(m))
	}
	if s.named {
		s.out.WriteString(m.Topic.String())
		s.out.WriteByte(' ')
	}
	s.out.Write(m.Data)
	return s.out.WriteByte('\n')
}

// snMessage is a line of sluice sn sub -json: as those of sluice sub, but that of a
// predefined topic only the number is known.
type snMessage struct {
	*message
	PredefinedID uint16 `json:"predefined_id,omitempty"`
}

func describeSN(m *snclient.Message) snMessage {
	p := codec.Publish{Message: codec.Message{QoS: byte(max(m.QoS, 0)), Retain: m.Retain, Payload: m.Data}}
	if m.Topic.Type != sncodec.PredefinedTopic {
		p.Topic = []byte(m.Topic.Name)
	}
	return snMessage{describeMessage(&p), m.Topic.ID}
}
