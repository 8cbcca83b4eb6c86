package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Report is what came of a run. Latencies are in microseconds, sizes in bytes.
// What a scenario does not measure is zero. Its JSON is for other programs to read.
type Report struct {
	Label     string `json:"label,omitempty"`
	Scenario  string `json:"scenario"`
	Transport string `json:"transport"` // tcp, tls, ws, wss or unix
	Version   string `json:"version"`
	QoS       int    `json:"qos"`
	Size      int    `json:"size"`
	User      int    `json:"user,omitempty"`
	Alias     bool   `json:"alias,omitempty"`
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
	Resent     uint64  `json:"resent"`     // QoS 2 before PUBREL, not counted as duplicates
	Unacked    uint64  `json:"unacked"`    // never acknowledged to the publisher
	Rejected   uint64  `json:"rejected"`   // acknowledged with a failure code
	BadAcks    uint64  `json:"bad_acks"`   // acknowledgements for nothing under way
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

	BrokerCPUSeconds    float64 `json:"broker_cpu_s"`
	BrokerCPUPerMsg     float64 `json:"broker_cpu_us_per_msg"`
	BrokerCores         float64 `json:"broker_cores"`
	BrokerWrittenPerMsg float64 `json:"broker_written_per_msg"` // to disk
	PeakRSS             uint64  `json:"broker_peak_rss"`
	RSSBefore           uint64  `json:"broker_rss_before"`
	RSSAfter            uint64  `json:"broker_rss_after"`
	LoadCPUPerMsg       float64 `json:"load_cpu_us_per_msg"`
	LoadCores           float64 `json:"load_cores"`
	LoadIsLimit         bool    `json:"load_is_limit,omitempty"` // the generator could do no more
	MsgsPerRead         float64 `json:"msgs_per_read,omitempty"`

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

	threads int
	hasPID  bool
}

var transports = map[string]string{"mqtt": "tcp", "mqtts": "tls", "ws": "ws", "wss": "wss", "unix": "unix"}

func newReport(c *Config) *Report {
	r := &Report{
		Label: c.Label, Scenario: c.Scenario, Transport: transports[c.URL.Scheme], Version: c.Connect.Version.String(),
		QoS: int(c.QoS), Size: c.Size, User: c.User, Alias: c.Alias, Rate: int(c.Rate), Window: c.Window,
		threads: c.Threads, hasPID: c.PID != 0,
	}
	if c.QoS > 0 {
		r.Inflight = c.Inflight
	}
	return r
}

// micros converts nanoseconds.
func micros(nano int64) float64 { return float64(nano) / 1e3 }

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Missing says how many messages were sent and did not get through: not received,
// or not acknowledged.
func (r *Report) Missing() uint64 { return uint64(max(0, r.Lost)) + r.Unacked }

// latency takes over the times of messages, or of connections.
func (r *Report) latency(h *histogram) {
	r.LatencyMean = h.mean() / 1e3
	r.LatencyP50 = micros(h.quantile(0.5))
	r.LatencyP90 = micros(h.quantile(0.9))
	r.LatencyP99 = micros(h.quantile(0.99))
	r.LatencyP999 = micros(h.quantile(0.999))
	r.LatencyMax = micros(h.max)
}

const mib = 1 << 20

// Print writes the report for people.
func (r *Report) Print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	line("load", "%s, MQTT %s over %s, QoS %d, %d bytes", r.Scenario, r.Version, r.Transport, r.QoS, r.Size)
	switch r.Scenario {
	case "conns":
		r.printConns(line)
	case "retained", "offline":
		r.printMessages(line)
		r.printStored(line)
	default:
		r.printMessages(line)
		r.printFlow(line)
	}
	line("generator", "%.2f us CPU each, %.2f cores of %d, %.1f messages a read", r.LoadCPUPerMsg, r.LoadCores, r.threads, r.MsgsPerRead)
	if r.LoadIsLimit {
		line("", "it was the limit, not the server: try -coalesce 1ms or -threads %d", r.threads+1)
	}
	if n := r.Foreign + r.Resent + r.Unacked + r.Rejected + r.BadAcks + uint64(r.ConnErrors); n > 0 {
		line("trouble", "%d connection errors, %d unacknowledged, %d rejected, %d unexpected acknowledgements, %d resent, %d foreign",
			r.ConnErrors, r.Unacked, r.Rejected, r.BadAcks, r.Resent, r.Foreign)
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
}

func (r *Report) printConns(line func(name, format string, args ...any)) {
	line("connections", "%d opened in %.2f s, %d alive at the end", r.Conns, r.Seconds, r.Alive)
	line("to CONNACK", "p50 %.0f us, p99 %.0f us", r.ConnackP50, r.ConnackP99)
	line("to ready", "p50 %.0f us, p99 %.0f us, max %.0f us", r.LatencyP50, r.LatencyP99, r.LatencyMax)
	if r.hasPID {
		line("server", "%.1f us CPU and %.0f bytes RSS each, %.1f MiB; idle %.1f%% CPU",
			r.BrokerCPUPerMsg, r.RSSPerConn, float64(r.RSSAfter)/mib, r.IdleCPUPercent)
	}
}

func (r *Report) printMessages(line func(name, format string, args ...any)) {
	line("messages", "%d sent, %d received, %d lost, %d duplicated, %d out of order", r.Sent, r.Received, r.Lost, r.Duplicated, r.Misordered)
	line("rate", "%.0f/s in, %.0f/s out, in %.2f s", r.InPerSec, r.OutPerSec, r.Seconds)
}

func (r *Report) printFlow(line func(name, format string, args ...any)) {
	line("latency", "p50 %.0f us, p90 %.0f us, p99 %.0f us, p99.9 %.0f us, max %.0f us", r.LatencyP50, r.LatencyP90, r.LatencyP99, r.LatencyP999, r.LatencyMax)
	if r.Rate > 0 {
		line("sent late", "p99 %.0f us, by the generator", r.SendLagP99)
	}
	r.printServer(line)
}

func (r *Report) printStored(line func(name, format string, args ...any)) {
	line("delivery", "first after %.1f ms, last after %.1f ms", r.FirstMillis, r.DrainMillis)
	if r.hasPID {
		line("storing", "%.2f us CPU and %.0f bytes RSS a message", r.StoreCPUPerMsg, r.StoreRSSPerMsg)
	}
	r.printServer(line)
}

func (r *Report) printServer(line func(name, format string, args ...any)) {
	if r.hasPID {
		line("server", "%.2f us CPU and %.0f bytes to disk a message delivered, %.2f cores, %.1f MiB RSS at most",
			r.BrokerCPUPerMsg, r.BrokerWrittenPerMsg, r.BrokerCores, float64(r.PeakRSS)/mib)
	}
}
