package gateway

import (
	"sluice/codec/sn"
	"sluice/store"
)

// disconnect takes DISCONNECT: with a duration the device falls asleep, else it goes.
func (d *device) disconnect(m *sn.Disconnect) {
	c := &d.conn
	s := c.srv
	if m.Duration == 0 {
		s.out = (&sn.Disconnect{}).Append(s.out[:0])
		d.send(s.out)
		c.will = nil
		c.end("disconnected by client")
		return
	}
	d.sleep = m.Duration
	d.fallAsleep()
	d.saveNow()
	d.answer((&sn.Disconnect{}).Append(nil))
}

// fallAsleep begins the time that the device may sleep. What it has not acknowledged is
// sent again when it wakes.
func (d *device) fallAsleep() {
	d.putBack()
	d.state, d.stirred = asleep, false
	d.conn.heard = d.conn.srv.now
	d.setKeepAlive(d.sleep)
}

// setKeepAlive starts the clock at whose end the device is lost: its keep-alive, or its
// sleep.
func (d *device) setKeepAlive(seconds uint16) {
	c := &d.conn
	c.keepAlive = d.keepAliveOf(seconds)
	c.timer.owner = c
	c.srv.setTimer(&c.timer, c.srv.now+c.keepAlive)
}

// ping takes PINGREQ: of a sleeping device it asks for what waits. PINGRESP follows when
// that has come; a repeated PINGREQ does not begin anew.
func (d *device) ping(m *sn.Pingreq) {
	c := &d.conn
	s := c.srv
	switch {
	case len(m.ClientID) > 0 && string(m.ClientID) != c.session.id:
		s.out = (&sn.Disconnect{}).Append(s.out[:0])
		d.send(s.out)
	case d.state == active:
		s.out = (&sn.Pingresp{}).Append(s.out[:0])
		d.send(s.out)
	case d.state == asleep:
		d.state = awake
		d.until = c.session.queue.Next()
		c.heard = s.now
		d.advance()
		if d.state == awake {
			c.session.pump()
		}
	}
}

// rest ends the waking of a device that has all that waited when it woke.
func (d *device) rest() {
	c := &d.conn
	to := c.session
	if d.state != awake || d.request.kind != none || len(d.held) > 0 || len(d.releases) > 0 || d.answers > 0 ||
		c.inflight > 0 || to.window.sent < min(d.until, to.queue.Next()) {
		return
	}
	s := c.srv
	s.out = (&sn.Pingresp{}).Append(s.out[:0])
	d.send(s.out)
	d.fallAsleep()
}

// putBack takes back what is under way to the device: its session sends it again, when it
// may. Messages at QoS 0 are only here, and stay.
func (d *device) putBack() {
	d.stopRequest()
	d.releases = nil
	kept := d.held[:0]
	for _, h := range d.held {
		if h.QoS == 0 {
			kept = append(kept, h)
		}
	}
	clear(d.held[len(kept):])
	d.held = kept
	d.conn.session.rewind()
}

// rewind has what was sent on this connection and not acknowledged sent again by pump.
func (to *session) rewind() {
	w := &to.window
	w.past = max(w.past, w.sent)
	w.sent = w.first
	to.conn.inflight = 0
}

// saveNow stores what the device is, for the answer that waits for it.
func (d *device) saveNow() { d.store(store.Now) }

// save stores it within a second.
func (d *device) save() { d.store(store.Lazy) }
