package client

import (
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// subscribe is sections 3.8 to 3.11, 4.7 and 4.8.
var subscribe = []suite.Test{
	{
		V311: "3.8.1-1 3.8.3-3 RULE-3.8.3-b RULE-3.8.3-c RULE-3.8.3-d",
		V5:   "3.8.1-1 3.8.3-2 3.8.3-4 RULE-3.8.2-a RULE-3.8.2-b RULE-3.8.3-b RULE-3.8.3-c RULE-3.8.3-d",
		Run:  subscribesInGoodForm,
	},
	{
		V311: "3.8.3-1 4.7.1-2 4.7.1-3 4.7.3-1 4.7.3-2 4.7.3-3",
		V5:   "3.8.3-1 4.7.1-1 4.7.1-2 4.7.3-1 4.7.3-2 4.7.3-3 4.8.2-1 4.8.2-2",
		Run:  filtersAreFilters,
	},
	{V5: "RULE-3.8.3-p", Run: optionsOfTheBridge},
	{V311: "RULE-3.9.3-p", V5: "RULE-3.9.3-p", Run: refusedSubscription},
	{V311: "3.10.1-1 3.10.3-1 3.10.3-2", V5: "3.10.1-1 3.10.3-1 3.10.3-2", Unseen: "no client of ours sends UNSUBSCRIBE"},
}

// subscribesInGoodForm: the reader holds each SUBSCRIBE against the rules; none of the
// filters is left out.
func subscribesInGoodForm(t *suite.T) {
	filters := []string{"down/#", "+/2", "/", "a b/+/c", "#", "1", "2", "3", "4", "5"}
	if t.V5() {
		filters = append(filters, "$share/g/down/#")
	}
	b := newBridge(t, "DOWN="+strings.Join(filters, " 1,")+" 1")
	c := b.welcome(false)
	wantFilters(t, filters, func() *wire.Read { return b.subscribed(c) })

	s := listen(t)
	var args []string
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	s.command(append([]string{"sub"}, args...)...)
	c = s.welcome(false)
	wantFilters(t, filters, func() *wire.Read { return s.subscribed(c) })
}

// wantFilters wants SUBSCRIBE packets with these filters, in order.
func wantFilters(t *suite.T, filters []string, next func() *wire.Read) {
	for len(filters) > 0 {
		for _, sub := range next().Subscribes {
			if len(filters) == 0 || sub.Filter != filters[0] {
				t.Fatalf("subscribes to %q, want %q", sub.Filter, filters)
			}
			filters = filters[1:]
		}
	}
}

// filtersAreFilters: what is none is refused where it is given.
func filtersAreFilters(t *suite.T) {
	wrong := append(wild, "", "a#", "a/#/b", "##", "a+", "+a", "a/b+", tooLong)
	if t.V5() {
		wrong = append(wrong, "$share/g", "$share/g/", "$share//a", "$share/g+/a", "$share/#/a")
	}
	for _, filter := range wrong {
		listen(t).refuses("sub", "-t", filter)
	}
	for _, filter := range []string{"a#", "a/#/b", "+a"} {
		s := listen(t)
		refusesToStart(t, "SLUICE_BRIDGE_0_URL=mqtt://"+s.addr(), "SLUICE_BRIDGE_0_DOWN="+filter)
		s.quiet()
	}
}

// optionsOfTheBridge: what it sent up does not come back, RETAIN stays as it was
// published, retained messages come with a new subscription only.
func optionsOfTheBridge(t *suite.T) {
	b := newBridge(t, "DOWN=down/# 1,$share/g/jobs 2")
	p := b.subscribed(b.welcome(false))
	const noLocal, asPublished, ifNew = 4, 8, 0x10
	want := []byte{1 | noLocal | asPublished | ifNew, 2 | asPublished | ifNew}
	for i, sub := range p.Subscribes {
		if sub.Options != want[i] {
			t.Fatalf("%v: options %#x for %s, want %#x", p, sub.Options, sub.Filter, want[i])
		}
	}
}

// refusedSubscription: sub says so and leaves; the bridge goes on with what it has.
func refusedSubscription(t *suite.T) {
	b := newBridge(t, "UP=up/#", "DOWN=down/1,down/2")
	c := b.welcome(false)
	c.Send(b.suback(c.Want(wire.SUBSCRIBE).ID, 0x80, 1))
	w := b.watcher()
	c.Send(wire.Publish{Topic: "down/2", Payload: "a"}.Bytes(t.Version))
	w.WantPublish("down/2", "a")

	s := listen(t)
	sub := s.command("sub", "-t", "down/#")
	c = s.welcome(false)
	c.Send(s.suback(c.Want(wire.SUBSCRIBE).ID, 0x80))
	c.WantClosed(0)
	sub.wantExit(exitRefused)
}
