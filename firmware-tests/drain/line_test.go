package drain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/firmware-tests/plant"
)

// With an upstream that costs nothing, what the bridge itself can do is seen.
func TestDrainAlone(t *testing.T) {
	upstream := freeAddr(t)
	g := startGateway(t, upstream)
	fill(t, g.Addr, *messages, payload, together)
	before := readUsage(t, g.PID())
	took := startSink(t, upstream).await(t, *messages)
	tell(t, "messages a second to an upstream that costs nothing", "%.0f", float64(*messages)/took.Seconds())
	tell(t, "CPU us per message", "%.2f", micros(readUsage(t, g.PID()).cpu-before.cpu)/float64(*messages))
}

// A line with a long round trip carries a window of messages in each.
func TestRoundTrip(t *testing.T) {
	t.Parallel() // waits most of the time, as TestIdle does
	const (
		trip  = 100 * time.Millisecond
		trips = 40
	)
	sink := startSink(t, "127.0.0.1:0")
	line := plant.Line(t, sink.addr)
	line.Slow(trip / 2)
	line.Cut()
	g := startGateway(t, line.Addr, fmt.Sprint("SLUICE_BRIDGE_0_MAX_INFLIGHT=", window))
	fill(t, g.Addr, window*trips, payload, together)
	line.Heal()
	took := sink.await(t, window*trips)
	// The first window has come when the clock begins.
	all := share((trips-1)*trip, took)
	each := sink.rounds(window)
	slices.Sort(each)
	quick := share(trip, each[len(each)/4])
	t.Logf("%d messages in %v: %.1f %% of what a window of %d in %v allows, %.1f %% in the quicker quarter of the round trips, %.1f %% in the middle",
		window*trips, took.Round(time.Millisecond), all, window, trip, quick, share(trip, each[len(each)/2]))
	tell(t, fmt.Sprintf("%% of what a window of %d in a round trip of %v allows", window, trip), "%.1f", quick)
	// The others may be those in which the machine had other things to do; in a run beside
	// other tests all may be. The bridge's own tests have a clock of their own.
	if quick < 50 || full() && quick < 95 {
		t.Errorf("%.1f %% of what the window allows", quick)
	}
}

// share is in percent.
func share(possible, took time.Duration) float64 { return 100 * possible.Seconds() / took.Seconds() }

// An idle bridge wakes for its keep-alive only.
func TestIdle(t *testing.T) {
	t.Parallel()
	const idle = 10 * time.Second
	sink := startSink(t, "127.0.0.1:0")
	g := startGateway(t, sink.addr)
	fill(t, g.Addr, 1000, payload, together)
	sink.await(t, 1000)
	var woke int64
	for range 6 { // at first what was done goes off the disk, and memory back to the system
		before := readUsage(t, g.PID())
		time.Sleep(idle)
		after := readUsage(t, g.PID())
		woke = after.woke - before.woke
		t.Logf("in %v its threads woke %d times and used %v of CPU", idle, woke, after.cpu-before.cpu)
		if woke <= 20 {
			tell(t, fmt.Sprintf("wake-ups of an idle bridge in %v", idle), "%d", woke)
			return
		}
	}
	t.Errorf("its threads wake %d times in %v", woke, idle)
}
