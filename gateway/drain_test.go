package gateway

import (
	"fmt"
	"testing"
	"time"

	"sluice/codec"
)

// What waited is sent by the budget, in order, and what comes meanwhile after it, at once.
func TestDrainBudget(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		rate   float64 // messages a second
	}{
		{"messages", Limits{DrainMessages: 10}, 10},
		{"many messages", Limits{DrainMessages: 1000}, 1000},
		{"bytes", Limits{DrainBytes: 1000}, 1000 / 110.},
		{"both", Limits{DrainMessages: 100, DrainBytes: 1000}, 1000 / 110.},
		{"neither", Limits{}, 1e9},
	} {
		t.Run(c.name, func(t *testing.T) {
			onDisk(t, Config{}, func(at *site) {
				at.limited(c.limits)
				pub := at.join("pub", codec.V5)
				const n = 300
				for i := range n {
					pub.send(message("a/1", fmt.Sprintf("%-98d", i), 1, uint16(i+1)))
				}
				bridge := at.bridge("$bridge/up")
				began, came, next := time.Now(), 0, 0
				take := func() {
					for {
						switch p := bridge.next().(type) {
						case *codec.Publish:
							var i int
							if fmt.Sscan(string(p.Payload), &i); i != next {
								t.Fatalf("got %d, want %d", i, next)
							}
							next++
							came++
							bridge.send(&codec.Puback{ID: p.ID})
						case nil:
							return
						}
					}
				}
				pub.send(message("a/1", fmt.Sprint(n), 1, n+1), message("a/1", fmt.Sprint(n+1), 1, n+2))
				for came < n+2 {
					take()
					took := time.Since(began) + 3*time.Second // the bridge was there for a while when it was looked at
					if most := 2 + c.rate*took.Seconds() + c.rate/5; float64(came) > most {
						t.Fatalf("%d came within %v", came, took)
					}
					if took > time.Second && c.rate < n && came < n {
						if least := c.rate * (took - 3*time.Second).Seconds() * 0.85; float64(came) < least-2 {
							t.Fatalf("only %d came within %v", came, took)
						}
					}
					if took > time.Hour {
						t.Fatalf("only %d came", came)
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		})
	}
}
