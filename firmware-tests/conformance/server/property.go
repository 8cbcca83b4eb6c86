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
	{V5: "3.3.2-4", Run: payloadFormatIsPassedOn},
	{V5: "3.3.2-15", Run: responseTopicIsPassedOn},
	{V5: "3.3.2-16", Run: correlationDataIsPassedOn},
	{V5: "3.3.2-17 3.3.2-18", Run: userPropertiesArePassedOn},
	{V5: "3.3.2-20", Run: contentTypeIsPassedOn},
	{V5: "3.3.2-4 RULE-3.3.2-A", Run: absentPropertiesStayAbsent},
	{V5: "3.3.2-13", Run: responseTopicIsUTF8},
	{V5: "3.3.2-14", Run: wildcardInResponseTopic},
	{V5: "3.3.2-19", Run: contentTypeIsUTF8},
	{V5: "3.3.2-5 3.3.2-6 RULE-3.3.2-A", Run: messageExpires},
	{V5: "3.3.2-6", Run: expiryOfOnlineSubscriber},
	{V5: "RULE-3.3.2-B", Run: publishPropertyTwice},
	{V5: "RULE-3.3.2-C", Run: publishPropertyMisplaced},
	{V5: "RULE-3.3.2-D", Run: publishPropertiesDoNotFit},
}

// passedOn publishes with properties to a subscriber that is there, to one that was
// away, and with RETAIN, and wants those of an identifier to be the same everywhere.
func passedOn(t *suite.T, id byte, properties []byte, want ...wire.Property) {
	check := func(where string, p *wire.Read) {
		if got := p.Props.All(id); !slices.Equal(got, want) {
			t.Fatalf("%+v came to %s, want %+v", got, where, want)
		}
	}
	pub, base := t.Join(), t.Topic()
	live := t.Join()
	live.Subscribe(2, base+"/a")
	p := t.Lasting()
	away := t.Connect(p)
	away.Subscribe(2, base+"/a")
	away.Leave()
	keep := pub.Connack.Props.Int(wire.RetainAvailable, 1) == 1
	for _, qos := range []byte{0, 1, 2} {
		pub.Publish(wire.Publish{Topic: base + "/a", Payload: "x", QoS: qos, Retain: keep, Props: properties})
		check("a subscriber", live.Take(base+"/a", "x"))
	}
	if keep {
		check("a new subscription", wantRetained(t, base, "x"))
	}
	pub.Publish(wire.Publish{Topic: base + "/a", Payload: "end", QoS: 1})
	waited := slices.DeleteFunc(collect(t, t.Connect(p), "end"), func(p *wire.Read) bool { return p.QoS == 0 || p.Payload == "end" })
	if len(waited) != 2 {
		t.Fatalf("%d messages waited, want 2", len(waited))
	}
	for _, p := range waited {
		check("a subscriber that was away", p)
	}
}

// passedOnText is passedOn for a property that is a text or binary data.
func passedOnText(t *suite.T, id byte, values ...string) {
	for _, value := range values {
		t.Step("%q", value)
		passedOn(t, id, wire.Bytes(id, wire.Str(value)), wire.Property{ID: id, Text: value})
	}
}

func payloadFormatIsPassedOn(t *suite.T) {
	for _, format := range []byte{1, 0} {
		t.Step("%d", format)
		passedOn(t, wire.PayloadFormat, wire.Bytes(wire.PayloadFormat, format), wire.Property{ID: wire.PayloadFormat, Value: uint32(format)})
	}
}

func responseTopicIsPassedOn(t *suite.T) {
	passedOnText(t, wire.ResponseTopic, "answers/$here//ü", "/")
}

func correlationDataIsPassedOn(t *suite.T) {
	passedOnText(t, wire.CorrelationData, "\x00\xff\xfe\x00", "")
}

func contentTypeIsPassedOn(t *suite.T) {
	passedOnText(t, wire.ContentType, "text/ü; charset=€", "")
}

// userPropertiesArePassedOn with names and pairs that come again, and with empty ones,
// in an order that is that of neither names nor values, with others between.
func userPropertiesArePassedOn(t *suite.T) {
	var properties []byte
	var want []wire.Property
	for _, pair := range [][2]string{{"b", "2"}, {"a", "1"}, {"b", "2"}, {"b", ""}, {"", "1"}, {"a", "0"}, {"", ""}} {
		properties = append(properties, wire.Bytes(wire.UserProperty, wire.Str(pair[0]), wire.Str(pair[1]))...)
		want = append(want, wire.Property{ID: wire.UserProperty, Text: pair[0], Text2: pair[1]})
		if len(want) == 3 {
			properties = append(properties, wire.Bytes(wire.ContentType, wire.Str("between"))...)
		}
	}
	passedOn(t, wire.UserProperty, properties, want...)
}

func absentPropertiesStayAbsent(t *suite.T) {
	pub, sub, topic := pair(t)
	all := wire.Bytes(wire.UserProperty, wire.Str("a"), wire.Str("1"))
	for id, property := range publishing {
		if id != wire.TopicAlias {
			all = append(all, property...)
		}
	}
	pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1, Props: all})
	sub.Take(topic, "x")
	pub.Publish(wire.Publish{Topic: topic, Payload: "y", QoS: 1})
	if p := sub.Take(topic, "y"); len(p.Props) > 0 {
		t.Fatalf("%v has properties, and was published without any", p)
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
	t.Away(p, 2, topic)
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
