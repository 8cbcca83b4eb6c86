package transport

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// socketBuffer is asked for each way, so that a crowd of devices may speak
	// in one moment. The system gives no more than its own bound (on Linux
	// net.core.rmem_max and wmem_max).
	socketBuffer = 4 << 20

	// maxOutbox bounds what waits to be sent, in bytes, datagramCost added
	// for each datagram: some 30,000 short ones.
	maxOutbox    = 4 << 20
	datagramCost = 64

	// keptOutbox is the capacity, in bytes, that an outbox keeps when empty.
	keptOutbox = 64 << 10
)

// UDP is a UDP socket. It holds nothing per peer.
//
// One goroutine reads, and sends what the handler answered once a batch of
// datagrams is handled; a second sends for all others, and waits when the
// socket takes no more.
type UDP struct {
	// Set once.
	t    *Transport
	h    DatagramHandler
	conn *net.UDPConn
	addr netip.AddrPort
	wake chan struct{} // for the writing goroutine; holds one

	dropped atomic.Uint64

	// Owned by the writing goroutine.
	told   uint64 // of dropped
	toldAt time.Time

	// Owned by who has set sending.
	sent   outbox // being sent
	writer datagramWriter

	// Guarded by mu.
	mu      sync.Mutex
	out     outbox
	reading bool // a batch is being handled: who handles it sends
	sending bool // sent is with somebody, who will take out along
	blocked bool // that somebody left the rest of sent to the writing goroutine
	closing bool // to close when all is sent
	closed  bool
	groups  map[netip.Addr][]int // joined, by index of the interface
}

// outbox is datagrams to be sent, one behind the other in b.
type outbox struct {
	b       []byte
	letters []letter
}

type letter struct {
	end int // in b; it begins where the one before it ends
	to  netip.AddrPort
}

func (o *outbox) add(b []byte, to netip.AddrPort) {
	o.b = append(o.b, b...)
	o.letters = append(o.letters, letter{len(o.b), to})
}

func (o *outbox) size() int { return len(o.b) + datagramCost*len(o.letters) }

// reset empties o. After a flood it gives the memory back.
func (o *outbox) reset() {
	o.b, o.letters = o.b[:0], o.letters[:0]
	if cap(o.b) > keptOutbox || cap(o.letters) > keptOutbox/datagramCost {
		*o = outbox{}
	}
}

// ListenUDP opens a UDP socket at addr, host:port, and hands what comes to h.
// With no host it is reached by IPv4 and IPv6, and the system chooses the address that it
// answers from: where a machine has several in one network, name the one that
// is meant. It stays open until the Transport closes; StopAccepting means
// connections only.
func (t *Transport) ListenUDP(addr string, h DatagramHandler) (*UDP, error) {
	u, err := t.openUDP(addr, h)
	if err == nil {
		err = u.start(&udpGuest{u})
	}
	if err != nil {
		return nil, fmt.Errorf("listen udp %s: %w", addr, err)
	}
	return u, nil
}

func (t *Transport) openUDP(addr string, h DatagramHandler) (*UDP, error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, err
	}
	conn.SetReadBuffer(socketBuffer)
	conn.SetWriteBuffer(socketBuffer)
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	u := &UDP{
		t: t, h: h, conn: conn,
		addr: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()),
		wake: make(chan struct{}, 1),
	}
	if err := u.writer.open(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return u, nil
}

// start begins to read and write, on behalf of a guest, who closes the socket with close.
func (u *UDP) start(g guest) error {
	if !u.t.enter(g) {
		u.conn.Close()
		return net.ErrClosed
	}
	u.t.wg.Add(1)
	go func() {
		defer u.t.wg.Done()
		u.read()
	}()
	go func() {
		defer u.t.wg.Done()
		u.write()
		u.t.exit(g)
	}()
	return nil
}

// udpGuest closes the socket with the Transport, which Close of the Endpoint does not.
type udpGuest struct{ u *UDP }

func (g *udpGuest) Close() { g.u.close() }
func (g *udpGuest) kill()  { g.u.conn.Close() }

// close closes the socket once all is sent.
func (u *UDP) close() {
	u.mu.Lock()
	u.closing = true
	u.mu.Unlock()
	u.rouse()
}

// Addr is where the socket listens.
func (u *UDP) Addr() netip.AddrPort { return u.addr }

// Dropped counts the datagrams that Send or the system did not take, and those
// that DTLS sessions were too slow for.
func (u *UDP) Dropped() uint64 { return u.dropped.Load() }

// drop counts a datagram. The writing goroutine tells the log, as whoever drops may hold
// the handler's locks.
func (u *UDP) drop() {
	u.dropped.Add(1)
	u.rouse()
}

// tell logs what was dropped since it last did, not more than once a second.
func (u *UDP) tell() {
	n, now := u.dropped.Load(), time.Now()
	if n == u.told || now.Sub(u.toldAt) < time.Second {
		return
	}
	u.t.log.Warn("datagrams dropped", "listener", u.addr, "count", n-u.told)
	u.told, u.toldAt = n, now
}

func (u *UDP) Wire() string   { return "udp" }
func (u *UDP) Peer() Identity { return Identity{} }
func (u *UDP) Close()         {}

// Send sends b to an address; that of a group goes out by every interface on
// which it was joined.
func (u *UDP) Send(b []byte, to netip.AddrPort) {
	if to.Addr().IsMulticast() && u.sendGroup(b, to) {
		return
	}
	u.mu.Lock()
	if u.closed || len(b) > MaxDatagram || u.out.size()+len(b)+datagramCost > maxOutbox {
		u.mu.Unlock()
		u.drop()
		return
	}
	u.out.add(b, to)
	taken := u.reading || u.sending
	u.mu.Unlock()
	if !taken {
		u.rouse()
	}
}

// rouse wakes the writing goroutine.
func (u *UDP) rouse() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// begin is called before a batch of datagrams is handled, and flush after it.
func (u *UDP) begin() {
	u.mu.Lock()
	u.reading = true
	u.mu.Unlock()
}

// flush sends what is queued, unless somebody is at it. If the socket takes no
// more, the writing goroutine is left to wait for it.
func (u *UDP) flush() {
	u.mu.Lock()
	u.reading = false
	for !u.sending && u.swap() {
		u.mu.Unlock()
		done := u.writer.writeNow(u)
		u.mu.Lock()
		if u.finish(done); !done {
			u.rouse()
			break
		}
	}
	last := u.closing
	u.mu.Unlock()
	if last {
		u.rouse()
	}
}

// swap takes sending upon the caller if there is something to send. It is
// called with mu held.
func (u *UDP) swap() bool {
	if len(u.out.letters) == 0 {
		return false
	}
	u.sending = true
	u.sent, u.out = u.out, u.sent
	return true
}

// finish gives sending back, or leaves it to the writing goroutine. It is
// called with mu held.
func (u *UDP) finish(done bool) {
	u.sending, u.blocked = !done, !done
	if done {
		u.sent.reset()
	}
}

// write is the writing goroutine. It closes the socket at the end.
func (u *UDP) write() {
	for range u.wake {
		u.tell()
		u.mu.Lock()
		for !u.reading && (u.blocked || !u.sending && u.swap()) {
			u.blocked = false
			u.mu.Unlock()
			u.writer.write(u)
			u.mu.Lock()
			u.finish(true)
		}
		u.closed = u.closing && !u.reading && !u.sending
		closed := u.closed
		u.mu.Unlock()
		if closed {
			u.conn.Close()
			return
		}
	}
}
