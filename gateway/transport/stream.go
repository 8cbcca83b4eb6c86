package transport

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"
)

// The buffer that a stream waits with, and what it grows to while more comes
// than fits.
const (
	minRead = 512
	maxRead = 16 << 10
)

// stream drives a Conn with goroutines: one that reads, and one that writes as
// long as there is output. Reading never waits for writing, so a peer that
// only reads once it has written cannot block itself.
type stream struct {
	Conn

	// Set once.
	nc net.Conn

	// serial is held during callbacks; it comes before the handler's locks.
	serial sync.Mutex

	// Guarded by Conn.mu.
	changed   sync.Cond // poke was called, or the Conn is closed
	writing   bool      // the writing goroutine runs
	receiving bool      // output waits for the end of Receive
	bounded   bool      // the deadline of Close is set
}

// startStream takes nc over. The caller has admitted it.
func (t *Transport) startStream(nc net.Conn, w wire, proxied bool) {
	s := &stream{nc: nc, Conn: Conn{t: t, wire: w, peer: addrPort(nc.RemoteAddr()), proxied: proxied}}
	if w == wireWS || w == wireWSS {
		s.ws = new(framer)
	}
	s.driver = s
	s.changed.L = &s.mu
	s.serial.Lock() // until Open has returned
	if !t.enter(s) {
		s.raw().Close()
		t.leave()
		return
	}
	go s.run()
}

// secured is the TLS, nil if there is none.
func (s *stream) secured() *tls.Conn {
	tc, _ := s.nc.(*tls.Conn)
	return tc
}

// raw is the connection below TLS.
func (s *stream) raw() net.Conn {
	if tc := s.secured(); tc != nil {
		return tc.NetConn()
	}
	return s.nc
}

func (s *stream) poke() {
	if s.closing && !s.bounded {
		s.bounded = true
		s.nc.SetDeadline(time.Now().Add(closeWait))
	}
	s.changed.Broadcast()
	if !s.writing && !s.receiving && (s.closing || s.waiting()) {
		s.writing = true
		s.t.wg.Add(1)
		go s.write()
	}
}

// kill ends the stream at once.
func (s *stream) kill() { s.raw().Close() }

// run is the reading goroutine.
func (s *stream) run() {
	defer s.t.wg.Done()
	s.t.handler.Open(&s.Conn)
	s.serial.Unlock()

	s.read()

	// The writer may still be sending what is left.
	s.mu.Lock()
	for !s.closed {
		s.changed.Wait()
	}
	s.mu.Unlock()
	s.raw().Close()
	if s.in != nil {
		s.release().free()
	}
	s.t.exit(s)
	s.t.leave()
}

func (s *stream) read() {
	buf := make([]byte, minRead)
	for s.ready() {
		n, err := s.nc.Read(buf)
		if n > 0 {
			s.deliver(buf[:n])
		}
		switch {
		case err == io.EOF:
			s.shut(err)
		case err != nil:
			s.fail(err)
		case n == len(buf) && n < maxRead:
			buf = make([]byte, 2*n)
		case n <= len(buf)/4 && len(buf) > minRead:
			buf = make([]byte, len(buf)/2)
		}
	}
	// A socket closed with bytes unread is reset, and the peer may lose what
	// was sent to it last: so read until it has closed too.
	for {
		if _, err := s.nc.Read(buf); err != nil {
			return
		}
	}
}

// ready waits while reading is paused; false means that it is over.
func (s *stream) ready() bool {
	s.mu.Lock()
	for s.paused && !s.closing {
		s.changed.Wait()
	}
	again, closing := s.again, s.closing
	s.again = false
	s.mu.Unlock()
	if closing || !again {
		return !closing
	}
	s.deliver(nil)
	return s.ready()
}

// deliver hands b to the handler, in as many turns as it takes.
func (s *stream) deliver(b []byte) {
	for s.turn(b) {
		b = nil
	}
}

// turn hands b to the handler, behind what it has not taken before, and has what that
// puts out sent in one piece. It says whether there is to be another.
func (s *stream) turn(b []byte) (again bool) {
	s.serial.Lock()
	defer s.serial.Unlock()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return false
	}
	s.receiving = true
	s.mu.Unlock()

	err := s.input(b)

	s.mu.Lock()
	s.receiving = false
	if err != nil {
		s.shutLocked(err)
	}
	s.poke()
	again = s.again && !s.paused
	if again {
		s.again = false
	}
	s.mu.Unlock()
	return again
}

// write is the writing goroutine.
func (s *stream) write() {
	defer s.t.wg.Done()
	for {
		s.mu.Lock()
		b := s.take()
		if b == nil {
			closing, broken := s.closing, s.broken
			s.writing = closing // the last one is not followed by another
			s.mu.Unlock()
			if closing {
				s.finish(broken)
			}
			return
		}
		s.mu.Unlock()

		n, err := s.nc.Write(b.rest())
		b.free()

		s.mu.Lock()
		writable := s.sent(n)
		if err != nil {
			// What the peer sent before it went may still be unread, so
			// reading goes on to its own end.
			writable = s.lose()
		}
		s.mu.Unlock()
		if writable {
			s.writable()
		}
	}
}

func (s *stream) writable() {
	s.serial.Lock()
	defer s.serial.Unlock()
	s.t.handler.Writable(&s.Conn)
}

// finish closes this side once the output is gone, and tells the handler.
func (s *stream) finish(broken bool) {
	if broken || !s.closeWrite() {
		s.raw().Close()
	}
	cause, ok := s.retire()
	if !ok {
		return
	}
	s.serial.Lock()
	s.t.handler.Closed(&s.Conn, cause)
	s.serial.Unlock()
	s.mu.Lock()
	s.changed.Broadcast()
	s.mu.Unlock()
}

// closeWrite tells the peer that nothing more will come; false if there is no
// way to say so but Close.
func (s *stream) closeWrite() bool {
	type halfCloser interface{ CloseWrite() error }
	if tc := s.secured(); tc != nil && tc.CloseWrite() != nil {
		return false
	}
	c, ok := s.raw().(halfCloser)
	return ok && c.CloseWrite() == nil
}
