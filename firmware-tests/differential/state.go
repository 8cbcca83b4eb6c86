package differential

import (
	"slices"
	"strings"

	"sluice/firmware-tests/wire"
)

// state is what has come of the steps so far, as far as the next step has to know.
type state struct {
	versions []byte
	clients  []client
	brief    bool // there are messages with the short expiry
}

// client is one client of a state.
type client struct {
	here     bool
	as       connect // how it connected last
	hasWill  bool
	pending  bool // the will of a client that is gone waits for its delay
	aliases  map[uint16]string
	withhold withheld
	session  *session // nil: none
}

type session struct {
	expiry   uint32
	subs     []filter
	overlaps bool // had subscriptions that overlap
	withheld bool // acknowledgements were withheld
	mixed    bool // so were those of retained messages, which come in any order
}

func newState(c *Conversation) *state {
	return &state{versions: c.Versions, clients: make([]client, len(c.Versions))}
}

// shared says whether a filter is one of a shared subscription.
func shared(name string) bool { return strings.HasPrefix(name, "$share/") }

// willTopic is the topic of a client's wills. Each has its own: which of two wills that
// are due at the same time comes first is nobody's business.
func willTopic(who int) string { return "will/" + name(who) }

func (s connect) take(st *state) bool {
	c := &st.clients[s.who]
	old := c.session
	if c.here && c.hasWill && (c.as.will.delay > 0 || !s.clean && old.expiry > 0) {
		return false // Mosquitto 2.0.11 forgets wills when sessions are taken over [MQTT-3.1.2-8]
	}
	if s.receiveMax > 0 && s.maxPacket > 0 {
		return false // Mosquitto 2.0.11 counts messages as in flight that are too large to be sent [MQTT-3.1.2-25]
	}
	if c.pending && s.clean {
		return false // and those that wait when the session ends, section 3.1.3.2.2
	}
	if old != nil && (s.clean || c.here && old.expiry == 0) {
		old = nil
	}
	if old == nil {
		old = &session{}
	}
	if s.receiveMax > 0 && (old.overlaps || old.inGroup()) {
		return false // how many copies fill the window is free
	}
	if s.receiveMax > 0 && old.withheld {
		return false // Mosquitto 2.0.11 sends more, if more were in flight before [MQTT-3.3.4-9]
	}
	if old.inGroup() && s.expiry > 0 && st.members(old.group()) > 1 {
		return false
	}
	if w := s.will; w != nil && w.delay == short && w.decor.expiry == short {
		return false // its expiry begins after its delay: no wait is between them
	}
	if s.will != nil && !st.expire(s.will.decor) {
		return false
	}
	old.expiry = s.expiry
	old.withheld = old.withheld || c.withhold != nothing
	*c = client{here: true, as: s, hasWill: s.will != nil, aliases: map[uint16]string{}, withhold: c.withhold, session: old}
	return true
}

// group is the filter by which the session is in a shared subscription; "": none.
func (s *session) group() string {
	for _, f := range s.subs {
		if shared(f.name) {
			return f.name
		}
	}
	return ""
}

func (s *session) inGroup() bool { return s.group() != "" }

// members counts the sessions in a shared subscription.
func (st *state) members(group string) (n int) {
	for _, c := range st.clients {
		if c.session != nil && c.session.group() == group {
			n++
		}
	}
	return n
}

func (s subscribe) take(st *state) bool {
	c := &st.clients[s.who]
	if !c.here {
		return false
	}
	if c.withhold != nothing && c.as.receiveMax > 0 {
		return false // which retained messages fill the window is free
	}
	subs := slices.Clone(c.session.subs)
	for i, f := range s.filters {
		if shared(f.name) && (!st.mayJoin(s.who, f) || slices.ContainsFunc(subs, func(g filter) bool { return shared(g.name) && g.name != f.name })) {
			return false
		}
		if f.noLocal && overlap(f.name, willTopic(s.who)) {
			return false // whether a will comes from its client's connection [MQTT-3.8.3-3]
		}
		at := slices.IndexFunc(subs, func(g filter) bool { return g.name == f.name })
		if at >= 0 && (subs[at].noLocal != f.noLocal || subs[at].asRetain != f.asRetain) {
			return false // Mosquitto 2.0.11 replaces only QoS and identifier [MQTT-3.8.4-3]
		}
		for _, g := range s.filters[:i] {
			if overlap(f.name, g.name) {
				return false // a retained message comes once for each filter, or once in all
			}
		}
		for j, g := range subs {
			if j != at && overlap(f.name, g.name) && !st.mayOverlap(s.who, f, g) {
				return false
			}
		}
		if at >= 0 {
			subs[at] = f
		} else {
			subs = append(subs, f)
		}
	}
	c.session.subs = subs
	c.session.mixed = c.session.mixed || c.withhold != nothing
	for i, f := range subs {
		for _, g := range subs[:i] {
			c.session.overlaps = c.session.overlaps || overlap(f.name, g.name)
		}
	}
	return true
}

// mayJoin says whether it is settled what a client in a shared subscription gets. If
// there are several members, that is what they get together, provided that all are
// here, want the same and acknowledge.
func (st *state) mayJoin(who int, f filter) bool {
	c := &st.clients[who]
	if c.as.receiveMax > 0 || c.as.maxPacket > 0 {
		return false
	}
	for other := range st.clients {
		o := &st.clients[other]
		if other == who || o.session == nil || o.session.group() != f.name {
			continue
		}
		qos := o.session.subs[slices.IndexFunc(o.session.subs, func(g filter) bool { return g.name == f.name })].qos
		if qos != f.qos || o.session.expiry > 0 || c.session.expiry > 0 || o.withhold != nothing || c.withhold != nothing {
			return false
		}
	}
	return true
}

// mayOverlap says whether a client may have two subscriptions that overlap. At
// different QoS only one copy would wait for a client that is away.
func (st *state) mayOverlap(who int, f, g filter) bool {
	c := &st.clients[who]
	if c.as.receiveMax > 0 {
		return false
	}
	return f.qos == g.qos || st.versions[who] == wire.V5 && c.session.expiry == 0
}

// overlap says whether some topic matches both filters.
func overlap(f, g string) bool {
	if shared(f) || shared(g) {
		return f == g
	}
	return overlapLevels(strings.Split(f, "/"), strings.Split(g, "/"))
}

func overlapLevels(f, g []string) bool {
	switch {
	case len(f) > 0 && f[0] == "#" || len(g) > 0 && g[0] == "#":
		return true
	case len(f) == 0 || len(g) == 0:
		return len(f) == len(g)
	case f[0] == g[0] || f[0] == "+" || g[0] == "+":
		return overlapLevels(f[1:], g[1:])
	}
	return false
}

// wants says whether a subscription matches a topic.
func (s *session) wants(topic string) bool {
	return slices.ContainsFunc(s.subs, func(f filter) bool {
		if shared(f.name) {
			return strings.HasPrefix(topic, "grp/")
		}
		return overlap(f.name, topic)
	})
}

func (s unsubscribe) take(st *state) bool {
	c := &st.clients[s.who]
	if !c.here {
		return false
	}
	c.session.subs = slices.DeleteFunc(slices.Clone(c.session.subs), func(f filter) bool { return slices.Contains(s.names, f.name) })
	return true
}

func (s publish) take(st *state) bool {
	c := &st.clients[s.who]
	switch {
	case !c.here:
		return false
	case s.bare && c.aliases[s.alias] != s.topic:
		return false
	case s.again && (s.qos == 0 || s.alias > 0 || c.hasWill || c.session.expiry == 0):
		return false
	case s.again && c.session.wants(s.topic):
		return false // what came on the connection that is lost is free: at QoS 2 it is routed on PUBLISH or on PUBREL, section 4.3.3
	case s.retain && strings.HasPrefix(s.topic, "grp/"):
		return false // Mosquitto 2.0.11 sends retained messages to new shared subscriptions, section 4.8.2
	}
	if !st.expire(s.decor) {
		return false
	}
	if s.alias > 0 {
		c.aliases[s.alias] = s.topic
	}
	if s.again {
		clear(c.aliases)
	}
	return true
}

// expire has a message made that may expire, if that is settled. Whether one that was sent and not
// acknowledged is sent again when it has expired is not settled: [MQTT-3.3.2-5] and
// [MQTT-4.4.0-1] have a word each. So those that will expire are acknowledged at once.
func (st *state) expire(d decor) bool {
	if d.expiry != short {
		return true
	}
	for _, c := range st.clients {
		if c.withhold != nothing {
			return false
		}
	}
	st.brief = true
	return true
}

func (s hold) take(st *state) bool {
	c := &st.clients[s.who]
	if s.what == c.withhold || c.session != nil && c.session.inGroup() && st.members(c.session.group()) > 1 {
		return false
	}
	if s.what != nothing && c.narrow() {
		return false
	}
	if s.what != nothing && st.brief {
		return false // see expire
	}
	c.withhold = s.what
	if c.session != nil && s.what != nothing {
		c.session.withheld = true
	}
	return true
}

func (s acknowledge) take(st *state) bool {
	c := &st.clients[s.who]
	if !s.all && c.session != nil && (c.session.mixed || c.session.overlaps && st.versions[s.who] == wire.V5) {
		return false // which is the oldest is free
	}
	return c.here && c.withhold != nothing && !c.narrow()
}

// narrow says whether the client withholds acknowledgements and has a Receive Maximum:
// it may send all, but not a few. Mosquitto 2.0.11 sends more than it may when it goes
// on with what waited [MQTT-3.3.4-9].
func (c *client) narrow() bool { return c.here && c.as.receiveMax > 0 && c.withhold != nothing }

func (s leave) take(st *state) bool {
	c := &st.clients[s.who]
	if !c.here {
		return false
	}
	expiry := c.session.expiry
	if s.end {
		expiry = 0
	}
	return c.depart(expiry, s.withWill)
}

func (s drop) take(st *state) bool {
	c := &st.clients[s.who]
	return c.here && c.depart(c.session.expiry, true)
}

// depart ends the connection of a client whose session has so many seconds to live.
func (c *client) depart(expiry uint32, withWill bool) bool {
	withWill = withWill && c.hasWill
	if withWill && c.as.will.delay > expiry {
		return false // Mosquitto 2.0.11 does not send the will when the session ends, section 3.1.3.2.2
	}
	c.here, c.pending = false, withWill && c.as.will.delay > 0
	c.session.expiry = expiry
	if expiry == 0 {
		c.session = nil
	}
	return true
}

func (wait) take(st *state) bool {
	for i := range st.clients {
		c := &st.clients[i]
		if !c.here && c.session != nil && c.session.expiry == short {
			c.session = nil
		}
		c.pending = c.pending && c.as.will.delay != short
	}
	return true
}
