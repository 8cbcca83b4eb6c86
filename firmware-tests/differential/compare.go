package differential

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice/firmware-tests/wire"
)

// freedom is something that the specification leaves to the server. It levels the
// events of one step, of both brokers.
type freedom struct {
	clause, why string
	level       func(events []event, before *state) []event
}

// freedoms are applied in this order.
var freedoms = []freedom{
	{"3.4.2.1, 3.5.2.1", "a server may tell that nobody has subscribed, or not", func(events []event, _ *state) []event {
		for i := range events {
			if events[i].kind == "PUBACK" || events[i].kind == "PUBREC" {
				events[i].codes = nil
			}
		}
		return events
	}},
	{"", "Mosquitto 2.0.11 does not say 0x8E when a session is taken over [MQTT-3.1.4-3]; to 3.1.1 it may say a message", func(events []event, _ *state) []event {
		return slices.DeleteFunc(events, func(e event) bool { return e.kind == lastWord })
	}},
	{"4.8.2", "a message for a shared subscription goes to any of its members", func(events []event, _ *state) []event {
		for i := range events {
			if strings.HasPrefix(events[i].topic, "grp/") {
				events[i] = event{kind: events[i].kind, topic: events[i].topic, text: events[i].text, qos: events[i].qos, expiry: events[i].expiry}
			}
		}
		return events
	}},
	{"3.3.4", "a message that matches several subscriptions of a client comes once, or once for each", oneCopy},
	{"4.6", "messages are in order by topic and QoS, not beyond", func(events []event, _ *state) []event {
		slices.SortStableFunc(events, func(a, b event) int {
			return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.kind, b.kind), cmp.Compare(a.topic, b.topic), cmp.Compare(a.qos, b.qos))
		})
		return events
	}},
}

// oneCopy joins the copies of messages for clients that have overlapping subscriptions.
func oneCopy(events []event, before *state) (levelled []event) {
	for _, e := range events {
		c := &before.clients[e.who]
		several := c.session != nil && c.session.overlaps && before.versions[e.who] == wire.V5
		at := slices.IndexFunc(levelled, func(o event) bool {
			return several && e.topic != "" && o.who == e.who && o.kind == e.kind && o.topic == e.topic && o.text == e.text
		})
		if at < 0 {
			levelled = append(levelled, e)
			continue
		}
		o := &levelled[at]
		o.qos, o.retain, o.dup = max(o.qos, e.qos), o.retain || e.retain, o.dup || e.dup
		o.ids = append(slices.Clone(o.ids), e.ids...)
		slices.Sort(o.ids)
	}
	return levelled
}

// slack is how far remaining expiries may lie apart, in seconds: they are cut to
// seconds, from different beginnings.
const slack = 2

func same(a, b event) bool {
	near := (a.expiry < 0) == (b.expiry < 0) && max(a.expiry-b.expiry, b.expiry-a.expiry) <= slack
	a.expiry = b.expiry
	return near && fmt.Sprint(a) == fmt.Sprint(b)
}

// compare returns the first step after which two transcripts differ, and how; -1 if
// they do not.
func compare(c *Conversation, a, b *transcript) (at int, how string) {
	st := newState(c)
	for i, s := range c.Steps {
		s.take(st)
		as, bs := a.events[i], b.events[i]
		for _, f := range freedoms {
			as, bs = f.level(as, st), f.level(bs, st)
		}
		if !slices.EqualFunc(as, bs, same) {
			return i, difference(as, bs)
		}
	}
	return -1, ""
}

// difference tells what only one of them has.
func difference(as, bs []event) string {
	var b strings.Builder
	tell := func(who string, mine, others []event) {
		others = slices.Clone(others)
		for _, e := range mine {
			if at := slices.IndexFunc(others, func(o event) bool { return same(e, o) }); at >= 0 {
				others = slices.Delete(others, at, at+1)
				continue
			}
			fmt.Fprintf(&b, "    %-14s %s\n", who, e)
		}
	}
	tell("only Sluice:", as, bs)
	tell("only Mosquitto:", bs, as)
	if b.Len() == 0 {
		fmt.Fprintf(&b, "    Sluice, in order: %v\n    Mosquitto: %v\n", as, bs)
	}
	return b.String()
}
