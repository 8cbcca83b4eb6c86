package gateway

import (
	"math"
	"time"

	"sluice/codec"
	"sluice/store"
)

// notYet is the epoch in which the client came of a session that was provisioned for it,
// until it has said something after CONNACK. It may hang up without a word: to make new
// what it has of its own, as there was no session. [MQTT-3.2.2-4]
const notYet = math.MaxUint64

// never is the Session Expiry Interval of a session that does not expire.
const never = 0xFFFFFFFF

// session is Session State: what the server knows of a client, whether it is here or
// not. It has no goroutine and does no I/O. Guarded by Server.mu.
type session struct {
	// Set once.
	srv *Server
	id  string // the client identifier; but see Rename
	key uint64 // its number in the store

	conn      *conn // nil: away
	user      string
	subs      subscriptions
	lane                     // what waits: all, or the backlog
	live      *live          // nil: there is only one lane
	held      []uint16       // QoS 2 identifiers received and not released, sorted
	heldEpoch uint64         // when held is on disk
	came      uint64         // when it is on disk that the client has come; notYet
	will      *will          // of a client that is gone: waits for its delay
	device    *deviceSession // nil: it has never been an MQTT-SN device
	receipts  *receipts      // nil: it has nothing to do with any
	timer     timer          // of the will, or of the end of the session
	expires   time.Duration
	unstored  int64  // bytes of the queue that are counted in Server.unstored
	limit     *limit // nil: the Config's limits
	note      string // see Command.Keep
	expiry    uint32 // seconds after the connection ends; 0: with it; never
	blocked   bool   // is in Server.blocked
	stored    bool   // has records in the store
	ended     bool
}

// durable says whether the session's state survives the program.
func (to *session) durable() bool { return to.expiry > 0 && to.srv.db != nil }

// newSession makes the session of a client that has none.
func (s *Server) newSession(id string, expiry uint32) *session {
	to := &session{srv: s, id: id, key: s.nextKey, expiry: expiry}
	s.nextKey++
	s.sessions[id] = to
	to.lane.openQueue(to, to.key)
	s.stats.Sessions++
	return to
}

// attach gives a session its connection, for the caller to save. What was in flight is sent
// again by pump.
func (to *session) attach(c *conn) {
	s := to.srv
	to.conn, c.session, c.state = c, to, connected
	to.user = c.user
	to.will = nil
	s.stopTimer(&to.timer)
	to.expires = 0
	for l := range to.lanes {
		l.window.past = max(l.window.past, l.window.sent)
		l.window.sent = l.window.first
	}
	if to.live != nil {
		to.live.attach(to)
	}
	to.limit.here()
	s.stats.Connected++
}

// detach ends a connection as the session sees it: the will goes out or waits, the
// session ends or waits for its expiry.
func (to *session) detach(c *conn) {
	to.conn = nil
	to.will, c.will = c.will, nil
	if to.expiry == 0 {
		to.end()
		return
	}
	to.leave()
}

// leave starts the clocks of a session whose client is gone.
func (to *session) leave() {
	s := to.srv
	to.expires = 0
	if to.expiry != never {
		to.expires = s.now + time.Duration(to.expiry)*time.Second
	}
	if to.will != nil {
		to.will.due = s.now + to.will.delay
		if to.will.delay == 0 {
			to.publishWill()
		}
	}
	to.save()
	for l := range to.lanes {
		if max(l.window.past, l.window.sent) > l.window.first {
			to.saveWindow(l) // so that it is known over a restart what was sent before [MQTT-3.3.1-1]
		}
	}
	to.schedule()
}

// arrive begins a new session, and takes the first word of a client that was waited for.
// Nothing is sent or acknowledged at QoS 1 and 2 before it is on disk that the client has
// come: a crash would have it begin anew.
func (to *session) arrive() {
	to.came = 0
	if to.durable() {
		to.saveAs(store.Now)
		to.came = to.srv.db.Epoch()
	} else {
		to.save()
	}
	to.pump()
}

// schedule sets the timer to what comes first, the will or the end.
func (to *session) schedule() {
	at := to.expires
	if to.will != nil && (at == 0 || to.will.due < at) {
		at = to.will.due
	}
	if at != 0 {
		to.timer.owner = to
		to.srv.setTimer(&to.timer, at)
	}
}

// expire is called when the will is due or the session over.
func (to *session) expire() {
	s := to.srv
	if to.expires != 0 && to.expires <= s.now {
		s.log.Info("session expired", "client", brief(to.id), "waiting", to.messages())
		to.end()
		return
	}
	if to.will != nil {
		to.publishWill()
		to.save()
	}
	to.schedule()
}

// end forgets the session. A will that was still to come goes out now [MQTT-3.1.3-9];
// what waits in the queue is dropped and counted, but for what came by a shared
// subscription, which goes to another member.
func (to *session) end() {
	s := to.srv
	to.ended = true
	delete(s.sessions, to.id)
	s.stopTimer(&to.timer)
	s.unlimit(to)
	for _, sub := range to.subs.list {
		s.detachSubscription(sub)
	}
	s.stats.Sessions--
	if to.device != nil {
		s.remembered--
	}
	to.handOn()
	for range to.messages() {
		s.drop(&s.stats.Dropped.SessionEnded)
	}
	to.forget()
	to.endReceipts()
	if to.will != nil {
		to.publishWill()
	}
}

// limitExpiry brings a client's Session Expiry Interval into the server's bounds. A
// bound below a second is one: a session that ends with its connection keeps no message for
// a device that sleeps.
func (s *Server) limitExpiry(seconds uint32) uint32 {
	if limit := s.cfg.MaxSessionExpiry; limit > 0 {
		return min(seconds, uint32(max(1, min(limit/time.Second, never-1))))
	}
	return seconds
}

// hasRoom says whether a record of size bytes may wait for the session, and be stored.
func (to *session) hasRoom(size int64) bool {
	return to.queueHasRoom(size) && (!to.durable() || to.srv.storeHasRoom(size))
}

// queueHasRoom says whether size bytes more may wait for the session. Those that end
// with their connections share the room of one queue: none may take more than is left
// then, so that those with little always find some, however many take all they can.
func (to *session) queueHasRoom(size int64) bool {
	s := to.srv
	room := s.cfg.QueueMaxBytes
	if to.limit != nil {
		if to.tooMany() {
			return false
		}
		room = to.maxBytes()
	}
	if to.expiry == 0 {
		room -= s.unstored
	}
	return to.bytes()+size <= room
}

// done takes a message out of the queue.
func (to *session) done(l *lane, seq uint64) {
	l.queue.Done(seq)
	to.count()
}

// count brings Server.unstored up to date. It is called when the queue has changed.
func (to *session) count() {
	if to.expiry == 0 {
		n := to.queue.Bytes()
		to.srv.unstored += n - to.unstored
		to.unstored = n
	}
}

// storeHasRoom says whether size bytes more may be stored.
func (s *Server) storeHasRoom(size int64) bool {
	return s.db == nil || s.db.Room(size)
}

// makeRoom is the one place where messages at QoS 1 and 2 are dropped for want of room.
// It says whether pub may be queued now. By the policy Reject a device's message was
// refused before it came here; what is left are wills and retained messages.
func (to *session) makeRoom(pub *publication) bool {
	kept := pub.admitted && to.rejects()
	if kept && to.expiry > 0 {
		return true
	}
	s := to.srv
	size := recordSize(&pub.Message)
	if to.hasRoom(size) {
		return true
	}
	if to.expiry == 0 && to.conn != nil {
		s.drop(&s.stats.Dropped.SlowReader)
		to.conn.close(codec.QuotaExceeded, "slow reader: its queue is full")
		return false
	}
	if kept {
		return true
	}
	if to.policy() == DropOldest {
		// The store has the room of what is dropped only after a commit or two. As much
		// as comes has to go, not all that there is.
		before := to.bytes()
		for l := range to.lanes {
			for seq, ok := l.oldest(); ok; seq, ok = l.oldest() {
				s.drop(&s.stats.Dropped.QueueFull)
				to.lostRecord(lossFull, l, seq)
				to.discard(l, seq)
				left := to.bytes()
				if to.hasRoom(size) || !to.tooMany() && left+size <= to.maxBytes() && before-left >= size {
					return true
				}
			}
		}
	}
	s.drop(&s.stats.Dropped.QueueFull)
	to.lost(lossFull, pub.Topic)
	s.warnFull("client", to.id, "waiting", to.messages(), "bytes", to.bytes())
	return false
}

// oldest finds the message that waits longest and is not in flight.
func (l *lane) oldest() (seq uint64, ok bool) {
	for seq = max(l.dropped, l.window.past, l.window.sent, l.queue.First()); seq < l.queue.Next(); seq++ {
		if _, ok := l.queue.Record(seq); ok {
			return seq, true
		}
	}
	return seq, false
}

// discard drops the oldest message of a lane.
func (to *session) discard(l *lane, seq uint64) {
	to.done(l, seq)
	l.dropped = seq + 1
	to.report(l, seq, codec.QuotaExceeded)
}

// warnFull tells the log, at most once a minute, what is full: one client that does not
// come back may stop everybody.
func (s *Server) warnFull(what ...any) {
	if s.seldom(&s.warned) {
		s.log.Warn("full: messages are refused or dropped, as SLUICE_QUEUE_POLICY says; see SLUICE_QUEUE_MAX_BYTES and SLUICE_STORE_MAX_BYTES", what...)
	}
}
