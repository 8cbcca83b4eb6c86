package crash

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
	kills = flag.Int("kills", 10, "how often the gateway is killed")
	seed  = flag.Uint64("seed", 0, "of the moments of the kills; 0 for a new one, which is printed")
)

const (
	sensors    = 16
	interval   = 4 * time.Millisecond // between two messages of a sensor
	window     = 40                   // unfinished messages of a sensor
	longest    = 900 * time.Millisecond
	visitEvery = 5 // kills between two visits of the consumer that is mostly away
	drainLimit = 30 * time.Second
)

// The consumers. Sessions of both versions are to survive.
func consumers(addr string) (online, offline *device.Consumer) {
	online = &device.Consumer{Name: "online", Addr: addr, Filter: "plant/#", Version: codec.V5, Ledger: &device.Ledger{}}
	offline = &device.Consumer{Name: "offline", Addr: addr, Filter: "plant/#", Version: codec.V311, Ledger: &device.Ledger{}}
	return online, offline
}

func TestKilledUnderLoad(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./crash -kills=%d -seed=%d", *kills, *seed)
	random := rand.New(rand.NewPCG(*seed, 0))

	gateway := startGateway(t)

	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	defer players.Wait()
	defer cancel()
	online, offline := consumers(gateway.Addr)
	players.Go(func() { online.Run(ctx) })
	<-online.Subscribed()
	leave := visit(ctx, offline)
	<-offline.Subscribed()
	leave()
	fleet := device.Fleet(sensors, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = gateway.Addr, "plant", interval, window
		s.Ledgers = []*device.Ledger{online.Ledger, offline.Ledger}
	})
	for _, s := range fleet {
		players.Go(func() { s.Run(ctx) })
	}

	for kill := range *kills {
		if err := killOnce(ctx, gateway, offline, kill, random); err != nil {
			t.Fatalf("kill %d: %v", kill+1, err)
		}
	}

	leave = visit(ctx, offline)
	if err := device.Drain(ctx, drainLimit, fleet, online.Ledger, offline.Ledger); err != nil {
		t.Error(err)
	}
	time.Sleep(200 * time.Millisecond) // for duplicates to show themselves
	leave()
	cancel()
	players.Wait()
	judge(t, fleet, online, offline)
}

// killOnce lets the gateway work for a random time and kills it. Every fourth
// time it is killed while it starts.
func killOnce(ctx context.Context, gateway *rig.Gateway, offline *device.Consumer, kill int, random *rand.Rand) error {
	alive := time.Duration(random.Int64N(int64(longest)))
	early := time.Duration(random.Int64N(int64(30 * time.Millisecond)))
	var leave func()
	if kill%visitEvery == visitEvery-1 {
		leave = visit(ctx, offline)
	}
	time.Sleep(alive)
	gateway.Kill()
	if leave != nil {
		leave()
	}
	if kill%4 == 3 {
		if err := gateway.Launch(); err != nil {
			return err
		}
		time.Sleep(early)
		gateway.Kill()
	}
	return gateway.Start()
}

// visit lets a consumer come. It is gone when leave returns.
func visit(ctx context.Context, c *device.Consumer) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var visit sync.WaitGroup
	visit.Go(func() { c.Run(ctx) })
	return func() {
		cancel()
		visit.Wait()
	}
}

func judge(t *testing.T, fleet []*device.Sensor, consumers ...*device.Consumer) {
	for _, c := range consumers {
		for qos := byte(1); qos <= 2; qos++ {
			count := c.Ledger.Count(qos)
			t.Logf("%-8s QoS %d: %s", c.Name, qos, count)
			if err := count.Broken(qos); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if count.Acknowledged < *kills*sensors {
				t.Errorf("%s: too little load to show anything", c.Name)
			}
		}
		if lost := c.LostSessions.Load(); lost > 0 {
			t.Errorf("%s: its session was lost %d times", c.Name, lost)
		}
	}
	for _, s := range fleet {
		if lost := s.LostSessions.Load(); lost > 0 {
			t.Errorf("sensor %d: its session was lost %d times", s.Source.Sensor, lost)
		}
	}
}

// startGateway starts a gateway that ends with the test, which shows its last lines if it fails.
func startGateway(t *testing.T, settings ...string) *rig.Gateway {
	t.Helper()
	gateway, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gateway.Kill()
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", gateway.Log.Tail(40))
		}
	})
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	return gateway
}
