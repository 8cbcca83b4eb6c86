package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/firmware-tests/rig"
)

// markdown is the group as a table: the best figure of a row is bold, one whose runs
// made faults has a star, and the faults follow.
func (g *group) markdown() string {
	var s strings.Builder
	labels := g.labels()
	fmt.Fprintf(&s, "| load | figure | %s | ratio | goal | |\n|---|---|%s---:|---|---|\n", strings.Join(labels, " | "), strings.Repeat("---:|", len(labels)))
	var faults, notes []string
	for _, r := range g.results {
		if n := r.load.note; n != "" && !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
		for _, w := range r.load.rows {
			fmt.Fprintf(&s, "| %s | %s |", r.load.name, w.name())
			for _, label := range labels {
				fmt.Fprintf(&s, " %s |", r.cell(w, label))
			}
			ratio, verdict := r.verdict(w)
			fmt.Fprintf(&s, " %s | %s | %s |\n", ratio, w.goal, verdict)
		}
		faults = append(faults, r.faults()...)
	}
	for i, fault := range faults {
		if i == 0 {
			s.WriteString("\n")
		}
		fmt.Fprintf(&s, "- \\* %s\n", fault)
	}
	for _, note := range notes {
		fmt.Fprintf(&s, "\n%s\n", note)
	}
	return s.String()
}

// cell is a side's figure in a table.
func (r *result) cell(w row, label string) string {
	m, ok := r.median(w, label)
	switch {
	case !ok && r.faulty(label):
		return "failed \\*"
	case !ok:
		return ""
	case r.faulty(label):
		return cell(m) + " \\*"
	case r.best(w) == label:
		return "**" + cell(m) + "**"
	}
	return cell(m)
}

// verdict is the ratio of a row, and what became of its goal.
func (r *result) verdict(w row) (ratio, verdict string) {
	ours, ok := r.median(w, r.whose(w))
	if !ok {
		return "", "not measured"
	}
	times, compared := r.ratio(w)
	if compared {
		ratio = fmt.Sprintf("%.2f", times)
	}
	switch {
	case w.goal == goal{}, w.goal.ratio > 0 && !compared:
	case r.faulty(r.whose(w)):
		verdict = "faults"
	case w.goal.met(ours, times):
		verdict = "met"
	default:
		verdict = "missed"
	}
	return ratio, verdict
}

// description is where, when and how the results were made.
type description struct {
	Date                   time.Time
	CPU, Memory            string
	Kernel, Go             string
	Busy                   string // how much the machine had to do before
	Cores                  int
	Versions               []string
	Commit                 string
	Command                string
	Rounds                 int
	Duration, Warmup, Took time.Duration
	Sync                   fsyncs
}

func describe(b *brokers) description {
	about := description{
		Date: time.Now(), Cores: runtime.NumCPU(), Go: runtime.Version(),
		CPU: firstOf("/proc/cpuinfo", "model name"), Sync: measureSync(b.dir),
	}
	if kib, err := strconv.Atoi(strings.TrimSuffix(firstOf("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		about.Memory = fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		about.Busy, _, _ = strings.Cut(string(load), " ")
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		about.Kernel = strings.TrimSpace(string(kernel))
	}
	for _, version := range b.versions {
		about.Versions = append(about.Versions, version)
	}
	slices.Sort(about.Versions)
	cmd := exec.Command("git", "describe", "--always", "--dirty", "--tags")
	cmd.Dir = rig.Root()
	if out, err := cmd.Output(); err == nil {
		about.Commit = strings.TrimSpace(string(out))
	}
	return about
}

// fsyncs is what it costs to append 2 KiB to a file and have it on disk.
type fsyncs struct{ took, cpu time.Duration }

// measureSync does what a store has to do at least, in a file in dir; zero if it cannot.
func measureSync(dir string) (s fsyncs) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return s
	}
	defer os.Remove(f.Name())
	defer f.Close()
	runtime.LockOSThread() // whose processor time it is
	defer runtime.UnlockOSThread()
	const n = 300
	began, before := time.Now(), threadTime()
	for range n {
		if _, err := f.Write(make([]byte, 2<<10)); err != nil || f.Sync() != nil {
			return s
		}
	}
	return fsyncs{
		took: (time.Since(began) / n).Round(time.Microsecond),
		cpu:  ((threadTime() - before) / n).Round(time.Microsecond),
	}
}

func threadTime() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	syscall.Getrusage(thisThread, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// firstOf is the value of the first line of a file of the form "name : value".
func firstOf(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// document is RESULTS.md.
func document(about description, groups []*group) string {
	var s strings.Builder
	fmt.Fprintf(&s, `# Results

Written by %s (make bench-peers) in firmware-tests: do not edit.

Medians of %d rounds (or fewer, where the list of loads says so), the brokers in turns in each; where a load runs for a time, for %v after a warm-up. Payloads of 64 bytes. The ratio
is Sluice's figure to Mosquitto's, or to that of the other way to run Sluice: the median of the rounds' own ratios, as what slows the
machine for minutes slows both sides of a round, and not quite that of the medians. Bold is the best of a row, a star marks runs in which messages
were lost, duplicated or out of order, or that failed. Differences below 20 %% mean nothing on shared machines. The generator is one
thread on the same machine.

| | |
|---|---|
| date | %s, in %v |
| commit | %s |
| machine | %s, %d cores, %s memory, Linux %s; load average before %s |
| disk | a write of 2 KiB and its fsync take %v, %v of it processor time |
| Go | %s |
`, "`"+about.Command+"`", about.Rounds, about.Duration, about.Date.UTC().Format("2006-01-02 15:04 UTC"), about.Took.Round(time.Second),
		about.Commit, about.CPU, about.Cores, about.Memory, about.Kernel, about.Busy,
		about.Sync.took, about.Sync.cpu, about.Go)
	for _, v := range about.Versions {
		fmt.Fprintf(&s, "| broker | %s |\n", v)
	}
	for _, g := range groups {
		fmt.Fprintf(&s, "\n## %s\n\n%s\n![%s](plots/%s)\n", g.name, g.markdown(), g.name, g.file())
	}
	s.WriteString("\n## Loads\n\nEach is `sluice bench` with these arguments, on brokers started by the scripts in `peers`.\n\n| load | arguments |\n|---|---|\n")
	for _, g := range groups {
		for _, r := range g.results {
			fmt.Fprintf(&s, "| %s | `%s`%s |\n", r.load.name, strings.Join(r.load.arguments(about.Duration, about.Warmup), " "), r.load.differences())
		}
	}
	s.WriteString(elsewhere())
	return s.String()
}
