package gateway

import "sluice/codec"

// maxRoutes bounds the topics whose recipients are remembered.
const maxRoutes = 4096

// route is who wants the messages of one topic, until a subscription changes.
type route struct {
	hops   []hop
	groups []*group
}

// hop is one session on a route. Overlapping subscriptions of a session make one hop.
type hop struct {
	to     *session
	wants  want
	own    want // what it wants of its own messages; differs where No Local is set
	hasOwn bool
}

// want is how a session gets a message.
type want struct {
	ids    []uint32 // subscription identifiers
	group  string   // the shared subscription by which it comes; "": an ordinary one
	qos    byte     // at most
	retain bool     // retain as published
	any    bool     // at all
}

// add merges one more subscription that matches.
func (w *want) add(sub *subscription) {
	w.qos = max(w.qos, sub.qos) // [MQTT-3.3.4-2]
	w.retain = w.retain || sub.retainAsPublished
	w.any = true
	if sub.id != 0 {
		w.ids = append(w.ids, sub.id) // [MQTT-3.3.4-3], [MQTT-3.3.4-4]
	}
}

// route hands pub to all who want it.
func (s *Server) route(pub *publication) {
	r := s.recipients(pub.Topic)
	for i := range r.hops {
		h := &r.hops[i]
		w := &h.wants
		if h.hasOwn && pub.origin != nil && pub.origin.session == h.to {
			w = &h.own
		}
		if w.any {
			h.to.deliver(pub, w)
		}
	}
	for _, g := range r.groups {
		g.deliver(pub)
	}
}

// recipients finds who wants a topic.
func (s *Server) recipients(name []byte) *route {
	if gen := s.subs.Generation(); gen != s.routesGen || len(s.routes) >= maxRoutes {
		clear(s.routes)
		s.routesGen = gen
	}
	r := s.routes[string(name)]
	if r == nil {
		r = s.match(name)
		s.routes[string(name)] = r
	}
	return r
}

// match makes the route of a topic from the tree.
func (s *Server) match(name []byte) *route {
	r := &route{}
	places := make(map[*session]int)
	s.subs.Match(name, func(sub *subscription) {
		if sub.session == nil {
			r.groups = append(r.groups, sub.group)
			return
		}
		i, found := places[sub.session]
		if !found {
			i = len(r.hops)
			places[sub.session] = i
			r.hops = append(r.hops, hop{to: sub.session})
		}
		h := &r.hops[i]
		h.wants.add(sub)
		if sub.noLocal { // [MQTT-3.8.3-3]
			h.hasOwn = true
		} else {
			h.own.add(sub)
		}
	})
	return r
}

// full says whether somebody who wants p has no room for it, or the disk has none.
func (s *Server) full(p *codec.Message) bool {
	size := recordSize(p)
	r := s.recipients(p.Topic)
	for i := range r.hops {
		if h := &r.hops[i]; h.wants.qos > 0 && h.to.expiry > 0 && !h.to.hasRoom(size) {
			return true
		}
	}
	for _, g := range r.groups {
		if g.full(size) {
			return true
		}
	}
	return p.Retain && !s.storeHasRoom(size)
}
