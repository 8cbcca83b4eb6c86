package gateway

import (
	"fmt"
	"testing"

	"sluice/codec"
)

// What an idle connection takes does not grow with their number: at 100,000 of them it is
// what it is at 10,000. Each is a connection, a session and a subscription of its own. Here
// they come from inside the process, as nobody may have so many descriptors: in memory they
// are no smaller than those on a socket, see TestConnIsSmall in transport.
func TestIdleConnectionsAllocateLittle(t *testing.T) {
	const (
		most  = 1200 // bytes of heap: 120 MB for 100,000
		slack = 1.1  // maps and slices grow in steps
	)
	if raced() {
		t.Skip("built with the race detector: it takes half a minute then")
	}
	b := newBench(t, 0)
	n := 0
	take := func(until int) (each float64) {
		before, from := heapInUse(), n
		for ; n < until; n++ {
			line := b.tr.Dial()
			e := &endpoint{from: line, to: line, version: codec.V311, in: make([]byte, 16)}
			e.send(&codec.Connect{Version: codec.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "device%06d", n)})
			e.read(4)
			e.subscribe(fmt.Sprintf("plant/device%06d/set", n), 1)
		}
		return (float64(heapInUse()) - float64(before)) / float64(n-from)
	}
	few := take(10_000) // what other tests have left is little beside that
	many := take(100_000)
	t.Logf("bytes of heap for each: %.0f of the first 10,000, %.0f from there to 100,000", few, many)
	if many > most || many > slack*few {
		t.Errorf("%.0f bytes for each of 100,000 connections, want %d at most, and %.1f times the %.0f of the first 10,000", many, most, slack, few)
	}
}
