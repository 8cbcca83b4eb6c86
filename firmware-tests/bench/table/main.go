// Table measures the gateway beside Mosquitto and prints medians and ratios.
//
//	go run ./bench/table [-rounds 3] [-short] [-only fan] [-o results.json]
//
// It runs compare.sh for every scenario, so that both brokers get the same load
// in turns. What is compared is the broker's CPU time for a message: on a shared
// machine it wavers less than throughput. The generator takes a core of its own;
// both brokers have what is left.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firmware-tests/rig"
)

// run is one row: the same load on every broker.
type run struct {
	name   string
	load   string // scenario and flags of mqload
	timed  bool   // runs for a time, which is added
	unit   string
	value  func(outcome) float64
	target string
	peers  []string // besides sluice
}

// outcome is what a row needs of mqload's results.
type outcome struct {
	Label      string   `json:"label"`
	CPUPerMsg  float64  `json:"broker_cpu_us_per_msg"`
	InPerSec   float64  `json:"in_per_sec"`
	OutPerSec  float64  `json:"out_per_sec"`
	P99        float64  `json:"latency_p99_us"`
	RSSPerConn float64  `json:"rss_per_conn"`
	Lost       int64    `json:"lost"`
	Duplicated uint64   `json:"duplicated"`
	Misordered uint64   `json:"misordered"`
	Notes      []string `json:"notes"`
}

const (
	flood0 = " -qos 0 -window 400 -burst 32"
	flood1 = " -qos 1 -inflight 64 -burst 16"
	pace   = " -rate 5000"
)

func cpu(o outcome) float64    { return o.CPUPerMsg }
func stored(o outcome) float64 { return o.InPerSec }
func rss(o outcome) float64    { return o.RSSPerConn }

var (
	mosquitto = []string{"mosquitto"}
	noSync    = []string{"sluice-nosync", "mosquitto"}

	runs = []run{
		{"fan-in, QoS 0", "fanin -pubs 50" + flood0, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"fan-in, QoS 1", "fanin -pubs 50" + flood1, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"fan-out, QoS 0", "fanout -subs 50" + flood0, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"fan-out, QoS 1", "fanout -subs 50" + flood1, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"50 pairs, QoS 0", "pairs -pairs 50" + flood0, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"50 pairs, QoS 1", "pairs -pairs 50" + flood1, true, "CPU us/msg", cpu, "ratio 0.25 or less", mosquitto},
		{"50 pairs, QoS 0, 5,000/s", "pairs -pairs 50 -qos 0" + pace, true, "CPU us/msg", cpu, "ratio 1.2 or less", mosquitto},
		{"50 pairs, QoS 1, 5,000/s", "pairs -pairs 50 -qos 1" + pace, true, "CPU us/msg", cpu, "ratio 1.2 or less", mosquitto},
		{"5,000 idle connections", "conns -conns 5000", false, "RSS bytes each", rss, "2,048 bytes or less", mosquitto},
		{"absent subscriber, QoS 1, 50 publishers, 1 in flight", "offline -qos 1 -pubs 50 -inflight 1 -n 2000", false, "stored/s", stored, "", noSync},
		{"absent subscriber, QoS 1, 50 publishers, 50 in flight", "offline -qos 1 -pubs 50 -inflight 50 -n 6000", false, "stored/s", stored, "60,000/s, or half of sluice-nosync", noSync},
	}
)

func main() {
	rounds := flag.Int("rounds", 3, "how often each broker is measured")
	short := flag.Bool("short", false, "one round of two seconds each: tells whether it works, not how fast")
	only := flag.String("only", "", "only the runs whose name has this in it")
	keep := flag.String("o", "", "append mqload's results to this `file`, a line of JSON each")
	flag.Parse()
	time := " -time 5s -warmup 1s"
	if *short {
		*rounds, time = 1, " -time 2s"
	}
	b, err := newBench(*rounds, *keep)
	if err == nil {
		defer os.RemoveAll(b.dir)
		err = b.table(*only, time)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// bench is what all runs share.
type bench struct {
	dir     string // temporary
	rounds  int
	results string // file that compare.sh appends to, "" for a new one each time
	here    string // this module's bench/
	gateway string
	mqload  string
}

func newBench(rounds int, results string) (*bench, error) {
	if _, err := rig.Find("mosquitto", "mosquitto"); err != nil {
		return nil, err
	}
	gateway, err := rig.Build()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, rounds: rounds, results: results, gateway: gateway,
		here: filepath.Join(rig.Root(), "firmware-tests", "bench"), mqload: filepath.Join(dir, "mqload")}
	cmd := exec.Command("go", "build", "-o", b.mqload, "./mqload")
	cmd.Dir = b.here
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build mqload: %w\n%s", err, out)
	}
	return b, nil
}

// table prints a row for every run whose name contains only.
func (b *bench) table(only, time string) error {
	fmt.Printf("| load | figure | sluice | sluice-nosync | mosquitto | ratio | goal | trouble |\n|---|---|---:|---:|---:|---:|---|---|\n")
	var failed error
	for _, r := range runs {
		if !strings.Contains(r.name, only) {
			continue
		}
		load := r.load
		if r.timed {
			load += time
		}
		all, err := b.compare(r, load)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		b.row(r, all)
	}
	return failed
}

// compare runs compare.sh and returns the results of every broker.
func (b *bench) compare(r run, load string) (map[string][]outcome, error) {
	file := filepath.Join(b.dir, "results")
	defer os.Remove(file)
	peers := filepath.Join(b.here, "peers")
	args := []string{filepath.Join(b.here, "compare.sh"), "-r", fmt.Sprint(b.rounds), "-o", file, "sluice=" + peers + "/sluice.sh"}
	for _, peer := range r.peers {
		args = append(args, peer+"="+filepath.Join(peers, peer)+".sh")
	}
	cmd := exec.Command("bash", append(append(args, "--"), strings.Fields(load)...)...)
	cmd.Env = append(os.Environ(), "GATEWAY="+b.gateway, "MQLOAD="+b.mqload, "TMPDIR="+b.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := b.keep(lines); err != nil {
		return nil, err
	}
	all := map[string][]outcome{}
	s := bufio.NewScanner(strings.NewReader(string(lines)))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var o outcome
		if err := json.Unmarshal(s.Bytes(), &o); err != nil {
			return nil, err
		}
		all[o.Label] = append(all[o.Label], o)
	}
	return all, s.Err()
}

func (b *bench) keep(lines []byte) error {
	if b.results == "" {
		return nil
	}
	f, err := os.OpenFile(b.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	return errors.Join(err, f.Close())
}

// row prints the medians. The ratio is sluice's to Mosquitto's.
func (b *bench) row(r run, all map[string][]outcome) {
	median := func(label string) float64 {
		var values []float64
		for _, o := range all[label] {
			values = append(values, r.value(o))
		}
		if len(values) == 0 {
			return 0
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cell := func(v float64) string {
		switch {
		case v == 0:
			return ""
		case v < 100:
			return fmt.Sprintf("%.2f", v)
		}
		return fmt.Sprintf("%.0f", v)
	}
	ratio := ""
	if ours, theirs := median("sluice"), median("mosquitto"); theirs > 0 {
		ratio = fmt.Sprintf("%.2f", ours/theirs)
	}
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.name, r.unit,
		cell(median("sluice")), cell(median("sluice-nosync")), cell(median("mosquitto")), ratio, r.target, trouble(all))
}

// trouble is what went wrong in any run, in few words.
func trouble(all map[string][]outcome) string {
	var list []string
	for label, outcomes := range all {
		for _, o := range outcomes {
			if o.Lost != 0 || o.Duplicated != 0 || o.Misordered != 0 {
				list = append(list, fmt.Sprintf("%s: %d lost, %d duplicated, %d out of order", label, o.Lost, o.Duplicated, o.Misordered))
			}
			for _, note := range o.Notes {
				list = append(list, label+": "+note)
			}
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), "; ")
}
