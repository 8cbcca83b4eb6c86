package main

import (
	"debug/buildinfo"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// collected finds in a line of GODEBUG=gctrace=1 what one collection took, in ms of
// processor time: sweep termination, mark (assists, workers, workers of idle processors) and
// mark termination.
var collected = regexp.MustCompile(`(?m)^gc \d+ .* ms clock, ([\d.]+)\+([\d.]+)/([\d.]+)/([\d.]+)\+([\d.]+) ms cpu`)

// collector is what the garbage collector has taken of the processor time of a broker since
// it started, in percent; NaN if it is not written in Go.
func (r *running) collector() float64 {
	if _, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", r.PID())); err != nil {
		return math.NaN()
	}
	var ms float64
	for _, line := range collected.FindAllStringSubmatch(r.log.String(), -1) {
		for _, part := range line[1:] {
			v, _ := strconv.ParseFloat(part, 64) // digits, as the expression has it
			ms += v
		}
	}
	return 100 * ms / float64(r.cpu())
}

// cpu is the processor time of the broker since it started, in ms; 0 if it is gone.
func (r *running) cpu() int64 {
	const tick = 10 // ms; USER_HZ is 100 on all of Linux
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID()))
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // from the third field on
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return (user + system) * tick
}
