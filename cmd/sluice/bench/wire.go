//go:build linux

package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shakeLimit bounds a TLS handshake, each read and write of it.
const shakeLimit = 10 * time.Second

// open starts a connection; the worker's loop carries it on.
func (w *worker) open(c *conn) error {
	fd, err := unix.Socket(w.run.family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if w.run.family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // slower without, but works
	}
	c.w, c.fd, c.state = w, fd, stDialing
	c.dialed = w.run.clock()
	if err := unix.Connect(fd, w.server); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	c.slot = w.newSlot(c)
	if err := c.watch(unix.EPOLL_CTL_ADD, unix.EPOLLOUT); err != nil {
		return err
	}
	c.wantWrite = true
	return nil
}

// watch tells epoll what to look for.
func (c *conn) watch(op int, events uint32) error {
	err := unix.EpollCtl(c.w.epfd, op, c.fd, &unix.EpollEvent{Events: events, Fd: c.slot})
	if err != nil {
		err = fmt.Errorf("epoll_ctl: %w", err)
		c.close(err)
	}
	return err
}

// interest tells epoll whether to report that the socket takes bytes again.
func (c *conn) interest(write bool) {
	if c.wantWrite == write || c.state == stClosed {
		return
	}
	c.wantWrite = write
	events := uint32(unix.EPOLLIN)
	if write {
		events |= unix.EPOLLOUT
	}
	_ = c.watch(unix.EPOLL_CTL_MOD, events) // which closes the connection if it fails
}

// dialDone goes on after the TCP handshake.
func (c *conn) dialDone() {
	failed, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && failed != 0 {
		err = unix.Errno(failed)
	}
	if err != nil {
		c.close(fmt.Errorf("%w: %w", ErrUnreachable, err))
		return
	}
	if c.w.run.secure {
		c.shake()
		return
	}
	c.interest(false)
	c.greet()
}

// shake makes the TLS handshake in a goroutine of its own, which has the socket for
// itself until shakeDone: the library wants to block there.
func (c *conn) shake() {
	if err := unix.EpollCtl(c.w.epfd, unix.EPOLL_CTL_DEL, c.fd, nil); err != nil {
		c.close(fmt.Errorf("epoll_ctl: %w", err))
		return
	}
	c.state = stShaking
	c.tls = tls.Client(&socket{conn: c}, c.w.run.cfg.TLS)
	c.w.shaking++
	go func() {
		limit := unix.NsecToTimeval(int64(shakeLimit))
		_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit) // never fails on a socket
		_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
		c.shakeErr = unix.SetNonblock(c.fd, false)
		if c.shakeErr == nil {
			c.shakeErr = c.tls.HandshakeContext(context.Background())
		}
		if c.shakeErr == nil {
			c.shakeErr = unix.SetNonblock(c.fd, true)
		}
		c.w.shaken <- c
	}()
}

// shakeDone goes on after the TLS handshake.
func (c *conn) shakeDone() {
	c.w.shaking--
	c.state = stDialing
	if c.shakeErr != nil {
		c.close(fmt.Errorf("TLS: %w", c.shakeErr))
		return
	}
	c.wantWrite = false
	if c.watch(unix.EPOLL_CTL_ADD, unix.EPOLLIN) == nil {
		c.greet()
	}
}

// socket is a connection's socket as the TLS library sees it. What it does not
// define is not called.
type socket struct {
	net.Conn
	conn *conn
}

// Read waits during the handshake only.
func (s *socket) Read(b []byte) (int, error) {
	if s.conn.state != stShaking {
		return rawRead(s.conn.fd, b) // EAGAIN leaves a TLS connection as it is
	}
	for {
		n, err := unix.Read(s.conn.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 0:
			err = io.EOF
		}
		return max(0, n), err
	}
}

// Write keeps what the kernel does not take.
func (s *socket) Write(b []byte) (int, error) {
	if s.conn.state != stShaking {
		return len(b), s.conn.write(b)
	}
	for rest := b; len(rest) > 0; {
		n, err := unix.Write(s.conn.fd, rest)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return len(b) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

func (s *socket) Close() error                     { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// write hands b to the kernel, and keeps what it does not take.
func (c *conn) write(b []byte) error {
	n := 0
	if len(c.unsent) == 0 {
		var err error
		if n, err = rawWrite(c.fd, b); err != nil {
			return err
		}
	}
	c.unsent = append(c.unsent, b[n:]...)
	return nil
}

// rawRead and rawWrite make system calls on sockets that do not block without telling
// the scheduler, which would cost more than the calls' other overhead. To read
// nothing is an error: EAGAIN, or io.EOF at the end.
func rawRead(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		}
		return int(n), nil
	}
}

// rawWrite returns how many bytes the kernel took; none is not an error.
func rawWrite(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, nil
		}
		return 0, errno
	}
}
