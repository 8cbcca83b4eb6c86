package transport

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxPiped bounds the datagrams that wait in a pipe; more are dropped.
const maxPiped = 32

// dtlsPipe is the socket of one DTLS session: what comes from its peer is put in
// by the listener, what is written leaves by the listener's socket.
type dtlsPipe struct {
	// Set once.
	u    *UDP
	peer netip.AddrPort

	// Guarded by mu.
	mu      sync.Mutex
	changed sync.Cond
	heed    heed
	sent    func(b []byte) // told of each datagram that is written, with mu held; nil if nobody cares
	in      []*buffer
	expired bool // the deadline of Read is over
	closed  bool
	mute    bool // the peer has another session now, and could not read this one
}

func newDTLSPipe(u *UDP, peer netip.AddrPort) *dtlsPipe {
	p := &dtlsPipe{u: u, peer: peer}
	p.changed.L = &p.mu
	return p
}

// put hands on what may be believed of a datagram. It copies b.
func (p *dtlsPipe) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if len(p.in) >= maxPiped || len(b) > maxDTLSDatagram {
		p.u.drop()
		return
	}
	in := newBuffer(len(b))
	if in.b = p.heed.pass(in.b, b); len(in.b) == 0 {
		in.free()
		return
	}
	p.in = append(p.in, in)
	p.changed.Signal()
}

func (p *dtlsPipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.in) == 0 && !p.closed && !p.expired {
		p.changed.Wait()
	}
	switch {
	case p.closed:
		return 0, io.EOF
	case p.expired:
		return 0, os.ErrDeadlineExceeded
	}
	first := p.in[0]
	if p.in = p.in[1:]; len(p.in) == 0 {
		p.in = nil
	}
	n := copy(b, first.b)
	first.free()
	return n, nil
}

func (p *dtlsPipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	silent := p.mute
	if p.sent != nil {
		p.sent(b)
	}
	p.mu.Unlock()
	if !silent {
		p.u.Send(b, p.peer)
	}
	return len(b), nil
}

// silence has what is written from now on dropped.
func (p *dtlsPipe) silence() {
	p.mu.Lock()
	p.mute = true
	p.mu.Unlock()
}

func (p *dtlsPipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, in := range p.in {
		in.free()
	}
	p.in = nil
	p.changed.Broadcast()
	return nil
}

// SetReadDeadline knows a time that is over, by which a Read is ended, and none.
func (p *dtlsPipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expired = !t.IsZero()
	p.changed.Broadcast()
	return nil
}

func (p *dtlsPipe) SetWriteDeadline(time.Time) error { return nil } // a Write does not wait
func (p *dtlsPipe) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }
func (p *dtlsPipe) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.u.Addr()) }
func (p *dtlsPipe) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(p.peer) }
