package live

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// A site is a gateway with a file of settings, and an upstream for each of its bridges, where
// a center notes what comes.
type site struct {
	*rig.Gateway
	*plant.Players
	t         *testing.T
	file      string
	upstreams map[string]*rig.Mosquitto
	centers   map[string]*device.Consumer
	fleets    map[string][]*device.Sensor
	reloads   int
}

var names = []string{"north", "south", "west", "east"}

func startSite(t *testing.T) *site {
	s := &site{t: t, file: filepath.Join(t.TempDir(), "sluice.env"), Players: plant.NewPlayers(t), upstreams: map[string]*rig.Mosquitto{},
		centers: map[string]*device.Consumer{}, fleets: map[string][]*device.Sensor{}}
	for _, name := range names {
		s.upstreams[name] = plant.Mosquitto(t, "max_inflight_messages 0")
		s.centers[name] = s.Consumer(name, s.upstreams[name].Addr, "#", codec.V5)
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
	plant.AwaitLog(s.t, s.Gateway, s.reloads, "msg=reloaded")
}

// load puts sensors to work whose messages go to a bridge's upstream.
func (s *site) load(name string) {
	s.fleets[name] = s.Fleet(4, func(one *device.Sensor) {
		one.Addr, one.Topic, one.Interval, one.Window = s.Addr, name, interval, window
		one.Ledgers = []*device.Ledger{s.centers[name].Ledger}
	})
}

func (s *site) connects(name string) int {
	return strings.Count(s.Log.String(), plant.Connected+" bridge="+name)
}

// One bridge is changed, one added, one removed and put back, while all are under load: no
// message is lost, the bridge that did not change keeps its connection, and so do the devices.
func TestReloadUnderLoad(t *testing.T) {
	s := startSite(t)
	s.write(s.bridge(0, "north"), s.bridge(1, "south"), s.bridge(2, "west"))
	s.Gateway = plant.Gateway(t, "SLUICE_ENV_FILE="+s.file)
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
	plant.Restart(t, s.Gateway)
	plant.AwaitLog(s.t, s.Gateway, 1, "messages wait for a bridge that is no more")
	s.reload(s.bridge(0, "north"), s.bridge(5, "south"), s.bridge(6, "west"), s.bridge(3, "east", "KEEPALIVE=20s"))
	s.Settle(drainLimit)
	s.Judge()
}

// A bridge that gets another upstream goes on there with what waits, and with those who wait
// for its word. What was in flight may arrive at both.
func TestUpstreamMoves(t *testing.T) {
	s := startSite(t)
	s.centers["south"].Ledger = s.centers["north"].Ledger
	rule := "UP='north/# 2 ack=upstream'"
	s.write(s.bridge(0, "north", rule))
	s.Gateway = plant.Gateway(t, "SLUICE_ENV_FILE="+s.file)
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
