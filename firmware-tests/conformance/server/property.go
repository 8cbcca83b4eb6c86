package server

import (
	"slices"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// properties is the properties of PUBLISH but for topic aliases and subscription
// identifiers.
var properties = []suite.Test{
	{V5: "3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20", Run: propertiesArePassedOn},
	{V5: "3.3.2-4 RULE-3.3.2-A", Run: absentPropertiesStayAbsent},
	{V5: "3.3.2-16 3.3.2-17 3.3.2-20", Run: emptyPropertiesArePassedOn},
	{V5: "3.3.2-13", Run: responseTopicIsUTF8},
	{V5: "3.3.2-14", Run: wildcardInResponseTopic},
	{V5: "3.3.2-19", Run: contentTypeIsUTF8},
	{V5: "3.3.2-5 3.3.2-6 RULE-3.3.2-A", Run: messageExpires},
	{V5: "3.3.2-6", Run: expiryOfOnlineSubscriber},
	{V5: "RULE-3.3.2-B", Run: publishPropertyTwice},
	{V5: "RULE-3.3.2-C", Run: publishPropertyMisplaced},
	{V5: "RULE-3.3.2-D", Run: publishPropertiesDoNotFit},
}

// forwarded are properties that a server passes on.
func forwarded(format byte) []byte {
	return wire.Bytes(
		wire.UserProperty, wire.Str("b"), wire.Str("2"),
		wire.PayloadFormat, format,
		wire.UserProperty, wire.Str("a"), wire.Str("1"),
		wire.ContentType, wire.Str("text/ü; charset=€"),
		wire.CorrelationData, wire.Str("\x00\xff\xfe\x00"),
		wire.UserProperty, wire.Str("b"), wire.Str("2"),
		wire.ResponseTopic, wire.Str("answers/$here/ü"),
		wire.UserProperty, wire.Str("b"), wire.Str(""),
		wire.UserProperty, wire.Str(""), wire.Str("1"),
	)
}

// wantForwarded wants these properties in a message.
func wantForwarded(t *suite.T, p *wire.Read, format byte) {
	for id, want := range map[byte]string{
		wire.ContentType:     "text/ü; charset=€",
		wire.CorrelationData: "\x00\xff\xfe\x00",
		wire.ResponseTopic:   "answers/$here/ü",
	} {
		if got, has := p.Props.Get(id); !has || got.Text != want {
			t.Fatalf("property %#x is %q, want %q", id, got.Text, want)
		}
	}
	if got := p.Props.Int(wire.PayloadFormat, 255); got != uint32(format) {
		t.Fatalf("Payload Format Indicator %d, want %d; 255 is none", got, format)
	}
	var pairs []string
	for _, u := range p.Props.All(wire.UserProperty) {
		pairs = append(pairs, u.Text+"="+u.Text2)
	}
	if want := []string{"b=2", "a=1", "b=2", "b=", "=1"}; !slices.Equal(pairs, want) {
		t.Fatalf("user properties %q, want %q", pairs, want)
	}
}

// propertiesArePassedOn to a subscriber that is there, to one that was away, and with
// a retained message.
func propertiesArePassedOn(t *suite.T) {
	pub, base := t.Join(), t.Topic()
	live := t.Join()
	live.Subscribe(2, base+"/a")
	p := t.Lasting()
	away := t.Connect(p)
	away.Subscribe(2, base+"/a")
	away.Leave()
	keep := pub.Connack.Props.Int(wire.RetainAvailable, 1) == 1
	for _, format := range []byte{1, 0} {
		for _, qos := range []byte{0, 1, 2} {
			pub.Publish(wire.Publish{Topic: base + "/a", Payload: "text", QoS: qos, Retain: keep, Props: forwarded(format)})
			wantForwarded(t, live.Take(base+"/a", "text"), format)
		}
		if keep {
			wantForwarded(t, wantRetained(t, base, "text"), format)
		}
	}
	pub.Publish(wire.Publish{Topic: base + "/a", Payload: "end", QoS: 1})
	all := slices.DeleteFunc(collect(t, t.Connect(p), "end"), func(p *wire.Read) bool { return p.QoS == 0 || p.Payload == "end" })
	if len(all) != 4 {
		t.Fatalf("%d messages waited, want 4", len(all))
	}
	for i, p := range all {
		wantForwarded(t, p, byte(1-i/2))
	}
}

func absentPropertiesStayAbsent(t *suite.T) {
	pub, sub, topic := pair(t)
	pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1, Props: forwarded(1)})
	sub.Take(topic, "x")
	pub.Publish(wire.Publish{Topic: topic, Payload: "y", QoS: 1})
	if p := sub.Take(topic, "y"); len(p.Props) > 0 {
		t.Fatalf("%v has properties, and was published without any", p)
	}
}

// emptyPropertiesArePassedOn to one who is there and to one who was away: there is a
// difference between nothing and an empty text.
func emptyPropertiesArePassedOn(t *suite.T) {
	pub, live, topic := pair(t)
	p := t.Lasting()
	away := t.Connect(p)
	away.Subscribe(2, topic)
	away.Leave()
	pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1, Props: wire.Bytes(
		wire.ContentType, wire.Str(""), wire.CorrelationData, wire.Str(""), wire.UserProperty, wire.Str(""), wire.Str(""))})
	for _, c := range []*suite.Conn{live, t.Connect(p)} {
		got := c.Take(topic, "x").Props
		for _, id := range []byte{wire.ContentType, wire.CorrelationData, wire.UserProperty} {
			if property, has := got.Get(id); !has || property.Text+property.Text2 != "" {
				t.Fatalf("property %#x of %v, want it empty", id, got)
			}
		}
	}
}

// badProperty publishes with a property whose text is wrong in each of the ways.
func badProperty(t *suite.T, id byte, values []string, codes ...byte) {
	for _, value := range values {
		topic := t.Topic()
		p := wire.Publish{Topic: topic, Payload: "x", Props: wire.Bytes(id, wire.Str(value))}
		refusedPublish(t, topic, p.Bytes(t.Version), codes...)
	}
}

var notUTF8 = []string{"a\xc3\x28", "\xed\xa0\x80", "\xc0\x80", "\xff", "a\x00b"}

func responseTopicIsUTF8(t *suite.T) { badProperty(t, wire.ResponseTopic, notUTF8, 0x81, 0x90) }

func wildcardInResponseTopic(t *suite.T) {
	badProperty(t, wire.ResponseTopic, []string{"a/+", "#", "+", "a/b#"}, 0x81, 0x82, 0x90)
}

func contentTypeIsUTF8(t *suite.T) { badProperty(t, wire.ContentType, notUTF8, 0x81) }

// messageExpires publishes to a client that is away: one message is too old when it
// comes back, one has aged, one has no age.
func messageExpires(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	p := t.Lasting()
	sub := t.Connect(p)
	sub.Subscribe(2, topic)
	sub.Leave()
	for _, qos := range []byte{1, 2} {
		pub.Publish(wire.Publish{Topic: topic, Payload: "short", QoS: qos, Props: wire.Bytes(wire.MessageExpiry, uint32(1))})
		pub.Publish(wire.Publish{Topic: topic, Payload: "long", QoS: qos, Props: wire.Bytes(wire.MessageExpiry, uint32(60))})
	}
	pub.Publish(wire.Publish{Topic: topic, Payload: "end", QoS: 2})
	since := time.Now()
	time.Sleep(2100 * time.Millisecond)
	all := collect(t, t.Connect(p), "end")
	waited := uint32(time.Since(since)/time.Second) + 2 // publishing took its time as well
	if got := payloads(all); !slices.Equal(got, []string{"long", "long", "end"}) {
		t.Fatalf("%q came after 2 s, want what has not expired", got)
	}
	for _, p := range all {
		left, has := p.Props.Get(wire.MessageExpiry)
		if has != (p.Payload == "long") || has && (left.Value > 58 || left.Value < 60-waited) {
			t.Fatalf("expiry interval %v in %v, want 60 less 2 to %d", left.Value, p, waited)
		}
	}
}

func expiryOfOnlineSubscriber(t *suite.T) {
	pub, sub, topic := pair(t)
	for _, expiry := range []uint32{30, 1<<32 - 1} {
		for _, qos := range []byte{0, 1, 2} {
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: qos, Props: wire.Bytes(wire.MessageExpiry, expiry)})
			if left := sub.Take(topic, "x").Props.Int(wire.MessageExpiry, 0); left > expiry || left < expiry-20 {
				t.Fatalf("expiry interval %d, want %d", left, expiry)
			}
		}
	}
}

// publishing is each property that PUBLISH may carry once.
var publishing = map[byte][]byte{
	wire.PayloadFormat:   wire.Bytes(wire.PayloadFormat, byte(1)),
	wire.MessageExpiry:   wire.Bytes(wire.MessageExpiry, uint32(60)),
	wire.ContentType:     wire.Bytes(wire.ContentType, wire.Str("a")),
	wire.ResponseTopic:   wire.Bytes(wire.ResponseTopic, wire.Str("a")),
	wire.CorrelationData: wire.Bytes(wire.CorrelationData, wire.Str("a")),
	wire.TopicAlias:      wire.Bytes(wire.TopicAlias, uint16(1)),
}

func publishPropertyTwice(t *suite.T) {
	for id, property := range publishing {
		if id == wire.TopicAlias && t.Join().Connack.Props.Int(wire.TopicAliasMaximum, 0) == 0 {
			continue
		}
		topic := t.Topic()
		p := wire.Publish{Topic: topic, Payload: "x", Props: slices.Concat(property, property)}
		refusedPublish(t, topic, p.Bytes(t.Version), 0x81, 0x82)
	}
}

func publishPropertyMisplaced(t *suite.T) {
	for _, property := range [][]byte{
		wire.Bytes(wire.SessionExpiry, uint32(1)),
		wire.Bytes(wire.AssignedClientIdentifier, wire.Str("a")),
		wire.Bytes(wire.WillDelay, uint32(1)),
		wire.Bytes(wire.ReasonString, wire.Str("a")),
		wire.Bytes(wire.ReceiveMaximum, uint16(1)),
		wire.Bytes(wire.MaximumPacketSize, uint32(100)),
		wire.Bytes(byte(0x00), byte(0)), // never assigned
		wire.Bytes(byte(0x7f), byte(0)),
		wire.Bytes(wire.VBI(0x80), byte(0)),
	} {
		topic := t.Topic()
		p := wire.Publish{Topic: topic, Payload: "x", Props: property}
		refusedPublish(t, topic, p.Bytes(t.Version), 0x81, 0x82)
	}
}

// publishPropertiesDoNotFit has properties longer than the packet, and one that is
// longer than the properties.
func publishPropertiesDoNotFit(t *suite.T) {
	for _, properties := range [][]byte{
		wire.Bytes(wire.VBI(100), wire.PayloadFormat, byte(1)),
		wire.Bytes(wire.VBI(3), wire.ContentType, wire.Str("too long")),
		wire.Bytes(wire.VBI(1), wire.MessageExpiry, uint32(1)),
		wire.Bytes(wire.VBI(2), wire.MessageExpiry, byte(1)),
	} {
		topic := t.Topic()
		refusedPublish(t, topic, wire.Packet(wire.PUBLISH<<4, wire.Str(topic), properties), 0x81, 0x82)
	}
}
