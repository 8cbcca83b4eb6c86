package sn

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

var seed = flag.Uint64("seed", 1, "of the bad network")

// A network that loses, doubles and delays datagrams: at QoS 1 and 2 nothing is lost
// within the retries, at QoS 2 nothing comes twice, and so with devices that sleep.
func TestBadNetwork(t *testing.T) {
	const (
		messages = 40 // of each device, each way
		retry    = 100 * time.Millisecond
	)
	g := startGateway(t, "SLUICE_SN_RETRY=100ms", "SLUICE_SN_RETRIES=30")
	each(t, func(t *testing.T, k kit) {
		for qos := 1; qos <= 2; qos++ {
			for _, asleep := range []bool{false, true} {
				t.Run(fmt.Sprintf("QoS %d/asleep %v", qos, asleep), func(t *testing.T) {
					t.Parallel()
					name := strings.NewReplacer("/", "-", " ", "").Replace(t.Name())
					c := g.startCentre(t, name+"/up")
					// A tenth of the datagrams is worse than any network that is called one. What is
					// late overtakes what was sent up to 20 ms after it.
					radio := &rig.Radio{Backend: g.addr(k), Seed: *seed, Lost: 0.1, Doubled: 0.1, Late: 0.2, Delay: 20 * time.Millisecond}
					if err := radio.Open(); err != nil {
						t.Fatal(err)
					}
					defer radio.Close()
					d := k.start(t, radio.Addr, retry)
					d.do("connect", name, 0, 60)
					d.do("register", name+"/up")
					d.do("subscribe", "name", name+"/down/#", qos)
					var up, down []string
					for i := range messages {
						up = append(up, fmt.Sprintf("%s/up %d false %d", name, qos, i))
						down = append(down, fmt.Sprintf("message %s/down/%d %d 0 %d", name, i%5, qos, i))
						if asleep && i%10 == 0 {
							d.do("sleep", 600)
						}
						c.publish(fmt.Sprintf("%s/down/%d", name, i%5), 2, false, fmt.Sprint(i))
						if asleep && i%10 == 9 {
							d.do("wake", name)
							d.do("connect", name, 0, 60)
						}
						if !asleep || i%10 == 9 {
							for j := len(up) - 1 - i%10*btoi(asleep); j <= i; j++ {
								d.do("publish", "name", name+"/up", qos, 0, j)
							}
						}
					}
					collect(t, "up", c.came, up, qos)
					d.spare = collect(t, "down", d.came, down, qos)
					t.Logf("%d datagrams lost, %d doubled, %d late", radio.Losses.Load(), radio.Doubles.Load(), radio.Delays.Load())
					if radio.Losses.Load() == 0 || radio.Doubles.Load() == 0 || radio.Delays.Load() == 0 {
						t.Error("the network was not bad")
					}
				})
			}
		}
	})
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

// collect waits until all that is wanted has come, in the order of first arrivals, at QoS 2
// once. It returns what may come again after that.
func collect(t *testing.T, way string, from <-chan string, want []string, qos int) (spare map[string]bool) {
	t.Helper()
	spare = make(map[string]bool)
	came := make(map[string]int)
	for first := 0; first < len(want); {
		select {
		case got := <-from:
			came[got]++
			spare[got] = qos == 1
			switch {
			case came[got] > 1 && qos == 2:
				t.Errorf("%s: %q came %d times", way, got, came[got])
			case came[got] == 1 && got != want[first]:
				t.Fatalf("%s: got %q, want %q", way, got, want[first])
			case came[got] == 1:
				first++
			}
		case <-time.After(patience):
			t.Fatalf("%s: %q did not come", way, want[first])
		}
	}
	return spare
}
