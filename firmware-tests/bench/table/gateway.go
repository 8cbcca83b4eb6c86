package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

// crowd is a side with so many connections.
func crowd(n int) side {
	return side{label: thousands(int64(n)), broker: "sluice", flags: fmt.Sprint("-conns ", n)}
}

// alone are loads on the gateway that nobody is beside.
var alone = append([]*workload{
	{
		group: "Scale", name: "idle connections, a subscription each, by their number", flags: "conns", rounds: 3,
		sides: []side{crowd(1_000), crowd(5_000), crowd(15_000)}, base: "1,000",
		rows: []row{
			{"RSS bytes/connection", rssConn, "15,000", goal{atMost: 1500}},
			{"CPU us/connect and subscribe", cpu, "15,000", goal{ratio: 1.2}},
		},
		note: "RSS is compared with that of the gateway before: the first thousands find room that was there. At 1,500 bytes each, 100,000 take 150 MB. " +
			"So many have no descriptors here; what they take of the heap is counted in the process: `go test ./gateway -run IdleConnections -v` says 1.1 KB each.",
	},
	{
		group: "Restart and rest", name: "restart with 1,000,000 messages of 64 bytes", flags: "fanin -pubs 50 -topic backlog -qos 1 -inflight 64 -burst 16 -n 20000",
		sides: []side{sluice}, measure: restart, rounds: 3, about: "stored for a bridge that is cut off; then SIGKILL",
		rows: []row{
			{"ms to the first CONNACK", ready, "", goal{atMost: 2000}},
			{"RSS bytes/message after it", storeRSS, "", goal{atMost: 200}},
		},
	},
	{
		group: "Restart and rest", name: "1,000 idle devices and an idle bridge", flags: "conns -conns 1000 -hold 9s",
		sides: []side{sluice}, measure: idle, rounds: 1, about: "the threads' voluntary switches are counted in 6 of the seconds",
		rows: []row{{"wake-ups/s, all threads", wakeUps, "", goal{atMost: 2}}},
	},
}, abused()...)

func ready(o outcome) float64   { return o.Ready }
func wakeUps(o outcome) float64 { return o.WakeUps }
func peakMiB(o outcome) float64 { return o.PeakRSS / (1 << 20) }

// restart kills a gateway with a backlog and starts it again.
func restart(ctx context.Context, b *brokers, s side, args []string) (o outcome, line []byte, err error) {
	away, err := rig.FreeAddrs(1)
	if err != nil {
		return o, nil, err
	}
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return o, nil, err
	}
	defer os.RemoveAll(data)
	s.env = append(s.env, "SLUICE_DATA_DIR="+data, "SLUICE_BRIDGE_0_URL=mqtt://"+away[0], "SLUICE_BRIDGE_0_UP=backlog/# 1")
	r, err := b.start(s)
	if err != nil {
		return o, nil, err
	}
	defer r.end()
	if o, line, err = b.put(ctx, s, r, args); err != nil {
		return o, nil, err
	}
	r.Kill()
	begun := time.Now()
	if err := r.launch(); err != nil {
		return o, nil, err
	}
	for {
		if _, err := device.Visit(r.addr, "first", codec.V311); err == nil {
			break
		} else if time.Since(begun) > startLimit {
			return o, nil, fmt.Errorf("no CONNACK in %v: %w", startLimit, err)
		}
		time.Sleep(time.Millisecond)
	}
	o.Ready = float64(time.Since(begun).Microseconds()) / 1e3
	time.Sleep(time.Second)
	o.StoreRSS = float64(r.status("VmRSS:")<<10) / float64(o.Sent)
	return o, line, nil
}

// idle counts what a gateway wakes for that has nothing to do.
func idle(ctx context.Context, b *brokers, s side, args []string) (o outcome, line []byte, err error) {
	const settle, counted = 2500 * time.Millisecond, 6 * time.Second
	upstream, err := b.start(s)
	if err != nil {
		return o, nil, err
	}
	defer upstream.end()
	s.env = append(s.env, "SLUICE_BRIDGE_0_URL=mqtt://"+upstream.addr, "SLUICE_BRIDGE_0_UP=sensors/# 1")
	r, err := b.start(s)
	if err != nil {
		return o, nil, err
	}
	defer r.end()
	woke := make(chan float64, 1)
	go func() {
		time.Sleep(settle)
		before := r.wakeUps()
		time.Sleep(counted)
		woke <- float64(r.wakeUps()-before) / counted.Seconds()
	}()
	o, line, err = b.put(ctx, s, r, args)
	o.WakeUps = <-woke
	if err == nil && r.wakeUps() == 0 {
		err = errors.New("its threads are not to be seen")
	}
	return o, line, err
}

// status is a number in /proc/PID/status of the broker, 0 if it is gone.
func (r *running) status(name string) int64 {
	return statusNumber(fmt.Sprintf("/proc/%d/status", r.PID()), name)
}

// wakeUps is how often a thread of the broker that had waited went on.
func (r *running) wakeUps() (n int64) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.PID()))
	for _, path := range threads {
		n += statusNumber(path, "voluntary_ctxt_switches:")
	}
	return n
}

func statusNumber(path, name string) int64 {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
