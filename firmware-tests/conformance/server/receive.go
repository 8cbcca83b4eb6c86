package server

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// pair connects a publisher, and a subscriber to a new topic at QoS 2.
func pair(t *suite.T) (pub, sub *suite.Conn, topic string) {
	pub, sub, topic = t.Join(), t.Join(), t.Topic()
	sub.Subscribe(2, topic)
	return pub, sub, topic
}

// collect takes messages, and plays the receiver's part of their handshakes, until one
// with the payload last has come and all handshakes are over.
func collect(t *suite.T, c *suite.Conn, last string) (all []*wire.Read) {
	open, ended := 0, false
	for !ended || open > 0 {
		switch p := c.Next(); p.Type {
		case wire.PUBLISH:
			all = append(all, p)
			ended = ended || p.Payload == last
			switch p.QoS {
			case 1:
				c.Send(wire.Ack(wire.PUBACK, p.ID))
			case 2:
				c.Send(wire.Ack(wire.PUBREC, p.ID))
				open++
			}
		case wire.PUBREL:
			c.Send(wire.Ack(wire.PUBCOMP, p.ID))
			open--
		default:
			t.Fatalf("%v, want PUBLISH or PUBREL", p)
		}
	}
	return all
}

// payloads are those of messages.
func payloads(messages []*wire.Read) (list []string) {
	for _, p := range messages {
		list = append(list, p.Payload)
	}
	return list
}

// refusedPublish sends a packet that is no lawful PUBLISH to topic, wants the end of
// the connection, with one of the codes in MQTT 5.0, and that a subscriber gets nothing.
func refusedPublish(t *suite.T, topic string, packet []byte, codes ...byte) {
	t.Step("PUBLISH % x", packet)
	sub, c := t.Join(), t.Join()
	sub.Subscribe(2, topic)
	c.Send(packet)
	c.WantClosed(codes...)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "after it", QoS: 1})
	sub.Take(topic, "after it")
}
