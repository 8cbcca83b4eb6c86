package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// ping is sections 3.12 and 3.13.
var ping = []suite.Test{
	{V311: "3.12.4-1", V5: "3.12.4-1", Run: pingIsAnswered},
	{V311: "RULE-3.12.1-a", V5: "RULE-3.12.1-a", Run: pingWithPayload},
}

// pingIsAnswered once for each, also when many come at once or in pieces.
func pingIsAnswered(t *suite.T) {
	c := t.Join()
	c.Send(slices.Repeat(wire.Pingreq(), 20))
	c.Send([]byte{0xc0})
	for range 20 {
		c.Want(wire.PINGRESP)
	}
	c.Send([]byte{0x00}, wire.Subscribe(t.Version, 1, 0, t.Topic()))
	c.Want(wire.PINGRESP)
	c.WantAck(wire.SUBACK, 1)
}

func pingWithPayload(t *suite.T) {
	closedFor(t, []byte{0xc0, 1, 0}, badPacket...)
	closedFor(t, []byte{0xc0, 2, 0, 0}, badPacket...)
}
