package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/cmd/sluice/bench"
)

// runBench runs sluice bench at a gateway and returns its report.
func runBench(t *testing.T, args ...string) (code int, report bench.Report) {
	t.Helper()
	code, out, errs := runCommand(t, nil, "", append([]string{"bench"}, args...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("sluice bench %v ends with %d and no report: %v\n%s", args, code, err, errs)
	}
	return code, report
}

// The gateway loses nothing, and the generator sees that it does not.
func TestBenchScenarios(t *testing.T) {
	g := startGateway(t, nil)
	pid := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		line           string
		sent, received uint64
	}{
		{"fanin -pubs 5 -subs 2 -n 200 -window 20 -burst 4", 1000, 2000},
		{"fanin -pubs 5 -subs 3 -n 200 -qos 1 -share group", 1000, 1000},
		{"fanin -pubs 4 -n 100 -qos 2 -threads 2", 400, 400},
		{"fanout -subs 20 -n 100 -qos 1", 100, 2000},
		{"pairs -pairs 5 -n 100 -qos 2", 500, 500},
		{"pairs -pairs 5 -n 100 -qos 1 -rate 2000 -size 3000", 500, 500},
		{"pairs -pairs 5 -n 100 -qos 1 -V 5 -user 3 -alias", 500, 500},
		{"pairs -pairs 5 -n 100 -V 3.1 -window 50 -coalesce 100us", 500, 500},
		{"pairs -pairs 5 -n 100 -qos 1 -durable -threads 2", 500, 500},
		{"fanin -pubs 5 -n 100 -qos 2 -durable -V 5", 500, 500},
		{"retained -n 300", 300, 300},
		{"retained -n 300 -qos 1 -V 5", 300, 300},
		{"offline -n 300 -qos 1 -pubs 3", 900, 900},
		{"offline -n 300 -qos 2 -V 5", 300, 300},
	} {
		args := append(strings.Fields(c.line), "-url", g.url("MQTT"), "-json", "-pid", pid)
		code, r := runBench(t, args...)
		if code != exitOK || r.Sent != c.sent || r.Received != c.received || r.OutPerSec <= 0 || r.BrokerCPUPerMsg <= 0 {
			t.Errorf("sluice bench %s ends with %d: %+v", c.line, code, r)
		}
		if r.Lost != 0 || r.Duplicated+r.Misordered+r.Foreign+r.Unacked+r.BadAcks != 0 || r.ConnErrors != 0 || r.Notes != nil {
			t.Errorf("sluice bench %s sees faults: %+v", c.line, r)
		}
	}
	code, r := runBench(t, "conns", "-conns", "50", "-hold", "50ms", "-url", g.url("MQTT"), "-json")
	if code != exitOK || r.Alive != 50 || r.LatencyP50 <= 0 {
		t.Errorf("sluice bench conns ends with %d: %+v", code, r)
	}
}

// Each kind of wire carries messages of every size.
func TestBenchWires(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	g := startGateway(t, map[string]string{
		"SLUICE_TLS_CERT": cert, "SLUICE_TLS_KEY": key, "SLUICE_MQTTS_ADDR": ":0", "SLUICE_WSS_ADDR": ":0",
		"SLUICE_UNIX_PATH": filepath.Join(dir, "socket"),
	})
	for _, title := range []string{"MQTT", "MQTT over TLS", "MQTT over WebSocket", "MQTT over secure WebSocket", "MQTT over a Unix socket"} {
		for _, size := range []string{"24", "100000"} {
			code, r := runBench(t, "pairs", "-pairs", "5", "-n", "50", "-qos", "1", "-size", size, "-cafile", cert, "-json", "-url", g.url(title))
			if code != exitOK || r.Sent != 250 || r.Received != 250 || r.Notes != nil {
				t.Errorf("%s, %s bytes: exit code %d, %+v", title, size, code, r)
			}
		}
	}
	code, r := runBench(t, "pairs", "-json", "-url", g.url("MQTT over TLS"))
	if code != exitFailed || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "certificate") {
		t.Errorf("a certificate that nobody knows: exit code %d, %+v", code, r)
	}
}

func TestBenchReport(t *testing.T) {
	g := startGateway(t, nil)
	code, out, errs := runCommand(t, map[string]string{"SLUICE_CLIENT_URL": g.url("MQTT")}, "", "bench", "pairs", "-n", "10", "-qos", "1")
	if code != exitOK || !strings.Contains(out, "500 sent, 500 received, 0 lost") || !strings.Contains(out, "p99.9") {
		t.Errorf("exit code %d, errors %q:\n%s", code, errs, out)
	}
	for _, c := range []struct {
		line string
		code int
		errs string
	}{
		{"bench", exitUsage, "name the scenario"},
		{"bench -n 5", exitUsage, "name the scenario"},
		{"bench fanon", exitUsage, "fanin, fanout"},
		{"bench pairs -qos 3", exitUsage, "0, 1 or 2"},
		{"bench pairs -size 3", exitUsage, "-size"},
		{"bench pairs -n 0", exitUsage, "-n is 1"},
		{"bench pairs -user 1", exitUsage, "-V 5"},
		{"bench pairs -topic a/#", exitUsage, "-topic"},
		{"bench offline", exitUsage, "-qos 1"},
		{"bench pairs -url mqtt://localhost:1", exitUnreachable, "mqtt://localhost:1: the server cannot be reached: "},
		{"bench conns -conns 5 -url ws://localhost:1", exitUnreachable, "0 of 5"},
		{"bench conns -conns 100000000 -h localhost", exitFailed, "ulimit"},
	} {
		code, out, errs := runCommand(t, nil, "", strings.Fields(c.line)...)
		if code != c.code || !strings.Contains(errs, c.errs) || out != "" {
			t.Errorf("sluice %s: exit code %d, errors %q, output %q; want %d, %q", c.line, code, errs, out, c.code, c.errs)
		}
	}
}
