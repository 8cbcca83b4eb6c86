package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// outcome is what a row needs of a report of sluice bench.
type outcome struct {
	CPUPerMsg  float64  `json:"broker_cpu_us_per_msg"`
	Written    float64  `json:"broker_written_per_msg"`
	InPerSec   float64  `json:"in_per_sec"`
	OutPerSec  float64  `json:"out_per_sec"`
	P50        float64  `json:"latency_p50_us"`
	P99        float64  `json:"latency_p99_us"`
	P999       float64  `json:"latency_p999_us"`
	RSSPerConn float64  `json:"rss_per_conn"`
	StoreCPU   float64  `json:"store_cpu_us_per_msg"`
	StoreRSS   float64  `json:"store_rss_per_msg"`
	LoadCores  float64  `json:"load_cores"`
	LoadLimit  bool     `json:"load_is_limit"`
	Seconds    float64  `json:"seconds"`
	Sent       uint64   `json:"sent"`
	Lost       int64    `json:"lost"`
	Duplicated uint64   `json:"duplicated"`
	Misordered uint64   `json:"misordered"`
	Notes      []string `json:"notes"`
	PeakRSS    float64  `json:"broker_peak_rss"`

	// Not of sluice bench.
	Collector float64 `json:"-"` // percent of the processor time; NaN: there is none
	WakeUps   float64 `json:"-"` // a second
	Ready     float64 `json:"-"` // ms from the start to the first CONNACK
}

// fault is what went wrong in a run, in few words; "" is nothing.
func (o outcome) fault() string {
	var list []string
	if o.Lost != 0 || o.Duplicated != 0 || o.Misordered != 0 {
		list = append(list, fmt.Sprintf("%d lost, %d duplicated, %d out of order", o.Lost, o.Duplicated, o.Misordered))
	}
	return strings.Join(append(list, o.Notes...), "; ")
}

// result is what came of a load, by the label of the side.
type result struct {
	load     *workload
	outcomes map[string][]outcome
}

// progress is the first figure of an outcome, for who waits.
func (r *result) progress(o outcome) string {
	first := r.load.rows[0]
	text := fmt.Sprintf("%s %s", cell(first.value(o)), first.figure)
	if o.LoadLimit {
		text += fmt.Sprintf(" (the generator took %.2f cores)", o.LoadCores)
	}
	if fault := o.fault(); fault != "" {
		text += " (" + fault + ")"
	}
	return text
}

// median is the middle figure of a side's runs that came to an end; not ok if
// there are none.
func (r *result) median(w row, label string) (m float64, ok bool) {
	var values []float64
	for _, o := range r.outcomes[label] {
		if v := w.value(o); o.Seconds > 0 && !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	return median(values)
}

// ratio is the middle one of the ratios of the figure that the row is about to that of the
// base, of each round by itself: what slows the machine for minutes slows both. Not ok if
// there are none.
func (r *result) ratio(w row) (m float64, ok bool) {
	var values []float64
	bases := r.outcomes[r.load.base]
	for i, o := range r.outcomes[r.whose(w)] {
		if i == len(bases) {
			break
		}
		ours, base := w.value(o), w.value(bases[i])
		if o.Seconds > 0 && bases[i].Seconds > 0 && base > 0 && !math.IsNaN(ours) {
			values = append(values, ours/base)
		}
	}
	return median(values)
}

// median returns the middle of values, or between the middle two; not ok if there
// are none.
func median(values []float64) (m float64, ok bool) {
	n := len(values)
	if n == 0 {
		return 0, false
	}
	slices.Sort(values)
	return (values[(n-1)/2] + values[n/2]) / 2, true
}

// faulty says whether anything went wrong in a side's runs.
func (r *result) faulty(label string) bool {
	return slices.ContainsFunc(r.outcomes[label], func(o outcome) bool { return o.fault() != "" })
}

// faults lists what went wrong, a line for each side, with what the worst run says.
func (r *result) faults() (list []string) {
	for _, s := range r.load.sides {
		var bad []string
		for _, o := range r.outcomes[s.label] {
			if fault := o.fault(); fault != "" {
				bad = append(bad, fault)
			}
		}
		if len(bad) > 0 {
			list = append(list, fmt.Sprintf("%s, %s: %d of %d runs: %s", r.load.name, s.label, len(bad), len(r.outcomes[s.label]), slices.Max(bad)))
		}
	}
	return list
}

// whose is the label of the side that the row is about.
func (r *result) whose(w row) string {
	if w.side != "" || len(r.load.sides) == 0 {
		return w.side
	}
	return r.load.sides[0].label
}

// best is the label of the side with the best figure, among those that made no
// fault.
func (r *result) best(w row) (best string) {
	var figure float64
	for _, s := range r.load.sides {
		m, ok := r.median(w, s.label)
		if better := m < figure != strings.HasSuffix(w.figure, "/s"); ok && !r.faulty(s.label) && (best == "" || better) {
			best, figure = s.label, m
		}
	}
	return best
}

// cell writes a figure with as many digits as mean something.
func cell(v float64) string {
	switch {
	case v >= 1000 || v <= -1000:
		return thousands(int64(math.Round(v)))
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands writes n with commas.
func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

// group is the results that are shown together.
type group struct {
	name    string
	results []*result
}

// groupsOf puts results together by the group of their load, in order.
func groupsOf(results []*result) (groups []*group) {
	for _, r := range results {
		i := slices.IndexFunc(groups, func(g *group) bool { return g.name == r.load.group })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{name: r.load.group})
		}
		groups[i].results = append(groups[i].results, r)
	}
	return groups
}

// labels lists the sides of all results, in order.
func (g *group) labels() (labels []string) {
	for _, r := range g.results {
		for _, s := range r.load.sides {
			if !slices.Contains(labels, s.label) {
				labels = append(labels, s.label)
			}
		}
	}
	return labels
}
