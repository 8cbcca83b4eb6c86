//go:build !linux

package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

// There are event loops on Linux only. Elsewhere all connections are streams.
type loops struct{ n int }

func (*loops) close(bool) {}

// listen has the connections of ln accepted; stop closes it. It takes ln over.
func (*loops) listen(t *Transport, ln net.Listener, w wire, conf *tls.Config) (stop func(), err error) {
	t.wg.Add(1)
	go t.acceptLoop(ln, w, conf)
	return func() { ln.Close() }, nil
}

// acceptLoop takes connections of ln until it is closed. While there are too many
// handshakes of TLS, accepting waits.
func (t *Transport) acceptLoop(ln net.Listener, w wire, conf *tls.Config) {
	defer t.wg.Done()
	places := make(chan struct{}, maxHandshakes)
	for {
		nc, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			t.log.Warn("accept", "wire", w.String(), "err", err)
			time.Sleep(acceptPause)
		case !t.admit():
			nc.Close()
		case conf != nil:
			places <- struct{}{}
			t.handshake(nc, w, conf, places)
		default:
			t.startStream(nc, w, t.fromProxy(addrPort(nc.RemoteAddr())))
		}
	}
}

// handshaking is a connection before it is a stream.
type handshaking struct{ nc net.Conn }

func (h *handshaking) Close() { h.nc.Close() }
func (h *handshaking) kill()  { h.nc.Close() }

// handshake does the handshake in a goroutine of its own, and gives its place back.
// The stack has grown when that is over; the stream starts with a new one.
func (t *Transport) handshake(nc net.Conn, w wire, conf *tls.Config, places chan struct{}) {
	h := &handshaking{nc}
	if !t.enter(h) {
		nc.Close()
		t.leave()
		<-places
		return
	}
	go func() {
		defer t.wg.Done()
		tc, err := t.secure(nc, conf)
		<-places
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
		peer, rest, err := readProxy(nc)
		if err != nil {
			return nil, err
		}
		nc = &proxiedConn{nc.(*net.TCPConn), peer, rest}
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
