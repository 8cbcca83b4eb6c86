package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxRecord is room for a record of TLS with its header: what crypto/tls may hold
	// of one that has not come whole. What is read behind it is aligned.
	maxRecord = 64 + 16<<10 + 2<<10

	// sealSize is what is encrypted at a time: six records, which fit into the
	// largest pooled buffer.
	sealSize = 96 << 10

	// maxHead is what may be encrypted and unsent: besides a piece of output it is
	// what TLS itself has answered, to requests for new keys, and the peer does not read.
	maxHead = 2 * sealSize
)

var errHandshakeSlow = errors.New("not over in time")

// secure is the TLS of a connection on a loop, and the socket as crypto/tls sees
// it: one that has what was read already and takes whatever is written.
//
// A handshake takes milliseconds, and crypto/tls wants to wait in it. So the
// connection is lent: the loop waits for the client's first bytes, then a goroutine
// has it, and when the handshake is over the loop again. No two ever touch it.
type secure struct {
	c    *polled
	conn *tls.Conn
	in   []byte // read from the socket, or with a PROXY header, and not decrypted
	over bool   // the peer has closed its side
	lent *lent  // nil once the handshake is over

	// Owned by the loop once that is so.
	plain  *buffer // output that is being encrypted
	sealed int     // bytes of it that head holds
	ended  bool    // the peer was told that nothing more comes
}

// lent says whether the handshake is not over.
func (c *polled) lent() bool { return c.tls != nil && c.tls.lent != nil }

func (c *polled) secured() *tls.Conn {
	if c.tls == nil {
		return nil
	}
	return c.tls.conn
}

// lent is what a connection has until its handshake is over.
type lent struct {
	proxied bool        // a PROXY header has to come first
	timer   *time.Timer // of the first bytes, and then of the handshake
	ready   chan error  // answers wait

	// Owned by the loop.
	begun   bool // the goroutine has the connection, or is to have it
	waiting bool // in wait
}

// errAgain is that of a socket that has nothing more now. crypto/tls goes on after
// an error that is temporary.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing more to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// newSecure makes the TLS of c, whose handshake is to be begun. A PROXY header comes
// before it.
func newSecure(c *polled, conf *tls.Config) *secure {
	s := &secure{c: c, lent: &lent{proxied: c.proxied, ready: make(chan error, 1)}}
	c.proxied = false
	s.conn = tls.Server(s, conf)
	return s
}

// bound begins the time that the peer has for its first bytes.
func (s *secure) bound() {
	s.lent.timer = time.AfterFunc(s.c.t.handshakeTimeout, func() { s.c.fail(errHandshakeSlow) })
}

// Read takes what has come. In a handshake it waits for that.
func (s *secure) Read(b []byte) (int, error) {
	for {
		switch {
		case len(s.in) > 0:
			n := copy(b, s.in)
			s.in = s.in[n:]
			return n, nil
		case s.over:
			return 0, io.EOF
		case s.lent == nil:
			return 0, errAgain
		}
		n, err := readNow(s.c.fd, b)
		switch {
		case err == unix.EAGAIN:
			err = s.wait(unix.EPOLLIN)
		case err == nil && n == 0:
			s.over = true
		case err == nil:
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write puts b behind what is to be sent. In a handshake it sends.
func (s *secure) Write(b []byte) (int, error) {
	c := s.c
	if s.lent == nil {
		if c.head == nil {
			c.head = newBuffer(len(b))
		}
		c.head.grow(len(b))
		c.head.b = append(c.head.b, b...)
		return len(b), nil
	}
	for sent := 0; sent < len(b); {
		n, err := writeNow(c.fd, b[sent:])
		sent += n
		if err == unix.EAGAIN {
			err = s.wait(unix.EPOLLOUT)
		}
		if err != nil {
			return sent, err
		}
	}
	return len(b), nil
}

// The rest of net.Conn. Only the loop closes, and it has deadlines of its own.
func (*secure) Close() error                     { return nil }
func (*secure) LocalAddr() net.Addr              { return nil }
func (*secure) RemoteAddr() net.Addr             { return nil }
func (*secure) SetDeadline(time.Time) error      { return nil }
func (*secure) SetReadDeadline(time.Time) error  { return nil }
func (*secure) SetWriteDeadline(time.Time) error { return nil }

// wait has the goroutine of the handshake wait until the socket is ready, or the
// connection is to end.
func (s *secure) wait(events uint32) error {
	l := s.c.loop
	l.do(func() { l.await(s.c, events) })
	return <-s.lent.ready
}

// shake does the handshake and gives the connection back.
func (s *secure) shake() {
	err := s.agree()
	s.c.loop.do(func() { s.c.loop.shaken(s.c, err) })
}

func (s *secure) agree() error {
	if err := s.c.over(); err != nil {
		return err // while it waited for its turn
	}
	s.lent.timer.Reset(s.c.t.handshakeTimeout)
	if s.lent.proxied {
		peer, rest, err := readProxy(s)
		if err != nil {
			return err
		}
		s.in = rest
		s.c.setPeer(peer)
	}
	return s.conn.Handshake()
}

// open decrypts all that has come, from, into b, which has maxRecord more room.
// After an error, which is io.EOF when the peer has ended the stream, nothing more
// comes; what is returned with it is good.
func (s *secure) open(from, b []byte) (plain []byte, err error) {
	s.in = from
	n := 0
	for err == nil {
		var got int
		got, err = s.conn.Read(b[n:])
		n += got
	}
	if err == errAgain {
		err = nil
	}
	if h := s.c.head; err == nil && h != nil && len(h.rest()) > maxHead {
		err = ErrSlow
	}
	return b[:n], err
}

// sent is how many bytes of output have gone with head: all that it held, or none yet.
func (s *secure) sent(whole bool) (n int) {
	if whole {
		n, s.sealed = s.sealed, 0
	}
	return n
}

// seal encrypts the next piece of output, if there is any, into head.
func (s *secure) seal() {
	c := s.c
	if s.plain == nil {
		c.mu.Lock()
		s.plain = c.take()
		ends := c.closing && !c.broken
		c.mu.Unlock()
		if s.plain == nil {
			if ends && !s.ended {
				s.ended = true
				s.conn.CloseWrite()
			}
			return
		}
	}
	piece := s.plain.rest()
	piece = piece[:min(len(piece), sealSize)]
	s.sealed = len(piece)
	if _, err := s.conn.Write(piece); err != nil { // an alert was the last word
		s.drop()
		return
	}
	if s.plain.off += len(piece); len(s.plain.rest()) == 0 {
		s.drop()
	}
}

// drop forgets what is not encrypted yet.
func (s *secure) drop() {
	if s.plain != nil {
		s.plain.free()
		s.plain = nil
	}
}

// handshakes are those under way, and the connections whose turn has not come.
type handshakes struct {
	mu      sync.Mutex
	running int
	waiting []*polled
}

// begin gives c a place, now or as soon as one is free.
func (h *handshakes) begin(c *polled) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == maxHandshakes {
		h.waiting = append(h.waiting, c)
		return
	}
	h.running++
	go h.work(c)
}

// work does handshakes one after the other, as long as somebody waits.
func (h *handshakes) work(c *polled) {
	for ; c != nil; c = h.next() {
		c.tls.shake()
	}
}

func (h *handshakes) next() (c *polled) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) == 0 {
		h.waiting = nil
		h.running--
		return nil
	}
	c, h.waiting = h.waiting[0], h.waiting[1:]
	return c
}

// lend has the handshake of c begun: its first bytes are there.
func (l *loop) lend(c *polled) {
	c.tls.lent.begun = true
	c.tls.lent.timer.Stop() // what it waits for now is not up to the peer
	l.unwatch(c)
	l.t.loops.handshakes.begin(c)
}

// await answers wait.
func (l *loop) await(c *polled, events uint32) {
	c.tls.lent.waiting = true
	c.events = events
	if err := l.poller.ctl(unix.EPOLL_CTL_ADD, c.fd, events); err != nil {
		c.fail(err)
	}
	l.attendLent(c)
}

// answer has wait return.
func (l *loop) answer(c *polled, err error) {
	if c.tls.lent.waiting {
		c.tls.lent.waiting = false
		l.unwatch(c)
		c.tls.lent.ready <- err
	}
}

// attendLent ends a connection whose handshake is not over, if it is to end.
func (l *loop) attendLent(c *polled) {
	switch err := c.over(); {
	case err == nil:
	case c.tls.lent.begun:
		l.answer(c, err)
	default:
		l.shaken(c, err)
	}
}

// shaken takes c back after its handshake, which err says the outcome of.
func (l *loop) shaken(c *polled, err error) {
	c.tls.lent.timer.Stop()
	c.tls.lent = nil
	if cause := c.over(); cause != nil {
		err = cause
	}
	if err != nil {
		if err != net.ErrClosed {
			l.t.log.Info("TLS handshake failed", "wire", c.Wire(), "remote", c.Remote(), "err", err)
		}
		c.fail(err)
		c.retire()
		l.hangUp(c)
		return
	}
	l.t.handler.Open(&c.Conn)
	c.Yield() // to what came with the end of the handshake
}
