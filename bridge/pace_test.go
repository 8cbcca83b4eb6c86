package bridge

import (
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// A path is a line with an upstream at its end, in a time of its own.
type path struct {
	each  time.Duration                        // that a message takes of the line, or of the upstream
	trip  func(at time.Duration) time.Duration // there and back, with nothing waiting
	clump time.Duration                        // acknowledgements come at multiples of it, together; 0: each by itself
	free  time.Duration                        // when the line has carried what was sent
	last  time.Duration                        // when the last acknowledgement comes
}

// send is when a message that is sent now is acknowledged. None overtakes another.
func (l *path) send(now time.Duration) time.Duration {
	l.free = max(l.free, now) + l.each
	at := l.free + l.trip(now)
	if l.clump > 0 {
		at = (at + l.clump - 1) / l.clump * l.clump
	}
	l.last = max(l.last, at)
	return l.last
}

// A span is how a backlog fares from one time to another.
type span struct {
	from, to time.Duration
	acked    int
	longest  time.Duration // latency
}

// share is how much of the line is used.
func (s *span) share(l *path) float64 {
	return float64(s.acked) * l.each.Seconds() / (s.to - s.from).Seconds()
}

// drain has p send a backlog without end, until the last of the spans is over.
func (l *path) drain(p *pace, spans ...*span) {
	type message struct {
		id       uint16
		sent, at time.Duration
	}
	var flying []message
	var now time.Duration
	for id := uint16(1); now < spans[len(spans)-1].to; {
		for p.flying < p.window {
			p.begin()
			p.sent(id, now)
			flying = append(flying, message{id, now, l.send(now)})
			id = max(1, id+1)
		}
		for now = flying[0].at; len(flying) > 0 && flying[0].at <= now; flying = flying[1:] {
			m := flying[0]
			p.acked(m.id, now)
			p.end(1)
			for _, s := range spans {
				if now >= s.from && now < s.to {
					s.acked++
					s.longest = max(s.longest, now-m.sent)
				}
			}
		}
	}
}

func always(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

// Whatever the line is like, it is used, and little waits on it.
func TestPace(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, c := range map[string]struct {
		path
		settled time.Duration // when it has to be
		latency time.Duration // at most, from then on
		least   float64       // share of the line
	}{
		"loopback":                   {path{each: 10 * time.Microsecond, trip: always(100 * time.Microsecond)}, time.Second, 25 * ms, 0.99},
		"an upstream without cost":   {path{each: 500 * time.Nanosecond, trip: always(100 * time.Microsecond)}, time.Second, 25 * ms, 0.99},
		"100 ms":                     {path{each: 20 * time.Microsecond, trip: always(100 * ms)}, 3 * time.Second, 225 * ms, 0.99},
		"600 ms":                     {path{each: 200 * time.Microsecond, trip: always(600 * ms)}, 12 * time.Second, 1300 * ms, 0.99},
		"100 messages a second":      {path{each: 10 * ms, trip: always(100 * time.Microsecond)}, 5 * time.Second, 50 * ms, 0.95},
		"the same far away":          {path{each: 10 * ms, trip: always(100 * ms)}, 5 * time.Second, 250 * ms, 0.95},
		"128 KiB at 1 MB/s":          {path{each: 131 * ms, trip: always(50 * ms)}, 60 * time.Second, 700 * ms, 0.95},
		"trips of 50 to 150 ms":      {path{each: 100 * time.Microsecond, trip: func(time.Duration) time.Duration { return 50*ms + time.Duration(r.Int64N(int64(100*ms))) }}, 4 * time.Second, 400 * ms, 0.95},
		"acknowledgements in clumps": {path{each: 100 * time.Microsecond, trip: always(ms), clump: 40 * ms}, 3 * time.Second, 125 * ms, 0.95},
		"in clumps and far away":     {path{each: 100 * time.Microsecond, trip: always(100 * ms), clump: 40 * ms}, 4 * time.Second, 300 * ms, 0.95},
	} {
		p, s := newPace(1, maxWindow), &span{from: c.settled, to: c.settled + 10*time.Second}
		c.drain(&p, s)
		t.Logf("%s: %.1f %% of the line, at most %v, window %d", name, 100*s.share(&c.path), s.longest.Round(ms/10), p.window)
		if share := s.share(&c.path); share < c.least || s.longest > c.latency {
			t.Errorf("%s: %.1f %% of the line, at most %v; want %.0f %%, %v", name, 100*share, s.longest, 100*c.least, c.latency)
		}
	}
}

// A path that becomes longer, as with another antenna, is not taken for a queue for long.
func TestPaceOfAPathThatChanges(t *testing.T) {
	l := path{each: 100 * time.Microsecond, trip: func(at time.Duration) time.Duration {
		if at > 20*time.Second && at < 60*time.Second {
			return 300 * ms
		}
		return 50 * ms
	}}
	p := newPace(1, maxWindow)
	near, far, back := &span{from: 5 * time.Second, to: 20 * time.Second}, &span{from: 25 * time.Second, to: 60 * time.Second}, &span{from: 65 * time.Second, to: 90 * time.Second}
	l.drain(&p, near, far, back)
	for _, s := range []*span{near, far, back} {
		t.Logf("%v to %v: %.1f %% of the line, at most %v", s.from, s.to, 100*s.share(&l), s.longest.Round(ms/10))
		if s.share(&l) < 0.99 || s.longest > 650*ms {
			t.Errorf("%v to %v: %.1f %% of the line, at most %v", s.from, s.to, 100*s.share(&l), s.longest)
		}
	}
}

// What is granted is not exceeded, and where next to nothing is sent the window stays.
func TestPaceKeepsItsBounds(t *testing.T) {
	for _, most := range []int{1, 2, 20, 512, maxWindow, 65535} {
		for _, each := range []time.Duration{time.Microsecond, ms, 5 * time.Second} {
			l := path{each: each, trip: always(100 * ms)}
			for _, least := range []int{1, 512} {
				p := newPace(least, most)
				if first := p.window; first != min(most, max(least, firstWindow)) {
					t.Errorf("%d to %d begins with %d", least, most, first)
				}
				id := uint16(1)
				for now := time.Duration(0); now < 20*each+5*time.Second; now += each {
					p.begin()
					p.sent(id, now)
					p.acked(id, l.send(now))
					p.end(1)
					id++
				}
				l.drain(&p, &span{to: time.Second + 100*each})
				if p.window > min(most, maxWindow) || p.window < min(least, most) {
					t.Errorf("%d to %d: %d", least, most, p.window)
				}
			}
		}
	}
	p := newPace(1, maxWindow)
	for id := range uint16(1000) {
		p.begin()
		p.sent(id+1, time.Duration(id)*time.Second)
		p.acked(id+1, time.Duration(id)*time.Second+time.Duration(1+id%7)*100*ms)
		p.end(1)
	}
	if p.window != firstWindow {
		t.Errorf("with one message under way at a time it becomes %d", p.window)
	}
}
