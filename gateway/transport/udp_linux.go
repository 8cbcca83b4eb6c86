package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// datagramBatch is how many datagrams one system call takes or gives.
	datagramBatch = 32

	// receiveStride is the distance of the receive buffers. Each begins in
	// another line of the processor's cache; only what comes is ever touched.
	receiveStride = 64<<10 + 64
)

// mmsghdr is struct mmsghdr of recvmmsg and sendmmsg.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// datagramReader is the batch that is being received.
type datagramReader struct {
	msgs  [datagramBatch]mmsghdr
	iovs  [datagramBatch]unix.Iovec
	names [datagramBatch]unix.RawSockaddrAny
	buf   []byte
	zones map[uint32]netip.Addr // an address of each IPv6 zone, so that the name of the zone is allocated once
}

func newDatagramReader() *datagramReader {
	r := &datagramReader{buf: make([]byte, datagramBatch*receiveStride)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buf[i*receiveStride]
		r.iovs[i].SetLen(receiveStride)
		r.msgs[i].hdr.Iov = &r.iovs[i]
		r.msgs[i].hdr.SetIovlen(1)
		r.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// read is the reading goroutine.
//
// All of it is one call of RawConn.Read: a batch that is not full has emptied
// the socket, and the runtime remembers what comes after that, so that the
// call that would only say so is spared. A second call of Read would forget it.
func (u *UDP) read() {
	raw, err := u.conn.SyscallConn()
	if err != nil {
		return // closed
	}
	r := newDatagramReader()
	raw.Read(func(fd uintptr) bool { // its error is that the socket is closed
		for {
			n, errno := r.receive(fd)
			switch errno {
			case 0:
			case unix.EAGAIN:
				return false
			case unix.EINTR:
				continue
			default: // out of memory
				time.Sleep(acceptPause)
				continue
			}
			u.begin()
			for i := range n {
				u.h.Datagram(u, r.from(i), r.datagram(i))
			}
			u.flush()
			if n < datagramBatch {
				return false
			}
		}
	})
}

func (r *datagramReader) receive(fd uintptr) (int, syscall.Errno) {
	for i := range r.msgs {
		r.msgs[i].hdr.Namelen = unix.SizeofSockaddrAny
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), datagramBatch, unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func (r *datagramReader) datagram(i int) []byte {
	return r.buf[i*receiveStride:][:r.msgs[i].n]
}

// from is the sender's address, with its zone if it is one of a link only.
func (r *datagramReader) from(i int) netip.AddrPort {
	a := sockaddr(&r.names[i])
	if !a.Addr().Is6() || !a.Addr().IsLinkLocalUnicast() {
		return a
	}
	scope := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.names[i])).Scope_id
	zoned, ok := r.zones[scope]
	if !ok {
		zoned = a.Addr().WithZone(strconv.FormatUint(uint64(scope), 10))
		if r.zones == nil {
			r.zones = make(map[uint32]netip.Addr)
		}
		r.zones[scope] = zoned
	}
	return netip.AddrPortFrom(a.Addr().WithZone(zoned.Zone()), a.Port())
}

// datagramWriter sends an outbox in batches.
type datagramWriter struct {
	// Set once.
	raw   syscall.RawConn
	inet6 bool // the socket's family; it sends to IPv4 as well

	// Owned by who sends.
	next  int // of the letters
	msgs  [datagramBatch]mmsghdr
	iovs  [datagramBatch]unix.Iovec
	names [datagramBatch]unix.RawSockaddrInet6
	now   func(fd uintptr) bool // on behalf of u
	until func(fd uintptr) bool
	u     *UDP
	done  bool
}

func (w *datagramWriter) open(conn *net.UDPConn) error {
	var err error
	if w.raw, err = conn.SyscallConn(); err != nil {
		return err
	}
	var family int
	if cerr := w.raw.Control(func(fd uintptr) {
		family, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	}); cerr != nil {
		return cerr
	}
	w.inet6 = family == unix.AF_INET6
	for i := range w.msgs {
		w.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		w.msgs[i].hdr.Iov = &w.iovs[i]
		w.msgs[i].hdr.SetIovlen(1)
	}
	w.until = func(fd uintptr) bool { return w.send(fd) }
	w.now = func(fd uintptr) bool {
		w.done = w.send(fd)
		return true
	}
	return err
}

// writeNow sends what u.sent holds, and reports false if the socket took a part
// only.
func (w *datagramWriter) writeNow(u *UDP) bool {
	w.u, w.done = u, true
	w.raw.Write(w.now)
	return w.done
}

// write sends what u.sent holds, and waits for the socket if it has to.
func (w *datagramWriter) write(u *UDP) {
	w.u = u
	w.raw.Write(w.until) // its error is that the socket is closed
	w.next = 0
}

// send sends the letters from next on until the socket takes no more.
func (w *datagramWriter) send(fd uintptr) bool {
	letters := w.u.sent.letters
	for w.next < len(letters) {
		n := w.gather(letters[w.next:min(len(letters), w.next+datagramBatch)])
		sent, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			w.next += int(sent)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default: // no way to the first of them
			w.u.drop()
			w.next++
		}
	}
	w.next = 0
	if cap(w.u.sent.b) > keptOutbox {
		clear(w.iovs[:]) // or they would keep it
	}
	return true
}

// gather points the headers to letters.
func (w *datagramWriter) gather(letters []letter) int {
	o := &w.u.sent
	start := 0
	if w.next > 0 {
		start = o.letters[w.next-1].end
	}
	for i, l := range letters {
		w.iovs[i].Base = nil
		if l.end > start {
			w.iovs[i].Base = &o.b[start]
		}
		w.iovs[i].SetLen(l.end - start)
		w.msgs[i].hdr.Namelen = w.name(&w.names[i], l.to)
		start = l.end
	}
	return len(letters)
}

// name writes to as the socket's family has it, and returns its size.
func (w *datagramWriter) name(sa *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	if w.inet6 {
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: to.Addr().As16(), Scope_id: scope(to.Addr())}
		return unix.SizeofSockaddrInet6
	}
	in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
	if !to.Addr().Unmap().Is4() {
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET6} // the system refuses it
		return unix.SizeofSockaddrInet4
	}
	*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: to.Addr().Unmap().As4()}
	return unix.SizeofSockaddrInet4
}

// scope is the index of the interface that a's zone names, 0 if there is none.
func scope(a netip.Addr) uint32 {
	zone := a.Zone()
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// JoinGroup has the socket receive what is sent to a multicast group, on all
// interfaces that are up, and Send to the group send on those. It may be called
// again when there are new interfaces.
func (u *UDP) JoinGroup(group netip.Addr) error {
	if !group.IsMulticast() {
		return fmt.Errorf("join %v: not a multicast address", group)
	}
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("join %v: %w", group, err)
	}
	var joined []int
	var faults []error
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagMulticast|net.FlagLoopback) == 0 {
			continue
		}
		if err := u.joinOn(group, i.Index); err != nil {
			faults = append(faults, fmt.Errorf("join %v on %s: %w", group, i.Name, err))
			continue
		}
		joined = append(joined, i.Index)
	}
	if len(joined) == 0 {
		return errors.Join(append(faults, fmt.Errorf("join %v: no interface is up that could", group))...)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.groups == nil {
		u.groups = make(map[netip.Addr][]int)
	}
	u.groups[group] = joined
	return nil
}

func (u *UDP) joinOn(group netip.Addr, index int) error {
	var err error
	if cerr := u.writer.raw.Control(func(fd uintptr) {
		if group.Is4() {
			err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
		} else {
			err = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)})
		}
	}); cerr != nil {
		return cerr
	}
	if errors.Is(err, unix.EADDRINUSE) { // joined before
		return nil
	}
	return err
}

// sendGroup sends b to a group that was joined, on each interface; it reports
// false if it was not. That is rare, and not worth a place in a batch.
func (u *UDP) sendGroup(b []byte, to netip.AddrPort) bool {
	u.mu.Lock()
	joined := u.groups[to.Addr()]
	u.mu.Unlock()
	for _, index := range joined {
		var oob []byte
		if to.Addr().Is4() {
			oob = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(index)})
		} else {
			oob = unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(index)})
		}
		if _, _, err := u.conn.WriteMsgUDPAddrPort(b, oob, to); err != nil {
			u.drop()
		}
	}
	return joined != nil
}
