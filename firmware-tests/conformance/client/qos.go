package client

import (
	"fmt"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// qos is sections 4.1 to 4.6: delivery, order and state.
var qos = []suite.Test{
	{V311: "2.3.1-1 2.3.1-2 4.3.2-1", V5: "2.2.1-3 4.3.2-1 4.3.3-1", Run: identifiersInUseAreNotGivenAgain},
	{V311: "RULE-4.3.2-p RULE-4.3.3-A", V5: "RULE-4.3.2-p RULE-4.3.3-A", Run: strayAcknowledgements},
	{V311: "2.3.1-6", V5: "2.2.1-5 3.4.2-1 3.5.2-1 3.6.2-1 3.7.2-1 4.3.2-4 4.3.3-8 4.3.3-11", Run: answersRepeatTheIdentifier},
	{
		V311: "2.3.1-3 3.1.2-6 3.3.1-1 4.1.0-1 4.4.0-1 4.6.0-1",
		V5:   "3.1.2-23 3.3.1-1 4.3.2-3 4.3.3-3 4.3.3-7 4.6.0-1 RULE-3.1.2.11-r",
		Run:  resumesWhatIsNotAcknowledged,
	},
	{V311: "4.1.0-1", V5: "4.1.0-1", Run: stateOutlivesTheGateway},
	{V311: "4.1.0-2", V5: "4.4.0-1", Run: sendsNothingAgainWhileConnected},
	{V311: "4.3.3-1", V5: "4.3.3-4 4.3.3-5 4.3.3-6 4.3.3-13 3.6.1-1", Run: releasesAndNeverPublishesAgain},
	{V311: "3.6.1-1", Run: releaseHasItsFlags},
	{V5: "4.3.3-4 4.4.0-2", Run: refusedMessagesAreOver},
	{V311: "4.3.3-2", V5: "4.3.2-5 4.3.3-10 4.3.3-12", Run: receivesOnceAtQoS2},
	{V5: "4.3.3-9", Run: refusingFreesTheIdentifier},
	{V311: "4.6.0-2 4.6.0-3", V5: "4.6.0-2 4.6.0-3", Run: answersInOrder},
	{V311: "4.6.0-4", V5: "4.6.0-4", Run: releasesInOrder},
	{V5: "RULE-3.6.2-p RULE-3.7.2-p", Run: unknownIdentifiers},
	{V311: "RULE-4.3.3-B", V5: "RULE-4.3.3-B", Run: directionsHaveTheirOwnIdentifiers},
}

// identifiersInUseAreNotGivenAgain: twenty messages and the SUBSCRIBE, and no answer.
func identifiersInUseAreNotGivenAgain(t *suite.T) {
	for qos := byte(1); qos <= 2; qos++ {
		for _, s := range senders(t, qos) {
			used := map[uint16]bool{}
			for i := range 20 {
				payload := fmt.Sprint(i)
				s.send(payload)
				p := s.conn.WantPublish("up/1", payload)
				if used[p.ID] || p.ID == 0 {
					t.Fatalf("%v: identifier %d is in use", p, p.ID)
				}
				used[p.ID] = true
			}
		}
	}
	b := newBridge(t, "UP=up/#", "DOWN=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17") // more than one SUBSCRIBE
	c := b.welcome(false)
	d := b.device()
	used := map[uint16]bool{}
	for filters, messages := 17, 0; filters > 0 || messages < 5; {
		if filters == 0 {
			d.Publish(wire.Publish{Topic: "up/1", QoS: 1})
			messages++
		}
		p := c.Next()
		filters -= len(p.Subscribes)
		if used[p.ID] {
			t.Fatalf("%v: identifier %d is in use", p, p.ID)
		}
		used[p.ID] = true
	}
}

// strayAcknowledgements: an answer to nothing, or a second one, frees no identifier
// that is in use.
func strayAcknowledgements(t *suite.T) {
	for _, s := range senders(t, 1) {
		s.send("a", "b")
		first, second := s.conn.WantPublish("up/1", "a"), s.conn.WantPublish("up/1", "b")
		s.conn.Send(wire.Ack(wire.PUBACK, first.ID), wire.Ack(wire.PUBACK, first.ID), wire.Ack(wire.PUBACK, 60000))
		done := make(chan struct{})
		go func() { // neither client has more than 100 under way
			defer close(done)
			for i := range 100 {
				s.send(fmt.Sprint(i))
			}
		}()
		used := map[uint16]bool{second.ID: true}
		for i := range 100 {
			if i == 99 {
				s.conn.Send(wire.Ack(wire.PUBACK, second.ID))
				delete(used, second.ID)
			}
			p := s.conn.WantPublish("up/1", fmt.Sprint(i))
			if used[p.ID] {
				t.Fatalf("%v: identifier %d is in use", p, p.ID)
			}
			used[p.ID] = true
		}
		<-done
	}
}

func answersRepeatTheIdentifier(t *suite.T) {
	for _, r := range receivers(t) {
		for _, id := range []uint16{0x1234, 1, 65535} {
			r.publish(1, id, "a")
			r.conn.WantAck(wire.PUBACK, id, 0)
			r.took("a")
			r.publish(2, id, "b")
			r.conn.WantAck(wire.PUBREC, id, 0)
			r.conn.Send(wire.Ack(wire.PUBREL, id))
			r.conn.WantAck(wire.PUBCOMP, id)
			r.took("b")
		}
	}
	for _, s := range senders(t, 2) {
		for _, payload := range []string{"a", "b"} {
			s.send(payload)
			p := s.conn.WantPublish("up/1", payload)
			s.conn.Send(wire.Ack(wire.PUBREC, p.ID))
			s.conn.WantAck(wire.PUBREL, p.ID)
			s.conn.Send(wire.Ack(wire.PUBCOMP, p.ID))
		}
	}
}

// expiry is a Message Expiry Interval of three seconds, in which a message has to get
// to the server once.
var expiry = wire.Bytes(wire.MessageExpiry, uint32(3))

// expire waits until that is over, in 5.0.
func expire(t *suite.T) {
	if t.V5() {
		time.Sleep(3100 * time.Millisecond)
	}
}

// resumesWhatIsNotAcknowledged: five messages of both kinds, the second acknowledged,
// the third received but not released; then the line breaks. In 5.0 they expire
// meanwhile, which is nothing to what was once sent.
func resumesWhatIsNotAcknowledged(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false)
	d := b.device()
	var sent []*wire.Read
	for i := range 5 {
		p := wire.Publish{Topic: "up/1", Payload: fmt.Sprint(i), QoS: 1 + byte(i%2)}
		if i == 1 {
			p.QoS = 1
		}
		if i == 2 {
			p.QoS = 2
		}
		if t.V5() {
			p.Props = expiry
		}
		d.Publish(p)
		sent = append(sent, c.WantPublish(p.Topic, p.Payload))
	}
	c.Send(wire.Ack(wire.PUBACK, sent[1].ID), wire.Ack(wire.PUBREC, sent[2].ID))
	c.WantAck(wire.PUBREL, sent[2].ID)
	c.Drop()
	expire(t)

	c = b.welcome(true)
	for _, i := range []int{0, 2, 3, 4} {
		if i == 2 {
			c.WantAck(wire.PUBREL, sent[2].ID)
			continue
		}
		p := c.WantPublish("up/1", fmt.Sprint(i))
		if p.ID != sent[i].ID || !p.Dup || p.QoS != sent[i].QoS {
			t.Fatalf("%v, want %v again with DUP", p, sent[i])
		}
	}
	c.Send(wire.Ack(wire.PUBCOMP, sent[2].ID), wire.Ack(wire.PUBACK, sent[0].ID))
	d.Publish(wire.Publish{Topic: "up/1", Payload: "next", QoS: 1})
	c.WantPublish("up/1", "next")
}

// stateOutlivesTheGateway: as before, but the power fails.
func stateOutlivesTheGateway(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false)
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1})
	d.Publish(wire.Publish{Topic: "up/1", Payload: "b", QoS: 2})
	first, second := c.WantPublish("up/1", "a"), c.WantPublish("up/1", "b")
	b.restart()
	c.WantEnd()
	c = b.welcome(true)
	for i, was := range []*wire.Read{first, second} {
		if p := c.WantPublish("up/1", was.Payload); p.ID != was.ID {
			t.Fatalf("%v, want message %d under its identifier %d", p, i, was.ID)
		}
	}
}

// sendsNothingAgainWhileConnected: two pings long, and with other traffic.
func sendsNothingAgainWhileConnected(t *suite.T) {
	next := func(c *suite.Conn, payload string) *wire.Read {
		p := beyondPings(c)
		if p.Type != wire.PUBLISH || p.Payload != payload {
			t.Fatalf("%v, want PUBLISH of %s", p, payload)
		}
		return p
	}
	twoPings := func(c *suite.Conn) {
		for range 2 {
			c.Want(wire.PINGREQ)
			c.Send(wire.Packet(wire.PINGRESP << 4))
		}
	}
	b := newBridge(t, "UP=up/#", "KEEPALIVE=1s")
	c := b.welcome(false)
	d := b.device()
	for qos := byte(1); qos <= 2; qos++ {
		d.Publish(wire.Publish{Topic: "up/1", Payload: fmt.Sprint(qos), QoS: qos})
		next(c, fmt.Sprint(qos))
	}
	twoPings(c)
	d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1})
	c.Send(wire.Ack(wire.PUBACK, next(c, "a").ID))
	d.Publish(wire.Publish{Topic: "up/1", Payload: "b"})
	next(c, "b")

	s := listen(t)
	pub := s.command("pub", "-t", "up/1", "-l", "-q", "2", "-k", "1")
	c = s.welcome(false)
	pub.say("a")
	next(c, "a")
	twoPings(c)
	pub.say("b")
	next(c, "b")
}

// releasesAndNeverPublishesAgain: the line breaks after PUBREC, twice; the message may
// even have expired.
func releasesAndNeverPublishesAgain(t *suite.T) {
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false)
	d := b.device()
	message := wire.Publish{Topic: "up/1", Payload: "a", QoS: 2}
	if t.V5() {
		message.Props = expiry
	}
	d.Publish(message)
	p := c.WantPublish("up/1", "a")
	c.Send(wire.Ack(wire.PUBREC, p.ID))
	c.WantAck(wire.PUBREL, p.ID)
	expire(t)
	for range 2 {
		c.Drop()
		c = b.welcome(true)
		c.WantAck(wire.PUBREL, p.ID)
	}
	d.Publish(wire.Publish{Topic: "up/1", Payload: "b", QoS: 1})
	c.WantPublish("up/1", "b")
	c.Send(wire.Ack(wire.PUBCOMP, p.ID))
	d.Publish(wire.Publish{Topic: "up/1", Payload: "c", QoS: 1})
	c.WantPublish("up/1", "c")
}

// releaseHasItsFlags: the reader sees to it.
func releaseHasItsFlags(t *suite.T) {
	for _, s := range senders(t, 2) {
		s.send("a")
		p := s.conn.WantPublish("up/1", "a")
		s.conn.Send(wire.Ack(wire.PUBREC, p.ID))
		s.conn.WantAck(wire.PUBREL, p.ID)
	}
}

// refusedMessagesAreOver: no PUBREL, and nothing after the line broke.
func refusedMessagesAreOver(t *suite.T) {
	for qos := byte(1); qos <= 2; qos++ {
		b := newBridge(t, "UP=up/#")
		c := b.welcome(false)
		d := b.device()
		d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: qos})
		p := c.WantPublish("up/1", "a")
		c.Send(wire.AckReason(wire.PUBACK+qos-1, p.ID, 0x87))
		d.Publish(wire.Publish{Topic: "up/1", Payload: "b", QoS: qos})
		c.WantPublish("up/1", "b")
		c.Drop()
		c = b.welcome(true)
		c.WantPublish("up/1", "b")
	}
	s := listen(t)
	pub := s.command("pub", "-t", "up/1", "-m", "a", "-q", "2")
	c := s.welcome(false)
	p := c.WantPublish("up/1", "a")
	c.Send(wire.AckReason(wire.PUBREC, p.ID, 0x87))
	c.Want(wire.PINGREQ)
	c.Send(wire.Packet(wire.PINGRESP << 4))
	c.WantClosed(0)
	pub.wantExit(exitRefused)
}

// receivesOnceAtQoS2: repeats until PUBREL are answered and go no further; after
// PUBCOMP the identifier is new.
func receivesOnceAtQoS2(t *suite.T) {
	for _, r := range receivers(t) {
		again := wire.Publish{Topic: "down/1", Payload: "a", QoS: 2, ID: 7, Dup: true}.Bytes(t.Version)
		r.publish(2, 7, "a")
		r.conn.WantAck(wire.PUBREC, 7, 0)
		for range 2 {
			r.conn.Send(again)
			r.conn.WantAck(wire.PUBREC, 7, 0)
		}
		r.conn.Send(wire.Ack(wire.PUBREL, 7))
		r.conn.WantAck(wire.PUBCOMP, 7)
		r.took("a")
		r.conn.Send(again)
		r.conn.WantAck(wire.PUBREC, 7, 0)
		r.conn.Send(wire.Ack(wire.PUBREL, 7))
		r.conn.WantAck(wire.PUBCOMP, 7)
		r.took("a")
		r.goesOn()
	}
}

// refusingFreesTheIdentifier: a topic that is too long with its prefix is refused;
// what comes under the same identifier is another message.
func refusingFreesTheIdentifier(t *suite.T) {
	b := newBridge(t, "DOWN=down/#", "DOWN_PREFIX="+tooLong[:60000]+"/")
	c := b.welcome(false)
	b.subscribed(c)
	d := b.device()
	d.Subscribe(2, "+/down/#")
	c.Send(wire.Publish{Topic: "down/" + tooLong[:10000], QoS: 2, ID: 7}.Bytes(t.Version))
	p := c.Want(wire.PUBREC)
	if p.ID != 7 || p.Code() < 0x80 {
		t.Fatalf("%v, want 7 refused", p)
	}
	c.Send(wire.Publish{Topic: "down/1", Payload: "a", QoS: 2, ID: 7}.Bytes(t.Version))
	c.WantAck(wire.PUBREC, 7, 0)
	if p := d.Want(wire.PUBLISH); p.Payload != "a" {
		t.Fatalf("%v, want a", p)
	}
}

func answersInOrder(t *suite.T) {
	for qos := byte(1); qos <= 2; qos++ {
		for _, r := range receivers(t) {
			var all []byte
			for id := uint16(50); id > 0; id-- {
				all = append(all, wire.Publish{Topic: "down/1", Payload: fmt.Sprint(id), QoS: qos, ID: id}.Bytes(t.Version)...)
			}
			r.conn.Send(all)
			for id := uint16(50); id > 0; id-- {
				r.conn.WantAck(wire.PUBACK+qos-1, id, 0)
			}
		}
	}
}

func releasesInOrder(t *suite.T) {
	for _, s := range senders(t, 2) {
		var ids []uint16
		for i := range 10 {
			s.send(fmt.Sprint(i))
			ids = append(ids, s.conn.WantPublish("up/1", fmt.Sprint(i)).ID)
		}
		var recs []byte
		for _, i := range []int{3, 1, 4, 0, 5, 9, 2, 6, 8, 7} {
			recs = append(recs, wire.Ack(wire.PUBREC, ids[i])...)
		}
		s.conn.Send(recs)
		for _, i := range []int{3, 1, 4, 0, 5, 9, 2, 6, 8, 7} {
			s.conn.WantAck(wire.PUBREL, ids[i])
		}
	}
}

// unknownIdentifiers: PUBREC and PUBREL for nothing are told so.
func unknownIdentifiers(t *suite.T) {
	for _, s := range senders(t, 2) {
		s.conn.Send(wire.Ack(wire.PUBREC, 777))
		s.conn.WantAck(wire.PUBREL, 777, 0x92)
	}
	for _, r := range receivers(t) {
		r.conn.Send(wire.Ack(wire.PUBREL, 777))
		r.conn.WantAck(wire.PUBCOMP, 777, 0x92)
	}
}

// directionsHaveTheirOwnIdentifiers: a message comes under the identifier of one that
// goes, and both are brought to their end.
func directionsHaveTheirOwnIdentifiers(t *suite.T) {
	for _, s := range senders(t, 2) {
		s.send("a")
		id := s.conn.WantPublish("up/1", "a").ID
		s.conn.Send(wire.Publish{Topic: "down/1", QoS: 2, ID: id}.Bytes(t.Version))
		s.conn.WantAck(wire.PUBREC, id, 0)
		s.conn.Send(wire.Ack(wire.PUBREC, id))
		s.conn.WantAck(wire.PUBREL, id)
		s.conn.Send(wire.Ack(wire.PUBREL, id))
		s.conn.WantAck(wire.PUBCOMP, id)
		s.conn.Send(wire.Publish{Topic: "down/1", QoS: 2, ID: id}.Bytes(t.Version))
		s.conn.WantAck(wire.PUBREC, id, 0)
		s.conn.Send(wire.Ack(wire.PUBCOMP, id), wire.Ack(wire.PUBREL, id))
		s.conn.WantAck(wire.PUBCOMP, id)
	}
}
