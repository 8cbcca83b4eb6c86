package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"sluice/firmware-tests/abuse"
	"sluice/firmware-tests/rig"
)

// Those who abuse the gateway are a process of their own, as they would be a machine of
// their own: this program, by the name of misbehaviour. So that it is the gateway that is
// seen, not two processors shared by three, they get what time the others leave, and those
// who behave go first. What is left of it is in the base as well: there nobody abuses the
// gateway, but a process that gets what the others leave takes it all.
const (
	misbehaviour = "misbehave"
	last, first  = "19", "-10" // niceness
	busy         = "busy"      // is no abuse: it takes processor time, and leaves the gateway alone
	maxPacket    = 1 << 20     // bytes, the gateway's default
	abuseLimit   = time.Minute // when it ends by itself

	abuseNote = "Those who abuse the gateway run on the same processors, with the lowest priority. Beside busy there is no abuse, but a process of that priority " +
		"that takes all the time it gets. The gateway is told to stay under 128 MiB (SLUICE_MEMORY_LIMIT). The others' latency when all is quiet is among Messages."
)

// small is half the memory of a small box, and bounds that go with it.
var small = []string{"SLUICE_MEMORY_LIMIT=128MiB", "SLUICE_QUEUE_MAX_BYTES=64MiB", "SLUICE_STORE_MAX_BYTES=64MiB"}

// abused are loads beside which the gateway is abused.
func abused() (all []*workload) {
	sides := []side{
		{label: "abused", broker: "sluice", env: small, first: true},
		{label: busy, broker: "sluice", env: small, first: true},
	}
	for _, a := range abuse.All {
		all = append(all, &workload{
			group: "Under abuse", name: a.Name, flags: "pairs -pairs 50 -qos 1" + pace, timed: true, measure: abusing(a.Name), rounds: 3,
			sides: sides, base: busy,
			rows: []row{
				{"others' latency p99 us", p99, "", goal{ratio: 2}},
				{"RSS at most, MiB", peakMiB, "", goal{atMost: 160}},
			},
			note: abuseNote,
		})
	}
	return all
}

// abusing measures those who behave while others do not.
func abusing(name string) func(ctx context.Context, b *brokers, s side, args []string) (outcome, []byte, error) {
	return func(ctx context.Context, b *brokers, s side, args []string) (o outcome, line []byte, err error) {
		addrs, err := rig.FreeAddrs(1)
		if err != nil {
			return o, nil, err
		}
		s.env = append(slices.Clone(s.env), "SLUICE_WS_ADDR="+addrs[0])
		r, err := b.start(s)
		if err != nil {
			return o, nil, err
		}
		defer r.end()
		doing := name
		if s.label == busy {
			doing = busy
		}
		self, err := os.Executable()
		if err != nil {
			return o, nil, err
		}
		var log rig.Log
		p, err := rig.Start(&log, nil, "nice", "-n", last, self, misbehaviour, doing, r.addr, addrs[0])
		if err != nil {
			return o, nil, err
		}
		defer p.Kill()
		o, line, err = b.put(ctx, s, r, args)
		select {
		case <-p.Done():
			o.Notes = append(o.Notes, "those who did it gave up: "+log.Tail(1))
		default:
		}
		return o, line, err
	}
}

// misbehave is what that process does until it is killed.
func misbehave(doing, addr, ws string) error {
	ctx, cancel := context.WithTimeout(context.Background(), abuseLimit)
	defer cancel()
	if doing == busy {
		for range runtime.NumCPU() {
			go func() {
				for ctx.Err() == nil {
				}
			}()
		}
		<-ctx.Done()
		return nil
	}
	for _, a := range abuse.All {
		if a.Name == doing {
			return a.Do(ctx, abuse.Target{Addr: addr, WS: ws, MaxPacket: maxPacket})
		}
	}
	return fmt.Errorf("nobody does %q", doing)
}
