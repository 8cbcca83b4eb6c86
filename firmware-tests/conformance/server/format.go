package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// format is chapters 1 and 2: data types, fixed header, packet identifiers, properties.
var format = []suite.Test{
	{V311: "1.5.3-1", V5: "1.5.4-1", Run: illFormedStrings},
	{V311: "1.5.3-2 4.7.3-2", V5: "1.5.4-2 4.7.3-2", Run: nulInStrings},
	{V311: "1.5.3-3", V5: "1.5.4-3", Run: byteOrderMarkIsACharacter},
	{V311: "RULE-1.5.3-a", V5: "RULE-1.5.4-a", Run: oddStringsAreWhole},
	{V5: "1.5.5-1", Run: longIntegers},
	{V311: "RULE-2.2.3-a", V5: "RULE-1.5.5-a", Run: fiveByteRemainingLength},
	{V311: "RULE-2.2.3-b", V5: "RULE-1.5.5-b", Run: remainingLengthOfEverySize},
	{V5: "1.5.7-1", Run: illFormedUserProperty},
	{V311: "2.2.2-1", V5: "2.1.3-1", Run: flagsOfTheServer},
	{V311: "2.2.2-2", V5: "2.1.3-1", Run: wrongFlags},
	{V311: "RULE-2.2.1-a", V5: "RULE-2.1.2-a", Run: reservedType},
	{V311: "RULE-2.2.1-b", V5: "RULE-2.1.2-b", Run: packetsOfTheOtherSide},
	{V311: "2.3.1-1", V5: "2.2.1-3", Run: packetIdentifierZero},
	{V311: "2.3.1-4", V5: "2.2.1-4", Run: identifiersOfTheServer},
	{V311: "2.3.1-5", V5: "2.2.1-2", Run: noIdentifierAtQoS0},
	{V311: "2.3.1-6", V5: "2.2.1-5", Run: acknowledgementsRepeatTheIdentifier},
	{V311: "2.3.1-7", V5: "2.2.1-6", Run: subscriptionAnswersRepeatTheIdentifier},
	{V5: "2.2.2-1", Run: propertyLengthIsThere},
	{V5: "RULE-2.2.2-a", Run: propertiesOfOtherPackets},
	{V5: "RULE-2.2.2-b", Run: propertiesTwice},
	{V5: "RULE-2.2.2-c", Run: propertiesOutOfRange},
	{V5: "RULE-2.2.2-d", Run: propertiesThatDoNotFit},
	{V5: "RULE-2.2.2-e", Run: userPropertiesEverywhere},
	{V5: "RULE-2.4-a", Run: reasonCodesOfOtherPackets},
	{V311: "4.8.0-1", V5: "4.13.1-1 RULE-4.13.1-a", Run: cutAndOverlongPackets},
	{V311: "7.0.0-1", Run: gatewayThatConnectsOut},
	{V311: "7.0.0-2", Run: noExtensionIsNeeded},
	{V311: "7.1.1-1", V5: "4.2-1", Run: largeExchangeInOrder},
}

// The codes for a packet that is against the rules: Malformed Packet, Protocol Error.
// Which of the two it is, the specification says seldom.
var badPacket = []byte{0x81, 0x82}

// closedFor joins a client that sends a packet, and wants it closed for that.
func closedFor(t *suite.T, packet []byte, codes ...byte) {
	c := t.Join()
	t.Step("% x", packet[:min(len(packet), 32)])
	c.Send(packet)
	c.WantClosed(codes...)
}

// refusedFor connects a client with a CONNECT that must be refused.
func refusedFor(t *suite.T, connect []byte, codes ...byte) {
	t.Step("% x", connect[:min(len(connect), 64)])
	t.Dial(t.Target.Addr).Refused(connect, codes...)
}

// inEachString sends packets with a string in each place where there is one, each over
// a connection of its own that has to end.
func inEachString(t *suite.T, s string) {
	for _, change := range []func(*wire.Connect){
		func(p *wire.Connect) { p.ID += s },
		func(p *wire.Connect) { p.Will = &wire.Will{Topic: "w" + s} },
		func(p *wire.Connect) { name := "u" + s; p.Username = &name },
	} {
		p := t.CONNECT()
		change(&p)
		refusedFor(t, p.Bytes(), 0x81, 0x82, 0x85, 0x86, 0x90, 1, 2, 4)
	}
	topic := t.Topic() + s
	closedFor(t, wire.Publish{Topic: topic}.Bytes(t.Version), 0x81, 0x82, 0x90)
	closedFor(t, wire.Publish{Topic: topic, QoS: 1, ID: 1}.Bytes(t.Version), 0x81, 0x82, 0x90)
	closedFor(t, wire.Subscribe(t.Version, 1, 0, topic), 0x81, 0x82, 0x8f)
	closedFor(t, wire.Unsubscribe(t.Version, 1, topic), 0x81, 0x82, 0x8f)
	if !t.V5() {
		return
	}
	for _, id := range []byte{wire.ContentType, wire.ResponseTopic} {
		props := wire.Bytes(id, wire.Str("x"+s))
		closedFor(t, wire.Publish{Topic: "a", Props: props}.Bytes(t.Version), badPacket...)
		p := t.CONNECT()
		p.Will = &wire.Will{Topic: "w", Props: props}
		refusedFor(t, p.Bytes(), badPacket...)
	}
	inEachUserProperty(t, s)
	closedFor(t, wire.Packet(wire.DISCONNECT<<4, byte(0x80), wire.Props(wire.ReasonString, wire.Str(s))), badPacket...)
	closedFor(t, wire.Packet(wire.PUBACK<<4, uint16(1), byte(0x80), wire.Props(wire.ReasonString, wire.Str(s))), badPacket...)
}

func inEachUserProperty(t *suite.T, s string) {
	for _, props := range [][]byte{
		wire.Bytes(wire.UserProperty, wire.Str(s), wire.Str("v")),
		wire.Bytes(wire.UserProperty, wire.Str("n"), wire.Str(s)),
	} {
		p := t.CONNECT()
		p.Props = props
		refusedFor(t, p.Bytes(), badPacket...)
		closedFor(t, wire.Publish{Topic: "a", Props: props}.Bytes(t.Version), badPacket...)
		closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Props(props), wire.Str("a"), byte(0)), badPacket...)
		closedFor(t, wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), wire.Props(props), wire.Str("a")), badPacket...)
		closedFor(t, wire.Packet(wire.DISCONNECT<<4, byte(0x80), wire.Props(props)), badPacket...)
	}
}

// illFormedStrings has a byte that is never UTF-8, an overlong form and a surrogate.
func illFormedStrings(t *suite.T) {
	for _, s := range []string{"\xff", "\xc0\x80", "\xed\xa0\x80"} {
		inEachString(t, s)
	}
}

func nulInStrings(t *suite.T) { inEachString(t, "\x00") }

func illFormedUserProperty(t *suite.T) {
	for _, s := range []string{"\xc3\x28", "\xed\xbf\xbf", "a\x00b"} {
		inEachUserProperty(t, s)
	}
}

// byteOrderMarkIsACharacter takes a topic with U+FEFF in front for another than the
// same without.
func byteOrderMarkIsACharacter(t *suite.T) {
	plain := t.Topic()
	marked := "\ufeff" + plain
	sub, pub := t.Join(), t.Join()
	sub.Subscribe(0, marked)
	other := t.Join()
	other.Subscribe(0, plain)
	pub.Publish(wire.Publish{Topic: marked, Payload: "\ufeffmarked"})
	pub.Publish(wire.Publish{Topic: plain, Payload: "plain"})
	pub.Publish(wire.Publish{Topic: marked, Payload: "again"})
	sub.Take(marked, "\ufeffmarked")
	sub.Take(marked, "again")
	other.Take(plain, "plain")
}

// oddStringsAreWhole passes on strings with characters of one to four bytes, and those
// next to what is not allowed, byte by byte.
func oddStringsAreWhole(t *suite.T) {
	sub, pub := t.Join(), t.Join()
	base := t.Topic() + "/"
	sub.Subscribe(0, base+"+")
	for _, s := range []string{"é", "€", "😀", "\ud7ff\ue000", "\U0010fffd", "~", " ", "\u00a0"} {
		pub.Publish(wire.Publish{Topic: base + s, Payload: s})
		sub.Take(base+s, s)
		p := t.CONNECT()
		p.ID += s
		name := s
		p.Username = &name
		p.Will = &wire.Will{Topic: base + s}
		t.Connect(p).Leave()
	}
}

// longIntegers writes variable byte integers with more bytes than they need.
func longIntegers(t *suite.T) {
	filter := wire.Bytes(wire.Str("a"), byte(0))
	for _, b := range [][]byte{
		{wire.PINGREQ << 4, 0x80, 0x00},
		wire.Packet(wire.PUBLISH<<4, wire.Str("a"), "\x80\x00"),
		wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), "\x80\x00", filter),
		wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Props(wire.SubscriptionIdentifier, "\x81\x00"), filter),
		wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Props(wire.SubscriptionIdentifier, "\x81\x80\x80\x00"), filter),
	} {
		closedFor(t, b, badPacket...)
	}
	p := t.CONNECT()
	refusedFor(t, wire.Packet(wire.CONNECT<<4, wire.Str(p.Name()), p.Version, p.Flags(), uint16(0), "\x80\x00", p.Payload()), badPacket...)
}

func fiveByteRemainingLength(t *suite.T) {
	closedFor(t, []byte{wire.PUBLISH << 4, 0xff, 0xff, 0xff, 0xff, 0x7f}, 0x81, 0x82, 0x95)
	closedFor(t, []byte{wire.PINGREQ << 4, 0x80, 0x80, 0x80, 0x80, 0x00}, badPacket...)
	refusedFor(t, []byte{wire.CONNECT << 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, badPacket...)
}

// remainingLengthOfEverySize goes over the borders from one byte to two, three, and
// four.
func remainingLengthOfEverySize(t *suite.T) {
	sub, pub := t.Join(), t.Join()
	topic := t.Topic()
	sub.Subscribe(0, topic)
	head := len(wire.Publish{Topic: topic}.Bytes(t.Version)) - 2
	for _, size := range []int{127, 128, 16383, 16384, 2097151, 2097152} {
		if int(pub.Connack.Props.Int(wire.MaximumPacketSize, 1<<28)) < size+5 || size > 1<<20 && !t.V5() {
			break // larger than the server takes; a 3.1.1 client is not told
		}
		payload := make([]byte, size-head)
		for i := range payload {
			payload[i] = byte(i % 251)
		}
		pub.Publish(wire.Publish{Topic: topic, Payload: string(payload)})
		if got := sub.Want(wire.PUBLISH); got.Payload != string(payload) {
			t.Fatalf("%d bytes came as %d, or changed", len(payload), len(got.Payload))
		}
	}
}

// flagsOfTheServer sees each type of packet that a server sends.
func flagsOfTheServer(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	want := func(p *wire.Read, first byte) {
		if p.Raw[0] != first {
			t.Fatalf("%v, want a first byte of %#x", p, first)
		}
	}
	want(c.Connack, 0x20)
	c.Send(wire.Subscribe(t.Version, 1, 2, topic))
	want(c.Want(wire.SUBACK), 0x90)
	c.Ping()
	pub := t.Join()
	pub.Send(wire.Publish{Topic: topic, QoS: 1, ID: 2}.Bytes(t.Version))
	want(pub.Want(wire.PUBACK), 0x40)
	m := c.Want(wire.PUBLISH)
	want(m, 0x32)
	c.Send(wire.Ack(wire.PUBACK, m.ID))
	pub.Send(wire.Publish{Topic: topic, QoS: 2, ID: 3}.Bytes(t.Version))
	want(pub.Want(wire.PUBREC), 0x50)
	pub.Send(wire.Ack(wire.PUBREL, 3))
	want(pub.Want(wire.PUBCOMP), 0x70)
	m = c.Want(wire.PUBLISH)
	want(m, 0x34)
	c.Send(wire.Ack(wire.PUBREC, m.ID))
	want(c.Want(wire.PUBREL), 0x62)
	c.Send(wire.Ack(wire.PUBCOMP, m.ID))
	c.Send(wire.Unsubscribe(t.Version, 4, topic))
	want(c.Want(wire.UNSUBACK), 0xb0)
	c.Send(wire.Pingreq())
	want(c.Want(wire.PINGRESP), 0xd0)
}

// wrongFlags sets each flag of each packet that has none, and clears or changes those
// of PUBREL; SUBSCRIBE, UNSUBSCRIBE and DISCONNECT have tests of their own.
func wrongFlags(t *suite.T) {
	for _, kind := range []byte{wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP} {
		body := []byte{0, 1}
		wantFlagsRefused(t, kind, body)
	}
	wantFlagsRefused(t, wire.PINGREQ, nil)
	for bit := byte(1); bit < 16; bit <<= 1 {
		b := t.CONNECT().Bytes()
		b[0] |= bit
		refusedFor(t, b, badPacket...)
	}
}

// wantFlagsRefused wants the connection closed for each wrong flag.
func wantFlagsRefused(t *suite.T, kind byte, body []byte) {
	right := wire.Ack(kind, 1)[0] & 15
	if kind == wire.SUBSCRIBE || kind == wire.UNSUBSCRIBE {
		right = 2
	}
	for _, flags := range []byte{right ^ 1, right ^ 2, right ^ 4, right ^ 8, 15} {
		closedFor(t, wire.Packet(kind<<4|flags, body), badPacket...)
	}
}

func reservedType(t *suite.T) {
	closedFor(t, []byte{0x00, 0x00}, badPacket...)
	if !t.V5() {
		closedFor(t, []byte{0xf0, 0x00})
	}
}

// packetsOfTheOtherSide sends what only a server sends.
func packetsOfTheOtherSide(t *suite.T) {
	codes := []byte{0}
	unsuback := wire.Packet(wire.UNSUBACK<<4, uint16(1))
	connack := wire.Packet(wire.CONNACK<<4, uint16(0))
	props := []byte{}
	if t.V5() {
		props = wire.Props()
		unsuback = wire.Packet(wire.UNSUBACK<<4, uint16(1), props, codes)
		connack = wire.Packet(wire.CONNACK<<4, uint16(0), props)
	}
	for _, b := range [][]byte{
		connack, wire.Packet(wire.SUBACK<<4, uint16(1), props, codes), unsuback, wire.Packet(wire.PINGRESP << 4),
	} {
		closedFor(t, b, badPacket...)
	}
}

func packetIdentifierZero(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic)
	for _, b := range [][]byte{
		wire.Publish{Topic: topic, QoS: 1}.Bytes(t.Version),
		wire.Publish{Topic: topic, QoS: 2}.Bytes(t.Version),
		wire.Subscribe(t.Version, 0, 0, topic),
		wire.Unsubscribe(t.Version, 0, topic),
	} {
		closedFor(t, b, badPacket...)
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "next"})
	watcher.Take(topic, "next")
}

// identifiersOfTheServer withholds acknowledgements, so that all identifiers are in use,
// and sees the same ones after a reconnect.
func identifiersOfTheServer(t *suite.T) {
	p := t.Lasting()
	sub := t.Connect(p)
	topic := t.Topic()
	sub.Subscribe(2, topic)
	pub := t.Join()
	const n = 10
	for i := range n {
		pub.Publish(wire.Publish{Topic: topic, QoS: 1 + byte(i%2), ID: uint16(i + 1)})
	}
	ids := map[uint16]bool{}
	for range n {
		m := sub.Want(wire.PUBLISH)
		if m.ID == 0 || ids[m.ID] {
			t.Fatalf("packet identifier %d, in use are %v", m.ID, ids)
		}
		ids[m.ID] = true
	}
	sub.Drop()
	sub = t.Connect(p)
	sub.WaitFor(sentAgain)
	for range n {
		m := sub.Want(wire.PUBLISH)
		if !ids[m.ID] || !m.Dup {
			t.Fatalf("%v came again, identifiers were %v", m, ids)
		}
		delete(ids, m.ID)
	}
}

// noIdentifierAtQoS0 has a payload that would be a packet identifier.
func noIdentifierAtQoS0(t *suite.T) {
	topic := t.Topic()
	sub := t.Join()
	sub.Subscribe(2, topic)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "\x00\x01\x00"})
	if m := sub.Take(topic, "\x00\x01\x00"); m.QoS != 0 {
		t.Fatalf("%v, want QoS 0", m)
	}
}

func acknowledgementsRepeatTheIdentifier(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	for _, id := range []uint16{4660, 1, 65535, 256} {
		c.Publish(wire.Publish{Topic: topic, QoS: 1, ID: id})
		c.Publish(wire.Publish{Topic: topic, QoS: 2, ID: id})
	}
	sub := t.Join()
	sub.Subscribe(2, topic)
	for range 3 {
		c.Publish(wire.Publish{Topic: topic, QoS: 2, ID: 77})
		m := sub.Want(wire.PUBLISH)
		sub.Send(wire.Ack(wire.PUBREC, m.ID))
		sub.WantAck(wire.PUBREL, m.ID)
		sub.Send(wire.Ack(wire.PUBCOMP, m.ID))
	}
}

func subscriptionAnswersRepeatTheIdentifier(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	ids := []uint16{1, 65535, 256, 4660, 2}
	for _, id := range ids {
		c.Send(wire.Subscribe(t.Version, id, 0, topic), wire.Unsubscribe(t.Version, id, topic))
	}
	for _, id := range ids {
		c.WantAck(wire.SUBACK, id)
		c.WantAck(wire.UNSUBACK, id, 0)
	}
}

// propertyLengthIsThere reads packets of the server that have no properties, and sends
// packets in the form of 3.1.1, where the next field is taken for the length.
func propertyLengthIsThere(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	c.Subscribe(0, topic)
	c.Publish(wire.Publish{Topic: topic, Payload: "\x05"})
	m := c.Take(topic, "\x05")
	if want := wire.Packet(wire.PUBLISH<<4, wire.Str(topic), byte(0), "\x05"); len(m.Props) == 0 && !slices.Equal(m.Raw, want) {
		t.Fatalf("%v, want % x", m, want)
	}
	closedFor(t, wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Str(topic), byte(0)), badPacket...)
	closedFor(t, wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), wire.Str(topic)), badPacket...)
	closedFor(t, wire.Packet(wire.PUBLISH<<4, wire.Str(topic)), badPacket...)
	closedFor(t, wire.Packet(wire.PUBLISH<<4, wire.Str(topic), "hello"), badPacket...)
	p := t.CONNECT()
	refusedFor(t, wire.Packet(wire.CONNECT<<4, wire.Str(p.Name()), p.Version, p.Flags(), uint16(0), wire.Str(p.ID)), badPacket...)
}

// sample is a property with a value that is right where the property is.
func sample(id byte) []byte {
	switch id {
	case wire.PayloadFormat, wire.RequestProblemInformation, wire.RequestResponseInformation, wire.MaximumQoS,
		wire.RetainAvailable, wire.WildcardSubscriptionAvailable, wire.SubscriptionIdentifierAvailable, wire.SharedSubscriptionAvailable:
		return wire.Bytes(id, byte(1))
	case wire.MessageExpiry, wire.SessionExpiry, wire.WillDelay, wire.MaximumPacketSize:
		return wire.Bytes(id, uint32(600))
	case wire.ServerKeepAlive, wire.ReceiveMaximum, wire.TopicAliasMaximum, wire.TopicAlias:
		return wire.Bytes(id, uint16(1))
	case wire.SubscriptionIdentifier:
		return wire.Bytes(id, wire.VBI(1))
	case wire.UserProperty:
		return wire.Bytes(id, wire.Str("n"), wire.Str("v"))
	}
	return wire.Bytes(id, wire.Str("x"))
}

// packetWith is a packet of a client with properties, by where those stand: the type of
// the packet, 0 for the Will. A CONNECT begins a connection, the others follow one.
func packetWith(t *suite.T, where byte, props []byte) []byte {
	switch where {
	case 0:
		p := t.CONNECT()
		p.Will = &wire.Will{Topic: "w", Props: props}
		return p.Bytes()
	case wire.CONNECT:
		p := t.CONNECT()
		p.Props = props
		return p.Bytes()
	case wire.PUBLISH:
		return wire.Publish{Topic: "a", Props: props}.Bytes(t.Version)
	case wire.PUBREL:
		return wire.Packet(where<<4|2, uint16(1), byte(0), wire.Props(props))
	case wire.SUBSCRIBE:
		return wire.Packet(where<<4|2, uint16(1), wire.Props(props), wire.Str("a"), byte(0))
	case wire.UNSUBSCRIBE:
		return wire.Packet(where<<4|2, uint16(1), wire.Props(props), wire.Str("a"))
	case wire.DISCONNECT:
		return wire.Packet(where<<4, byte(4), wire.Props(props))
	}
	return wire.Packet(where<<4, uint16(1), byte(0), wire.Props(props))
}

// wantPropsRefused wants a client refused or closed for its properties.
func wantPropsRefused(t *suite.T, where byte, props []byte, codes ...byte) {
	b := packetWith(t, where, props)
	if where <= wire.CONNECT {
		refusedFor(t, b, codes...)
	} else {
		closedFor(t, b, codes...)
	}
}

// placesOfProperties are the packets of a client that have properties, 0 for the Will,
// but for AUTH.
var placesOfProperties = []byte{
	0, wire.CONNECT, wire.PUBLISH, wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP, wire.SUBSCRIBE, wire.UNSUBSCRIBE, wire.DISCONNECT,
}

// propertiesOfOtherPackets puts each property into each packet that may not have it,
// and identifiers that do not exist into all.
func propertiesOfOtherPackets(t *suite.T) {
	for _, where := range placesOfProperties {
		for id := range byte(0x2b) {
			if !wire.Belongs(where, id) {
				wantPropsRefused(t, where, sample(id), badPacket...)
			}
		}
		for _, props := range [][]byte{{0x2b, 0}, {0x7f, 1}, {0xff, 0x7f, 1}} {
			wantPropsRefused(t, where, props, badPacket...)
		}
	}
}

// propertiesTwice repeats each property that may stand once.
func propertiesTwice(t *suite.T) {
	for _, where := range placesOfProperties {
		for id := range byte(0x2b) {
			if !wire.Belongs(where, id) || id == wire.UserProperty {
				continue
			}
			if where == wire.PUBLISH && (id == wire.SubscriptionIdentifier || id == wire.PayloadFormat || id == wire.MessageExpiry) {
				continue // refused for other reasons, and two of which the text does not say it
			}
			props := wire.Bytes(sample(id), sample(id))
			if id == wire.AuthenticationData {
				props = append(props, sample(wire.AuthenticationMethod)...)
			}
			wantPropsRefused(t, where, props, badPacket...)
		}
	}
}

func propertiesOutOfRange(t *suite.T) {
	for _, bad := range []struct {
		where byte
		props []byte
	}{
		{wire.CONNECT, wire.Bytes(wire.ReceiveMaximum, uint16(0))},
		{wire.CONNECT, wire.Bytes(wire.MaximumPacketSize, uint32(0))},
		{wire.CONNECT, wire.Bytes(wire.RequestProblemInformation, byte(2))},
		{wire.CONNECT, wire.Bytes(wire.RequestResponseInformation, byte(2))},
		{wire.CONNECT, sample(wire.AuthenticationData)}, // without a method
		{wire.SUBSCRIBE, wire.Bytes(wire.SubscriptionIdentifier, byte(0))},
	} {
		wantPropsRefused(t, bad.where, bad.props, badPacket...)
	}
	closedFor(t, wire.Publish{Topic: "a", Props: wire.Bytes(wire.TopicAlias, uint16(0))}.Bytes(t.Version), 0x81, 0x82, 0x94)
}

// propertiesThatDoNotFit are longer than their length says, or it is beyond the packet.
func propertiesThatDoNotFit(t *suite.T) {
	for _, where := range []byte{wire.PUBLISH, wire.SUBSCRIBE, wire.UNSUBSCRIBE} {
		wantPropsRefused(t, where, []byte{wire.UserProperty, 0, 1, 'n'}, badPacket...)
		wantPropsRefused(t, where, []byte{wire.UserProperty, 0, 1, 'n', 0, 9, 'v'}, badPacket...)
	}
	wantPropsRefused(t, wire.CONNECT, []byte{wire.SessionExpiry, 0, 0}, badPacket...)
	closedFor(t, wire.Packet(wire.PUBLISH<<4, wire.Str("a"), byte(200), "few"), badPacket...)
	closedFor(t, wire.Packet(wire.PUBACK<<4, uint16(1), byte(0), byte(5)), badPacket...)
	closedFor(t, wire.Packet(wire.DISCONNECT<<4, byte(0), byte(5)), badPacket...)
}

// userPropertiesEverywhere repeats a user property in each packet that a client sends.
func userPropertiesEverywhere(t *suite.T) {
	props := wire.Bytes(sample(wire.UserProperty), sample(wire.UserProperty))
	for _, where := range placesOfProperties {
		b := packetWith(t, where, props)
		c := t.Dial(t.Target.Addr)
		if where > wire.CONNECT {
			c = t.Join()
		}
		c.Send(b)
		switch where {
		case 0, wire.CONNECT:
			if p := c.Want(wire.CONNACK); p.Code() != 0 {
				t.Fatalf("%v", p)
			}
		case wire.PUBREC:
			c.WantAck(wire.PUBREL, 1, 0x92, 0)
		case wire.PUBREL:
			c.WantAck(wire.PUBCOMP, 1, 0x92, 0)
		case wire.SUBSCRIBE:
			c.WantAck(wire.SUBACK, 1)
		case wire.UNSUBSCRIBE:
			c.WantAck(wire.UNSUBACK, 1, 0x11)
		case wire.DISCONNECT:
			c.WantEnd()
			continue
		}
		c.Ping()
	}
}

// reasonCodesOfOtherPackets sends codes that belong elsewhere.
func reasonCodesOfOtherPackets(t *suite.T) {
	for _, b := range [][]byte{
		wire.AckReason(wire.PUBACK, 1, 0x01), wire.AckReason(wire.PUBACK, 1, 0x92), wire.AckReason(wire.PUBREC, 1, 0x7f),
		wire.AckReason(wire.PUBREL, 1, 0x80), wire.AckReason(wire.PUBCOMP, 1, 0x10),
		wire.Packet(wire.DISCONNECT<<4, byte(0x01), byte(0)), wire.Packet(wire.DISCONNECT<<4, byte(0x84)),
	} {
		closedFor(t, b, badPacket...)
	}
}

// cutAndOverlongPackets ends packets inside a field, or later than their last one; the
// Will tells that it was no good end.
func cutAndOverlongPackets(t *suite.T) {
	watcher := t.Join()
	topic := t.Topic()
	watcher.Subscribe(0, topic)
	publish := wire.Publish{Topic: "a", QoS: 1, ID: 1}.Bytes(t.Version)
	for _, b := range [][]byte{
		wire.Packet(wire.PUBACK<<4, byte(0)),
		wire.Packet(wire.PUBREL<<4|2, byte(0)),
		wire.Packet(wire.PUBLISH<<4, "\x00\x32a/b"),
		wire.Packet(wire.PUBLISH<<4|2, wire.Str("a/b"), byte(1)),
		wire.Packet(publish[0], publish[2:4]),
		wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t), "\x00\x09abc"),
		wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), noProps(t), wire.Str("abc")),
		wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), noProps(t), "\x00\x09abc"),
		wire.Packet(wire.PINGREQ<<4, byte(0)),
	} {
		p := t.CONNECT()
		p.Will = &wire.Will{Topic: topic, Payload: "gone"}
		c := t.Connect(p)
		c.Send(b)
		c.WantClosed(badPacket...)
		watcher.Take(topic, "gone")
	}
	b := t.CONNECT().Bytes()
	refusedFor(t, wire.Packet(b[0], b[2:len(b)-1]), badPacket...)
	refusedFor(t, wire.Packet(b[0], b[2:], byte(0)), badPacket...)
}

// largeExchangeInOrder sends many messages in few pieces over TCP, and gets them all, in
// order.
func largeExchangeInOrder(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	c.Subscribe(0, topic)
	const n = 300
	var all []byte
	for i := range n {
		all = append(all, wire.Publish{Topic: topic, Payload: string(wire.Bytes(uint16(i), make([]byte, 200)))}.Bytes(t.Version)...)
	}
	for len(all) > 0 {
		size := min(len(all), 997)
		c.Send(all[:size])
		all = all[size:]
	}
	for i := range n {
		c.Take(topic, string(wire.Bytes(uint16(i), make([]byte, 200))))
	}
}

// noExtensionIsNeeded uses what the specification has and nothing else.
func noExtensionIsNeeded(t *suite.T) {
	topic := t.Topic()
	p := t.CONNECT()
	p.KeepAlive = 60
	c := t.Connect(p)
	if len(c.Connack.Raw) != 4 {
		t.Fatalf("%v, want 4 bytes", c.Connack)
	}
	for qos := range byte(3) {
		c.Subscribe(qos, topic)
		c.Send(wire.Publish{Topic: topic, Payload: "m"}.Bytes(t.Version))
		c.Take(topic, "m")
	}
	c.Ping()
	c.Leave()
}

// gatewayThatConnectsOut is a server for its clients and a client for its upstream, at
// the same time. What binds it as a client has tests of its own.
func gatewayThatConnectsOut(t *suite.T) {
	addr, up := t.Upstream("down/#")
	c := t.Dial(addr).Accepted(t.CONNECT())
	c.Subscribe(0, "down/+")
	up.Send(wire.Publish{Topic: "down/a", Payload: "1"}.Bytes(t.Version))
	c.Take("down/a", "1")
	c.Publish(wire.Publish{Topic: "up/b", Payload: "2", QoS: 1})
	up.Take("up/b", "2")
}
