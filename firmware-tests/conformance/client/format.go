package client

import (
	"fmt"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// format is sections 1.5 and 2.
var format = []suite.Test{
	{
		V311: "1.5.3-1 1.5.3-2 3.1.3-4 3.1.3-11",
		V5:   "1.5.4-1 1.5.4-2 1.5.7-1 3.1.3-4 3.1.3-12",
		Run:  sendsNoIllFormedString,
	},
	{V311: "1.5.3-3 RULE-1.5.3-a", V5: "1.5.4-3 RULE-1.5.4-a", Run: keepsByteOrderMark},
	{V311: "RULE-2.2.3-b", V5: "1.5.5-1 RULE-1.5.5-b", Run: lengthsAreAsShortAsCanBe},
	{V311: "2.2.2-1 RULE-3.4.1-A", V5: "2.1.3-1 2.2.2-1 RULE-2.2.2-e RULE-2.4-a", Run: everyPacketInGoodForm},
	{V311: badPackets311, V5: badPackets5, Run: leavesOnBadPackets},
	{V311: badPackets311, V5: badPackets5, Run: bridgeLosesNothingToBadPackets},
	{V311: "4.8.0-1", V5: "RULE-4.13.1-r", Run: leavesOnBadConnack},
	{V311: "RULE-2.1-p RULE-4.3.3-A", V5: "RULE-2.1-p RULE-2.2.2-e RULE-3.4.2-A RULE-3.5.2-A RULE-3.6.2-A RULE-3.7.2-A RULE-4.3.3-A", Run: goesOnAfterGoodPackets},
	{V311: "RULE-2.1-p", V5: "RULE-2.1-p", Run: takesGoodConnacks},
}

// What bad packets are about.
const (
	badPackets311 = "1.5.3-1 1.5.3-2 2.2.2-2 2.3.1-1 3.3.1-4 3.3.2-1 3.3.2-2 3.6.1-1 4.8.0-1 " +
		"RULE-2.2.1-a RULE-2.2.1-b RULE-2.2.3-a RULE-3.3.1-A RULE-3.4.1-A"
	badPackets5 = "1.5.4-1 1.5.4-2 1.5.5-1 1.5.7-1 2.1.3-1 3.3.1-4 3.3.2-1 3.3.2-2 3.3.2-13 3.3.2-14 3.3.2-19 3.6.1-1 3.14.1-1 3.15.1-1 4.13.2-1 " +
		"RULE-1.5.5-a RULE-2.1.2-a RULE-2.1.2-b RULE-2.2.2-a RULE-2.2.2-b RULE-2.2.2-c RULE-2.2.2-d RULE-2.4-a RULE-3.3.1-A " +
		"RULE-3.3.2-B RULE-3.3.2-C RULE-3.3.2-D RULE-3.3.2-F RULE-3.3.2-G RULE-3.4.2-B RULE-3.5.2-B RULE-3.6.2-B RULE-3.7.2-B RULE-4.13.1-p"
)

// sendsNoIllFormedString: who gives one to a command or a bridge is told so.
func sendsNoIllFormedString(t *suite.T) {
	for _, text := range append(wild, tooLong) {
		listen(t).refuses("sub", "-t", "a", "-i", text)
		listen(t).refuses("pub", "-t", "a", "-m", "b", "-i", text)
		listen(t).refuses("pub", "-t", "a", "-m", "b", "-u", text)
		for _, setting := range []string{"CLIENT_ID=", "USERNAME=", "UP_PREFIX=", "DOWN="} {
			s := listen(t)
			env := []string{"SLUICE_BRIDGE_0_URL=mqtt://" + s.addr(), "SLUICE_BRIDGE_0_" + setting + text, "SLUICE_BRIDGE_0_UP=up/#"}
			refusesToStart(t, env...)
			s.quiet()
		}
	}
}

// refusesToStart wants a gateway with these settings not to start.
func refusesToStart(t *suite.T, env ...string) {
	t.Need(t.Target.Gateway, "gateway to start")
	ports.Lock()
	defer ports.Unlock()
	g, err := rig.NewGateway(t.Dir(), env...)
	if err == nil {
		err = g.Launch()
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { g.Kill() })
	<-g.Done()
}

// keepsByteOrderMark: U+FEFF is a character like others.
func keepsByteOrderMark(t *suite.T) {
	const mark = "\ufeff"
	b := newBridge(t, "UP=up/#", "DOWN=down/#")
	c := b.welcome(false)
	b.subscribed(c)
	d := b.watcher()
	d.Publish(wire.Publish{Topic: "up/" + mark + "a", Payload: "a"})
	c.WantPublish("up/"+mark+"a", "a")
	c.Send(wire.Publish{Topic: "down/" + mark + "a", Payload: "b"}.Bytes(t.Version))
	d.WantPublish("down/"+mark+"a", "b")

	s := listen(t)
	s.command("pub", "-t", mark+"a", "-m", "c", "-i", mark+"id")
	c, p := s.connect()
	if p.Connect.ID != mark+"id" {
		t.Fatalf("%v, want the client identifier %q", p, mark+"id")
	}
	c.Send(s.connack(false, 0))
	c.WantPublish(mark+"a", "c")

	s = listen(t)
	sub := s.command("sub", "-t", mark+"a", "-v")
	c = s.welcome(false)
	if p := s.subscribed(c); p.Subscribes[0].Filter != mark+"a" {
		t.Fatalf("%v, want the filter %q", p, mark+"a")
	}
	c.Send(wire.Publish{Topic: mark + "a", Payload: "d"}.Bytes(t.Version))
	sub.wantLine(mark + "a d")
}

// lengthsAreAsShortAsCanBe: the reader sees to what is sent; what is read arrives. The
// steps to two, three and four bytes of Remaining Length.
func lengthsAreAsShortAsCanBe(t *suite.T) {
	var sizes []int
	for _, step := range []int{1 << 7, 1 << 14, 1 << 21} {
		for below := range 12 { // topic, identifier, properties
			sizes = append(sizes, step-below)
		}
	}
	large := strings.Repeat("x", 1<<21)
	for i, s := range senders(t, 0) {
		for _, size := range sizes {
			if i == 0 && size > 1<<20 {
				break // is more than a gateway takes
			}
			s.send(large[:size])
			s.conn.WantPublish("up/1", large[:size])
		}
	}
	for i, r := range receivers(t) {
		for _, size := range sizes {
			if i == 0 && size > 1<<20 {
				break
			}
			r.publish(0, 0, large[:size])
			r.took(large[:size])
		}
	}
}

// everyPacketInGoodForm has each client send each kind of packet that it knows; the
// reader holds them against the rules.
func everyPacketInGoodForm(t *suite.T) {
	for _, s := range senders(t, 2) {
		s.send("a")
		p := s.conn.WantPublish("up/1", "a")
		s.conn.Send(wire.Ack(wire.PUBREC, p.ID))
		s.conn.WantAck(wire.PUBREL, p.ID)
		s.conn.Send(wire.Ack(wire.PUBCOMP, p.ID))
	}
	for _, r := range receivers(t) {
		for i := range 3 {
			r.publish(2, 7, fmt.Sprint(i))
			r.conn.WantAck(wire.PUBREC, 7, 0)
			r.conn.Send(wire.Ack(wire.PUBREL, 7))
			r.conn.WantAck(wire.PUBCOMP, 7)
			r.took(fmt.Sprint(i))
		}
		r.goesOn()
	}
}
