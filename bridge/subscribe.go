package bridge

import (
	"errors"
	"slices"

	"sluice/codec"
)

// filtersPerSubscribe is what also the narrowest servers take.
const filtersPerSubscribe = 8

// subscribe returns the SUBSCRIBE packets for what the upstream can take of Down.
// Their identifiers are the last 1,024, which the gateway gives to no message: one that the
// upstream has kept may not be in use. [MQTT-2.2.1-3]
func (b *Bridge) subscribe(up *upstream) (packets []byte) {
	var batch []codec.Subscription
	flush := func() {
		if len(batch) > 0 {
			packets = append(packets, up.subscribePacket(len(b.asked), batch)...)
			b.asked = append(b.asked, batch)
			batch = nil
		}
	}
	for _, r := range b.cfg.Down {
		b.note(up.server.name, []string{r.Filter})
		sub, err := r.subscription(up)
		if err != nil {
			b.log.Warn("no subscription at the upstream", "filter", r.Filter, "error", err)
			continue
		}
		more := append(batch[:len(batch):len(batch)], sub)
		if len(more) > filtersPerSubscribe || !up.takes(up.subscribePacket(0, more)) {
			flush()
			more = []codec.Subscription{sub}
		}
		batch = more
	}
	flush()
	return packets
}

func (up *upstream) subscribePacket(n int, subs []codec.Subscription) []byte {
	return (&codec.Subscribe{ID: subscribeID(n), Subscriptions: subs}).Append(nil, up.wire.version)
}

// subscribeID is the packet identifier of the nth SUBSCRIBE, from 0.
func subscribeID(n int) uint16 { return uint16(1<<16 - 1 - n) }

// What an upstream does not take in SUBSCRIBE.
var (
	errNoShared   = errors.New("the upstream has no shared subscriptions")
	errNoWildcard = errors.New("the upstream has no wildcard subscriptions")
	errFilterSize = errors.New("longer than the packets that the upstream takes")
)

// subscription is what to ask the upstream for.
func (r Rule) subscription(up *upstream) (codec.Subscription, error) {
	filter := []byte(r.Filter)
	_, inner, shared := codec.SplitShare(filter)
	if !shared {
		inner = filter
	}
	sub := codec.Subscription{
		Filter:            filter,
		QoS:               min(r.QoS, up.maximumQoS),
		NoLocal:           !shared, // [MQTT-3.8.3-4]
		RetainAsPublished: true,
		RetainHandling:    1, // retained messages only for a new subscription
	}
	switch {
	case shared && up.noShared:
		return sub, errNoShared
	case up.noWildcard && codec.HasWildcard(inner):
		return sub, errNoWildcard
	case !up.takes(up.subscribePacket(0, []codec.Subscription{sub})):
		return sub, errFilterSize
	}
	return sub, nil
}

// granted takes the answer to a SUBSCRIBE.
func (b *Bridge) granted(p *codec.Suback) {
	n := int(subscribeID(0) - p.ID)
	if n >= len(b.asked) {
		return
	}
	for i, code := range p.Codes[:min(len(p.Codes), len(b.asked[n]))] {
		sub := &b.asked[n][i]
		switch {
		case code >= 0x80:
			b.log.Warn("upstream refuses a subscription", "filter", string(sub.Filter), "reason", code.String(), "text", string(p.ReasonString))
		case byte(code) < sub.QoS:
			b.log.Info("upstream grants a lower QoS", "filter", string(sub.Filter), "qos", byte(code))
		}
	}
	if n == len(b.asked)-1 {
		b.subscribed = true
	}
}

// note notes filters that the session at a server may have.
func (b *Bridge) note(server string, filters []string) {
	for _, f := range filters {
		if !slices.Contains(b.filters[server], f) {
			b.filters[server] = append(b.filters[server], f)
		}
	}
}

// unsubscribe returns the UNSUBSCRIBE packets for filters that the upstream's session may
// have and that are none of Down any more. They come behind those of subscribe, so that
// nothing is missed where filters overlap.
func (b *Bridge) unsubscribe(up *upstream) (packets []byte) {
	for _, f := range b.filters[up.server.name] {
		if !slices.ContainsFunc(b.cfg.Down, func(r Rule) bool { return r.Filter == f }) {
			p := codec.Unsubscribe{ID: subscribeID(len(b.asked) + len(b.leaving)), Filters: [][]byte{[]byte(f)}}
			packets = p.Append(packets, up.wire.version)
			b.leaving = append(b.leaving, f)
		}
	}
	return packets
}

// unsubscribed takes the answer to an UNSUBSCRIBE.
func (l *link) unsubscribed(p *codec.Unsuback) {
	n := int(subscribeID(0)-p.ID) - len(l.asked)
	if n < 0 || n >= len(l.leaving) {
		return
	}
	filter, server := l.leaving[n], l.up.server.name
	if len(p.Codes) > 0 && p.Codes[0] >= 0x80 {
		l.log.Warn("upstream goes on with a subscription that is not wanted any more", "filter", filter, "reason", p.Codes[0].String(), "text", string(p.ReasonString))
		return
	}
	l.filters[server] = slices.DeleteFunc(l.filters[server], func(f string) bool { return f == filter })
}
