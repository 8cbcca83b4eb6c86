//go:build linux

package bench

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// flow is a scenario with a steady stream of messages: fanin, fanout, pairs.
type flow struct {
	*run
	pubs   []*publisher
	subs   []*subscriber
	copies uint64 // how often each message is to be delivered

	before    usage // of the server, when the warm-up was over
	ownBefore time.Duration
	recvAt    uint64 // messages that had arrived then
}

// flow connects the clients, lets the messages flow and counts them.
func (r *run) flow() error {
	f := &flow{run: r, copies: 1}
	f.build()
	r.report.Pubs, r.report.Subs = len(f.pubs), len(f.subs)
	err := f.connect()
	if err == nil {
		err = f.measure()
	}
	if f.cfg.Durable {
		err = errors.Join(err, f.forget())
	}
	return err
}

// addPub adds publisher i of a topic of its own.
func (f *flow) addPub(i int) *publisher {
	w := f.workers[i%len(f.workers)]
	c := f.client(w, fmt.Sprint("p", i), "")
	p := newPublisher(c, uint32(i), newMessage(f.cfg, f.topic(i), f.cfg.Size), f.cfg)
	p.index = len(w.pubs)
	p.window = uint64(f.cfg.Window)
	if f.cfg.Time > 0 {
		p.limit = math.MaxInt64
	}
	w.pubs = append(w.pubs, p)
	f.pubs = append(f.pubs, p)
	return p
}

// addSub adds subscriber i, who expects messages of pubs publishers.
func (f *flow) addSub(i int, filter string, firstPub, pubs int) *subscriber {
	w := f.workers[i%len(f.workers)]
	c := f.client(w, fmt.Sprint("s", i), filter)
	if f.cfg.Durable {
		c.outlive()
	}
	s := newSubscriber(c, uint32(firstPub), pubs)
	w.subs = append(w.subs, s)
	f.subs = append(f.subs, s)
	return s
}

func (f *flow) topic(i int) string { return fmt.Sprintf("%s/%d", f.cfg.Topic, i) }

// build makes the publishers and subscribers of the scenario.
func (f *flow) build() {
	switch f.cfg.Scenario {
	case "fanin":
		f.buildFanin()
	case "fanout":
		p := f.addPub(0)
		for i := range f.cfg.Subs {
			s := f.addSub(i, f.topic(0), 0, 1)
			p.watch = append(p.watch, &s.track[0])
		}
		f.copies = uint64(f.cfg.Subs)
	case "pairs":
		for i := range f.cfg.Pairs {
			p := f.addPub(i)
			s := f.addSub(i, f.topic(i), i, 1)
			p.watch = append(p.watch, &s.track[0])
		}
	}
}

func (f *flow) buildFanin() {
	filter := f.cfg.Topic + "/#"
	var share []shareTracker
	f.copies = uint64(f.cfg.Subs)
	if f.cfg.Share != "" {
		filter = "$share/" + f.cfg.Share + "/" + filter
		share = newShare(f.workers[0], f.cfg.Pubs)
		f.copies = 1
	}
	for i := range f.cfg.Subs {
		f.addSub(i, filter, 0, f.cfg.Pubs).share = share
	}
	for i := range f.cfg.Pubs {
		p := f.addPub(i)
		p.any = share != nil
		for _, s := range f.subs {
			p.watch = append(p.watch, &s.track[i])
		}
	}
}

// newShare makes trackers that w counts for.
func newShare(w *worker, pubs int) []shareTracker {
	share := make([]shareTracker, pubs)
	for i := range share {
		share[i].tally = &w.tally
	}
	return share
}

// connect opens all connections, the subscribers' first.
func (f *flow) connect() error {
	f.doing("connecting")
	deadline := f.clock() + int64(f.cfg.Limit)
	f.each(func(w *worker) {
		var subs []*conn
		for _, s := range w.subs {
			subs = append(subs, s.c)
		}
		w.connectAll(subs, 0, deadline)
	})
	f.each(func(w *worker) {
		var pubs []*conn
		for _, p := range w.pubs {
			pubs = append(pubs, p.c)
		}
		w.connectAll(pubs, 0, deadline)
	})
	for _, w := range f.workers {
		if w.firstErr != nil {
			return w.firstErr
		}
	}
	if n, all := f.totals().ready, len(f.pubs)+len(f.subs); n < uint64(all) {
		return fmt.Errorf("%d of %d connections are ready: %w", n, all, f.ended())
	}
	return nil
}

// forget ends the sessions that were to outlive their connections.
func (f *flow) forget() error {
	f.doing("ending sessions")
	f.stop.Store(f.ctx.Err() != nil)
	f.each(func(w *worker) {
		ready := w.ready
		var clean []*conn
		for i, s := range f.subs {
			if s.c.w == w {
				s.c.hangUp()
				clean = append(clean, f.client(w, fmt.Sprint("s", i), ""))
			}
		}
		w.connectAll(clean, 0, w.run.clock()+int64(f.cfg.Limit))
		if w.ready-ready < uint64(len(clean)) {
			w.connError(errors.New("sessions are left on the server"))
		}
	})
	for _, w := range f.workers {
		if w.firstErr != nil {
			return w.firstErr
		}
	}
	return nil
}

// measure lets the publishers send and waits for what they sent.
func (f *flow) measure() error {
	f.doing("publishing")
	start := f.clock()
	from := start + int64(f.cfg.Warmup)
	end := int64(math.MaxInt64)
	if f.cfg.Time > 0 {
		end = from + int64(f.cfg.Time)
	}
	for _, w := range f.workers {
		w.pace(from, len(f.pubs))
	}
	if err := f.mark(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.each(func(w *worker) { w.publishUntil(start, end) })
	}()
	arrived, err := f.supervise(start, from)
	own := ownCPU() - f.ownBefore
	var after usage
	if err == nil {
		after, err = readUsage(f.cfg.PID)
	}
	if f.cfg.QoS > 0 && f.ctx.Err() == nil {
		time.Sleep(100 * time.Millisecond) // for late duplicates, and last acknowledgements
	}
	f.stop.Store(true)
	<-over
	f.count(start, from)
	f.report.cost(f.before, after, own, arrived-f.recvAt)
	if err == nil && f.ctx.Err() != nil {
		err = f.ended()
	}
	return err
}

// pace spreads the rate over the worker's publishers, all being all there are.
func (w *worker) pace(from int64, all int) {
	w.measureFrom = from
	rate := w.run.cfg.Rate
	w.pacing = rate > 0 && len(w.pubs) > 0
	for _, p := range w.pubs {
		p.paced = rate > 0
		p.stride = len(w.pubs)
		p.interval = 1e9 / (rate * float64(len(w.pubs)) / float64(all))
	}
}

// mark notes what was used and has arrived so far: what counts begins here.
func (f *flow) mark() (err error) {
	f.ownBefore = ownCPU()
	f.recvAt = f.totals().arrived
	f.before, err = readUsage(f.cfg.PID)
	return err
}

// supervise waits until all is sent and has arrived, or nothing moves any more, and
// returns how many messages have arrived.
func (f *flow) supervise(start, from int64) (arrived uint64, err error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last totals
	moved, warm := start, f.cfg.Warmup == 0
	for range tick.C {
		now := f.clock()
		if !warm && now >= from {
			warm = true
			if err := f.mark(); err != nil {
				return 0, err
			}
		}
		t := f.totals()
		if t.sent != last.sent || t.arrived != last.arrived {
			moved = now
		}
		last = t
		sentAll := t.pubsDone == uint64(len(f.pubs))
		quiet := time.Duration(now - moved)
		switch {
		case sentAll && t.received >= t.sent*f.copies, f.stop.Load():
			return t.arrived, nil
		case quiet > f.cfg.Quiet && !sentAll:
			f.report.note("publishers stalled for %v", quiet.Round(time.Millisecond))
			return t.arrived, nil
		case quiet > f.cfg.Quiet:
			return t.arrived, nil
		case time.Duration(now-start) > f.cfg.Limit:
			f.report.note("time limit of %v reached", f.cfg.Limit)
			return t.arrived, nil
		}
	}
	return last.arrived, nil
}

// publishUntil runs the worker's publishers until they are done, or until end
// and what then is in flight, and its subscribers until the run is stopped.
func (w *worker) publishUntil(start, end int64) {
	if w.pacing {
		if err := w.startTimer(); err != nil {
			w.connError(err)
			return
		}
		defer w.stopTimer()
	}
	w.now = w.run.clock()
	for _, p := range w.pubs {
		p.begin(start)
	}
	if w.pacing {
		w.tick()
	}
	over := false
	w.loop(func() bool {
		if !over && w.now >= end {
			over = true
			w.sendNoMore()
		}
		return false
	})
}

// sendNoMore leaves the publishers to what is in flight.
func (w *worker) sendNoMore() {
	for _, p := range w.pubs {
		if p.running {
			p.limit = p.seq
			w.markDirty(p.c)
		}
	}
}

// count takes the final numbers from the clients.
func (f *flow) count(start, from int64) {
	r := f.report
	var latency, lag histogram
	var lastSend, lastRecv int64
	var measured, reads uint64
	for _, w := range f.workers {
		latency.merge(&w.latency)
		lag.merge(&w.lag)
		lastSend = max(lastSend, w.lastSend)
		lastRecv = max(lastRecv, w.lastRecv)
		measured += w.measured
		reads += w.reads
		w.tell(r)
	}
	for _, p := range f.pubs {
		p.tell(r)
	}
	r.Lost = int64(r.Sent*f.copies) - int64(r.Received)
	r.latency(&latency)
	if f.cfg.Rate > 0 {
		r.SendLagP99 = micros(lag.quantile(0.99))
	}
	if d := float64(lastSend-start) / 1e9; d > 0 {
		r.InPerSec = float64(r.Sent) / d
	}
	if d := float64(lastRecv-from) / 1e9; d > 0 {
		r.Seconds = d
		r.OutPerSec = float64(measured) / d
	}
	if reads > 0 {
		r.MsgsPerRead = float64(r.Received) / float64(reads)
	}
}

// tell adds what the worker has seen to the report.
func (w *worker) tell(r *Report) {
	r.Received += w.tally.received
	r.Duplicated += w.tally.duplicated
	r.Misordered += w.tally.misordered
	r.Foreign += w.foreign
	r.Resent += w.resent
	r.ConnErrors += w.errors
	if w.firstErr != nil {
		r.note("first connection error: %v", w.firstErr)
	}
}

// tell adds what the publisher has done to the report.
func (p *publisher) tell(r *Report) {
	r.Sent += p.seq
	r.Unacked += uint64(p.unacked)
	r.Rejected += p.rejected
	r.BadAcks += p.badAcks
	if r.Alias && p.id == 0 && p.message.TopicAlias == 0 && !p.message.numbered {
		r.note("the server takes no topic alias: none was sent")
	}
}
