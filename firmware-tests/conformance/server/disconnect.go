package server

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// disconnect is sections 3.14 and 4.13.
var disconnect = []suite.Test{
	{V311: "3.14.1-1 2.2.2-2", V5: "3.14.1-1 2.1.3-1", Run: disconnectWithOtherFlags},
	{V311: "3.14.4-1", V5: "3.14.4-2", Run: serverClosesAfterDisconnect},
	{V311: "3.14.4-2", V5: "3.14.4-1", Run: nothingCountsAfterDisconnect},
	{V311: "3.14.4-3", V5: "3.14.4-3", Run: disconnectDiscardsTheWill},
	{V311: "RULE-3.14.1-a", V5: "RULE-3.14.1-a", Run: badDisconnectKeepsTheWill},
	{V5: "3.14.0-1", Run: noDisconnectBeforeConnack},
	{V5: "3.14.2-1 3.14.2-2 3.14.4-1 3.14.4-2", Run: disconnectOfTheServer},
	{V5: "3.14.2-3 3.14.2-4", Run: disconnectFitsTheMaximumPacketSize},
	{V5: "RULE-3.14.2-a", Run: disconnectCodesOfClients},
	{V5: "RULE-3.14.2-b", Run: disconnectCodesOfServers},
	{V5: "3.14.4-3 RULE-3.14.2-c", Run: disconnectWithWill},
	{V5: "RULE-3.14.2-d", Run: disconnectRaisesExpiryFromZero},
	{V5: "RULE-3.14.2-e", Run: disconnectEndsTheSession},
	{V5: "RULE-3.14.2-f", Run: disconnectProlongsTheSession},
	{V5: "4.13.2-1", Run: failureClosesTheConnection},
	{V5: "RULE-4.13.1-b", Run: codesOfErrors},
}

// leaver is a client with a Will, and one that gets it.
func leaver(t *suite.T) (c, watcher *suite.Conn, topic string) {
	topic = t.Topic()
	watcher = t.Join()
	watcher.Subscribe(0, topic)
	p := t.CONNECT()
	p.Will = &wire.Will{Topic: topic, Payload: "gone"}
	return t.Connect(p), watcher, topic
}

func disconnectWithOtherFlags(t *suite.T) {
	for _, flags := range []byte{1, 2, 4, 8, 15} {
		c, watcher, topic := leaver(t)
		c.Send([]byte{wire.DISCONNECT<<4 | flags, 0})
		c.WantClosed(badPacket...)
		watcher.Take(topic, "gone")
	}
}

// serverClosesAfterDisconnect, if the client does not.
func serverClosesAfterDisconnect(t *suite.T) {
	t.Join().Leave()
	if t.V5() {
		c := t.Join()
		c.Send(wire.Packet(wire.DISCONNECT<<4, byte(0), byte(0)))
		c.WantEnd()
	}
}

// nothingCountsAfterDisconnect has a message and a subscription behind it.
func nothingCountsAfterDisconnect(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic)
	c := t.Join()
	c.Send(wire.Publish{Topic: topic, Payload: "before"}.Bytes(t.Version), wire.Disconnect(),
		wire.Publish{Topic: topic, Payload: "after"}.Bytes(t.Version), wire.Subscribe(t.Version, 1, 0, topic))
	c.WantEnd()
	watcher.Take(topic, "before")
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "last", QoS: 1})
	watcher.Take(topic, "last")
}

// disconnectDiscardsTheWill in each of its forms; the next message that comes is
// another one.
func disconnectDiscardsTheWill(t *suite.T) {
	forms := [][]byte{wire.Disconnect()}
	if t.V5() {
		forms = append(forms, wire.Packet(wire.DISCONNECT<<4, byte(0)), wire.Packet(wire.DISCONNECT<<4, byte(0), byte(0)))
	}
	for _, b := range forms {
		c, watcher, topic := leaver(t)
		c.Send(b)
		c.WantEnd()
		t.Join().Publish(wire.Publish{Topic: topic, Payload: "not the Will", QoS: 1})
		watcher.Take(topic, "not the Will")
	}
}

// badDisconnectKeepsTheWill: a packet that is against the rules is no DISCONNECT.
func badDisconnectKeepsTheWill(t *suite.T) {
	bad := [][]byte{wire.Packet(wire.DISCONNECT<<4, byte(0))}
	if t.V5() {
		bad = [][]byte{
			wire.Packet(wire.DISCONNECT<<4, byte(0), byte(5)),
			wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(), byte(0)),
			wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(wire.ReasonString, wire.Str("\xff"))),
			wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(wire.ReasonString, wire.Str("a"), wire.ReasonString, wire.Str("b"))),
			wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(wire.TopicAlias, uint16(1))),
			wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props("\x7f\x00")),
			wire.Packet(wire.DISCONNECT<<4, byte(1), wire.Props()),
		}
	}
	for _, b := range bad {
		t.Step("% x", b)
		c, watcher, topic := leaver(t)
		c.Send(b)
		c.WantClosed(badPacket...)
		watcher.Take(topic, "gone")
	}
}

// noDisconnectBeforeConnack, whatever is wrong with what comes first. What else comes is
// for others to judge.
func noDisconnectBeforeConnack(t *suite.T) {
	flags, props, id := t.CONNECT().Bytes(), t.CONNECT(), t.CONNECT()
	flags[9] |= 1
	props.Props = wire.Bytes(wire.ReceiveMaximum, uint16(0))
	id.ID = "\xff"
	for _, b := range [][]byte{
		wire.Pingreq(), wire.Subscribe(t.Version, 1, 0, "a"), {0, 0}, {wire.CONNECT << 4, 0xff, 0xff, 0xff, 0xff, 1},
		props.Bytes(), id.Bytes(), flags, wire.Packet(wire.DISCONNECT<<4, byte(0x81)),
	} {
		t.Step("% x", b)
		c := t.Dial(t.Target.Addr)
		c.Send(b)
		if p := c.NextOrEnd(); p != nil && p.Type == wire.DISCONNECT {
			t.Fatalf("%v", p)
		}
	}
}

// disconnectOfTheServer is provoked in several ways. Its form is checked with that of
// every packet; then the connection ends.
func disconnectOfTheServer(t *suite.T) {
	first := t.CONNECT()
	first.Props = wire.Bytes(wire.SessionExpiry, uint32(60))
	c := t.Connect(first)
	t.Connect(first)
	c.WantClosed(0x8e)
	for _, b := range [][]byte{
		{0, 0}, t.CONNECT().Bytes(), wire.Subscribe(t.Version, 1, 3, "a"), wire.Publish{Topic: "a/#"}.Bytes(t.Version),
		wire.Publish{Props: wire.Bytes(wire.TopicAlias, uint16(9))}.Bytes(t.Version),
	} {
		closedFor(t, b, 0x81, 0x82, 0x90, 0x94)
	}
}

// disconnectFitsTheMaximumPacketSize where a reason string would not.
func disconnectFitsTheMaximumPacketSize(t *suite.T) {
	p, limit := smallest(t)
	for _, b := range [][]byte{
		{0, 0}, wire.Subscribe(t.Version, 1, 3, "a"), wire.Publish{Topic: "a/#"}.Bytes(t.Version),
		wire.Packet(wire.PUBLISH<<4, wire.Str("a"), wire.Props("\x7f\x00")),
	} {
		p.ID = t.ID()
		c := t.Connect(p)
		c.Send(b)
		wantFits(t, c.NextOrEnd(), wire.DISCONNECT, limit)
		c.WantEnd()
	}
}

// disconnectCodesOfClients are taken: no error is told, and the Will goes out.
func disconnectCodesOfClients(t *suite.T) {
	for _, code := range []byte{0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99} {
		t.Step("code %#x", code)
		c, watcher, topic := leaver(t)
		c.Send(wire.Packet(wire.DISCONNECT<<4, code))
		c.WantEnd()
		watcher.Take(topic, "gone")
	}
}

// disconnectCodesOfServers are none that a client may send, nor are those of other
// packets.
func disconnectCodesOfServers(t *suite.T) {
	for _, code := range []byte{0x8b, 0x8d, 0x8e, 0xa0, 0x01, 0x11, 0x86, 0xff} {
		t.Step("code %#x", code)
		c, watcher, topic := leaver(t)
		c.Send(wire.Packet(wire.DISCONNECT<<4, code, byte(0)))
		c.WantClosed(badPacket...)
		watcher.Take(topic, "gone")
	}
}

func disconnectWithWill(t *suite.T) {
	for _, b := range [][]byte{wire.Packet(wire.DISCONNECT<<4, byte(4)), wire.Packet(wire.DISCONNECT<<4, byte(4), byte(0))} {
		c, watcher, topic := leaver(t)
		c.Send(b)
		c.WantEnd()
		watcher.Take(topic, "gone")
	}
}

// disconnectRaisesExpiryFromZero, which is an error: the Will goes out.
func disconnectRaisesExpiryFromZero(t *suite.T) {
	c, watcher, topic := leaver(t)
	c.Send(wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(wire.SessionExpiry, uint32(10))))
	c.WantClosed(0x82)
	watcher.Take(topic, "gone")
}

// expiring leaves with another session expiry than it came with, and says whether the
// session is still there.
func expiring(t *suite.T, came, left uint32) (present bool) {
	p := t.CONNECT()
	p.Clean = false
	p.Props = wire.Bytes(wire.SessionExpiry, came)
	c := t.Connect(p)
	c.Send(wire.Packet(wire.DISCONNECT<<4, byte(0), wire.Props(wire.SessionExpiry, left)))
	c.WantEnd()
	return t.Connect(p).Connack.Present
}

func disconnectEndsTheSession(t *suite.T) {
	if expiring(t, 300, 0) {
		t.Fatalf("the session is there after a DISCONNECT that ended it")
	}
}

func disconnectProlongsTheSession(t *suite.T) {
	for _, left := range []uint32{600, 1<<32 - 1} {
		if !expiring(t, 300, left) {
			t.Fatalf("no session after a DISCONNECT that prolonged it to %d s", left)
		}
	}
}

// failureClosesTheConnection whoever tells it, and whether it can be told or not.
func failureClosesTheConnection(t *suite.T) {
	for _, code := range []byte{0x80, 0x81, 0x95, 0x98} {
		c := t.Join()
		c.Send(wire.Packet(wire.DISCONNECT<<4, code))
		c.WantEnd()
	}
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.ReceiveMaximum, uint16(0))
	refusedFor(t, p.Bytes(), badPacket...)
	c := t.Join()
	c.Send([]byte{0, 0})
	c.Drop() // no DISCONNECT can reach it
	t.Join().Ping()
}

// codesOfErrors are the ones that the specification gives, where the server says one.
func codesOfErrors(t *suite.T) {
	topic := t.Topic()
	for _, bad := range []struct {
		packet []byte
		code   byte
	}{
		{[]byte{0, 0}, 0x81},
		{wire.Packet(wire.PUBLISH<<4|6, wire.Str(topic), uint16(1), wire.Props()), 0x81},
		{wire.Subscribe(t.Version, 1, 0x40, topic), 0x81},
		{wire.Publish{Topic: topic, Props: wire.Bytes(wire.SessionExpiry, uint32(1))}.Bytes(t.Version), 0x81},
		{wire.Subscribe(t.Version, 1, 4, "$share/g/"+topic), 0x82},
		{wire.Subscribe(t.Version, 1, 3, topic), 0x82},
		{wire.Subscribe(t.Version, 1, 0x30, topic), 0x82},
		{wire.Subscribe(t.Version, 1, 0), 0x82},
		{wire.Publish{Topic: topic, Props: wire.Bytes(wire.SubscriptionIdentifier, byte(1))}.Bytes(t.Version), 0x82},
		{wire.Publish{Topic: topic, Props: wire.Bytes(wire.TopicAlias, uint16(0))}.Bytes(t.Version), 0x94},
		{t.CONNECT().Bytes(), 0x82},
	} {
		closedFor(t, bad.packet, bad.code)
	}
}
