package server

import (
	"slices"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// qos is sections 4.1 to 4.6: delivery, order and state.
var qos = slices.Concat(delivery, order, state)

// delivery is the handshakes of QoS 1 and 2.
var delivery = []suite.Test{
	{V311: "RULE-4.2.0-A", V5: "4.2-1", Run: bytesInAnyPieces},
	{V311: "4.3.2-1 4.3.3-1", V5: "4.3.2-1 4.3.2-2 4.3.3-1 4.3.3-2", Run: identifiersInFlightDiffer},
	{V311: "4.3.2-2", V5: "4.3.2-4 4.3.2-5", Run: identifierIsNewAfterPuback},
	{V311: "4.3.3-1", V5: "4.3.3-4", Run: pubrelAnswersPubrec},
	{V5: "4.3.3-4", Run: noPubrelAfterFailure},
	{V311: "4.3.3-2", V5: "4.3.3-10 4.3.3-12", Run: repeatedUntilPubrel},
	{V311: "4.3.3-2 4.4.0-1", V5: "4.3.3-10 4.3.3-11", Run: repeatedAfterReconnect},
	{V311: "RULE-4.3.3-B", V5: "RULE-4.3.3-B", Run: identifiersOfBothSidesApart},
	{V5: "4.3.3-9", Run: identifierIsFreeAfterFailure},
	{V5: "4.3.3-7", Run: sentMessageDoesNotExpire},
	{V5: "4.3.3-13", Run: handshakeOutlivesExpiry},
	{V311: "4.5.0-1", V5: "4.5.0-1", Run: messageGoesToEverySession},
}

// bytesInAnyPieces sends packets byte by byte, and many packets in one piece.
func bytesInAnyPieces(t *suite.T) {
	pub, sub, topic := pair(t)
	packet := wire.Publish{Topic: topic, Payload: "in pieces", QoS: 1, ID: 3}.Bytes(t.Version)
	for _, b := range packet {
		pub.Send([]byte{b})
	}
	pub.WantAck(wire.PUBACK, 3)
	sub.Take(topic, "in pieces")
	pub.Send(slices.Concat(packet, wire.Pingreq(), packet, packet, wire.Pingreq(), packet[:5]))
	sub.Take(topic, "in pieces")
	sub.Take(topic, "in pieces")
	sub.Take(topic, "in pieces")
	pub.Send(packet[5:])
	sub.Take(topic, "in pieces")
}

// identifiersInFlightDiffer holds back acknowledgements. One whose PUBCOMP is to come
// is in use like the others.
func identifiersInFlightDiffer(t *suite.T) {
	pub, sub, topic := pair(t)
	inUse := map[uint16]bool{}
	receive := func(qos byte) uint16 {
		pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: qos})
		p := sub.WantPublish(topic, "x")
		if inUse[p.ID] || p.Dup {
			t.Fatalf("%v, want a new packet identifier and no DUP; in use are %v", p, inUse)
		}
		inUse[p.ID] = true
		return p.ID
	}
	for range 4 {
		receive(1)
		id := receive(2)
		sub.Send(wire.Ack(wire.PUBREC, id))
		sub.WantAck(wire.PUBREL, id)
	}
	for range 20 {
		id := receive(1)
		delete(inUse, id)
		sub.Send(wire.Ack(wire.PUBACK, id))
		id = receive(2)
		delete(inUse, id)
		sub.Send(wire.Ack(wire.PUBREC, id))
		sub.WantAck(wire.PUBREL, id)
		sub.Send(wire.Ack(wire.PUBCOMP, id))
	}
}

// identifierIsNewAfterPuback uses one packet identifier for three messages.
func identifierIsNewAfterPuback(t *suite.T) {
	pub, sub, topic := pair(t)
	for range 3 {
		pub.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 1, ID: 5, Dup: true}.Bytes(t.Version))
		pub.WantAck(wire.PUBACK, 5)
		sub.Take(topic, "x")
	}
}

// pubrelAnswersPubrec answers three messages in an order of its own.
func pubrelAnswersPubrec(t *suite.T) {
	pub, sub, topic := pair(t)
	var ids []uint16
	for range 3 {
		pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2})
		ids = append(ids, sub.WantPublish(topic, "x").ID)
	}
	sub.Ping() // no PUBREL before PUBREC
	for _, i := range []int{1, 2, 0} {
		sub.Send(wire.Ack(wire.PUBREC, ids[i]))
		sub.WantAck(wire.PUBREL, ids[i])
	}
	sub.Ping()
	for _, id := range ids {
		sub.Send(wire.Ack(wire.PUBCOMP, id))
	}
	sub.Ping()
}

func noPubrelAfterFailure(t *suite.T) {
	pub, sub, topic := pair(t)
	for _, code := range []byte{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99} {
		pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2})
		sub.Send(wire.AckReason(wire.PUBREC, sub.WantPublish(topic, "x").ID, code))
		sub.Ping()
	}
}

// repeatedUntilPubrel repeats a message with DUP. It is delivered once; the one after
// PUBCOMP is another message, although it has DUP.
func repeatedUntilPubrel(t *suite.T) {
	pub, sub, topic := pair(t)
	times := 3
	if t.V5() {
		times = 2 // a client must not repeat on one connection at all: a server may lose patience
	}
	for round := range 2 {
		for i := range times {
			pub.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7, Dup: round+i > 0}.Bytes(t.Version))
			pub.WantAck(wire.PUBREC, 7)
		}
		pub.Send(wire.Ack(wire.PUBREL, 7))
		pub.WantAck(wire.PUBCOMP, 7)
	}
	pub.Publish(wire.Publish{Topic: topic, Payload: "end", QoS: 2, ID: 8})
	if got := payloads(collect(t, sub, "end")); !slices.Equal(got, []string{"x", "x", "end"}) {
		t.Fatalf("%q came, want two messages and the end", got)
	}
}

// repeatedAfterReconnect loses the connection after each step of a publisher. The server
// sees each end: it may lock out those who push each other out over and over.
func repeatedAfterReconnect(t *suite.T) {
	_, sub, topic := pair(t)
	p := t.Lasting()
	message := wire.Publish{Topic: topic, Payload: "x", QoS: 2, ID: 7}
	pub := t.Connect(p)
	for range 3 {
		pub.Send(message.Bytes(t.Version))
		pub.WantAck(wire.PUBREC, 7)
		lost(pub)
		pub = t.Connect(p)
		if !pub.Connack.Present {
			t.Fatalf("no session to resume")
		}
		message.Dup = true
	}
	for range 2 {
		pub.Send(wire.Ack(wire.PUBREL, 7))
		pub.WantAck(wire.PUBCOMP, 7, 0, 0x92)
		lost(pub)
		pub = t.Connect(p)
	}
	pub.Publish(wire.Publish{Topic: topic, Payload: "end", QoS: 2, ID: 7})
	if got := payloads(collect(t, sub, "end")); !slices.Equal(got, []string{"x", "end"}) {
		t.Fatalf("%q came, want the message once, and the end", got)
	}
}

// identifiersOfBothSidesApart has a client receive and send under one packet identifier,
// and another client send under it as well.
func identifiersOfBothSidesApart(t *suite.T) {
	pub, sub, topic := pair(t)
	up := t.Topic()
	end := t.Join()
	end.Subscribe(2, up)
	pub.Publish(wire.Publish{Topic: topic, Payload: "down", QoS: 2})
	id := sub.WantPublish(topic, "down").ID
	for _, c := range []*suite.Conn{sub, pub} {
		c.Send(wire.Publish{Topic: up, Payload: "up", QoS: 2, ID: id}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, id)
	}
	sub.Send(wire.Ack(wire.PUBREC, id))
	sub.WantAck(wire.PUBREL, id)
	for _, c := range []*suite.Conn{sub, pub} {
		c.Send(wire.Ack(wire.PUBREL, id))
		c.WantAck(wire.PUBCOMP, id)
	}
	sub.Send(wire.Ack(wire.PUBCOMP, id))
	sub.Ping()
	pub.Publish(wire.Publish{Topic: up, Payload: "end", QoS: 2})
	if got := payloads(collect(t, end, "end")); !slices.Equal(got, []string{"up", "up", "end"}) {
		t.Fatalf("%q came, want both messages and the end", got)
	}
}

// identifierIsFreeAfterFailure has a message refused, and sends another with its packet
// identifier.
func identifierIsFreeAfterFailure(t *suite.T) {
	pub, sub, topic := pair(t)
	pub.Send(wire.Publish{Topic: "$SYS/" + topic, Payload: "x", QoS: 2, ID: 7}.Bytes(t.Version))
	if p := pub.NextOrEnd(); p == nil || p.Type != wire.PUBREC || p.Code() < 0x80 {
		t.Skip("the server refuses no message by PUBREC")
	}
	pub.Send(wire.Publish{Topic: topic, Payload: "new", QoS: 2, ID: 7}.Bytes(t.Version))
	p := pub.NextOrEnd()
	if p == nil {
		t.Skip("the server closes the connection after a refusal")
	}
	if p.Type != wire.PUBREC || p.Code() >= 0x80 {
		t.Fatalf("%v, want PUBREC", p)
	}
	pub.Send(wire.Ack(wire.PUBREL, 7))
	pub.WantAck(wire.PUBCOMP, 7)
	sub.Take(topic, "new")
}

// sentMessageDoesNotExpire once its PUBLISH has gone out.
func sentMessageDoesNotExpire(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	p := t.Lasting()
	sub := t.Connect(p)
	sub.Subscribe(2, topic)
	pub.Publish(wire.Publish{Topic: topic, Payload: "short", QoS: 2, Props: wire.Bytes(wire.MessageExpiry, uint32(2))})
	first := sub.WantPublish(topic, "short")
	time.Sleep(3100 * time.Millisecond)
	sub.Drop()
	again := t.Connect(p).Take(topic, "short")
	if again.ID != first.ID || !again.Dup {
		t.Fatalf("%v, want %v again", again, first)
	}
}

// handshakeOutlivesExpiry stops in the middle of handshakes of both sides until the
// message has expired.
func handshakeOutlivesExpiry(t *suite.T) {
	pub, sub, topic := pair(t)
	late := t.Join()
	late.Subscribe(2, topic)
	expiry := wire.Bytes(wire.MessageExpiry, uint32(2))
	pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2, Props: expiry})
	released := sub.WantPublish(topic, "x").ID
	sub.Send(wire.Ack(wire.PUBREC, released))
	sub.WantAck(wire.PUBREL, released)
	received := late.WantPublish(topic, "x").ID
	pub.Send(wire.Publish{Topic: t.Topic(), Payload: "x", QoS: 2, ID: 7, Props: expiry}.Bytes(t.Version))
	pub.WantAck(wire.PUBREC, 7)
	time.Sleep(3100 * time.Millisecond)
	pub.Send(wire.Ack(wire.PUBREL, 7))
	pub.WantAck(wire.PUBCOMP, 7)
	sub.Send(wire.Ack(wire.PUBCOMP, released))
	sub.Ping()
	late.Send(wire.Ack(wire.PUBREC, received))
	late.WantAck(wire.PUBREL, received)
	late.Send(wire.Ack(wire.PUBCOMP, received))
	late.Ping()
}

// messageGoesToEverySession of clients that are here and that are away, and of the
// publisher itself.
func messageGoesToEverySession(t *suite.T) {
	for _, qos := range []byte{1, 2} {
		topic := t.Topic()
		leaves := t.Lasting()
		pub, first, second, away := t.Join(), t.Join(), t.Connect(t.Lasting()), t.Connect(leaves)
		for _, c := range []*suite.Conn{pub, first, second, away} {
			c.Subscribe(2, topic)
		}
		away.Leave()
		t.Join().Publish(wire.Publish{Topic: topic, Payload: "of another", QoS: qos})
		pub.Take(topic, "of another")
		pub.Send(wire.Publish{Topic: topic, Payload: "own", QoS: qos, ID: 1}.Bytes(t.Version))
		for came := 0; came < 2; {
			switch p := pub.Next(); {
			case p.Type == wire.PUBLISH && p.QoS == 1:
				pub.Send(wire.Ack(wire.PUBACK, p.ID))
				came++
			case p.Type == wire.PUBLISH:
				pub.Send(wire.Ack(wire.PUBREC, p.ID))
			case p.Type == wire.PUBREL:
				pub.Send(wire.Ack(wire.PUBCOMP, p.ID))
				came++
			case p.Type == wire.PUBREC:
				pub.Send(wire.Ack(wire.PUBREL, p.ID))
			default: // PUBACK or PUBCOMP
				came++
			}
		}
		for _, c := range []*suite.Conn{first, second, t.Connect(leaves)} {
			if got := payloads(collect(t, c, "own")); !slices.Equal(got, []string{"of another", "own"}) {
				t.Fatalf("%q came at QoS %d, want both messages", got, qos)
			}
		}
	}
}
