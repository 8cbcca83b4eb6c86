package drain

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// Without a bound the bridge finds a window that fills the line.
func TestWindowFillsALongLine(t *testing.T) {
	const trip = 100 * time.Millisecond
	m := plant.Mosquitto(t, "max_inflight_messages 0") // which grants all there are
	line := plant.Line(t, m.Addr)
	line.Slow(trip / 2)
	line.Cut()
	g := startGateway(t, line.Addr)
	fill(t, g.Addr, *messages, payload, together)
	drained := watch(t, m.Addr, codec.V5)
	line.Heal()
	took := drained()
	fixed := time.Duration(*messages/window) * trip
	t.Logf("%d messages in %v: %.0f messages/s, %.1f times what a window of %d allows", *messages, took.Round(time.Millisecond),
		float64(*messages)/took.Seconds(), fixed.Seconds()/took.Seconds(), window)
	tell(t, fmt.Sprintf("messages a second over a line with a round trip of %v", trip), "%.0f", float64(*messages)/took.Seconds())
	if took > fixed/2 { // a fifth of it, with a machine of its own
		t.Errorf("%v, want no more than %v", took, fixed/2)
	}
}

// What a slow upstream would only let wait stays in the gateway.
func TestWindowSparesASlowUpstream(t *testing.T) {
	const (
		each  = 10 * time.Millisecond
		n     = 1000
		first = 100 // the window to begin with
	)
	sink := startSlowSink(t, freeAddr(t), each)
	g := startGateway(t, sink.addr)
	begun := time.Now()
	fill(t, g.Addr, n, payload, together)
	var waiting []int64
	for done := int64(0); done < n; {
		time.Sleep(each)
		done = sink.acked.Load()
		if done > n/2 && done < n-first {
			waiting = append(waiting, sink.messages.Load()-done)
		}
	}
	took := time.Since(begun)
	slices.Sort(waiting)
	usual := waiting[len(waiting)/2]
	t.Logf("%d messages of %v each in %v, mostly with %d of them at the upstream", n, each, took.Round(time.Millisecond), usual)
	if usual > first/2 {
		t.Errorf("%d messages are at the upstream", usual)
	}
}

// alarm is a topic of which nothing waits.
const alarm = "backlog/alarm"

// Live data is behind what is at a slow upstream, and before all that still waits.
func TestLiveWaitsLittleForASlowUpstream(t *testing.T) {
	const (
		each = 10 * time.Millisecond
		n    = 1000
	)
	addr := freeAddr(t)
	g := startGateway(t, addr, "SLUICE_BRIDGE_0_LIVE_FIRST=true")
	fill(t, g.Addr, n, payload, together)
	sink := startSlowSink(t, addr, each)
	for sink.acked.Load() < n/2 {
		time.Sleep(each)
	}
	c := connect(t, g.Addr, "device")
	defer c.close()
	begun, before := time.Now(), sink.messages.Load()
	c.write(t, (&codec.Publish{ID: 1, Message: codec.Message{Topic: []byte(alarm), QoS: 1}}).Append(nil, codec.V5))
	for sink.alarmed.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	behind := sink.alarmed.Load() - before
	t.Logf("%d of %d are there, %d more come before the alarm, which is there after %v", before, n, behind-1, time.Since(begun))
	if behind > 100 {
		t.Errorf("%d messages come before the alarm", behind-1)
	}
}

// Mosquitto comes to a standstill with more QoS 2 messages under way than its window has
// room for, which a client of 3.1.1 is not told.
func TestWindowThatMosquittoDoesNotTell(t *testing.T) {
	const n = 3000
	addr := freeAddr(t)
	g := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+addr, "SLUICE_BRIDGE_0_UP=backlog/#", "SLUICE_BRIDGE_0_VERSION=3.1.1", "SLUICE_STORE_SYNC=never")
	fillTwo(t, g.Addr, n)
	m, err := rig.StartMosquittoAt(addr, t.TempDir())
	plant.Need(t, err)
	defer m.Kill()
	c := connect(t, addr, "watcher")
	c.write(t, (&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("backlog/#")}}}).Append(nil, codec.V5))
	came := map[string]bool{}
	for len(came) < n {
		if p, ok := c.next(t).(*codec.Publish); ok {
			if came[string(p.Payload)] {
				t.Fatalf("%s comes twice", p.Payload)
			}
			came[string(p.Payload)] = true
			if string(p.Topic) == last && len(came) < n {
				t.Fatalf("with the last message %d of %d have come", len(came), n)
			}
		}
	}
}

// fillTwo publishes n messages at QoS 2.
func fillTwo(t *testing.T, addr string, n int) {
	t.Helper()
	c := connect(t, addr, "filler")
	defer c.close()
	for sent, done, out := 0, 0, []byte(nil); done < n; {
		for ; sent < n && sent-done < together; sent++ {
			out = appendMessage(out, 2, sent, n, payload)
		}
		if len(out) > 0 {
			c.write(t, out)
			out = out[:0]
		}
		for first := true; first || c.has(); first = false {
			switch p := c.next(t).(type) {
			case *codec.Pubrec:
				out = (&codec.Pubrel{ID: p.ID}).Append(out, codec.V5)
			case *codec.Pubcomp:
				done++
			}
		}
	}
}
