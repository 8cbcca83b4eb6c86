package gateway

import (
	"slices"
	"time"

	"sluice/codec"
)

// publication is one message on its way to all who want it.
type publication struct {
	codec.Message               // its slices are views, valid while it is routed
	origin        *conn         // the publisher; nil: a will or a retained message
	expires       time.Duration // the gateway's time; 0: never
	epoch         uint64        // when it is on disk; 0: it need not be
	known         *route        // who wants it; nil: not looked up yet
	ticket        *ticket       // of those who may acknowledge sooner than that; nil: nobody
	receipt       *receipt      // of upstreams for which the publisher waits; nil: none
	refused       *refused      // of a batch, what is not taken; nil: nothing
	disk          bool          // it must be on disk all the same
	wanted        bool          // somebody has it
	admitted      bool          // room for it was found before it was taken, with those who reject: none of them may drop it
	crowded       bool          // a recipient is behind: its publisher is to slow down
	live          bool          // forwarded as it is published, not because it was retained
	volatile      bool          // retained in memory only
}

// publish takes a message from a device.
func (c *conn) publish(p *codec.Publish) {
	s := c.srv
	c.taken++
	s.stats.MessagesIn++
	if err := c.resolveAlias(p); err != nil {
		c.close(err.Code, err.Text)
		return
	}
	if p.QoS > 0 {
		if p.QoS == 2 && c.session.holds(p.ID) {
			c.receivedAgain(p.ID)
			return
		}
		if p.Dup && c.waitsLate(p.ID, codec.TypePuback) {
			return // it has no patience: the upstream is asked already
		}
		if c.unacked >= s.cfg.MaxInflight && c.version == codec.V5 {
			c.close(codec.ReceiveMaximumExceeded, "Receive Maximum exceeded") // [MQTT-3.3.4-9]
			return
		}
		c.unacked++
	}
	if isControl(p.Topic) && !c.trusted {
		c.control(p)
		return
	}
	code, known := s.admit(c, &p.Message)
	if code >= codec.UnspecifiedError {
		c.denied(p, ack{code: code})
		return
	}
	pub := publication{origin: c, known: known, live: true, admitted: p.QoS > 0}
	if s.isBatch(p) {
		if code := s.forwardBatch(c, p, &pub); code >= codec.UnspecifiedError {
			pub.ticket.leave()
			c.denied(p, ack{code: code})
			return
		}
	} else {
		pub.Message = p.Message // in the literal it would be copied twice
		s.forward(&pub)
	}
	if p.QoS > 0 {
		c.accept(p, &pub)
	}
	if pub.crowded {
		c.brake()
	}
}

// receivedAgain answers a QoS 2 message that is held already. [MQTT-4.3.3-10]
func (c *conn) receivedAgain(id uint16) {
	a := ack{kind: codec.TypePubrec, id: id, epoch: c.session.heldEpoch, receipt: c.session.owes(id)}
	if a.receipt != nil {
		if a.receipt.conn == c {
			return // it is to be answered
		}
		a.receipt.conn = c
	}
	c.acknowledge(a)
}

// forward hands a new message to all who want it, now and later.
func (s *Server) forward(pub *publication) {
	if pub.HasMessageExpiry {
		pub.expires = s.now + time.Duration(pub.MessageExpiry)*time.Second
	}
	s.route(pub)
	if pub.Retain {
		s.retain(pub)
	}
}

// Publish publishes a message of the program's own, at QoS 0 for want of somebody to
// acknowledge it to. The topic may begin with $. The message is the caller's again when
// it returns.
func (s *Server) Publish(m codec.Message) { s.say(&publication{Message: m}) }

// Tell is Publish of what the program tells anew at each start: what is retained of it is in
// memory only. So it may be told often without wear of the disk, and also when that is full.
func (s *Server) Tell(m codec.Message) { s.say(&publication{Message: m, volatile: true}) }

func (s *Server) say(pub *publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	pub.QoS, pub.live = 0, true
	s.forward(pub)
}

// admit says whether a message may come in: Success or why not; and who wants it, if
// that had to be known.
func (s *Server) admit(c *conn, p *codec.Message) (code codec.ReasonCode, known *route) {
	if !takes(p.Topic) {
		s.drop(&s.stats.Dropped.InvalidTopic)
		return codec.TopicNameInvalid, nil
	}
	if len(p.User) > maxList {
		s.drop(&s.stats.Dropped.TooLarge)
		return codec.ImplementationSpecificError, nil
	}
	if !c.trusted && p.Topic[0] == '$' || !c.mayPublish(c.session.id, p.Topic) {
		s.drop(&s.stats.Dropped.NotAuthorized)
		return codec.NotAuthorized, nil
	}
	if p.QoS == 0 || !c.refused && !s.rejects() && s.rejecting == 0 {
		return codec.Success, nil
	}
	known = s.recipients(p.Topic)
	if c.refused || s.full(c, p, known) {
		s.drop(&s.stats.Dropped.Rejected)
		return codec.QuotaExceeded, nil
	}
	return codec.Success, known
}

// mayPublish asks the access list.
func (c *conn) mayPublish(id string, topic []byte) bool {
	access := c.srv.cfg.Access
	return access == nil || c.trusted || access.CanPublish(c.user, id, topic)
}

// rejects says whether a message that does not find room with a session is refused now,
// but for sessions with limits of their own.
func (s *Server) rejects() bool { return s.cfg.QueuePolicy == Reject || s.failing != nil }

// denied answers a message that is not taken with a, which has the code.
func (c *conn) denied(p *codec.Publish, a ack) {
	switch {
	case p.QoS == 0:
		return
	case c.version == codec.V5:
		c.refused = c.refused || c.trusted && a.code == codec.QuotaExceeded // a bridge comes anew, with what is behind p too
	case a.code == codec.NotAuthorized:
		a.code = codec.Success // 3.1.1 can only close or acknowledge, section 3.3.5
	case a.code == codec.TopicNameInvalid:
		c.close(a.code, "topic name too long, or of too many levels")
		return
	default:
		c.close(a.code, "queue full, see SLUICE_QUEUE_POLICY")
		return
	}
	a.id, a.kind = p.ID, codec.TypePuback
	if p.QoS == 2 {
		a.kind = codec.TypePubrec
		if a.code == codec.Success {
			c.session.hold(p.ID)
		}
	}
	c.acknowledge(a)
}

// accept acknowledges a routed message at QoS 1 or 2, last. [MQTT-4.3.2-4], [MQTT-4.3.3-8]
func (c *conn) accept(p *codec.Publish, pub *publication) {
	if r := pub.receipt; r != nil {
		if r.code >= codec.UnspecifiedError {
			pub.ticket.leave()
			r.abandon()
			c.denied(p, ack{code: r.code})
			return
		}
		if p.QoS == 2 && len(r.places) > 0 && pub.refused == nil {
			c.session.owe(p.ID, r)
		}
	}
	a := ack{id: p.ID, epoch: pub.epoch, kind: codec.TypePuback, receipt: pub.receipt}
	switch {
	case pub.refused != nil:
		a.code, a.packet = pub.refused.code, pub.refused.places
	case !pub.wanted:
		a.code = codec.NoMatchingSubscribers
	}
	disk := pub.disk
	if p.QoS == 2 {
		a.kind = codec.TypePubrec
	}
	if p.QoS == 2 && pub.refused == nil { // else PUBREC is the end of it [MQTT-4.3.3-4]
		if epoch := c.session.hold(p.ID); epoch != 0 {
			a.epoch, disk = epoch, true
		}
	}
	if disk {
		pub.ticket.leave()
	} else {
		a.ticket = pub.ticket
	}
	c.acknowledge(a)
}

// release ends a QoS 2 message: its identifier is free again. [MQTT-4.3.3-11]
func (c *conn) release(p *codec.Pubrel) {
	a := ack{kind: codec.TypePubcomp, id: p.ID}
	to := c.session
	if to.holds(p.ID) {
		to.cancel(p.ID)
		a.epoch = to.unhold(p.ID)
	} else if c.version == codec.V5 {
		a.code = codec.PacketIdentifierNotFound
	}
	c.acknowledge(a)
}

// holds says whether a QoS 2 message with this identifier was received and not yet released.
func (to *session) holds(id uint16) bool {
	_, held := slices.BinarySearch(to.held, id)
	return held
}

// hold remembers a QoS 2 message's identifier until PUBREL, and returns the epoch in
// which it will be on disk; 0 if it need not be.
func (to *session) hold(id uint16) uint64 {
	i, held := slices.BinarySearch(to.held, id)
	if !held {
		to.held = slices.Insert(to.held, i, id)
	}
	return to.saveHeld()
}

// unhold forgets the identifier, and returns the epoch in which that will be on disk; 0 if
// it need not be.
func (to *session) unhold(id uint16) uint64 {
	if i, held := slices.BinarySearch(to.held, id); held {
		to.held = slices.Delete(to.held, i, i+1)
	}
	return to.saveHeld()
}
