//go:build linux

package bench

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/codec"
)

const (
	readBuffer = 256 << 10
	chunkBytes = 32 << 10 // most that one publisher encodes in one go
	idleWait   = 10       // ms, how soon a worker notices that it shall stop
	timerSlot  = -1
	minTimer   = 20_000 // ns, messages due within this go out together
)

// worker is an event loop over some of the connections.
type worker struct {
	// Set once by newWorker.
	run    *run
	server unix.Sockaddr
	epfd   int
	shaken chan *conn // TLS handshakes that are over, or failed

	// Owned by the loop, and by others while it does not run.
	timerfd int
	events  [256]unix.EpollEvent
	buf     []byte
	dec     codec.Decoder
	conns   []*conn // by slot; nil is free
	free    []int32
	shaking int // TLS handshakes under way
	dirty   []*conn
	spare   []*conn // the list that dirty was before
	now     int64

	pubs    []*publisher
	stalled []*publisher // waiting for room in the end-to-end window
	subs    []*subscriber
	pacing  bool
	due     uint64 // with a rate: messages that should have gone out

	tally       tally
	arrived     uint64 // messages, duplicates among them
	sent        uint64
	measured    uint64 // received and sent after the warm-up
	measureFrom int64
	firstRecv   int64
	lastRecv    int64
	lastSend    int64
	latency     histogram
	lag         histogram // with a rate: from due to sent
	foreign     uint64
	resent      uint64
	reads       uint64
	errors      int64
	firstErr    error
	ready       uint64
	pubsDone    uint64

	shown shown
}

// shown is what others may read while the loop runs, as of its last round.
type shown struct {
	ready, sent, arrived, received, duplicated, misordered, skipped, latency, pubsDone atomic.Uint64
}

func newWorker(r *run) (*worker, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &worker{
		run: r, server: r.sockaddr(), epfd: epfd, timerfd: -1, dec: codec.Decoder{FromServer: true},
		buf:    make([]byte, max(readBuffer, 4*(r.cfg.Size+1024+100*r.cfg.User))),
		shaken: make(chan *conn, r.cfg.Parallel),
	}, nil
}

// show tells others how far the worker is.
func (w *worker) show() {
	s := &w.shown
	s.ready.Store(w.ready)
	s.sent.Store(w.sent)
	s.arrived.Store(w.arrived)
	s.received.Store(w.tally.received)
	s.duplicated.Store(w.tally.duplicated)
	s.misordered.Store(w.tally.misordered)
	s.skipped.Store(w.tally.skipped)
	s.latency.Store(uint64(w.latency.sum))
	s.pubsDone.Store(w.pubsDone)
}

func (w *worker) newSlot(c *conn) int32 {
	if n := len(w.free); n > 0 {
		s := w.free[n-1]
		w.free = w.free[:n-1]
		w.conns[s] = c
		return s
	}
	w.conns = append(w.conns, c)
	return int32(len(w.conns) - 1)
}

func (w *worker) freeSlot(s int32) {
	w.conns[s] = nil
	w.free = append(w.free, s)
}

func (w *worker) connError(err error) {
	w.errors++
	if w.firstErr == nil {
		w.firstErr = err
	}
}

// markDirty has the connection flushed, or its publisher continued, at the end
// of the round.
func (w *worker) markDirty(c *conn) {
	if !c.dirty {
		c.dirty = true
		w.dirty = append(w.dirty, c)
	}
}

// loop handles events until done says so or the run is stopped.
func (w *worker) loop(done func() bool) {
	for !w.run.stop.Load() && !done() {
		w.step(idleWait)
	}
	w.show()
}

// step is a round: it waits for events, at most wait milliseconds, handles them
// and writes what came of them.
func (w *worker) step(wait int) {
	switch {
	case len(w.dirty) > 0 || w.run.cfg.Spin:
		wait = 0
	case len(w.stalled) > 0 || w.shaking > 0:
		wait = 1
	}
	n := w.poll(wait)
	w.now = w.run.clock()
	for i := range n {
		w.event(&w.events[i])
	}
	for w.shaking > 0 && len(w.shaken) > 0 {
		(<-w.shaken).shakeDone()
	}
	if w.pacing && w.run.cfg.Spin {
		w.tick()
	}
	w.wakeStalled()
	w.writeDirty()
	w.show()
	if n < len(w.events) {
		w.rest()
	}
}

func (w *worker) event(ev *unix.EpollEvent) {
	if ev.Fd == timerSlot {
		w.tick()
		return
	}
	c := w.conns[ev.Fd]
	if c == nil {
		return
	}
	if c.state == stDialing {
		c.dialDone()
		return
	}
	if ev.Events&^unix.EPOLLOUT != 0 {
		c.readable()
	}
	if ev.Events&unix.EPOLLOUT != 0 && c.state != stClosed {
		w.markDirty(c)
	}
}

// writeDirty writes what the round has brought about.
func (w *worker) writeDirty() {
	work := w.dirty
	w.dirty = w.spare[:0]
	w.spare = work
	for _, c := range work {
		c.dirty = false
		if c.pub != nil && c.pub.running {
			c.pub.pump()
		} else {
			c.flush()
		}
	}
}

// rest sleeps, with -coalesce, so that the next round finds more to read.
func (w *worker) rest() {
	if d := w.run.cfg.Coalesce; d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}

// poll waits for events, at most wait milliseconds. It hides the wait from the
// scheduler: else the runtime's monitor would take the thread's processor away
// and wake up every few microseconds to do so, at several times the cost of the
// work itself. newRun sees to it that other goroutines have a processor.
func (w *worker) poll(wait int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epfd),
		uintptr(unsafe.Pointer(&w.events[0])), uintptr(len(w.events)), uintptr(wait), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// message counts one delivered message.
func (w *worker) message(s *subscriber, payload []byte) {
	if s == nil || len(payload) < stampSize {
		w.foreign++
		return
	}
	m := getStamp(payload)
	if m.run != w.run.id || !s.see(m) {
		w.foreign++
		return
	}
	w.arrived++
	w.lastRecv = w.now
	if w.firstRecv == 0 {
		w.firstRecv = w.now
	}
	if m.nano >= w.measureFrom {
		w.measured++
		w.latency.add(w.now - m.nano)
	}
}

// startTimer prepares the timer that paces the publishers.
func (w *worker) startTimer() error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	w.timerfd = fd
	if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerSlot}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (w *worker) stopTimer() {
	if w.timerfd >= 0 {
		unix.Close(w.timerfd)
		w.timerfd = -1
	}
}

// tick, with a rate, gives the publishers what is due by now and sets the timer for
// the next message.
func (w *worker) tick() {
	w.now = w.run.clock()
	for {
		p := w.pubs[w.due%uint64(len(w.pubs))]
		if wait := p.dueAt(p.due) - w.now; wait > 0 {
			if !w.run.cfg.Spin {
				w.setTimer(max(wait, minTimer))
			}
			return
		}
		p.due++
		w.due++
		if p.running {
			w.markDirty(p.c)
		}
	}
}

// setTimer makes the timer fire once, in wait nanoseconds.
func (w *worker) setTimer(wait int64) {
	_ = unix.TimerfdSettime(w.timerfd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(wait)}, nil) // of a valid time
}

// wakeStalled continues the publishers that have room in their windows again.
func (w *worker) wakeStalled() {
	keep := w.stalled[:0]
	for _, p := range w.stalled {
		if p.running && !p.enough(p.windowRoom()) {
			keep = append(keep, p)
			continue
		}
		p.isStalled = false
		if p.running {
			w.markDirty(p.c)
		}
	}
	w.stalled = keep
}

// connectAll opens conns, at most so many handshakes at a time as the flags say, at
// rate a second (0: as fast as possible), and waits until all are ready or have
// failed, or the deadline passes.
func (w *worker) connectAll(conns []*conn, rate float64, deadline int64) {
	start := w.run.clock()
	next, handled := 0, 0
	for handled < len(conns) && w.now < deadline && !w.run.stop.Load() {
		allowed, wait := len(conns), 1
		if rate > 0 {
			allowed = min(allowed, int(float64(w.run.clock()-start)/1e9*rate)+1)
		} else if next-handled >= w.run.cfg.Parallel || next == len(conns) {
			wait = idleWait
		}
		for next < allowed && next-handled < w.run.cfg.Parallel {
			if err := w.open(conns[next]); err != nil {
				conns[next].state = stClosed
				w.connError(err)
			}
			next++
		}
		w.step(wait)
		for handled < next && conns[handled].state >= stReady {
			handled++
		}
	}
}

// close ends all connections of the worker, in an orderly way those that are up, and
// gives back what it holds.
func (w *worker) close() {
	for _, c := range w.conns {
		if c != nil {
			c.hangUp()
		}
	}
	for ; w.shaking > 0; w.shaking-- {
		unix.Close((<-w.shaken).fd)
	}
	w.stopTimer()
	if w.epfd >= 0 {
		unix.Close(w.epfd)
		w.epfd = -1
	}
}
