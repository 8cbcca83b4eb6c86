package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"sluice/firmware-tests/abuse"
	"sluice/firmware-tests/rig"
)

// Those who abuse the gateway are a process of their own, as they would be a machine of
// their own: this program, by the name of misbehaviour. So that it is the gateway that is
// seen, not two processors shared by three, the gateway has one for itself. On the others
// those who behave go first, and those who do not get what time is left. They are still in
// the way there, in the system above all: so they are in the base as well, but it is another
// gateway beside them that they abuse.
const (
	misbehaviour = "misbehave"
	maxPacket    = 1 << 20     // bytes, the gateway's default
	abuseLimit   = time.Minute // when it ends by itself
	underway     = time.Second // the abuse is, before those who behave come

	bystander = "bystander" // another gateway is abused
	quiet     = "quiet"     // none is

	abuseNote = "The gateway has one processor for itself. On the others those who behave go first (SCHED_FIFO), and those who abuse the gateway get the time that is " +
		"left (SCHED_IDLE). As they are in the way of those who behave even so, the latency is compared with that beside the same abuse of another gateway, which has " +
		"the processors of those who abuse it. The gateway is told to stay under 128 MiB (SLUICE_MEMORY_LIMIT)."
)

// Commands before another, which say where and when it runs.
var (
	ownCPU   = []string{"taskset", "--cpu-list", "0"}
	atOnce   = []string{"taskset", "--cpu-list", others, "chrt", "--fifo", "1"}
	whenever = []string{"taskset", "--cpu-list", others, "chrt", "--idle", "0"}

	others = fmt.Sprintf("%d-%d", min(1, runtime.NumCPU()-1), runtime.NumCPU()-1)
)

// small is half the memory of a small box, and bounds that go with it, on processors of
// its own or not.
func small(where []string) []string {
	return []string{"SLUICE_MEMORY_LIMIT=128MiB", "SLUICE_QUEUE_MAX_BYTES=64MiB", "SLUICE_STORE_MAX_BYTES=64MiB", "WRAP=" + strings.Join(where, " ")}
}

// abused are loads beside which the gateway is abused.
func abused() (all []*workload) {
	sides := []side{
		{label: "abused", broker: "sluice", env: small(ownCPU), apart: true},
		{label: bystander, broker: "sluice", env: small(ownCPU), apart: true},
		{label: quiet, broker: "sluice", env: small(ownCPU), apart: true},
	}
	for _, a := range abuse.All {
		all = append(all, &workload{
			group: "Under abuse", name: a.Name, flags: "pairs -pairs 50 -qos 1" + pace, timed: true, measure: abusing(a.Name), rounds: 3,
			sides: sides, base: bystander,
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
		if s.label == quiet {
			return b.load(ctx, s, args)
		}
		addrs, err := rig.FreeAddrs(1)
		if err != nil {
			return o, nil, err
		}
		target := s
		if s.label == bystander {
			target.env = small(whenever)
		}
		target.env = append(slices.Clone(target.env), "SLUICE_WS_ADDR="+addrs[0])
		victim, err := b.start(target)
		if err != nil {
			return o, nil, err
		}
		defer victim.end()
		r := victim
		if s.label == bystander {
			if r, err = b.start(s); err != nil {
				return o, nil, err
			}
			defer r.end()
		}
		self, err := os.Executable()
		if err != nil {
			return o, nil, err
		}
		var log rig.Log
		command := append(slices.Clone(whenever), self, misbehaviour, name, victim.addr, addrs[0])
		p, err := rig.Start(&log, nil, command[0], command[1:]...)
		if err != nil {
			return o, nil, err
		}
		defer p.Kill()
		time.Sleep(underway)
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
	for _, a := range abuse.All {
		if a.Name == doing {
			return a.Do(ctx, abuse.Target{Addr: addr, WS: ws, MaxPacket: maxPacket})
		}
	}
	return fmt.Errorf("nobody does %q", doing)
}
