package gateway

import (
	"math"
	"time"

	"sluice/codec"
	"sluice/gateway/transport"
	"sluice/store"
)

// The output that a slow reader has not taken, in bytes, above which QoS 0 messages are
// dropped: of one, and of all that are slow together, or half of Config.QueueMaxBytes if
// that is less; but transport.HighWater is for everyone. Messages at QoS 1 and 2 wait in
// the queue from there on.
const (
	deafOutput = 4 << 20
	slowOutput = 32 << 20
)

// Packet identifiers up to maxID are made of sequence numbers. With liveID added, those up to
// maxLiveID are of the live lane. The last 1,024 of all are left to a bridge for what it asks
// its upstream itself, and may not be in use then. [MQTT-2.2.1-3]
const (
	maxID     = 32767
	liveID    = 32768
	maxLiveID = maxID - 1024
)

// maxSpan bounds the sequence numbers between the oldest message in flight and the
// next, so that packet identifiers, which are made of them, never meet.
const maxSpan = 16384

// packetID derives the identifier of a message from its place in the queue: one that
// is sent again after a crash carries its first identifier, with nothing more stored.
func packetID(seq uint64) uint16 { return uint16(seq%maxID) + 1 }

// seqOf is the inverse, for a message in flight. ok is false for others. Identifiers end at
// most.
func (w *window) seqOf(id uint16, most uint64) (seq uint64, ok bool) {
	switch {
	case id == 0:
		return 0, false
	case uint64(id) > most:
		return math.MaxUint64, false
	}
	seq = w.first + (uint64(id-1)+most-w.first%most)%most
	return seq, seq < w.sent
}

// packetID is the identifier of a message in one of the session's lanes.
func (to *session) packetID(l *lane, seq uint64) uint16 {
	if l != &to.lane {
		return uint16(seq%maxLiveID) + 1 + liveID
	}
	return packetID(seq)
}

// inFlight finds a message in flight by its identifier, and how far it is: idle if it is not.
func (to *session) inFlight(id uint16) (l *lane, seq uint64, p phase) {
	l, most := &to.lane, uint64(maxID)
	if id > liveID && to.live != nil {
		l, id, most = &to.live.lane, id-liveID, maxLiveID
	}
	if seq, ok := l.window.seqOf(id, most); ok {
		return l, seq, l.window.phaseOf(seq)
	}
	return l, 0, idle
}

// phase is the life of a message in flight:
//
//	idle → sent → done                    at QoS 1
//	idle → sent → released → done         at QoS 2
//
// It is perhaps, instead of idle, for a message that may have been sent before the
// gateway was killed.
type phase uint8

const (
	idle     phase = iota // not sent, or not on this connection and not before it either
	sent                  // PUBLISH went out
	released              // PUBREC came: PUBREL goes out, or will when that is on disk
	done
	perhaps // see presume
)

// again says whether to send a message now is to send it again.
func (p phase) again() bool { return p == sent || p == perhaps }

// flight is a message that was sent and is not done.
type flight struct {
	ticket *ticket
	phase  phase
	qos    byte
}

// window is what is in flight to a client: the sequence numbers from first up to sent.
type window struct {
	first uint64   // the oldest not done
	sent  uint64   // the next to be sent on this connection
	past  uint64   // what was sent on an earlier connection ends here
	ring  []flight // by sequence number; its length is a power of two
}

// keptRing is how many flights a window has room for when nothing is in flight.
const keptRing = 64

var rings stock[flight]

// at gives the flight of seq, which lies in first..first+maxSpan.
func (w *window) at(seq uint64) *flight {
	if seq-w.first >= uint64(len(w.ring)) {
		w.grow(seq)
	}
	return &w.ring[seq&uint64(len(w.ring)-1)]
}

// phaseOf tells the phase of seq without making room for it.
func (w *window) phaseOf(seq uint64) phase {
	if seq < w.first {
		return done
	}
	if seq-w.first >= uint64(len(w.ring)) {
		return idle
	}
	return w.ring[seq&uint64(len(w.ring)-1)].phase
}

// grow makes room for seq.
func (w *window) grow(seq uint64) {
	old, n := w.ring, max(4, 2*len(w.ring))
	for seq-w.first >= uint64(n) {
		n *= 2
	}
	w.ring = rings.get(n)
	for i := range old {
		seq := w.first + uint64(i)
		w.ring[seq&uint64(n-1)] = old[seq&uint64(len(old)-1)]
	}
	rings.put(old)
}

// finish marks seq done and moves first on.
func (w *window) finish(seq uint64) {
	*w.at(seq) = flight{phase: done}
	for w.first < w.past || w.first < w.sent {
		f := &w.ring[w.first&uint64(len(w.ring)-1)] // there is room for it since at
		if f.phase != done {
			return
		}
		*f = flight{}
		w.first++
	}
	if w.sent = max(w.sent, w.first); len(w.ring) > keptRing { // all done: a burst is over
		rings.put(w.ring)
		w.ring = nil
	}
}

// skip goes on at seq if nothing is in flight: what lies between was dropped, perhaps
// for weeks.
func (w *window) skip(seq uint64) {
	if w.first == w.sent && w.first >= w.past && seq > w.first {
		w.first, w.sent = seq, seq
	}
}

// open says whether the next message of a lane may be sent now.
func (to *session) open(l *lane) bool {
	c := to.conn
	return c != nil && to.came <= to.srv.committed && c.inflight < to.receiveMax() && // [MQTT-3.3.4-9]
		l.window.sent-l.window.first < maxSpan && c.pending() <= transport.HighWater && (c.dev == nil || c.dev.open(l.window.sent))
}

// deliver hands a message to a session as it wants it.
func (to *session) deliver(pub *publication, w *want) {
	if to.ended {
		return
	}
	qos := min(pub.QoS, w.qos)
	retain := pub.Retain && (w.retain || !pub.live) // [MQTT-3.3.1-8], [MQTT-3.3.1-12], [MQTT-3.3.1-13]
	pub.wanted = true
	if qos == 0 {
		to.deliverOnce(pub, w, retain)
		return
	}
	if !to.makeRoom(pub) {
		if w.word {
			pub.miss()
		}
		return
	}
	out := codec.Publish{SubscriptionIDs: w.ids}
	out.Message = pub.Message // in the literal it would be copied twice
	out.QoS, out.Retain = qos, retain
	deadline := pub.expires
	if to.limit != nil {
		deadline = to.deadline(&out, pub.expires)
	}
	l := &to.lane
	if to.live != nil {
		l = to.choose(pub.Topic)
	}
	direct := l.window.sent == l.queue.Next() && to.open(l) && to.turn(l) && !(to.durable() && qos == 2)
	switch {
	case direct && to.expiry == 0: // never sent twice: the session dies with its connection
		to.send(l, l.queue.Skip(), &out, pub.expires, nil)
	case direct && to.durable():
		seq := to.enqueue(l, &out, deadline, w.group, store.Soon)
		if w.word {
			pub.await(to, l, seq)
		}
		if to.limit != nil {
			to.limit.mark(l, seq)
		}
		to.send(l, seq, &out, pub.expires, pub.spare())
		pub.epoch = to.srv.db.Epoch()
	default:
		seq := to.enqueue(l, &out, deadline, w.group, store.Now)
		if w.word {
			pub.await(to, l, seq)
		}
		if to.durable() {
			pub.disk = true
			pub.epoch = to.srv.db.Epoch()
		}
		if to.limit != nil {
			to.limit.mark(l, seq)
			to.limit.watch()
		}
		pub.crowded = pub.crowded || to.crowded()
		to.pump()
	}
}

// spare counts one more recipient who may acknowledge before the disk has the message.
func (pub *publication) spare() *ticket {
	if pub.origin == nil {
		return nil
	}
	if pub.ticket == nil {
		pub.ticket = pub.origin.srv.newTicket(pub.origin)
	}
	pub.ticket.open++
	return pub.ticket
}

// deliverOnce hands over a message at QoS 0, if the client is here and reads.
func (to *session) deliverOnce(pub *publication, w *want, retain bool) {
	c := to.conn
	switch {
	case c == nil:
		to.srv.drop(&to.srv.stats.Dropped.Away)
		to.lost(lossAway, pub.Topic)
		return
	case c.behind():
		to.srv.drop(&to.srv.stats.Dropped.SlowReader)
		to.lost(lossSlow, pub.Topic)
		return
	}
	out := codec.Publish{SubscriptionIDs: w.ids}
	out.Message = pub.Message // in the literal it would be copied twice
	out.QoS, out.Retain = 0, retain
	if !c.write(&out, pub.expires) {
		to.lost(lossTooLarge, pub.Topic)
	}
}

// send writes a message for the first time on this connection.
func (to *session) send(l *lane, seq uint64, out *codec.Publish, expires time.Duration, t *ticket) {
	w := &l.window
	f := w.at(seq)
	out.ID = to.packetID(l, seq)
	out.Dup = f.phase.again() // [MQTT-3.3.1-1]
	*f = flight{phase: sent, qos: out.QoS, ticket: t}
	w.sent = seq + 1
	w.past = max(w.past, w.sent)
	to.conn.inflight++
	if !to.conn.write(out, expires) {
		to.conn.inflight--
		to.lost(lossTooLarge, out.Topic)
		to.finish(l, seq, codec.ImplementationSpecificError) // too large for this client: as if it had been delivered [MQTT-3.1.2-25]
	}
}

// write encodes a PUBLISH for this client. It is false if the client does not take
// packets of that size.
func (c *conn) write(out *codec.Publish, expires time.Duration) bool {
	s := c.srv
	if c.dev != nil {
		return c.dev.deliver(out, expires)
	}
	if out.HasMessageExpiry {
		out.MessageExpiry = uint32(max(expires-s.now, 0) / time.Second) // [MQTT-3.3.2-6]
	}
	topic, fresh := out.Topic, false
	if c.aliases != nil && c.aliases.max > 0 {
		alias, known := c.aliases.alias(topic)
		out.TopicAlias = alias
		if fresh = alias != 0 && !known; known {
			out.Topic = nil
		}
	}
	b := c.tc.Begin(len(topic) + len(out.Payload) + 32)
	n := len(b)
	b = out.Append(b, c.version)
	if fresh && c.tooLarge(len(b)-n) { // it may fit without the news of an alias
		c.aliases.forget(topic)
		out.TopicAlias = 0
		b = out.Append(b[:n], c.version)
	}
	large := c.tooLarge(len(b) - n)
	if large {
		b = b[:n]
	}
	s.copied += uint64(len(b) - n)
	c.tc.End(b)
	out.Topic, out.TopicAlias = topic, 0
	if large {
		s.drop(&s.stats.Dropped.TooLarge)
		return false
	}
	s.stats.MessagesOut++
	return true
}

// pump sends what waits, as far as the window is open. After a reconnect it begins at
// the oldest message in flight, in the original order. [MQTT-4.4.0-1], [MQTT-4.6.0-1]
func (to *session) pump() {
	if to.live != nil {
		to.pumpLanes()
		return
	}
	to.pumpLane(&to.lane, math.MaxUint64)
}

// pumpLane sends what waits in one lane, up to the sequence number end; false: it could not
// send all that.
func (to *session) pumpLane(l *lane, end uint64) bool {
	w := &l.window
	for to.conn != nil && w.sent < min(end, l.queue.Next()) && (to.conn.dev == nil || to.conn.dev.open(w.sent)) {
		seq := w.sent
		switch w.phaseOf(seq) {
		case released: // its PUBCOMP returns what it takes here: the client counts it still
			to.conn.inflight++
			to.pubrel(l, seq, l.windowEpoch)
			w.sent++
			continue
		case done:
			w.sent++
			continue
		}
		if !to.open(l) {
			if to.came > to.srv.committed && to.came != notYet {
				to.block()
			}
			return false
		}
		rec, ok := l.queue.Record(seq)
		if !ok {
			w.sent++
			to.finish(l, seq, codec.Success)
			w.skip(l.queue.First())
			continue
		}
		if to.limit != nil && l == &to.lane && w.phaseOf(seq) != sent && to.limit.holds(seq, len(rec)) {
			return false
		}
		if !to.sendRecord(l, seq, rec) {
			return false
		}
	}
	return to.conn != nil
}

// sendRecord sends one waiting message; false: it has to wait for the disk.
func (to *session) sendRecord(l *lane, seq uint64, rec []byte) bool {
	s := to.srv
	m, err := s.decodeRecord(rec)
	if err != nil {
		s.log.Error("unreadable message skipped", "client", to.id, "seq", seq, "err", err)
		s.drop(&s.stats.Dropped.Damaged)
		to.lost(lossDamaged, nil)
		l.window.sent++
		to.finish(l, seq, codec.ImplementationSpecificError)
		return true
	}
	again := l.window.phaseOf(seq).again()
	if m.HasMessageExpiry && m.expires <= s.now && !again { // [MQTT-3.3.2-5]
		s.drop(&s.stats.Dropped.Expired)
		to.lost(lossExpired, m.Topic)
		l.window.sent++
		to.finish(l, seq, codec.ImplementationSpecificError)
		return true
	}
	if to.limit != nil && !again {
		if at := to.limit.tooOldAt(&m); at != 0 && at <= s.now {
			s.drop(&s.stats.Dropped.TooOld)
			to.lost(lossOld, m.Topic)
			l.window.sent++
			to.finish(l, seq, codec.ImplementationSpecificError)
			return true
		}
	}
	if m.QoS == 2 && to.durable() && !l.queue.Committed(seq) {
		to.block()
		return false
	}
	var t *ticket
	if again {
		t = l.window.at(seq).ticket
	}
	to.send(l, seq, &m.Publish, m.expires, t)
	return true
}

// block has the session pumped after the next commit.
func (to *session) block() {
	if !to.blocked {
		to.blocked = true
		to.srv.blocked = append(to.srv.blocked, to)
	}
}

// acknowledged takes a PUBACK.
func (to *session) acknowledged(id uint16, code codec.ReasonCode) {
	l, seq, p := to.inFlight(id)
	if p != sent || l.window.at(seq).qos != 1 {
		return
	}
	to.conn.inflight--
	to.finish(l, seq, code)
	to.pump()
}

// received takes a PUBREC. PUBREL answers it once a crash can no longer undo it: the
// receiver may forget the message at PUBREL and would take a resent one for new.
func (to *session) received(id uint16, code codec.ReasonCode) {
	l, seq, p := to.inFlight(id)
	switch {
	case p == released:
		to.pubrel(l, seq, l.windowEpoch)
	case p != sent || l.window.at(seq).qos != 2:
		to.conn.acknowledge(ack{kind: codec.TypePubrel, id: id, code: codec.PacketIdentifierNotFound})
	case code >= codec.UnspecifiedError: // [MQTT-4.3.3-4]
		to.conn.inflight--
		to.finish(l, seq, code)
		to.pump()
	default:
		l.window.at(seq).phase = released
		epoch := to.saveReleased(l)
		to.done(l, seq)
		to.pubrel(l, seq, epoch)
	}
}

// pubrel sends PUBREL for seq once epoch is committed.
func (to *session) pubrel(l *lane, seq, epoch uint64) {
	to.conn.acknowledge(ack{kind: codec.TypePubrel, id: to.packetID(l, seq), epoch: epoch})
}

// completed takes a PUBCOMP.
func (to *session) completed(id uint16) {
	l, seq, p := to.inFlight(id)
	if p != released {
		return
	}
	to.conn.inflight--
	to.finish(l, seq, codec.Success)
	to.pump()
}

// finish is the end of a message for this session: code is what its client said to it.
func (to *session) finish(l *lane, seq uint64, code codec.ReasonCode) {
	t := l.window.at(seq).ticket
	to.done(l, seq)
	l.window.finish(seq)
	to.touch(l)
	t.done()
	to.report(l, seq, code)
}
