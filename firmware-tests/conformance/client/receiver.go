package client

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// A receiver is a client that takes what is published to down/#, connected and
// subscribed.
type receiver struct {
	*server
	conn *suite.Conn
	took func(payload string) // wants this to be the next message that it hands on
}

// receivers are the bridge and sluice sub.
func receivers(t *suite.T, props ...any) []*receiver {
	b := newBridge(t, "DOWN=down/#")
	down := &receiver{server: b.server, conn: b.welcome(false, props...)}
	b.subscribed(down.conn)
	w := b.watcher()
	down.took = func(payload string) {
		if p := w.Want(wire.PUBLISH); p.Payload != payload {
			t.Fatalf("the gateway has %q, want %q", p.Payload, payload)
		} else if p.QoS == 1 {
			w.Send(wire.Ack(wire.PUBACK, p.ID))
		} else if p.QoS == 2 {
			w.Send(wire.Ack(wire.PUBREC, p.ID))
			w.Want(wire.PUBREL)
			w.Send(wire.Ack(wire.PUBCOMP, p.ID))
		}
	}
	s := listen(t)
	sub := s.command("sub", "-t", "down/#", "-q", "2")
	r := &receiver{s, s.welcome(false, props...), sub.wantLine}
	s.subscribed(r.conn)
	return []*receiver{down, r}
}

// publish sends a message to down/1.
func (r *receiver) publish(qos byte, id uint16, payload string) {
	r.conn.Send(wire.Publish{Topic: "down/1", Payload: payload, QoS: qos, ID: id}.Bytes(r.t.Version))
}

// passes wants a message to be acknowledged yet. Answers to what came before may come
// first.
func (r *receiver) passes() {
	r.publish(1, 40000, "sentinel")
	for {
		if p := r.conn.Next(); p.Type == wire.PUBACK && p.ID == 40000 {
			return
		}
	}
}

// goesOn wants a message to come through yet.
func (r *receiver) goesOn() {
	r.passes()
	r.took("sentinel")
}
