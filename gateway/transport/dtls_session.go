package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxSessionOutbox bounds what waits to be encrypted for one peer, in
	// bytes, datagramCost added for each datagram.
	maxSessionOutbox = 256 << 10

	// lookAtKey is how long a session may go on with a key that was removed.
	lookAtKey = time.Minute

	// maxRandomNonces is how many records a session with nonces at random may
	// send: two of the 2^64 nonces are the same by a chance of 2^-25.
	maxRandomNonces = 1 << 20
)

// dtlsSession is a session, an Endpoint. A goroutine reads; another writes
// while there is something to send.
type dtlsSession struct {
	// Set once.
	l      *dtlsListener
	peer   Identity
	remote netip.AddrPort
	prefix netip.Prefix
	conn   net.Conn
	pipe   *dtlsPipe
	max    int      // records that may be sent, 0 for no bound
	digest [32]byte // of the pre-shared key, if there is one

	// Guarded by l.mu. next is nil when the session is not listed any more.
	next, prev *dtlsSession
	heard      time.Time
	looked     time.Time // at the key

	records int // sent; owned by who has set writing

	// Guarded by mu.
	mu      sync.Mutex
	out     *outbox // nil if empty
	writing bool    // a goroutine writes what is in out
	closing bool
}

func newSession(l *dtlsListener, tr *dtlsTrial, conn net.Conn) *dtlsSession {
	s := &dtlsSession{l: l, peer: tr.peer, remote: tr.from, prefix: tr.prefix, conn: conn, pipe: tr.pipe, digest: tr.digest, looked: time.Now()}
	if tr.suite == ccm8Suite {
		s.max = maxRandomNonces
	}
	return s
}

func (s *dtlsSession) Wire() string   { return "dtls" }
func (s *dtlsSession) Peer() Identity { return s.peer }

// outboxes are of sessions that had something to send.
var outboxes = sync.Pool{New: func() any { return new(outbox) }}

func (s *dtlsSession) Send(b []byte, _ netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(b) > maxDTLSPayload || s.out != nil && s.out.size()+len(b)+datagramCost > maxSessionOutbox {
		s.l.u.drop()
		return
	}
	if s.out == nil {
		s.out = outboxes.Get().(*outbox)
	}
	s.out.add(b, netip.AddrPort{})
	s.rouse()
}

// Close sends what waits, tells the peer and ends the session.
func (s *dtlsSession) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.closing = true
		s.rouse()
	}
}

// rouse starts to write, unless that is being done. It is called with mu held.
func (s *dtlsSession) rouse() {
	if !s.writing {
		s.writing = true
		s.l.run(s.write)
	}
}

// write encrypts what is in out until nothing is.
func (s *dtlsSession) write() {
	for {
		s.mu.Lock()
		out, closing := s.out, s.closing
		s.out = nil
		if out == nil && !closing {
			s.writing = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if out == nil {
			s.conn.Close()
			return // writing stays set: nothing is sent any more
		}
		start := 0
		for _, m := range out.letters {
			s.writeRecord(out.b[start:m.end])
			start = m.end
		}
		out.reset()
		outboxes.Put(out)
	}
}

func (s *dtlsSession) writeRecord(b []byte) {
	if s.max > 0 && s.records >= s.max {
		s.l.u.drop()
		return
	}
	s.records++
	s.conn.Write(b) // its error is that the session is over, which read is told
	if s.records == s.max {
		s.l.t.log.Info("DTLS session ended: it has sent as many records as its cipher suite may", "remote", s.remote, "identity", s.peer.Name, "records", s.records)
		s.Close()
	}
}

// read hands what comes to the handler until the session is over.
func (s *dtlsSession) read() {
	buf := make([]byte, maxDTLSDatagram)
	confirmed := false
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil { // a warning of the peer
			continue
		}
		if !confirmed {
			// Who sends data has seen the last flight.
			confirmed = true
			s.pipe.mu.Lock()
			s.pipe.heed = heedConfirmed
			s.pipe.mu.Unlock()
		}
		if look := s.l.noteHeard(s); look && !s.stands() {
			s.l.t.log.Info("DTLS session ended: its key was changed or removed", "remote", s.remote, "identity", s.peer.Name)
			s.Close()
			continue
		}
		s.l.h.Datagram(s, s.remote, buf[:n])
	}
	s.l.mu.Lock()
	s.l.forget(s)
	s.l.mu.Unlock()
	s.Close()
	s.pipe.Close()
	s.l.h.Ended(s)
}

// stands says whether a pre-shared key that was proved still stands for the same account.
func (s *dtlsSession) stands() bool {
	if s.digest == [32]byte{} {
		return true // it was a certificate, or nothing
	}
	peer, ok := s.l.stands(s.peer.Name, s.digest)
	return ok && peer == s.peer
}
