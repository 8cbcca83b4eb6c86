package start

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

const (
	starts      = 5
	queued      = 100_000
	emptyGoal   = 100 * time.Millisecond
	queuedGoal  = time.Second
	sizeGoal    = 12 << 20 // bytes, stripped
	gross       = 5        // times a goal: the machine is no excuse any more
	answerLimit = time.Minute
)

func TestStartWithEmptyStore(t *testing.T) {
	g := newGateway(t)
	measure(t, g, emptyGoal)
}

func TestStartWithQueuedMessages(t *testing.T) {
	g := newGateway(t)
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	fill(t, g)
	g.Kill()
	if info, err := os.Stat(g.Dir); err != nil || !info.IsDir() {
		t.Fatalf("no data in %s: %v", g.Dir, err)
	}
	measure(t, g, queuedGoal)
	drain(t, g)
}

func TestBinarySize(t *testing.T) {
	path, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.2f MiB stripped; goal: under %d MiB", float64(info.Size())/(1<<20), sizeGoal>>20)
	if info.Size() >= sizeGoal {
		t.Errorf("the binary has %d bytes", info.Size())
	}
}

func newGateway(t *testing.T) *rig.Gateway {
	t.Helper()
	g, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), "SLUICE_LOG_LEVEL=warn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.Process != nil {
			g.Kill()
		}
	})
	return g
}

// measure starts and kills the gateway several times, and takes the time from the
// start of the process to the first CONNACK.
func measure(t *testing.T, g *rig.Gateway, goal time.Duration) {
	t.Helper()
	var times []time.Duration
	for range starts {
		begun := time.Now()
		if err := g.Launch(); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := device.Visit(g.Addr, "first", codec.V311); err == nil {
				break
			}
			if time.Since(begun) > answerLimit {
				t.Fatalf("no answer after %s\n%s", answerLimit, g.Log.Tail(20))
			}
			time.Sleep(200 * time.Microsecond)
		}
		times = append(times, time.Since(begun))
		g.Kill()
	}
	slices.Sort(times)
	median := times[len(times)/2]
	t.Logf("median %s, from %s to %s; goal: under %s", median.Round(time.Microsecond),
		times[0].Round(time.Microsecond), times[len(times)-1].Round(time.Microsecond), goal)
	if median > gross*goal {
		t.Errorf("the median is %s", median)
	}
}

const sleeper = "sleeper"

// fill leaves messages waiting for a session whose client is away.
func fill(t *testing.T, g *rig.Gateway) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	defer players.Wait()
	defer cancel()
	c := &device.Consumer{Name: sleeper, Addr: g.Addr, Filter: "plant/#", Version: codec.V311, Ledger: &device.Ledger{}}
	visit, leave := context.WithCancel(ctx)
	players.Go(func() { c.Run(visit) })
	<-c.Subscribed()
	leave()
	fleet := device.Fleet(10, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Window = g.Addr, "plant", 200
	})
	for _, s := range fleet {
		players.Go(func() { s.Run(ctx) })
	}
	acked := func() (sum int64) {
		for _, s := range fleet {
			sum += s.Acked.Load()
		}
		return sum
	}
	for deadline := time.Now().Add(time.Minute); acked() < queued; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages acknowledged after a minute", acked(), queued)
		}
	}
	t.Logf("%d messages wait", acked())
}

// drain proves that the messages were there.
func drain(t *testing.T, g *rig.Gateway) {
	t.Helper()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &device.Consumer{Name: sleeper, Addr: g.Addr, Filter: "plant/#", Version: codec.V311, Ledger: &device.Ledger{}}
	var players sync.WaitGroup
	players.Go(func() { c.Run(ctx) })
	for c.Arrivals.Load() < queued && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	players.Wait()
	if got := c.Arrivals.Load(); got < queued {
		t.Errorf("%d of %d messages arrived", got, queued)
	}
}
