package drain

import (
	"fmt"
	"testing"
	"time"
)

// Messages that come one by one, each acknowledged before the next comes, take little
// more than those that come together.
func TestTrickle(t *testing.T) {
	if !full() {
		t.Skip("of few messages it is the gateway itself that is seen: -messages 1000000")
	}
	n := *messages / 5 // each costs a commit
	g := startGateway(t, freeAddr(t), "SLUICE_STORE_SYNC=never", "SLUICE_STORE_LINGER=0s")
	empty := readUsage(t, g.PID()).rss
	fill(t, g.Addr, n, payload, 1)
	rss := float64(readUsage(t, g.PID()).rss-empty) / float64(n*payload)
	t.Logf("%d messages of %d bytes that came one by one wait in %.2f bytes of memory a byte of payload", n, payload, rss)
	tell(t, "RSS, bytes per byte of payload, if they came one by one", "%.2f", rss)
	if rss > 2 {
		t.Error("that is too much")
	}
}

// A gateway with a backlog is soon back, and keeps it in little memory.
func TestRestart(t *testing.T) {
	const (
		size  = 64 // bytes of each message
		goal  = 2 * time.Second
		gross = 5 // times the goal: the machine is no excuse any more
		most  = 200
	)
	g := startGateway(t, freeAddr(t))
	empty := readUsage(t, g.PID()).rss
	fill(t, g.Addr, *messages, size, together)
	each := func(rss int64) float64 { return float64(rss-empty) / float64(*messages) }
	full := each(readUsage(t, g.PID()).rss)
	g.Kill()
	begun := time.Now()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	connect(t, g.Addr, "first").close()
	took := time.Since(begun)
	time.Sleep(time.Second)
	again := each(readUsage(t, g.PID()).rss)
	t.Logf("%d messages of %d bytes wait in %.0f bytes of memory each; killed, the gateway answers after %v, and they take %.0f",
		*messages, size, full, took.Round(time.Millisecond), again)
	tell(t, fmt.Sprintf("seconds from a kill to the answer to CONNECT, with messages of %d bytes waiting", size), "%.2f", took.Seconds())
	if took > gross*goal {
		t.Errorf("it took %v", took)
	}
	if full > most || again > most {
		t.Errorf("more than %d bytes a message", most)
	}
}
