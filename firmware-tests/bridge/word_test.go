package bridge

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
)

var rounds = flag.Int("rounds", 9, "how often the line is cut or the gateway killed")

const drainLimit = 20 * time.Second

// A yard has sensors that wait for the word of an upstream behind a line, and a center
// there that notes what comes.
type yard struct {
	*site
	*plant.Players
	center *device.Consumer
}

func newYard(t *testing.T, up *upstream) *yard {
	s := up.newSite(t, fmt.Sprintf("UP=%s/# %d ack=upstream", nameOf(t), up.qos))
	y := &yard{site: s, Players: plant.NewPlayers(t)}
	y.center = y.Consumer(s.names+"-center", s.cloud, s.names+"/#", up.codec())
	y.Fleet(8, func(d *device.Sensor) { d.Addr, d.Topic, d.Interval, d.Window = s.Addr, s.names, up.pace, 40 })
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
	at(t, all, func(t *testing.T, up *upstream) {
		random := rand.New(rand.NewPCG(plant.Seed(t), 2))
		y := newYard(t, up)
		for round := range *rounds {
			y.moves(t, 10)
			time.Sleep(time.Duration(random.Int64N(int64(700 * time.Millisecond))))
			if round%3 < 2 {
				y.line.Cut()
				before := y.settled()
				if round%3 == 1 {
					plant.Restart(t, y.Gateway)
				}
				time.Sleep(time.Duration(random.Int64N(int64(700 * time.Millisecond))))
				if n := y.Acknowledged() - before; n > 0 {
					t.Errorf("round %d: %d messages are acknowledged with the line cut", round, n)
				}
				y.line.Heal()
				continue
			}
			plant.Restart(t, y.Gateway)
		}
		y.Settle(drainLimit)
		y.Judge(up.qos)
	})
}

// What is acknowledged has left the site: its disk may burn, and the next one too. But
// nats-server 2.15 does not forget with a session what it holds of QoS 2 [MQTT-3.1.2-6]: in
// the one that the second gateway begins it takes a message for an old one, if it has its
// packet identifier. So there it is one disk only.
func TestAcknowledgedOutlivesDisk(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		y := newYard(t, up)
		cuts := []bool{false, true}
		if up == nats {
			cuts = []bool{true}
		}
		for _, cut := range cuts {
			y.moves(t, 100)
			if cut {
				y.line.Cut()
				time.Sleep(100 * time.Millisecond)
			}
			y.Kill()
			if err := os.RemoveAll(y.Dir); err != nil {
				t.Fatal(err)
			}
			if list, n := y.missing(); n > 0 {
				t.Fatalf("line cut %v: %d acknowledged messages went with the disk, such as %v", cut, n, list)
			}
			y.line.Heal()
			if err := y.Start(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d acknowledged messages, none lost with the disk", y.Acknowledged())
	})
}

// missing gives the center some time.
func (y *yard) missing() (list []string, n int) {
	for deadline := time.Now().Add(drainLimit); ; time.Sleep(20 * time.Millisecond) {
		if list, n = y.center.Ledger.Missing(3); n == 0 || time.Now().After(deadline) {
			return list, n
		}
	}
}
