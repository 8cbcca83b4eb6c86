package server

import (
	"slices"
	"strconv"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// flow is section 4.9 of MQTT 5.0, flow control, and Receive Maximum in section 3.3.4.
var flow = []suite.Test{
	{V5: "3.3.4-9 4.9.0-1 4.9.0-2", Run: receiveMaximumAtQoS1},
	{V5: "3.3.4-9 4.9.0-1 4.9.0-2", Run: receiveMaximumAtQoS2},
	{V5: "3.3.4-9 4.9.0-1", Run: receiveMaximumAfterReconnect},
	{V5: "RULE-4.9.0-A", Run: quotaStaysBelowReceiveMaximum},
	{V5: "RULE-4.9.0-C", Run: failureGivesBackQuota},
	{V5: "3.3.4-10 4.9.0-3", Run: otherPacketsAtQuotaZero},
	{V5: "3.3.4-7", Run: clientAboveReceiveMaximum},
	{V5: "RULE-4.9.0-B", Run: clientAtReceiveMaximum},
}

// narrow connects a client with a Receive Maximum that subscribes to topic at QoS 2.
func narrow(t *suite.T, most uint16, topic string) *suite.Conn {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.ReceiveMaximum, most)
	c := t.Connect(p)
	c.Subscribe(2, topic)
	return c
}

// publishNumbers publishes 0 to n-1.
func publishNumbers(t *suite.T, topic string, qos byte, n int) {
	pub := t.Join()
	for i := range n {
		pub.Publish(wire.Publish{Topic: topic, Payload: strconv.Itoa(i), QoS: qos})
	}
}

// wantNumbers wants the messages from..to-1 and nothing else, and returns their packet
// identifiers.
func wantNumbers(c *suite.Conn, topic string, from, to int) (ids []uint16) {
	for i := from; i < to; i++ {
		ids = append(ids, c.WantPublish(topic, strconv.Itoa(i)).ID)
	}
	c.Ping()
	return ids
}

func receiveMaximumAtQoS1(t *suite.T) {
	for _, most := range []int{1, 3} {
		topic := t.Topic()
		sub := narrow(t, uint16(most), topic)
		publishNumbers(t, topic, 1, 10)
		ids := wantNumbers(sub, topic, 0, most)
		for next := most; next < 10; next++ {
			last := len(ids) - 1
			sub.Send(wire.Ack(wire.PUBACK, ids[last])) // the newest, so that the oldest stays
			ids = append(ids[:last], wantNumbers(sub, topic, next, next+1)...)
		}
	}
}

// receiveMaximumAtQoS2 is freed by PUBCOMP, or by a PUBREC that fails, and not by one
// that goes on.
func receiveMaximumAtQoS2(t *suite.T) {
	topic := t.Topic()
	sub := narrow(t, 2, topic)
	publishNumbers(t, topic, 2, 8)
	ids := wantNumbers(sub, topic, 0, 2)
	for next := 2; next < 8; next += 2 {
		sub.Send(wire.Ack(wire.PUBREC, ids[0]))
		sub.WantAck(wire.PUBREL, ids[0])
		sub.Ping()
		sub.Send(wire.AckReason(wire.PUBREC, ids[1], 0x97))
		second := wantNumbers(sub, topic, next, next+1)
		sub.Send(wire.Ack(wire.PUBCOMP, ids[0]))
		ids = append(second, wantNumbers(sub, topic, next+1, next+2)...)
	}
}

// receiveMaximumAfterReconnect is that of the new connection; what is sent again counts.
func receiveMaximumAfterReconnect(t *suite.T) {
	p, topic := t.Lasting(), t.Topic()
	lasting := p.Props
	connect := func(most uint16) *suite.Conn {
		p.Props = append(slices.Clone(lasting), wire.Bytes(wire.ReceiveMaximum, most)...)
		return t.Connect(p)
	}
	sub := connect(5)
	sub.Subscribe(1, topic)
	publishNumbers(t, topic, 1, 8)
	wantNumbers(sub, topic, 0, 5)
	sub.Drop()
	sub = connect(2)
	ids := wantNumbers(sub, topic, 0, 2)
	sub.Send(wire.Ack(wire.PUBACK, ids[0]))
	wantNumbers(sub, topic, 2, 3)
	sub.Drop()
	sub = connect(6)
	wantNumbers(sub, topic, 1, 7)
}

// quotaStaysBelowReceiveMaximum sends acknowledgements that end nothing before the first message.
func quotaStaysBelowReceiveMaximum(t *suite.T) {
	topic := t.Topic()
	sub := narrow(t, 2, topic)
	sub.Send(wire.Ack(wire.PUBACK, 4711), wire.Ack(wire.PUBCOMP, 4712))
	publishNumbers(t, topic, 1, 6)
	wantNumbers(sub, topic, 0, 2)
}

// failureGivesBackQuota plays handshakes that fail, one message in flight at a time.
func failureGivesBackQuota(t *suite.T) {
	topic := t.Topic()
	sub, pub := narrow(t, 1, topic), t.Join()
	for _, code := range []byte{0x80, 0x99} {
		for _, qos := range []byte{1, 2} {
			t.Step("code %#x at QoS %d", code, qos)
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: qos})
			sub.Send(wire.AckReason(wire.PUBACK+qos-1, sub.WantPublish(topic, "x").ID, code))
		}
	}
	sub.Ping()
}

// otherPacketsAtQuotaZero are answered while the client owes an acknowledgement: the
// handshakes of both sides, SUBSCRIBE, UNSUBSCRIBE, PINGREQ.
func otherPacketsAtQuotaZero(t *suite.T) {
	topic := t.Topic()
	sub := narrow(t, 1, topic)
	publishNumbers(t, topic, 2, 3)
	id := wantNumbers(sub, topic, 0, 1)[0]
	other := t.Topic()
	play := func() {
		sub.Subscribe(1, other)
		sub.Send(wire.Unsubscribe(t.Version, 5, other))
		sub.WantAck(wire.UNSUBACK, 5)
		for _, qos := range []byte{0, 1, 2} {
			sub.Publish(wire.Publish{Topic: other, Payload: "x", QoS: qos})
		}
		sub.Ping()
	}
	play()
	sub.Send(wire.Ack(wire.PUBREC, id))
	sub.WantAck(wire.PUBREL, id)
	play()
	sub.Send(wire.Ack(wire.PUBCOMP, id))
	sub.Take(topic, "1")
	sub.Take(topic, "2")
}

// maximum connects to where the server's Receive Maximum is low enough to reach.
func maximum(t *suite.T) (c *suite.Conn, most int) {
	addr := t.Target.Limited
	if addr == "" {
		addr = t.Target.Addr
	}
	c = t.Dial(addr).Accepted(t.CONNECT())
	if most = int(c.Connack.Props.Int(wire.ReceiveMaximum, 65535)); most > 1000 {
		t.Skip("a Receive Maximum of " + strconv.Itoa(most) + " is not reached")
	}
	return c, most
}

// begin begins n messages at QoS 2, with packet identifiers from on.
func begin(t *suite.T, c *suite.Conn, topic string, from, n int) {
	for i := range n {
		id := uint16(from + i)
		c.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 2, ID: id}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, id)
	}
}

// clientAboveReceiveMaximum begins one message too many at QoS 2, and in another
// connection one at QoS 1.
func clientAboveReceiveMaximum(t *suite.T) {
	for _, qos := range []byte{1, 2} {
		c, most := maximum(t)
		topic := t.Topic()
		begin(t, c, topic, 1, most)
		c.Send(wire.Publish{Topic: topic, Payload: "one too many", QoS: qos, ID: uint16(most + 1)}.Bytes(t.Version))
		c.WantClosed(0x93)
	}
}

// clientAtReceiveMaximum goes as far as it may, again and again. What is repeated is no
// further message; QoS 0 does not count; what is refused counts no more.
func clientAtReceiveMaximum(t *suite.T) {
	c, most := maximum(t)
	topic := t.Topic()
	for round := range 3 {
		from := 1 + round*most
		begin(t, c, topic, from, most)
		c.Publish(wire.Publish{Topic: topic, Payload: "QoS 0"})
		c.Send(wire.Publish{Topic: topic, Payload: "x", QoS: 2, ID: uint16(from), Dup: true}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, uint16(from))
		c.Ping()
		for i := range most {
			c.Send(wire.Ack(wire.PUBREL, uint16(from+i)))
			c.WantAck(wire.PUBCOMP, uint16(from+i))
		}
	}
	for i := range 2 * most {
		c.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1, ID: uint16(1 + i)})
	}
}
