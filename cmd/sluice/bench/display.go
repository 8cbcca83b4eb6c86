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

// line says what has happened since the line before.
func (d *display) line() string {
	now, t, own := d.run.clock(), d.run.totals(), ownCPU()
	seconds := float64(now-d.at) / 1e9
	second := func(now, before uint64) float64 { return float64(now-before) / seconds }
	s := fmt.Sprintf("%5.1f s  %s", float64(now)/1e9-1, *d.run.phase.Load())
	if t.sent+t.arrived == 0 {
		s += fmt.Sprintf("  %d ready", t.ready)
	} else {
		s += fmt.Sprintf("  in %.0f/s  out %.0f/s", second(t.sent, d.last.sent), second(t.arrived, d.last.arrived))
		if n := t.arrived - d.last.arrived; n > 0 {
			s += fmt.Sprintf("  latency %.2f ms", float64(t.latency-d.last.latency)/float64(n)/1e6)
		}
		s += fmt.Sprintf("  lost or late %d  duplicated %d  out of order %d", t.skipped, t.duplicated, t.misordered)
	}
	s += fmt.Sprintf("  generator %.2f cores", (own-d.own).Seconds()/seconds)
	d.last, d.at, d.own = t, now, own
	return s
}
