package gateway

import (
	"sluice/codec"
)

// keptAcks is the room for acknowledgements that a connection keeps when none waits.
const keptAcks = 16

var ackLists stock[ack]

// ack is an acknowledgement that waits for its turn and for the disk. Acknowledgements
// leave in the order of the packets that they answer [MQTT-4.6.0-2] to [MQTT-4.6.0-4].
type ack struct {
	epoch   uint64   // it may leave once this is committed; 0: at once
	ticket  *ticket  // or once this is all acknowledged; nil: not so
	receipt *receipt // and once upstreams have spoken; nil: not so
	packet  []byte   // a SUBACK, UNSUBACK or CONNACK, encoded; of a PUBACK or PUBREC, what is refused of a batch, or why
	id      uint16
	kind    codec.PacketType
	code    codec.ReasonCode
	why     bool // packet is the reason string
}

// ticket counts the durable sessions that were sent a message and have not yet
// acknowledged it. Once they all have, it needs no disk any more.
type ticket struct {
	conn *conn // the publisher
	open int
	held bool // the publisher's acknowledgement has not left
}

// newTicket makes a ticket of one that is used no more, if there is such.
func (s *Server) newTicket(c *conn) *ticket {
	n := len(s.tickets) - 1
	if n < 0 {
		return &ticket{conn: c, held: true}
	}
	t := s.tickets[n]
	s.tickets = s.tickets[:n]
	*t = ticket{conn: c, held: true}
	return t
}

// done counts one recipient off.
func (t *ticket) done() {
	if t == nil {
		return
	}
	switch t.open--; {
	case t.open > 0:
	case !t.held:
		t.free()
	case t.conn.state == connected:
		t.conn.releaseAcks()
	}
}

// leave is called when the publisher's acknowledgement does not look at t any more.
func (t *ticket) leave() {
	if t == nil {
		return
	}
	if t.held = false; t.open == 0 {
		t.free()
	}
}

// free keeps t for another message: nobody knows it any more. A ticket of sessions or
// connections that have ended does not come here, and is the collector's.
func (t *ticket) free() {
	const most = 1024
	s := t.conn.srv
	t.conn = nil
	if len(s.tickets) < most {
		s.tickets = append(s.tickets, t)
	}
}

// ready says whether a may leave. A promise does not before the session is on disk that it
// is made to.
func (c *conn) ready(a *ack) bool {
	committed := c.srv.committed
	if r := a.receipt; r != nil && (len(r.places) > 0 || r.epoch > committed) {
		return false
	}
	if c.session.came > committed && a.code < codec.UnspecifiedError {
		return false
	}
	return a.epoch <= committed || a.ticket != nil && a.ticket.open == 0
}

// acknowledge sends a, or puts it behind those that wait.
func (c *conn) acknowledge(a ack) {
	if c.state == closed { // by what the message that it answers brought about
		a.ticket.leave()
		a.receipt.leave()
		return
	}
	if c.late(&a) {
		l := c.session.receiptsOf()
		l.acks = append(l.acks, a)
		c.readLess()
		c.releaseLate()
		return
	}
	if len(c.acks) == 0 && c.ready(&a) {
		one := [1]ack{a}
		c.sendAcks(one[:])
		return
	}
	if len(c.acks) == cap(c.acks) {
		old := c.acks
		c.acks = ackLists.get(max(4, 2*cap(old)))[:len(old)]
		copy(c.acks, old)
		ackLists.put(old)
	}
	c.acks = append(c.acks, a)
	c.awaitCommit()
	c.readLess()
}

// awaitCommit has releaseAcks called after the next commit.
func (c *conn) awaitCommit() {
	if !c.waits {
		c.waits = true
		c.srv.waiting = append(c.srv.waiting, c)
	}
}

// unanswered is how many acknowledgements wait.
func (c *conn) unanswered() int {
	n := len(c.acks)
	if l := c.session.receipts; l != nil {
		n += len(l.acks)
	}
	return n
}

// readLess stops reading when many acknowledgements wait: a 3.1.1 client knows no Receive
// Maximum.
func (c *conn) readLess() {
	if !c.paused && c.unanswered() >= 4*int(c.srv.cfg.MaxInflight) {
		c.paused = true
		if c.dev == nil {
			c.tc.Pause()
			if c.timer.index == 0 { // it has no keep-alive
				c.timer.owner = c
				c.srv.setTimer(&c.timer, c.srv.now+pausedLook)
			}
		}
	}
}

// readOn reads on when few do.
func (c *conn) readOn() {
	if c.paused && c.unanswered() < 2*int(c.srv.cfg.MaxInflight) {
		c.paused = false
		c.listen()
	}
}

// releaseAcks sends what is ready, in order.
func (c *conn) releaseAcks() {
	n := 0
	for n < len(c.acks) && c.ready(&c.acks[n]) {
		n++
	}
	if n > 0 {
		c.sendAcks(c.acks[:n])
		rest := copy(c.acks, c.acks[n:])
		clear(c.acks[rest:])
		c.acks = c.acks[:rest]
	}
	switch {
	case c.state != connected:
		return
	case len(c.acks) > 0:
		c.awaitCommit()
	case cap(c.acks) > keptAcks:
		ackLists.put(c.acks[:cap(c.acks)]) // a burst is over
		c.acks = nil
	}
	c.readOn()
	c.releaseLate()
}

// sendAcks sends acknowledgements whose time has come.
func (c *conn) sendAcks(acks []ack) {
	if c.dev != nil {
		c.dev.sendAcks(acks)
		return
	}
	b := c.tc.Begin(0)
	for i := range acks {
		b = c.appendAck(b, &acks[i])
		acks[i].ticket.leave()
	}
	c.tc.End(b)
}

// appendAck encodes a, and returns the publisher's quota where a ends a delivery.
func (c *conn) appendAck(b []byte, a *ack) []byte {
	switch a.kind {
	case codec.TypePuback:
		c.settle()
		p := codec.Puback{ID: a.id, Code: a.code, ReasonString: c.reason(a), User: c.problem(a)}
		return p.Append(b, c.version)
	case codec.TypePubrec:
		if a.code >= codec.UnspecifiedError {
			c.settle()
		}
		p := codec.Pubrec{ID: a.id, Code: a.code, ReasonString: c.reason(a), User: c.problem(a)}
		return p.Append(b, c.version)
	case codec.TypePubrel:
		p := codec.Pubrel{ID: a.id, Code: a.code}
		return p.Append(b, c.version)
	case codec.TypePubcomp:
		c.settle()
		p := codec.Pubcomp{ID: a.id, Code: a.code}
		return p.Append(b, c.version)
	}
	return append(b, a.packet...)
}

// reason tells people why a message was refused, unless the client does not want to
// know. [MQTT-3.1.2-29], [MQTT-3.4.2-2]
func (c *conn) reason(a *ack) []byte {
	switch {
	case a.code < codec.UnspecifiedError || c.noProblem || c.tooLarge(128):
		return nil
	case a.why:
		return a.packet
	case a.code == codec.QuotaExceeded:
		return []byte("queue full, or the disk: see the gateway's log")
	}
	return []byte(a.code.String())
}

// settle returns one of the client's Receive Maximum.
func (c *conn) settle() {
	if c.unacked > 0 {
		c.unacked--
	}
}
