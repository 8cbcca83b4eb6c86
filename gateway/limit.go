package gateway

import (
	"maps"
	"time"

	"sluice/codec"
)

// Limits bound what may wait for a provisioned session, in place of what Config says.
type Limits struct {
	MaxBytes    int64         // 0: Config.QueueMaxBytes
	MaxMessages int           // 0: any number
	MaxAge      time.Duration // 0: any; else what has waited so long when it could be sent, or sooner, is dropped
	Policy      Policy        // at MaxBytes and MaxMessages, and at store.Config.MaxBytes

	// What comes while the client is here, and of whose topic nothing waits, goes before
	// what waits.
	LiveFirst bool

	// What waited while the client was away is sent no faster than so many messages,
	// and bytes of them, a second; 0: as fast as it takes them. What comes later waits
	// its turn and then has no bound.
	DrainMessages int
	DrainBytes    int64

	// Lost is called when Losses has more to tell, with the server's lock held: it
	// may not wait, nor call the server. nil: nobody wants to know.
	Lost func()
}

// Losses are the messages that a limited session should have got and did not, since
// the program started.
type Losses struct {
	Messages    uint64            `json:"messages"`
	Causes      map[string]uint64 `json:"causes"`
	First       time.Time         `json:"first"` // by the machine's clock
	Last        time.Time         `json:"last"`
	Topics      map[string]uint64 `json:"topics"`       // the first 32 there were, how many of each
	OtherTopics uint64            `json:"other_topics"` // messages of others, or of topics longer than 256 bytes
}

// mark says that the message seq, and none before it, was queued at a time or later.
type mark struct {
	seq uint64
	at  time.Duration
}

// marks tell when messages of a lane were queued, some of them, the oldest first.
type marks []mark

// maxMarks bounds what is remembered of when messages were queued: to the second in the
// first minute or two, then twice as coarse at each doubling of that.
const maxMarks = 128

// Causes of losses that the gateway itself notes.
const (
	lossFull     = "queue_full" // by the policies drop-oldest and drop-newest
	lossOld      = "too_old"    // waited for longer than Limits.MaxAge
	lossExpired  = "expired"    // by its Message Expiry Interval
	lossAway     = "qos0_away"
	lossSlow     = "slow_reader"
	lossTooLarge = "too_large"
	lossDamaged  = "damaged"
)

// LossCauses are all of them.
var LossCauses = []string{lossFull, lossOld, lossExpired, lossAway, lossSlow, lossTooLarge, lossDamaged}

const (
	maxLossTopics = 32
	maxLossTopic  = 256 // bytes
)

// limit is what hangs on a session with Limits.
type limit struct {
	Limits
	to        *session
	timer     timer // for the oldest to be too old
	drain     timer // for the budget to let the next go
	budget    budget
	marks     marks
	liveMarks marks // of the live lane
	losses    Losses
}

// Limit bounds what may wait for the session of a client that was provisioned. What
// waits already stays.
func (s *Server) Limit(clientID string, l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	to := s.sessions[clientID]
	if to == nil {
		return
	}
	fresh := &limit{Limits: l, to: to, budget: newBudget(l.DrainMessages, l.DrainBytes), losses: Losses{Causes: map[string]uint64{}, Topics: map[string]uint64{}}}
	if old := to.limit; old != nil {
		fresh.losses = old.losses
		s.unlimit(to)
	}
	to.limit = fresh
	to.liveFirst(l.LiveFirst)
	for ln := range to.lanes {
		fresh.mark(ln, ln.queue.First())
	}
	if l.Policy == Reject {
		s.rejecting++
	}
	to.limit.expire()
	to.pump() // what an older budget held back
}

// unlimit takes a session's limits back.
func (s *Server) unlimit(to *session) {
	l := to.limit
	if l == nil {
		return
	}
	s.stopTimer(&l.timer)
	s.stopTimer(&l.drain)
	if l.Policy == Reject {
		s.rejecting--
	}
	to.limit = nil
}

// policy is what happens when the session's queue is full.
func (to *session) policy() Policy {
	if to.limit != nil {
		return to.limit.Policy
	}
	return to.srv.cfg.QueuePolicy
}

// rejects says whether a message is refused now for which the session has no room.
func (to *session) rejects() bool { return to.policy() == Reject || to.srv.failing != nil }

// maxBytes is what may wait for the session.
func (to *session) maxBytes() int64 {
	if to.limit != nil && to.limit.MaxBytes != 0 {
		return to.limit.MaxBytes
	}
	return to.srv.cfg.QueueMaxBytes
}

// tooMany says whether one message more may not wait, whatever its size.
func (to *session) tooMany() bool {
	return to.limit != nil && to.limit.MaxMessages != 0 && to.messages() >= to.limit.MaxMessages
}

// deadline is the time that the record of a limited session's message is to have: when it expires, or
// for one that does not, when it is too old. One that expires then tells its age by what
// is left of its expiry now.
func (to *session) deadline(out *codec.Publish, expires time.Duration) time.Duration {
	l, now := to.limit, to.srv.now
	switch {
	case l.MaxAge == 0:
	case !out.HasMessageExpiry:
		return now + l.MaxAge
	default:
		out.MessageExpiry = uint32(max(expires-now, 0) / time.Second)
	}
	return expires
}

// tooOldAt is when a waiting message is too old, 0 if never.
func (l *limit) tooOldAt(m *waiting) time.Duration {
	switch {
	case l.MaxAge == 0 || m.expires == 0:
		return 0
	case m.HasMessageExpiry:
		return m.expires - time.Duration(m.MessageExpiry)*time.Second + l.MaxAge
	}
	return m.expires
}

// mark notes that a message is queued.
func (l *limit) mark(ln *lane, seq uint64) {
	now := l.to.srv.now
	m := *l.marksOf(ln)
	if n := len(m); n > 0 && now-m[n-1].at < time.Second {
		return
	}
	m = append(m[:0], m.from(ln.queue.First())...)
	if len(m) == maxMarks {
		for i := range maxMarks / 2 {
			m[i] = m[2*i]
		}
		m = m[:maxMarks/2]
	}
	*l.marksOf(ln) = append(m, mark{seq, now})
}

func (l *limit) marksOf(ln *lane) *marks {
	if ln == &l.to.lane {
		return &l.marks
	}
	return &l.liveMarks
}

// from are the marks from that of the oldest waiting message, first, on.
func (m marks) from(first uint64) marks {
	i := 0
	for i+1 < len(m) && m[i+1].seq <= first {
		i++
	}
	return m[i:]
}

// watch sets the timer for the oldest message, unless it is set.
func (l *limit) watch() {
	if l.MaxAge != 0 && l.timer.index == 0 {
		l.expire()
	}
}

// expire drops what is too old and not in flight, and sets the timer for the next.
func (l *limit) expire() {
	to := l.to
	s := to.srv
	if to.ended || l.MaxAge == 0 {
		return
	}
	var next time.Duration
	for ln := range to.lanes {
		if at := l.dropOld(ln); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if next != 0 {
		l.timer.owner = l
		s.setTimer(&l.timer, next)
	}
}

// dropOld drops what is too old of a lane and not in flight, and tells when the next will
// be; 0 if never.
func (l *limit) dropOld(ln *lane) time.Duration {
	to := l.to
	s := to.srv
	for seq, ok := ln.oldest(); ok; seq, ok = ln.oldest() {
		rec, _ := ln.queue.Record(seq)
		m, err := s.decodeRecord(rec)
		at := l.tooOldAt(&m)
		if err == nil && (at == 0 || at > s.now) {
			return at
		}
		s.drop(&s.stats.Dropped.TooOld)
		to.lost(lossOld, m.Topic)
		to.discard(ln, seq)
	}
	return 0
}

// lost notes a message that the session does not get.
func (to *session) lost(cause string, topic []byte) {
	l := to.limit
	if l == nil {
		return
	}
	now := time.Now()
	if l.losses.Messages == 0 {
		l.losses.First = now
	}
	l.losses.Last = now
	l.losses.Messages++
	l.losses.Causes[cause]++
	switch n, known := l.losses.Topics[string(topic)]; {
	case known:
		l.losses.Topics[string(topic)] = n + 1
	case len(topic) > 0 && len(topic) <= maxLossTopic && len(l.losses.Topics) < maxLossTopics:
		l.losses.Topics[string(topic)] = 1
	default:
		l.losses.OtherTopics++
	}
	if l.Lost != nil {
		l.Lost()
	}
}

// lostRecord notes a waiting message that the session does not get. It does not decode the
// record: one that was, for which this one has to go, has to stay.
func (to *session) lostRecord(cause string, l *lane, seq uint64) {
	if to.limit == nil {
		return
	}
	rec, _ := l.queue.Record(seq)
	to.lost(cause, recordTopic(rec))
}

// Lost notes a message that the client of a limited session took and can not use, for
// a cause of few. Of one that is in flight to it the packet identifier tells the topic,
// if it is nil.
func (s *Server) Lost(clientID, cause string, topic []byte, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.sessions[clientID]
	if to == nil {
		return
	}
	if l, seq, p := to.inFlight(id); p != idle && topic == nil {
		to.lostRecord(cause, l, seq)
		return
	}
	to.lost(cause, topic)
}

// Losses tells what a limited session did not get, and whether there is such a session.
func (s *Server) Losses(clientID string) (l Losses, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := s.sessions[clientID]
	if to == nil || to.limit == nil {
		return l, false
	}
	l = to.limit.losses
	l.Causes, l.Topics = maps.Clone(l.Causes), maps.Clone(l.Topics)
	return l, true
}

// A Backlog is what waits for a session.
type Backlog struct {
	Messages int
	Bytes    int64         // of these
	Oldest   time.Duration // how long the oldest has waited: since the program's start at most, and about
	InFlight int           // messages at QoS 1 and 2 that were sent, and not acknowledged to the end
}

// Backlog tells what waits for a limited session.
func (s *Server) Backlog(clientID string) (b Backlog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	to := s.sessions[clientID]
	if to == nil || to.limit == nil {
		return b
	}
	if to.conn != nil {
		b.InFlight = int(to.conn.inflight)
	}
	b.Messages, b.Bytes = to.messages(), to.bytes()
	for l := range to.lanes {
		if marks := to.limit.marksOf(l).from(l.queue.First()); l.queue.Len() > 0 && len(marks) > 0 {
			b.Oldest = max(b.Oldest, s.now-marks[0].at)
		}
	}
	return b
}
