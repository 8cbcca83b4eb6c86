package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// A site is a gateway that answers at the address http.
type site struct {
	*rig.Gateway
	t    *testing.T
	http string
}

// newSite prepares a gateway, which is not started.
func newSite(t *testing.T, settings ...string) *site {
	t.Helper()
	addrs, err := rig.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	return &site{plant.NewGateway(t, append(settings, "SLUICE_HTTP_ADDR="+addrs[0])...), t, addrs[0]}
}

// start starts it and waits until it answers.
func (s *site) start() {
	s.t.Helper()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
	plant.Await(s.t, func() string {
		if _, err := s.get("/healthz"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// get returns the status, a blank and the body.
func (s *site) get(path string) (string, error) {
	r, err := http.Get("http://" + s.http + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return fmt.Sprintf("%d %s", r.StatusCode, text), err
}

// scrape returns the values by name and labels, as in a{b="c"}.
func (s *site) scrape() map[string]float64 {
	s.t.Helper()
	text, err := s.get("/metrics")
	text, ok := strings.CutPrefix(text, "200 ")
	if err != nil || !ok {
		s.t.Fatalf("/metrics: %v %s", err, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		s.t.Errorf("Prometheus' linter finds %+v, %v in\n%s", problems, err, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	values := make(map[string]float64)
	for name, f := range families {
		for _, m := range f.Metric {
			key := name
			for i, l := range m.Label {
				key += map[bool]string{true: "{", false: ","}[i == 0] + fmt.Sprintf("%s=%q", l.GetName(), l.GetValue())
			}
			if len(m.Label) > 0 {
				key += "}"
			}
			switch {
			case m.Counter != nil:
				values[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				values[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				values[key+"_count"], values[key+"_sum"] = float64(m.Histogram.GetSampleCount()), m.Histogram.GetSampleSum()
			}
		}
	}
	return values
}

// want waits until figures have these values.
func (s *site) want(sentence string, figures map[string]float64) map[string]float64 {
	s.t.Helper()
	var values map[string]float64
	plant.Await(s.t, func() string {
		values = s.scrape()
		var wrong []string
		for name, want := range figures {
			if got, ok := values[name]; !ok || got != want {
				wrong = append(wrong, fmt.Sprintf("%s is %g, want %g", name, got, want))
			}
		}
		if len(wrong) > 0 {
			return sentence + ": " + strings.Join(wrong, "; ")
		}
		return ""
	})
	return values
}

// publish has sensors publish for a while and returns how many messages the gateway has
// acknowledged. They keep their sessions.
func (s *site) publish(topic string) (n float64) {
	s.t.Helper()
	players := plant.NewPlayers(s.t)
	fleet := players.Fleet(4, func(d *device.Sensor) { d.Addr, d.Topic, d.Interval, d.Window = s.Addr, topic, 2*time.Millisecond, 20 })
	plant.Await(s.t, func() string {
		for _, d := range fleet {
			if d.Acked.Load() < 50 {
				return "a sensor has no 50 messages acknowledged"
			}
		}
		return ""
	})
	players.Settle(patience)
	players.Judge(2)
	for _, d := range fleet {
		if d.Connections.Load() != 1 {
			s.t.Fatalf("a sensor connected %d times", d.Connections.Load())
		}
	}
	return float64(players.Acknowledged())
}

func TestFigures(t *testing.T) {
	cloud := plant.Mosquitto(t)
	s := newSite(t,
		"SLUICE_BRIDGE_0_URL=mqtt://"+cloud.Addr, "SLUICE_BRIDGE_0_NAME=north", "SLUICE_BRIDGE_0_UP=north/#", "SLUICE_BRIDGE_0_KEEPALIVE=42s",
		"SLUICE_BRIDGE_0_USERNAME=me", "SLUICE_BRIDGE_0_PASSWORD=s3cret", "SLUICE_BRIDGE_0_DOWN=cmd/#",
		"SLUICE_BRIDGE_7_URL=mqtt://127.0.0.1:1", `SLUICE_BRIDGE_7_NAME="so\uth`, "SLUICE_BRIDGE_7_UP=south/#",
		"SLUICE_BRIDGE_7_QUEUE_MAX_MESSAGES=100", "SLUICE_BRIDGE_7_QUEUE_POLICY=drop-oldest")
	s.start()
	north := func(name string) string { return "sluice_bridge_" + name + `{bridge="north"}` }
	south := func(name string) string { return "sluice_bridge_" + name + `{bridge="\"so\\uth"}` }

	begin := time.Now()
	v := s.want("connected", map[string]float64{
		north("connected"): 1, north("paused"): 0, north("connects_total"): 1, north("keep_alive_seconds"): 42, north("backlog_messages"): 0,
		south("connected"): 0, south("connects_total"): 0, south("keep_alive_seconds"): 0,
		"sluice_clients": 1, "sluice_sessions": 2, "sluice_subscriptions": 2, "sluice_messages_received_total": 0,
		"sluice_store_failing": 0, "sluice_store_limit_bytes": 256 << 20,
	})
	if at := time.UnixMilli(int64(1000 * v[north("changed_timestamp_seconds")])); at.Before(begin.Add(-patience)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("connected at %v", at)
	}
	if _, ok := v[south("changed_timestamp_seconds")]; ok {
		t.Error("a bridge that was never connected has a time of change")
	}

	n := s.publish("north")
	v = s.want("up", map[string]float64{
		north("messages_up_total"): n, north("backlog_messages"): 0, north("backlog_bytes"): 0, north("in_flight_messages"): 0,
		"sluice_messages_received_total": n, "sluice_messages_sent_total": n, "sluice_clients": 1,
	})
	for name, least := range map[string]float64{
		"sluice_connections_total": 4, "sluice_packets_received_total": n, "process_resident_memory_bytes": 1 << 20, "go_goroutines": 5,
		"process_cpu_seconds_total": 0.001, "sluice_store_fsync_seconds_count": v["sluice_store_commits_total"], "sluice_store_commits_total": 1,
	} {
		if v[name] < least {
			t.Errorf("%s is %g, want %g at least", name, v[name], least)
		}
	}
	if s := v["process_start_time_seconds"]; s < float64(begin.Unix())-patience.Seconds() || s > float64(time.Now().UnixMilli())/1000 {
		t.Errorf("started at %f", s)
	}

	cloud.Kill()
	s.want("the upstream is gone", map[string]float64{north("connected"): 0, north("keep_alive_seconds"): 0})
	begin = time.Now()
	more := s.publish("north")
	v = s.want("waiting", map[string]float64{
		north("backlog_messages"): more, north("in_flight_messages"): 0, north("messages_up_total"): n,
		"sluice_messages_received_total": n + more, "sluice_messages_sent_total": n,
	})
	for _, name := range []string{north("backlog_bytes"), "sluice_store_bytes"} {
		if v[name] < 10*more || v[name] > 1000*more {
			t.Errorf("%s is %g for %g messages", name, v[name], more)
		}
	}
	time.Sleep(2 * time.Second)
	if age := s.scrape()[north("backlog_age_seconds")]; age < 2 || age > time.Since(begin).Seconds()+1 {
		t.Errorf("after %v the oldest has waited for %g s", time.Since(begin), age)
	}
	if err := cloud.Start(); err != nil {
		t.Fatal(err)
	}
	s.want("drained", map[string]float64{north("connected"): 1, north("connects_total"): 2, north("backlog_messages"): 0, north("messages_up_total"): n + more})

	lost := s.publish("south") - 100
	s.want("lost", map[string]float64{
		`sluice_bridge_messages_lost_total{bridge="\"so\\uth",cause="queue_full"}`: lost, `sluice_messages_dropped_total{reason="queue_full"}`: lost,
		`sluice_bridge_messages_lost_total{bridge="north",cause="queue_full"}`: 0, south("backlog_messages"): 100,
	})

	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	io.Copy(io.Discard, conn)
	conn.Close()
	s.want("ended", map[string]float64{`sluice_connections_ended_total{reason="protocol_error"}`: 1, `sluice_connections_ended_total{reason="malformed_packet"}`: 0})

	text, err := s.get("/metrics")
	if err != nil || strings.Contains(text, "s3cret") || strings.Contains(text, cloud.Addr) || strings.Contains(text, "sensor") {
		t.Errorf("the page tells too much, %v:\n%s", err, text)
	}
	if err := s.Terminate(); err != nil {
		t.Error(err)
	}
}

// store has the gateway write to its disk, if it can: it looks for room now and then only.
func (s *site) store() {
	s.t.Helper()
	sluice, err := rig.Build()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second) // it may not be acknowledged
	defer cancel()
	pub := exec.CommandContext(ctx, sluice, "pub", "-url", "mqtt://"+s.Addr, "-t", "config", "-r", "-q", "1", "-s")
	pub.Stdin = strings.NewReader(strings.Repeat("x", 100_000))
	pub.Run()
}

// A disk that is full is told, and that it is not any more.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	if err := errors.Join(os.Mkdir(s.Dir, 0o700), syscall.Mount("tmpfs", s.Dir, "tmpfs", 0, "size=16m")); err != nil {
		t.Skipf("a small file system needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(s.Dir, syscall.MNT_DETACH) })
	s.start()
	wantHealth := func(want string) {
		t.Helper()
		plant.Await(s.t, func() string {
			if got, err := s.get("/healthz"); err != nil || !strings.HasPrefix(got, want) {
				s.store()
				return fmt.Sprintf("/healthz answers %q, %v, want %q", got, err, want)
			}
			return ""
		})
	}
	wantHealth("200 ok")
	fill := filepath.Join(s.Dir, "fill")
	os.WriteFile(fill, bytes.Repeat([]byte("x"), 16<<20), 0o600) // as much as there is room for
	wantHealth("503 less than 8 MiB free on the data disk")
	s.want("full", map[string]float64{"sluice_store_failing": 1})
	os.Remove(fill)
	wantHealth("200 ok")
	s.want("well again", map[string]float64{"sluice_store_failing": 0})
}
