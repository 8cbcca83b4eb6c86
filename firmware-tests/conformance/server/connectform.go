package server

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connectForm is the form of CONNECT: what is wrong ends without an accepting CONNACK,
// in 3.1.1 without any.
var connectForm = []suite.Test{
	{V311: "3.1.2-3 3.1.4-1 3.2.2-6", V5: "3.1.2-3 3.1.4-1", Run: reservedConnectFlag},
	{V311: "3.1.2-9", V5: "3.1.2-9", Run: willFieldsMissing},
	{V311: "3.1.2-11 3.1.2-13", V5: "3.1.2-11", Run: willQoSWithoutWill},
	{V311: "3.1.2-11 3.1.2-15", V5: "3.1.2-13", Run: willRetainWithoutWill},
	{V311: "3.1.2-11", V5: "3.1.4-1", Run: willFieldsUnannounced},
	{V311: "3.1.2-14", V5: "3.1.2-12", Run: willQoS3},
	{V311: "3.1.2-18", V5: "3.1.2-16", Run: userNameUnannounced},
	{V311: "3.1.2-19", V5: "3.1.2-17", Run: userNameMissing},
	{V311: "3.1.2-20", V5: "3.1.2-18", Run: passwordUnannounced},
	{V311: "3.1.2-21", V5: "3.1.2-19", Run: passwordMissing},
	{V311: "3.1.2-22", Run: passwordWithoutUserName},
	{V5: "RULE-3.1.2.9-A", Run: passwordAlone},
	{V311: "3.1.3-3", V5: "3.1.3-3", Run: emptyPayload},
	{V311: "3.1.3-4", V5: "3.1.3-4", Run: identifierIsNotUTF8},
	{V311: "3.1.3-10", V5: "3.1.3-11", Run: willTopicIsNotUTF8},
	{V311: "3.1.3-11", V5: "3.1.3-12", Run: userNameIsNotUTF8},
	{V311: "RULE-3.1.3.4-A", V5: "RULE-3.1.3.6-A", Run: passwordIsBinary},
	{V311: "3.1.4-1 3.2.2-6 4.8.0-1", V5: "3.1.4-1", Run: cutConnect},
	{V311: "3.1.4-1 3.2.2-6 4.8.0-1", V5: "3.1.4-1", Run: surplusBytesInConnect},
	{V311: "RULE-3.1.3.2-A", V5: "RULE-3.1.3.3-A", Run: wildcardInWillTopic},
	{V5: "RULE-3.1.2.11-A", Run: propertyTwiceInConnect},
	{V5: "RULE-3.1.2.11-B", Run: propertyOutOfRangeInConnect},
	{V5: "RULE-3.1.2.11-C", Run: propertyNotOfConnect},
	{V5: "RULE-3.1.2.11-D", Run: propertyLengthOfConnect},
	{V5: "RULE-3.1.2.11-E", Run: everyPropertyOfConnect},
	{V5: "RULE-3.1.3.2-B", Run: propertyNotOfWill},
	{V5: "RULE-3.1.2.11.10-A", Run: authenticationDataWithoutMethod},
}

// illFormed are strings that are not UTF-8.
var illFormed = []string{"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3\x28", "a\xe4\xb8"}

// noProps is an empty list of properties, nothing in 3.1.1.
func noProps(t *suite.T) []byte {
	if t.V5() {
		return wire.Props()
	}
	return nil
}

// flagged is a CONNECT with connect flags and a payload.
func flagged(t *suite.T, flags byte, payload ...any) []byte {
	return wire.Packet(wire.CONNECT<<4, wire.Str("MQTT"), t.Version, flags, uint16(0), noProps(t), wire.Bytes(payload...))
}

// ident is the client identifier as a field.
func ident(t *suite.T) wire.Str { return wire.Str(t.ID()) }

// refused wants bytes that are no proper CONNECT to be refused; 3.1.1 has no code for
// that.
func refused(t *suite.T, b []byte) {
	if t.V5() {
		t.Dial(t.Target.Addr).Refused(b, 0x81, 0x82)
		return
	}
	t.Dial(t.Target.Addr).Refused(b)
}

func reservedConnectFlag(t *suite.T) { refused(t, flagged(t, 0x03, ident(t))) }

func willFieldsMissing(t *suite.T) {
	refused(t, flagged(t, 0x06, ident(t)))
	refused(t, flagged(t, 0x06, ident(t), noProps(t), wire.Str("will")))
	refused(t, flagged(t, 0xc6, ident(t), noProps(t), wire.Str("name"), wire.Str("password")))
	if t.V5() {
		refused(t, flagged(t, 0x06, ident(t), wire.Str("will"), wire.Str("no properties before")))
	}
}

func willQoSWithoutWill(t *suite.T) {
	for _, flags := range []byte{0x0a, 0x12, 0x1a} {
		refused(t, flagged(t, flags, ident(t)))
		refused(t, flagged(t, flags, ident(t), noProps(t), wire.Str("will"), wire.Str("gone")))
	}
}

func willRetainWithoutWill(t *suite.T) { refused(t, flagged(t, 0x22, ident(t))) }

func willFieldsUnannounced(t *suite.T) {
	refused(t, flagged(t, 0x02, ident(t), noProps(t), wire.Str("will"), wire.Str("gone")))
}

func willQoS3(t *suite.T) {
	refused(t, flagged(t, 0x1e, ident(t), noProps(t), wire.Str("will"), wire.Str("gone")))
	refused(t, flagged(t, 0x3e, ident(t), noProps(t), wire.Str("will"), wire.Str("gone")))
}

func userNameUnannounced(t *suite.T) { refused(t, flagged(t, 0x02, ident(t), wire.Str("name"))) }

func userNameMissing(t *suite.T) {
	refused(t, flagged(t, 0x82, ident(t)))
	refused(t, flagged(t, 0x86, ident(t), noProps(t), wire.Str("will"), wire.Str("gone")))
}

func passwordUnannounced(t *suite.T) {
	refused(t, flagged(t, 0x82, ident(t), wire.Str("name"), wire.Str("password")))
}

func passwordMissing(t *suite.T) { refused(t, flagged(t, 0xc2, ident(t), wire.Str("name"))) }

func passwordWithoutUserName(t *suite.T) {
	refused(t, flagged(t, 0x42, ident(t), wire.Str("password")))
}

// passwordAlone is allowed by 5.0, if not to every listener.
func passwordAlone(t *suite.T) {
	c := t.Dial(t.Target.Addr)
	c.Send(flagged(t, 0x42, ident(t), wire.Str("password")))
	if code := c.Want(wire.CONNACK).Code(); code != 0 && code != 0x86 && code != 0x87 {
		t.Fatalf("a password without user name is answered by code %#x", code)
	}
}

func emptyPayload(t *suite.T) { refused(t, flagged(t, 0x02)) }

// identifierIsNotUTF8 may be taken by 3.1.1 for an identifier that is refused, with
// code 2.
func identifierIsNotUTF8(t *suite.T) {
	for _, s := range append(illFormed, "a\x00b") {
		refusedFor(t, flagged(t, 0x02, wire.Str(s)), 0x81, 0x82, 2)
	}
}

func willTopicIsNotUTF8(t *suite.T) {
	for _, s := range append(illFormed, "a\x00b") {
		refused(t, flagged(t, 0x06, ident(t), noProps(t), wire.Str(s), wire.Str("gone")))
	}
}

func userNameIsNotUTF8(t *suite.T) {
	for _, s := range append(illFormed, "a\x00b") {
		refused(t, flagged(t, 0xc2, ident(t), wire.Str(s), wire.Str("password")))
	}
}

// passwordIsBinary wants a password and a Will payload not to be taken for strings. A
// listener that is open to all may still refuse who has an account nowhere.
func passwordIsBinary(t *suite.T) {
	c := t.Dial(t.Target.Addr)
	c.Send(flagged(t, 0xc6, ident(t), noProps(t), wire.Str(t.Topic()), wire.Str("\xff\x00"), wire.Str("name"), wire.Str("\xff\x00\xc0")))
	switch code := c.Want(wire.CONNACK).Code(); code {
	case 0, 4, 5, 0x86, 0x87:
	default:
		t.Fatalf("CONNACK with code %#x", code)
	}
}

// whole is a CONNECT with all fields, apart from its fixed header.
func whole(t *suite.T) []byte {
	return wire.Bytes(wire.Str("MQTT"), t.Version, byte(0xc6), uint16(60), noProps(t),
		ident(t), noProps(t), wire.Str(t.Topic()), wire.Str("gone"), wire.Str("name"), wire.Str("password"))
}

// cutConnect ends the packet early, anywhere.
func cutConnect(t *suite.T) {
	b := whole(t)
	for n := range b {
		refused(t, wire.Packet(wire.CONNECT<<4, b[:n]))
	}
}

func surplusBytesInConnect(t *suite.T) {
	refused(t, wire.Packet(wire.CONNECT<<4, whole(t), byte(0)))
	refused(t, flagged(t, 0x02, ident(t), byte(0)))
	refused(t, flagged(t, 0x02, ident(t), wire.Str("")))
}

// wildcardInWillTopic wants a Will that could not be published to be refused, or else
// not to be published; a topic name has no wildcards.
func wildcardInWillTopic(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic+"/#")
	for _, s := range []string{topic + "/+", topic + "/#", topic + "/a+"} {
		c := t.Dial(t.Target.Addr)
		c.Send(flagged(t, 0x06, ident(t), noProps(t), wire.Str(s), wire.Str("gone")))
		if answer := c.NextOrEnd(); answer != nil && answer.Code() == 0 {
			c.Half()
			c.WantEnd()
		}
	}
	t.Join().Publish(wire.Publish{Topic: topic + "/b", Payload: "proper"})
	watcher.Take(topic+"/b", "proper")
}

// withProps is a CONNECT with properties of its own.
func withProps(t *suite.T, parts ...any) []byte {
	p := t.CONNECT()
	p.Props = wire.Bytes(parts...)
	return p.Bytes()
}

func propertyTwiceInConnect(t *suite.T) {
	for _, property := range [][]byte{
		wire.Bytes(wire.SessionExpiry, uint32(0)), wire.Bytes(wire.ReceiveMaximum, uint16(5)),
		wire.Bytes(wire.MaximumPacketSize, uint32(5000)), wire.Bytes(wire.TopicAliasMaximum, uint16(5)),
		wire.Bytes(wire.RequestResponseInformation, byte(0)), wire.Bytes(wire.RequestProblemInformation, byte(1)),
	} {
		refused(t, withProps(t, property, property))
	}
	for _, property := range [][]byte{
		wire.Bytes(wire.WillDelay, uint32(0)), wire.Bytes(wire.PayloadFormat, byte(0)), wire.Bytes(wire.MessageExpiry, uint32(9)),
		wire.Bytes(wire.ContentType, wire.Str("x")), wire.Bytes(wire.ResponseTopic, wire.Str("x")), wire.Bytes(wire.CorrelationData, wire.Str("x")),
	} {
		refused(t, flagged(t, 0x06, ident(t), wire.Props(property, property), wire.Str("will"), wire.Str("gone")))
	}
}

func propertyOutOfRangeInConnect(t *suite.T) {
	refused(t, withProps(t, wire.ReceiveMaximum, uint16(0)))
	refused(t, withProps(t, wire.MaximumPacketSize, uint32(0)))
	refused(t, withProps(t, wire.RequestResponseInformation, byte(2)))
	refused(t, withProps(t, wire.RequestProblemInformation, byte(2)))
}

// propertyNotOfConnect sends properties of other packets, and of none.
func propertyNotOfConnect(t *suite.T) {
	for _, property := range [][]byte{
		wire.Bytes(wire.WillDelay, uint32(1)), wire.Bytes(wire.MessageExpiry, uint32(1)), wire.Bytes(wire.TopicAlias, uint16(1)),
		wire.Bytes(wire.ServerKeepAlive, uint16(1)), wire.Bytes(wire.AssignedClientIdentifier, wire.Str("x")), wire.Bytes(wire.MaximumQoS, byte(1)),
		wire.Bytes(wire.ReasonString, wire.Str("x")), wire.Bytes(wire.SubscriptionIdentifier, byte(1)), wire.Bytes(wire.ServerReference, wire.Str("x")),
		wire.Bytes(byte(0x00), byte(0)), wire.Bytes(byte(0x7f), byte(0)), wire.Bytes(byte(0x2b), byte(0)), wire.Bytes(byte(0x91), byte(0x01), uint32(0)),
	} {
		refused(t, withProps(t, property))
	}
}

// propertyLengthOfConnect has the length of the properties end within one, or behind
// the packet.
func propertyLengthOfConnect(t *suite.T) {
	rest := wire.Bytes(ident(t))
	for _, props := range [][]byte{
		wire.Bytes(byte(4), wire.SessionExpiry, uint32(0)), wire.Bytes(byte(0xff), byte(0x7f)), wire.Bytes(byte(0xff), byte(0xff), byte(0xff), byte(0xff), byte(0x01)),
	} {
		refused(t, wire.Packet(wire.CONNECT<<4, wire.Str("MQTT"), t.Version, byte(2), uint16(0), props, rest))
	}
}

// everyPropertyOfConnect has all of them at once, but those of authentication.
func everyPropertyOfConnect(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.SessionExpiry, uint32(10), wire.ReceiveMaximum, uint16(65535), wire.MaximumPacketSize, uint32(1<<32-1),
		wire.TopicAliasMaximum, uint16(65535), wire.RequestResponseInformation, byte(1), wire.RequestProblemInformation, byte(0),
		wire.UserProperty, wire.Str("a"), wire.Str("b"), wire.UserProperty, wire.Str("a"), wire.Str("b"), wire.UserProperty, wire.Str(""), wire.Str(""))
	p.Will = &wire.Will{Topic: t.Topic(), Payload: "gone", Props: wire.Bytes(wire.WillDelay, uint32(5), wire.PayloadFormat, byte(1),
		wire.MessageExpiry, uint32(1<<32-1), wire.ContentType, wire.Str(""), wire.ResponseTopic, wire.Str("a/b"),
		wire.CorrelationData, wire.Str("\xff\x00"), wire.UserProperty, wire.Str("a"), wire.Str("b"))}
	c := t.Connect(p)
	c.Ping()
	c.Leave()
}

func propertyNotOfWill(t *suite.T) {
	for _, property := range [][]byte{
		wire.Bytes(wire.SessionExpiry, uint32(1)), wire.Bytes(wire.TopicAlias, uint16(1)), wire.Bytes(wire.SubscriptionIdentifier, byte(1)),
		wire.Bytes(byte(0x7f), byte(0)),
	} {
		refused(t, flagged(t, 0x06, ident(t), wire.Props(property), wire.Str("will"), wire.Str("gone")))
	}
}

func authenticationDataWithoutMethod(t *suite.T) {
	refused(t, withProps(t, wire.AuthenticationData, wire.Str("x")))
}
