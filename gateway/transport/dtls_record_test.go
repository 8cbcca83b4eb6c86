package transport

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// What may be believed of a peer, by type and epoch, at each stage of its handshake.
func TestHeed(t *testing.T) {
	for _, x := range []struct {
		what string
		heed heed
		want string // epoch and type of what passes
	}{
		{"a stranger", heedStranger, "0/20 0/21 0/22 1/21 1/22 1/23"},
		{"a proven address", heedProven, "0/20 0/21 0/22 1/21 1/22 1/23"},
		{"a handshake that is over here", heedOver, "0/20 0/22 1/21 1/22 1/23"},
		{"a session", heedConfirmed, "1/21 1/23"},
	} {
		var all, want []byte
		for epoch := range uint16(4) {
			for typ := range 256 {
				r := rawRecord(byte(typ), epoch, 1, []byte{1, 0})
				all = append(all, r...)
				if bytes.Contains([]byte(" "+x.want+" "), []byte(" "+string(rune('0'+epoch))+"/"+strconv.Itoa(typ)+" ")) {
					want = append(want, r...)
				}
			}
		}
		h := x.heed
		if got := h.pass(make([]byte, 0, len(all)), all); !bytes.Equal(got, want) {
			t.Errorf("%s: %x passes, want %x", x.what, got, want)
		}
	}
}

// Handshakes are bounded in messages and in bytes, and what is cut off at the
// end of a datagram is nothing.
func TestHeedIsBounded(t *testing.T) {
	for _, size := range []int{1, 2000} {
		h := heedStranger
		messages, n := 0, 0
		for range 1000 {
			r := rawRecord(contentHandshake, 0, 1, make([]byte, size))
			got := h.pass(nil, append(r[:len(r):len(r)], r[:len(r)-1]...))
			if len(got) != 0 && !bytes.Equal(got, r) {
				t.Fatalf("%x passes", got)
			}
			messages += len(got) / len(r)
			n += len(got)
		}
		if messages > heedStranger.messages || n > heedStranger.bytes || messages == 0 {
			t.Errorf("%d messages of %d bytes pass, %d bytes", messages, size, n)
		}
	}
}

func TestFirstHello(t *testing.T) {
	good := hello(9, nil)
	if !bytes.Equal(firstHello(good), bytes.Repeat([]byte{9}, randomSize)) {
		t.Error("a hello is none")
	}
	for n := range recordHeader + handshakeHeader + randomOffset + randomSize {
		if firstHello(good[:n]) != nil {
			t.Errorf("the first %d bytes of a hello are one", n)
		}
	}
	for at, b := range map[int]byte{
		0: contentAlert, 1: 3, 4: 1, // type, version, epoch
		13: serverHello, 18: 1, 21: 1, // type, number, offset
	} {
		other := bytes.Clone(good)
		other[at] = b
		if firstHello(other) != nil {
			t.Errorf("with %d at %d it is a hello as well", b, at)
		}
	}
}

// Whatever comes, in the name of a device too, its session goes on.
func FuzzDTLSDatagram(f *testing.F) {
	h := newSessions(f)
	_, l := listenDTLS(f, DTLSConfig{Key: testKey, CCM8: true}, h)
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.u.Addr()))
	if err != nil {
		f.Fatal(err)
	}
	defer udp.Close()
	conf := psk("device")
	c, err := conf.handshake(f.Context(), udp)
	if err != nil {
		f.Fatal(err)
	}
	wantEcho(f, c, "hello")
	device := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	f.Add([]byte{0}, hello(1, nil), []byte{})
	f.Add([]byte{1}, hello(1, make([]byte, 32)), rawRecord(contentAlert, 0, 1, []byte{2, 0}))
	f.Add([]byte{0}, hello(1, nil), rawRecord(contentHandshake, 0, 1, append([]byte{16, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2}, 0, 0)))
	f.Fuzz(func(t *testing.T, who, first, second []byte) {
		from := device
		if len(who) > 0 && who[0] > 0 {
			from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, who[0], 1}), 9)
		}
		for _, b := range [][]byte{first, second} {
			if firstHello(b) != nil && len(b) < recordHeader {
				t.Error("a hello in no record")
			}
			passed := (&heed{}).pass(make([]byte, 0, len(b)), b)
			for rs := dtlsRecords(passed); len(rs) > 0; {
				if r := rs.next(); r == nil || epoch(r) != 1 {
					t.Fatalf("%x passes", passed)
				}
			}
			chosenSuite(b)
			l.Datagram(nil, from, b)
		}
		question := first[:min(len(first), maxDTLSPayload)]
		if _, err := c.Write(question); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, maxDTLSDatagram)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.Read(answer)
		c.SetReadDeadline(time.Time{})
		if err != nil || !bytes.Equal(answer[:n], question) {
			t.Fatalf("the session: %x %v", answer[:n], err)
		}
	})
}
