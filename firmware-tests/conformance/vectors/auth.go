package vectors

import (
	"sluice/firmware-tests/conformance/scram"
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// auth plays a good AUTH within an authentication, or after one.
func (v vector) auth(t *suite.T, p *wire.Read) string {
	t.Need(t.Target.Guarded, "listener with accounts")
	if p.Code() == 0x19 {
		c, proof := began(t)
		c.Send(wire.Packet(wire.AUTH<<4, byte(0x18), wire.Props(authProps(proof))))
		if p := c.Want(wire.CONNACK); p.Code() != 0 {
			t.Fatalf("%v", p)
		}
		c.Send(v.b)
		if p := c.Want(wire.AUTH); p.Code() != 0x18 {
			t.Fatalf("%v", p)
		}
		c.Ping()
		return "AUTH 0x18"
	}
	c, _ := began(t)
	c.Send(v.b) // a step in its place; what it says proves nothing
	return refusedWith(t, c, 0x86, 0x87)
}

// began is a connection at the first challenge of its authentication, and the proof
// that answers it.
func began(t *suite.T) (c *suite.Conn, proof string) {
	p, s := t.CONNECT(), &scram.Client{User: t.Target.User, Password: t.Target.Password}
	p.Props = authProps(s.First())
	c = t.Dial(t.Target.Guarded)
	c.Send(p.Bytes())
	first := c.Next()
	if first.Type == wire.CONNACK && first.Code() == 0x8c {
		t.Skip("the target does not know " + scram.Method)
	}
	data, _ := first.Props.Get(wire.AuthenticationData)
	if first.Type != wire.AUTH || first.Code() != 0x18 {
		t.Fatalf("%v, want AUTH 0x18", first)
	}
	proof, err := s.Answer(data.Text)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c, proof
}

func authProps(data string) []byte {
	return wire.Bytes(wire.AuthenticationMethod, wire.Str(scram.Method), wire.AuthenticationData, wire.Str(data))
}
