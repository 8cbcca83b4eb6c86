package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// acknowledgements is PUBACK, PUBREC, PUBREL and PUBCOMP. That their codes are listed
// ones is looked at in every packet, see package wire.
var acknowledgements = []suite.Test{
	{V5: "3.4.2-1 3.5.2-1 RULE-3.4.2-C", Run: codeTellsOfSubscribers},
	{V5: "3.4.2-1 3.5.2-1", Run: codeOfRefusedPublish},
	{V5: "3.6.2-1", Run: pubrecOfUnknownIdentifier},
	{V311: "4.3.3-2", V5: "3.7.2-1 4.3.3-11", Run: pubrelOfUnknownIdentifier},
	{V311: "RULE-4.3.3-A", V5: "RULE-4.3.3-A", Run: strayAcknowledgementsAreIgnored},
	{V5: "3.4.2-2 3.4.2-3", Run: pubackFitsTheClient},
	{V5: "3.5.2-2 3.5.2-3", Run: pubrecFitsTheClient},
	{V5: "3.6.2-2 3.6.2-3", Run: pubrelFitsTheClient},
	{V5: "3.7.2-2 3.7.2-3", Run: pubcompFitsTheClient},
	{V311: "3.6.1-1", V5: "3.6.1-1", Run: pubrelFlags},
	{V5: "RULE-3.4.2-A", Run: formsOfPuback},
	{V5: "RULE-3.5.2-A RULE-3.7.2-A", Run: formsOfPubrecAndPubcomp},
	{V5: "RULE-3.6.2-A", Run: formsOfPubrel},
	{V5: "RULE-3.4.2-B", Run: malformedPuback},
	{V5: "RULE-3.5.2-B", Run: malformedPubrec},
	{V5: "RULE-3.6.2-B", Run: malformedPubrel},
	{V5: "RULE-3.7.2-B", Run: malformedPubcomp},
	{V311: "RULE-3.4.1-A", Run: longAcknowledgement},
}

// codeTellsOfSubscribers wants No matching subscribers only where there is none.
func codeTellsOfSubscribers(t *suite.T) {
	pub, sub, topic := pair(t)
	for _, qos := range []byte{1, 2} {
		ack := wire.PUBACK + qos - 1
		pub.Send(wire.Publish{Topic: t.Topic(), Payload: "x", QoS: qos, ID: 3}.Bytes(t.Version))
		pub.WantAck(ack, 3, 0, 0x10)
		pub.Send(wire.Publish{Topic: topic, Payload: "x", QoS: qos, ID: 4}.Bytes(t.Version))
		pub.WantAck(ack, 4, 0)
		if qos == 2 {
			pub.Send(wire.Ack(wire.PUBREL, 3), wire.Ack(wire.PUBREL, 4))
			pub.WantAck(wire.PUBCOMP, 3)
			pub.WantAck(wire.PUBCOMP, 4)
		}
		sub.Take(topic, "x")
	}
}

// codeOfRefusedPublish publishes where clients of most servers may not. Any listed code
// will do, and so will an end.
func codeOfRefusedPublish(t *suite.T) {
	for _, qos := range []byte{1, 2} {
		c := t.Join()
		c.Send(wire.Publish{Topic: "$SYS/" + t.Topic(), Payload: "x", QoS: qos, ID: 7}.Bytes(t.Version))
		p := c.NextOrEnd()
		if p != nil && p.Type != wire.DISCONNECT && (p.Type != wire.PUBACK+qos-1 || p.ID != 7) {
			t.Fatalf("%v, want the acknowledgement of QoS %d, or an end", p, qos)
		}
	}
}

// pubrecOfUnknownIdentifier is no error: PUBREL says that nothing is known of it, or
// simply goes on.
func pubrecOfUnknownIdentifier(t *suite.T) {
	c := t.Join()
	c.Send(wire.Ack(wire.PUBREC, 4711))
	c.WantAck(wire.PUBREL, 4711, 0, 0x92)
	c.Send(wire.AckReason(wire.PUBCOMP, 4711, 0x92))
	c.Ping()
}

func pubrelOfUnknownIdentifier(t *suite.T) {
	c := t.Join()
	c.Send(wire.Ack(wire.PUBREL, 4711))
	c.WantAck(wire.PUBCOMP, 4711, 0, 0x92)
	c.Ping()
}

// strayAcknowledgementsAreIgnored has a message in flight at QoS 1, whose handshake
// goes on as if nothing had been.
func strayAcknowledgementsAreIgnored(t *suite.T) {
	pub, sub, topic := pair(t)
	sub.Send(wire.Ack(wire.PUBACK, 4711), wire.Ack(wire.PUBCOMP, 4711))
	sub.Ping()
	pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2})
	p := sub.WantPublish(topic, "x")
	sub.Send(wire.Ack(wire.PUBACK, p.ID+1), wire.Ack(wire.PUBCOMP, p.ID+1))
	sub.Ping()
	sub.Send(wire.Ack(wire.PUBREC, p.ID))
	sub.WantAck(wire.PUBREL, p.ID)
	sub.Send(wire.Ack(wire.PUBCOMP, p.ID))
	sub.Ping()
}

// answersFit connects with the least Maximum Packet Size for which CONNACK fits, and sends
// what a server may have something to say about.
func answersFit(t *suite.T, provocations ...[]byte) {
	p := t.CONNECT()
	most := len(t.Connect(p).Connack.Raw)
	p.Props = wire.Bytes(wire.MaximumPacketSize, uint32(most))
	for _, provocation := range provocations {
		t.Step("answer to % x", provocation)
		c := t.Connect(p)
		c.Send(provocation, wire.Pingreq())
		for answer := c.NextOrEnd(); answer != nil && answer.Type != wire.PINGRESP; answer = c.NextOrEnd() {
			if len(answer.Raw) > most {
				t.Fatalf("%v has %d bytes, where %d are accepted", answer, len(answer.Raw), most)
			}
		}
	}
}

// publishTwice is a PUBLISH that most servers refuse, and one that nobody wants.
func publishTwice(t *suite.T, qos byte) [][]byte {
	return [][]byte{
		wire.Publish{Topic: "$SYS/" + t.Topic(), Payload: "x", QoS: qos, ID: 7}.Bytes(t.Version),
		wire.Publish{Topic: t.Topic(), Payload: "x", QoS: qos, ID: 7}.Bytes(t.Version),
	}
}

func pubackFitsTheClient(t *suite.T)  { answersFit(t, publishTwice(t, 1)...) }
func pubrecFitsTheClient(t *suite.T)  { answersFit(t, publishTwice(t, 2)...) }
func pubrelFitsTheClient(t *suite.T)  { answersFit(t, wire.Ack(wire.PUBREC, 4711)) }
func pubcompFitsTheClient(t *suite.T) { answersFit(t, wire.Ack(wire.PUBREL, 4711)) }

func pubrelFlags(t *suite.T) {
	for _, flags := range []byte{0, 1, 3, 4, 6, 8, 10, 15} {
		t.Step("PUBREL with flags %#x", flags)
		c := t.Join()
		c.Send(wire.Publish{Topic: t.Topic(), Payload: "x", QoS: 2, ID: 1}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, 1)
		c.Send(wire.Packet(wire.PUBREL<<4|flags, uint16(1)))
		if p := c.NextOrEnd(); p != nil {
			if p.Type != wire.DISCONNECT || p.Code() != 0x81 {
				t.Fatalf("%v, want the end of the connection", p)
			}
			c.WantEnd()
		}
	}
}

// forms are the ways in which an acknowledgement may be written: code and properties
// may be left out.
func forms(kind byte, id uint16, codes ...byte) (list [][]byte) {
	first := wire.Ack(kind, id)[0]
	list = append(list, wire.Ack(kind, id))
	for _, code := range codes {
		list = append(list,
			wire.Packet(first, id, code),
			wire.Packet(first, id, code, wire.Props()),
			wire.Packet(first, id, code, wire.Props(wire.ReasonString, wire.Str("why"))),
			wire.Packet(first, id, code, wire.Props(
				wire.UserProperty, wire.Str("a"), wire.Str("1"),
				wire.ReasonString, wire.Str(""),
				wire.UserProperty, wire.Str("a"), wire.Str("2"))))
	}
	return list
}

// The server may have one message in flight at a time: that it sends the next one shows
// that it understood the acknowledgement.

func formsOfPuback(t *suite.T) {
	topic := t.Topic()
	sub, pub := narrow(t, 1, topic), t.Join()
	for _, code := range []byte{0, 0x10, 0x83} {
		for i := range forms(wire.PUBACK, 0, code) {
			t.Step("code %#x in form %d", code, i)
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1})
			sub.Send(forms(wire.PUBACK, sub.WantPublish(topic, "x").ID, code)[i])
		}
	}
	sub.Ping()
}

func formsOfPubrecAndPubcomp(t *suite.T) {
	topic := t.Topic()
	sub, pub := narrow(t, 1, topic), t.Join()
	for _, code := range []byte{0, 0x92} {
		for i := range forms(wire.PUBREC, 0, 0) {
			t.Step("PUBCOMP with code %#x in form %d", code, i)
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2})
			id := sub.WantPublish(topic, "x").ID
			sub.Send(forms(wire.PUBREC, id, 0)[i])
			sub.WantAck(wire.PUBREL, id)
			sub.Send(forms(wire.PUBCOMP, id, code)[i])
		}
	}
	sub.Ping()
}

func formsOfPubrel(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	for _, code := range []byte{0, 0x92} {
		for i, pubrel := range forms(wire.PUBREL, 5, code) {
			t.Step("code %#x in form %d", code, i)
			pub.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 2, ID: 5}.Bytes(t.Version))
			pub.WantAck(wire.PUBREC, 5)
			pub.Send(pubrel)
			pub.WantAck(wire.PUBCOMP, 5, 0, 0x92)
		}
	}
	pub.Ping()
}

// malformed has a reason string twice, properties of other packets, properties that do
// not fit, and half a packet identifier.
func malformed(t *suite.T, kind byte) {
	reason := wire.Bytes(wire.ReasonString, wire.Str("why"))
	for _, parts := range [][]byte{
		wire.Bytes(uint16(1), byte(0), wire.Props(slices.Concat(reason, reason))),
		wire.Bytes(uint16(1), byte(0), wire.Props(wire.MessageExpiry, uint32(1))),
		wire.Bytes(uint16(1), byte(0), wire.Props(wire.ReasonString, wire.Str("\xff"))),
		wire.Bytes(uint16(1), byte(0), wire.VBI(9), reason),
		wire.Bytes(uint16(1), byte(0), wire.VBI(3), reason),
		wire.Bytes(uint16(1), byte(0), wire.Props(), reason),
		wire.Bytes(byte(1)),
	} {
		t.Step("% x", parts)
		c := t.Join()
		c.Send(wire.Packet(wire.Ack(kind, 1)[0], parts))
		c.WantClosed(0x81, 0x82)
	}
}

func malformedPuback(t *suite.T)  { malformed(t, wire.PUBACK) }
func malformedPubrec(t *suite.T)  { malformed(t, wire.PUBREC) }
func malformedPubrel(t *suite.T)  { malformed(t, wire.PUBREL) }
func malformedPubcomp(t *suite.T) { malformed(t, wire.PUBCOMP) }

// longAcknowledgement has a code, which 3.1.1 knows not.
func longAcknowledgement(t *suite.T) {
	for _, kind := range []byte{wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP} {
		for _, parts := range [][]byte{{0, 1, 0}, {0, 1, 0, 0}, {1}, {}} {
			t.Step("type %d, % x", kind, parts)
			c := t.Join()
			c.Send(wire.Packet(wire.Ack(kind, 1)[0], parts))
			c.WantClosed()
		}
	}
}
