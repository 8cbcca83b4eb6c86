package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/codec"
)

// relaying is this program as another side of a load: a thread that hands what comes at QoS 0 to
// those who asked for that very topic, and does nothing else that a broker does. What a message
// takes even so is what the machine and the generator make of it, whoever is between.
const relaying = "relay"

// relay is what hands on.
type relay struct {
	epoll    int
	listener int32
	clients  map[int32]*relayed // by descriptor
	takers   map[string][]int32 // by topic
	in, out  []byte
}

// relayed is a client of a relay.
type relayed struct {
	codec.Decoder
	version codec.Version
	rest    []byte // has come, and is not a whole packet
}

// runRelay listens on a port of this machine until the process is killed, or something fails.
func runRelay(port string) error {
	runtime.LockOSThread()
	r := &relay{clients: map[int32]*relayed{}, takers: map[string][]int32{}, in: make([]byte, 64<<10)}
	if err := r.listen(port); err != nil {
		return err
	}
	var events [256]unix.EpollEvent
	for {
		// The wait is hidden from the scheduler, as in a generator: see sluice bench.
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(r.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return errno
		}
		for i := range int(n) {
			if fd := events[i].Fd; fd == r.listener {
				r.accept()
			} else if r.receive(fd) != nil {
				r.drop(fd)
			}
		}
	}
}

func (r *relay) listen(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(n), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 1024); err != nil {
		return err
	}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	r.listener = int32(fd)
	return r.watch(r.listener)
}

func (r *relay) watch(fd int32) error {
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd})
}

func (r *relay) accept() {
	fd, _, err := unix.Accept4(int(r.listener), unix.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	r.clients[int32(fd)] = &relayed{}
	r.watch(int32(fd))
}

func (r *relay) drop(fd int32) {
	unix.Close(int(fd))
	delete(r.clients, fd)
	for topic, list := range r.takers {
		r.takers[topic] = slices.DeleteFunc(list, func(x int32) bool { return x == fd })
	}
}

// receive reads once, and answers or hands on the packets that have come whole.
func (r *relay) receive(fd int32) error {
	n, err := unix.Read(int(fd), r.in)
	if n <= 0 {
		return fmt.Errorf("end: %w", err)
	}
	c := r.clients[fd]
	b := r.in[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for {
		p, n, err := c.Next(b, c.version, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			c.rest = append(c.rest[:0], b...)
			return nil
		}
		if err := r.handle(fd, c, p, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
}

// handle answers packet p, whose bytes are b.
func (r *relay) handle(fd int32, c *relayed, p codec.Packet, b []byte) error {
	switch p := p.(type) {
	case *codec.Connect:
		c.version = p.Version
		return r.answer(fd, c, &codec.Connack{MaximumQoS: 2})
	case *codec.Subscribe:
		for _, s := range p.Subscriptions {
			r.takers[string(s.Filter)] = append(r.takers[string(s.Filter)], fd)
		}
		return r.answer(fd, c, &codec.Suback{ID: p.ID, Codes: make([]codec.ReasonCode, len(p.Subscriptions))})
	case *codec.Publish:
		for _, to := range r.takers[string(p.Topic)] {
			if n, err := unix.Write(int(to), b); n < len(b) {
				return fmt.Errorf("%d of %d bytes handed on: %v", n, len(b), err)
			}
		}
	}
	return nil
}

func (r *relay) answer(fd int32, c *relayed, p codec.Packet) error {
	r.out = p.Append(r.out[:0], c.version)
	_, err := unix.Write(int(fd), r.out)
	return err
}
