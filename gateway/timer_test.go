package gateway

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// expired notes the order in which timers fire.
type expired struct {
	at    time.Duration
	fired *[]time.Duration
}

func (e *expired) expire() { *e.fired = append(*e.fired, e.at) }

func TestTimersFireInOrder(t *testing.T) {
	s := New(Config{})
	s.closing = true // no alarm
	var fired, want []time.Duration
	var all []*timer
	for range 1000 {
		e := &expired{at: time.Duration(rand.IntN(500)), fired: &fired}
		tm := &timer{owner: e}
		s.setTimer(tm, e.at)
		all = append(all, tm)
	}
	for i, tm := range all {
		e := tm.owner.(*expired)
		switch i % 3 {
		case 0:
			s.stopTimer(tm)
			s.stopTimer(tm) // is nothing
			continue
		case 1:
			e.at = time.Duration(rand.IntN(500))
			s.setTimer(tm, e.at)
		}
		want = append(want, e.at)
	}
	slices.Sort(want)
	for len(s.timers) > 0 {
		tm := s.timers[0]
		s.stopTimer(tm)
		tm.owner.expire()
	}
	if !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
}
