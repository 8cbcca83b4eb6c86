package batch

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

var (
	breaks = flag.Int("breaks", 9, "how often something is cut or killed")
	seed   = flag.Uint64("seed", 0, "of the moments; 0 for a new one, which is printed")
)

const (
	sensors    = 16
	interval   = 3 * time.Millisecond // between two messages of a sensor
	window     = 100                  // unfinished messages of a sensor
	longest    = 600 * time.Millisecond
	drainLimit = time.Minute
)

func startGateway(t *testing.T, settings ...string) *rig.Gateway {
	t.Helper()
	g, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), settings...)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Logf("a gateway's last lines:\n%s", g.Log.Tail(30))
		}
	})
	return g
}

// Everything acknowledged arrives, in order, and at QoS 2 once, while the line is cut
// and both gateways are killed with batches half made and under way.
func TestNothingIsLost(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./batch -run Lost -breaks=%d -seed=%d", *breaks, *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	center := startGateway(t, "SLUICE_BATCHES=true")
	line, err := rig.NewProxy(center.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	site := startGateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2 batch=50ms")

	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	defer players.Wait()
	defer cancel()
	consumer := &device.Consumer{Name: "center", Addr: center.Addr, Filter: "plant/#", Version: codec.V5, Ledger: &device.Ledger{}}
	players.Go(func() { consumer.Run(ctx) })
	<-consumer.Subscribed()
	fleet := device.Fleet(sensors, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = site.Addr, "plant", interval, window
		s.Ledgers = []*device.Ledger{consumer.Ledger}
	})
	for _, s := range fleet {
		players.Go(func() { s.Run(ctx) })
	}
	for n := range *breaks {
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		switch n % 3 {
		case 0:
			line.Cut()
			line.Heal()
		case 1:
			restart(t, site)
		case 2:
			restart(t, center)
		}
	}
	if err := device.Drain(ctx, drainLimit, fleet, consumer.Ledger); err != nil {
		t.Error(err)
	}
	time.Sleep(200 * time.Millisecond) // for duplicates to show themselves
	cancel()
	players.Wait()
	for qos := byte(1); qos <= 2; qos++ {
		count := consumer.Ledger.Count(qos)
		t.Logf("QoS %d: %s", qos, count)
		if err := count.Broken(qos); err != nil {
			t.Error(err)
		}
	}
}

func restart(t *testing.T, g *rig.Gateway) {
	t.Helper()
	g.Kill()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
}
