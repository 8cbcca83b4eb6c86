package drain

import (
	"flag"
	"fmt"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

var messages = flag.Int("messages", 50_000, "in the backlog")

const (
	payload = 100 // bytes of each message
	window  = 512 // messages in flight where there is a bound
)

// An upstream is where a backlog goes.
type upstream struct {
	name    string
	version codec.Version // the latest that it speaks
	start   func(t *testing.T, addr string) (kill func())
}

var upstreams = []upstream{
	{"Mosquitto", codec.V5, func(t *testing.T, addr string) func() {
		m, err := rig.StartMosquittoAt(addr, t.TempDir(), "max_inflight_messages 0") // it grants all there are
		plant.Need(t, err)
		return m.Kill
	}},
	{"nats-server", codec.V311, func(t *testing.T, addr string) func() {
		n, err := rig.StartNATSAt(addr, t.TempDir(), "")
		plant.Need(t, err)
		players := plant.NewPlayers(t) // it stores what a session waits for
		sleeper := &device.Consumer{Name: "sleeper", Addr: addr, Filter: "backlog/#", Version: codec.V311, Ledger: &device.Ledger{}}
		leave := players.Play(sleeper.Run)
		players.Subscribed(sleeper)
		leave()
		return n.Kill
	}},
}

// result is what became of a backlog.
type result struct {
	rate float64 // messages a second
	cpu  float64 // microseconds a message
	rss  float64 // bytes a byte of payload, above an empty process, while it waited
}

// The backlog goes up as fast as the upstream takes it, and costs no more CPU than
// Mosquitto's. How fast it could go is seen in TestDrainAlone. Rates are told and not
// judged: where both wait for the upstream they are the same.
func TestDrainBesideMosquitto(t *testing.T) {
	for _, up := range upstreams {
		t.Run(up.name, func(t *testing.T) {
			sluice, mosquitto := drain(t, up, startSluice), drain(t, up, startMosquitto)
			tell(t, "messages a second to "+up.name, "%.0f", sluice.rate, mosquitto.rate)
			tell(t, "CPU us per message", "%.2f", sluice.cpu, mosquitto.cpu)
			tell(t, "RSS, bytes per byte of payload, while they wait", "%.2f", sluice.rss, mosquitto.rss)
			if full() && sluice.rss > 2 { // of less it is the gateway itself that is seen
				t.Errorf("%.2f bytes of memory a byte of payload while messages wait", sluice.rss)
			}
			if sluice.cpu > mosquitto.cpu {
				t.Error("a message costs more CPU than Mosquitto's")
			}
		})
	}
}

// drain has start make a broker whose bridge leads to an upstream, fills it, and only
// then starts that.
func drain(t *testing.T, up upstream, start func(t *testing.T, upstream string, v codec.Version) (pid int, addr string)) (r result) {
	t.Helper()
	addr := freeAddr(t)
	pid, at := start(t, addr, up.version)
	empty := readUsage(t, pid)
	fill(t, at, *messages, payload, together)
	time.Sleep(time.Second)
	before := readUsage(t, pid)
	r.rss = float64(before.rss-empty.rss) / float64(*messages*payload)
	syscall.Kill(pid, syscall.SIGSTOP) // until the first message can be seen
	defer up.start(t, addr)()
	drained := watch(t, addr, up.version)
	syscall.Kill(pid, syscall.SIGCONT)
	took := drained()
	r.rate = float64(*messages) / took.Seconds()
	r.cpu = micros(readUsage(t, pid).cpu-before.cpu) / float64(*messages)
	return r
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func freeAddr(t *testing.T) string {
	t.Helper()
	addrs, err := rig.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func startSluice(t *testing.T, upstream string, _ codec.Version) (pid int, addr string) {
	g := startGateway(t, upstream)
	return g.PID(), g.Addr
}

// startGateway starts a gateway with a bridge to upstream.
func startGateway(t *testing.T, upstream string, settings ...string) *rig.Gateway {
	t.Helper()
	return plant.Gateway(t, append(settings, "SLUICE_BRIDGE_0_URL=mqtt://"+upstream,
		"SLUICE_BRIDGE_0_UP=backlog/# 1", "SLUICE_QUEUE_MAX_BYTES=1GiB", "SLUICE_STORE_MAX_BYTES=1GiB")...)
}

func startMosquitto(t *testing.T, upstream string, v codec.Version) (pid int, addr string) {
	protocol := map[codec.Version]string{codec.V311: "mqttv311", codec.V5: "mqttv50"}[v]
	m := plant.Mosquitto(t, fmt.Sprint("max_inflight_messages ", window),
		"connection up", "remote_clientid up", "address "+upstream, "topic backlog/# out 1", "bridge_protocol_version "+protocol, "cleansession false",
		"notifications false", "try_private false", "restart_timeout 1")
	return m.PID(), m.Addr
}
