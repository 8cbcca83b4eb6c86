//go:build linux

package bench

import (
	"fmt"
	"io"
	"time"
)

// display is a line on a terminal that is written over and over.
type display struct {
	run  *run
	out  io.Writer
	last totals
	at   int64
	own  time.Duration
}

// displayEvery is how often a reader can read it.
const displayEvery = 500 * time.Millisecond

// show shows how the run goes, if somebody looks, until the function it returns is
// called.
func (r *run) show() (done func()) {
	r.doing("connecting")
	if r.cfg.Live == nil {
		return func() {}
	}
	d := &display{run: r, out: r.cfg.Live, at: r.clock(), own: ownCPU()}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(displayEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(d.out, "\r%s\x1b[K", d.line())
			case <-stop:
				fmt.Fprint(d.out, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// line says what has happened since the line before, in less than 80 columns.
func (d *display) line() string {
	now, t, own := d.run.clock(), d.run.totals(), ownCPU()
	seconds := float64(now-d.at) / 1e9
	sent, arrived := float64(t.sent-d.last.sent)/seconds, t.arrived-d.last.arrived
	s := fmt.Sprintf("%5.1f s  ", float64(now)/1e9-1)
	switch {
	case t.sent == 0:
		s += fmt.Sprintf("%s  %d ready", *d.run.phase.Load(), t.ready)
	case arrived == 0:
		s += fmt.Sprintf("%s  in %s/s", *d.run.phase.Load(), short(sent))
	default:
		s += fmt.Sprintf("in %s/s  out %s/s  %.2f ms", short(sent), short(float64(arrived)/seconds), float64(t.latency-d.last.latency)/float64(arrived)/1e6)
	}
	if t.arrived > 0 {
		s += fmt.Sprintf("  missing %d  twice %d  disorder %d", t.skipped, t.duplicated, t.misordered)
	}
	s += fmt.Sprintf("  own CPU %.0f%%", (own-d.own).Seconds()/seconds*100)
	d.last, d.at, d.own = t, now, own
	return s
}

// short writes a rate in few digits.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
