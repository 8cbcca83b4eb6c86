package live

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

var (
	rounds = flag.Int("rounds", 9, "how often the line is cut or the gateway killed")
	seed   = flag.Uint64("seed", 0, "of their moments; 0 for a new one, which is printed")
)

const (
	sensors    = 8
	interval   = 5 * time.Millisecond // between two messages of a sensor
	window     = 40                   // unfinished messages of a sensor
	longest    = 700 * time.Millisecond
	drainLimit = 40 * time.Second
)

// startMosquitto starts an upstream that ends with the test.
func startMosquitto(t *testing.T) *rig.Mosquitto {
	t.Helper()
	m, err := rig.StartMosquitto(t.TempDir(), "max_inflight_messages 0")
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

// startGateway starts a gateway that ends with the test, which shows its last lines if it fails.
func startGateway(t *testing.T, settings ...string) *rig.Gateway {
	t.Helper()
	g, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), append(settings, "SLUICE_WS_ADDR=off")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", g.Log.Tail(40))
		}
	})
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// A plant is sensors that wait for the word of an upstream behind a line, and a center there
// that notes what comes.
type plant struct {
	gateway *rig.Gateway
	line    *rig.Proxy
	fleet   []*device.Sensor
	center  *device.Consumer
	stop    func()
}

func startPlant(t *testing.T) *plant {
	upstream := startMosquitto(t)
	line, err := rig.NewProxy(upstream.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	p := &plant{line: line}
	p.gateway = startGateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2 ack=upstream")
	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	p.stop = func() { cancel(); players.Wait() }
	t.Cleanup(p.stop)
	p.center = &device.Consumer{Name: "center", Addr: upstream.Addr, Filter: "plant/#", Version: codec.V5, Ledger: &device.Ledger{}}
	players.Go(func() { p.center.Run(ctx) })
	<-p.center.Subscribed()
	p.fleet = device.Fleet(sensors, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = p.gateway.Addr, "plant", interval, window
		s.Ledgers = []*device.Ledger{p.center.Ledger}
	})
	for _, s := range p.fleet {
		players.Go(func() { s.Run(ctx) })
	}
	return p
}

// acknowledged is how many messages the sensors need not keep any more.
func (p *plant) acknowledged() (n int64) {
	for _, s := range p.fleet {
		n += s.Acked.Load()
	}
	return n
}

// settled is how many that are once what the upstream has acknowledged has arrived.
func (p *plant) settled() int64 {
	for n := p.acknowledged(); ; {
		time.Sleep(300 * time.Millisecond)
		now := p.acknowledged()
		if now == n {
			return n
		}
		n = now
	}
}

// moves waits until the sensors have more messages acknowledged.
func (p *plant) moves(t *testing.T, n int64) {
	t.Helper()
	for deadline, want := time.Now().Add(drainLimit), p.acknowledged()+n; p.acknowledged() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is acknowledged")
		}
	}
}

// With the line cut nothing is acknowledged, whether the gateway is killed meanwhile or not;
// and all the rest is as ever: nothing is lost, all is in order and at QoS 2 comes once.
func TestWaitsForUpstream(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("go test ./live -run WaitsForUpstream -rounds=%d -seed=%d", *rounds, *seed)
	random := rand.New(rand.NewPCG(*seed, 2))
	p := startPlant(t)
	for round := range *rounds {
		p.moves(t, 10)
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		if round%3 < 2 {
			p.line.Cut()
			before := p.settled()
			if round%3 == 1 {
				p.kill(t)
			}
			time.Sleep(time.Duration(random.Int64N(int64(longest))))
			if n := p.acknowledged() - before; n > 0 {
				t.Errorf("round %d: %d messages are acknowledged with the line cut", round, n)
			}
			p.line.Heal()
			continue
		}
		p.kill(t)
	}
	if err := device.Drain(t.Context(), drainLimit, p.fleet, p.center.Ledger); err != nil {
		t.Error(err)
	}
	time.Sleep(200 * time.Millisecond) // for duplicates to show themselves
	p.stop()
	for qos := byte(1); qos <= 2; qos++ {
		count := p.center.Ledger.Count(qos)
		t.Logf("QoS %d: %s", qos, count)
		if err := count.Broken(qos); err != nil {
			t.Error(err)
		}
	}
}

func (p *plant) kill(t *testing.T) {
	t.Helper()
	p.gateway.Kill()
	if err := p.gateway.Start(); err != nil {
		t.Fatal(err)
	}
}

// What is acknowledged has left the site: its disk may burn.
func TestAcknowledgedOutlivesDisk(t *testing.T) {
	p := startPlant(t)
	for _, cut := range []bool{false, true} {
		p.moves(t, 100)
		if cut {
			p.line.Cut()
			time.Sleep(100 * time.Millisecond)
		}
		p.gateway.Kill()
		if err := os.RemoveAll(p.gateway.Dir); err != nil {
			t.Fatal(err)
		}
		if list, n := p.missing(); n > 0 {
			t.Fatalf("line cut %v: %d acknowledged messages went with the disk, such as %v", cut, n, list)
		}
		p.line.Heal()
		if err := p.gateway.Start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged messages, none lost with the disk", p.acknowledged())
}

// missing gives the center some time.
func (p *plant) missing() (list []string, n int) {
	for deadline := time.Now().Add(drainLimit); ; time.Sleep(20 * time.Millisecond) {
		if list, n = p.center.Ledger.Missing(3); n == 0 || time.Now().After(deadline) {
			return list, n
		}
	}
}
