package plant

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
)

var seed = flag.Uint64("seed", 0, "of what happens at random; 0 for a new one, which is printed")

// Seed is what the dice of a test are made from: that of -seed if there is one.
func Seed(t testing.TB) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("to play it again: go test -run '^%s$' -seed=%d", t.Name(), s)
	return s
}

// Players are sensors and consumers that play until Stop, or until their test ends.
type Players struct {
	Consumers []*device.Consumer
	Sensors   []*device.Sensor

	t       testing.TB
	ctx     context.Context
	cancel  context.CancelFunc
	playing sync.WaitGroup
}

// NewPlayers has none yet.
func NewPlayers(t testing.TB) *Players {
	p := &Players{t: t}
	p.ctx, p.cancel = context.WithCancel(t.Context())
	t.Cleanup(p.Stop)
	return p
}

// Play runs somebody. Who leaves early has gone when leave returns.
func (p *Players) Play(run func(context.Context)) (leave func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	gone := make(chan struct{})
	p.playing.Go(func() {
		defer close(gone)
		run(ctx)
	})
	return func() {
		cancel()
		<-gone
	}
}

// Consumer brings a consumer whose ledger is judged in the end, and waits until it has
// subscribed. It stays.
func (p *Players) Consumer(name, addr, filter string, v codec.Version) *device.Consumer {
	p.t.Helper()
	c := &device.Consumer{Name: name, Addr: addr, Filter: filter, Version: v, Ledger: &device.Ledger{}}
	p.Consumers = append(p.Consumers, c)
	p.Play(c.Run)
	p.Subscribed(c)
	return c
}

// Subscribed waits until the server has a consumer's subscription.
func (p *Players) Subscribed(c *device.Consumer) {
	p.t.Helper()
	select {
	case <-c.Subscribed():
	case <-time.After(patience):
		p.t.Fatalf("%s cannot subscribe at %s", c.Name, c.Addr)
	}
}

// Fleet puts n sensors to work as setup completes them. Their identifiers go on from
// those there are. What is promised to them is noted for all consumers there are by now,
// if setup names no ledgers.
func (p *Players) Fleet(n int, setup func(*device.Sensor)) []*device.Sensor {
	first := len(p.Sensors)
	fleet := device.Fleet(n, func(s *device.Sensor) {
		s.Source.Sensor += first
		s.Ledgers = p.ledgers()
		setup(s)
	})
	p.Sensors = append(p.Sensors, fleet...)
	for _, s := range fleet {
		p.Play(s.Run)
	}
	return fleet
}

func (p *Players) ledgers() (list []*device.Ledger) {
	for _, c := range p.Consumers {
		list = append(list, c.Ledger)
	}
	return list
}

// Acknowledged is how many messages the sensors need not keep any more.
func (p *Players) Acknowledged() (n int64) {
	for _, s := range p.Sensors {
		n += s.Acked.Load()
	}
	return n
}

// Settle has all sensors stop, waits until all that was acknowledged has arrived and for
// duplicates to show themselves, and ends the play.
func (p *Players) Settle(limit time.Duration) {
	p.t.Helper()
	if err := device.Drain(p.ctx, limit, p.Sensors, p.ledgers()...); err != nil {
		p.t.Error(err)
	}
	time.Sleep(200 * time.Millisecond)
	p.Stop()
}

// Stop ends the play.
func (p *Players) Stop() {
	p.cancel()
	p.playing.Wait()
}

// Judge tells what each consumer got, and fails the test if a session was lost or a promise
// broken: that of highest for what was published at a QoS above it.
func (p *Players) Judge(highest byte) {
	p.t.Helper()
	for _, c := range p.Consumers {
		for qos := byte(1); qos <= 2; qos++ {
			count := c.Ledger.Count(qos)
			p.t.Logf("%-8s QoS %d: %s", c.Name, qos, count)
			if err := count.Broken(min(qos, highest)); err != nil {
				p.t.Errorf("%s: %v", c.Name, err)
			}
		}
		if lost := c.LostSessions.Load(); lost > 0 {
			p.t.Errorf("%s: its session was lost %d times", c.Name, lost)
		}
	}
	for _, s := range p.Sensors {
		if lost := s.LostSessions.Load(); lost > 0 {
			p.t.Errorf("sensor %d: its session was lost %d times", s.Source.Sensor, lost)
		}
	}
}
