//go:build linux

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process and its descendants have used so far.
type usage struct {
	cpu     time.Duration // user and system time, all threads
	rss     uint64        // bytes resident now
	peakRSS uint64        // bytes resident at most, summed over the processes
	written uint64        // bytes caused to be written to disk
}

// readUsage reads the usage of the processes that are alive under pid; pid 0 gives
// zeros.
func readUsage(pid int) (usage, error) {
	var u usage
	if pid == 0 {
		return u, nil
	}
	for i, p := range processTree(pid) {
		cpu, err := processCPU(p)
		if err != nil && i == 0 {
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		u.cpu += cpu
		status := readNumbers(fmt.Sprintf("/proc/%d/status", p))
		u.rss += status["VmRSS:"] << 10
		u.peakRSS += status["VmHWM:"] << 10
		u.written += readNumbers(fmt.Sprintf("/proc/%d/io", p))["write_bytes:"]
	}
	return u, nil
}

// readNumbers reads a file of lines that have a name and a number.
func readNumbers(path string) map[string]uint64 {
	numbers := map[string]uint64{}
	text, _ := os.ReadFile(path) // what cannot be read counts as 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				numbers[f[0]] = n
			}
		}
	}
	return numbers
}

// processTree returns pid and all its descendants.
func processTree(pid int) []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, err := parentOf(p); err == nil {
			children[parent] = append(children[parent], p)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

// parentOf reads the parent of a process from /proc/PID/stat, where the name in
// brackets may hold anything.
func parentOf(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0, errors.New("too few fields")
	}
	return strconv.Atoi(f[1])
}

const (
	nearlyAll  = 0.85 // of its threads the generator has to take to be called the limit,
	longEnough = 0.2  // in a run of so many seconds: at first everybody runs as he can
)

// cost takes over what server and generator used for n messages. Seconds must be
// set before.
func (r *Report) cost(before, after usage, own time.Duration, n uint64) {
	spent := after.cpu - before.cpu
	r.BrokerCPUSeconds = spent.Seconds()
	r.RSSBefore, r.RSSAfter, r.PeakRSS = before.rss, after.rss, after.peakRSS
	if n > 0 {
		r.BrokerCPUPerMsg = micros(spent.Nanoseconds()) / float64(n)
		r.BrokerWrittenPerMsg = float64(after.written-before.written) / float64(n)
		r.LoadCPUPerMsg = micros(own.Nanoseconds()) / float64(n)
	}
	if r.Seconds > 0 {
		r.BrokerCores = spent.Seconds() / r.Seconds
		r.LoadCores = own.Seconds() / r.Seconds
		r.LoadIsLimit = r.Seconds > longEnough && r.LoadCores > nearlyAll*float64(r.threads)
	}
}
