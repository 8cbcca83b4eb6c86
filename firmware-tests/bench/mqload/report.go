package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what a scenario reports. Times of messages are in microseconds,
// sizes in bytes. Fields that a scenario does not measure stay zero.
type result struct {
	Label     string `json:"label,omitempty"`
	Scenario  string `json:"scenario"`
	Transport string `json:"transport"`
	Version   string `json:"version"`
	QoS       int    `json:"qos"`
	Size      int    `json:"size"`
	Pubs      int    `json:"pubs,omitempty"`
	Subs      int    `json:"subs,omitempty"`
	Conns     int    `json:"conns,omitempty"`
	Rate      int    `json:"rate,omitempty"`
	Inflight  int    `json:"inflight,omitempty"`
	Window    int    `json:"window,omitempty"`

	Seconds    float64 `json:"seconds"`
	Sent       uint64  `json:"sent"`
	Received   uint64  `json:"received"`   // distinct messages
	Lost       int64   `json:"lost"`       // expected but not received
	Duplicated uint64  `json:"duplicated"` // received more than once
	Misordered uint64  `json:"misordered"` // received after a later one of the same publisher
	Foreign    uint64  `json:"foreign"`    // not of this run
	Resent     uint64  `json:"resent"`     // QoS 2 retransmissions, not counted as duplicates
	Unacked    uint64  `json:"unacked"`    // never acknowledged to the publisher
	Rejected   uint64  `json:"rejected"`   // acknowledged with a failure code
	BadAcks    uint64  `json:"bad_acks"`   // acknowledgements for nothing outstanding
	ConnErrors int64   `json:"conn_errors"`
	InPerSec   float64 `json:"in_per_sec"`
	OutPerSec  float64 `json:"out_per_sec"`

	LatencyMean float64 `json:"latency_mean_us"`
	LatencyP50  float64 `json:"latency_p50_us"`
	LatencyP90  float64 `json:"latency_p90_us"`
	LatencyP99  float64 `json:"latency_p99_us"`
	LatencyP999 float64 `json:"latency_p999_us"`
	LatencyMax  float64 `json:"latency_max_us"`
	SendLagP99  float64 `json:"send_lag_p99_us,omitempty"` // how late the generator itself was

	BrokerCPUSeconds float64 `json:"broker_cpu_s"`
	BrokerCPUPerMsg  float64 `json:"broker_cpu_us_per_msg"`
	BrokerCores      float64 `json:"broker_cores"`
	PeakRSS          uint64  `json:"broker_peak_rss"`
	RSSBefore        uint64  `json:"broker_rss_before"`
	RSSAfter         uint64  `json:"broker_rss_after"`
	LoadCPUPerMsg    float64 `json:"load_cpu_us_per_msg"`
	LoadCores        float64 `json:"load_cores"`
	MsgsPerRead      float64 `json:"msgs_per_read,omitempty"`

	Alive          int     `json:"alive,omitempty"`
	ConnackP50     float64 `json:"connack_p50_us,omitempty"`
	ConnackP99     float64 `json:"connack_p99_us,omitempty"`
	RSSPerConn     float64 `json:"rss_per_conn,omitempty"`
	IdleCPUPercent float64 `json:"idle_cpu_percent,omitempty"`

	FirstMillis    float64 `json:"first_ms,omitempty"`
	DrainMillis    float64 `json:"drain_ms,omitempty"`
	StoreRSSPerMsg float64 `json:"store_rss_per_msg,omitempty"`
	StoreCPUPerMsg float64 `json:"store_cpu_us_per_msg,omitempty"`

	Notes []string `json:"notes,omitempty"`
}

func newResult(cfg *config) *result {
	r := &result{
		Label: cfg.label, Scenario: cfg.scenario, Transport: cfg.transport, Version: "3.1.1",
		QoS: int(cfg.qos), Size: cfg.size, Rate: int(cfg.rate), Window: cfg.window,
	}
	if cfg.v5 {
		r.Version = "5"
	}
	if cfg.qos > 0 {
		r.Inflight = cfg.inflight
	}
	return r
}

// micros converts nanoseconds.
func micros(nano int64) float64 { return float64(nano) / 1e3 }

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// addErrors takes over what went wrong on a worker's connections.
func (r *result) addErrors(w *worker) {
	r.Foreign += w.foreign
	r.Resent += w.resent
	r.ConnErrors += w.errors.Load()
	if w.firstErr != nil {
		r.note("first connection error: %v", w.firstErr)
	}
}

func (r *result) setLatency(h *histogram) {
	r.LatencyMean = h.mean() / 1e3
	r.LatencyP50 = micros(h.quantile(0.5))
	r.LatencyP90 = micros(h.quantile(0.9))
	r.LatencyP99 = micros(h.quantile(0.99))
	r.LatencyP999 = micros(h.quantile(0.999))
	r.LatencyMax = micros(h.max)
}

// cpu takes over what broker and generator used for n messages. Seconds must
// be set before.
func (r *result) cpu(before, after usage, own time.Duration, n uint64) {
	spent := after.cpu - before.cpu
	r.BrokerCPUSeconds = spent.Seconds()
	r.RSSBefore, r.RSSAfter, r.PeakRSS = before.rss, after.rss, after.peakRSS
	if n > 0 {
		r.BrokerCPUPerMsg = micros(spent.Nanoseconds()) / float64(n)
		r.LoadCPUPerMsg = micros(own.Nanoseconds()) / float64(n)
	}
	if r.Seconds > 0 {
		r.BrokerCores = spent.Seconds() / r.Seconds
		r.LoadCores = own.Seconds() / r.Seconds
	}
}

const mib = 1 << 20

// print writes the result for people.
func (r *result) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	line("scenario", "%s, MQTT %s over %s, QoS %d, %d bytes", r.Scenario, r.Version, r.Transport, r.QoS, r.Size)
	if r.Conns > 0 {
		line("connections", "%d opened in %.2f s, %d alive at the end", r.Conns, r.Seconds, r.Alive)
		line("to CONNACK", "p50 %.0f us, p99 %.0f us", r.ConnackP50, r.ConnackP99)
		line("to ready", "p50 %.0f us, p99 %.0f us, max %.0f us", r.LatencyP50, r.LatencyP99, r.LatencyMax)
		line("broker RSS", "%.1f MiB, %.0f bytes per connection", float64(r.RSSAfter)/mib, r.RSSPerConn)
		line("broker CPU", "%.1f us per connection; idle %.1f%%", r.BrokerCPUPerMsg, r.IdleCPUPercent)
	} else {
		line("messages", "%d sent, %d received, %d lost, %d duplicated, %d misordered", r.Sent, r.Received, r.Lost, r.Duplicated, r.Misordered)
		line("throughput", "%.0f/s in, %.0f/s out, %.2f s", r.InPerSec, r.OutPerSec, r.Seconds)
		if r.DrainMillis > 0 {
			line("delivery", "first after %.1f ms, last after %.1f ms", r.FirstMillis, r.DrainMillis)
			line("storing", "%.2f us CPU and %.0f bytes RSS per message", r.StoreCPUPerMsg, r.StoreRSSPerMsg)
		} else {
			line("latency us", "p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f", r.LatencyP50, r.LatencyP90, r.LatencyP99, r.LatencyP999, r.LatencyMax)
		}
		if r.SendLagP99 > 0 {
			line("sent late us", "p99 %.0f", r.SendLagP99)
		}
		line("broker CPU", "%.2f us per message delivered, %.2f cores", r.BrokerCPUPerMsg, r.BrokerCores)
		line("broker RSS", "%.1f MiB at most", float64(r.PeakRSS)/mib)
	}
	line("generator", "%.2f us CPU per message, %.2f cores, %.1f messages per read", r.LoadCPUPerMsg, r.LoadCores, r.MsgsPerRead)
	if n := r.Foreign + r.Resent + r.Unacked + r.Rejected + r.BadAcks + uint64(r.ConnErrors); n > 0 {
		line("trouble", "%d connection errors, %d unacknowledged, %d rejected, %d unexpected acknowledgements, %d resent, %d foreign",
			r.ConnErrors, r.Unacked, r.Rejected, r.BadAcks, r.Resent, r.Foreign)
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	w.Flush()
}

// summarizeFiles prints the medians of the results in the files, or on
// standard input when there are none.
func summarizeFiles(out io.Writer, names []string) error {
	var results []*result
	read := func(in io.Reader) error {
		sc := bufio.NewScanner(in)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if strings.TrimSpace(sc.Text()) == "" {
				continue
			}
			r := new(result)
			if err := json.Unmarshal(sc.Bytes(), r); err != nil {
				return err
			}
			results = append(results, r)
		}
		return sc.Err()
	}
	if len(names) == 0 {
		if err := read(os.Stdin); err != nil {
			return err
		}
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	summarize(out, results)
	return nil
}

// column is one column of the summary.
type column struct {
	title  string
	format string
	value  func(*result) float64
}

var (
	flowColumns = []column{
		{"out/s", "%.0f", func(r *result) float64 { return r.OutPerSec }},
		{"p50 us", "%.0f", func(r *result) float64 { return r.LatencyP50 }},
		{"p99 us", "%.0f", func(r *result) float64 { return r.LatencyP99 }},
		{"p99.9 us", "%.0f", func(r *result) float64 { return r.LatencyP999 }},
		{"CPU us/msg", "%.2f", func(r *result) float64 { return r.BrokerCPUPerMsg }},
		{"cores", "%.2f", func(r *result) float64 { return r.BrokerCores }},
		{"peak RSS MiB", "%.1f", func(r *result) float64 { return float64(r.PeakRSS) / mib }},
		{"load us/msg", "%.2f", func(r *result) float64 { return r.LoadCPUPerMsg }},
		{"load cores", "%.2f", func(r *result) float64 { return r.LoadCores }},
	}
	storeColumns = []column{
		{"stored/s", "%.0f", func(r *result) float64 { return r.InPerSec }},
		{"store CPU us/msg", "%.2f", func(r *result) float64 { return r.StoreCPUPerMsg }},
		{"RSS B/msg", "%.0f", func(r *result) float64 { return r.StoreRSSPerMsg }},
		{"first ms", "%.1f", func(r *result) float64 { return r.FirstMillis }},
		{"last ms", "%.1f", func(r *result) float64 { return r.DrainMillis }},
		{"out/s", "%.0f", func(r *result) float64 { return r.OutPerSec }},
		{"CPU us/msg", "%.2f", func(r *result) float64 { return r.BrokerCPUPerMsg }},
		{"load us/msg", "%.2f", func(r *result) float64 { return r.LoadCPUPerMsg }},
	}
	connColumns = []column{
		{"conn/s", "%.0f", func(r *result) float64 { return r.OutPerSec }},
		{"ready p50 us", "%.0f", func(r *result) float64 { return r.LatencyP50 }},
		{"ready p99 us", "%.0f", func(r *result) float64 { return r.LatencyP99 }},
		{"CPU us/conn", "%.1f", func(r *result) float64 { return r.BrokerCPUPerMsg }},
		{"RSS B/conn", "%.0f", func(r *result) float64 { return r.RSSPerConn }},
		{"RSS MiB", "%.1f", func(r *result) float64 { return float64(r.RSSAfter) / mib }},
		{"idle CPU %", "%.1f", func(r *result) float64 { return r.IdleCPUPercent }},
		{"alive", "%.0f", func(r *result) float64 { return float64(r.Alive) }},
	}
)

// columns returns those that fit the scenario.
func columns(scenario string) []column {
	switch scenario {
	case "conns":
		return connColumns
	case "retained", "offline":
		return storeColumns
	}
	return flowColumns
}

// median returns the middle of values, which it sorts.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sort.Float64s(values)
	n := len(values)
	if n%2 == 1 {
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}

// summarize prints one Markdown table for each scenario and setting, with a
// row of medians for each label in the order of their first appearance.
func summarize(out io.Writer, results []*result) {
	var keys []string
	groups := map[string][]*result{}
	for _, r := range results {
		key := fmt.Sprintf("%s, MQTT %s over %s, QoS %d, %d bytes", r.Scenario, r.Version, r.Transport, r.QoS, r.Size)
		if r.Scenario == "offline" && r.Pubs > 1 {
			key += fmt.Sprintf(", %d publishers", r.Pubs)
		}
		if r.Rate > 0 {
			key += fmt.Sprintf(", %d/s", r.Rate)
		}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], r)
	}
	for i, key := range keys {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s:\n\n", key)
		summarizeGroup(out, groups[key])
	}
}

func summarizeGroup(out io.Writer, group []*result) {
	cols := columns(group[0].Scenario)
	var labels []string
	runs := map[string][]*result{}
	for _, r := range group {
		if runs[r.Label] == nil {
			labels = append(labels, r.Label)
		}
		runs[r.Label] = append(runs[r.Label], r)
	}
	head, rule := "| broker | runs |", "|---|---|"
	for _, c := range cols {
		head += " " + c.title + " |"
		rule += "---:|"
	}
	fmt.Fprintf(out, "%s lost | dup | misordered | trouble |\n%s---:|---:|---:|---|\n", head, rule)
	for _, label := range labels {
		var lost int64
		var dup, mis uint64
		var good []*result
		var notes []string
		for _, r := range runs[label] {
			lost += r.Lost
			dup += r.Duplicated
			mis += r.Misordered
			notes = append(notes, r.Notes...)
			if r.Seconds > 0 {
				good = append(good, r)
			}
		}
		fmt.Fprintf(out, "| %s | %d |", label, len(good))
		for _, c := range cols {
			var v []float64
			for _, r := range good {
				v = append(v, c.value(r))
			}
			fmt.Fprintf(out, " "+c.format+" |", median(v))
		}
		trouble := ""
		if len(notes) > 0 {
			trouble = fmt.Sprintf("%d: %s", len(notes), notes[0])
		}
		fmt.Fprintf(out, " %d | %d | %d | %s |\n", lost, dup, mis, trouble)
	}
}
