package gateway

import (
	"encoding/binary"
	"slices"
	"time"

	"sluice/codec"
	"sluice/store"
)

// load makes the sessions and retained messages from the store. What can not be read
// is skipped, counted and said; the rest serves.
func (s *Server) load() {
	l := &loading{srv: s, byKey: make(map[uint64]*session), away: make(map[*session]bool), devices: make(map[*session]*device)}
	l.sessions()
	l.parts()
	l.retained()
	if l.damaged > 0 {
		s.stats.Dropped.Damaged += uint64(l.damaged)
		s.log.Error("unreadable records skipped", "records", l.damaged)
	}
	if n := s.db.RemoveUnopened(); n > 0 {
		s.log.Error("queues without a session removed", "queues", n)
	}
	l.start()
	s.log.Info("state loaded", "sessions", len(s.sessions), "retained", s.retained.Len())
}

// loading is what load has read so far.
type loading struct {
	srv     *Server
	byKey   map[uint64]*session
	away    map[*session]bool // whether the client was, when the gateway went down
	devices map[*session]*device
	damaged int // records
}

// records reads those whose keys begin with prefix. One that read does not take is removed:
// its number may be given again.
func (l *loading) records(prefix string, read func(key, value string) bool) {
	l.srv.db.Ascend(prefix, func(key, value string) bool {
		if !read(key, value) {
			l.damaged++
			l.srv.db.Delete(key, store.Lazy)
		}
		return true
	})
}

func (l *loading) sessions() {
	l.records("s/", func(key, value string) bool {
		n, _, ok := cutKey(key)
		to, away := l.srv.loadSession(n, value)
		if !ok || to == nil {
			return false
		}
		l.byKey[n], l.away[to] = to, away
		return true
	})
}

// each reads the records of a kind, of which each belongs to a session. rest is the key behind
// the session's.
func (l *loading) each(kind string, read func(to *session, rest, value string) bool) {
	l.records(kind+"/", func(key, value string) bool {
		n, rest, ok := cutKey(key)
		to := l.byKey[n]
		return ok && to != nil && read(to, rest, value)
	})
}

// parts reads what belongs to the sessions.
func (l *loading) parts() {
	l.each("w", func(to *session, lane, value string) bool { return to.loadWindow(lane, value) })
	for to := range l.away { // the window that says that there is a live lane may be lost
		if to.live == nil && l.srv.db.Waits(to.key|liveKey) {
			to.openLive()
		}
	}
	l.each("i", func(to *session, _, value string) bool { return to.loadHeld(value) })
	l.each("k", func(to *session, _, value string) bool {
		to.note = value
		return true
	})
	l.each("u", func(to *session, filter, value string) bool { return to.loadSubscription(filter, value) })
	l.each("e", func(to *session, id, value string) bool { return to.loadReceipt(id, value, l.byKey) })
	l.each("n", func(to *session, _, value string) bool {
		d, ok := to.loadDevice(value)
		if d != nil {
			l.devices[to] = d
		}
		return ok
	})
	l.each("t", func(to *session, id, name string) bool { return to.loadTopicID(id, name) })
}

func (l *loading) retained() {
	l.records(retainedPrefix, func(key, value string) bool {
		if _, err := l.srv.decodeRecord([]byte(value)); err != nil {
			return false
		}
		l.srv.retained.Set(key[len(retainedPrefix):], value)
		return true
	})
}

// start has the sessions go on.
func (l *loading) start() {
	for to, away := range l.away {
		to.endForbidden()
		if !away {
			for ln := range to.lanes {
				to.presume(ln)
			}
		}
	}
	l.srv.restoreDevices(l.devices)
	for to, away := range l.away { // which may send wills to the others
		if l.devices[to] == nil {
			to.wake(away)
		}
	}
}

// wake starts the clocks of a loaded session. One whose client was here when the
// gateway went down has lost its client now.
func (to *session) wake(gone bool) {
	switch {
	case to.expiry == 0: // kept for its will only
		to.end()
	case gone:
		to.schedule()
	default:
		to.leave()
	}
}

// presume takes what waits, as much as fits a window, for sent: the client was here when
// the gateway was killed, and what it had been sent is not written each time. To a
// message that was not, DUP does no harm. [MQTT-3.3.1-1], [MQTT-4.3.3-7] What is released
// takes no room: that it is completed, and another was sent, may not be on disk either.
func (to *session) presume(l *lane) {
	w := &l.window
	room := int(to.srv.cfg.MaxInflight)
	switch {
	case to.id[0] == '$': // of a part of this program, which has a window of its own
		room = maxSpan
	case to.device != nil:
		room = 2 // a device takes one at a time; that the one before is over may not be on disk
	}
	for seq := w.first; room > 0 && seq < min(l.queue.Next(), w.first+maxSpan); seq++ {
		f := w.at(seq)
		if f.phase == released || f.phase == done {
			continue
		}
		if _, waits := l.queue.Record(seq); waits && f.phase == idle {
			f.phase = perhaps
		}
		w.past = max(w.past, seq+1)
		room--
	}
}

// cutKey takes a key of the form k/n... apart.
func cutKey(key string) (n uint64, rest string, ok bool) {
	if len(key) < 10 {
		return 0, "", false
	}
	return binary.BigEndian.Uint64([]byte(key[2:10])), key[10:], true
}

// fields reads what session.save and its like wrote; once something is missing, bad.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.bad = true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.b) == 0 {
		f.bad = true
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

func (f *fields) string() string {
	n := f.uvarint()
	if n > uint64(len(f.b)) {
		f.bad = true
		return ""
	}
	v := string(f.b[:n])
	f.b = f.b[n:]
	return v
}

// loadSession reads a record of session.save; nil if it is damaged.
func (s *Server) loadSession(key uint64, value string) (to *session, away bool) {
	f := fields{b: []byte(value)}
	to = &session{srv: s, key: key, stored: true}
	to.expiry = uint32(f.uvarint())
	to.expires = time.Duration(f.uvarint()) * time.Millisecond
	state := f.byte()
	if state == 2 {
		to.came = notYet
	}
	to.id, to.user = f.string(), f.string()
	if f.bad || to.id == "" || s.sessions[to.id] != nil {
		return nil, false
	}
	if len(f.b) > 0 {
		w := &will{delay: time.Duration(f.uvarint()) * time.Second, due: time.Duration(f.uvarint()) * time.Millisecond}
		m, err := s.decodeRecord(f.b)
		if f.bad || err != nil {
			return nil, false
		}
		w.Message = cloneMessage(m.Message)
		to.will = w
	}
	s.nextKey = max(s.nextKey, key+1)
	s.sessions[to.id] = to
	s.stats.Sessions++
	to.lane.openQueue(to, key)
	return to, state != 0
}

// loadWindow reads a record of session.saveWindow.
func (to *session) loadWindow(name, value string) bool {
	l := &to.lane
	if name == ofLive {
		to.openLive()
		l = &to.live.lane
	}
	f := fields{b: []byte(value)}
	w := &l.window
	first, past := f.uvarint(), f.uvarint()
	if f.bad || past < first || past-first > maxSpan {
		return false
	}
	for seq := l.queue.First(); seq < min(first, l.queue.Next()); seq++ {
		l.queue.Done(seq)
	}
	l.queue.SetNext(past)
	w.first, w.sent, w.past = first, first, past
	for seq := first; seq < past && !f.bad; {
		p, n := phase(f.byte()), f.uvarint()
		if p > perhaps || n > past-seq {
			return false
		}
		for ; n > 0; n-- {
			w.at(seq).phase = p
			if p == released || p == done {
				l.queue.Done(seq)
			}
			seq++
		}
	}
	return !f.bad
}

// loadHeld reads a record of session.saveHeld.
func (to *session) loadHeld(value string) bool {
	for b := []byte(value); len(b) >= 2; b = b[2:] {
		to.held = append(to.held, binary.BigEndian.Uint16(b))
	}
	slices.Sort(to.held)
	return len(value)%2 == 0
}

// loadSubscription reads a record of session.saveSubscription.
func (to *session) loadSubscription(filter, value string) bool {
	f := fields{b: []byte(value)}
	options := f.byte()
	id := f.uvarint()
	if f.bad || codec.ValidFilter([]byte(filter)) != nil {
		return false
	}
	to.attachSubscription(&subscription{
		session: to, filter: filter, id: uint32(id), qos: min(options&3, 2),
		noLocal: options&(1<<2) != 0, retainAsPublished: options&(1<<3) != 0, provisioned: options&(1<<4) != 0,
	})
	return true
}
