//go:build linux

package bench

// subscriber receives messages of some of the publishers.
type subscriber struct {
	c        *conn
	firstPub uint32         // the publishers expected are numbered from here
	track    []tracker      // one for each publisher
	share    []shareTracker // the same, if several subscribers share them, or the order is free
	inbound  []uint64       // QoS 2: bitmap of identifiers received, not released
}

// newSubscriber expects messages of pubs publishers on its connection.
func newSubscriber(c *conn, firstPub uint32, pubs int) *subscriber {
	s := &subscriber{c: c, firstPub: firstPub, track: make([]tracker, pubs)}
	for i := range s.track {
		s.track[i].tally = &c.w.tally
	}
	if c.w.run.cfg.QoS == 2 {
		s.inbound = make([]uint64, 65536/64)
	}
	c.sub = s
	return s
}

// see counts a message; false if nobody sent it.
func (s *subscriber) see(m stamp) bool {
	i := m.pub - s.firstPub
	if i >= uint32(len(s.track)) {
		return false
	}
	t := &s.track[i]
	if s.share == nil {
		t.see(m.seq)
		return true
	}
	if m.seq >= maxShared {
		return false
	}
	s.share[i].see(m.seq)
	// Members see gaps by design, but never an earlier number later.
	if next := t.next.Load(); m.seq >= next {
		t.next.Store(m.seq + 1)
	} else if s.ordered() {
		t.tally.misordered++
	}
	return true
}

// ordered reports whether messages have to come in order: retained ones, each of a
// topic of its own, do not.
func (s *subscriber) ordered() bool { return s.c.w.run.cfg.Scenario != "retained" }

// begin notes a QoS 2 message; false if it is one that was sent again.
func (s *subscriber) begin(id uint16) bool {
	word, bit := id/64, uint64(1)<<(id%64)
	if s.inbound[word]&bit != 0 {
		return false
	}
	s.inbound[word] |= bit
	return true
}

// released forgets a QoS 2 identifier.
func (s *subscriber) released(id uint16) {
	if s.inbound != nil {
		s.inbound[id/64] &^= uint64(1) << (id % 64)
	}
}
