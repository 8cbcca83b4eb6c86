package rig

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Radio is a network for datagrams as bad as a radio link: it loses some, doubles
// some, and brings some late, behind those that were sent after them. Devices send to
// Addr; each has a line of its own to the backend, which knows it by the line's
// address, as behind a router.
//
// What happens to the nth datagram of a line, each way, depends on Seed alone.
type Radio struct {
	// Set by the caller before Open.
	Backend string        // host:port
	Seed    uint64        // of the dice
	Lost    float64       // share of datagrams, 0 to 1
	Doubled float64       // of what is not lost
	Late    float64       // of what is not lost
	Delay   time.Duration // of those that are late

	// Heard sees each datagram before anything happens to it, if it is not nil. It is
	// called by several goroutines.
	Heard func(from, to netip.AddrPort, b []byte)

	// Set by Open.
	Addr string
	conn *net.UDPConn

	// How many datagrams had this fate.
	Losses, Doubles, Delays atomic.Int64

	mu    sync.Mutex
	lines map[netip.AddrPort]*net.UDPConn // by the device
}

// Open listens on a free port of 127.0.0.1.
func (r *Radio) Open() (err error) {
	r.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	r.Addr = r.conn.LocalAddr().String()
	r.lines = make(map[netip.AddrPort]*net.UDPConn)
	go r.up()
	return nil
}

// Close ends all lines.
func (r *Radio) Close() {
	r.conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		line.Close()
	}
}

// up carries what devices send.
func (r *Radio) up() {
	dice := make(map[netip.AddrPort]*rand.Rand)
	b := make([]byte, 1<<16)
	for {
		n, device, err := r.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		line, err := r.line(device)
		if err != nil {
			return // closed, or the system has no more sockets
		}
		if dice[device] == nil {
			dice[device] = r.dice(2 * len(dice))
		}
		r.hear(device, addrOf(line.RemoteAddr()), b[:n])
		r.pass(dice[device], b[:n], func(b []byte) { line.Write(b) })
	}
}

// line is the device's line to the backend, a new one for a new device.
func (r *Radio) line(device netip.AddrPort) (*net.UDPConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line := r.lines[device]; line != nil {
		return line, nil
	}
	nc, err := net.Dial("udp4", r.Backend)
	if err != nil {
		return nil, err
	}
	line := nc.(*net.UDPConn)
	dice := r.dice(2*len(r.lines) + 1)
	r.lines[device] = line
	go r.down(line, device, dice)
	return line, nil
}

// down carries what the backend sends to a device.
func (r *Radio) down(line *net.UDPConn, device netip.AddrPort, dice *rand.Rand) {
	b := make([]byte, 1<<16)
	for {
		n, err := line.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // nobody listens there now
		}
		r.hear(addrOf(line.RemoteAddr()), device, b[:n])
		r.pass(dice, b[:n], func(b []byte) { r.conn.WriteToUDPAddrPort(b, device) })
	}
}

func (r *Radio) dice(n int) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, uint64(n))) }

func (r *Radio) hear(from, to netip.AddrPort, b []byte) {
	if r.Heard != nil {
		r.Heard(from, to, b)
	}
}

// pass sends b, or not, or twice, or late, as the dice fall. They are thrown equally
// often for each.
func (r *Radio) pass(dice *rand.Rand, b []byte, send func([]byte)) {
	lost, doubled, late := dice.Float64() < r.Lost, dice.Float64() < r.Doubled, dice.Float64() < r.Late
	if lost {
		r.Losses.Add(1)
		return
	}
	if late {
		r.Delays.Add(1)
		b := bytes.Clone(b)
		time.AfterFunc(r.Delay, func() { send(b) })
	} else {
		send(b)
	}
	if doubled {
		r.Doubles.Add(1)
		send(b)
	}
}

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.UDPAddr).AddrPort() }
