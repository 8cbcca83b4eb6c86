package gateway

import (
	"slices"

	"sluice/codec"
	"sluice/codec/batch"
	"sluice/gateway/topic"
	"sluice/gateway/transport"
)

// subscription is what a client wants of a filter.
type subscription struct {
	session           *session // nil: the group's place in the tree
	group             *group   // nil: not shared
	filter            string   // as the client wrote it
	id                uint32   // Subscription Identifier; 0: none
	qos               byte     // granted
	noLocal           bool
	retainAsPublished bool
	provisioned       bool // the client has not yet had what is retained: it is new to it
	endToEnd          bool // publishers wait for the client's acknowledgement, see receipt
}

// inner is the filter that topics are matched with.
func (sub *subscription) inner() (filter string, shared bool) {
	_, inner, shared := codec.SplitShare([]byte(sub.filter))
	return sub.filter[len(sub.filter)-len(inner):], shared
}

// subscriptions are those of one session: a list while there are few, since most
// devices have one or two, with an index when there are many.
type subscriptions struct {
	list  []*subscription
	index map[string]int
	size  int // bytes, about
}

const (
	indexedFrom = 16

	subscriptionSize = 256     // bytes, about, that one takes besides its filter
	maxSubscriptions = 4 << 20 // bytes, for one session: above 10,000 subscriptions
)

// maxName bounds topics and filters, in bytes: they have to fit in a key of the store.
const maxName = 65000

// maxList bounds the topic filters of a packet and the user properties of a message: a million
// bytes of small ones would take a hundred times as long as as many of payload.
const maxList = batch.MaxMessages

// takes says whether a valid topic name, or a filter without $share/group/, is one that the
// gateway takes. What is on disk from before there was such a bound stays.
func takes(name []byte) bool { return len(name) <= maxName && !topic.TooDeep(name) }

func (l *subscriptions) find(filter []byte) (i int, ok bool) {
	if l.index != nil {
		i, ok = l.index[string(filter)]
		return i, ok
	}
	for i, sub := range l.list {
		if sub.filter == string(filter) {
			return i, true
		}
	}
	return 0, false
}

func (l *subscriptions) add(sub *subscription) {
	l.list = append(l.list, sub)
	l.size += len(sub.filter) + subscriptionSize
	switch {
	case l.index != nil:
		l.index[sub.filter] = len(l.list) - 1
	case len(l.list) >= indexedFrom:
		l.index = make(map[string]int)
		for i, sub := range l.list {
			l.index[sub.filter] = i
		}
	}
}

func (l *subscriptions) remove(i int) {
	last := len(l.list) - 1
	l.size -= len(l.list[i].filter) + subscriptionSize
	if l.index != nil {
		delete(l.index, l.list[i].filter)
		if i != last {
			l.index[l.list[last].filter] = i
		}
	}
	l.list[i], l.list[last] = l.list[last], nil
	l.list = l.list[:last]
}

// maxFilters is how many filters a connection may subscribe to, or unsubscribe from, before the
// others have their turn.
const maxFilters = 256

// subscribing is a SUBSCRIBE or UNSUBSCRIBE that is handled in parts.
type subscribing struct {
	codes []codec.ReasonCode // of the filters that were looked at
	fresh []bool             // which of them were not subscribed to before
	next  int                // the filter whose retained messages come next
}

// part is those of a packet's filters that have no codes yet, as many as are good for one turn.
func part[T any](s *Server, filters []T, now *subscribing) []T {
	n := len(now.codes)
	filters = filters[n:min(n+maxFilters, len(filters))]
	s.copied += uint64(len(filters) * maxCopied / maxFilters)
	return filters
}

// handled notes how far a packet is handled, or that it is over. It comes again as long as
// Server.unfinished has it.
func (c *conn) handled(now subscribing, over bool) {
	if over {
		delete(c.srv.unfinished, c)
	} else {
		c.srv.unfinished[c] = now
	}
}

// subscribe takes a SUBSCRIBE: each filter gets a code, then retained messages follow.
func (c *conn) subscribe(p *codec.Subscribe) {
	now := c.srv.unfinished[c]
	over := c.admitSubscriptions(p, &now) && c.sendRetained(p, &now)
	c.handled(now, over)
}

// admitSubscriptions gives each filter its code, and answers when all have one. It says
// whether they have, or the connection is over.
func (c *conn) admitSubscriptions(p *codec.Subscribe, now *subscribing) (over bool) {
	if len(now.codes) == len(p.Subscriptions) {
		return true
	}
	subs := part(c.srv, p.Subscriptions, now)
	for i := range subs {
		req := &subs[i]
		code, fresh := c.admitSubscription(req), false
		if code == codec.TopicFilterInvalid && c.version != codec.V5 && codec.ValidFilter(req.Filter) != nil {
			c.close(code, "invalid topic filter")
			return true
		}
		if code < codec.UnspecifiedError {
			fresh = c.session.subscribe(req, p.SubscriptionID)
		}
		now.codes, now.fresh = append(now.codes, code), append(now.fresh, fresh)
	}
	if len(now.codes) < len(p.Subscriptions) {
		return false
	}
	suback := codec.Suback{ID: p.ID, Codes: now.codes}
	c.answer(codec.TypeSuback, suback.Append(nil, c.version))
	return true
}

// sendRetained sends what is retained under one filter after the other, as much as is
// good for one turn: a packet has room for thousands of filters that each match all. It
// says whether that was all, or the connection is.
func (c *conn) sendRetained(p *codec.Subscribe, now *subscribing) (over bool) {
	s := c.srv
	for seen := 0; c.state == connected && now.next < len(p.Subscriptions); now.next++ {
		req := &p.Subscriptions[now.next]
		if now.codes[now.next] >= codec.UnspecifiedError || req.RetainHandling == 2 || req.RetainHandling == 1 && !now.fresh[now.next] {
			continue
		}
		if seen >= maxTurn {
			return false
		}
		if c.pending() > transport.HighWater { // what comes at QoS 0 would be dropped
			c.deafen()
			return false
		}
		s.deliverRetained(c.session, req, p.SubscriptionID) // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
		if now.fresh[now.next] {
			c.session.provision(req.Filter, false)
		}
		looked := 1
		if codec.HasWildcard(req.Filter) {
			looked += s.retained.Len() // at worst
		}
		seen += looked
		s.copied += uint64(looked * searched)
	}
	return true
}

// admitSubscription says which QoS is granted, or why none.
func (c *conn) admitSubscription(req *codec.Subscription) codec.ReasonCode {
	to := c.session
	_, inner, _ := codec.SplitShare(req.Filter)
	if len(req.Filter) > maxName || !takes(inner) || codec.ValidFilter(req.Filter) != nil {
		return codec.TopicFilterInvalid
	}
	if access := c.srv.cfg.Access; access != nil && !c.trusted && !access.CanSubscribe(c.user, to.id, inner) {
		return codec.NotAuthorized
	}
	if _, found := to.subs.find(req.Filter); !found && !to.subsHaveRoom(len(req.Filter)) {
		return codec.QuotaExceeded
	}
	return codec.ReasonCode(req.QoS)
}

// subsHaveRoom says whether the session may have one subscription more, whose filter
// has n bytes.
func (to *session) subsHaveRoom(n int) bool {
	size := n + subscriptionSize
	return to.subs.size+size <= maxSubscriptions && (!to.durable() || to.srv.storeHasRoom(int64(size)))
}

// subscribe adds or replaces a subscription and says whether it is new to the client.
// [MQTT-3.8.4-3]
func (to *session) subscribe(req *codec.Subscription, id uint32) (isNew bool) {
	s := to.srv
	sub := &subscription{
		session: to, filter: string(req.Filter), id: id, qos: req.QoS,
		noLocal: req.NoLocal, retainAsPublished: req.RetainAsPublished,
	}
	i, found := to.subs.find(req.Filter)
	if found {
		sub.provisioned, sub.endToEnd = to.subs.list[i].provisioned, to.subs.list[i].endToEnd
		s.detachSubscription(to.subs.list[i])
		to.subs.remove(i)
	}
	to.attachSubscription(sub)
	to.saveSubscription(sub)
	return !found || sub.provisioned
}

// provision marks a subscription, or takes the mark off.
func (to *session) provision(filter []byte, provisioned bool) {
	if i, found := to.subs.find(filter); found && to.subs.list[i].provisioned != provisioned {
		to.subs.list[i].provisioned = provisioned
		to.saveSubscription(to.subs.list[i])
	}
}

// attachSubscription puts sub into the session and the tree.
func (to *session) attachSubscription(sub *subscription) {
	s := to.srv
	to.subs.add(sub)
	if inner, shared := sub.inner(); shared {
		s.join(sub, inner)
	} else {
		s.subs.Add(inner, sub)
	}
	s.stats.Subscriptions++
}

// unsubscribe takes an UNSUBSCRIBE.
func (c *conn) unsubscribe(p *codec.Unsubscribe) {
	to, now := c.session, c.srv.unfinished[c]
	for _, filter := range part(c.srv, p.Filters, &now) {
		code := codec.NoSubscriptionExisted
		if i, found := to.subs.find(filter); found {
			to.unsubscribe(i)
			code = codec.Success
		}
		now.codes = append(now.codes, code)
	}
	over := len(now.codes) == len(p.Filters)
	if over {
		unsuback := codec.Unsuback{ID: p.ID, Codes: now.codes}
		c.answer(codec.TypeUnsuback, unsuback.Append(nil, c.version))
	}
	c.handled(now, over)
}

// answer sends an encoded acknowledgement once what was staged last is on disk, if the
// session lasts.
func (c *conn) answer(kind codec.PacketType, packet []byte) {
	a := ack{kind: kind, packet: packet}
	if c.session.durable() {
		a.epoch = c.srv.db.Epoch()
	}
	c.acknowledge(a)
}

// endForbidden ends the subscriptions that the users file does not allow: it may have
// changed while the gateway was down, or the session was made without an account.
// Those of the gateway's own sessions, which begin with $, it does not know.
func (to *session) endForbidden() {
	access := to.srv.cfg.Access
	if access == nil || to.id[0] == '$' {
		return
	}
	for i := len(to.subs.list) - 1; i >= 0; i-- {
		filter, _ := to.subs.list[i].inner()
		if !access.CanSubscribe(to.user, to.id, []byte(filter)) {
			to.srv.log.Warn("subscription ends, the users file does not allow it", "client", to.id, "user", to.user, "filter", filter)
			to.unsubscribe(i)
		}
	}
}

// unsubscribe removes the i-th subscription.
func (to *session) unsubscribe(i int) {
	sub := to.subs.list[i]
	to.srv.detachSubscription(sub)
	to.forgetSubscription(sub)
	to.subs.remove(i)
}

// detachSubscription takes sub out of the tree.
func (s *Server) detachSubscription(sub *subscription) {
	inner, shared := sub.inner()
	if shared {
		s.leave(sub, inner)
	} else {
		s.subs.Remove(inner, sub)
	}
	s.stats.Subscriptions--
}

// Provision makes a session that lasts, with exactly these subscriptions, before its
// client has come: messages wait for a bridge that has not yet reached its upstream.
// Until the client has said something, CONNACK says that there was no session: it has no
// state of one, and gets nothing at QoS 1 and 2. What is retained it gets when it subscribes
// itself: a subscription that Provision made is new until then, for Retain Handling 1.
//
// A publisher's acknowledgement waits for the client's if one of the filters endToEnd
// matches. When there are none any more, those who wait have the disk's.
func (s *Server) Provision(clientID string, subs []codec.Subscription, endToEnd ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	to := s.sessions[clientID]
	if to == nil {
		to = s.newSession(clientID, never)
		to.came = notYet
		to.save()
	}
	wanted := make(map[string]bool)
	for i := range subs {
		wanted[string(subs[i].Filter)] = true
		if to.subscribe(&subs[i], 0) {
			to.provision(subs[i].Filter, true)
		}
		at, _ := to.subs.find(subs[i].Filter)
		to.subs.list[at].endToEnd = slices.Contains(endToEnd, string(subs[i].Filter))
	}
	for i := len(to.subs.list) - 1; i >= 0; i-- {
		if !wanted[to.subs.list[i].filter] {
			to.unsubscribe(i)
		}
	}
	if len(endToEnd) == 0 {
		to.reportAll(codec.Success)
	}
}

// Provisioned are the sessions that Provision has made, in this process or an earlier one,
// and how many messages wait for each.
func (s *Server) Provisioned() (waiting map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting = make(map[string]int)
	for id, to := range s.sessions {
		if id[0] == '$' && to.expiry == never {
			waiting[id] = to.messages()
		}
	}
	return waiting
}

// Rename has such a session, with all that waits for it, be that of another client, if
// that has none. Its own client has to go.
func (s *Server) Rename(clientID, other string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	to := s.sessions[clientID]
	if to == nil || s.sessions[other] != nil {
		return
	}
	if to.conn != nil {
		to.conn.close(codec.AdministrativeAction, "the session is another client's")
	}
	delete(s.sessions, clientID)
	to.id = other
	s.sessions[other] = to
	to.save()
}

// Forget ends such a session, with what waits for it.
func (s *Server) Forget(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if to := s.sessions[clientID]; to != nil {
		if to.conn != nil {
			to.conn.close(codec.AdministrativeAction, "the session is forgotten")
		}
		to.end()
	}
}
