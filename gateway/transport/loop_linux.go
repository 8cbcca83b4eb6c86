package transport

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// readSize is the one buffer of a loop, and what one connection may bring in one round.
const readSize = 64 << 10

// polled drives a Conn on an event loop.
type polled struct {
	Conn

	tls *secure // set once; nil unless TLS

	// Guarded by Conn.mu; next belongs to the list as long as queued is set.
	loop   *loop // nil until take
	next   *polled
	queued bool
	quiet  bool // queued, but the loop was not woken

	// Owned by the loop. Only the loop closes fd.
	written  uint32 // when, by loop.now, it was written to last
	fd       int32
	events   uint32  // what epoll watches for; 0: not in epoll
	opened   bool    // by the loop that has accepted it
	entered  bool    // it is in the table of the loop
	gone     bool    // the peer has closed its side, or the connection broke
	bounded  bool    // in loop.ending
	draining bool    // after Closed: waits for the peer to close
	heavy    bool    // it brought bulk, or all that is read of tiny frames, when it was read last
	readable bool    // and more has come: it waits for a turn
	head     *buffer // what write has begun with
}

// poke puts the Conn on the list of its loop.
func (c *polled) poke() {
	if c.loop == nil || c.queued && !c.quiet {
		return
	}
	c.queue()
	c.quiet = false
	c.loop.wake()
}

// rouse is poke by its loop, which holds no lock.
func (c *polled) rouse() {
	c.mu.Lock()
	c.poke()
	c.mu.Unlock()
}

// queue is poke for what the loop may leave until it has something else to do. Conn.mu
// is held.
func (c *polled) queue() {
	if c.queued {
		return
	}
	c.queued, c.quiet = true, true
	for l := c.loop; ; {
		c.next = l.dirty.Load()
		if l.dirty.CompareAndSwap(c.next, c) {
			return
		}
	}
}

// loop is an event loop: one goroutine for many connections.
//
// A round waits for events, reads once from each connection that has
// something, tells the handler that this was all, and then attends to each connection on the
// dirty list: those that were written to by whatever the reads brought, on this loop or
// another. Those that bring or take much wait for turns, of which a few follow each round, as
// one of their own for the handler; what one of them has brought for another goes out with it.
type loop struct {
	// Set once.
	t      *Transport
	poller *poller
	peers  []*loop
	began  time.Time

	// Shared. asleep is set before the loop looks at dirty and tasks for the
	// last time, and who adds to those looks at asleep after: one of the two
	// sees the other.
	asleep atomic.Bool
	dirty  atomic.Pointer[polled]
	idle   atomic.Bool // tasks is empty

	mu    sync.Mutex
	tasks []func()

	// Owned by the loop.
	buf       []byte
	events    int       // of this round
	conns     []*polled // by descriptor
	n         int       // of conns
	readers   line      // bring much, and wait for a turn
	writers   line      // are sent much, and wait for a turn
	held      uint8     // rounds in a row in which readers had no turn, see serve
	now       uint32    // see tick
	ending    []ending  // in the order of their deadlines
	listeners []*listener
	turn      int // of peers, for the next connection
	quit      bool
}

// ending is a connection that has until then.
type ending struct {
	c     *polled
	until time.Time
}

func newLoop(t *Transport) (*loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &loop{t: t, poller: p, began: time.Now(), buf: make([]byte, maxRecord+readSize)}
	l.idle.Store(true)
	return l, nil
}

func (l *loop) wake() {
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.poller.wake()
	}
}

// do has f run on the loop.
func (l *loop) do(f func()) {
	l.mu.Lock()
	l.tasks = append(l.tasks, f)
	l.idle.Store(false)
	l.mu.Unlock()
	l.wake()
}

func (l *loop) run() {
	defer l.t.wg.Done()
	for !l.quit || l.n > 0 || l.dirty.Load() != nil {
		events := l.wait()
		l.events = len(events)
		l.t.handler.BeginRound()
		for i := range events {
			l.event(&events[i])
		}
		if !l.idle.Load() {
			l.work()
		}
		l.t.handler.EndRound()
		l.attendAll()
		if l.inLine() {
			l.t.handler.BeginRound()
			l.serve()
			l.t.handler.EndRound()
		}
		l.expire()
	}
	l.poller.close()
}

// wait sleeps until there is something to do.
func (l *loop) wait() []unix.EpollEvent {
	if l.busy() {
		return l.poller.peek()
	}
	l.poller.arm(l.timeout())
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if l.busy() {
		return l.poller.peek()
	}
	return l.poller.wait()
}

// busy says whether there is something to do without an event.
func (l *loop) busy() bool {
	return l.dirty.Load() != nil || !l.idle.Load() || l.inLine()
}

// timeout is how long to sleep at most, negative for ever.
func (l *loop) timeout() time.Duration {
	var first time.Time
	if len(l.ending) > 0 {
		first = l.ending[0].until
	}
	for _, ln := range l.listeners {
		if !ln.rests.IsZero() && (first.IsZero() || ln.rests.Before(first)) {
			first = ln.rests
		}
	}
	if first.IsZero() {
		return -1
	}
	return max(0, time.Until(first))
}

// work runs the tasks.
func (l *loop) work() {
	l.mu.Lock()
	tasks := l.tasks
	l.tasks = nil
	l.idle.Store(true)
	l.mu.Unlock()
	for _, f := range tasks {
		f()
	}
}

// event takes what epoll reports of one descriptor. Nothing is closed between
// epoll_wait and here but by an event of its own, so the descriptor is still
// the one that was meant. What has not entered yet does so before it is reported again.
func (l *loop) event(ev *unix.EpollEvent) {
	var c *polled
	if int(ev.Fd) < len(l.conns) {
		c = l.conns[ev.Fd]
	}
	if c == nil {
		for _, ln := range l.listeners {
			if ln.fd == ev.Fd {
				l.accept(ln)
			}
		}
		return
	}
	if c.lent() {
		if c.tls.lent.begun {
			l.answer(c, nil)
		} else {
			l.lend(c)
		}
		return
	}
	// Hang-ups and errors are left to read and write to tell.
	if c.events&unix.EPOLLOUT != 0 && ev.Events&^unix.EPOLLIN != 0 {
		c.rouse()
	}
	if c.events&unix.EPOLLIN != 0 && ev.Events&^unix.EPOLLOUT != 0 {
		if !c.heavy || c.draining {
			l.read(c)
			return
		}
		c.readable = true
		c.rouse()
	}
}

// read reads once.
func (l *loop) read(c *polled) {
	c.mu.Lock()
	wanted := c.draining || !c.paused && !c.closing && !c.again
	c.mu.Unlock()
	if !wanted {
		return
	}
	// What TLS decrypts goes to the beginning of buf and must not catch up with
	// what is still to be decrypted, though it may begin with a part of a record that came before.
	b := l.buf[maxRecord:]
	if c.ws != nil && c.ws.tiny {
		b = b[:readFrames]
	}
	n, err := readNow(c.fd, b)
	switch {
	case err == unix.EAGAIN:
	case c.draining && (n == 0 || err != nil):
		l.drop(c)
	case c.draining:
	case err != nil:
		c.gone = true
		c.fail(os.NewSyscallError("read", err))
	case n == 0:
		c.gone = true
		l.end(c)
	default:
		c.heavy = n > bulk || n == len(b)
		l.receive(c, b[:n])
	}
}

// receive hands on what was read from the socket.
func (l *loop) receive(c *polled, b []byte) {
	var end error
	if c.tls != nil {
		b, end = c.tls.open(b, l.buf)
	}
	err := c.input(b)
	if err == nil && end != nil && !c.holds() { // or it comes again, after what is held back
		err = end
	}
	if err != nil {
		c.shut(err)
	}
}

// end takes note that the peer has closed its side.
func (l *loop) end(c *polled) {
	if c.tls != nil { // it may have been in the middle of a record
		c.tls.over = true
		l.receive(c, nil)
	}
	c.shut(io.EOF)
}

// attendAll takes the dirty list as it is now. What the callbacks add to it
// waits for the next round, which does not sleep then.
func (l *loop) attendAll() {
	c := l.dirty.Swap(nil)
	if c != nil {
		l.tick()
	}
	for c != nil {
		next := c.next
		c.next = nil
		if !l.postpone(c) {
			l.attend(c)
		}
		c = next
	}
}

// attend does what a Conn was put on the list for.
func (l *loop) attend(c *polled) {
	c.mu.Lock()
	c.queued, c.quiet = false, false
	closing := c.closing
	again := c.again && !c.paused && !closing
	if again {
		c.again = false
	}
	c.mu.Unlock()

	if !c.entered && !l.enter(c) {
		return
	}
	switch {
	case c.fd < 0 || c.draining:
		return
	case c.lent():
		l.attendLent(c)
		return
	}
	if again {
		l.receive(c, nil)
	}
	if c.readable {
		c.readable = false
		l.read(c)
		l.pass()
	}
	l.flush(c)
	switch {
	case closing && c.head == nil:
		l.finish(c)
	case closing:
		l.bound(c)
		l.watch(c)
	default:
		l.watch(c)
	}
}

// enter takes over a connection from the loop that has accepted it, and says whether there
// may be more to be done for it now.
func (l *loop) enter(c *polled) bool {
	c.entered = true
	l.reach(c.fd)
	l.conns[c.fd] = c
	l.n++
	if c.opened {
		return true
	}
	if err := l.watch(c); err != nil {
		l.t.log.Warn("accept", "wire", c.Wire(), "err", err)
		l.drop(c)
		return false
	}
	if c.lent() {
		c.tls.bound()
	} else {
		l.t.handler.Open(&c.Conn)
	}
	return false
}

// reach makes the table of connections long enough for fd.
func (l *loop) reach(fd int32) {
	if more := int(fd) + 1 - len(l.conns); more > 0 {
		l.conns = append(l.conns, make([]*polled, more)...)
	}
}

// flush writes until the socket takes no more, or for a turn.
func (l *loop) flush(c *polled) {
	for left := writeSize; c.fill(); {
		if left == 0 {
			c.rouse()
			return
		}
		b := c.head.rest()
		b = b[:min(len(b), left)]
		n, err := writeNow(c.fd, b)
		left -= n
		c.written = l.now
		if err == unix.EAGAIN {
			return
		}
		var writable bool
		if err != nil {
			// The peer takes no more, but what it sent before may still be
			// unread, a DISCONNECT at the end of it: reading goes on.
			c.gone = true
			c.mu.Lock()
			writable = c.lose()
			c.mu.Unlock()
		} else {
			writable = c.wrote(n)
		}
		if writable {
			l.t.handler.Writable(&c.Conn)
		}
		if err == nil && n < len(b) {
			return
		}
	}
}

// fill sees to it that head has what is to be written next; false if there is nothing.
func (c *polled) fill() bool {
	c.mu.Lock()
	broken := c.broken
	if !broken && c.head == nil && c.tls == nil {
		c.head = c.take()
	}
	c.mu.Unlock()
	switch {
	case broken:
		c.dropOutput()
	case c.head == nil && c.tls != nil:
		c.tls.seal()
	}
	return c.head != nil
}

// wrote notes that the socket took n bytes of head, and says whether Writable is to
// be called.
func (c *polled) wrote(n int) (writable bool) {
	c.head.off += n
	whole := c.head.off == len(c.head.b)
	if whole {
		c.head.free()
		c.head = nil
	}
	if c.tls != nil {
		n = c.tls.sent(whole)
	}
	c.mu.Lock()
	writable = c.sent(n)
	c.mu.Unlock()
	return writable
}

// dropOutput forgets what was taken and is not written.
func (c *polled) dropOutput() {
	if c.head != nil {
		c.head.free()
		c.head = nil
	}
	if c.tls != nil {
		c.tls.drop()
	}
}

// watch has epoll report what is wanted of c now. A connection of which
// nothing is wanted is taken out, as hang-ups would be reported without end.
func (l *loop) watch(c *polled) error {
	c.mu.Lock()
	events := c.interest()
	c.mu.Unlock()
	return l.report(c, events)
}

// interest is what is wanted of c. Conn.mu is held.
func (c *polled) interest() (events uint32) {
	if c.draining || !c.paused && !c.closing {
		events |= unix.EPOLLIN
	}
	if c.head != nil {
		events |= unix.EPOLLOUT
	}
	return events
}

// report is watch for what is wanted.
func (l *loop) report(c *polled, events uint32) error {
	op := unix.EPOLL_CTL_MOD
	switch {
	case events == c.events:
		return nil
	case events == 0:
		op = unix.EPOLL_CTL_DEL
	case c.events == 0:
		op = unix.EPOLL_CTL_ADD
	}
	c.events = events
	return l.poller.ctl(op, c.fd, events)
}

// unwatch has epoll report nothing of c.
func (l *loop) unwatch(c *polled) {
	c.events = 0
	l.poller.ctl(unix.EPOLL_CTL_DEL, c.fd, 0)
}

// bound gives c the time of Close.
func (l *loop) bound(c *polled) {
	if !c.bounded {
		c.bounded = true
		l.ending = append(l.ending, ending{c, time.Now().Add(closeWait)})
	}
}

// finish closes this side once the output is gone, and tells the handler.
func (l *loop) finish(c *polled) {
	cause, ok := c.retire()
	if !ok {
		return
	}
	c.dropOutput()
	if c.in != nil {
		c.release().free()
	}
	l.hangUp(c)
	l.t.handler.Closed(&c.Conn, cause)
}

// hangUp closes this side. A socket closed with bytes unread is reset, and the peer
// may lose what was sent to it last: so the descriptor waits until the peer has
// closed too.
func (l *loop) hangUp(c *polled) {
	if c.gone || unix.Shutdown(int(c.fd), unix.SHUT_WR) != nil {
		l.drop(c)
		return
	}
	c.draining = true
	l.bound(c)
	l.watch(c)
}

// drop closes the descriptor, which takes it out of epoll: there is no other to it.
func (l *loop) drop(c *polled) {
	l.conns[c.fd] = nil
	l.n--
	unix.Close(int(c.fd))
	c.fd = -1
	l.t.leave()
}

// cut ends c at once.
func (l *loop) cut(c *polled) {
	c.gone = true
	c.shut(net.ErrClosed)
	if c.lent() {
		l.attendLent(c)
		return
	}
	l.finish(c)
	if c.fd >= 0 {
		l.drop(c)
	}
}

// expire ends what has had its time.
func (l *loop) expire() {
	if len(l.ending) == 0 && len(l.listeners) == 0 {
		return
	}
	now := time.Now()
	for len(l.ending) > 0 && !now.Before(l.ending[0].until) {
		c := l.ending[0].c
		l.ending = l.ending[1:]
		if c.fd >= 0 {
			l.cut(c)
		}
	}
	if len(l.ending) == 0 {
		l.ending = nil
	}
	l.rested(now)
}

// loops are started by the first listener that needs them.
type loops struct {
	n          int // set once
	all        []*loop
	next       int // of all, for the next listener
	handshakes handshakes
}

// start is called with Transport.mu held.
func (ls *loops) start(t *Transport) error {
	if ls.all != nil {
		return nil
	}
	all := make([]*loop, ls.n)
	for i := range all {
		l, err := newLoop(t)
		if err != nil {
			for _, l := range all[:i] {
				l.poller.close()
			}
			return fmt.Errorf("event loop: %w", err)
		}
		l.peers, l.turn = all, i
		all[i] = l
	}
	ls.all = all
	t.wg.Add(len(all))
	for _, l := range all {
		go l.run()
	}
	return nil
}

// close has all connections closed, or cut, and the loops end.
func (ls *loops) close(cut bool) {
	for _, l := range ls.all {
		l.do(func() {
			l.attendAll() // nothing more is accepted, but what was has to enter
			l.quit = true
			for _, c := range l.conns {
				switch {
				case c == nil:
				case cut:
					l.cut(c)
				default:
					c.Close()
				}
			}
		})
	}
}
