package drain

import (
	"testing"
	"time"
)

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
	fill(t, g.Addr, *messages, size)
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
	if took > gross*goal {
		t.Errorf("it took %v", took)
	}
	if full > most || again > most {
		t.Errorf("more than %d bytes a message", most)
	}
}
