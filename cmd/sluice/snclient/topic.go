package snclient

import (
	"context"
	"fmt"

	"sluice/codec/sn"
)

// Topic is a topic in one of the three ways that MQTT-SN has.
type Topic struct {
	Type sn.TopicIDType
	Name string // of a normal topic, or the two bytes of a short one
	ID   uint16 // of a predefined topic
}

// String gives the name, or "predefined:ID".
func (t Topic) String() string {
	if t.Type == sn.PredefinedTopic {
		return fmt.Sprint("predefined:", t.ID)
	}
	return t.Name
}

// shortID is a short topic as an id.
func shortID(name string) uint16 { return uint16(name[0])<<8 | uint16(name[1]) }

// name notes a topic's id, which is no other topic's any more.
func (c *Client) name(id uint16, topic string) {
	delete(c.ids, c.names[id])
	c.names[id], c.ids[topic] = topic, id
}

// topicOf is the topic of a message, unless it is a normal one whose id the client
// does not know.
func (c *Client) topicOf(m *sn.Publish) (t Topic, known bool) {
	switch m.TopicIDType {
	case sn.NormalTopic:
		name, ok := c.names[m.TopicID]
		return Topic{Name: name}, ok
	case sn.ShortTopic:
		return Topic{Type: sn.ShortTopic, Name: string([]byte{byte(m.TopicID >> 8), byte(m.TopicID)})}, true
	case sn.PredefinedTopic:
		return Topic{Type: sn.PredefinedTopic, ID: m.TopicID}, true
	}
	return Topic{}, false
}

// idOf is the id to publish to a topic with. A normal topic is registered if need
// be.
func (c *Client) idOf(ctx context.Context, t Topic) (uint16, error) {
	switch t.Type {
	case sn.PredefinedTopic:
		return t.ID, nil
	case sn.ShortTopic:
		return shortID(t.Name), nil
	}
	if id, ok := c.ids[t.Name]; ok {
		return id, nil
	}
	return c.register(ctx, t.Name)
}

func (c *Client) register(ctx context.Context, name string) (uint16, error) {
	id := c.nextID()
	answer, err := c.ask(ctx, same(&sn.Register{MessageID: id, Topic: []byte(name)}), func(m sn.Message) bool {
		ack, ok := m.(*sn.Regack)
		return ok && ack.MessageID == id
	})
	if err != nil {
		return 0, err
	}
	ack := answer.(*sn.Regack)
	if ack.Code != sn.Accepted {
		return 0, refusal("topic "+name, ack.Code)
	}
	c.name(ack.TopicID, name)
	return ack.TopicID, nil
}

// Subscribe subscribes to a topic, which may have wildcards if it is a normal
// one, at a QoS of 0 to 2 or less, as the gateway grants.
func (c *Client) Subscribe(ctx context.Context, t Topic, qos int8) error {
	id := c.nextID()
	request := &sn.Subscribe{QoS: qos, TopicIDType: t.Type, MessageID: id}
	switch t.Type {
	case sn.NormalTopic:
		request.Topic = []byte(t.Name)
	case sn.ShortTopic:
		request.TopicID = shortID(t.Name)
	case sn.PredefinedTopic:
		request.TopicID = t.ID
	}
	answer, err := c.ask(ctx, func(again bool) sn.Message {
		request.Dup = again
		return request
	}, func(m sn.Message) bool {
		ack, ok := m.(*sn.Suback)
		return ok && ack.MessageID == id
	})
	if err != nil {
		return err
	}
	ack := answer.(*sn.Suback)
	if ack.Code != sn.Accepted {
		return refusal("to subscribe to "+t.String(), ack.Code)
	}
	if t.Type == sn.NormalTopic && ack.TopicID != 0 { // 0 for wildcards
		c.name(ack.TopicID, t.Name)
	}
	return nil
}
