package instructions

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice/firmware-tests/rig"
)

var (
	update    = flag.Bool("update", false, "write figures.tsv anew")
	functions = flag.Bool("functions", false, "log the instructions of each function, with -v")
)

const (
	file  = "figures.tsv"
	slack = 5 // percent
)

// A subject is the benchmarks of a package that are counted. They loop by b.Loop, and
// take the same steps each time.
type subject struct {
	folder, benchmarks string
	loops              int
}

var subjects = []subject{
	{"codec", "^Benchmark(Publish|Puback|Match|ValidTopic)", 2000},
	{"gateway", "^Benchmark(Route|Away|Connect|TCP)$", 256},
	{"bridge", "^BenchmarkRelay$", 2000},
}

// What disturbs only adds. So the least of several runs counts, and what is above its
// figure is run again, in so many rounds at most.
const (
	runs   = 3
	rounds = 4
)

func TestInstructions(t *testing.T) {
	plugin := buildPlugin(t)
	kept, err := readFigures(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	var mu sync.Mutex
	measured := figures{}
	maps.Copy(measured, kept) // what -run leaves out stays
	for _, s := range subjects {
		for _, p := range platforms {
			t.Run(s.folder+"/"+p.arch, func(t *testing.T) {
				t.Parallel()
				run := s.build(t, &p, plugin)
				now := counts{}
				for range rounds {
					now.lower(run())
					if !*update && !now.above(kept, p.arch) {
						break
					}
				}
				for _, operation := range slices.Sorted(maps.Keys(now)) {
					if *functions {
						t.Logf("%s: %d, in%s", operation, now[operation].each, now[operation].most(25))
					}
					if !*update {
						compare(t, operation, kept[operation][p.arch], now[operation])
						continue
					}
					mu.Lock()
					measured.set(operation, p.arch, now[operation].each)
					mu.Unlock()
				}
			})
		}
	}
	t.Cleanup(func() {
		if *update && !t.Failed() {
			if err := measured.write(file); err != nil {
				t.Error(err)
			}
		}
	})
}

// compare holds a count against the figure that is kept, 0 if there is none.
func compare(t *testing.T, operation string, kept int, now count) {
	switch {
	case kept == 0:
		t.Errorf("%s has no figure in %s: go test ./instructions -update", operation, file)
	case now.above(kept):
		t.Errorf("%s takes %d instructions, %.1f %% more than the %d in %s. They are in%s\nIf they are worth it: go test ./instructions -update",
			operation, now.each, percent(now.each, kept), kept, file, now.most(8))
	case now.each*100 < kept*(100-slack):
		t.Logf("%s takes %d instructions, %.1f %% less than the %d in %s. So that it stays so: go test ./instructions -update",
			operation, now.each, -percent(now.each, kept), kept, file)
	}
}

func percent(now, kept int) float64 { return 100 * (float64(now)/float64(kept) - 1) }

// count is the instructions of one operation.
type count struct {
	each  int
	parts []part // of functions, the most first
}

// above says whether a figure is broken.
func (c count) above(kept int) bool { return c.each*100 > kept*(100+slack) }

// counts are by operation.
type counts map[string]count

// lower takes what is less in more.
func (all counts) lower(more counts) {
	for operation, c := range more {
		if before, ok := all[operation]; !ok || c.each < before.each {
			all[operation] = c
		}
	}
}

// above says whether any figure is broken.
func (all counts) above(kept figures, arch string) bool {
	for operation, c := range all {
		if c.above(kept[operation][arch]) {
			return true
		}
	}
	return false
}

type part struct {
	function string
	each     int
}

// most names the functions with the most instructions.
func (c count) most(n int) string {
	var b strings.Builder
	for _, p := range c.parts[:min(n, len(c.parts))] {
		fmt.Fprintf(&b, "\n%8d  %s", p.each, p.function)
	}
	return b.String()
}

// buildPlugin makes what counts. The test is skipped if that cannot be.
func buildPlugin(t *testing.T) (path string) {
	for _, program := range [][2]string{{"gcc", "gcc libc6-dev"}, {"qemu-arm", "qemu-user"}} {
		if _, err := rig.Find(program[0], program[1]); errors.Is(err, rig.ErrMissing) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "count.so")
	run(t, exec.Command("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", path, "qemu/count.c"))
	return path
}

// build builds the benchmarks of s for p, and returns what runs them.
func (s *subject) build(t *testing.T, p *platform, plugin string) func() counts {
	binary := filepath.Join(t.TempDir(), s.folder+"."+p.arch)
	build := exec.Command("go", "test", "-c", "-o", binary, "./"+s.folder)
	build.Dir = rig.Root()
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.arch, p.variant)
	run(t, build)
	return func() counts {
		bench := exec.Command(p.emulator, "-cpu", p.cpu, "-plugin", plugin, binary,
			"-test.run=^$", "-test.bench="+s.benchmarks, "-test.count="+strconv.Itoa(runs), "-test.benchtime="+strconv.Itoa(s.loops)+"x")
		bench.Dir = filepath.Join(rig.Root(), s.folder)
		bench.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
		names, lines := run(t, bench)
		return s.read(t, names, lines)
	}
}

// run returns what a program prints to standard output and standard error.
func run(t *testing.T, cmd *exec.Cmd) (out, faults string) {
	t.Helper()
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, o.String(), e.String())
	}
	return o.String(), e.String()
}

// read puts the lines of the benchmarks and those of the plugin together.
func (s *subject) read(t *testing.T, out, lines string) counts {
	var names []string
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "Benchmark"); ok {
			names = append(names, s.folder+"/"+strings.Fields(name)[0])
		}
	}
	all := counts{}
	i := 0
	for line := range strings.Lines(lines) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if fields[0] != "instructions" {
			continue
		}
		if i == len(names) {
			t.Fatalf("more counts than benchmarks:\n%s\n%s", out, lines)
		}
		all.lower(counts{names[i]: s.count(t, fields[1:])})
		i++
	}
	if i == 0 || i != len(names) {
		t.Fatalf("%d counts of %d benchmarks:\n%s\n%s", i, len(names), out, lines)
	}
	return all
}

// count reads what the plugin says of one benchmark.
func (s *subject) count(t *testing.T, fields []string) (c count) {
	each := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return (n + s.loops/2) / s.loops
	}
	c.each = each(fields[0])
	for _, field := range fields[1:] {
		at := strings.LastIndexByte(field, '=')
		c.parts = append(c.parts, part{field[:at], each(field[at+1:])})
	}
	slices.SortFunc(c.parts, func(a, b part) int { return b.each - a.each })
	return c
}

// Where the race detector is on, as in the tests of the gateway itself, what it
// allocates cannot be counted.
func TestAllocations(t *testing.T) {
	cmd := exec.Command("go", "test", "-count=1", "-run=Alloc", "./codec", "./gateway/...", "./store", "./bridge")
	cmd.Dir = rig.Root()
	run(t, cmd)
}
