package transport

import (
	"crypto/tls"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptBatch is what one round accepts and answers, and another for each acceptShare
	// events: a crowd at the door does not keep those inside waiting, nor those inside the
	// crowd.
	acceptBatch = 4
	acceptShare = 16

	// The client speaks first, whatever the wire. The system gives us a connection when
	// something has come, and one that stays silent after so many seconds.
	deferAccept = 1

	// A peer that vanished without a word is noticed after four minutes, even
	// if its Keep Alive is off.
	keepAliveIdle     = 120 // seconds
	keepAliveInterval = 30  // seconds
	keepAliveCount    = 4
)

type listener struct {
	fd      int32
	wire    wire
	conf    *tls.Config // nil unless TLS
	defers  bool        // what is accepted has sent something, as a rule
	rests   time.Time   // accepts nothing before; zero if it accepts
	starved bool        // the last accept failed
}

// accept takes connections, answers what they begin with, and hands them round.
func (l *loop) accept(ln *listener) {
	for range acceptBatch + l.events/acceptShare {
		fd, peer, err := acceptNow(ln.fd)
		switch err {
		case nil:
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED:
			continue
		default: // out of descriptors or memory
			l.rest(ln, err)
			return
		}
		ln.starved = false
		if !l.t.admit() {
			unix.Close(int(fd))
			continue
		}
		l.turn = (l.turn + 1) % len(l.peers)
		c := &polled{
			fd:   fd,
			Conn: Conn{t: l.t, wire: ln.wire, peer: peer, proxied: l.t.fromProxy(peer)},
		}
		c.driver = c
		if ln.wire == wireWS || ln.wire == wireWSS {
			c.ws = new(framer)
		}
		if ln.conf != nil {
			c.tls = newSecure(c, ln.conf)
		} else if ln.defers {
			l.begin(c)
		}
		l.peers[l.turn].take(c)
	}
}

// rest has ln accept nothing for a while.
func (l *loop) rest(ln *listener, err error) {
	if !ln.starved {
		l.t.log.Warn("accept", "wire", ln.wire.String(), "err", os.NewSyscallError("accept", err))
	}
	ln.starved = true
	ln.rests = time.Now().Add(acceptPause)
	l.poller.ctl(unix.EPOLL_CTL_MOD, ln.fd, 0)
}

// rested has those accept again who have rested.
func (l *loop) rested(now time.Time) {
	for _, ln := range l.listeners {
		if !ln.rests.IsZero() && !now.Before(ln.rests) {
			ln.rests = time.Time{}
			l.poller.ctl(unix.EPOLL_CTL_MOD, ln.fd, unix.EPOLLIN)
		}
	}
}

// begin reads from a connection that was just accepted, and answers. So CONNECT, which
// has come by now, takes no look at epoll, and wakes no other loop.
func (l *loop) begin(c *polled) {
	c.opened = true
	l.t.handler.Open(&c.Conn)
	l.read(c)
	l.flush(c)
}

// take has l look after a connection that the calling loop has accepted. Where nothing is
// to be done for c before more comes, l is not woken, and finds it when that has come.
func (l *loop) take(c *polled) {
	c.mu.Lock()
	defer c.mu.Unlock() // and no sooner may l look at c, whose descriptor it may close
	c.loop = l
	c.queue()
	if c.opened {
		if err := l.report(c, c.interest()); err != nil {
			c.gone = true
			c.discard()
			c.shutLocked(err)
		}
	}
	if !c.opened || c.closing || c.again || c.waiting() {
		c.poke()
	}
}

// listen has the connections of ln accepted on a loop; stop closes the
// listener, and returns when nothing will be accepted any more. It is called
// with Transport.mu held and takes ln over.
func (ls *loops) listen(t *Transport, ln net.Listener, w wire, conf *tls.Config) (stop func(), err error) {
	addr := ln.Addr().String()
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	fd, err := detach(ln)
	if err == nil {
		if err = ls.start(t); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		if w == wireUnix {
			os.Remove(addr)
		}
		return nil, err
	}
	in := &listener{fd: int32(fd), wire: w, conf: conf}
	if w != wireUnix {
		in.defers = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept) == nil
		// On Linux, what is accepted inherits these.
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount)
	}
	l := ls.all[ls.next]
	ls.next = (ls.next + 1) % len(ls.all)
	l.do(func() { l.admit(in) })
	return func() {
		done := make(chan struct{})
		l.do(func() {
			l.dismiss(in)
			close(done)
		})
		<-done
		if w == wireUnix {
			os.Remove(addr)
		}
	}, nil
}

// detach takes the descriptor out of ln, which it closes.
func detach(ln net.Listener) (fd int, err error) {
	defer ln.Close()
	rc, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var dup error
	if err := rc.Control(func(of uintptr) {
		fd, dup = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return 0, err
	}
	return fd, dup
}

func (l *loop) admit(ln *listener) {
	l.listeners = append(l.listeners, ln)
	l.poller.ctl(unix.EPOLL_CTL_ADD, ln.fd, unix.EPOLLIN)
}

func (l *loop) dismiss(ln *listener) {
	l.listeners = slices.DeleteFunc(l.listeners, func(x *listener) bool { return x == ln })
	l.poller.ctl(unix.EPOLL_CTL_DEL, ln.fd, 0)
	unix.Close(int(ln.fd))
}
