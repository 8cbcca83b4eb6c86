package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// HighWater is the Pending, in bytes, above which a handler should hold
	// back; LowWater is where Writable tells it to go on. Writable comes
	// after every time that Pending was above HighWater.
	HighWater = 256 << 10
	LowWater  = 64 << 10

	// MaxPending is the Pending, in bytes, at which a connection is closed
	// with ErrSlow: the peer does not read, and the handler did not hold back.
	MaxPending = 64 << 20

	// closeWait bounds how long Close waits for a peer: to take the output
	// that is left, and then to close its side.
	closeWait = 2 * time.Second
)

// ErrSlow is the cause of a connection closed for passing MaxPending.
var ErrSlow = errors.New("peer does not read")

// Handler is the protocol engine. Calls for one Conn are never concurrent,
// calls for several are. No lock of the Conn is held during a call, so that a
// handler may take locks of its own, and call Begin, End and all other methods
// of any Conn with those held.
type Handler interface {
	// Open is the first call: c was accepted; after the handshake of TLS, but
	// before a PROXY header and the upgrade to WebSocket have come. A handler
	// that does not want to wait for those sets a timer and calls c.Close.
	Open(c *Conn)

	// Receive takes the first n bytes of b, 0 <= n <= len(b). The others come
	// again, with more behind them: when more has arrived, or after
	// c.Resume or c.Yield. b is valid until Receive returns. After an error the output
	// so far is sent as by Close, and Closed tells the same error.
	Receive(c *Conn, b []byte) (n int, err error)

	// Writable tells that Pending was above HighWater and is not above
	// LowWater any more.
	Writable(c *Conn)

	// BeginRound and EndRound are called by an event loop: before it hands over what
	// has come for its connections, and after. What the handler answers in EndRound
	// leaves together with what it answered since BeginRound. Other goroutines, and other
	// loops, call meanwhile; those for wires without a loop do so with no such calls.
	BeginRound()
	EndRound()

	// Closed is the last call, exactly once after Open. err is io.EOF if the
	// peer closed, net.ErrClosed if Close was called here, and else what
	// went wrong.
	Closed(c *Conn, err error)
}

// Conn is one connection of a device. All methods may be called from
// everywhere: inside callbacks, and from any goroutine, with the handler's
// locks held; none waits for the peer.
type Conn struct {
	// User belongs to the handler: set in Open, never touched here.
	User any

	// Set once.
	t      *Transport
	driver driver
	ws     *framer // nil unless WebSocket
	wire   wire

	// Owned by the reader: the loop, the reading goroutine, or Write of Dial.
	proxied bool    // a PROXY header has to come first
	in      *buffer // what has come and was not taken; nil if nothing

	// Guarded by mu. The handler's locks come before it; under it only those
	// of a buffer pool and of a loop's list are taken.
	mu      sync.Mutex
	peer    netip.AddrPort
	out     *buffer // from End, not yet with the driver: the last of a ring; nil if empty
	unsent  int     // bytes in the others of that ring, and with the driver, which the socket has not taken
	cause   error   // why it closes
	paused  bool    // by Pause
	again   bool    // Resume or Yield was called: what Receive has not taken is to come again
	high    bool    // Pending was above HighWater, Writable is due
	broken  bool    // the peer takes nothing any more: output is discarded
	closing bool    // no Receive and no output any more, only what is in out
	closed  bool    // Closed was called, or is about to be

	pending atomic.Int32 // len(out) + unsent; written with mu held; 64 bits are dear on 32-bit ARM
}

// driver moves the bytes of a Conn.
type driver interface {
	// poke is called with Conn.mu held when there is something new to look
	// at: output, or a change of paused or closing. It does not block.
	poke()
}

// Begin locks the output and returns it. The caller appends whole packets, of which it
// may say that they are large: about n bytes. It changes nothing of what is there, and
// must call End before anything else on this Conn. What is appended on a Conn that is
// closing is discarded.
func (c *Conn) Begin(n int) []byte {
	c.mu.Lock()
	if c.closing || c.broken {
		return nil
	}
	switch b := c.out; {
	case b == nil:
		c.out = c.newOutput(n)
		c.out.next = c.out
	case len(b.b) > pieceSize/2, len(b.b)+n > pieceSize: // what lies there is not copied once more
		c.unsent += len(b.b)
		c.out = c.newOutput(max(n, pieceSize))
		c.out.next, b.next = b.next, c.out
	case len(b.b)+n > cap(b.b)/2 && cap(b.b) < pieceSize: // so early that append need not
		b.grow(max(n, cap(b.b)))
	}
	return c.out.b
}

// newOutput is room for n bytes.
func (c *Conn) newOutput(n int) *buffer {
	b := newBuffer(n)
	if c.ws != nil {
		b.b = b.b[:frameRoom]
	}
	return b
}

// End gives the output back, unlocks it, and has it sent. Several Ends of one
// round of reads are sent together.
func (c *Conn) End(b []byte) {
	if !c.closing && !c.broken {
		c.put(b)
	}
	c.mu.Unlock() // a defer would cost as much as the rest
}

// put takes b, which was appended to c.out.b, for output. mu is held.
func (c *Conn) put(b []byte) {
	c.out.b = b
	switch {
	case len(b) == 0, c.ws != nil && len(b) == frameRoom: // nothing, and never was
		c.undo()
	case c.count() > MaxPending:
		c.discard()
		c.shutLocked(ErrSlow)
	default:
		c.driver.poke()
	}
}

// undo takes the last buffer of the ring, which is empty, out of it.
func (c *Conn) undo() {
	last := c.out
	b := last
	for b.next != last {
		b = b.next
	}
	if c.out = b; b == last {
		c.out = nil
	} else {
		c.unsent -= len(b.b)
		b.next = last.next
	}
	last.free()
}

// Pending is how many bytes of output the socket has not taken yet.
func (c *Conn) Pending() int { return int(c.pending.Load()) }

// Pause stops reading: inside a callback at once, from elsewhere after the
// Receive that may be under way. A peer that closes is not noticed until Resume or
// ResumeIfOver.
func (c *Conn) Pause() { c.setPaused(true) }

// Resume starts reading again. What Receive has not taken comes again even if
// nothing new arrives.
func (c *Conn) Resume() { c.setPaused(false) }

// ResumeIfOver resumes if the peer has closed its side, or is gone, which is not noticed
// while paused: what it sent before comes, and then the end. It does not wait to find out,
// and finds out nothing but of the connections of Listen on Linux.
func (c *Conn) ResumeIfOver() {
	if d, ok := c.driver.(interface{ look() }); ok {
		d.look()
	}
}

// Yield lets others have their turn: what Receive, which it is called in, does not take
// comes again after that. Nothing more is read meanwhile.
func (c *Conn) Yield() {
	c.mu.Lock()
	if !c.closing {
		c.again = true
		c.driver.poke()
	}
	c.mu.Unlock()
}

func (c *Conn) setPaused(paused bool) {
	c.mu.Lock()
	if c.paused != paused && !c.closing {
		c.paused = paused
		c.again = c.again || !paused
		c.driver.poke()
	}
	c.mu.Unlock()
}

// Close ends the connection: output up to now is sent as far as the peer takes
// it within two seconds, Receive is not called any more, Closed is called soon.
// Further calls do nothing.
func (c *Conn) Close() { c.shut(net.ErrClosed) }

func (c *Conn) shut(cause error) {
	c.mu.Lock()
	c.shutLocked(cause)
	c.mu.Unlock()
}

func (c *Conn) shutLocked(cause error) {
	if !c.closing {
		c.closing = true
		c.cause = cause
		c.driver.poke()
	}
}

// over is why c is closing, nil if it is not.
func (c *Conn) over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		return nil
	}
	return c.cause
}

// fail ends a connection that can neither send nor receive.
func (c *Conn) fail(cause error) {
	c.mu.Lock()
	c.discard()
	c.shutLocked(cause)
	c.mu.Unlock()
}

// Remote is the peer for logs: address and port, or the wire where it has none.
func (c *Conn) Remote() string {
	if a := c.RemoteAddr(); a.IsValid() {
		return a.String()
	}
	return c.Wire()
}

// RemoteAddr is the peer's address: behind a proxy the client's, as soon as
// the PROXY header has come. It is not valid for wires without addresses.
func (c *Conn) RemoteAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// setPeer notes what a PROXY header told, if it did.
func (c *Conn) setPeer(peer netip.AddrPort) {
	if peer.IsValid() {
		c.mu.Lock()
		c.peer = peer
		c.mu.Unlock()
	}
}

// Wire is what the bytes came over: tcp, tls, ws, wss, unix, pipe or inside.
func (c *Conn) Wire() string { return c.wire.String() }

// PeerCertificate is what the peer has proven to hold, nil if it showed none.
func (c *Conn) PeerCertificate() *x509.Certificate {
	d, ok := c.driver.(interface{ secured() *tls.Conn })
	if !ok {
		return nil
	}
	tc := d.secured()
	if tc == nil {
		return nil
	}
	if certs := tc.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0]
	}
	return nil
}

// input hands what was just read through the PROXY header and the WebSocket to
// the handler. It is called by the reader; b may be changed.
func (c *Conn) input(b []byte) error {
	if c.proxied {
		c.keep(b)
		n, peer, err := parseProxy(c.in.b)
		if n == 0 || err != nil {
			return err
		}
		c.setPeer(peer)
		c.proxied = false
		held := c.release()
		defer held.free()
		b = held.b[n:]
	}
	if c.ws != nil && !c.ws.upgraded {
		c.keep(b)
		n, err := c.ws.upgrade(c)
		if n == 0 || err != nil {
			return err
		}
		held := c.release()
		defer held.free()
		b = held.b[n:]
	}
	if c.ws == nil {
		return c.receive(b)
	}
	// What came before a bad frame is as good as if it had come alone.
	payload, bad := c.ws.feed(c, b)
	if err := c.receive(payload); err != nil || bad == nil || c.holds() {
		return err
	}
	return bad
}

// holds says whether Receive wants what it has not taken to come again.
func (c *Conn) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.again || c.paused
}

// receive hands b to the handler, behind what it has not taken before.
func (c *Conn) receive(b []byte) error {
	if c.in == nil {
		if len(b) == 0 {
			return nil
		}
		n, err := c.t.handler.Receive(c, b)
		if err == nil && n < len(b) {
			c.keep(b[n:])
		}
		return err
	}
	c.keep(b)
	n, err := c.t.handler.Receive(c, c.in.b)
	if n == len(c.in.b) {
		c.release().free()
	} else {
		c.in.drop(n)
	}
	return err
}

// keep puts b behind what is in.
func (c *Conn) keep(b []byte) {
	if c.in == nil {
		c.in = newBuffer(len(b))
	}
	c.in.grow(len(b))
	c.in.b = append(c.in.b, b...)
}

func (c *Conn) release() *buffer {
	b := c.in
	c.in = nil
	return b
}

// take hands the next piece of output to the driver, nil if there is none:
// for a WebSocket whole frames. mu is held.
func (c *Conn) take() (b *buffer) {
	switch {
	case c.broken:
	case c.ws != nil:
		b = c.ws.take(c)
	default:
		b = c.takeOutput()
	}
	if b != nil {
		c.unsent += len(b.rest())
	}
	c.count()
	return b
}

// takeOutput takes the first buffer out of the ring, if there is one. mu is held.
func (c *Conn) takeOutput() *buffer {
	if c.out == nil {
		return nil
	}
	b := c.out.next
	if b == c.out {
		c.out = nil
	} else {
		c.out.next = b.next
		c.unsent -= len(b.b)
	}
	b.next = nil
	return b
}

// waiting says whether take has something to give. mu is held.
func (c *Conn) waiting() bool {
	return !c.broken && (c.out != nil || c.ws != nil && c.ws.waiting())
}

// sent notes that the socket took n bytes of what take gave, and says whether
// Writable is to be called. mu is held.
func (c *Conn) sent(n int) (writable bool) {
	if c.broken {
		return false
	}
	c.unsent -= n
	writable = c.high && c.count() <= LowWater && !c.closing
	if writable {
		c.high = false
	}
	return writable
}

// lose drops all output, as the peer takes no more, and says whether Writable is
// to be called: a handler that waits for that would wait for ever. mu is held.
func (c *Conn) lose() (writable bool) {
	writable = c.high && !c.closing
	c.high = false
	c.discard()
	return writable
}

// discard drops all output, for good. mu is held.
func (c *Conn) discard() {
	c.broken = true
	for b := c.takeOutput(); b != nil; b = c.takeOutput() {
		b.free()
	}
	c.unsent = 0
	c.count()
}

// count brings Pending up to date: End adds to it, and so do the headers of frames.
// mu is held.
func (c *Conn) count() int {
	n := c.unsent
	if c.out != nil {
		n += len(c.out.b)
	}
	c.high = c.high || n > HighWater
	c.pending.Store(int32(n))
	return n
}

// retire says true to the one caller who has to call Closed.
func (c *Conn) retire() (cause error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	c.closing, c.closed = true, true
	c.discard()
	return c.cause, true
}

type wire uint8

const (
	wireTCP wire = iota
	wireTLS
	wireWS
	wireWSS
	wireUnix
	wirePipe
	wireInside
)

var wires = [...]string{"tcp", "tls", "ws", "wss", "unix", "pipe", "inside"}

func (w wire) String() string { return wires[w] }
