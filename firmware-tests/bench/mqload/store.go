package main

import (
	"fmt"
	"time"
)

// The scenarios in which the broker stores messages first and delivers them
// later: retained and offline. Each uses one worker.

// store is a scenario's run with its only worker.
type store struct {
	cfg *config
	run *run
	w   *worker
	res *result
}

func newStore(cfg *config) (*store, error) {
	cfg.threads = 1
	r, err := newRun(cfg)
	if err != nil {
		return nil, err
	}
	return &store{cfg: cfg, run: r, w: r.workers[0], res: newResult(cfg)}, nil
}

// dial opens a connection and waits for its handshakes.
func (s *store) dial(c *conn) error {
	c.w = s.w
	if err := s.w.open(c); err != nil {
		return err
	}
	return s.w.waitFor("connecting", s.cfg.limit, func() bool { return c.state == stReady })
}

// publish sends n messages made from t by each of several publishers and waits
// until the broker has them all.
func (s *store) publish(name string, t template, qos byte, publishers, n int) (sum published, err error) {
	pubs := make([]*publisher, publishers)
	for i := range pubs {
		c := &conn{v5: s.cfg.v5, connect: s.cfg.client(fmt.Sprint(name, i))}
		p := newPublisher(c, uint32(i), t, qos, s.cfg.inflight)
		p.limit = uint64(n)
		p.burst = uint64(s.cfg.burst)
		if err := s.dial(c); err != nil {
			return sum, err
		}
		pubs[i] = p
	}
	all := func(holds func(*publisher) bool) func() bool {
		return func() bool {
			for _, p := range pubs {
				if !holds(p) {
					return false
				}
			}
			return true
		}
	}
	start := s.run.clock()
	for _, p := range pubs {
		p.begin(s.run.clock())
	}
	if err := s.w.waitFor("publishing", s.cfg.limit, all(func(p *publisher) bool { return p.done })); err != nil {
		return sum, err
	}
	// With QoS 0 the answer to a ping tells that all before it was read.
	for _, p := range pubs {
		p.c.out = appendPingreq(p.c.out)
		p.c.flush()
	}
	if err := s.w.waitFor("ping after publishing", s.cfg.limit, all(func(p *publisher) bool { return p.c.pong })); err != nil {
		return sum, err
	}
	sum.seconds = float64(s.run.clock()-start) / 1e9
	for _, p := range pubs {
		sum.messages += p.seq
		sum.rejected += p.rejected
		sum.badAcks += p.badAcks
		s.hangUp(p.c)
	}
	return sum, nil
}

// published is what publishers have handed to the broker in all.
type published struct {
	messages, rejected, badAcks uint64
	seconds                     float64
}

// took takes over what storing cost, with p as its outcome.
func (s *store) took(p published, before, after usage) {
	s.res.InPerSec = float64(p.messages) / p.seconds
	s.res.Rejected, s.res.BadAcks = p.rejected, p.badAcks
	if s.cfg.pid != 0 {
		s.res.StoreRSSPerMsg = (float64(after.rss) - float64(before.rss)) / float64(p.messages)
		s.res.StoreCPUPerMsg = micros((after.cpu - before.cpu).Nanoseconds()) / float64(p.messages)
	}
}

// hangUp ends a connection with a DISCONNECT.
func (s *store) hangUp(c *conn) {
	if c.state == stReady {
		c.out = appendDisconnect(c.out)
		c.flush()
	}
	c.close(nil)
}

// receive waits until n messages have come, or none comes for a while.
func (s *store) receive(n uint64) {
	w := s.w
	quietFrom, seen := s.run.clock(), w.recv
	deadline := quietFrom + int64(s.cfg.limit)
	w.loop(func() bool {
		now := s.run.clock()
		if w.recv != seen {
			seen, quietFrom = w.recv, now
		}
		if now > deadline {
			s.res.note("time limit of %v reached", s.cfg.limit)
			return true
		}
		if now-quietFrom > int64(s.cfg.quiet) {
			s.res.note("no message for %v", s.cfg.quiet)
			return true
		}
		return w.recv >= n || w.firstErr != nil
	})
}

// linger lets last acknowledgements out and late duplicates in.
func (s *store) linger() {
	until := s.run.clock() + int64(100*time.Millisecond)
	s.w.loop(func() bool { return s.run.clock() > until })
}

// delivery fills the result from a delivery that began at start.
func (s *store) delivery(start int64, sent uint64) {
	w, res := s.w, s.res
	res.Sent = sent
	res.FirstMillis = float64(w.firstRecv-start) / 1e6
	res.DrainMillis = float64(w.lastRecv-start) / 1e6
	res.Seconds = float64(w.lastRecv-start) / 1e9
	if res.Seconds > 0 {
		res.OutPerSec = float64(w.recv) / res.Seconds
	}
	if w.reads > 0 {
		res.MsgsPerRead = float64(w.recv) / float64(w.reads)
	}
	res.addErrors(w)
}

// runRetained stores retained messages on topics of their own, subscribes to
// all of them and times the delivery.
func runRetained(cfg *config) (*result, error) {
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	prefix := cfg.topic + "/retained"
	beforeStore, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	p, err := s.publish("rp", newNumberedTemplate(cfg.v5, prefix, cfg.qos, true, cfg.size), cfg.qos, 1, cfg.n)
	if err != nil {
		return nil, err
	}
	before, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	s.took(p, beforeStore, before)
	ownBefore := ownCPU()
	c := &conn{v5: cfg.v5, connect: cfg.client("rs"), filter: prefix + "/#", filterQoS: cfg.qos}
	sub := newSubscriber(c, 0, 1, cfg.qos)
	sub.share = make([]shareTracker, 1) // any order will do
	s.w.reads = 0
	start := s.run.clock()
	if err := s.dial(c); err != nil {
		return nil, err
	}
	s.receive(p.messages)
	own := ownCPU() - ownBefore
	after, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	s.linger()
	s.delivery(start, p.messages)
	s.res.Received = sub.share[0].received
	s.res.Duplicated = sub.share[0].duplicated
	s.res.Lost = int64(p.messages) - int64(s.res.Received)
	s.res.cpu(before, after, own, s.res.Received)
	s.hangUp(c)
	if cfg.clean {
		if _, err := s.publish("rc", newNumberedTemplate(cfg.v5, prefix, cfg.qos, true, 0), cfg.qos, 1, cfg.n); err != nil {
			return nil, fmt.Errorf("removing the retained messages: %w", err)
		}
	}
	return s.res, nil
}

// runOffline lets messages queue up for an absent subscriber with a session,
// and times their delivery when it comes back.
func runOffline(cfg *config) (*result, error) {
	if cfg.qos == 0 {
		return nil, fmt.Errorf("offline needs -qos 1 or 2")
	}
	s, err := newStore(cfg)
	if err != nil {
		return nil, err
	}
	topic := cfg.topic + "/offline"
	opts := cfg.client("os")
	opts.Clean = false
	opts.SessionExpiry = 3600
	// A clean connection first, in case a session of an earlier run is there.
	fresh := opts
	fresh.Clean, fresh.SessionExpiry = true, 0
	purge := func() error {
		c := &conn{v5: cfg.v5, connect: fresh}
		if err := s.dial(c); err != nil {
			return err
		}
		s.hangUp(c)
		time.Sleep(100 * time.Millisecond)
		return nil
	}
	if err := purge(); err != nil {
		return nil, err
	}
	c := &conn{v5: cfg.v5, connect: opts, filter: topic, filterQoS: cfg.qos}
	if err := s.dial(c); err != nil {
		return nil, err
	}
	s.hangUp(c)
	time.Sleep(100 * time.Millisecond)

	beforeStore, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	s.res.Pubs = cfg.pubs
	p, err := s.publish("op", newTemplate(cfg.v5, topic, cfg.qos, false, cfg.size), cfg.qos, cfg.pubs, cfg.n)
	if err != nil {
		return nil, err
	}
	before, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	s.took(p, beforeStore, before)
	ownBefore := ownCPU()
	c = &conn{v5: cfg.v5, connect: opts}
	sub := newSubscriber(c, 0, cfg.pubs, cfg.qos)
	s.w.reads = 0
	start := s.run.clock()
	if err := s.dial(c); err != nil {
		return nil, err
	}
	if !c.ack.sessionPresent {
		s.res.note("the broker did not keep the session")
	}
	s.receive(p.messages)
	own := ownCPU() - ownBefore
	after, err := readUsage(cfg.pid)
	if err != nil {
		return nil, err
	}
	s.linger()
	s.delivery(start, p.messages)
	for i := range sub.track {
		t := &sub.track[i]
		s.res.Received += t.received
		s.res.Duplicated += t.duplicated
		s.res.Misordered += t.misordered
	}
	s.res.Lost = int64(p.messages) - int64(s.res.Received)
	s.res.cpu(before, after, own, s.res.Received)
	s.hangUp(c)
	return s.res, purge()
}
