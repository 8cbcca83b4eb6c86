package live

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

var rounds = flag.Int("rounds", 9, "how often the line is cut or the gateway killed")

const (
	interval   = 5 * time.Millisecond // between two messages of a sensor
	window     = 40                   // unfinished messages of a sensor
	longest    = 700 * time.Millisecond
	drainLimit = 40 * time.Second
)

// A yard has sensors that wait for the word of an upstream behind a line, and a center
// there that notes what comes.
type yard struct {
	*plant.Players
	gateway *rig.Gateway
	line    *rig.Proxy
	center  *device.Consumer
}

func newYard(t *testing.T) *yard {
	upstream := plant.Mosquitto(t, "max_inflight_messages 0")
	y := &yard{line: plant.Line(t, upstream.Addr)}
	y.gateway = plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+y.line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2 ack=upstream")
	y.Players = plant.NewPlayers(t)
	y.center = y.Consumer("center", upstream.Addr, "plant/#", codec.V5)
	y.Fleet(8, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = y.gateway.Addr, "plant", interval, window
	})
	return y
}

// settled is how many messages the sensors have acknowledged once what the upstream has
// acknowledged has arrived.
func (y *yard) settled() int64 {
	for n := y.Acknowledged(); ; {
		time.Sleep(300 * time.Millisecond)
		now := y.Acknowledged()
		if now == n {
			return n
		}
		n = now
	}
}

// moves waits until the sensors have more messages acknowledged.
func (y *yard) moves(t *testing.T, n int64) {
	t.Helper()
	want := y.Acknowledged() + n
	plant.Await(t, func() string {
		if y.Acknowledged() < want {
			return "nothing is acknowledged"
		}
		return ""
	})
}

// With the line cut nothing is acknowledged, whether the gateway is killed meanwhile or not;
// and all the rest is as ever: nothing is lost, all is in order and at QoS 2 comes once.
func TestWaitsForUpstream(t *testing.T) {
	random := rand.New(rand.NewPCG(plant.Seed(t), 2))
	y := newYard(t)
	for round := range *rounds {
		y.moves(t, 10)
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		if round%3 < 2 {
			y.line.Cut()
			before := y.settled()
			if round%3 == 1 {
				plant.Restart(t, y.gateway)
			}
			time.Sleep(time.Duration(random.Int64N(int64(longest))))
			if n := y.Acknowledged() - before; n > 0 {
				t.Errorf("round %d: %d messages are acknowledged with the line cut", round, n)
			}
			y.line.Heal()
			continue
		}
		plant.Restart(t, y.gateway)
	}
	y.Settle(drainLimit)
	y.Judge()
}

// What is acknowledged has left the site: its disk may burn.
func TestAcknowledgedOutlivesDisk(t *testing.T) {
	y := newYard(t)
	for _, cut := range []bool{false, true} {
		y.moves(t, 100)
		if cut {
			y.line.Cut()
			time.Sleep(100 * time.Millisecond)
		}
		y.gateway.Kill()
		if err := os.RemoveAll(y.gateway.Dir); err != nil {
			t.Fatal(err)
		}
		if list, n := y.missing(); n > 0 {
			t.Fatalf("line cut %v: %d acknowledged messages went with the disk, such as %v", cut, n, list)
		}
		y.line.Heal()
		if err := y.gateway.Start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged messages, none lost with the disk", y.Acknowledged())
}

// missing gives the center some time.
func (y *yard) missing() (list []string, n int) {
	for deadline := time.Now().Add(drainLimit); ; time.Sleep(20 * time.Millisecond) {
		if list, n = y.center.Ledger.Missing(3); n == 0 || time.Now().After(deadline) {
			return list, n
		}
	}
}
