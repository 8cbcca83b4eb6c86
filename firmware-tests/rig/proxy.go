package rig

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialLimit is how long a backend may take to accept.
const dialLimit = 2 * time.Second

// Proxy is a line that can be cut. It listens on Addr and carries each
// connection to the first of its backends that accepts, while the line holds.
type Proxy struct {
	// Set once by NewProxy.
	Addr     string
	ln       net.Listener
	backends []string
	delay    atomic.Int64 // nanoseconds
	bytes    atomic.Int64 // carried, both ways
	segments atomic.Int64 // that they came in

	// Guarded by mu.
	mu      sync.Mutex
	cut     bool
	held    bool
	changed *sync.Cond          // cut or held
	lines   map[net.Conn]string // of open connections: the backend behind each
}

// NewProxy listens on a free port. Backends are tried in their order.
func NewProxy(backends ...string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: ln.Addr().String(), ln: ln, backends: backends, lines: map[net.Conn]string{}}
	p.changed = sync.NewCond(&p.mu)
	go p.serve()
	return p, nil
}

func (p *Proxy) serve() {
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			return // closed
		}
		go p.carry(nc)
	}
}

// carry joins a connection with a backend until either ends or the line is cut.
func (p *Proxy) carry(nc net.Conn) {
	defer nc.Close()
	up, addr := p.dial()
	if up == nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	held := !p.cut
	if held {
		p.lines[nc] = addr
	}
	p.mu.Unlock()
	if !held {
		return
	}
	go func() {
		p.copy(up, nc)
		up.Close()
	}()
	p.copy(nc, up)
	p.mu.Lock()
	delete(p.lines, nc)
	p.mu.Unlock()
}

// onTheWay is how many reads a slow line holds, one way.
const onTheWay = 4096

// copy carries bytes one way until either end closes. A delay does not make the line
// narrow: more is on the way then.
func (p *Proxy) copy(to, from net.Conn) {
	type segment struct {
		due time.Time
		b   []byte
	}
	line, done := make(chan segment, onTheWay), make(chan struct{})
	defer close(done)
	go func() {
		defer close(line)
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			p.bytes.Add(int64(n))
			p.segments.Add(1)
			select {
			case line <- segment{time.Now().Add(time.Duration(p.delay.Load())), bytes.Clone(b[:n])}:
			case <-done:
				return
			}
		}
	}()
	for s := range line {
		time.Sleep(time.Until(s.due))
		if !p.holds() {
			return
		}
		if _, err := to.Write(s.b); err != nil {
			return
		}
	}
}

// holds waits while the line is held, and reports whether it then still is there.
func (p *Proxy) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held && !p.cut {
		p.changed.Wait()
	}
	return !p.cut
}

// dial connects to the first backend that accepts, nil while the line is cut
// or if none does.
func (p *Proxy) dial() (net.Conn, string) {
	for _, addr := range p.backends {
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		if cut {
			break
		}
		if nc, err := net.DialTimeout("tcp", addr, dialLimit); err == nil {
			return nc, addr
		}
	}
	return nil, ""
}

// Cut breaks all connections, in the middle of whatever they carry, and
// refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.changed.Broadcast()
	for nc := range p.lines {
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as from a line that is gone
		}
		nc.Close()
	}
}

// Heal lets connections through again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// Hold stops carrying anything, without a sign to either end, until Release or Cut.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
}

// Release carries on.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.changed.Broadcast()
}

// Slow holds back whatever comes, each way, for d.
func (p *Proxy) Slow(d time.Duration) { p.delay.Store(int64(d)) }

// Traffic is how much has been carried so far, both ways: bytes inside of TCP, and
// how many reads they took, which is about how many packets the network had of them.
func (p *Proxy) Traffic() (bytes, segments int64) { return p.bytes.Load(), p.segments.Load() }

// Carried returns the backend of an open connection, "" if there is none.
func (p *Proxy) Carried() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range p.lines {
		return addr
	}
	return ""
}

// Close ends the listener and all connections.
func (p *Proxy) Close() {
	p.ln.Close()
	p.Cut()
}
