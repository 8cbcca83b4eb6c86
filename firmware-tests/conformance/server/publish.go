package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// publish is sections 3.3 to 3.7.
var publish = slices.Concat(messages, overlaps, retained, properties, aliases, acknowledgements)

// messages is the PUBLISH packet itself.
var messages = []suite.Test{
	{V311: "3.3.1-2 4.3.1-1", V5: "3.3.1-2 4.3.1-1", Run: qos0HasNoDup},
	{V311: "3.3.1-3 4.3.2-1 4.3.3-1", V5: "3.3.1-3 4.3.2-2 4.3.3-2", Run: dupIsNotPassedOn},
	{V311: "3.3.1-4", V5: "3.3.1-4", Run: qos3IsRefused},
	{V311: "3.3.2-1", V5: "3.3.2-1", Run: topicNameIsUTF8},
	{V311: "3.3.2-2", V5: "3.3.2-2", Run: wildcardInTopicName},
	{V311: "3.3.2-3", V5: "3.3.2-3", Run: topicMatchesItsSubscription},
	{V311: "RULE-3.3.3-A", V5: "RULE-3.3.3-A", Run: payloadOfAnyBytes},
	{V311: "RULE-3.3.1-A", V5: "RULE-3.3.1-A", Run: packetIdentifierByQoS},
	{V311: "3.3.4-1", V5: "3.3.4-1 4.3.2-4 4.3.3-8 4.3.3-11", Run: answerDependsOnQoS},
	{V311: "3.3.5-2", V5: "RULE-3.3.4-A", Run: unauthorisedPublish},
	{V5: "3.3.4-6", Run: subscriptionIdentifierFromClient},
}

func qos0HasNoDup(t *suite.T) {
	pub, sub, topic := pair(t)
	low := t.Join()
	low.Subscribe(0, topic)
	pub.Publish(wire.Publish{Topic: topic, Payload: "lowered", QoS: 1, Dup: true})
	low.WantPublish(topic, "lowered")

	// A receiver of DUP at QoS 0 may close the connection, or take no notice.
	stray := t.Join()
	stray.Send(wire.Publish{Topic: topic, Payload: "stray", Dup: true}.Bytes(t.Version), wire.Pingreq())
	stray.NextOrEnd()
	pub.Publish(wire.Publish{Topic: topic, Payload: "end"})
	for _, p := range append(collect(t, sub, "end"), collect(t, low, "end")...) {
		if p.QoS == 0 && p.Dup {
			t.Fatalf("%v has DUP at QoS 0", p)
		}
	}
}

func dupIsNotPassedOn(t *suite.T) {
	pub, sub, topic := pair(t)
	for _, qos := range []byte{1, 2} {
		pub.Publish(wire.Publish{Topic: topic, Payload: "repeated", QoS: qos, Dup: true})
		if p := sub.Take(topic, "repeated"); p.Dup || p.QoS != qos {
			t.Fatalf("%v, want QoS %d without DUP", p, qos)
		}
	}
}

func qos3IsRefused(t *suite.T) {
	for _, flags := range []byte{6, 7, 14, 15} {
		topic := t.Topic()
		packet := wire.Publish{Topic: topic, Payload: "QoS 3", QoS: 3, ID: 1}.Bytes(t.Version)
		packet[0] = wire.PUBLISH<<4 | flags
		refusedPublish(t, topic, packet, 0x81)
	}
}

func topicNameIsUTF8(t *suite.T) {
	for _, bad := range []string{"\xc3\x28", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "\xff", "a\xe2\x82"} {
		t.Step("%q", bad)
		c := t.Join()
		c.Send(wire.Publish{Topic: t.Topic() + bad, Payload: "x"}.Bytes(t.Version))
		c.WantClosed(0x81, 0x90)
	}
	// The topic comes first, and all of it within the packet.
	c := t.Join()
	c.Send(wire.Packet(wire.PUBLISH<<4, uint16(20), "too short"))
	c.WantClosed(0x81)
}

func wildcardInTopicName(t *suite.T) {
	for _, level := range []string{"+", "#", "a+", "+/b", "#/b", "a#"} {
		t.Step("%q", level)
		base := t.Topic()
		c := t.Join()
		c.Send(wire.Publish{Topic: base + "/" + level, Payload: "x", Retain: true}.Bytes(t.Version))
		c.WantClosed(0x81, 0x82, 0x90)
		if all := retainedBelow(t, base, 0); len(all) > 0 {
			t.Fatalf("%q was retained", base+"/"+level)
		}
	}
}

func topicMatchesItsSubscription(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	for _, c := range []struct {
		filter, yes, no string
	}{
		{"/a", "/a", "/A"},
		{"/a/b", "/a/b", "/a"},
		{"/+/c", "/x/c", "/x/y/c"},
		{"/+", "/", "//"},
		{"/d/#", "/d", "/dd"},
		{"/e/#", "/e/f/g", "/f/e"},
		{"/ü€", "/ü€", "/u€"},
	} {
		sub := t.Join()
		sub.Subscribe(1, base+c.filter)
		pub.Publish(wire.Publish{Topic: base + c.no, Payload: "does not match", QoS: 1})
		pub.Publish(wire.Publish{Topic: base + c.yes, Payload: "matches", QoS: 1})
		sub.Take(base+c.yes, "matches")
	}
}

func payloadOfAnyBytes(t *suite.T) {
	pub, sub, topic := pair(t)
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	for _, payload := range []string{"", "\x00", "\xff\xfe", string(bytes)} {
		for qos := range byte(3) {
			pub.Publish(wire.Publish{Topic: topic, Payload: payload, QoS: qos})
			sub.Take(topic, payload)
		}
	}
}

// packetIdentifierByQoS sends a PUBLISH whose payload looks like a packet identifier,
// at QoS 0 where none is, and one without a payload at QoS 1 where one is.
func packetIdentifierByQoS(t *suite.T) {
	pub, sub, topic := pair(t)
	pub.Publish(wire.Publish{Topic: topic, Payload: "\x00\x07"})
	sub.Take(topic, "\x00\x07")
	pub.Publish(wire.Publish{Topic: topic, QoS: 1, ID: 65535})
	sub.Take(topic, "")
	c := t.Join()
	c.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 1}.Bytes(t.Version)) // packet identifier 0
	c.WantClosed(0x81, 0x82)
	pub.Publish(wire.Publish{Topic: topic, Payload: "end", QoS: 1})
	sub.Take(topic, "end")
}

func answerDependsOnQoS(t *suite.T) {
	c, topic := t.Join(), t.Topic()
	handshakes := func() {
		c.Send(wire.Publish{Topic: topic, Payload: "0"}.Bytes(t.Version))
		c.Ping()
		c.Send(wire.Publish{Topic: topic, Payload: "1", QoS: 1, ID: 11}.Bytes(t.Version))
		c.WantAck(wire.PUBACK, 11)
		c.Ping()
		c.Send(wire.Publish{Topic: topic, Payload: "2", QoS: 2, ID: 12}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, 12)
		c.Ping()
		c.Send(wire.Ack(wire.PUBREL, 12))
		c.WantAck(wire.PUBCOMP, 12)
		c.Ping()
	}
	handshakes()
	t.Join().Subscribe(0, topic)
	handshakes()
}

// unauthorisedPublish publishes where it may not. The publisher gets its
// acknowledgement, in MQTT 5.0 perhaps one that says so, or is closed.
func unauthorisedPublish(t *suite.T) {
	addr := restricted(t)
	sub := t.Dial(addr).Accepted(t.CONNECT())
	sub.Subscribe(2, "+/news")
	for _, qos := range []byte{0, 1, 2} {
		c := t.Dial(addr).Accepted(t.CONNECT())
		c.Send(wire.Publish{Topic: "shut/news", Payload: "denied", QoS: qos, ID: 7}.Bytes(t.Version), wire.Pingreq())
		switch p := c.NextOrEnd(); {
		case p == nil || p.Type == wire.PINGRESP && qos == 0:
		case p.Type == wire.DISCONNECT && p.Code() == 0x87:
		case p.Type == wire.PUBACK+qos-1 && p.ID == 7 && (!t.V5() || slices.Contains([]byte{0, 0x10, 0x87}, p.Code())):
		default:
			t.Fatalf("%v, want the acknowledgement of QoS %d, or an end", p, qos)
		}
	}
	t.Dial(addr).Accepted(t.CONNECT()).Publish(wire.Publish{Topic: "open/news", Payload: "allowed", QoS: 2})
	sub.Take("open/news", "allowed")
}

func subscriptionIdentifierFromClient(t *suite.T) {
	for _, id := range []wire.VBI{1, 268435455} {
		topic := t.Topic()
		p := wire.Publish{Topic: topic, Payload: "x", QoS: 1, ID: 1, Props: wire.Bytes(wire.SubscriptionIdentifier, id)}
		refusedPublish(t, topic, p.Bytes(t.Version), 0x81, 0x82)
	}
}
