package main

import (
	"context"
	"errors"
	"iter"

	"sluice/cmd/sluice/snclient"
	"sluice/codec"
)

// snPub publishes over MQTT-SN, one message after the other.
func (c *command) snPub(ctx context.Context) error {
	var to snTarget
	f := c.flags("sn")
	to.flags(f)
	var topics []snclient.Topic
	topicFlags(f, &topics, codec.ValidTopic)
	m := snclient.Message{}
	f.Var((*snQoSFlag)(&m.QoS), "q", "")
	f.BoolVar(&m.Retain, "r", false, "")
	text := f.String("m", "", "")
	file := f.String("f", "", "")
	f.Bool("s", false, "")
	f.Bool("l", false, "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	if len(topics) != 1 {
		return usage("name one topic: -t, -short or -predefined")
	}
	m.Topic = topics[0]
	if m.QoS < 0 && m.Topic.Type == 0 {
		return usage("at QoS -1 nobody agrees on a topic id: give -short or -predefined")
	}
	payloads, err := c.payloads(f, *text, *file)
	if err != nil {
		return err
	}
	return to.publishAll(ctx, m, payloads)
}

func (t *snTarget) publishAll(ctx context.Context, m snclient.Message, payloads iter.Seq[payload]) error {
	config, err := t.config()
	if err != nil {
		return err
	}
	config.CleanSession = true
	reach := t.connect
	if m.QoS < 0 {
		config.KeepAlive = 0 // of no connection
		reach = t.open
	}
	c, err := reach(ctx, config)
	if err != nil {
		return interrupted(ctx, err)
	}
	if m.QoS < 0 {
		defer c.Close()
	} else {
		defer c.Disconnect()
	}
	return interrupted(ctx, t.late(publishEach(ctx, c, m, payloads)))
}

// publishEach publishes until there is nothing more to read. At QoS 0 an answered ping
// shows that the gateway had it all.
func publishEach(ctx context.Context, c *snclient.Client, m snclient.Message, payloads iter.Seq[payload]) error {
	done := make(chan struct{})
	defer close(done)
	next := readAhead(payloads, done)
	for {
		one, more, err := snclient.Await(ctx, c, next)
		switch {
		case err != nil:
			return err
		case one.err != nil:
			return one.err
		case more:
			m.Data = one.bytes
			if err := c.Publish(ctx, &m); err != nil {
				return err
			}
		case m.QoS == 0:
			return errors.Join(c.Ping(ctx), c.Refused())
		default:
			return nil
		}
	}
}

// interrupted says so, if err came of it.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// snQoSFlag is a quality of service of MQTT-SN.
type snQoSFlag int8

func (q *snQoSFlag) Set(text string) error {
	if text == "-1" {
		*q = -1
		return nil
	}
	var above qosFlag
	if above.Set(text) != nil {
		return errors.New("a quality of service is -1, 0, 1 or 2")
	}
	*q = snQoSFlag(above)
	return nil
}

func (q *snQoSFlag) String() string { return "" }
