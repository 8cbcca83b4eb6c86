package transport

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// What comes is handed on, and what is sent leaves, without an allocation.
func TestUDPAllocs(t *testing.T) {
	_, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	c := dialUDP(t, u.Addr())
	b, answer := make([]byte, 64), make([]byte, 65)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for what, f := range map[string]func(){
		"an echo":        func() { c.Write(b); c.Read(answer) },
		"a lone message": func() { u.Send(b, to); c.Read(answer) },
	} {
		if n := testing.AllocsPerRun(200, f); n >= 1 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// A group is joined, sent to, and joined again. On the loopback interface
// only: nothing of it leaves the machine.
func TestUDPGroup(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	for _, x := range []struct{ listen, group string }{
		{"0.0.0.0:0", "239.255.77.1"},
		{":0", "239.255.77.2"},
	} {
		t.Run(x.group, func(t *testing.T) {
			group := netip.MustParseAddr(x.group)
			from := make(chan netip.AddrPort, 10)
			_, u := listenUDP(t, x.listen, &datagrams{datagram: func(ep Endpoint, a netip.AddrPort, b []byte) {
				from <- a
				if string(b) == "who is there?" {
					ep.Send([]byte("I am"), a)
				}
			}})
			for range 2 {
				if err := u.joinOn(group, lo.Index); err != nil {
					t.Fatal(err)
				}
			}
			u.groups = map[netip.Addr][]int{group: {lo.Index}}
			to := netip.AddrPortFrom(group, u.Addr().Port())

			_, client := listenUDP(t, x.listen, &datagrams{datagram: func(_ Endpoint, a netip.AddrPort, b []byte) {
				if string(b) != "I am" {
					t.Errorf("answer %q", b)
				}
				from <- a
			}})
			client.groups = u.groups
			client.Send([]byte("who is there?"), to)
			a, b := <-from, <-from
			if a.Addr().Unmap() != a.Addr() || a.Port() != client.Addr().Port() || b.Port() != u.Addr().Port() {
				t.Errorf("asked from %v, answered from %v; want ports %d and %d", a, b, client.Addr().Port(), u.Addr().Port())
			}
			u.Send([]byte("advertised"), to)
			if a := <-from; a.Port() != u.Addr().Port() {
				t.Errorf("from %v", a)
			}
		})
	}
}

func TestJoinGroupRefuses(t *testing.T) {
	_, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	if err := u.JoinGroup(netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("joined what is no group")
	}
	// An IPv4 socket, and a group of IPv6: no interface can.
	if err := u.JoinGroup(netip.MustParseAddr("ff02::7701")); err == nil {
		t.Error("joined what the socket cannot hear")
	}
}

// A socket that takes no more is waited for by the writing goroutine, and in
// the end everything has left in order.
func TestUDPBlocked(t *testing.T) {
	tr, u := listenUDP(t, "127.0.0.1:0", echoDatagrams{})
	c := dialUDP(t, u.Addr())
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	until := u.writer.until
	held := make(chan struct{})
	u.mu.Lock()
	u.writer.until = func(fd uintptr) bool { // as the runtime calls it when the socket takes some again
		<-held
		return until(fd)
	}
	u.writer.now = func(uintptr) bool {
		u.writer.done = false
		return true
	}
	u.reading = true
	u.mu.Unlock()
	u.Send([]byte{0}, to)
	u.flush()
	for i := 1; i < 100; i++ {
		u.Send([]byte{byte(i)}, to)
	}
	close(held)
	for i := range 100 {
		wantDatagram(t, "in order", c, []byte{byte(i)})
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
