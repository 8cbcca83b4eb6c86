package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// acceptPause is how long accepting rests when the system is out of
	// descriptors or memory.
	acceptPause = 100 * time.Millisecond

	defaultHandshakeTimeout = 10 * time.Second

	// maxHandshakes bounds the handshakes of TLS under way. A crowd that comes back
	// after a power cut is served one after the other.
	maxHandshakes = 128
)

// Config of a Transport. The zero value works.
type Config struct {
	// Loops is the number of event loops, 0 for one per processor.
	// Only Linux has them.
	Loops int

	// Proxies are the addresses of proxies. A connection from one of them has
	// to begin with a header of the PROXY protocol, version 1 or 2; from all
	// other addresses there must be none.
	Proxies []netip.Prefix

	// MaxConns bounds the connections from outside, 0 for no bound. More are
	// closed as soon as they are accepted.
	MaxConns int

	// HandshakeTimeout bounds how long a client may take to begin the handshake of
	// TLS, and then how long that may take, a PROXY header before it included;
	// 0 means 10 seconds.
	HandshakeTimeout time.Duration

	Log *slog.Logger // nil for none
}

// Transport holds listeners and connections.
type Transport struct {
	// Set once by New.
	handler          Handler
	proxies          []netip.Prefix
	maxConns         int
	handshakeTimeout time.Duration
	log              *slog.Logger
	loops            loops

	conns atomic.Int64 // admitted and not left
	full  atomic.Bool  // MaxConns was met, and said so
	wg    sync.WaitGroup

	stopOnce sync.Once

	// Guarded by mu, which comes before Conn.mu.
	mu      sync.Mutex
	stopped bool
	closed  bool
	stops   []func()           // one per listener; not changed once stopped
	live    map[guest]struct{} // what is not on a loop
}

// guest is a connection not on a loop: a stream, a handshake, an inside.
type guest interface {
	Close()
	kill() // at once
}

// New makes a Transport that hands all connections to h.
func New(cfg Config, h Handler) *Transport {
	t := &Transport{
		handler:          h,
		proxies:          cfg.Proxies,
		maxConns:         cfg.MaxConns,
		handshakeTimeout: cfg.HandshakeTimeout,
		log:              cfg.Log,
		live:             make(map[guest]struct{}),
	}
	if t.handshakeTimeout <= 0 {
		t.handshakeTimeout = defaultHandshakeTimeout
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	t.loops.n = cfg.Loops
	return t
}

// Listen opens a listener and returns the address it has got. network is tcp,
// tls, ws, wss or unix; addr is host:port, or the path of a unix socket. conf
// is for tls and wss only, and needed there.
func (t *Transport) Listen(network, addr string, conf *tls.Config) (net.Addr, error) {
	w, ok := map[string]wire{"tcp": wireTCP, "tls": wireTLS, "ws": wireWS, "wss": wireWSS, "unix": wireUnix}[network]
	secure := w == wireTLS || w == wireWSS
	switch {
	case !ok:
		return nil, fmt.Errorf("listen %s %s: unknown network, use tcp, tls, ws, wss or unix", network, addr)
	case secure && conf == nil:
		return nil, fmt.Errorf("listen %s %s: certificate and key are missing", network, addr)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return nil, fmt.Errorf("listen %s %s: %w", network, addr, net.ErrClosed)
	}
	var ln net.Listener
	var err error
	if w == wireUnix {
		ln, err = listenUnix(addr)
	} else {
		ln, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s %s: %w", network, addr, err)
	}
	a := ln.Addr()
	if secure {
		conf = conf.Clone()
		conf.MinVersion = max(conf.MinVersion, tls.VersionTLS12)
	} else {
		conf = nil
	}
	stop, err := t.loops.listen(t, ln, w, conf)
	if err != nil {
		return nil, fmt.Errorf("listen %s %s: %w", network, addr, err)
	}
	t.stops = append(t.stops, stop)
	return a, nil
}

// Serve takes over a connection that was made elsewhere; MaxConns does not
// keep it out. On a Transport that is closed it is closed.
func (t *Transport) Serve(nc net.Conn) {
	w := wireTCP
	switch addr := nc.LocalAddr(); {
	case isTLS(nc):
		w = wireTLS
	case addr != nil && addr.Network() == "pipe":
		w = wirePipe
	case addr != nil && addr.Network() == "unix":
		w = wireUnix
	}
	t.conns.Add(1)
	t.startStream(nc, w, w == wireTCP && t.fromProxy(addrPort(nc.RemoteAddr())))
}

// StopAccepting closes all listeners; connections stay. Neither it nor Close
// may be called inside a callback.
func (t *Transport) StopAccepting() {
	t.stopOnce.Do(func() {
		t.mu.Lock()
		t.stopped = true
		t.mu.Unlock()
		for _, stop := range t.stops {
			stop()
		}
	})
}

// Close closes listeners and connections, as Conn.Close does, and waits until
// all is over. When ctx ends, connections are cut, and its error is returned.
func (t *Transport) Close(ctx context.Context) error {
	t.StopAccepting()
	t.mu.Lock()
	t.closed = true
	for g := range t.live {
		g.Close()
	}
	t.mu.Unlock()
	t.loops.close(false)

	done := make(chan struct{})
	go func() {
		t.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	for g := range t.live {
		g.kill()
	}
	t.mu.Unlock()
	t.loops.close(true)
	<-done
	return ctx.Err()
}

// admit counts a connection from outside, unless there are too many.
func (t *Transport) admit() bool {
	if n := t.conns.Add(1); t.maxConns == 0 || n <= int64(t.maxConns) {
		return true
	}
	t.leave()
	if t.full.CompareAndSwap(false, true) {
		t.log.Warn("too many connections, more are closed", "max", t.maxConns)
	}
	return false
}

func (t *Transport) leave() {
	// Well below the bound, so that one who comes and goes is not a line each.
	if t.conns.Add(-1) < int64(t.maxConns)*9/10 {
		t.full.Store(false)
	}
}

// enter lists a guest, and counts the goroutine that is about to serve it;
// false if the Transport is closed.
func (t *Transport) enter(g guest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.live[g] = struct{}{}
	t.wg.Add(1)
	return true
}

func (t *Transport) exit(g guest) {
	t.mu.Lock()
	delete(t.live, g)
	t.mu.Unlock()
}

// fromProxy says whether a PROXY header has to come from this peer.
func (t *Transport) fromProxy(peer netip.AddrPort) bool {
	for _, p := range t.proxies {
		if p.Contains(peer.Addr()) {
			return true
		}
	}
	return false
}

// addrPort is the address of a TCP peer, IPv4 as such; not valid for others.
func addrPort(a net.Addr) netip.AddrPort {
	ta, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := ta.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func isTLS(nc net.Conn) bool {
	_, ok := nc.(*tls.Conn)
	return ok
}
