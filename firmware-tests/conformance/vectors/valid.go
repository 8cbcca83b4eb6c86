package vectors

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// valid plays a good packet of a client's, with the state that it needs, and wants the
// answer.
func (v vector) valid(t *suite.T) string {
	p, err := wire.Next(bytes.NewReader(v.b), t.Version, false)
	if err != nil {
		t.Fatalf("%v", err)
	}
	switch p.Type {
	case wire.PUBLISH:
		return v.publish(t, p)
	case wire.PUBACK, wire.PUBREC, wire.PUBCOMP:
		return v.acknowledge(t, p)
	case wire.PUBREL:
		return v.release(t, p)
	case wire.SUBSCRIBE:
		return v.subscribe(t, p)
	case wire.UNSUBSCRIBE:
		return v.unsubscribe(t, p)
	case wire.PINGREQ:
		c := t.Join()
		c.Send(v.b)
		c.Want(wire.PINGRESP)
		return "PINGRESP"
	case wire.DISCONNECT:
		return v.disconnect(t, p)
	case wire.AUTH:
		return v.auth(t, p)
	}
	t.Fatalf("%v, and no way to play it", p)
	return ""
}

// publish wants a message acknowledged, and passed on and kept as it came.
func (v vector) publish(t *suite.T, p *wire.Read) string {
	c, other := t.Join(), meet(t)
	topic := p.Topic
	if topic == "" { // it has an alias
		topic = "a/b"
		c.Send(wire.Publish{Topic: topic, Props: aliasOf(p)}.Bytes(t.Version))
		c.Ping()
		other.hear(topic)
	}
	if p.Retain && p.Payload == "" {
		c.Publish(wire.Publish{Topic: topic, Payload: "old", Retain: true})
		c.Ping()
		other.hear(topic)
	}
	c.Send(v.b)
	came := "passed on"
	switch p.QoS {
	case 1:
		c.WantAck(wire.PUBACK, p.ID)
		came += ", PUBACK"
	case 2:
		c.WantAck(wire.PUBREC, p.ID)
		c.Send(wire.Ack(wire.PUBREL, p.ID))
		c.WantAck(wire.PUBCOMP, p.ID)
		came += ", PUBREC, PUBCOMP"
	}
	c.Ping()
	got := other.hear(topic)
	if got.Payload != p.Payload || got.QoS != p.QoS || got.Retain || got.Dup {
		t.Fatalf("%v %q was passed on for %v", got, got.Payload, p)
	}
	wantProps(t, got, p)
	if p.Retain {
		v.retained(t, p, topic)
		c.Publish(wire.Publish{Topic: topic, Retain: true})
		c.Ping()
		other.hear(topic)
	}
	return came
}

func aliasOf(p *wire.Read) []byte {
	return wire.Bytes(wire.TopicAlias, uint16(p.Props.Int(wire.TopicAlias, 0)))
}

// wantProps wants the properties of a message passed on as they came, but for the alias.
func wantProps(t *suite.T, got, sent *wire.Read) {
	alias := func(p wire.Property) bool { return p.ID == wire.TopicAlias }
	have, want := slices.DeleteFunc(got.Props, alias), slices.DeleteFunc(slices.Clone(sent.Props), alias)
	for _, ps := range []wire.Properties{have, want} {
		slices.SortStableFunc(ps, func(a, b wire.Property) int { return int(a.ID) - int(b.ID) })
	}
	if !slices.Equal(have, want) {
		t.Fatalf("passed on with the properties %v, want %v", have, want)
	}
}

// retained wants a message to be kept, or with no payload none.
func (v vector) retained(t *suite.T, p *wire.Read, topic string) {
	late := t.Join()
	late.Subscribe(0, topic)
	if p.Payload != "" {
		if m := late.Take(topic, p.Payload); !m.Retain {
			t.Fatalf("%v, want it retained", m)
		}
	}
	late.Ping()
}

// delivered has the server send a message at a QoS with a packet identifier: its own,
// so there may be messages before. Without luck any identifier must do.
func delivered(t *suite.T, qos byte, id uint16) (c, pub *suite.Conn, topic string, met bool) {
	c, pub, topic = t.Join(), t.Join(), t.Topic()
	c.Subscribe(qos, topic)
	for range 40 {
		pub.Publish(wire.Publish{Topic: topic, QoS: qos})
		m := c.Want(wire.PUBLISH)
		if m.ID == id {
			return c, pub, topic, true
		}
		if qos == 1 {
			c.Send(wire.Ack(wire.PUBACK, m.ID))
			continue
		}
		c.Send(wire.Ack(wire.PUBREC, m.ID))
		c.WantAck(wire.PUBREL, m.ID)
		c.Send(wire.Ack(wire.PUBCOMP, m.ID))
	}
	return c, pub, topic, false
}

// acknowledge ends or goes on with a delivery; then the next one comes.
func (v vector) acknowledge(t *suite.T, p *wire.Read) string {
	qos := byte(2)
	if p.Type == wire.PUBACK {
		qos = 1
	}
	c, pub, topic, met := delivered(t, qos, p.ID)
	came := "taken"
	if p.Type == wire.PUBCOMP && met {
		c.Send(wire.Ack(wire.PUBREC, p.ID))
		c.WantAck(wire.PUBREL, p.ID)
	}
	c.Send(v.b)
	switch {
	case p.Type != wire.PUBREC:
	case !met:
		c.WantAck(wire.PUBREL, p.ID, 0, 0x92)
	case p.Code() < 0x80:
		c.WantAck(wire.PUBREL, p.ID)
		c.Send(wire.Ack(wire.PUBCOMP, p.ID))
		came = "PUBREL"
	}
	c.Ping()
	pub.Publish(wire.Publish{Topic: topic, Payload: "next", QoS: qos})
	c.Take(topic, "next")
	return came
}

// release ends a message of the client's.
func (v vector) release(t *suite.T, p *wire.Read) string {
	c, topic := t.Join(), t.Topic()
	other := t.Join()
	other.Subscribe(2, topic)
	c.Send(wire.Publish{Topic: topic, Payload: "m", QoS: 2, ID: p.ID}.Bytes(t.Version))
	c.WantAck(wire.PUBREC, p.ID)
	c.Send(v.b)
	c.WantAck(wire.PUBCOMP, p.ID, 0, 0x92)
	other.Take(topic, "m")
	return "PUBCOMP"
}

// names makes a name of a filter that it matches.
var names = strings.NewReplacer("+", "plus", "#", "hash/x")

// inner is the filter of a subscription, shared or not.
func inner(filter string) string {
	if rest, shared := strings.CutPrefix(filter, "$share/"); shared {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return filter
}

// subscribe wants all filters granted, and each to bring a message.
func (v vector) subscribe(t *suite.T, p *wire.Read) string {
	c, pub := t.Join(), t.Join()
	c.Send(v.b)
	codes := c.WantAck(wire.SUBACK, p.ID, 0, 1, 2).Codes
	if len(codes) != len(p.Subscribes) {
		t.Fatalf("% x for %d filters", codes, len(p.Subscribes))
	}
	for i, s := range p.Subscribes {
		if codes[i] != s.Options&3 {
			t.Fatalf("% x, but QoS %d was asked for in place %d", codes, s.Options&3, i)
		}
		topic := names.Replace(inner(s.Filter))
		pub.Publish(wire.Publish{Topic: topic, Payload: s.Filter})
		c.Take(topic, s.Filter)
	}
	return fmt.Sprintf("SUBACK % x", codes)
}

// unsubscribe wants the first filter gone, which was subscribed to, and the others
// unknown.
func (v vector) unsubscribe(t *suite.T, p *wire.Read) string {
	c, pub := t.Join(), t.Join()
	c.Subscribe(0, p.Subscribes[0].Filter)
	c.Send(v.b)
	got := c.WantAck(wire.UNSUBACK, p.ID)
	if want := append([]byte{0}, slices.Repeat([]byte{0x11}, len(p.Subscribes)-1)...); t.V5() && !slices.Equal(got.Codes, want) {
		t.Fatalf("%v, want % x", got, want)
	}
	for _, s := range p.Subscribes {
		pub.Publish(wire.Publish{Topic: names.Replace(inner(s.Filter)), QoS: 1})
	}
	c.Ping()
	return fmt.Sprintf("UNSUBACK % x", got.Codes)
}

// disconnect wants the connection closed and the Will sent only if the code says so.
func (v vector) disconnect(t *suite.T, p *wire.Read) string {
	other, topic := t.Join(), t.Topic()
	other.Subscribe(0, topic)
	connect := t.CONNECT()
	connect.Will = &wire.Will{Topic: topic, Payload: "will"}
	if t.V5() {
		connect.Props = wire.Bytes(wire.SessionExpiry, uint32(60))
	}
	c := t.Connect(connect)
	c.Send(v.b)
	c.WantEnd()
	came := "closed"
	if p.Code() == 4 {
		other.Take(topic, "will")
		came += ", Will"
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "last", QoS: 1})
	other.Take(topic, "last")
	return came
}
