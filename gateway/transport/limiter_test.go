package transport

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	l := NewLimiter(10, 3)
	allowed := func(addr string, now time.Duration, want int) {
		t.Helper()
		n := 0
		for range 100 {
			if l.Allow(netip.MustParseAddr(addr), now) {
				n++
			}
		}
		if n != want {
			t.Errorf("%s at %v: %d allowed, want %d", addr, now, n, want)
		}
	}
	allowed("10.0.0.1", 0, 3)
	allowed("10.0.0.200", 0, 0) // the same network
	allowed("::ffff:10.0.0.1", 0, 0)
	allowed("10.0.0.1", 200*time.Millisecond, 2)
	allowed("10.0.0.1", time.Hour, 3)
	l.Refund(netip.MustParseAddr("10.0.0.77"))
	allowed("10.0.0.1", time.Hour, 1)

	l = NewLimiter(10, 3)
	allowed("2001:db8::1", 0, 3)
	allowed("2001:db8::ffff:0:0:1", 0, 0)

	apart := 0 // some may meet in a bucket
	for i := range 100 {
		if l.Allow(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 0) {
			apart++
		}
	}
	if apart < 90 {
		t.Errorf("%d of 100 networks have buckets of their own", apart)
	}
	if n := testing.AllocsPerRun(100, func() { l.Allow(netip.MustParseAddr("10.9.9.9"), 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
