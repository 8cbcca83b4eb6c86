package server

import (
	"slices"
	"strconv"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// order is section 4.6. What 5.0 says of the acknowledgements of clients alone, servers
// are held to by 3.1.1, and do in both.
var order = []suite.Test{
	{V311: "4.6.0-2", V5: "4.6.0-2", Run: pubacksInOrder},
	{V311: "4.6.0-3", V5: "4.6.0-3", Run: pubrecsInOrder},
	{V311: "4.6.0-4", V5: "4.6.0-4", Run: pubrelsInOrder},
	{V311: "4.6.0-5 4.6.0-6", V5: "4.6.0-5 4.6.0-6", Run: messagesInOrder},
	{V311: "4.6.0-5 4.6.0-6", V5: "4.6.0-5 4.6.0-6", Run: messagesInOrderAfterAbsence},
}

// mixed publishes at a QoS, all at once, to topics that nobody wants, that a client
// wants who is here, and that one wants who is away: what a server has to do before it
// may acknowledge differs. It returns the packet identifiers in their order.
func mixed(t *suite.T, pub *suite.Conn, qos byte) (ids []uint16) {
	here, kept := t.Topic(), t.Topic()
	p := t.Lasting()
	t.Away(p, 2, kept)
	t.Join().Subscribe(2, here)
	n := min(12, int(pub.Connack.Props.Int(wire.ReceiveMaximum, 65535)))
	var packets [][]byte
	for i := range n {
		id := uint16(100 - 7*i)
		ids = append(ids, id)
		packets = append(packets, wire.Publish{
			Topic: []string{kept, t.Topic(), here}[i%3], Payload: "x", QoS: qos, ID: id,
		}.Bytes(t.Version))
	}
	pub.Send(packets...)
	return ids
}

func pubacksInOrder(t *suite.T) {
	pub := t.Join()
	for range 3 {
		for _, id := range mixed(t, pub, 1) {
			pub.WantAck(wire.PUBACK, id)
		}
	}
}

func pubrecsInOrder(t *suite.T) {
	pub := t.Join()
	ids := mixed(t, pub, 2)
	for _, id := range ids {
		pub.WantAck(wire.PUBREC, id)
	}
	for _, id := range slices.Backward(ids) {
		pub.Send(wire.Ack(wire.PUBREL, id))
		pub.WantAck(wire.PUBCOMP, id)
	}
}

// pubrelsInOrder sends PUBREC in an order of its own, all at once.
func pubrelsInOrder(t *suite.T) {
	pub, topic := t.Join(), t.Topic()
	for _, p := range []wire.Connect{t.CONNECT(), t.Lasting()} {
		sub := t.Connect(p)
		sub.Subscribe(2, topic)
		var ids []uint16
		for range 8 {
			pub.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: 2})
			ids = append(ids, sub.WantPublish(topic, "x").ID)
		}
		var pubrecs [][]byte
		ids = append(ids[4:], ids[:4]...)
		slices.Reverse(ids[2:])
		for _, id := range ids {
			pubrecs = append(pubrecs, wire.Ack(wire.PUBREC, id))
		}
		sub.Send(pubrecs...)
		for _, id := range ids {
			sub.WantAck(wire.PUBREL, id)
			sub.Send(wire.Ack(wire.PUBCOMP, id))
		}
		sub.Drop()
	}
}

// many is more than servers commonly have in flight to one client.
const many = 600

// publishMany publishes numbers at a QoS, as many at a time as the server takes, over
// the connection that it returns.
func publishMany(t *suite.T, topic string, qos byte) (pub *suite.Conn) {
	pub = t.Join()
	batch := min(20, int(pub.Connack.Props.Int(wire.ReceiveMaximum, 65535)))
	for from := 0; from < many; from += batch {
		var packets, releases [][]byte
		to := min(from+batch, many)
		for i := from; i < to; i++ {
			id := uint16(1 + i)
			packets = append(packets, wire.Publish{Topic: topic, Payload: strconv.Itoa(i), QoS: qos, ID: id}.Bytes(t.Version))
			releases = append(releases, wire.Ack(wire.PUBREL, id))
		}
		pub.Send(packets...)
		for i := from; i < to && qos > 0; i++ {
			pub.WantAck(wire.PUBACK+qos-1, uint16(1+i))
		}
		if qos < 2 {
			continue
		}
		pub.Send(releases...)
		for range to - from {
			pub.Want(wire.PUBCOMP)
		}
	}
	pub.Ping()
	return pub
}

// rising wants numbers in order: all of them, but for QoS 0.
func rising(t *suite.T, messages []*wire.Read, qos byte) {
	last := -1
	for _, p := range messages {
		n, err := strconv.Atoi(p.Payload)
		if err != nil || n <= last || qos > 0 && n != last+1 {
			t.Fatalf("%s came after %d at QoS %d", p.Payload, last, qos)
		}
		last = n
	}
}

// messagesInOrder to a subscriber that reads nothing until all have been published, so
// that some wait and some are in flight, at its QoS and at less.
func messagesInOrder(t *suite.T) {
	for _, qos := range []byte{0, 1, 2} {
		t.Step("QoS %d", qos)
		topic := t.Topic()
		sub, low := t.Join(), t.Join()
		sub.Subscribe(2, topic)
		low.Subscribe(min(1, qos), topic+"/#")
		publishMany(t, topic, qos)
		rising(t, collect(t, sub, strconv.Itoa(many-1)), qos)
		rising(t, collect(t, low, strconv.Itoa(many-1)), qos)
	}
}

// messagesInOrderAfterAbsence to a subscriber that takes some, goes away without
// acknowledging, and comes back. What is published then does not overtake the others.
func messagesInOrderAfterAbsence(t *suite.T) {
	for _, qos := range []byte{1, 2} {
		t.Step("QoS %d", qos)
		topic := t.Topic()
		p := t.Lasting()
		sub := t.Connect(p)
		sub.Subscribe(2, topic)
		pub := publishMany(t, topic, qos)
		for i := range 5 {
			sub.WantPublish(topic, strconv.Itoa(i))
		}
		sub.Drop()
		sub = t.Connect(p)
		pub.Publish(wire.Publish{Topic: topic, Payload: strconv.Itoa(many), QoS: qos})
		rising(t, collect(t, sub, strconv.Itoa(many)), qos)
	}
}
