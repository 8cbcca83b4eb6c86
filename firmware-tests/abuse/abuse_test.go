package abuse

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

var (
	length = flag.Duration("for", 1200*time.Millisecond, "how long each abuse goes on")
	strict = flag.Bool("strict", false, "the others' latency has a bound: only for a machine of one's own")
)

const (
	maxPacket = 1 << 20 // bytes, the gateway's default

	memoryLimit = 128 << 20            // bytes, what the gateway is told: half of a small box
	memoryBound = memoryLimit + 32<<20 // of RSS; the program itself and stacks are no part of the limit

	latencyRatio = 2                    // of the p99 under abuse to the quiet one
	latencyFloor = 2 * time.Millisecond // below which nobody cares
)

func TestAbuse(t *testing.T) {
	g, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), "SLUICE_LOG_LEVEL=error", fmt.Sprint("SLUICE_MEMORY_LIMIT=", memoryLimit))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { g.Kill() }()
	s, err := open(g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(*length / 2) // buffers grow to their sizes
	s.take()
	clearPeak(t, g)
	time.Sleep(*length)
	quietP99, _ := report(t, "quiet", s, g)

	at := Target{Addr: g.Addr, WS: g.WS, MaxPacket: maxPacket}
	for _, a := range All {
		t.Run(a.Name, func(t *testing.T) {
			s.take()
			clearPeak(t, g)
			ctx, cancel := context.WithTimeout(t.Context(), *length)
			defer cancel()
			if err := a.Do(ctx, at); err != nil {
				t.Error(err)
			}
			p99, peak := report(t, a.Name, s, g)
			if peak > memoryBound && os.Getenv("GORACE") == "" { // what the race detector takes is its own
				t.Errorf("the gateway takes %d MiB, want %d at most", peak>>20, memoryBound>>20)
			}
			if limit := latencyRatio*quietP99 + latencyFloor; *strict && p99 > limit {
				t.Errorf("p99 is %v for the others, want %v at most", p99, limit)
			}
		})
	}
	if err := s.close(); err != nil {
		t.Errorf("those who behave: %v", err)
	}
	if err := g.Terminate(); err != nil {
		t.Errorf("%v\n%s", err, g.Log.Tail(20))
	}
}

// report tells how the site fared since its latencies were taken last.
func report(t *testing.T, name string, s *site, g *rig.Gateway) (p99 time.Duration, peak int64) {
	t.Helper()
	l := s.take()
	p99, peak = percentile(l, 99), memory(t, g, "VmHWM")
	t.Logf("%-36s p50 %8v  p99 %8v  of %5d messages;  RSS at most %4d MiB, then %4d", name,
		percentile(l, 50).Round(time.Microsecond), p99.Round(time.Microsecond), len(l), peak>>20, memory(t, g, "VmRSS")>>20)
	return p99, peak
}

// memory is a figure of the gateway's in /proc, in bytes.
func memory(t *testing.T, g *rig.Gateway, name string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		t.Fatalf("the gateway is gone: %v\n%s", err, g.Log.Tail(20))
	}
	field := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(status)
	if field == nil {
		t.Fatalf("no %s in\n%s", name, status)
	}
	kilobytes, err := strconv.ParseInt(string(field[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// clearPeak has VmHWM begin anew.
func clearPeak(t *testing.T, g *rig.Gateway) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.PID()), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}
