package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// overlaps is what becomes of a message that several subscriptions of a client match,
// and of subscription identifiers.
var overlaps = []suite.Test{
	{V311: "3.3.5-1", V5: "3.3.4-2", Run: overlapAtHighestQoS},
	{V5: "3.3.4-3 3.3.4-4 3.3.4-5", Run: overlapWithIdentifiers},
	{V5: "3.3.4-3", Run: identifierOfOneSubscription},
	{V5: "3.3.4-3", Run: identifierOfRetained},
}

// overlapAtHighestQoS subscribes in both orders. The copies at QoS 2 come in order, so
// that there is one of the first message before one of the second.
func overlapAtHighestQoS(t *suite.T) {
	pub := t.Join()
	for _, wide := range []byte{0, 2} {
		t.Step("the wider filter at QoS %d", wide)
		topic := t.Topic()
		sub := t.Join()
		sub.Subscribe(wide, topic+"/#")
		sub.Subscribe(2-wide, topic)
		pub.Publish(wire.Publish{Topic: topic, Payload: "first", QoS: 2})
		pub.Publish(wire.Publish{Topic: topic, Payload: "second", QoS: 2})
		var best []string
		for !slices.Contains(best, "second") {
			switch p := sub.Next(); {
			case p.Type == wire.PUBLISH && p.QoS == 2:
				best = append(best, p.Payload)
				sub.Send(wire.Ack(wire.PUBREC, p.ID))
			case p.Type == wire.PUBLISH && p.QoS == 1:
				sub.Send(wire.Ack(wire.PUBACK, p.ID))
			case p.Type == wire.PUBREL:
				sub.Send(wire.Ack(wire.PUBCOMP, p.ID))
			case p.Type != wire.PUBLISH:
				t.Fatalf("%v, want PUBLISH or PUBREL", p)
			}
		}
		if best[0] != "first" {
			t.Fatalf("of the first message came no copy at QoS 2")
		}
	}
}

// subscribeWithID subscribes at QoS 2 with a subscription identifier, 0 for none.
func subscribeWithID(t *suite.T, c *suite.Conn, filter string, id uint32) {
	if c.Connack.Props.Int(wire.SubscriptionIdentifierAvailable, 1) == 0 {
		t.Skip("no subscription identifiers")
	}
	props := wire.Props()
	if id != 0 {
		props = wire.Props(wire.SubscriptionIdentifier, wire.VBI(id))
	}
	c.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(9), props, wire.Str(filter), byte(2)))
	c.WantAck(wire.SUBACK, 9, 2)
}

// identifiers are those in a message, sorted.
func identifiers(p *wire.Read) (ids []uint32) {
	for _, prop := range p.Props.All(wire.SubscriptionIdentifier) {
		ids = append(ids, prop.Value)
	}
	slices.Sort(ids)
	return ids
}

// overlapWithIdentifiers accepts one copy with all identifiers, or a copy for each
// subscription with its own.
func overlapWithIdentifiers(t *suite.T) {
	pub, sub, topic := t.Join(), t.Join(), t.Topic()
	subscribeWithID(t, sub, topic, 1)
	subscribeWithID(t, sub, topic+"/#", 2)
	subscribeWithID(t, sub, topic+"/+", 3) // does not match
	for _, qos := range []byte{0, 1, 2} {
		pub.Publish(wire.Publish{Topic: topic, Payload: "matches two", QoS: qos})
		ids := identifiers(sub.WantPublish(topic, "matches two"))
		if len(ids) == 1 {
			ids = append(ids, identifiers(sub.WantPublish(topic, "matches two"))...)
			slices.Sort(ids)
		}
		if !slices.Equal(ids, []uint32{1, 2}) {
			t.Fatalf("identifiers %v at QoS %d, want 1 and 2", ids, qos)
		}
	}
	sub.Ping()
}

// identifierOfOneSubscription uses identifiers of all lengths, replaces one, and
// leaves one out.
func identifierOfOneSubscription(t *suite.T) {
	pub, sub, topic := t.Join(), t.Join(), t.Topic()
	other := t.Join()
	subscribeWithID(t, other, topic, 77)
	for _, id := range []uint32{1, 127, 128, 16384, 268435455, 0, 5} {
		subscribeWithID(t, sub, topic, id)
		pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1})
		ids := identifiers(sub.Take(topic, "x"))
		if id == 0 && len(ids) > 0 || id > 0 && !slices.Equal(ids, []uint32{id}) {
			t.Fatalf("identifiers %v, want %d", ids, id)
		}
		if ids := identifiers(other.Take(topic, "x")); !slices.Equal(ids, []uint32{77}) {
			t.Fatalf("identifiers %v at another client, want 77", ids)
		}
	}
}

// identifierOfRetained wants it with a retained message, and with one that waited for
// a client that was away.
func identifierOfRetained(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	needRetain(t, pub)
	pub.Publish(wire.Publish{Topic: topic, Payload: "retained", QoS: 1, Retain: true})
	p := t.Lasting()
	sub := t.Connect(p)
	if sub.Connack.Props.Int(wire.SubscriptionIdentifierAvailable, 1) == 0 {
		t.Skip("no subscription identifiers")
	}
	sub.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(9), wire.Props(wire.SubscriptionIdentifier, wire.VBI(300)), wire.Str(topic), byte(1)))
	all := afterSubscribe(t, sub, 9, "retained")
	sub.Leave()
	pub.Publish(wire.Publish{Topic: topic, Payload: "waited", QoS: 1})
	all = append(all, t.Connect(p).Take(topic, "waited"))
	for _, p := range all {
		if ids := identifiers(p); !slices.Equal(ids, []uint32{300}) {
			t.Fatalf("identifiers %v in %v, want 300", ids, p)
		}
	}
}
