package gateway

import (
	"encoding/binary"
	"errors"
	"time"

	"sluice/codec"
	"sluice/store"
)

// A message waits, in a queue or as a retained message, in this form:
//
//	deadline   uvarint, the gateway's time in milliseconds; 0: never expires
//	via        uvarint length, and the shared subscription by which it came to the queue;
//	           of a retained message the bridge that brought it
//	PUBLISH    as MQTT 5 would send it, with packet identifier 1 above QoS 0
//	place      in a live lane only, see there
//
// A session is these keys of the store; n is its number, 8 bytes big endian:
//
//	s/n         what it is, see session.save
//	u/n filter  a subscription: options, identifier
//	w/n         what is in flight: first, past, phases of those between; of the live lane w/n1
//	i/n         QoS 2 identifiers received and not released
//	e/n id      where one of these waits for upstreams, see session.owe
//	k/n         its note, see Command.Keep
//	q/n ...     its queue, kept by store; of the live lane, n has the first bit set
//	r/topic     a retained message
//
// Each is a fact of its own, and what one commit brings is on disk as a whole or not
// at all.

var errRecord = errors.New("damaged record")

// waiting is a message read from its record.
type waiting struct {
	codec.Publish
	expires time.Duration // the gateway's time; 0: never
	via     string
}

// encodeRecord makes the record of a message; the next call writes over it.
func (s *Server) encodeRecord(p *codec.Publish, expires time.Duration, via string) []byte {
	if p.QoS > 0 {
		p.ID = 1
	}
	b := binary.AppendUvarint(s.scratch[:0], uint64(expires/time.Millisecond))
	b = appendString(b, via)
	b = p.Append(b, codec.V5)
	s.scratch = b[:0]
	if cap(b) > 64<<10 {
		s.scratch = nil
	}
	return b
}

// decodeRecord reads a record. What it returns views rec, and is valid until the next
// call.
func (s *Server) decodeRecord(rec []byte) (waiting, error) {
	f := fields{b: rec}
	m := waiting{expires: time.Duration(f.uvarint()) * time.Millisecond, via: f.string()}
	if f.bad {
		return m, errRecord
	}
	p, _, err := s.records.Next(f.b, codec.V5, 0)
	if err != nil {
		return m, err
	}
	out, ok := p.(*codec.Publish)
	if !ok {
		return m, errRecord
	}
	m.Publish = *out
	return m, nil
}

// recordVia is the shared subscription by which the message of a record came, "" if by none.
func recordVia(rec []byte) string {
	f := fields{b: rec}
	f.uvarint()
	return f.string()
}

// recordSize is about what a message takes in a queue, in bytes.
func recordSize(m *codec.Message) int64 {
	n := len(m.Topic) + len(m.Payload) + len(m.ContentType) + len(m.ResponseTopic) + len(m.CorrelationData) + 24
	for _, u := range m.User {
		n += len(u.Name) + len(u.Value) + 5
	}
	return int64(n)
}

// enqueue puts a message behind all that waits in a lane.
func (to *session) enqueue(l *lane, p *codec.Publish, expires time.Duration, group string, when store.Urgency) uint64 {
	rec := to.srv.encodeRecord(p, expires, group)
	if to.live != nil {
		rec = to.live.enter(to, l, p.Topic, rec)
	}
	to.srv.copied += uint64(len(rec))
	seq := l.queue.Append(rec, when)
	to.count()
	return seq
}

func (to *session) diskKey(kind byte) string {
	var b [10]byte
	b[0], b[1] = kind, '/'
	binary.BigEndian.PutUint64(b[2:], to.key)
	return string(b[:])
}

func subscriptionKey(to *session, filter string) string { return to.diskKey('u') + filter }

const retainedPrefix = "r/"

func retainedKey(name []byte) string { return retainedPrefix + string(name) }

// stores says whether the session has anything to do with the disk: it is durable, or
// has a will that is to go out even if the gateway loses power first.
func (to *session) stores() bool {
	return to.srv.db != nil && (to.expiry > 0 || to.stored || to.will != nil || to.conn != nil && to.conn.will != nil)
}

// save stores what the session is:
//
//	expiry    uvarint, seconds
//	expires   uvarint, the gateway's time in milliseconds; 0: the client is here, or the session never ends
//	away      byte, 1: the client is gone, 2: it has not come yet
//	id, user  strings, with uvarint lengths
//	will      nothing, or: delay in seconds and due in milliseconds, uvarints, and the message's record
func (to *session) save() { to.saveAs(store.Lazy) }

// saveAs is save with an urgency of choice.
func (to *session) saveAs(when store.Urgency) {
	if !to.stores() {
		return
	}
	s := to.srv
	to.stored = true
	w, away := to.will, byte(1)
	if to.conn != nil {
		w, away = to.conn.will, 0
	}
	if to.came == notYet {
		away = 2
	}
	b := binary.AppendUvarint(nil, uint64(to.expiry))
	b = binary.AppendUvarint(b, uint64(to.expires/time.Millisecond))
	b = append(b, away)
	b = appendString(appendString(b, to.id), to.user)
	if w != nil {
		b = binary.AppendUvarint(b, uint64(w.delay/time.Second))
		b = binary.AppendUvarint(b, uint64(w.due/time.Millisecond))
		b = append(b, s.encodeRecord(&codec.Publish{Message: w.Message}, 0, "")...)
	}
	s.db.Set(to.diskKey('s'), string(b), when)
}

// saveSubscription stores sub if its session lasts.
func (to *session) saveSubscription(sub *subscription) {
	if !to.durable() {
		return
	}
	options := sub.qos
	if sub.noLocal {
		options |= 1 << 2
	}
	if sub.retainAsPublished {
		options |= 1 << 3
	}
	if sub.provisioned {
		options |= 1 << 4
	}
	b := binary.AppendUvarint([]byte{options}, uint64(sub.id))
	to.srv.db.Set(subscriptionKey(to, sub.filter), string(b), store.Now)
}

func (to *session) forgetSubscription(sub *subscription) {
	if to.stored {
		to.srv.db.Delete(subscriptionKey(to, sub.filter), store.Now)
	}
}

// saveHeld stores the QoS 2 identifiers held, if the session lasts, and returns the
// epoch in which they will be on disk; 0 if they need not be.
func (to *session) saveHeld() uint64 {
	if !to.durable() {
		return 0
	}
	if len(to.held) == 0 {
		to.srv.db.Delete(to.diskKey('i'), store.Now)
	} else {
		b := make([]byte, 0, 2*len(to.held))
		for _, id := range to.held {
			b = binary.BigEndian.AppendUint16(b, id)
		}
		to.srv.db.Set(to.diskKey('i'), string(b), store.Now)
	}
	to.heldEpoch = to.srv.db.Epoch()
	return to.heldEpoch
}

// saveWindow stores what is in flight of a lane, if the session lasts, and returns the epoch in
// which it will be on disk; 0 if it need not be. The phases are run lengths.
func (to *session) saveWindow(l *lane) uint64 {
	if !to.durable() {
		return 0
	}
	w := &l.window
	past := max(w.past, w.sent)
	b := binary.AppendUvarint(nil, w.first)
	b = binary.AppendUvarint(b, past)
	for seq := w.first; seq < past; {
		p, from := w.phaseOf(seq), seq
		for seq < past && w.phaseOf(seq) == p {
			seq++
		}
		b = append(b, byte(p))
		b = binary.AppendUvarint(b, seq-from)
	}
	to.srv.db.Set(to.windowKey(l), string(b), store.Now)
	l.windowEpoch = to.srv.db.Epoch()
	return l.windowEpoch
}

// ofLive ends the keys of what is stored of live lanes.
const ofLive = "1"

func (to *session) windowKey(l *lane) string {
	if l == &to.lane {
		return to.diskKey('w')
	}
	return to.diskKey('w') + ofLive
}

// saveReleased is saveWindow for a message that is released, and whose record goes: a crash
// must find one of the two. It is called for each that a read brings, and stores a window,
// which may be large, for the first and, by storeReleased, for all others: in the same batch.
func (to *session) saveReleased(l *lane) uint64 {
	s := to.srv
	if !to.durable() || to.conn.dev != nil {
		return to.saveWindow(l)
	}
	if l.released++; l.released > 1 {
		return l.windowEpoch
	}
	s.released = append(s.released, movedLane{to, l})
	return to.saveWindow(l)
}

// storeReleased stores the windows of saveReleased. It is called at the end of a read.
func (s *Server) storeReleased() {
	for _, t := range s.released {
		more := t.released > 1
		t.released = 0
		if more && !t.to.ended {
			t.to.saveWindow(t.lane)
		}
	}
	clear(s.released)
	s.released = s.released[:0]
}

// saveAfter is how long a window that has moved may stay unsaved. A crash sends again
// what was acknowledged meanwhile at QoS 1, and was on disk. In seconds, so that a
// busy site writes little.
const saveAfter = 2 * time.Second

// touch has the window stored soon, if what is done is on disk and would be sent again
// after a crash.
func (to *session) touch(l *lane) {
	s := to.srv
	if l.moved || !to.durable() || l.queue.Len() == 0 {
		return
	}
	l.moved = true
	s.touched = append(s.touched, movedLane{to, l})
	if s.saver.index == 0 {
		s.saver.owner = (*saver)(s)
		s.setTimer(&s.saver, s.now+saveAfter)
	}
}

// movedLane is a lane whose window has moved since it was stored.
type movedLane struct {
	to *session
	*lane
}

// saver stores the windows that have moved.
type saver Server

func (v *saver) expire() {
	s := (*Server)(v)
	for _, t := range s.touched {
		t.moved = false
		if !t.to.ended && t.queue.Len() > 0 && t.queue.Committed(t.window.first) {
			t.to.saveWindow(t.lane)
		}
	}
	s.touched = s.touched[:0]
}

// forget removes all that is stored of the session.
func (to *session) forget() {
	for l := range to.lanes {
		l.queue.Remove()
	}
	to.count()
	if !to.stored {
		return
	}
	to.forgetDevice()
	db := to.srv.db
	for _, kind := range []byte{'s', 'i', 'k'} {
		db.Delete(to.diskKey(kind), store.Soon)
	}
	for l := range to.lanes {
		db.Delete(to.windowKey(l), store.Soon)
	}
	for _, sub := range to.subs.list {
		db.Delete(subscriptionKey(to, sub.filter), store.Soon)
	}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
