package gateway

import (
	"encoding/binary"
	"slices"

	"sluice/codec"
	"sluice/store"
)

// A receipt is the word of upstreams that a publisher waits for. By a rule of a bridge
// PUBACK and PUBREC leave only when its upstream has acknowledged the message: that it is
// on disk is waited for as well, but does not do. At QoS 2 that is PUBCOMP: until PUBREL
// many a server tells nobody of the message, and PUBREL comes from here.
//
// At QoS 1 it ends with the publisher's connection. The message goes up all the same; what
// the publisher sends again is a new one. At QoS 2 it lasts as long as the session holds
// the packet identifier, over a restart too: what is sent again waits for the same word.
type receipt struct {
	conn   *conn    // whose acknowledgement waits for it; nil: none does now
	from   *session // at QoS 2 the publisher's
	places []place  // where the message waits; none: the upstreams have spoken
	first  [1]place // memory for places
	id     uint16
	code   codec.ReasonCode // why one of them does not have it; Success: all do
	epoch  uint64           // when it is on disk that a refusal has freed id; 0: it need not be
}

// place is a message in the queue of a bridge.
type place struct {
	to   *session
	lane *lane
	seq  uint64
}

// receipts are those that a session has to do with. Few sessions have any.
type receipts struct {
	due  map[place]*receipt  // of a bridge: for what waits in its queue
	owed map[uint16]*receipt // of a publisher at QoS 2, by packet identifier

	// acks are of the connection, and wait for a receipt. In 3.1.1 PUBACK and PUBREC that
	// come later wait behind them, others do not.
	acks []ack
}

// receiptsOf makes room for the first receipt of a session.
func (to *session) receiptsOf() *receipts {
	if to.receipts == nil {
		to.receipts = &receipts{due: make(map[place]*receipt), owed: make(map[uint16]*receipt)}
	}
	return to.receipts
}

// await has the publisher of pub wait for the upstream of a bridge, in whose queue pub is
// at seq. What a bridge brings is acknowledged by the disk: two upstreams do not hold each
// other up.
func (pub *publication) await(to *session, l *lane, seq uint64) {
	if r := pub.receiptOf(); r != nil {
		at := place{to, l, seq}
		r.places = append(r.places, at)
		to.receiptsOf().due[at] = r
	}
}

// miss notes that a bridge has no room for pub, which its policy drops: who waits for the
// upstream is told.
func (pub *publication) miss() {
	if r := pub.receiptOf(); r != nil {
		r.code = codec.QuotaExceeded
	}
}

func (pub *publication) receiptOf() *receipt {
	if pub.receipt == nil && pub.origin != nil && !pub.origin.trusted {
		r := &receipt{conn: pub.origin}
		r.places = r.first[:0]
		pub.receipt = r
	}
	return pub.receipt
}

// report ends the wait for what was at seq: code is what the upstream said to it, or why
// the upstream will say nothing.
func (to *session) report(l *lane, seq uint64, code codec.ReasonCode) {
	if to.receipts == nil {
		return
	}
	at := place{to, l, seq}
	r := to.receipts.due[at]
	if r == nil {
		return
	}
	delete(to.receipts.due, at)
	r.places = slices.DeleteFunc(r.places, func(p place) bool { return p == at })
	if code >= codec.UnspecifiedError {
		r.code = code
	}
	if len(r.places) == 0 {
		r.over()
	}
}

// reportAll ends the wait for all that is in the queue.
func (to *session) reportAll(code codec.ReasonCode) {
	if to.receipts == nil {
		return
	}
	for at := range to.receipts.due {
		to.report(at.lane, at.seq, code)
	}
}

// over lets the acknowledgement go. What the upstream refuses a 3.1.1 client can not be
// told: it is counted by the bridge, and over. What was dropped here it has to send again.
func (r *receipt) over() {
	c := r.conn
	if c != nil && c.version != codec.V5 && r.code != codec.QuotaExceeded {
		r.code = codec.Success
	}
	if r.from != nil {
		r.from.paid(r)
		if r.code >= codec.UnspecifiedError {
			r.epoch = r.from.unhold(r.id) // [MQTT-4.3.3-4] ends it
		}
	}
	if c != nil && c.state == connected {
		c.releaseLate()
	}
}

// abandon ends a receipt for which nobody waits any more.
func (r *receipt) abandon() {
	for _, p := range r.places {
		delete(p.to.receipts.due, p)
	}
	r.places = nil
}

// owe keeps the receipt of a QoS 2 message with its identifier. It is staged with both.
func (to *session) owe(id uint16, r *receipt) {
	r.from, r.id = to, id
	to.receiptsOf().owed[id] = r
	if !to.durable() {
		return
	}
	var b []byte
	for _, p := range r.places {
		key := p.to.key
		if p.lane != &p.to.lane {
			key |= liveKey
		}
		b = binary.AppendUvarint(binary.AppendUvarint(b, key), p.seq)
	}
	to.srv.db.Set(to.receiptKey(id), string(b), store.Now)
}

// paid forgets a receipt at QoS 2.
func (to *session) paid(r *receipt) {
	delete(to.receipts.owed, r.id)
	if to.stored {
		to.srv.db.Delete(to.receiptKey(r.id), store.Lazy)
	}
}

// owes is the receipt that a QoS 2 message waits for, nil if none.
func (to *session) owes(id uint16) *receipt {
	if to.receipts == nil {
		return nil
	}
	return to.receipts.owed[id]
}

// cancel ends the receipt of a QoS 2 message that its publisher has done with.
func (to *session) cancel(id uint16) {
	if r := to.owes(id); r != nil {
		r.abandon()
		to.paid(r)
	}
}

// endReceipts is the end of the session, as a publisher's and as a bridge's.
func (to *session) endReceipts() {
	if to.receipts == nil {
		return
	}
	for id := range to.receipts.owed {
		to.cancel(id)
	}
	to.reportAll(codec.QuotaExceeded)
}

func (to *session) receiptKey(id uint16) string {
	return to.diskKey('e') + string(binary.BigEndian.AppendUint16(nil, id))
}

// loadReceipt reads a record of session.owe. One for which nothing waits any more has no
// effect: a crash may leave it.
func (to *session) loadReceipt(rest, value string, byKey map[uint64]*session) bool {
	if len(rest) != 2 {
		return false
	}
	r := &receipt{from: to, id: binary.BigEndian.Uint16([]byte(rest))}
	f := fields{b: []byte(value)}
	for len(f.b) > 0 && !f.bad {
		key, seq := f.uvarint(), f.uvarint()
		bridge := byKey[key&^liveKey]
		if bridge == nil || key&liveKey != 0 && bridge.live == nil {
			continue
		}
		l := &bridge.lane
		if key&liveKey != 0 {
			l = &bridge.live.lane
		}
		_, waits := l.queue.Record(seq)
		if waits = waits || l.window.phaseOf(seq) == released; waits && to.holds(r.id) {
			r.places = append(r.places, place{bridge, l, seq})
		}
	}
	if f.bad || len(r.places) == 0 {
		to.srv.db.Delete(to.receiptKey(r.id), store.Lazy)
		return !f.bad
	}
	for _, p := range r.places {
		p.to.receiptsOf().due[p] = r
	}
	to.receiptsOf().owed[r.id] = r
	return true
}

// late says whether an acknowledgement has to go with those that wait for upstreams: it
// does itself or, in 3.1.1, would overtake one that does. In MQTT 5 the order binds clients
// only. [MQTT-4.6.0-2], [MQTT-4.6.0-3]
func (c *conn) late(a *ack) bool {
	l := c.session.receipts
	return a.receipt != nil || l != nil && len(l.acks) > 0 && c.inOrder() && a.answersPublish()
}

func (c *conn) inOrder() bool { return c.version != codec.V5 }

func (a *ack) answersPublish() bool {
	return a.kind == codec.TypePuback || a.kind == codec.TypePubrec
}

// waitsLate says whether the acknowledgement of a message is among them: what comes under
// its identifier is the same message once more.
func (c *conn) waitsLate(id uint16, kind codec.PacketType) bool {
	l := c.session.receipts
	return l != nil && slices.ContainsFunc(l.acks, func(a ack) bool { return a.id == id && a.kind == kind })
}

// releaseLate sends those of them that are ready.
func (c *conn) releaseLate() {
	l := c.session.receipts
	if l == nil || len(l.acks) == 0 {
		return
	}
	if c.inOrder() && slices.ContainsFunc(c.acks, func(a ack) bool { return a.answersPublish() }) {
		return // what came before waits for the disk
	}
	var few [8]ack
	ready, kept := few[:0], l.acks[:0]
	for _, a := range l.acks {
		switch {
		case c.inOrder() && len(kept) > 0 || !c.ready(&a):
			kept = append(kept, a)
			if a.receipt == nil || len(a.receipt.places) == 0 {
				c.awaitCommit()
			}
		case a.receipt == nil || a.receipt.code < codec.UnspecifiedError:
			ready = append(ready, a)
		case c.version == codec.V5:
			a.code, a.packet = a.receipt.code, nil // for all of a batch
			ready = append(ready, a)
		default:
			c.close(codec.QuotaExceeded, "its message was dropped before it went up, see SLUICE_QUEUE_POLICY")
			return
		}
	}
	if len(ready) == 0 {
		return
	}
	clear(l.acks[len(kept):])
	if l.acks = kept; len(kept) == 0 {
		l.acks = nil
	}
	c.sendAcks(ready)
	c.readOn()
}

// forgetLate is the end of the connection: at QoS 1 nobody waits any more, at QoS 2 nobody
// for now.
func (c *conn) forgetLate() {
	l := c.session.receipts
	if l == nil {
		return
	}
	for i := range l.acks {
		l.acks[i].receipt.leave()
	}
	l.acks = nil
}

// leave is called when the publisher's connection is gone.
func (r *receipt) leave() {
	switch {
	case r == nil:
	case r.from == nil:
		r.abandon()
	default:
		r.conn = nil
	}
}
