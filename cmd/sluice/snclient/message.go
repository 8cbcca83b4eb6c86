package snclient

import (
	"context"
	"time"

	"sluice/codec/sn"
)

// Message is an application message.
type Message struct {
	Topic  Topic
	QoS    int8 // -1 to 2
	Retain bool
	Data   []byte
}

// Publish publishes m, and returns when the gateway has acknowledged it: at QoS 1
// and 2. At QoS -1 there need be no connection, and m's topic is not a normal one.
func (c *Client) Publish(ctx context.Context, m *Message) error {
	for first := true; ; first = false {
		topic, err := c.idOf(ctx, m.Topic)
		if err != nil {
			return err
		}
		p := &sn.Publish{QoS: m.QoS, Retain: m.Retain, TopicIDType: m.Topic.Type, TopicID: topic, Data: m.Data}
		if m.QoS <= 0 {
			return c.send(p)
		}
		p.MessageID = c.nextID()
		code, err := c.publish(ctx, p)
		switch {
		case err != nil:
			return err
		case code == sn.Accepted:
			return nil
		case code != sn.InvalidTopicID || m.Topic.Type != sn.NormalTopic || !first:
			return refusal("the message", code)
		}
		delete(c.ids, m.Topic.Name) // the gateway forgot it
	}
}

// publish brings p, at QoS 1 or 2, through all its steps.
func (c *Client) publish(ctx context.Context, p *sn.Publish) (sn.ReturnCode, error) {
	answer, err := c.ask(ctx, func(again bool) sn.Message {
		p.Dup = again
		return p
	}, func(m sn.Message) bool {
		switch m := m.(type) {
		case *sn.Puback:
			return m.MessageID == p.MessageID
		case *sn.Pubrec:
			return m.MessageID == p.MessageID && p.QoS == 2
		}
		return false
	})
	if err != nil {
		return 0, err
	}
	if ack, ok := answer.(*sn.Puback); ok {
		return ack.Code, nil
	}
	_, err = c.ask(ctx, same(&sn.Pubrel{MessageID: p.MessageID}), func(m sn.Message) bool {
		done, ok := m.(*sn.Pubcomp)
		return ok && done.MessageID == p.MessageID
	})
	return sn.Accepted, err
}

// takePublish hands a message over, once if it is at QoS 2, and acknowledges it.
func (c *Client) takePublish(p *sn.Publish) error {
	topic, known := c.topicOf(p)
	if !known {
		return c.send(&sn.Puback{TopicID: p.TopicID, MessageID: p.MessageID, Code: sn.InvalidTopicID})
	}
	again := p.QoS == 2 && c.has(p.MessageID)
	if c.config.Take != nil && !again {
		if err := c.config.Take(&Message{Topic: topic, QoS: p.QoS, Retain: p.Retain, Data: p.Data}); err != nil {
			return err
		}
	}
	switch p.QoS {
	case 1:
		return c.send(&sn.Puback{TopicID: p.TopicID, MessageID: p.MessageID})
	case 2:
		if !again {
			c.held[p.MessageID] = time.Time{}
		}
		return c.send(&sn.Pubrec{MessageID: p.MessageID})
	}
	return nil
}

// has says whether a message at QoS 2 has been taken under this id, not long ago.
func (c *Client) has(id uint16) bool {
	released, taken := c.held[id]
	return taken && (released.IsZero() || time.Since(released) < c.config.Retry)
}

// release notes that a message will not be sent again.
func (c *Client) release(id uint16) {
	if released, taken := c.held[id]; taken && released.IsZero() {
		c.held[id] = time.Now()
	}
}
