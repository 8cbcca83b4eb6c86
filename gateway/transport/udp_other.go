//go:build !linux

package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// read is the reading goroutine: one datagram at a time.
func (u *UDP) read() {
	b := make([]byte, MaxDatagram)
	for {
		n, from, err := u.conn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of memory, or what came was too long
			time.Sleep(time.Millisecond)
			continue
		}
		u.begin()
		u.h.Datagram(u, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), b[:n])
		u.flush()
	}
}

// datagramWriter sends an outbox, one datagram at a time.
type datagramWriter struct{}

func (*datagramWriter) open(*net.UDPConn) error { return nil }

func (*datagramWriter) writeNow(u *UDP) bool {
	start := 0
	for _, l := range u.sent.letters {
		if _, err := u.conn.WriteToUDPAddrPort(u.sent.b[start:l.end], l.to); err != nil {
			u.drop()
		}
		start = l.end
	}
	return true
}

func (w *datagramWriter) write(u *UDP) { w.writeNow(u) }

// JoinGroup is there on Linux only.
func (u *UDP) JoinGroup(group netip.Addr) error {
	return fmt.Errorf("join %v: %w", group, errors.ErrUnsupported)
}

func (*UDP) sendGroup([]byte, netip.AddrPort) bool { return false }
