package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"time"
)

// maxHandshakes bounds the handshakes of TLS under way. While all places are
// taken, accepting waits: a crowd that comes back after a power cut is served
// one after the other, and peers that say nothing hold a place no longer than
// the handshake timeout.
const maxHandshakes = 128

// handshaking is a connection before it is a stream.
type handshaking struct{ nc net.Conn }

func (h *handshaking) Close() { h.nc.Close() }
func (h *handshaking) kill()  { h.nc.Close() }

// handshake takes a place, and does the handshake in a goroutine of its own.
// Its stack has grown when that is over; the stream starts with a new one.
func (t *Transport) handshake(nc net.Conn, w wire, conf *tls.Config) {
	select {
	case t.handshakes <- struct{}{}:
	case <-t.stopping:
		nc.Close()
		t.leave()
		return
	}
	h := &handshaking{nc}
	if !t.enter(h) {
		nc.Close()
		t.leave()
		<-t.handshakes
		return
	}
	go func() {
		defer t.wg.Done()
		tc, err := t.secure(nc, conf)
		<-t.handshakes
		if err != nil {
			nc.Close()
			t.leave()
			t.log.Info("TLS handshake failed", "wire", w.String(), "remote", nc.RemoteAddr().String(), "err", err)
		} else {
			t.startStream(tc, w, false)
		}
		t.exit(h)
	}()
}

func (t *Transport) secure(nc net.Conn, conf *tls.Config) (*tls.Conn, error) {
	deadline := time.Now().Add(t.handshakeTimeout)
	nc.SetDeadline(deadline)
	if t.fromProxy(addrPort(nc.RemoteAddr())) {
		var err error
		if nc, err = readProxy(nc); err != nil {
			return nil, err
		}
	}
	tc := tls.Server(nc, conf)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return tc, nc.SetDeadline(time.Time{})
}

// proxiedConn is a TCP connection behind its PROXY header.
type proxiedConn struct {
	*net.TCPConn
	peer netip.AddrPort
	rest []byte // read with the header
}

func (c *proxiedConn) RemoteAddr() net.Addr {
	if c.peer.IsValid() {
		return net.TCPAddrFromAddrPort(c.peer)
	}
	return c.TCPConn.RemoteAddr()
}

func (c *proxiedConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.TCPConn.Read(b)
	}
	n := copy(b, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

func readProxy(nc net.Conn) (net.Conn, error) {
	b := make([]byte, 0, maxProxyHeader)
	for {
		n, err := nc.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if used, peer, bad := parseProxy(b); used > 0 || bad != nil {
			return &proxiedConn{nc.(*net.TCPConn), peer, b[used:]}, bad
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
}
