package vectors

import (
	"fmt"
	"slices"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// neighbour is another client, which sees every message that the broker passes on.
type neighbour struct {
	*suite.Conn
	t     *suite.T
	heard []*wire.Read // and not taken
}

// meet joins a neighbour. What is retained already is no news to it.
func meet(t *suite.T) *neighbour {
	n := &neighbour{Conn: t.Join(), t: t}
	n.Send(wire.Subscribe(t.Version, 1, 2, "#"))
	n.listen()
	n.heard = nil
	return n
}

// listen reads what has come, up to a message of its own.
func (n *neighbour) listen() {
	own := n.t.Topic()
	n.Send(wire.Publish{Topic: own}.Bytes(n.t.Version))
	for p := n.Next(); p.Topic != own; p = n.Next() {
		switch p.Type {
		case wire.PUBLISH:
			n.heard = append(n.heard, p)
			switch p.QoS {
			case 1:
				n.Send(wire.Ack(wire.PUBACK, p.ID))
			case 2:
				n.Send(wire.Ack(wire.PUBREC, p.ID))
			}
		case wire.PUBREL:
			n.Send(wire.Ack(wire.PUBCOMP, p.ID))
		case wire.SUBACK:
		default:
			n.t.Fatalf("%v came to a neighbour", p)
		}
	}
}

// hear takes the message to a topic that is the next to come.
func (n *neighbour) hear(topic string) *wire.Read {
	n.listen()
	if len(n.heard) == 0 {
		n.t.Fatalf("nothing came to the topic %q", topic)
	}
	p := n.heard[0]
	n.heard = n.heard[1:]
	if p.Topic != topic {
		n.t.Fatalf("%v, want a message to %q", p, topic)
	}
	return p
}

// undisturbed wants nothing to have come that nobody expected.
func (n *neighbour) undisturbed() {
	n.listen()
	if len(n.heard) > 0 {
		n.t.Fatalf("%v came to a neighbour", n.heard[0])
	}
}

// answer reads what comes to a bad packet, nil if the connection ends. A server that
// takes it for a good one has nothing to say: then it is asked.
func answer(c *suite.Conn) *wire.Read {
	ask := time.AfterFunc(time.Second, func() { c.Send(wire.Pingreq()) })
	defer ask.Stop()
	return c.NextOrEnd()
}

// closedWith wants a connection to end; in 5.0 after DISCONNECT with one of the codes,
// or without. It says what came.
func closedWith(t *suite.T, c *suite.Conn, codes ...byte) string {
	p := answer(c)
	switch {
	case p == nil:
		return "closed"
	case t.V5() && p.Type == wire.DISCONNECT && slices.Contains(codes, p.Code()):
		c.WantEnd()
		return fmt.Sprintf("DISCONNECT %#x", p.Code())
	}
	t.Fatalf("%v, want the end of the connection with one of % x", p, codes)
	return ""
}

// refusedWith wants a CONNECT to be refused with one of the codes, or without a word. It
// says what came.
func refusedWith(t *suite.T, c *suite.Conn, codes ...byte) string {
	p := answer(c)
	switch {
	case p == nil:
		return "closed"
	case p.Type == wire.CONNACK && slices.Contains(codes, p.Code()):
		c.WantEnd()
		return fmt.Sprintf("CONNACK %#x", p.Code())
	}
	t.Fatalf("%v, want the end of the connection with one of % x", p, codes)
	return ""
}

// answered sends a CONNECT that is right, wants it accepted and the connection to work.
func answered(t *suite.T, connect []byte) string {
	c := t.Dial(t.Target.Addr)
	c.Send(connect)
	if p := c.Want(wire.CONNACK); p.Code() != 0 {
		t.Fatalf("%v", p)
	}
	c.Ping()
	c.Leave()
	return "CONNACK 0x0"
}
