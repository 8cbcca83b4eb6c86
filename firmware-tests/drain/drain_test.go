package drain

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

var messages = flag.Int("messages", 50_000, "in the backlog")

const (
	payload = 100 // bytes of each message
	window  = 512 // messages in flight: what SLUICE_BRIDGE_n_MAX_INFLIGHT is by itself
)

// result is what became of a backlog.
type result struct {
	rate float64 // messages a second
	cpu  float64 // microseconds a message
	rss  float64 // bytes a byte of payload, above an empty process, while it waited
}

func (r result) String() string {
	return fmt.Sprintf("%8.0f messages/s, %5.2f us of CPU a message, %5.2f bytes of memory a byte of payload", r.rate, r.cpu, r.rss)
}

// The backlog goes up at least twice as fast as from Mosquitto, or as fast as the
// upstream takes it, and costs no more CPU.
func TestDrainBesideMosquitto(t *testing.T) {
	sluice := drain(t, startSluice)
	mosquitto := drain(t, startMosquitto)
	t.Logf("%d messages of %d bytes at QoS 1, upstream Mosquitto", *messages, payload)
	t.Logf("sluice    %v", sluice)
	t.Logf("mosquitto %v", mosquitto)
	t.Logf("rate x %.2f, CPU a message x %.2f", sluice.rate/mosquitto.rate, sluice.cpu/mosquitto.cpu)
	if sluice.cpu > mosquitto.cpu { // a time of the clock would be a time of the other tests, too
		t.Error("a message costs more CPU than Mosquitto's")
	}
	if *messages >= 1_000_000 && sluice.rss > 2 { // of less it is the gateway itself that is seen
		t.Errorf("%.2f bytes of memory a byte of payload while messages wait", sluice.rss)
	}
}

// drain has start make a broker whose bridge leads to an upstream, fills it, and only
// then starts that.
func drain(t *testing.T, start func(t *testing.T, upstream string) (pid int, addr string)) (r result) {
	t.Helper()
	upstream := freeAddr(t)
	pid, addr := start(t, upstream)
	empty := readUsage(t, pid)
	fill(t, addr, *messages, payload, together)
	time.Sleep(time.Second)
	before := readUsage(t, pid)
	r.rss = float64(before.rss-empty.rss) / float64(*messages*payload)
	m, err := rig.StartMosquittoAt(upstream, t.TempDir(), "max_inflight_messages 1000") // what it grants: no limit here
	plant.Need(t, err)
	defer m.Kill()
	took := watch(t, upstream)()
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

func startSluice(t *testing.T, upstream string) (pid int, addr string) {
	g := startGateway(t, upstream)
	return g.PID(), g.Addr
}

// startGateway starts a gateway with a bridge to upstream.
func startGateway(t *testing.T, upstream string, settings ...string) *rig.Gateway {
	t.Helper()
	return plant.Gateway(t, append(settings, "SLUICE_BRIDGE_0_URL=mqtt://"+upstream,
		"SLUICE_BRIDGE_0_UP=backlog/# 1", "SLUICE_QUEUE_MAX_BYTES=1GiB", "SLUICE_STORE_MAX_BYTES=1GiB")...)
}

func startMosquitto(t *testing.T, upstream string) (pid int, addr string) {
	m := plant.Mosquitto(t, fmt.Sprint("max_inflight_messages ", window),
		"connection up", "address "+upstream, "topic backlog/# out 1", "bridge_protocol_version mqttv50", "cleansession false",
		"notifications false", "try_private false", "restart_timeout 1")
	return m.PID(), m.Addr
}
