package gateway

import "time"

// timer is a deadline of a conn or a session, embedded in it. The zero value is not set.
type timer struct {
	at    time.Duration // the gateway's time
	index int32         // place in the heap, from 1; 0: not set
	owner expirer
}

// expirer is what a timer belongs to. A conn may be told early: its deadline moves
// with every packet, but its timer only when it fires.
type expirer interface{ expire() }

// timers is a heap of deadlines, the nearest first.
type timers []*timer

// setTimer sets or moves t, whose owner is set. The alarm is moved if t is the
// nearest now.
func (s *Server) setTimer(t *timer, at time.Duration) {
	t.at = at
	if t.index == 0 {
		s.timers = append(s.timers, t)
		t.index = int32(len(s.timers))
	}
	s.timers.fix(int(t.index) - 1)
	if s.timers[0] == t {
		s.setAlarm()
	}
}

// stopTimer clears t.
func (s *Server) stopTimer(t *timer) {
	if t.index == 0 {
		return
	}
	i, last := int(t.index)-1, len(s.timers)-1
	s.timers.swap(i, last)
	s.timers[last] = nil
	s.timers = s.timers[:last]
	t.index = 0
	if i < last {
		s.timers.fix(i)
	}
}

// setAlarm has runTimers called when the nearest deadline has come.
func (s *Server) setAlarm() {
	if len(s.timers) == 0 || s.closing {
		return
	}
	d := max(s.timers[0].at-s.now, 0)
	if s.alarm == nil {
		s.alarm = time.AfterFunc(d, s.runTimers)
	} else {
		s.alarm.Reset(d)
	}
}

// runTimers expires what is due.
func (s *Server) runTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	s.tick()
	for len(s.timers) > 0 && s.timers[0].at <= s.now {
		t := s.timers[0]
		s.stopTimer(t)
		t.owner.expire()
	}
	s.setAlarm()
}

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i+1), int32(j+1)
}

// fix restores the order around the i-th deadline, which may have moved either way.
func (h timers) fix(i int) {
	for i > 0 && h[i].at < h[(i-1)/2].at {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].at < h[least].at {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
