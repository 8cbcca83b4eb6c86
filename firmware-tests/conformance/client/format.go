package client

import (
	"fmt"

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
	{V311: "1.5.3-3", V5: "1.5.4-3", Run: keepsByteOrderMark},
	{V5: "1.5.5-1", Run: lengthsAreAsShortAsCanBe},
	{V311: "2.2.2-1", V5: "2.1.3-1 2.2.2-1", Run: everyPacketInGoodForm},
	{
		V311: "1.5.3-1 1.5.3-2 2.2.2-2 2.3.1-1 3.3.1-4 3.3.2-1 3.3.2-2 3.6.1-1 4.8.0-1",
		V5:   "1.5.4-1 1.5.4-2 1.5.5-1 1.5.7-1 2.1.3-1 3.3.1-4 3.3.2-1 3.3.2-2 3.3.2-13 3.3.2-14 3.6.1-1 3.14.1-1 3.15.1-1 4.13.2-1 RULE-4.13.1-p",
		Run:  leavesOnBadPackets,
	},
	{V311: "4.8.0-1", V5: "RULE-4.13.1-p", Run: bridgeLosesNothingToBadPackets},
	{V311: "4.8.0-1", V5: "RULE-4.13.1-r", Run: leavesOnBadConnack},
	{V311: "RULE-2.1-p", V5: "RULE-2.1-p", Run: goesOnAfterGoodPackets},
}

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

// lengthsAreAsShortAsCanBe: the reader sees to it; these are the steps.
func lengthsAreAsShortAsCanBe(t *suite.T) {
	for _, s := range senders(t, 0) {
		for _, size := range []int{100, 127, 128, 129, 16370, 16383, 16384, 16385} {
			s.send(tooLong[:size])
			s.conn.WantPublish("up/1", tooLong[:size])
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
