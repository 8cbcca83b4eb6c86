package differential

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

var (
	duration = flag.Duration("duration", 5*time.Second, "how long conversations are begun")
	seed     = flag.Uint64("seed", 0, "of the only conversation to play; 0: many, of new seeds")
)

const (
	talking  = 6   // players that play at a time
	talks    = 40  // conversations at a time, most of which wait
	timedOne = 5   // of so many conversations, one waits
	tries    = 200 // to shrink one
	shown    = 3   // conversations that differ, then it is enough
)

// table is where conversations are played: both brokers.
type table struct {
	gateway   *rig.Gateway
	mosquitto *rig.Mosquitto
	slots     chan struct{}
	played    atomic.Int64

	mu       sync.Mutex // held while one is shrunk
	differed int
}

func newTable(t *testing.T) *table {
	gateway, err := rig.NewGateway(t.TempDir(), "SLUICE_AUTH_ANONYMOUS=true", "SLUICE_LOG_LEVEL=warn", "SLUICE_STORE_SYNC=never")
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Kill)
	mosquitto, err := rig.StartMosquitto(t.TempDir(), "max_inflight_messages 0", "set_tcp_nodelay true", "log_type error")
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(mosquitto.Kill)
	return &table{gateway: gateway, mosquitto: mosquitto, slots: make(chan struct{}, talking)}
}

// play plays a conversation at both brokers and tells where they differ: "" nowhere. It
// is played again if it took so long that clocks ran out; late says that it always did.
func (tb *table) play(c *Conversation) (difference string, late bool) {
	for range 3 {
		prefix := fmt.Sprintf("c%d", tb.played.Add(1))
		addrs := [2]string{tb.gateway.Addr, tb.mosquitto.Addr}
		var (
			said  [2]*transcript
			errs  [2]error
			plays sync.WaitGroup
		)
		for i := range addrs {
			plays.Go(func() { said[i], errs[i] = play(c, addrs[i], prefix, tb.slots) })
		}
		plays.Wait()
		if errs[0] != nil || errs[1] != nil {
			return fmt.Sprintf("Sluice: %v, Mosquitto: %v\n", errs[0], errs[1]), false
		}
		if c.hurried() && max(said[0].slowest, said[1].slowest) > haste {
			continue
		}
		if at, how := compare(c, said[0], said[1]); at >= 0 {
			return fmt.Sprintf("after step %d:\n%s", at, how), false
		}
		return "", false
	}
	return "", true
}

// judge plays a conversation and reports a difference, with the shortest conversation
// that shows one.
func (tb *table) judge(t *testing.T, c *Conversation) {
	how, late := tb.play(c)
	if late {
		t.Logf("seed %d: not compared, this machine is too slow", c.Seed)
	}
	if how == "" {
		return
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.differed++; tb.differed > shown {
		return
	}
	shortest := how
	c = shrink(c, tries, func(c *Conversation) bool {
		how, _ := tb.play(c)
		if how != "" {
			shortest = how
		}
		return how != ""
	})
	t.Errorf("go test ./differential -seed=%d\n%s%s", c.Seed, c, shortest)
}

func TestSluiceAsMosquitto(t *testing.T) {
	tb := newTable(t)
	if *seed != 0 {
		c := conversation(*seed)
		t.Logf("\n%s", c)
		tb.judge(t, c)
		return
	}
	var (
		began  = time.Now()
		base   = rand.Uint64N(1 << 32)
		next   atomic.Uint64
		people sync.WaitGroup
	)
	for range talks {
		people.Go(func() {
			for !t.Failed() {
				c := conversation(base + next.Add(1))
				left := *duration - time.Since(began)
				if left < 0 {
					return
				}
				if c.waits() && left < pause {
					continue
				}
				tb.judge(t, c)
			}
		})
	}
	people.Wait()
	t.Logf("%d conversations in %v", tb.played.Load(), time.Since(began).Round(time.Millisecond))
}

// conversation is the one of a seed.
func conversation(seed uint64) *Conversation { return generate(seed, seed%timedOne == 0) }
