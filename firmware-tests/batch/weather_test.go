package batch

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"strings"
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

// A server that knows nothing of batches carries them to a gateway that does.
func TestThroughAnotherServer(t *testing.T) {
	between, err := rig.StartMosquitto(t.TempDir())
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer between.Kill()
	center := startGateway(t, "SLUICE_BATCHES=true", "SLUICE_BRIDGE_0_URL=mqtt://"+between.Addr, "SLUICE_BRIDGE_0_CLIENT_ID=center", "SLUICE_BRIDGE_0_DOWN=site7/# 1")
	site := startGateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+between.Addr, "SLUICE_BRIDGE_0_CLIENT_ID=site",
		"SLUICE_BRIDGE_0_UP=sensors/# 1 batch=20ms", "SLUICE_BRIDGE_0_UP_PREFIX=site7/", "SLUICE_BRIDGE_0_BATCH_UNASKED=true")
	awaitBridge(t, center)
	awaitBridge(t, site)
	sub, pub := dial(t, center.Addr, "sub"), dial(t, site.Addr, "pub")
	sub.send((&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("#")}}}).Append(nil, codec.V5))
	sub.next()
	random, values := rand.New(rand.NewPCG(1, 1)), new([devices]float64)
	for i := range 100 {
		want := reading(random, i, values)
		pub.send(want.Append(nil, codec.V5))
		got, ok := sub.next().(*codec.Publish)
		if !ok || string(got.Topic) != "site7/"+string(want.Topic) || string(got.Payload) != string(want.Payload) {
			t.Fatalf("message %d is %+v, want %s", i, got, want.Payload)
		}
	}
}

func awaitBridge(t *testing.T, g *rig.Gateway) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(g.Log.String(), "bridge connected"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the bridge does not connect")
		}
	}
}
