package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// A junction is a gateway with a file of settings and several bridges, at the end of each of
// which a center notes what comes.
type junction struct {
	*rig.Gateway
	*plant.Players
	t       *testing.T
	up      *upstream
	file    string
	urls    map[string]string
	centers map[string]*device.Consumer
	fleets  map[string][]*device.Sensor
	reloads int
}

// newJunction has bridges of these names, to an upstream that they may share.
func newJunction(t *testing.T, up *upstream, names ...string) *junction {
	j := &junction{t: t, up: up, file: filepath.Join(t.TempDir(), "sluice.env"), Players: plant.NewPlayers(t), urls: map[string]string{},
		centers: map[string]*device.Consumer{}, fleets: map[string][]*device.Sensor{}}
	bridge, cloud, err := up.start()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		j.urls[name] = "mqtt://" + bridge
		j.centers[name] = j.Consumer(name, cloud, name+"/#", up.codec())
	}
	return j
}

// bridge is the settings of one, as number n.
func (j *junction) bridge(n int, name string, more ...string) string {
	text := fmt.Sprintf("NAME=%s\nCLIENT_ID=%[1]s-bridge\nURL=%[2]s\nUP='%[1]s/# %[3]d'\n", name, j.urls[name], j.up.qos) + strings.Join(more, "\n")
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, fmt.Sprintf("SLUICE_BRIDGE_%d_%s", n, strings.TrimSpace(line)))
	}
	return strings.Join(lines, "\n")
}

func (j *junction) write(bridges ...string) {
	j.t.Helper()
	if err := os.WriteFile(j.file, []byte(strings.Join(bridges, "\n")+"\n"), 0o600); err != nil {
		j.t.Fatal(err)
	}
}

// reload has the gateway take these bridges.
func (j *junction) reload(bridges ...string) {
	j.t.Helper()
	j.write(bridges...)
	if err := syscall.Kill(j.PID(), syscall.SIGHUP); err != nil {
		j.t.Fatal(err)
	}
	j.reloads++
	plant.AwaitLog(j.t, j.Gateway, j.reloads, "msg=reloaded")
}

// load puts sensors to work whose messages go to a bridge's upstream.
func (j *junction) load(name string) {
	j.fleets[name] = j.Fleet(4, func(one *device.Sensor) {
		one.Addr, one.Topic, one.Interval, one.Window = j.Addr, name, j.up.pace, 40
		one.Ledgers = []*device.Ledger{j.centers[name].Ledger}
	})
}

// One bridge is changed, live data first and not, one added, one removed and put back, while all are under load: no
// message is lost, the bridge that did not change keeps its connection, and so do the devices.
func TestReloadUnderLoad(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		j := newJunction(t, up, "north", "south", "west", "east")
		j.write(j.bridge(0, "north"), j.bridge(1, "south"), j.bridge(2, "west"))
		j.Gateway = plant.Gateway(t, "SLUICE_ENV_FILE="+j.file)
		for _, name := range []string{"north", "south", "west"} { // nothing asks for those of east yet
			plant.AwaitLog(t, j.Gateway, 1, plant.Connected+" bridge="+name)
			j.load(name)
		}
		work := func() { time.Sleep(400 * time.Millisecond) }
		work()
		j.reload(j.bridge(0, "north"), j.bridge(1, "south", "MAX_INFLIGHT=20", "LIVE_FIRST=true"), j.bridge(2, "west"), j.bridge(3, "east"))
		j.load("east")
		work()
		j.reload(j.bridge(0, "north"), j.bridge(1, "south", "PAUSED=true"), j.bridge(2, "west"), j.bridge(3, "east", "KEEPALIVE=20s"))
		work()
		if j.centers["south"].Ledger.Count(1).Lost == 0 {
			t.Error("what is acknowledged goes on to a bridge that is paused")
		}

		// A bridge that is removed takes nothing more. What it has waiting stays, also over a
		// restart; it is sent when the bridge is back.
		for _, name := range []string{"south", "west"} {
			if err := device.Drain(t.Context(), drainLimit, j.fleets[name]); err != nil {
				t.Fatal(err)
			}
		}
		j.reload(j.bridge(0, "north"), j.bridge(3, "east", "KEEPALIVE=20s"))
		for _, name := range []string{"north", "west"} {
			if n := strings.Count(j.Log.String(), plant.Connected+" bridge="+name); n != 1 {
				t.Errorf("bridge %s connected %d times: nothing of it changed", name, n)
			}
		}
		j.keptConnections()
		work()
		plant.Restart(t, j.Gateway)
		plant.AwaitLog(t, j.Gateway, 1, "messages wait for a bridge that is no more")
		j.reload(j.bridge(0, "north"), j.bridge(5, "south", "LIVE_FIRST=true"), j.bridge(6, "west"), j.bridge(3, "east", "KEEPALIVE=20s"))
		j.Settle(drainLimit)
		j.Judge(up.qos)
	})
}

// keptConnections fails the test if a sensor lost its own.
func (j *junction) keptConnections() {
	j.t.Helper()
	for _, one := range j.Sensors {
		if n := one.Connections.Load(); n != 1 {
			j.t.Errorf("sensor %d connected %d times", one.Source.Sensor, n)
		}
	}
}

// A bridge that gets another upstream goes on there with what waits, and with those who wait
// for its word. What was in flight may arrive at both.
func TestUpstreamMoves(t *testing.T) {
	at(t, []*upstream{mosquitto, nats}, func(t *testing.T, up *upstream) {
		j := newJunction(t, up, "here")
		_, cloud, _ := up.start() // another node of a cluster
		there := j.centers["here"]
		if up == mosquitto {
			cloud = plant.Mosquitto(t).Addr
			there = &device.Consumer{Name: "there", Addr: cloud, Filter: "here/#", Version: up.codec(), Ledger: there.Ledger}
			j.Play(there.Run)
			j.Subscribed(there)
		}
		j.write(j.bridge(0, "here", "UP='here/# 2 ack=upstream'"))
		j.Gateway = plant.Gateway(t, "SLUICE_ENV_FILE="+j.file)
		j.load("here")
		for _, url := range []string{"mqtt://" + cloud, j.urls["here"], "mqtt://" + cloud} {
			time.Sleep(500 * time.Millisecond)
			j.reload(j.bridge(0, "here", "UP='here/# 2 ack=upstream'", "URL="+url))
		}
		before := there.Arrivals.Load()
		time.Sleep(500 * time.Millisecond)
		j.Settle(drainLimit)
		if there.Arrivals.Load() == before {
			t.Error("nothing arrives at the new upstream")
		}
		for qos := byte(1); qos <= 2; qos++ {
			t.Logf("QoS %d: %s", qos, j.centers["here"].Ledger.Count(qos))
		}
		j.keptConnections()
	})
}
