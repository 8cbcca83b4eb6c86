package server

import (
	"slices"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// retained is the RETAIN flag.
var retained = []suite.Test{
	{V311: "3.3.1-5 3.3.1-6 3.3.1-8", V5: "3.3.1-5 3.3.1-9", Run: retainedIsKept},
	{V311: "3.3.1-7", V5: "3.3.1-5", Run: retainedAtQoS0Replaces},
	{V311: "3.3.1-10 3.3.1-11", V5: "3.3.1-6 3.3.1-7", Run: emptyRetainedClears},
	{V311: "3.3.1-12", V5: "3.3.1-8", Run: plainMessageLeavesRetained},
	{V311: "3.3.1-9", V5: "3.3.1-12", Run: establishedSubscriptionSeesNoRetain},
	{V5: "3.3.1-9", Run: retainHandlingAlways},
	{V5: "3.3.1-10", Run: retainHandlingIfNew},
	{V5: "3.3.1-11", Run: retainHandlingNever},
	{V5: "3.3.1-13", Run: retainAsPublished},
	{V5: "RULE-3.3.1-B", Run: retainedExpires},
}

// Subscription options of MQTT 5.0, besides the QoS.
const (
	asPublished byte = 0x08
	ifNew       byte = 0x10
	neverRetain byte = 0x20
)

// needRetain skips the test if the server retains nothing.
func needRetain(t *suite.T, c *suite.Conn) {
	if c.Connack.Props.Int(wire.RetainAvailable, 1) == 0 {
		t.Skip("no retained messages")
	}
}

// afterSubscribe takes what comes after a SUBSCRIBE: SUBACK and, before or after it,
// messages, until one with the payload last has come and nothing else is on its way.
func afterSubscribe(t *suite.T, c *suite.Conn, id uint16, last string) (all []*wire.Read) {
	granted, ended := false, false
	for {
		p := c.Next()
		switch p.Type {
		case wire.SUBACK:
			if granted = true; p.ID != id || slices.Max(p.Codes) > 2 {
				t.Fatalf("%v, want SUBACK of %d", p, id)
			}
		case wire.PUBLISH:
			all = append(all, p)
			ended = ended || p.Payload == last
			switch p.QoS {
			case 1:
				c.Send(wire.Ack(wire.PUBACK, p.ID))
			case 2:
				c.Send(wire.Ack(wire.PUBREC, p.ID))
			}
		case wire.PUBREL:
			c.Send(wire.Ack(wire.PUBCOMP, p.ID))
		case wire.PINGRESP:
			return all
		default:
			t.Fatalf("%v, want SUBACK and messages", p)
		}
		if granted && ended {
			granted = false
			c.Send(wire.Pingreq())
		}
	}
}

// subscribeBelow subscribes to base/#, and takes what comes of it before the retained
// message of base/end, which it publishes if need be.
func subscribeBelow(t *suite.T, c *suite.Conn, base string, options byte) (all []*wire.Read) {
	pub := t.Join()
	needRetain(t, pub)
	pub.Publish(wire.Publish{Topic: base + "/end", Payload: "end", QoS: 1, Retain: true})
	c.Send(wire.Subscribe(t.Version, 9, options, base+"/#"))
	return slices.DeleteFunc(afterSubscribe(t, c, 9, "end"), func(p *wire.Read) bool { return p.Payload == "end" })
}

// retainedBelow is what a new subscriber to base/# gets.
func retainedBelow(t *suite.T, base string, options byte) []*wire.Read {
	return subscribeBelow(t, t.Join(), base, options)
}

// wantRetained wants a new subscriber to base/# to get one message.
func wantRetained(t *suite.T, base, payload string) *wire.Read {
	all := retainedBelow(t, base, 2)
	if len(all) != 1 || all[0].Payload != payload || !all[0].Retain {
		t.Fatalf("%v, want %q with RETAIN", all, payload)
	}
	return all[0]
}

func retainedIsKept(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	for _, p := range []wire.Publish{
		{Topic: base + "/a", Payload: "old", QoS: 2},
		{Topic: base + "/b", Payload: "b", QoS: 2},
		{Topic: base + "/a", Payload: "a", QoS: 1},
		{Topic: base + "/b/c", Payload: "c", QoS: 1},
	} {
		p.Retain = true
		pub.Publish(p)
	}
	pub.Leave()
	want := map[string]byte{"a": 1, "b": 2, "c": 1}
	for range 2 { // it is not used up
		all := retainedBelow(t, base, 2)
		for _, p := range all {
			if qos, ok := want[p.Payload]; !ok || p.QoS != qos || !p.Retain {
				t.Fatalf("%v, want RETAIN and the QoS of %v", p, want)
			}
		}
		if len(all) != len(want) {
			t.Fatalf("%v, want one each of %v", all, want)
		}
	}
	for _, p := range retainedBelow(t, base, 0) {
		if p.QoS != 0 || !p.Retain {
			t.Fatalf("%v, want RETAIN at QoS 0", p)
		}
	}
}

// retainedAtQoS0Replaces accepts that a retained message at QoS 0 is not kept, but not
// that an older one comes back.
func retainedAtQoS0Replaces(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	pub.Publish(wire.Publish{Topic: base + "/a", Payload: "old", QoS: 1, Retain: true})
	pub.Publish(wire.Publish{Topic: base + "/a", Payload: "new", Retain: true})
	pub.Ping()
	for _, p := range retainedBelow(t, base, 2) {
		if p.Payload != "new" || p.QoS != 0 || !p.Retain {
			t.Fatalf("%v, want the last message, or none", p)
		}
	}
}

func emptyRetainedClears(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	live := t.Join()
	live.Subscribe(2, base+"/+")
	for _, qos := range []byte{0, 1, 2} {
		t.Step("empty at QoS %d", qos)
		pub.Publish(wire.Publish{Topic: base + "/a", Payload: "x", QoS: 1, Retain: true})
		live.Take(base+"/a", "x")
		for range 2 { // the second time there is nothing to remove
			pub.Publish(wire.Publish{Topic: base + "/a", QoS: qos, Retain: true})
			if p := live.Take(base+"/a", ""); p.Retain {
				t.Fatalf("%v has RETAIN in an established subscription", p)
			}
		}
		if all := retainedBelow(t, base, 2); len(all) > 0 {
			t.Fatalf("%v is still retained", all)
		}
		live.Take(base+"/end", "end")
	}
}

func plainMessageLeavesRetained(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	pub.Publish(wire.Publish{Topic: base + "/a", Payload: "kept", QoS: 1, Retain: true})
	for _, plain := range []string{"plain", ""} {
		pub.Publish(wire.Publish{Topic: base + "/a", Payload: plain, QoS: 1})
		pub.Publish(wire.Publish{Topic: base + "/b", Payload: plain, QoS: 1})
	}
	wantRetained(t, base, "kept")
}

func establishedSubscriptionSeesNoRetain(t *suite.T) {
	pub, sub, topic := pair(t)
	needRetain(t, pub)
	for _, qos := range []byte{0, 1, 2} {
		pub.Publish(wire.Publish{Topic: topic, Payload: "live", QoS: qos, Retain: true})
		if p := sub.Take(topic, "live"); p.Retain {
			t.Fatalf("%v has RETAIN in an established subscription", p)
		}
	}
	// One that waited for its client is no retained message either.
	p := t.Lasting()
	t.Away(p, 1, topic+"/x")
	pub.Publish(wire.Publish{Topic: topic + "/x", Payload: "waited", QoS: 1, Retain: true})
	if p := t.Connect(p).Take(topic+"/x", "waited"); p.Retain {
		t.Fatalf("%v has RETAIN in an established subscription", p)
	}
}

// again is what a client that has subscribed to base/# gets when it does so once more.
// The sentinel is a subscription of its own.
func again(t *suite.T, c *suite.Conn, base string, options byte) []*wire.Read {
	sentinel := t.Topic()
	pub := t.Join()
	pub.Publish(wire.Publish{Topic: sentinel, Payload: "end", QoS: 1, Retain: true})
	c.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(9), wire.Props(), wire.Str(base+"/#"), options, wire.Str(sentinel), byte(1)))
	all := afterSubscribe(t, c, 9, "end")
	return slices.DeleteFunc(all, func(p *wire.Read) bool { return p.Payload == "end" })
}

// retainedPair retains two messages and connects a client that has not subscribed yet.
func retainedPair(t *suite.T) (c *suite.Conn, base string) {
	c, base = t.Join(), t.Topic()
	needRetain(t, c)
	for _, level := range []string{"/a", "/b"} {
		c.Publish(wire.Publish{Topic: base + level, Payload: level, QoS: 1, Retain: true})
	}
	return c, base
}

// wantCount wants so many retained messages.
func wantCount(t *suite.T, n int, all []*wire.Read) {
	for _, p := range all {
		if !p.Retain {
			t.Fatalf("%v has no RETAIN", p)
		}
	}
	if len(all) != n {
		t.Fatalf("%d retained messages %v, want %d", len(all), payloads(all), n)
	}
}

func retainHandlingAlways(t *suite.T) {
	c, base := retainedPair(t)
	for range 3 {
		wantCount(t, 2, again(t, c, base, 1))
	}
}

// retainHandlingIfNew asks for retained messages of new subscriptions only. One that
// changes an option is not new; one after UNSUBSCRIBE is.
func retainHandlingIfNew(t *suite.T) {
	c, base := retainedPair(t)
	wantCount(t, 2, again(t, c, base, 1|ifNew))
	wantCount(t, 0, again(t, c, base, 1|ifNew))
	wantCount(t, 0, again(t, c, base, 0|ifNew|asPublished))
	c.Send(wire.Unsubscribe(t.Version, 5, base+"/#"))
	c.WantAck(wire.UNSUBACK, 5)
	wantCount(t, 2, again(t, c, base, 1|ifNew))
}

func retainHandlingNever(t *suite.T) {
	c, base := retainedPair(t)
	wantCount(t, 0, again(t, c, base, 1|neverRetain))
	wantCount(t, 0, again(t, c, base, 1|neverRetain))
	wantCount(t, 2, again(t, c, base, 1))
}

func retainAsPublished(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	needRetain(t, pub)
	as, plain := t.Join(), t.Join()
	as.Subscribe(2|asPublished, topic)
	plain.Subscribe(2, topic)
	for _, retain := range []bool{true, false, true} {
		for _, qos := range []byte{0, 1, 2} {
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: qos, Retain: retain})
			if p := as.Take(topic, "x"); p.Retain != retain {
				t.Fatalf("%v, want RETAIN as published: %v", p, retain)
			}
			if p := plain.Take(topic, "x"); p.Retain {
				t.Fatalf("%v has RETAIN in an established subscription", p)
			}
		}
	}
}

func retainedExpires(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	expiry := func(seconds uint32) []byte { return wire.Bytes(wire.MessageExpiry, seconds) }
	pub.Publish(wire.Publish{Topic: base + "/short", Payload: "short", QoS: 1, Retain: true, Props: expiry(1)})
	pub.Publish(wire.Publish{Topic: base + "/long", Payload: "long", QoS: 1, Retain: true, Props: expiry(100)})
	time.Sleep(2100 * time.Millisecond)
	if left := wantRetained(t, base, "long").Props.Int(wire.MessageExpiry, 0); left < 80 || left > 98 {
		t.Fatalf("expiry interval %d after 2 s, want 100 less that", left)
	}
}
