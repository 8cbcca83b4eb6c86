//go:build linux

package bench

import (
	"errors"
	"fmt"
	"time"

	"sluice/codec"
)

// The scenarios in which the server keeps messages first and delivers them later:
// retained and offline. Each uses the first worker.

// ended is why the workers' loops came to an end before their work did.
func (r *run) ended() error {
	if r.ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("time limit of %v reached", r.cfg.Limit)
}

// wait runs the first worker until done.
func (r *run) wait(what string, done func() bool) error {
	w := r.workers[0]
	deadline := r.clock() + int64(r.cfg.Limit)
	w.loop(func() bool { return r.clock() > deadline || w.firstErr != nil || done() })
	switch {
	case done():
		return nil
	case w.firstErr != nil:
		return fmt.Errorf("%s: %w", what, w.firstErr)
	}
	return fmt.Errorf("%s: %w", what, r.ended())
}

// dial opens a connection and waits for its handshakes.
func (r *run) dial(c *conn) error {
	if err := r.workers[0].open(c); err != nil {
		return err
	}
	return r.wait("connecting", func() bool { return c.state == stReady })
}

// all reports whether holds is true of all publishers.
func all(pubs []*publisher, holds func(*publisher) bool) bool {
	for _, p := range pubs {
		if !holds(p) {
			return false
		}
	}
	return true
}

// publish has each of several publishers send its messages, which are made by
// message, and waits until the server has them all: seconds is how long that took.
func (r *run) publish(name string, publishers int, message func() message) (pubs []*publisher, seconds float64, err error) {
	for i := range publishers {
		p := newPublisher(r.client(r.workers[0], fmt.Sprint(name, i), ""), uint32(i), message(), r.cfg)
		if err := r.dial(p.c); err != nil {
			return pubs, 0, err
		}
		pubs = append(pubs, p)
	}
	start := r.clock()
	for _, p := range pubs {
		p.begin(start)
	}
	err = r.wait("publishing", func() bool { return all(pubs, func(p *publisher) bool { return p.done }) })
	if err != nil {
		return pubs, 0, err
	}
	// At QoS 0 the answer to a ping tells that all before it was read.
	for _, p := range pubs {
		p.c.out = (&codec.Pingreq{}).Append(p.c.out, p.c.connect.Version)
		p.c.flush()
	}
	err = r.wait("ping after publishing", func() bool { return all(pubs, func(p *publisher) bool { return p.c.pong }) })
	seconds = float64(r.clock()-start) / 1e9
	for _, p := range pubs {
		p.c.hangUp()
	}
	return pubs, seconds, err
}

// keep publishes as publish does and reports what that cost the server.
func (r *run) keep(name string, publishers int, message func() message) error {
	r.doing("storing")
	before, err := readUsage(r.cfg.PID)
	if err != nil {
		return err
	}
	pubs, seconds, err := r.publish(name, publishers, message)
	for _, p := range pubs {
		p.tell(r.report)
	}
	if err != nil {
		return err
	}
	after, err := readUsage(r.cfg.PID)
	n := float64(r.report.Sent)
	r.report.InPerSec = n / seconds
	if r.cfg.PID != 0 {
		r.report.StoreRSSPerMsg = (float64(after.rss) - float64(before.rss)) / n
		r.report.StoreCPUPerMsg = micros((after.cpu - before.cpu).Nanoseconds()) / n
	}
	return err
}

// deliver connects a subscriber and reports the delivery of all that was kept.
func (r *run) deliver(s *subscriber) error {
	r.doing("delivering")
	before, err := readUsage(r.cfg.PID)
	if err != nil {
		return err
	}
	w := r.workers[0]
	w.reads = 0
	own := ownCPU()
	start := r.clock()
	if err := r.dial(s.c); err != nil {
		return err
	}
	r.receive()
	own = ownCPU() - own
	after, err := readUsage(r.cfg.PID)
	if err != nil {
		return err
	}
	r.hold(int64(100 * time.Millisecond)) // last acknowledgements out, late duplicates in
	w.tell(r.report)
	report := r.report
	report.Lost = int64(report.Sent) - int64(report.Received)
	if w.lastRecv > 0 {
		report.FirstMillis = float64(w.firstRecv-start) / 1e6
		report.DrainMillis = float64(w.lastRecv-start) / 1e6
		report.Seconds = float64(w.lastRecv-start) / 1e9
		report.OutPerSec = float64(w.arrived) / report.Seconds
		report.MsgsPerRead = float64(w.arrived) / float64(w.reads)
	}
	report.cost(before, after, own, report.Received)
	s.c.hangUp()
	return nil
}

// receive waits until all that was sent has come, or nothing comes for a while.
func (r *run) receive() {
	w := r.workers[0]
	quietFrom, seen := r.clock(), w.arrived
	deadline := quietFrom + int64(r.cfg.Limit)
	w.loop(func() bool {
		now := r.clock()
		if w.arrived != seen {
			seen, quietFrom = w.arrived, now
		}
		switch {
		case now > deadline:
			r.report.note("time limit of %v reached", r.cfg.Limit)
			return true
		case now-quietFrom > int64(r.cfg.Quiet):
			r.report.note("no message for %v", r.cfg.Quiet)
			return true
		}
		return w.tally.received >= r.report.Sent || w.firstErr != nil
	})
}

// retained stores retained messages on topics of their own, subscribes to all of
// them and times the delivery.
func (r *run) retained() error {
	prefix := r.cfg.Topic + "/retained"
	store := func() message { return newRetained(r.cfg, prefix, r.cfg.Size) }
	if err := r.keep("rp", 1, store); err != nil {
		return err
	}
	s := newSubscriber(r.client(r.workers[0], "rs", prefix+"/#"), 0, 1)
	s.share = newShare(r.workers[0], 1) // they come in any order
	if err := r.deliver(s); err != nil {
		return err
	}
	if !r.cfg.Clean {
		return nil
	}
	r.doing("removing")
	if _, _, err := r.publish("rc", 1, func() message { return newRetained(r.cfg, prefix, 0) }); err != nil {
		return fmt.Errorf("removing the retained messages: %w", err)
	}
	return nil
}

// offline lets messages queue up for an absent subscriber with a session, and
// times their delivery when it comes back.
func (r *run) offline() error {
	r.report.Pubs = r.cfg.Pubs
	topic := r.cfg.Topic + "/offline"
	session := func(filter string) *conn {
		c := r.client(r.workers[0], "os", filter)
		c.outlive()
		return c
	}
	if err := r.purge(); err != nil { // a session of an earlier run
		return err
	}
	if err := r.visit(session(topic)); err != nil {
		return err
	}
	if err := r.keep("op", r.cfg.Pubs, func() message { return newMessage(r.cfg, topic, r.cfg.Size) }); err != nil {
		return errors.Join(err, r.purge())
	}
	s := newSubscriber(session(""), 0, r.cfg.Pubs)
	if err := r.deliver(s); err != nil {
		return errors.Join(err, r.purge())
	}
	if !s.c.ack.sessionPresent {
		r.report.note("the server did not keep the session")
	}
	return r.purge()
}

// visit connects and leaves again, and gives the server the time to notice.
func (r *run) visit(c *conn) error {
	if err := r.dial(c); err != nil {
		return err
	}
	c.hangUp()
	r.hold(int64(100 * time.Millisecond))
	return nil
}

// purge ends the session of the absent subscriber.
func (r *run) purge() error { return r.visit(r.client(r.workers[0], "os", "")) }
