package client

import (
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connack is section 3.2: what the server says of itself binds the client.
var connack = []suite.Test{
	{V5: "3.2.2-4", Run: sessionThatTheClientDoesNotKnow},
	{V5: "3.2.2-5", Run: sessionThatTheServerHasLost},
	{V5: "3.2.2-11", Run: staysBelowMaximumQoS},
	{V5: "3.2.2-14", Run: retainsNothingWhereThatIsNotAvailable},
	{V5: "3.2.2-15", Run: staysBelowMaximumPacketSize},
	{V5: "3.2.2-17 3.2.2-18 3.3.2-8 3.3.2-9", Run: aliasesOnlyAsGranted},
	{V311: "RULE-3.2.2-p", V5: "4.13.2-1", Run: leavesOnRefusal},
	{V5: "RULE-3.2.2.3-p", Run: noFiltersThatServerLacks},
	{V5: "RULE-3.2.2.3-q", Run: assignedIdentifier},
	{V5: "RULE-4.11-p", Run: serverReference},
	{V311: "RULE-3.2.0-p", V5: "RULE-3.2.0-p", Run: connackComesOnce},
}

// sessionThatTheClientDoesNotKnow: a new gateway that is told of a session, which
// somebody with its name has left, starts anew instead. A command too.
func sessionThatTheClientDoesNotKnow(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c, _ := b.connect()
	c.Send(b.connack(true, 0))
	c.WantClosed(0, 0x82)
	c, p := b.connect()
	if !p.Connect.Clean {
		t.Fatalf("%v, want a clean start", p)
	}
	c.Send(b.connack(false, 0))
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1})
	c.WantPublish("up/1", "a")
	c.Drop()
	if _, p = b.connect(); p.Connect.Clean {
		t.Fatalf("%v, want the session to go on", p)
	}

	s := listen(t)
	s.command("pub", "-t", "a", "-m", "b")
	c = s.welcome(true)
	c.WantClosed(0, 0x82)
}

// sessionThatTheServerHasLost: what was under way in the old session is no more; its
// messages are sent as new ones.
func sessionThatTheServerHasLost(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false)
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1", Payload: "released", QoS: 2})
	p := c.WantPublish("up/1", "released")
	c.Send(wire.Ack(wire.PUBREC, p.ID))
	c.WantAck(wire.PUBREL, p.ID)
	d.Publish(wire.Publish{Topic: "up/1", Payload: "first", QoS: 2})
	d.Publish(wire.Publish{Topic: "up/1", Payload: "second", QoS: 1})
	c.WantPublish("up/1", "first")
	c.WantPublish("up/1", "second")
	c.Drop()

	c = b.welcome(false)
	for _, payload := range []string{"first", "second"} {
		if p := c.WantPublish("up/1", payload); p.Dup {
			t.Fatalf("%v: sent again in a session that has never had it", p)
		}
	}
}

func staysBelowMaximumQoS(t *suite.T) {
	for most := range byte(2) {
		b := newBridge(t, "UP=up/#", "DOWN=down/# 2")
		c := b.welcome(false, wire.MaximumQoS, most)
		b.subscribed(c)
		d := b.device()
		d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 2})
		p := c.WantPublish("up/1", "a")
		if p.QoS != most {
			t.Fatalf("%v, want QoS %d", p, most)
		}
		if most == 1 {
			c.Send(wire.Ack(wire.PUBACK, p.ID))
		}
		d.Publish(wire.Publish{Topic: "up/1", Payload: "b"})
		c.WantPublish("up/1", "b") // and nothing of the steps of QoS 2 before it

		s := listen(t)
		cmd := s.command("pub", "-t", "a", "-m", "b", "-q", "2")
		s.welcome(false, wire.MaximumQoS, most).WantClosed(0)
		cmd.wantExit(exitRefused)
	}
}

func retainsNothingWhereThatIsNotAvailable(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false, wire.RetainAvailable, byte(0))
	b.device().Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1, Retain: true})
	if p := c.WantPublish("up/1", "a"); p.Retain {
		t.Fatalf("%v, want no RETAIN", p)
	}

	s := listen(t)
	cmd := s.command("pub", "-t", "a", "-m", "b", "-r")
	s.welcome(false, wire.RetainAvailable, byte(0)).WantClosed(0)
	cmd.wantExit(exitRefused)
}

// staysBelowMaximumPacketSize: messages, subscriptions and answers.
func staysBelowMaximumPacketSize(t *suite.T) {
	const most = 100
	fits := func(p *wire.Read) *wire.Read {
		if len(p.Raw) > most {
			t.Fatalf("%v: %d bytes, want %d at most", p, len(p.Raw), most)
		}
		return p
	}
	long := strings.Repeat("x", 60)
	tooLong := strings.Repeat("x", 120)
	b := newBridge(t, "UP=up/#", "DOWN=down/1/"+long+",down/2/"+long+",down/3/"+tooLong)
	c := b.welcome(false, wire.MaximumPacketSize, uint32(most))
	for _, filter := range []string{"down/1/" + long, "down/2/" + long} {
		p := fits(c.Want(wire.SUBSCRIBE))
		if len(p.Subscribes) != 1 || p.Subscribes[0].Filter != filter {
			t.Fatalf("%v, want a subscription to %s", p, filter)
		}
		c.Send(b.suback(p.ID, 2))
	}
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1", Payload: strings.Repeat("x", most), QoS: 1})
	d.Publish(wire.Publish{Topic: "up/1", Payload: "small", QoS: 1})
	p := fits(c.WantPublish("up/1", "small"))
	c.Send(wire.Ack(wire.PUBACK, p.ID))

	s := listen(t)
	cmd := s.command("pub", "-t", "up/1", "-l", "-q", "1")
	c = s.welcome(false, wire.MaximumPacketSize, uint32(most))
	cmd.say(strings.Repeat("x", most))
	c.WantClosed(0)
	cmd.wantExit(exitRefused)

	s = listen(t)
	cmd = s.command("sub", "-t", "down/1/"+long, "-t", "down/2/"+long)
	s.welcome(false, wire.MaximumPacketSize, uint32(most)).WantClosed(0)
	cmd.wantExit(exitRefused)
}

// aliasesOnlyAsGranted: to a server that grants none, and to one that grants two.
func aliasesOnlyAsGranted(t *suite.T) {
	for most := range uint16(3) {
		props := []any{wire.TopicAliasMaximum, most}
		if most == 0 {
			props = nil
		}
		for _, s := range senders(t, 0, props...) {
			for range 5 {
				s.send("a")
				p := s.conn.WantPublish("up/1", "a")
				if alias := p.Props.Int(wire.TopicAlias, 0); alias > uint32(most) || p.Props.Has(wire.TopicAlias) && alias == 0 {
					t.Fatalf("%v: alias %d, granted are %d", p, alias, most)
				}
			}
		}
	}
}

// leavesOnRefusal: whatever the reason, the client hangs up.
func leavesOnRefusal(t *suite.T) {
	for code := byte(1); code < 0xff; code++ {
		known := code <= 5
		if t.V5() {
			known = wire.Listed(wire.CONNACK, code) && code != 0x84 // which has the bridge ask for 3.1.1
		}
		if !known {
			continue
		}
		each(t, nil, nil, func(s *server, c *suite.Conn, _ *wire.Read) {
			c.Send(s.connack(false, code))
			c.WantEnd()
		})
	}
}

// noFiltersThatServerLacks: a SUBSCRIBE with what the server has not would be the end
// of the connection.
func noFiltersThatServerLacks(t *suite.T) {
	const wildcard, shared, plain = "down/#", "$share/g/down/2", "down/3"
	for lacking, filter := range map[byte]string{wire.WildcardSubscriptionAvailable: wildcard, wire.SharedSubscriptionAvailable: shared} {
		b := newBridge(t, "DOWN="+strings.Join([]string{wildcard, shared, plain}, ","))
		c := b.welcome(false, lacking, byte(0), wire.SubscriptionIdentifierAvailable, byte(0))
		p := b.subscribed(c)
		if len(p.Subscribes) != 2 || p.Props.Has(wire.SubscriptionIdentifier) {
			t.Fatalf("%v, want two filters", p)
		}
		for _, sub := range p.Subscribes {
			if sub.Filter == filter {
				t.Fatalf("%v: asks for %s, which the server has not", p, filter)
			}
		}

		s := listen(t)
		cmd := s.command("sub", "-t", filter)
		s.welcome(false, lacking, byte(0)).WantClosed(0)
		cmd.wantExit(exitRefused)
	}
}

// assignedIdentifier: the session belongs to the name that the server gave.
func assignedIdentifier(t *suite.T) {
	s := listen(t)
	sub := s.command("sub", "-t", "down/#", "-q", "1", "-i", "")
	c := s.welcome(false, wire.AssignedClientIdentifier, wire.Str("yours"))
	s.subscribed(c)
	r := &receiver{s, c, sub.wantLine}
	r.goesOn()
}

// serverReference: a client may follow it or not; it leaves.
func serverReference(t *suite.T) {
	for _, code := range []byte{0x9c, 0x9d} {
		each(t, nil, nil, func(s *server, c *suite.Conn, _ *wire.Read) {
			c.Send(s.connack(false, code, wire.ServerReference, wire.Str("other.example:1883")))
			c.WantEnd()
		})
		for _, r := range receivers(t) {
			r.conn.Send(wire.Packet(wire.DISCONNECT<<4, code, wire.Props(wire.ServerReference, wire.Str("other.example:1883"))))
			r.conn.WantClosed(0)
		}
	}
}

// connackComesOnce: a second one breaks the protocol.
func connackComesOnce(t *suite.T) {
	for _, r := range receivers(t) {
		r.conn.Send(r.connack(false, 0))
		r.ends(r.conn, 0x82)
	}
	for _, s := range senders(t, 1) {
		s.conn.Send(s.connack(false, 0))
		s.ends(s.conn, 0x82)
	}
}
