package differential

import (
	"errors"
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
	talking  = 6  // players that play at a time
	talks    = 40 // conversations at a time, most of which wait
	alone    = 8  // Mosquittos that play one at a time
	timedOne = 5  // of so many conversations, one waits
	shown    = 2  // conversations that differ, then it is enough
)

// shrinking is how long one conversation is shrunk.
const shrinking = 30 * time.Second

// table is where conversations are played: both brokers.
type table struct {
	gateway   *rig.Gateway
	mosquitto *rig.Mosquitto
	slots     chan struct{}

	// apart are for one conversation at a time: a will that is delayed as long as
	// that of another client, but later, holds that up in Mosquitto 2.0.11.
	apart chan *rig.Mosquitto

	played atomic.Int64

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
	tb := &table{gateway: gateway, slots: make(chan struct{}, talking), apart: make(chan *rig.Mosquitto, alone)}
	tb.mosquitto = startMosquitto(t)
	for range alone {
		tb.apart <- startMosquitto(t)
	}
	return tb
}

func startMosquitto(t *testing.T) *rig.Mosquitto {
	m, err := rig.StartMosquitto(t.TempDir(), "max_inflight_messages 0", "set_tcp_nodelay true", "log_type error")
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

// play plays a conversation at both brokers and tells how they differ, and after how
// many steps: "" not at all. It is played again if it took so long that clocks ran out;
// late says that it always did.
func (tb *table) play(c *Conversation) (how string, steps int, late bool) {
	mosquitto := tb.mosquitto
	if c.delays() {
		mosquitto = <-tb.apart
		defer func() { tb.apart <- mosquitto }()
	}
	for range 3 {
		prefix := fmt.Sprintf("c%d", tb.played.Add(1))
		addrs := [2]string{tb.gateway.Addr, mosquitto.Addr}
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
			return fmt.Sprintf("Sluice: %v, Mosquitto: %v\n", errs[0], errs[1]), len(c.Steps), false
		}
		if c.hurried() && max(said[0].slowest, said[1].slowest) > haste {
			continue
		}
		if at, how := compare(c, said[0], said[1]); at >= 0 {
			return fmt.Sprintf("after step %d:\n%s", at, how), at + 1, false
		}
		return "", 0, false
	}
	return "", 0, true
}

// judge plays a conversation and reports a difference, with the shortest conversation
// that shows one.
func (tb *table) judge(t *testing.T, c *Conversation) {
	how, steps, late := tb.play(c)
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
	c.Steps = c.Steps[:steps]
	c = shrink(c, shrinking, func(c *Conversation) bool {
		how, _, _ := tb.play(c)
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
		base   = rand.Uint64N(1<<32) * timedOne
		next   atomic.Uint64
		people sync.WaitGroup
	)
	next.Store(base + talks*timedOne/2)
	for i := range uint64(talks) {
		people.Go(func() {
			// Those that wait come first: they need the time.
			for seed := base + i*timedOne/2; !t.Failed(); seed = next.Add(1) {
				c := conversation(seed)
				left := *duration - time.Since(began)
				if left < 0 {
					return
				}
				if c.waits() && left < pause || c.delays() && len(tb.apart) == 0 {
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
