package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

// Through a bridge, too, everything acknowledged arrives, in order, and at QoS 2
// once: the gateway is killed while its bridge is in the middle of handshakes, and
// the line is cut now and then. The upstream keeps its sessions.
func TestKilledBehindBridge(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./crash -run Bridge -kills=%d -seed=%d", *kills, *seed)
	random := rand.New(rand.NewPCG(*seed, 1))

	upstream, err := rig.StartMosquitto(t.TempDir(), "max_inflight_messages 0")
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer upstream.Kill()
	line, err := rig.NewProxy(upstream.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	gateway := startGateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2")

	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	defer players.Wait()
	defer cancel()
	center := &device.Consumer{Name: "center", Addr: upstream.Addr, Filter: "plant/#", Version: codec.V5, Ledger: &device.Ledger{}}
	players.Go(func() { center.Run(ctx) })
	<-center.Subscribed()
	fleet := device.Fleet(sensors, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = gateway.Addr, "plant", interval, window
		s.Ledgers = []*device.Ledger{center.Ledger}
	})
	for _, s := range fleet {
		players.Go(func() { s.Run(ctx) })
	}
	for kill := range *kills {
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		if kill%3 == 2 {
			line.Cut()
			line.Heal()
			time.Sleep(time.Duration(random.Int64N(int64(longest))))
		}
		gateway.Kill()
		if err := gateway.Start(); err != nil {
			t.Fatalf("kill %d: %v", kill+1, err)
		}
	}
	if err := device.Drain(ctx, drainLimit, fleet, center.Ledger); err != nil {
		t.Error(err)
	}
	time.Sleep(200 * time.Millisecond) // for duplicates to show themselves
	cancel()
	players.Wait()
	judge(t, fleet, center)
}
