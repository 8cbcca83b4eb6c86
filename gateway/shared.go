package gateway

import "slices"

// group is a shared subscription: each message goes to one of its members.
// Group = share name and filter, for the whole server. [MQTT-4.8.2-3]
type group struct {
	filter  string // $share/{name}/{filter}
	head    *subscription
	members []*subscription
	next    int // whose turn it is
}

// join adds sub to its group, and the group to the tree if it is the first.
func (s *Server) join(sub *subscription, inner string) {
	g := s.groups[sub.filter]
	if g == nil {
		g = &group{filter: sub.filter}
		g.head = &subscription{group: g}
		s.groups[sub.filter] = g
		s.subs.Add(inner, g.head)
	}
	sub.group = g
	g.members = append(g.members, sub)
}

// leave removes sub; the last one takes the group with it.
func (s *Server) leave(sub *subscription, inner string) {
	g := sub.group
	if i := slices.Index(g.members, sub); i >= 0 {
		g.members = slices.Delete(g.members, i, i+1)
	}
	if len(g.members) == 0 {
		s.subs.Remove(inner, g.head)
		delete(s.groups, g.filter)
	}
}

// deliver gives pub to one member.
func (g *group) deliver(pub *publication) {
	if len(g.members) == 0 {
		return // the last one was closed while the message was on its way
	}
	sub := g.pick(recordSize(&pub.Message))
	w := want{qos: sub.qos, retain: sub.retainAsPublished, any: true, group: g.filter}
	if sub.id != 0 {
		w.ids = append(w.ids, sub.id)
	}
	sub.session.deliver(pub, &w)
}

// pick chooses by turns: a connected member whose window is open, else a connected
// one, else one that is away and keeps its session, each with room if any has.
func (g *group) pick(size int64) *subscription {
	var best *subscription
	rank := -1
	for i := range g.members {
		at := (g.next + i) % len(g.members)
		sub := g.members[at]
		r := 0
		if sub.session.conn != nil {
			r = 2
			if sub.session.open(&sub.session.lane) {
				r = 4
			}
		}
		if sub.session.hasRoom(size) {
			r++
		}
		if r > rank {
			best, rank = sub, r
			if r == 5 {
				g.next = (at + 1) % len(g.members)
				return best
			}
		}
	}
	g.next = (g.next + 1) % len(g.members)
	return best
}

// full says whether no member has room.
func (g *group) full(size int64) bool {
	for _, sub := range g.members {
		if sub.qos == 0 || sub.session.expiry == 0 || sub.session.hasRoom(size) {
			return false
		}
	}
	return true
}

// handOn gives another member what waits for a session that ends and came to it by a
// shared subscription, but for QoS 2 messages already sent. [MQTT-4.8.2-4] to [MQTT-4.8.2-6]
func (to *session) handOn() {
	if len(to.srv.groups) == 0 {
		return // it may have hundreds of thousands
	}
	for l := range to.lanes {
		to.handOnLane(l)
	}
}

func (to *session) handOnLane(l *lane) {
	s := to.srv
	for seq := l.queue.First(); seq < l.queue.Next(); seq++ {
		rec, ok := l.queue.Record(seq)
		if !ok {
			continue
		}
		g := s.groups[recordVia(rec)]
		if g == nil {
			continue
		}
		m, err := s.decodeRecord(rec)
		if err != nil || m.QoS == 2 && l.window.phaseOf(seq) == sent {
			continue
		}
		pub := publication{Message: cloneMessage(m.Message), expires: m.expires, live: true}
		g.deliver(&pub)
		to.done(l, seq) // only now: a crash between may bring it twice, but not lose it
	}
}
