// Table measures the gateway beside its peers and prints medians and ratios.
//
//	go run ./bench/table [-rounds 5] [-short] [-only fan-in] [-results bench]
//	go run ./bench/table -load 'pairs -qos 1 -time 5s'
//
// Every load is put on each broker in turns (A B C, A B C, ...), each time on one that
// was just started, by sluice bench. What is compared is the broker's CPU time for a
// message: on a shared machine it wavers less than throughput.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if done, err := besides(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	} else if done {
		return
	}
	var b bench
	flag.IntVar(&b.rounds, "rounds", 5, "how often each broker is measured")
	short := flag.Bool("short", false, "one round of a second each: tells whether it works, not how fast; writes no results")
	only := flag.String("only", "", "only the loads with this in their `group: name`")
	load := flag.String("load", "", "a load of your own instead: scenario and flags of sluice bench")
	results := flag.String("results", "", "write RESULTS.md and plots/ into this `directory`")
	flag.StringVar(&b.keep, "o", "", "append what sluice bench reports to this `file`, a line of JSON each")
	flag.Parse()
	b.duration, b.warmup = 2*time.Second, 500*time.Millisecond
	if *short {
		b.rounds, b.duration, b.warmup, *results = 1, time.Second, 200*time.Millisecond, ""
	}
	chosen := slices.Concat(loads, alone)
	if *load != "" {
		chosen = []*workload{ownLoad(*load)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	if err := b.run(ctx, chosen, *only, *results); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// bench is what all runs share.
type bench struct {
	rounds           int
	duration, warmup time.Duration
	keep             string // file for the reports, "" is none

	dir     string // temporary
	brokers *brokers
	done    int // runs, of all
	all     int
	began   time.Time
}

// run measures the loads whose group and name contain only, and prints the tables. With
// results it writes them there, too.
func (b *bench) run(ctx context.Context, loads []*workload, only, results string) (err error) {
	if b.dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	progress("looking for the brokers, and building what is missing")
	if b.brokers, err = findBrokers(b.dir); err != nil {
		return err
	}
	about := describe(b.brokers)
	about.Rounds, about.Duration, about.Warmup = b.rounds, b.duration, b.warmup
	about.Command = "go run ./bench/table " + strings.Join(os.Args[1:], " ")
	var chosen []*workload
	for _, l := range loads {
		if strings.Contains(l.group+": "+l.name, only) {
			l.sides = b.brokers.present(l.sides)
			chosen = append(chosen, l)
			b.all += b.roundsOf(l) * len(l.sides)
		}
	}
	b.began = time.Now()
	var failed error
	var measured []*result
	for _, l := range chosen {
		r, err := b.measure(ctx, l)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		failed = errors.Join(failed, err)
		measured = append(measured, r)
	}
	about.Took = time.Since(b.began)
	groups := groupsOf(measured)
	for _, g := range groups {
		fmt.Printf("## %s\n\n%s\n", g.name, g.markdown())
	}
	if results != "" {
		failed = errors.Join(failed, write(results, about, groups))
	}
	return failed
}

// roundsOf is how often each side of the load is measured.
func (b *bench) roundsOf(l *workload) int {
	if l.rounds != 0 {
		return min(b.rounds, l.rounds)
	}
	return b.rounds
}

// measure puts the load on each of its sides in turns.
func (b *bench) measure(ctx context.Context, l *workload) (*result, error) {
	r := &result{load: l, outcomes: map[string][]outcome{}}
	var failed error
	for round := range b.roundsOf(l) {
		for _, s := range l.sides {
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			b.done++
			measure := l.measure
			if measure == nil {
				measure = func(ctx context.Context, b *brokers, s side, args []string) (outcome, []byte, error) {
					return b.load(ctx, s, args)
				}
			}
			o, line, err := measure(ctx, b.brokers, s, l.arguments(b.duration, b.warmup))
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s, %s: %w", l.name, s.label, err))
				progress("%s: %s: %v", l.name, s.label, err)
				why, _, _ := strings.Cut(err.Error(), "\n")
				r.outcomes[s.label] = append(r.outcomes[s.label], outcome{Notes: []string{"failed: " + why}})
				continue
			}
			if err := b.store(line); err != nil {
				return r, err
			}
			r.outcomes[s.label] = append(r.outcomes[s.label], o)
			left := time.Since(b.began) / time.Duration(b.done) * time.Duration(b.all-b.done)
			progress("[%d/%d, %v left] %s, round %d: %s %s", b.done, b.all, left.Round(time.Second), l.name, round+1, s.label, r.progress(o))
		}
	}
	return r, failed
}

// store appends a report to the file that is to keep them.
func (b *bench) store(line []byte) error {
	if b.keep == "" {
		return nil
	}
	f, err := os.OpenFile(b.keep, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// write writes RESULTS.md and a plot for each group into dir.
func write(dir string, about description, groups []*group) error {
	plots := filepath.Join(dir, "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, g := range groups {
		if err := os.WriteFile(filepath.Join(plots, g.file()), []byte(g.plot()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), []byte(document(about, groups)), 0o644)
}

// besides is what this program does as another process of its own, if args are those of one.
func besides(args []string) (done bool, err error) {
	switch {
	case len(args) == 4 && args[0] == misbehaviour:
		return true, misbehave(args[1], args[2], args[3])
	case len(args) == 2 && args[0] == relaying:
		return true, runRelay(args[1])
	}
	return false, nil
}

// progress tells somebody who waits what goes on.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
