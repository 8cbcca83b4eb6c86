package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// unsubscribe is sections 3.10 and 3.11.
var unsubscribe = []suite.Test{
	{V311: "3.10.1-1 2.2.2-2", V5: "3.10.1-1 2.1.3-1", Run: unsubscribeWithOtherFlags},
	{V311: "3.10.3-1 1.5.3-1", V5: "3.10.3-1 1.5.4-1", Run: unsubscribeWithIllFormedFilter},
	{V311: "3.10.3-2", V5: "3.10.3-2", Run: unsubscribeWithoutFilter},
	{V311: "3.10.4-1", V5: "3.10.4-1", Run: unsubscribeComparesText},
	{V311: "3.10.4-2", V5: "3.10.4-2", Run: nothingAfterUnsubscribe},
	{V311: "3.10.4-2", V5: "3.10.4-2", Run: nothingAfterUnsubscribeForTheAbsent},
	{V311: "3.10.4-2", V5: "3.10.4-2", Run: nothingAfterUnsubscribeAndRestart},
	{V311: "3.10.4-3", V5: "3.10.4-3", Run: begunDeliveriesAreCompleted},
	{V311: "3.10.4-4", V5: "3.10.4-4 3.10.4-5", Run: unsubscribeIsAnswered},
	{V311: "3.10.4-5", V5: "3.10.4-5", Run: unsubscribeFromNothing},
	{V311: "3.10.4-6", V5: "3.10.4-6", Run: severalFiltersInOneUnsubscribe},
	{V311: "RULE-3.11.2-a", Run: unsubackHasNoPayload},
	{V5: "3.11.3-1 3.11.3-2", Run: unsubscribeCodesInOrder},
	{V5: "3.11.2-1 3.11.2-2", Run: unsubackFitsTheMaximumPacketSize},
}

func unsubscribeWithOtherFlags(t *suite.T) {
	wantFlagsRefused(t, wire.UNSUBSCRIBE, wire.Bytes(uint16(1), noProps(t), wire.Str("a")))
}

func unsubscribeWithIllFormedFilter(t *suite.T) {
	for _, bad := range []string{"\xc3\x28", "a/\xff", "\xed\xa0\x80/a"} {
		closedFor(t, wire.Unsubscribe(t.Version, 1, bad), 0x81, 0x82, 0x8f)
		closedFor(t, wire.Unsubscribe(t.Version, 1, "good", bad), 0x81, 0x82, 0x8f)
	}
	closedFor(t, wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), noProps(t), wire.Str("a"), byte(0)), badPacket...)
}

func unsubscribeWithoutFilter(t *suite.T) {
	closedFor(t, wire.Unsubscribe(t.Version, 1), badPacket...)
	if t.V5() {
		closedFor(t, wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), wire.Props(sample(wire.UserProperty))), badPacket...)
	}
}

// leaveFilters unsubscribes and wants the codes, which 3.1.1 has not.
func leaveFilters(t *suite.T, c *suite.Conn, id uint16, filters []string, codes ...byte) {
	c.Send(wire.Unsubscribe(t.Version, id, filters...))
	p := c.Want(wire.UNSUBACK)
	if p.ID != id || t.V5() && !slices.Equal(p.Codes, codes) {
		t.Fatalf("%v, want packet identifier %d with the codes % x", p, id, codes)
	}
}

// unsubscribeComparesText: filters that match, are matched, or differ in case or by a
// level remove nothing.
func unsubscribeComparesText(t *suite.T) {
	base := t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(0, base+"/+")
	for i, other := range []string{base + "/b", base + "/#", "#", base + "/+/", base, "/" + base + "/+"} {
		leaveFilters(t, c, uint16(i+1), []string{other}, 0x11)
		pub.Publish(wire.Publish{Topic: base + "/b", Payload: other})
		c.Take(base+"/b", other)
	}
	leaveFilters(t, c, 100, []string{base + "/+"}, 0)
	pub.Publish(wire.Publish{Topic: base + "/b", Payload: "gone", QoS: 1})
	c.Ping()
}

// nothingAfterUnsubscribe, at any QoS; another subscription of the client stays.
func nothingAfterUnsubscribe(t *suite.T) {
	topic, stays := t.Topic(), t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(2, topic, stays)
	leaveFilters(t, c, 1, []string{topic}, 0)
	for qos := range byte(3) {
		pub.Publish(wire.Publish{Topic: topic, Payload: "gone", QoS: qos})
	}
	pub.Publish(wire.Publish{Topic: stays, Payload: "here", QoS: 1})
	c.Take(stays, "here")
	c.Ping()
}

// nothingAfterUnsubscribeForTheAbsent: the subscription is gone from the stored session.
func nothingAfterUnsubscribeForTheAbsent(t *suite.T) {
	topic, stays := t.Topic(), t.Topic()
	p := t.Lasting()
	c := t.Connect(p)
	c.Subscribe(1, topic, stays)
	leaveFilters(t, c, 1, []string{topic}, 0)
	c.Leave()
	pub := t.Join()
	pub.Publish(wire.Publish{Topic: topic, Payload: "gone", QoS: 1})
	pub.Publish(wire.Publish{Topic: stays, Payload: "here", QoS: 1})
	c = t.Connect(p)
	c.Take(stays, "here")
	c.Ping()
}

// nothingAfterUnsubscribeAndRestart: the server has no subscription left that it had
// answered for, when it comes back from SIGKILL.
func nothingAfterUnsubscribeAndRestart(t *suite.T) {
	g := startGateway(t)
	topic, stays := t.Topic(), t.Topic()
	p := t.Lasting()
	c := t.Dial(g.Addr).Accepted(p)
	c.Subscribe(1, topic, stays)
	leaveFilters(t, c, 1, []string{topic}, 0)
	g.Kill()
	startAgain(t, g)
	pub := t.Dial(g.Addr).Accepted(t.CONNECT())
	pub.Publish(wire.Publish{Topic: topic, Payload: "gone", QoS: 1})
	pub.Publish(wire.Publish{Topic: stays, Payload: "here", QoS: 1})
	c = t.Dial(g.Addr).Accepted(p)
	c.Take(stays, "here")
	c.Ping()
}

// begunDeliveriesAreCompleted: one at QoS 1, one at QoS 2 before and one after PUBREC.
func begunDeliveriesAreCompleted(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	c, pub := t.Connect(p), t.Join()
	c.Subscribe(2, topic)
	pub.Publish(wire.Publish{Topic: topic, Payload: "1", QoS: 1})
	first := c.WantPublish(topic, "1")
	pub.Publish(wire.Publish{Topic: topic, Payload: "2", QoS: 2})
	second := c.WantPublish(topic, "2")
	pub.Publish(wire.Publish{Topic: topic, Payload: "3", QoS: 2})
	third := c.WantPublish(topic, "3")
	c.Send(wire.Ack(wire.PUBREC, third.ID))
	c.WantAck(wire.PUBREL, third.ID)
	leaveFilters(t, c, 7, []string{topic}, 0)
	c.Drop()
	c = t.Connect(p) // what is not completed comes again
	c.WantPublish(topic, "1")
	c.WantPublish(topic, "2")
	c.WantAck(wire.PUBREL, third.ID)
	c.Send(wire.Ack(wire.PUBACK, first.ID), wire.Ack(wire.PUBREC, second.ID), wire.Ack(wire.PUBCOMP, third.ID))
	c.WantAck(wire.PUBREL, second.ID)
	c.Send(wire.Ack(wire.PUBCOMP, second.ID))
	c.Ping()
}

func unsubscribeIsAnswered(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	for _, id := range []uint16{1, 65535, 257} {
		c.Subscribe(0, topic)
		leaveFilters(t, c, id, []string{topic}, 0)
		c.Ping()
	}
}

func unsubscribeFromNothing(t *suite.T) {
	c := t.Join()
	topic := t.Topic()
	leaveFilters(t, c, 3, []string{topic}, 0x11)
	c.Subscribe(0, topic)
	leaveFilters(t, c, 4, []string{topic}, 0)
	leaveFilters(t, c, 5, []string{topic}, 0x11)
	c.Ping()
}

func severalFiltersInOneUnsubscribe(t *suite.T) {
	base := t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(1, base+"/a", base+"/b", base+"/c")
	leaveFilters(t, c, 1, []string{base + "/a", base + "/c"}, 0, 0)
	c.Ping() // no other UNSUBACK
	for _, name := range []string{"/a", "/c", "/b"} {
		pub.Publish(wire.Publish{Topic: base + name, Payload: name, QoS: 1})
	}
	c.Take(base+"/b", "/b")
	c.Ping()
}

func unsubackHasNoPayload(t *suite.T) {
	c := t.Join()
	c.Send(wire.Unsubscribe(t.Version, 0x1234, t.Topic(), t.Topic()))
	if p := c.Want(wire.UNSUBACK); !slices.Equal(p.Raw, []byte{0xb0, 2, 0x12, 0x34}) {
		t.Fatalf("%v, want b0 02 12 34", p)
	}
}

// unsubscribeCodesInOrder has known and unknown filters in turns.
func unsubscribeCodesInOrder(t *suite.T) {
	base := t.Topic()
	c := t.Join()
	c.Subscribe(0, base+"/a", base+"/b")
	leaveFilters(t, c, 1, []string{base + "/b", base + "/x", base + "/a", base + "/b"}, 0, 0x11, 0, 0x11)
}

func unsubackFitsTheMaximumPacketSize(t *suite.T) {
	p, limit := smallest(t)
	c := t.Connect(p)
	props := wire.Props(wire.UserProperty, wire.Str("a name"), wire.Str("a value that is not to come back"))
	c.Send(wire.Packet(wire.UNSUBSCRIBE<<4|2, uint16(1), props, wire.Str(t.Topic())))
	wantFits(t, c.Next(), wire.UNSUBACK, limit)
	c.Ping()
}
