package gateway

import (
	"encoding/binary"
	"hash/maphash"
	"maps"
	"math"

	"sluice/store"
)

// A lane is messages that wait for a client in their order, and what of them is in flight.
//
// Every session has one. With Limits.LiveFirst it has a second, the live lane, which goes
// before what waits in the first, the backlog:
//
//   - A message goes into the live lane if the client is here and no message of its topic is
//     in the backlog, not even in flight. All else goes into the backlog.
//   - A message in the live lane has a place in the backlog: behind all that was sent of it
//     when the message came. So what is sent again, after a crash too, goes in the order in
//     which it went first [MQTT-4.6.0-1], and what comes into the backlog later goes later.
//   - The backlog gets what the live lane leaves of the client's Receive Maximum: one less for
//     each live message that is not sent yet.
//
// So the messages of one topic are sent in the order in which they came. And after a crash,
// when nobody knows how far either lane was, what is sent again is within the Receive Maximum
// together with what the client has kept: all that may have been sent comes first. This holds
// if all is at QoS 2. An acknowledgement that ends a message at once, PUBACK, or PUBREC with an
// error, is not on disk before the window is: for each one that the crash makes forgotten, of
// a message sent since the window was stored, what is live may overtake one that the client
// has kept.
type lane struct {
	queue       *store.Queue
	window      window
	windowEpoch uint64 // when a released message is on disk
	dropped     uint64 // messages below were looked at for dropping
	moved       bool   // is in Server.touched
	released    int32  // messages, by the read being served
}

// live is the live lane of a session.
type live struct {
	lane
	backlog *topics // of the other lane; nil: there is no more to come into this one
	before  uint64  // what precedes it, of an earlier connection, goes before more of the backlog
	reach   uint64  // the least place of the next message
	room    uint16  // messages in flight, until all of the backlog is sent that may have been before
}

// liveKey is set in the number of a live lane in the store; below it the session's.
const liveKey = 1 << 63

// placeLen is how many bytes follow a record in a live lane: the place of its message in
// the backlog, big endian.
const placeLen = 8

// lanes yields the session's lanes, the backlog first.
func (to *session) lanes(yield func(*lane) bool) {
	if yield(&to.lane) && to.live != nil {
		yield(&to.live.lane)
	}
}

// openQueue gives the lane its queue: on disk if the session is durable.
func (l *lane) openQueue(to *session, key uint64) {
	if to.durable() {
		l.queue = to.srv.db.Queue(key)
	} else {
		l.queue = (*store.DB)(nil).Queue(0)
	}
	first := l.queue.First()
	l.window = window{first: first, sent: first, past: first}
}

// empty says whether nothing waits in the lane, nor is in flight.
func (l *lane) empty() bool {
	return l.queue.Len() == 0 && l.window.first >= max(l.window.past, l.window.sent)
}

// unsent is how many messages of the lane were not sent on this connection, at most.
func (l *lane) unsent() uint64 { return l.queue.Next() - l.window.sent }

// messages is how many wait for the session.
func (to *session) messages() int {
	n := to.queue.Len()
	if to.live != nil {
		n += to.live.queue.Len()
	}
	return n
}

// bytes is what they take.
func (to *session) bytes() int64 {
	n := to.queue.Bytes()
	if to.live != nil {
		n += to.live.queue.Bytes()
	}
	return n
}

// liveFirst opens the live lane of a session, or lets no more in and forgets it once
// nothing is left.
func (to *session) liveFirst(on bool) {
	if on && to.live == nil {
		to.openLive()
	}
	v := to.live
	if v == nil {
		return
	}
	to.saveWindow(&v.lane) // by which it is known to be there, and which may have been damaged
	switch {
	case on && v.backlog == nil:
		v.backlog = to.backlogTopics()
	case !on:
		v.backlog = nil
	}
	v.before = v.queue.Next()
	if !on && v.empty() {
		to.live = nil
		if to.stored {
			to.srv.db.Delete(to.windowKey(&v.lane), store.Lazy)
		}
	}
}

func (to *session) openLive() {
	v := new(live)
	v.openQueue(to, to.key|liveKey)
	v.reach = v.reached()
	to.queue.SetNext(v.reach) // it may have been empty, and have begun anew
	if to.live = v; to.conn != nil {
		v.attach(to)
	}
}

// enter notes that a message with such a record comes into l, and makes the record what it
// has to be there.
func (v *live) enter(to *session, l *lane, topic, rec []byte) []byte {
	switch w := &to.window; {
	case l == &v.lane:
		v.reach = max(v.reach, w.sent)
		return binary.BigEndian.AppendUint64(rec, v.reach)
	case v.backlog != nil:
		v.backlog.add(topic, to.queue.Next(), w.first)
	}
	return rec
}

// choose is the lane for a new message.
func (to *session) choose(topic []byte) *lane {
	v := to.live
	if to.conn == nil || v.backlog == nil || v.backlog.have(topic, to.window.first) {
		return &to.lane
	}
	return &v.lane
}

// backlogTopics finds the topics of what is in the backlog.
func (to *session) backlogTopics() *topics {
	t := newTopics()
	for seq := to.window.first; seq < to.queue.Next(); seq++ {
		if rec, ok := to.queue.Record(seq); ok {
			t.add(recordTopic(rec), seq, to.window.first)
		}
	}
	return t
}

// place tells before which message of the backlog the message seq goes: 0 for one that is
// not there any more.
func (v *live) place(seq uint64) uint64 {
	rec, ok := v.queue.Record(seq)
	if !ok || len(rec) < placeLen {
		return 0
	}
	return binary.BigEndian.Uint64(rec[len(rec)-placeLen:])
}

// attach begins a connection, or a live lane during one: what is in the lane goes before more
// of the backlog, and what comes into it goes behind what of the backlog the client may have.
// That is all that is known to have been sent. And after a crash, of what may have been,
// as much as its Receive Maximum; what is released, and perhaps completed, is no part of that.
func (v *live) attach(to *session) {
	w := &to.window
	v.before = v.queue.Next()
	v.room = to.conn.receiveMax
	room := v.room
	for seq := w.first; seq < w.past; seq++ {
		switch p := w.phaseOf(seq); {
		case p == done, p == perhaps && room == 0:
			continue
		case p == perhaps:
			room--
		}
		v.reach = max(v.reach, seq+1)
	}
}

// receiveMax is how many messages may be in flight now. When the Receive Maximum grows, what
// is live gets none of it as long as the client may have kept more of the backlog than
// attach knew: that of a part of the program begins small again on each connection.
func (to *session) receiveMax() int32 {
	if v := to.live; v != nil && to.window.sent < to.window.past {
		return int32(min(to.conn.receiveMax, v.room))
	}
	return int32(to.conn.receiveMax)
}

// reached is how far the backlog had been sent when the last message came that is in the
// live lane.
func (v *live) reached() uint64 {
	for seq := v.queue.Next(); seq > v.queue.First(); seq-- {
		if at := v.place(seq - 1); at != 0 {
			return at
		}
	}
	return 0
}

// turn says whether a message that is put at the end of l is next, if all that is before it
// in l was sent.
func (to *session) turn(l *lane) bool {
	switch v := to.live; {
	case v == nil:
		return true
	case l == &to.lane:
		return v.unsent() == 0
	default:
		return to.window.sent >= v.reach || to.window.sent == to.queue.Next()
	}
}

// pumpLanes sends what waits, from both lanes.
func (to *session) pumpLanes() {
	v, w := to.live, &to.window
	for to.conn != nil {
		if v.unsent() == 0 {
			to.pumpLane(&to.lane, math.MaxUint64)
			return
		}
		if at := v.place(v.window.sent); w.sent < at && w.sent < to.queue.Next() {
			if !to.pumpLane(&to.lane, at) {
				return
			}
			continue
		}
		if to.pumpLane(&v.lane, v.window.sent+1) {
			continue
		}
		// It waits for the disk, or for room.
		if to.conn == nil || v.window.sent < v.before || uint64(to.conn.inflight)+v.unsent() >= uint64(to.receiveMax()) ||
			w.sent == to.queue.Next() || !to.pumpLane(&to.lane, w.sent+1) {
			return
		}
	}
}

// maxTopics bounds what is remembered of topics. An entry takes some 20 to 40 bytes.
const maxTopics = 65536

// topics remembers which topics a lane has messages of. What it has forgotten, and topics
// with the same hash, it takes for there.
type topics struct {
	seed   maphash.Seed
	last   map[uint64]uint64 // of a hash, the number of the last message
	others uint64            // that of the last message of a topic that is not among them
}

func newTopics() *topics {
	return &topics{seed: maphash.MakeSeed(), last: make(map[uint64]uint64)}
}

// have says whether there may be a message of the topic among those from first on.
func (t *topics) have(topic []byte, first uint64) bool {
	if len(t.last) == 0 {
		return false
	}
	last, known := t.last[maphash.Bytes(t.seed, topic)]
	if !known {
		last = t.others
	}
	return last >= first
}

// add notes a message; those before first are done.
func (t *topics) add(topic []byte, seq, first uint64) {
	if first == seq && len(t.last) > 0 {
		*t = *newTopics() // the others are done
	}
	hash := maphash.Bytes(t.seed, topic)
	if _, known := t.last[hash]; !known && len(t.last) >= maxTopics {
		if t.others < first {
			maps.DeleteFunc(t.last, func(_, last uint64) bool { return last < first })
		}
		if len(t.last) >= maxTopics {
			t.others = seq
			return
		}
	}
	t.last[hash] = seq
}

// recordTopic finds the topic in a message's record; nil if that is damaged.
func recordTopic(rec []byte) []byte {
	f := fields{b: rec}
	f.uvarint()
	f.string()
	f.byte()
	f.uvarint() // the remaining length of PUBLISH has the same form
	if f.bad || len(f.b) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(f.b))
	if n > len(f.b)-2 {
		return nil
	}
	return f.b[2 : 2+n]
}
