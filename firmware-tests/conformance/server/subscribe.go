package server

import (
	"fmt"
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// subscribe is sections 3.8 and 3.9.
var subscribe = []suite.Test{
	{V311: "3.8.1-1 2.2.2-2", V5: "3.8.1-1 2.1.3-1", Run: subscribeWithOtherFlags},
	{V311: "3.8.3-1 1.5.3-1", V5: "3.8.3-1 1.5.4-1", Run: subscribeWithIllFormedFilter},
	{V311: "3.8.3-2", V5: "RULE-3.8.3-a", Run: wildcardFiltersIfThereAre},
	{V311: "3.8.3-3", V5: "3.8.3-2", Run: subscribeWithoutFilter},
	{V5: "3.8.3-3", Run: noLocal},
	{V5: "3.8.3-4", Run: noLocalOnSharedSubscription},
	{V5: "3.8.3-5", Run: reservedSubscriptionOptions},
	{V311: "RULE-3.8.3-b", V5: "RULE-3.8.3-b", Run: subscribeAtQoS3},
	{V311: "RULE-3.8.3-c", Run: reservedBitsOfRequestedQoS},
	{V5: "RULE-3.8.3-c", Run: retainHandling3},
	{V311: "RULE-3.8.3-d", V5: "RULE-3.8.3-d", Run: subscribeWithoutOptions},
	{V5: "RULE-3.8.2-a", Run: subscriptionIdentifierOfEverySize},
	{V5: "RULE-3.8.2-b", Run: subscriptionIdentifierTwice},
	{V5: "RULE-3.8.2-c", Run: subscriptionIdentifierIsReplaced},
	{V311: "3.8.4-1 3.8.4-2", V5: "3.8.4-1 3.8.4-2", Run: subscribeIsAnswered},
	{V311: "3.8.4-3", V5: "3.8.4-3 3.8.4-4", Run: subscribingAgainSendsRetained},
	{V311: "3.8.4-3", V5: "3.8.4-3", Run: subscribingAgainReplaces},
	{V5: "3.8.4-3", Run: subscribingAgainReplacesOptions},
	{V311: "3.8.4-3", V5: "3.8.4-4", Run: subscribingAgainLosesNothing},
	{V311: "3.8.4-4 3.8.4-5", V5: "3.8.4-5 3.8.4-6", Run: severalFiltersInOneSubscribe},
	{V311: "3.8.4-6", V5: "3.8.4-8", Run: deliveredAtTheLowerQoS},
	{V311: "3.9.3-1", V5: "3.9.3-1", Run: subscribeCodesInOrder},
	{V311: "3.8.4-5 3.9.3-2", V5: "3.8.4-6 3.8.4-7 3.9.3-2", Run: refusedFiltersAmongGood},
	{V5: "3.9.2-1 3.9.2-2", Run: subackFitsTheMaximumPacketSize},
	{V5: "RULE-3.9.2-a", Run: answersWithoutProblemInformation},
}

func subscribeWithOtherFlags(t *suite.T) {
	wantFlagsRefused(t, wire.SUBSCRIBE, wire.Bytes(uint16(1), noProps(t), wire.Str("a"), byte(0)))
}

func subscribeWithIllFormedFilter(t *suite.T) {
	for _, bad := range []string{"\xc3\x28", "a/\xff", "\xed\xa0\x80/a"} {
		closedFor(t, wire.Subscribe(t.Version, 1, 0, bad), 0x81, 0x82, 0x8f)
		closedFor(t, wire.Subscribe(t.Version, 1, 0, "good", bad), 0x81, 0x82, 0x8f)
	}
}

// subscribeWithoutFilter also has properties, in 5.0.
func subscribeWithoutFilter(t *suite.T) {
	closedFor(t, wire.Subscribe(t.Version, 1, 0), badPacket...)
	if t.V5() {
		closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Props(sample(wire.UserProperty))), badPacket...)
	}
}

// wildcardFiltersIfThereAre has wildcards granted and working, or refused.
func wildcardFiltersIfThereAre(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	c.Send(wire.Subscribe(t.Version, 1, 0, topic+"/+", topic+"/x/#"))
	p := c.Next()
	if t.V5() && c.Connack.Props.Int(wire.WildcardSubscriptionAvailable, 1) == 0 {
		if p.Type != wire.DISCONNECT || p.Code() != 0xa2 {
			t.Fatalf("%v, after a CONNACK that says there are no wildcards", p)
		}
		return
	}
	if p.Type != wire.SUBACK || len(p.Codes) != 2 {
		t.Fatalf("%v, want SUBACK with 2 codes", p)
	}
	pub := t.Join()
	for i, name := range []string{"/a", "/x/b/c"} {
		pub.Publish(wire.Publish{Topic: topic + name, Payload: name})
		if p.Codes[i] < 0x80 {
			c.Take(topic+name, name)
		}
	}
	c.Ping()
}

// wantCodes subscribes to filters with the options and wants the codes.
func wantCodes(t *suite.T, c *suite.Conn, packet []byte, codes ...byte) {
	c.Send(packet)
	if p := c.Want(wire.SUBACK); !slices.Equal(p.Codes, codes) {
		t.Fatalf("%v, want the codes % x", p, codes)
	}
}

// noLocal keeps from a client what it publishes itself, at every QoS, and nothing else;
// other subscriptions do not notice.
func noLocal(t *suite.T) {
	topic := t.Topic()
	c, other := t.Join(), t.Join()
	c.Subscribe(2|4, topic)
	for qos := range byte(3) {
		t.Step("QoS %d", qos)
		c.Publish(wire.Publish{Topic: topic, Payload: "own", QoS: qos})
		other.Publish(wire.Publish{Topic: topic, Payload: "other's", QoS: qos})
		c.Take(topic, "other's")
	}
}

func noLocalOnSharedSubscription(t *suite.T) {
	for qos := range byte(3) {
		closedFor(t, wire.Subscribe(t.Version, 1, 4|qos, "$share/group/"+t.Topic()), badPacket...)
	}
}

func reservedSubscriptionOptions(t *suite.T) {
	for _, options := range []byte{0x40, 0x80, 0xc1} {
		closedFor(t, wire.Subscribe(t.Version, 1, options, "a"), badPacket...)
	}
}

func subscribeAtQoS3(t *suite.T) {
	closedFor(t, wire.Subscribe(t.Version, 1, 3, "a"), badPacket...)
	closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t), wire.Str("a"), byte(1), wire.Str("b"), byte(3)), badPacket...)
}

// reservedBitsOfRequestedQoS are what 5.0 has as options.
func reservedBitsOfRequestedQoS(t *suite.T) {
	for bit := byte(4); bit != 0; bit <<= 1 {
		closedFor(t, wire.Subscribe(t.Version, 1, bit, "a"))
	}
}

func retainHandling3(t *suite.T) {
	closedFor(t, wire.Subscribe(t.Version, 1, 0x30, "a"), badPacket...)
	closedFor(t, wire.Subscribe(t.Version, 1, 0x31, "a"), badPacket...)
}

func subscribeWithoutOptions(t *suite.T) {
	closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t), wire.Str("a")), badPacket...)
	closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t), wire.Str("a"), byte(0), wire.Str("b")), badPacket...)
}

// needIdentifiers skips a test that uses subscription identifiers if there are none.
func needIdentifiers(t *suite.T, c *suite.Conn) {
	if c.Connack.Props.Int(wire.SubscriptionIdentifierAvailable, 1) == 0 {
		t.Skip("no subscription identifiers")
	}
}

// wantIdentifiers takes a message and wants it to name subscriptions.
func wantIdentifiers(t *suite.T, c *suite.Conn, topic, payload string, ids ...uint32) {
	m := c.Take(topic, payload)
	if got := identifiers(m); !slices.Equal(got, ids) {
		t.Fatalf("%v names the subscriptions %v, want %v", m, got, ids)
	}
}

func subscriptionIdentifierOfEverySize(t *suite.T) {
	c, pub := t.Join(), t.Join()
	needIdentifiers(t, c)
	for _, id := range []uint32{1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455} {
		topic := t.Topic()
		subscribeWithID(t, c, topic, id)
		pub.Publish(wire.Publish{Topic: topic, Payload: "m"})
		wantIdentifiers(t, c, topic, "m", id)
	}
}

func subscriptionIdentifierTwice(t *suite.T) {
	for _, props := range [][]byte{
		wire.Props(wire.SubscriptionIdentifier, byte(1), wire.SubscriptionIdentifier, byte(2)),
		wire.Props(wire.SubscriptionIdentifier, byte(0)),
	} {
		closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), props, wire.Str("a"), byte(0)), 0x81, 0x82, 0xa1)
	}
}

// subscriptionIdentifierIsReplaced by another one, and by none.
func subscriptionIdentifierIsReplaced(t *suite.T) {
	c, pub := t.Join(), t.Join()
	needIdentifiers(t, c)
	topic := t.Topic()
	for _, id := range []uint32{5, 300} {
		subscribeWithID(t, c, topic, id)
		pub.Publish(wire.Publish{Topic: topic, Payload: "m"})
		wantIdentifiers(t, c, topic, "m", id)
	}
	c.Subscribe(0, topic)
	pub.Publish(wire.Publish{Topic: topic, Payload: "m"})
	wantIdentifiers(t, c, topic, "m")
}

// subscribeIsAnswered once each, also if nothing is new.
func subscribeIsAnswered(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	for _, id := range []uint16{1, 65535, 257, 1} {
		c.Send(wire.Subscribe(t.Version, id, 0, topic))
		c.WantAck(wire.SUBACK, id)
		c.Ping()
	}
}

// subscribingAgainSendsRetained for each SUBSCRIBE with the same filter.
func subscribingAgainSendsRetained(t *suite.T) {
	topic := t.Topic()
	pub, c := t.Join(), t.Join()
	needRetain(t, pub)
	pub.Publish(wire.Publish{Topic: topic, Payload: "kept", Retain: true, QoS: 1})
	t.Cleanup(func() { pub.Send(wire.Publish{Topic: topic, Retain: true}.Bytes(t.Version)) })
	for i := range 3 {
		c.Send(wire.Subscribe(t.Version, uint16(i+1), 1, topic))
		got := []*wire.Read{c.Next(), c.Next()}
		i := slices.IndexFunc(got, func(p *wire.Read) bool { return p.Type == wire.PUBLISH })
		if i < 0 || got[1-i].Type != wire.SUBACK || got[i].Payload != "kept" || !got[i].Retain {
			t.Fatalf("%v and %v, want SUBACK and the retained message", got[0], got[1])
		}
		c.Send(wire.Ack(wire.PUBACK, got[i].ID))
		c.Ping()
	}
}

// subscribingAgainReplaces the QoS: each message comes once, at the new one.
func subscribingAgainReplaces(t *suite.T) {
	topic := t.Topic()
	c, pub := t.Join(), t.Join()
	for _, qos := range []byte{0, 2, 1, 0, 1} {
		c.Subscribe(qos, topic)
		pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint("at ", qos), QoS: 2})
		if m := c.Take(topic, fmt.Sprint("at ", qos)); m.QoS != qos {
			t.Fatalf("%v, want QoS %d", m, qos)
		}
		c.Ping()
	}
	c.Send(wire.Unsubscribe(t.Version, 7, topic))
	c.WantAck(wire.UNSUBACK, 7)
	pub.Publish(wire.Publish{Topic: topic, Payload: "after", QoS: 1})
	c.Ping()
}

// subscribingAgainReplacesOptions: No Local and Retain As Published are on, then off,
// then on.
func subscribingAgainReplacesOptions(t *suite.T) {
	topic := t.Topic()
	c, pub := t.Join(), t.Join()
	for _, options := range []byte{4 | 8, 0, 4 | 8} {
		t.Step("options %#x", options)
		c.Send(wire.Subscribe(t.Version, 1, options|0x20, topic))
		c.WantAck(wire.SUBACK, 1)
		c.Send(wire.Publish{Topic: topic, Payload: "own"}.Bytes(t.Version))
		if options == 0 {
			c.Take(topic, "own")
		}
		c.Ping()
		pub.Publish(wire.Publish{Topic: topic, Payload: "retained", Retain: true})
		if m := c.Take(topic, "retained"); m.Retain != (options != 0) {
			t.Fatalf("%v", m)
		}
	}
	pub.Publish(wire.Publish{Topic: topic, Retain: true})
}

// subscribingAgainLosesNothing of a stream that goes on meanwhile.
func subscribingAgainLosesNothing(t *suite.T) {
	topic := t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(1, topic)
	const rounds, each = 10, 5
	for round := range rounds {
		var stream []byte
		for i := range each {
			stream = append(stream, wire.Publish{Topic: topic, Payload: fmt.Sprint(round*each + i), QoS: 1, ID: uint16(round*each + i + 1)}.Bytes(t.Version)...)
		}
		pub.Send(stream)
		c.Send(wire.Subscribe(t.Version, uint16(round+1), 1, topic))
	}
	next, answers := 0, 0
	for next < rounds*each || answers < rounds {
		switch p := c.Next(); {
		case p.Type == wire.SUBACK:
			answers++
		case p.Type == wire.PUBLISH && p.Payload == fmt.Sprint(next):
			c.Send(wire.Ack(wire.PUBACK, p.ID))
			next++
		default:
			t.Fatalf("%v %q, want message %d", p, p.Payload, next)
		}
	}
	c.Ping()
}

// severalFiltersInOneSubscribe get one SUBACK and are all in force.
func severalFiltersInOneSubscribe(t *suite.T) {
	base := t.Topic()
	c, pub := t.Join(), t.Join()
	wantCodes(t, c, wire.Subscribe(t.Version, 1, 1, base+"/a", base+"/b", base+"/c/+"), 1, 1, 1)
	c.Ping() // no other SUBACK
	for _, name := range []string{"/a", "/b", "/c/d"} {
		pub.Publish(wire.Publish{Topic: base + name, Payload: name, QoS: 1})
		c.Take(base+name, name)
	}
	pub.Publish(wire.Publish{Topic: base + "/x", QoS: 1})
	c.Ping()
}

// deliveredAtTheLowerQoS of what was published and what was granted.
func deliveredAtTheLowerQoS(t *suite.T) {
	pub := t.Join()
	for granted := range byte(3) {
		topic := t.Topic()
		c := t.Join()
		c.Subscribe(granted, topic)
		for qos := range byte(3) {
			pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(qos), QoS: qos})
			if m := c.Take(topic, fmt.Sprint(qos)); m.QoS != min(granted, qos) {
				t.Fatalf("published at QoS %d, granted %d, delivered at %d", qos, granted, m.QoS)
			}
		}
	}
}

// subscribeCodesInOrder has a different QoS for each filter.
func subscribeCodesInOrder(t *suite.T) {
	base := t.Topic()
	c := t.Join()
	wantCodes(t, c, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t),
		wire.Str(base+"/z"), byte(2), wire.Str(base+"/a"), byte(0), wire.Str(base+"/m"), byte(1), wire.Str(base+"/b"), byte(2)), 2, 0, 1, 2)
}

// refusedFiltersAmongGood are closed for, or refused in the right place while the
// others work.
func refusedFiltersAmongGood(t *suite.T) {
	for _, bad := range []string{"a/#/b", "#/b", "a/#/"} {
		base := t.Topic()
		c := t.Join()
		c.Send(wire.Subscribe(t.Version, 1, 1, base+"/a", bad, base+"/b"))
		p := c.NextOrEnd()
		if p == nil || t.V5() && p.Type == wire.DISCONNECT && slices.Contains([]byte{0x81, 0x82, 0x8f}, p.Code()) {
			continue
		}
		if p.Type != wire.SUBACK || len(p.Codes) != 3 || p.Codes[0] != 1 || p.Codes[1] < 0x80 || p.Codes[2] != 1 {
			t.Fatalf("%v to the filter %q between two good ones", p, bad)
		}
		pub := t.Join()
		for _, name := range []string{"/a", "/b"} {
			pub.Publish(wire.Publish{Topic: base + name, Payload: name, QoS: 1})
			c.Take(base+name, name)
		}
	}
}

// smallest is the CONNECT of a client that takes no packet larger than its CONNACK.
func smallest(t *suite.T) (p wire.Connect, limit int) {
	limit = len(t.Join().Connack.Raw)
	p = t.CONNECT()
	p.Props = wire.Bytes(wire.MaximumPacketSize, uint32(limit))
	return p, limit
}

// wantFits reads a packet of a type and wants it within a limit.
func wantFits(t *suite.T, p *wire.Read, kind byte, limit int) {
	if p != nil && (p.Type != kind || len(p.Raw) > limit) {
		t.Fatalf("%v of %d bytes, want a packet of type %d of at most %d", p, len(p.Raw), kind, limit)
	}
}

// subackFitsTheMaximumPacketSize for filters that are granted and one that is not.
func subackFitsTheMaximumPacketSize(t *suite.T) {
	p, limit := smallest(t)
	c := t.Connect(p)
	props := wire.Props(wire.UserProperty, wire.Str("a name"), wire.Str("a value that is not to come back"))
	c.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), props, wire.Str(t.Topic()), byte(1)))
	wantFits(t, c.Next(), wire.SUBACK, limit)
	c.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(2), props, wire.Str("not/#/good"), byte(1)))
	if p := c.NextOrEnd(); p != nil && p.Type == wire.SUBACK {
		wantFits(t, p, wire.SUBACK, limit)
		c.Ping()
	} else {
		wantFits(t, p, wire.DISCONNECT, limit)
	}
}

// answersWithoutProblemInformation have neither reason string nor user property.
func answersWithoutProblemInformation(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.RequestProblemInformation, byte(0))
	c := t.Connect(p)
	for _, b := range [][]byte{
		wire.Subscribe(t.Version, 1, 0, "$share//bad", "a/#/b"), wire.Unsubscribe(t.Version, 2, "a/#/b", t.Topic()),
	} {
		c.Send(b)
		p := c.NextOrEnd()
		if p == nil || p.Type == wire.DISCONNECT {
			return // where both are allowed
		}
		if p.Props.Has(wire.ReasonString) || p.Props.Has(wire.UserProperty) {
			t.Fatalf("%v", p)
		}
	}
}
