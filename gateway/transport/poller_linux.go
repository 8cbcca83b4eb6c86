package transport

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for events of many descriptors.
//
// An epoll descriptor can itself be waited for, so the waiting is left to the
// runtime's own poller, and the goroutine is parked meanwhile. Blocking in
// epoll_wait instead has the scheduler's monitor take the processor away, hand it
// back, and stay awake for it: at a few thousand events a second that costs
// more than the events do.
type poller struct {
	fd   int
	file *os.File
	conn syscall.RawConn

	// Owned by who waits.
	events [256]unix.EpollEvent
	n      int
	poll   func(uintptr) bool
	limit  bool // a deadline is set, or was by wake
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or NewFile would not have it polled
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.poll = func(uintptr) bool { return p.look() }
	if p.conn, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if the runtime could not take it in
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() { p.file.Close() }

// ctl is epoll_ctl.
func (p *poller) ctl(op int, fd int32, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, int(fd), &unix.EpollEvent{Events: events, Fd: fd}))
}

// arm prepares wait: d is how long that may last at most, negative for ever. What wait
// has returned for is over.
func (p *poller) arm(d time.Duration) {
	if d >= 0 || p.limit {
		p.limit = d >= 0
		var at time.Time
		if p.limit {
			at = time.Now().Add(d)
		}
		p.file.SetReadDeadline(at)
	}
}

// wake has wait return, the next one if nobody is in it now. Anybody may call it. The
// goroutine that waits is made ready by that, with no system call.
func (p *poller) wake() { p.file.SetReadDeadline(past) }

var past = time.Unix(1, 0)

// wait returns what has happened, valid until the next call. It may return nothing.
func (p *poller) wait() []unix.EpollEvent {
	p.n = 0 // should the deadline have passed before it looks
	if p.conn.Read(p.poll) != nil {
		p.limit = true // it has passed, and has to be taken back
	}
	return p.events[:p.n]
}

// peek is wait without waiting.
func (p *poller) peek() []unix.EpollEvent {
	p.look()
	return p.events[:p.n]
}

// look takes what has happened, and reports whether anything has.
func (p *poller) look() bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		if errno == 0 {
			p.n = int(n)
			return n > 0
		}
		if p.n = 0; errno != unix.EINTR {
			return false // only a descriptor that is none any more
		}
	}
}

// acceptNow is accept4 on a listener that does not block. The peer's address is not
// valid for a Unix socket. unix.Accept4 would ask the system, each time, whether TCP is TCP.
func acceptNow(fd int32) (int32, netip.AddrPort, error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, netip.AddrPort{}, errno
	}
	return int32(n), sockaddr(&sa), nil
}

func sockaddr(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkOrder(in.Port))
	}
	return netip.AddrPort{}
}

// networkOrder is a number that the kernel left as it was on the wire.
func networkOrder(n uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], n)
	return binary.BigEndian.Uint16(b[:])
}

// readNow and writeNow are read and write on a descriptor that does not block.
// The scheduler is not told of them: there is nothing that it could do meanwhile.
// b is not empty.
func readNow(fd int32, b []byte) (int, error)  { return callNow(unix.SYS_READ, fd, b) }
func writeNow(fd int32, b []byte) (int, error) { return callNow(unix.SYS_WRITE, fd, b) }

func callNow(trap uintptr, fd int32, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
