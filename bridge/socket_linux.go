package bridge

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketState tells of the TCP connection under rwc how many bytes the other end's
// system has taken, and whether there are more that it has not.
func socketState(rwc io.ReadWriteCloser) (acked int64, unacked, ok bool) {
	tcp := socket(rwc)
	if tcp == nil {
		return 0, false, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false, false
	}
	raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			acked, unacked, ok = int64(info.Bytes_acked), info.Unacked > 0 || info.Notsent_bytes > 0, true
		}
	})
	return acked, unacked, ok
}

// leaveBy binds a socket to a network interface.
func leaveBy(raw syscall.RawConn, name string) (err error) {
	cerr := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) })
	switch err = cmp.Or(err, cerr); err {
	case nil:
		return nil
	case unix.EPERM:
		return fmt.Errorf("leave by the network interface %s: %w: that needs the capability CAP_NET_RAW", name, err)
	case unix.ENODEV:
		return fmt.Errorf("leave by the network interface %s: there is none of that name", name)
	}
	return fmt.Errorf("leave by the network interface %s: %w", name, err)
}

// socket is the TCP connection that rwc runs over, nil if there is none.
func socket(rwc any) *net.TCPConn {
	for {
		switch c := rwc.(type) {
		case *net.TCPConn:
			return c
		case *tls.Conn:
			rwc = c.NetConn()
		case *webSocket:
			rwc = c.Conn
		default:
			return nil
		}
	}
}
