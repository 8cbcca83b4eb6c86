package live

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

// A site is a gateway with a file of settings, and an upstream for each of its bridges, where
// a center notes what comes.
type site struct {
	*rig.Gateway
	t         *testing.T
	file      string
	upstreams map[string]*rig.Mosquitto
	centers   map[string]*device.Consumer
	fleets    map[string][]*device.Sensor
	reloads   int

	run func(func(context.Context))
}

var names = []string{"north", "south", "west", "east"}

func startSite(t *testing.T) *site {
	s := &site{t: t, file: filepath.Join(t.TempDir(), "sluice.env"), upstreams: map[string]*rig.Mosquitto{},
		centers: map[string]*device.Consumer{}, fleets: map[string][]*device.Sensor{}}
	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	s.run = func(play func(context.Context)) { players.Go(func() { play(ctx) }) }
	for _, name := range names {
		s.upstreams[name] = startMosquitto(t)
		s.centers[name] = &device.Consumer{Name: "center", Addr: s.upstreams[name].Addr, Filter: "#", Version: codec.V5, Ledger: &device.Ledger{}}
	}
	t.Cleanup(func() { cancel(); players.Wait() })
	for _, name := range names {
		s.run(s.centers[name].Run)
		<-s.centers[name].Subscribed()
	}
	return s
}

// bridge is the settings of one, as number n.
func (s *site) bridge(n int, name string, more ...string) string {
	text := fmt.Sprintf("NAME=%s\nURL=mqtt://%s\nUP='%[1]s/# 2'\n", name, s.upstreams[name].Addr) + strings.Join(more, "\n")
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, fmt.Sprintf("SLUICE_BRIDGE_%d_%s", n, strings.TrimSpace(line)))
	}
	return strings.Join(lines, "\n")
}

func (s *site) write(bridges ...string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(strings.Join(bridges, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// reload has the gateway take these bridges.
func (s *site) reload(bridges ...string) {
	s.t.Helper()
	s.write(bridges...)
	if err := syscall.Kill(s.PID(), syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	s.reloads++
	s.wantLog(s.reloads, "msg=reloaded")
}

func (s *site) wantLog(n int, text string) {
	s.t.Helper()
	for deadline := time.Now().Add(drainLimit); strings.Count(s.Log.String(), text) < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the gateway does not log %s %d times", text, n)
		}
	}
}

// load puts sensors to work whose messages go to a bridge's upstream.
func (s *site) load(name string) {
	first := 1 + 4*len(s.fleets)
	s.fleets[name] = device.Fleet(4, func(one *device.Sensor) {
		one.Source.Sensor += first // client identifiers are made of it
		one.Addr, one.Topic, one.Interval, one.Window = s.Addr, name, interval, window
		one.Ledgers = []*device.Ledger{s.centers[name].Ledger}
	})
	for _, one := range s.fleets[name] {
		s.run(one.Run)
	}
}

func (s *site) connects(name string) int {
	return strings.Count(s.Log.String(), `msg="bridge connected" bridge=`+name)
}

// One bridge is changed, one added, one removed and put back, while all are under load: no
// message is lost, the bridge that did not change keeps its connection, and so do the devices.
func TestReloadUnderLoad(t *testing.T) {
	s := startSite(t)
	s.write(s.bridge(0, "north"), s.bridge(1, "south"), s.bridge(2, "west"))
	s.Gateway = startGateway(t, "SLUICE_ENV_FILE="+s.file)
	for _, name := range names {
		if name != "east" { // nothing asks for its messages yet
			s.load(name)
		}
	}
	work := func() { time.Sleep(400 * time.Millisecond) }
	work()
	s.reload(s.bridge(0, "north"), s.bridge(1, "south", "MAX_INFLIGHT=20"), s.bridge(2, "west"), s.bridge(3, "east"))
	s.load("east")
	work()
	s.reload(s.bridge(0, "north"), s.bridge(1, "south", "PAUSED=true"), s.bridge(2, "west"), s.bridge(3, "east", "KEEPALIVE=20s"))
	work()
	if waits := s.centers["south"].Ledger; waits.Count(1).Lost == 0 {
		t.Error("what is acknowledged goes on to a bridge that is paused")
	}

	// A bridge that is removed takes nothing more. What it has waiting stays, also over a
	// restart; it is sent when the bridge is back.
	for _, name := range []string{"south", "west"} {
		if err := device.Drain(t.Context(), drainLimit, s.fleets[name]); err != nil {
			t.Fatal(err)
		}
	}
	s.reload(s.bridge(0, "north"), s.bridge(3, "east", "KEEPALIVE=20s"))
	for name, want := range map[string]int{"north": 1, "west": 1} {
		if n := s.connects(name); n != want {
			t.Errorf("bridge %s connected %d times, want %d: nothing of it changed", name, n, want)
		}
	}
	for name, fleet := range s.fleets {
		for _, one := range fleet {
			if n := one.Connections.Load(); n != 1 {
				t.Errorf("a sensor of %s connected %d times", name, n)
			}
		}
	}
	work()
	s.Kill()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	s.wantLog(1, "messages wait for a bridge that is no more")
	s.reload(s.bridge(0, "north"), s.bridge(5, "south"), s.bridge(6, "west"), s.bridge(3, "east", "KEEPALIVE=20s"))
	for name, fleet := range s.fleets {
		if err := device.Drain(t.Context(), drainLimit, fleet, s.centers[name].Ledger); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	time.Sleep(200 * time.Millisecond) // for duplicates to show themselves
	for _, name := range names {
		for qos := byte(1); qos <= 2; qos++ {
			count := s.centers[name].Ledger.Count(qos)
			t.Logf("%-5s QoS %d: %s", name, qos, count)
			if err := count.Broken(qos); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A bridge that gets another upstream goes on there with what waits, and with those who wait
// for its word. What was in flight may arrive at both.
func TestUpstreamMoves(t *testing.T) {
	s := startSite(t)
	s.centers["south"].Ledger = s.centers["north"].Ledger
	rule := "UP='north/# 2 ack=upstream'"
	s.write(s.bridge(0, "north", rule))
	s.Gateway = startGateway(t, "SLUICE_ENV_FILE="+s.file)
	s.load("north")
	for _, to := range []string{"south", "north", "south"} {
		time.Sleep(500 * time.Millisecond)
		s.reload(s.bridge(0, "north", rule, "URL=mqtt://"+s.upstreams[to].Addr))
	}
	before := s.centers["south"].Arrivals.Load()
	time.Sleep(500 * time.Millisecond)
	if err := device.Drain(t.Context(), drainLimit, s.fleets["north"], s.centers["north"].Ledger); err != nil {
		t.Error(err)
	}
	if s.centers["south"].Arrivals.Load() == before {
		t.Error("nothing arrives at the new upstream")
	}
	for qos := byte(1); qos <= 2; qos++ {
		t.Logf("QoS %d: %s", qos, s.centers["north"].Ledger.Count(qos))
	}
	for _, one := range s.fleets["north"] {
		if n := one.Connections.Load(); n != 1 {
			t.Errorf("a sensor connected %d times", n)
		}
	}
}
