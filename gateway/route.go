package gateway

import "sluice/codec"

// maxRoutes bounds what is remembered of who wants which topic, in bytes.
const maxRoutes = 4 << 20

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

// wantsFrom says how the session gets a message of origin's, which is nil for a will.
func (h *hop) wantsFrom(origin *conn) *want {
	if h.hasOwn && origin != nil && origin.session == h.to {
		return &h.own
	}
	return &h.wants
}

// want is how a session gets a message.
type want struct {
	ids    []uint32 // subscription identifiers
	group  string   // the shared subscription by which it comes; "": an ordinary one
	qos    byte     // at most
	retain bool     // retain as published
	any    bool     // at all
	word   bool     // the publisher waits for its acknowledgement, see receipt
}

// add merges one more subscription that matches.
func (w *want) add(sub *subscription) {
	w.qos = max(w.qos, sub.qos) // [MQTT-3.3.4-2]
	w.retain = w.retain || sub.retainAsPublished
	w.any = true
	w.word = w.word || sub.endToEnd
	if sub.id != 0 {
		w.ids = append(w.ids, sub.id) // [MQTT-3.3.4-3], [MQTT-3.3.4-4]
	}
}

// route hands pub to all who want it.
func (s *Server) route(pub *publication) {
	r := pub.known
	if r == nil {
		r = s.recipients(pub.Topic)
	}
	for i := range r.hops {
		h := &r.hops[i]
		if w := h.wantsFrom(pub.origin); w.any {
			h.to.deliver(pub, w)
		}
	}
	for _, g := range r.groups {
		g.deliver(pub)
	}
}

// recipients finds who wants a topic.
func (s *Server) recipients(name []byte) *route {
	if gen := s.subs.Generation(); gen != s.routesGen || s.routesSize >= maxRoutes {
		clear(s.routes)
		s.routesGen, s.routesSize = gen, 0
	}
	r := s.routes[string(name)]
	if r == nil {
		if r = s.match(name); r == nobody {
			return r
		}
		s.routes[string(name)] = r
		s.routesSize += r.size(name)
	}
	return r
}

// size is about what it costs to remember a route, in bytes.
func (r *route) size(name []byte) int {
	n := 128 + len(name) + 8*len(r.groups)
	for i := range r.hops {
		n += 128 + 4*(len(r.hops[i].wants.ids)+len(r.hops[i].own.ids))
	}
	return n
}

// nobody is the route of all topics that nobody wants, and not remembered: to see that is not dear, and such topics may be
// many, each for a single retained message.
var nobody = new(route)

// searched is what a step in a tree of topics counts as, in copied bytes: who publishes to ever new topics that
// thousands of filters match, or asks for what is retained, lets others have their turn as well.
const searched = 128

// match makes the route of a topic from the tree.
func (s *Server) match(name []byte) *route {
	r := nobody
	var places map[*session]int
	steps := s.subs.Match(name, func(sub *subscription) {
		if r == nobody {
			r, places = new(route), make(map[*session]int)
		}
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
	s.copied += uint64(steps * searched)
	return r
}

// full says whether somebody who wants a message of c's, as r says, and rejects what finds no room, has none for it,
// or the store has none for all its copies.
func (s *Server) full(c *conn, p *codec.Message, r *route) bool {
	size, general := recordSize(p), s.rejects()
	copies := int64(0)
	for i := range r.hops {
		to := r.hops[i].to
		if r.hops[i].wantsFrom(c).qos == 0 || to.expiry == 0 || to.limit == nil && !general || to.limit != nil && !to.rejects() {
			continue
		}
		if !to.queueHasRoom(size) { // of the store below
			s.warnFull("client", to.id, "waiting", to.messages(), "bytes", to.bytes())
			return true
		}
		copies++
	}
	for _, g := range r.groups {
		if !general {
			break
		}
		if g.full(size) {
			s.warnFull("group", g.filter, "members", len(g.members))
			return true
		}
		copies++
	}
	if p.Retain && general {
		copies++
	}
	if copies > 0 && (s.failing != nil || !s.storeHasRoom(copies*size)) {
		s.warnFull("disk", s.failing)
		return true
	}
	return false
}
