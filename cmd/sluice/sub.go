package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/codec"
)

// sub subscribes and prints what comes, until interrupted, or as many messages
// or for as long as asked.
func (c *command) sub(ctx context.Context) error {
	var to target
	f := c.flags("sub")
	if err := to.flags(f, c.environ); err != nil {
		return err
	}
	s := subscriber{held: make(map[uint16]bool), out: bufio.NewWriter(c.stdout)}
	var filters listFlag
	var qos qosFlag
	wait := secondsFlag(0)
	f.Var(&filters, "t", "")
	f.Var(&qos, "q", "")
	f.Func("C", "", countFlag(&s.count))
	f.Var(&wait, "W", "")
	f.BoolVar(&s.topics, "v", false, "")
	f.BoolVar(&s.json, "json", false, "")
	f.BoolVar(&s.session, "c", false, "")
	retained := f.String("retained", "always", "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	handling, ok := map[string]byte{"always": 0, "new": 1, "never": 2}[*retained]
	v5 := codec.Version(to.version) == codec.V5
	switch {
	case !ok:
		return usage("-retained is always, new or never")
	case handling != 0 && !v5:
		return usage("-retained is of MQTT 5")
	case len(filters) == 0:
		return usage("name a topic filter: -t")
	case s.session && (!isSet(f, "i") || to.clientID == ""): // [MQTT-3.1.3-7] of 3.1.1
		return usage("a session that lasts belongs to a client identifier: -c needs -i")
	}
	for _, filter := range filters {
		if err := codec.ValidFilter([]byte(filter)); err != nil {
			return usage("-t %s: %s", filter, err.Text)
		}
		one := codec.Subscription{Filter: []byte(filter), QoS: byte(qos)}
		if v5 {
			one.RetainHandling, one.RetainAsPublished = handling, true
		}
		s.subscriptions = append(s.subscriptions, one)
	}
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(wait), errTimeIsUp)
		defer cancel()
	}
	return s.run(ctx, &to)
}

var errTimeIsUp = errors.New("the time is up")

// subscriber prints messages.
type subscriber struct {
	client        *client
	subscriptions []codec.Subscription
	count         uint64 // of messages to print, 0: no end
	topics, json  bool   // how to print them
	session       bool   // is to last

	printed uint64
	held    map[uint16]bool // QoS 2 messages that are printed and not released
	out     *bufio.Writer
	acks    []byte // of what is printed but perhaps still in out
}

func (s *subscriber) run(ctx context.Context, to *target) error {
	connect := codec.Connect{CleanStart: !s.session}
	if s.session {
		connect.SessionExpiry = math.MaxUint32
	}
	var err error
	if s.client, err = to.connect(ctx, &connect); err != nil {
		return err
	}
	defer s.client.disconnect()
	stop := context.AfterFunc(ctx, s.client.disconnect)
	defer stop()
	if err := s.subscribe(); err != nil {
		return err
	}
	return ended(ctx, s.receive(), s.printed, s.count)
}

// ended is what a run comes to that ended with err and was to print count messages, 0 for
// no end.
func ended(ctx context.Context, err error, printed, count uint64) error {
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case count == 0:
		return nil
	case context.Cause(ctx) == errTimeIsUp:
		return &failure{exitTimeout, fmt.Errorf("%d of %d messages came within the time", printed, count)}
	}
	return errInterrupted
}

// subscribeID is the packet identifier of the one SUBSCRIBE.
const subscribeID = 1

func (s *subscriber) subscribe() error {
	c := s.client
	for i := range s.subscriptions {
		filter := s.subscriptions[i].Filter
		_, inner, shared := codec.SplitShare(filter)
		if !shared {
			inner = filter
		}
		switch {
		case shared && c.noShared:
			return fmt.Errorf("the server has no shared subscriptions: %s", filter)
		case c.noWildcard && codec.HasWildcard(inner):
			return fmt.Errorf("the server takes no wildcards: %s", filter)
		}
	}
	p := codec.Subscribe{ID: subscribeID, Subscriptions: s.subscriptions}
	b := p.Append(nil, c.version)
	if len(b) > int(c.maximumPacketSize) { // [MQTT-3.2.2-15]
		return fmt.Errorf("the topic filters make a packet of %d bytes, and the server takes %d", len(b), c.maximumPacketSize)
	}
	return c.sendBytes(b)
}

// receive prints until there are enough messages or the connection ends.
func (s *subscriber) receive() error {
	for {
		p, err := s.client.decode()
		if err == nil && p != nil {
			err = s.take(p)
		}
		enough := s.count > 0 && s.printed == s.count
		if p == nil || err != nil || enough {
			if ferr := s.flush(); err == nil {
				err = ferr
			}
		}
		switch {
		case err != nil || enough:
			return err
		case p == nil:
			if err := s.client.fill(); err != nil {
				return fmt.Errorf("connection lost: %w", err)
			}
		}
	}
}

func (s *subscriber) take(p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Suback:
		for i, code := range p.Codes {
			if p.ID == subscribeID && code >= 0x80 && i < len(s.subscriptions) {
				return refused("to subscribe to "+string(s.subscriptions[i].Filter), code, p.ReasonString)
			}
		}
	case *codec.Publish:
		return s.takeMessage(p)
	case *codec.Pubrel:
		answer := codec.Pubcomp{ID: p.ID}
		if !s.held[p.ID] {
			answer.Code = codec.PacketIdentifierNotFound
		}
		delete(s.held, p.ID)
		s.acks = answer.Append(s.acks, s.client.version)
	}
	return nil
}

func (s *subscriber) takeMessage(p *codec.Publish) error {
	again := p.QoS == 2 && s.held[p.ID] // [MQTT-4.3.3-10]
	switch v := s.client.version; p.QoS {
	case 1:
		s.acks = (&codec.Puback{ID: p.ID}).Append(s.acks, v)
	case 2:
		s.held[p.ID] = true
		s.acks = (&codec.Pubrec{ID: p.ID}).Append(s.acks, v)
	}
	if again {
		return nil
	}
	s.printed++
	return s.print(p)
}

// flush writes what is printed, and only then acknowledges it.
func (s *subscriber) flush() error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	if len(s.acks) == 0 {
		return nil
	}
	acks := s.acks
	s.acks = s.acks[:0]
	return s.client.sendBytes(acks)
}

func (s *subscriber) print(p *codec.Publish) error {
	if s.json {
		return json.NewEncoder(s.out).Encode(describeMessage(p))
	}
	if s.topics {
		s.out.Write(p.Topic)
		s.out.WriteByte(' ')
	}
	s.out.Write(p.Payload)
	return s.out.WriteByte('\n')
}

// message is a line of sluice sub -json.
type message struct {
	Topic           string      `json:"topic"`
	QoS             byte        `json:"qos"`
	Retain          bool        `json:"retain"`
	Payload         *string     `json:"payload,omitempty"`        // if it is UTF-8
	PayloadBase64   []byte      `json:"payload_base64,omitempty"` // if it is not
	MessageExpiry   *uint32     `json:"message_expiry,omitempty"` // seconds
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData []byte      `json:"correlation_data,omitempty"` // Base64
	User            [][2]string `json:"user,omitempty"`
}

func describeMessage(p *codec.Publish) *message {
	m := &message{
		Topic:           string(p.Topic),
		QoS:             p.QoS,
		Retain:          p.Retain,
		ContentType:     string(p.ContentType),
		ResponseTopic:   string(p.ResponseTopic),
		CorrelationData: p.CorrelationData,
	}
	if utf8.Valid(p.Payload) {
		text := string(p.Payload)
		m.Payload = &text
	} else {
		m.PayloadBase64 = p.Payload
	}
	if p.HasMessageExpiry {
		m.MessageExpiry = &p.MessageExpiry
	}
	for _, u := range p.User {
		m.User = append(m.User, [2]string{string(u.Name), string(u.Value)})
	}
	return m
}

// listFlag collects the values of a flag that may be repeated.
type listFlag []string

func (l *listFlag) Set(text string) error {
	*l = append(*l, text)
	return nil
}

func (l *listFlag) String() string { return strings.Join(*l, " ") }
