package client

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// auth is sections 3.15 and 4.12. The clients know no enhanced authentication.
var auth = []suite.Test{
	{
		V5:  "3.1.2-30 4.12.0-3 4.12.0-5 4.12.0-7 4.12.1-1 4.12.1-2 3.15.1-1 3.15.2-1 3.15.2-2 3.15.2-3",
		Run: noMethodNoAUTH,
	},
	{V5: "RULE-4.12-p", Run: unexpectedAUTH},
}

// noMethodNoAUTH: a client that names no method sends no AUTH, also if asked to.
func noMethodNoAUTH(t *suite.T) {
	each(t, nil, nil, func(s *server, c *suite.Conn, p *wire.Read) {
		if p.Props.Has(wire.AuthenticationMethod) {
			t.Fatalf("%v: has a method, and this test knows of none", p)
		}
		c.Send(challenge)
		c.WantClosed(0, 0x82)
	})
}

// unexpectedAUTH breaks the protocol.
func unexpectedAUTH(t *suite.T) {
	for _, s := range senders(t, 1) {
		s.conn.Send(challenge)
		s.ends(s.conn, 0x82)
	}
	for _, r := range receivers(t) {
		r.conn.Send(challenge)
		r.ends(r.conn, 0x82)
	}
}

var challenge = wire.Packet(wire.AUTH<<4, byte(0x18), wire.Props(wire.AuthenticationMethod, wire.Str("SCRAM-SHA-256"), wire.AuthenticationData, wire.Str("n")))
