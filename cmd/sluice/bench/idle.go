//go:build linux

package bench

import "fmt"

// idle opens many connections, keeps them for a while without a word and looks at
// what they cost the server.
func (r *run) idle() error {
	w, cfg, report := r.workers[0], r.cfg, r.report
	conns := make([]*conn, cfg.Conns)
	for i := range conns {
		filter := ""
		if cfg.Sub {
			filter = fmt.Sprintf("%s/%d", cfg.Topic, i)
		}
		conns[i] = r.client(w, fmt.Sprint("c", i), filter)
	}
	report.Conns = len(conns)
	before, err := readUsage(cfg.PID)
	if err != nil {
		return err
	}
	own := ownCPU()
	start := r.clock()
	r.doing("connecting")
	r.each(func(w *worker) {
		if w == r.workers[0] {
			w.connectAll(conns, cfg.Rate, start+int64(cfg.Limit))
		}
	})
	report.Seconds = float64(r.clock()-start) / 1e9
	opened, err := readUsage(cfg.PID)
	if err != nil {
		return err
	}
	own = ownCPU() - own
	r.doing("idle")
	r.hold(int64(cfg.Hold))
	after, err := readUsage(cfg.PID)
	if err != nil {
		return err
	}
	r.countConns(conns)
	w.tell(report)
	report.cost(before, opened, own, uint64(report.Alive))
	report.PeakRSS, report.RSSAfter = after.peakRSS, after.rss
	if cfg.PID != 0 && report.Alive > 0 {
		report.RSSPerConn = (float64(after.rss) - float64(before.rss)) / float64(report.Alive)
		report.IdleCPUPercent = (after.cpu - opened.cpu).Seconds() / cfg.Hold.Seconds() * 100
	}
	if report.Alive == len(conns) {
		return nil
	}
	if err = w.firstErr; err == nil {
		err = r.ended()
	}
	return fmt.Errorf("%d of %d connections are alive at the end: %w", report.Alive, len(conns), err)
}

// hold keeps looking for connections that break for d nanoseconds.
func (r *run) hold(d int64) {
	until := r.clock() + d
	r.each(func(w *worker) {
		w.loop(func() bool { return r.clock() >= until })
	})
}

// countConns reports how long the handshakes took, and who is still there.
func (r *run) countConns(conns []*conn) {
	var connack, ready histogram
	for _, c := range conns {
		if c.connected > 0 {
			connack.add(c.connected - c.dialed)
		}
		if c.ready > 0 {
			ready.add(c.ready - c.dialed)
		}
		if c.state == stReady {
			r.report.Alive++
		}
	}
	r.report.OutPerSec = float64(ready.n) / r.report.Seconds
	r.report.latency(&ready)
	r.report.ConnackP50, r.report.ConnackP99 = micros(connack.quantile(0.5)), micros(connack.quantile(0.99))
}
