package client

import (
	"fmt"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// flow is section 4.9.
var flow = []suite.Test{
	{V5: "3.3.4-7 4.9.0-1 4.9.0-2 RULE-4.9-p RULE-4.9.0-C", Run: staysWithinReceiveMaximum},
	{V5: "3.3.4-8 4.9.0-3", Run: otherPacketsGoOnWithoutQuota},
	{V5: "RULE-4.9.0-A", Run: noQuotaBeyondReceiveMaximum},
	{V5: "RULE-4.9-q", Run: resumesWithinReceiveMaximum},
	{V5: "RULE-3.3.4-p", Run: serverExceedsReceiveMaximum},
	{V5: "RULE-3.1.2.11-s", Run: serverExceedsMaximumPacketSize},
}

// staysWithinReceiveMaximum: two at a time. PUBREC gives nothing back, PUBCOMP and a
// refusal do. What is sent behind proves that no more was to come.
func staysWithinReceiveMaximum(t *suite.T) {
	for _, s := range senders(t, 2, wire.ReceiveMaximum, uint16(2)) {
		done := make(chan struct{})
		go func() { // pub takes no more lines than it may send
			defer close(done)
			s.send("1", "2", "3", "4", "5")
		}()
		first, second := s.conn.WantPublish("up/1", "1"), s.conn.WantPublish("up/1", "2")
		s.conn.Send(wire.Ack(wire.PUBREC, first.ID))
		s.conn.WantAck(wire.PUBREL, first.ID)
		s.conn.Send(wire.Ack(wire.PUBREC, second.ID))
		s.conn.WantAck(wire.PUBREL, second.ID) // and no third before
		s.conn.Send(wire.Ack(wire.PUBCOMP, first.ID))
		third := s.conn.WantPublish("up/1", "3")
		s.conn.Send(wire.AckReason(wire.PUBREC, third.ID, 0x87))
		fourth := s.conn.WantPublish("up/1", "4")
		s.conn.Send(wire.Ack(wire.PUBREC, fourth.ID))
		s.conn.WantAck(wire.PUBREL, fourth.ID)
		s.conn.Send(wire.Ack(wire.PUBCOMP, fourth.ID))
		s.conn.WantPublish("up/1", "5")
		<-done
	}
}

// otherPacketsGoOnWithoutQuota: answers to what comes down, pings.
func otherPacketsGoOnWithoutQuota(t *suite.T) {
	goesOn := func(c *suite.Conn) {
		if p := beyondPings(c); p.Type != wire.PUBLISH || p.Payload != "a" {
			t.Fatalf("%v, want PUBLISH of a", p)
		}
		c.Send(wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version))
		if p := beyondPings(c); p.Type != wire.PUBACK || p.ID != 7 {
			t.Fatalf("%v, want PUBACK 7", p)
		}
		c.Want(wire.PINGREQ)
	}
	b := newBridge(t, "UP=up/#", "DOWN=down/#", "KEEPALIVE=1s")
	c := b.welcome(false, wire.ReceiveMaximum, uint16(1))
	b.subscribed(c)
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1})
	d.Publish(wire.Publish{Topic: "up/1", Payload: "b", QoS: 1})
	goesOn(c)

	s := listen(t)
	pub := s.command("pub", "-t", "up/1", "-l", "-q", "1", "-k", "1")
	c = s.welcome(false, wire.ReceiveMaximum, uint16(1))
	pub.say("a", "b")
	goesOn(c)
}

// noQuotaBeyondReceiveMaximum: acknowledgements of nothing give nothing.
func noQuotaBeyondReceiveMaximum(t *suite.T) {
	for _, s := range senders(t, 1, wire.ReceiveMaximum, uint16(1)) {
		stray := []byte{}
		for _, kind := range []byte{wire.PUBACK, wire.PUBCOMP} {
			stray = append(stray, wire.Ack(kind, 60000)...)
		}
		s.conn.Send(stray)
		done := make(chan struct{})
		go func() { // pub takes no more lines than it may send
			defer close(done)
			s.send("1", "2", "3")
		}()
		first := s.conn.WantPublish("up/1", "1")
		none := wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version)
		s.conn.Send(stray, none)
		s.conn.WantAck(wire.PUBACK, 7, 0) // and no second before
		s.conn.Send(wire.Ack(wire.PUBACK, first.ID))
		second := s.conn.WantPublish("up/1", "2")
		if second.ID != first.ID {
			stray = append(stray, wire.Ack(wire.PUBACK, first.ID)...)
		}
		s.conn.Send(stray, none)
		s.conn.WantAck(wire.PUBACK, 7, 0) // and no third before
		s.conn.Send(wire.Ack(wire.PUBACK, second.ID))
		s.conn.WantPublish("up/1", "3")
		<-done
	}
}

// resumesWithinReceiveMaximum: what was under way counts anew, against the maximum of
// the new connection.
func resumesWithinReceiveMaximum(t *suite.T) {
	b := newBridge(t, "UP=up/#", "DOWN=down/#")
	c := b.welcome(false)
	b.subscribed(c)
	d := b.device()
	for i := range 5 {
		d.Publish(wire.Publish{Topic: "up/1", Payload: fmt.Sprint(i), QoS: 1})
		c.WantPublish("up/1", fmt.Sprint(i))
	}
	c.Drop()
	c = b.welcome(true, wire.ReceiveMaximum, uint16(2))
	first := c.WantPublish("up/1", "0")
	c.WantPublish("up/1", "1")
	c.Send(wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version))
	c.WantAck(wire.PUBACK, 7, 0) // and no third before
	c.Send(wire.Ack(wire.PUBACK, first.ID))
	c.WantPublish("up/1", "2")
}

// serverExceedsReceiveMaximum: messages that are received and never released.
func serverExceedsReceiveMaximum(t *suite.T) {
	b := newBridge(t, "DOWN=down/#", "MAX_INFLIGHT=5")
	c, p := b.connect()
	most := p.Props.Int(wire.ReceiveMaximum, 65535)
	if most != 5 {
		t.Fatalf("%v, want a receive maximum of 5", p)
	}
	c.Send(b.connack(false, 0))
	b.subscribed(c)
	for id := uint16(1); id <= 5; id++ {
		c.Send(wire.Publish{Topic: "down/1", QoS: 2, ID: id}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, id, 0)
	}
	c.Send(wire.Publish{Topic: "down/1", QoS: 2, ID: 3, Dup: true}.Bytes(t.Version)) // is one of the five
	c.WantAck(wire.PUBREC, 3, 0)
	c.Send(wire.Publish{Topic: "down/1", QoS: 2, ID: 6}.Bytes(t.Version))
	b.ends(c, 0x93)
}

// serverExceedsMaximumPacketSize: if the client has named one.
func serverExceedsMaximumPacketSize(t *suite.T) {
	s := listen(t)
	g := startGateway(t, "SLUICE_MAX_PACKET_SIZE=4KiB", "SLUICE_BRIDGE_0_URL=mqtt://"+s.addr(), "SLUICE_BRIDGE_0_DOWN=down/#")
	b := &bridge{s, g}
	c, p := b.connect()
	most := p.Props.Int(wire.MaximumPacketSize, 0)
	if most != 4096 {
		t.Fatalf("%v, want a maximum packet size of 4096", p)
	}
	c.Send(b.connack(false, 0))
	b.subscribed(c)
	c.Send(wire.Publish{Topic: "down/1", Payload: tooLong[:4096]}.Bytes(t.Version))
	b.ends(c, 0x95)
}
