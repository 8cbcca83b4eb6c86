package transport

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// echoDatagrams sends back what comes.
type echoDatagrams struct{}

func (echoDatagrams) Datagram(ep Endpoint, from netip.AddrPort, b []byte) { ep.Send(b, from) }
func (echoDatagrams) Ended(Endpoint)                                      {}

// datagrams is a DatagramHandler made of functions.
type datagrams struct {
	datagram func(ep Endpoint, from netip.AddrPort, b []byte)
	ended    func(ep Endpoint)
}

func (h *datagrams) Datagram(ep Endpoint, from netip.AddrPort, b []byte) { h.datagram(ep, from, b) }
func (h *datagrams) Ended(ep Endpoint)                                   { h.ended(ep) }

func listenUDP(t testing.TB, addr string, h DatagramHandler) (*Transport, *UDP) {
	t.Helper()
	tr := New(Config{}, nil)
	u, err := tr.ListenUDP(addr, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr, u
}

func dialUDP(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(4 << 20)
	t.Cleanup(func() { c.Close() })
	return c
}

// wantDatagram reads one datagram, and waits for it as long as a loaded machine may take.
func wantDatagram(t testing.TB, what string, c net.Conn, want []byte) {
	t.Helper()
	b := make([]byte, MaxDatagram+1)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:n], want) {
		t.Fatalf("%s: %d bytes %.60q %v, want %d bytes %.60q", what, n, b[:n], err, len(want), want)
	}
}

func TestUDPEcho(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			_, u := listenUDP(t, addr, echoDatagrams{})
			if u.Wire() != "udp" || u.Peer() != (Identity{}) {
				t.Errorf("wire %q, peer %v", u.Wire(), u.Peer())
			}
			c := dialUDP(t, u.Addr())
			for _, n := range []int{0, 1, 1500, 2048, MaxDatagram} {
				p := noise(n)
				c.Write(p)
				wantDatagram(t, "echo", c, p)
			}
		})
	}
}

// One socket without a host serves both families, and tells IPv4 peers as such.
func TestUDPBothFamilies(t *testing.T) {
	from := make(chan netip.AddrPort, 1)
	_, u := listenUDP(t, ":0", &datagrams{datagram: func(ep Endpoint, a netip.AddrPort, b []byte) {
		from <- a
		ep.Send(b, a)
	}})
	for _, host := range []string{"127.0.0.1", "::1"} {
		c := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr(host), u.Addr().Port()))
		c.Write([]byte("hello"))
		wantDatagram(t, "echo", c, []byte("hello"))
		if a := <-from; a != c.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Errorf("from %v, want %v", a, c.LocalAddr())
		}
	}
}

// Many peers at once: each gets its own back, in the order it sent.
func TestUDPPeers(t *testing.T) {
	_, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	var wg sync.WaitGroup
	for peer := range 50 {
		c := dialUDP(t, u.Addr())
		wg.Go(func() {
			for i := range 100 {
				p := []byte{byte(peer), byte(i)}
				c.Write(p)
				b := make([]byte, 10)
				c.SetReadDeadline(time.Now().Add(30 * time.Second))
				if n, err := c.Read(b); err != nil || !bytes.Equal(b[:n], p) {
					t.Errorf("peer %d, datagram %d: %x %v", peer, i, b[:n], err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What other goroutines send needs no datagram to come first.
func TestUDPSendUnasked(t *testing.T) {
	_, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	c := dialUDP(t, u.Addr())
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	var want [256]bool
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() { u.Send([]byte{byte(i)}, to) })
	}
	wg.Wait()
	for range want {
		b := make([]byte, 10)
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := c.Read(b)
		if err != nil || n != 1 || want[b[0]] {
			t.Fatalf("%x %v", b[:n], err)
		}
		want[b[0]] = true
	}
}

// An address that nothing leads to costs its own datagram only.
func TestUDPNoWay(t *testing.T) {
	_, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	c := dialUDP(t, u.Addr())
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	u.mu.Lock()
	u.reading = true // so that all of it is one batch
	u.mu.Unlock()
	for _, bad := range []netip.AddrPort{{}, netip.AddrPortFrom(to.Addr(), 0), netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[fe80::1%nowhere]:1")} {
		u.Send([]byte("lost"), bad)
		u.Send([]byte("found"), to)
	}
	u.Send(make([]byte, MaxDatagram+1), to)
	u.flush()
	for range 4 {
		wantDatagram(t, "after a bad address", c, []byte("found"))
	}
	if n := u.Dropped(); n != 5 {
		t.Errorf("%d dropped, want 5", n)
	}
}

// What waits is bounded, and what is over the bound counted.
func TestUDPOutboxIsBounded(t *testing.T) {
	log := new(strings.Builder)
	tr := New(Config{Log: slog.New(slog.NewTextHandler(log, nil))}, nil)
	u, err := tr.ListenUDP("127.0.0.1:0", echoDatagrams{})
	if err != nil {
		t.Fatal(err)
	}
	c := dialUDP(t, u.Addr())
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	u.mu.Lock()
	u.sending = true // the socket is busy
	u.mu.Unlock()
	const sent = 2 * maxOutbox / (1000 + datagramCost)
	for range sent {
		u.Send(make([]byte, 1000), to)
	}
	u.mu.Lock()
	size, n := u.out.size(), len(u.out.letters)
	u.out.reset()
	if cap(u.out.b) > keptOutbox {
		t.Errorf("%d bytes are kept", cap(u.out.b))
	}
	u.sending = false
	u.mu.Unlock()
	if size > maxOutbox || size < maxOutbox-1000-datagramCost {
		t.Errorf("%d bytes wait, the bound is %d", size, maxOutbox)
	}
	if int(u.Dropped()) != sent-n {
		t.Errorf("%d dropped of %d, %d wait", u.Dropped(), sent, n)
	}
	u.Send([]byte("after"), to)
	wantDatagram(t, "after the flood", c, []byte("after"))
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), `msg="datagrams dropped" listener=`+u.Addr().String()+" count=") {
		t.Errorf("the log says %q", log)
	}
}

// StopAccepting leaves the socket; what was sent before Close leaves before the
// socket closes.
func TestUDPCloseSendsAll(t *testing.T) {
	tr, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	c := dialUDP(t, u.Addr())
	tr.StopAccepting()
	c.Write([]byte("still there"))
	wantDatagram(t, "after StopAccepting", c, []byte("still there"))
	u.Close()
	c.Write([]byte("and there"))
	wantDatagram(t, "after Close of the Endpoint", c, []byte("and there"))
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for range 100 {
		u.Send([]byte("goodbye"), to)
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		wantDatagram(t, "sent before Close", c, []byte("goodbye"))
	}
	before := u.Dropped()
	u.Send([]byte("too late"), to)
	if u.Dropped() != before+1 {
		t.Error("sent after Close, and not counted as dropped")
	}
	if _, err := tr.ListenUDP("127.0.0.1:0", echoDatagrams{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen after Close: %v", err)
	}
}

func TestListenUDPRefuses(t *testing.T) {
	tr, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	for _, addr := range []string{u.Addr().String(), "127.0.0.1", "nowhere.invalid:1"} {
		if _, err := tr.ListenUDP(addr, echoDatagrams{}); err == nil {
			t.Errorf("listens at %s", addr)
		}
	}
}
