package gateway

import "time"

// A publisher may be faster than a subscriber that is here. What comes at QoS 1 and 2 then
// waits, in memory if the session ends with the connection, and who lets all the room fill
// has to go. Before that publishers are slowed down: each is read from once in a brakeTime
// while what it publishes goes to such a subscriber. Nobody is stopped, so that one who
// does not read at all holds up others by no more than that.
const (
	brakeFrom = 1 << 20 // bytes that wait for one session, or a quarter of what may if that is less
	brakeTime = 10 * time.Millisecond
)

// crowded says whether publishers are to slow down for the session.
func (to *session) crowded() bool {
	return to.expiry == 0 && to.conn != nil && to.queue.Bytes() > min(brakeFrom, to.srv.cfg.QueueMaxBytes/4)
}

// brake stops reading for a moment.
func (c *conn) brake() {
	s := c.srv
	if c.braked || c.dev != nil || c.state != connected { // a device sends one message at a time
		return
	}
	c.braked = true
	c.tc.Pause()
	s.braked = append(s.braked, c)
	if s.brakes.index == 0 {
		s.brakes.owner = (*brakes)(s)
		s.setTimer(&s.brakes, s.now+brakeTime)
	}
}

// brakes lets go of all that were stopped.
type brakes Server

func (b *brakes) expire() {
	s := (*Server)(b)
	braked := s.braked
	s.braked = nil
	for _, c := range braked {
		c.braked = false
		if c.state == connected {
			c.listen()
		}
	}
}
