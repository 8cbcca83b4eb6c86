package server

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connect is section 3.1.
var connect = []suite.Test{
	{V311: "3.1.0-2", V5: "3.1.0-2", Run: secondConnect},
	{V311: "3.1.2-3", V5: "3.1.2-3", Run: reservedConnectFlag},
}

// secondConnect sends CONNECT twice; the Will tells of an end that is no DISCONNECT.
func secondConnect(t *suite.T) {
	watcher := t.Join()
	topic := t.Topic()
	watcher.Subscribe(0, topic)
	p := t.CONNECT()
	p.Will = &wire.Will{Topic: topic, Payload: "gone"}
	c := t.Connect(p)
	c.Send(p.Bytes())
	c.WantClosed(0x82)
	watcher.Take(topic, "gone")
}

func reservedConnectFlag(t *suite.T) {
	p := t.CONNECT()
	b := wire.Packet(wire.CONNECT<<4, wire.Str(p.Name()), p.Version, p.Flags()|1, uint16(0))
	if t.V5() {
		b = append(b, wire.Props()...)
	}
	b = append(b, p.Payload()...)
	b[1] = byte(len(b) - 2)
	t.Dial(t.Target.Addr).Refused(b, 0x81)
}
