package gateway

import (
	"slices"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
)

// congestionWait is T_WAIT: how long a device that is overloaded is left in peace.
const congestionWait = 5 * time.Minute

// maxInvalid is how often in a row a device may say that it does not know the topic id of a
// message, for which it has just been registered.
const maxInvalid = 3

// requestKind is what a device is asked, and has to answer.
type requestKind uint8

const (
	none        requestKind = iota
	willTopic               // WILLTOPICREQ
	willMessage             // WILLMSGREQ
	registers               // REGISTER
	publishes               // PUBLISH at QoS 1 or 2
	releases                // PUBREL
)

// request is the one message to a device that waits for an answer. It is sent again after
// T_RETRY, N_RETRY times.
type request struct {
	datagram []byte // its memory serves the next one
	timer    timer
	kind     requestKind
	qos      byte
	tries    uint8
	invalid  uint8  // answers in a row that the topic id is not known
	id       uint16 // MsgId
	topicID  uint16
}

// header is what a long PUBLISH has beside its data, in bytes. REGISTER has no more.
const header = 9

// heldMessage is a PUBLISH that waits in the device's own order.
type heldMessage struct {
	codec.Publish
	expires time.Duration // the gateway's time; 0: never
}

// deliver sends a message, or holds it until it may be sent. It is false if the device
// does not take it, which is as if it had been delivered.
func (d *device) deliver(p *codec.Publish, expires time.Duration) bool {
	s := d.conn.srv
	switch {
	case header+max(len(p.Payload), len(p.Topic)) > s.cfg.SN.MaxDatagram:
		s.drop(&s.stats.Dropped.TooLarge)
		return false
	case !d.secure && s.needsDTLS(p.Topic):
		s.drop(&s.stats.Dropped.NotAuthorized)
		return false
	case !d.named(p):
		s.drop(&s.stats.Dropped.Refused)
		return false
	}
	s.stats.MessagesOut++
	if d.state == asleep || d.answers > 0 || len(d.held) > 0 || !d.transmit(p) {
		d.hold(p, expires)
	}
	return true
}

// named sees that the topic of a message has a number, unless it needs none. It is false if the device
// has refused it, or has too many.
func (d *device) named(p *codec.Publish) bool {
	if _, _, ok := d.commonID(p.Topic); ok {
		return true
	}
	n := d.number(p.Topic, p.QoS > 0)
	return n != 0 && !d.ids().Refused(n)
}

// commonID is the number of a topic that devices know beforehand.
func (d *device) commonID(name []byte) (kind sn.TopicIDType, n uint16, ok bool) {
	if n, ok := d.conn.srv.cfg.SN.Predefined.Find(name); ok {
		return sn.PredefinedTopic, n, true
	}
	if len(name) == 2 {
		return sn.ShortTopic, uint16(name[0])<<8 | uint16(name[1]), true
	}
	return 0, 0, false
}

// hold keeps a copy of a message for later. Of messages at QoS 0 the oldest go when there
// is no room.
func (d *device) hold(p *codec.Publish, expires time.Duration) {
	s := d.conn.srv
	h := heldMessage{*p, expires}
	h.Message = codec.Message{Topic: clone(p.Topic), Payload: clone(p.Payload), QoS: p.QoS, Retain: p.Retain}
	h.SubscriptionIDs = nil
	d.held = append(d.held, h)
	if p.QoS > 0 {
		return
	}
	d.heldBytes += h.size()
	for d.heldBytes > s.cfg.SN.SleepBuffer {
		oldest := slices.IndexFunc(d.held, func(h heldMessage) bool { return h.QoS == 0 })
		d.heldBytes -= d.held[oldest].size()
		d.held = slices.Delete(d.held, oldest, oldest+1)
		s.drop(&s.stats.Dropped.Away)
	}
}

// expired says whether a held message is not to be sent any more. At QoS 1 and 2 it has
// been looked at by its session. [MQTT-3.3.2-5]
func (d *device) expired(h *heldMessage) bool {
	s := d.conn.srv
	if h.QoS > 0 || h.expires == 0 || h.expires > s.now {
		return false
	}
	s.drop(&s.stats.Dropped.Expired)
	return true
}

// unhold drops a held message at QoS 2 that the device has after all: it has answered a
// copy of it.
func (d *device) unhold(id uint16) {
	d.held = slices.DeleteFunc(d.held, func(h heldMessage) bool { return h.QoS == 2 && h.ID == id })
}

// size is about what a held message takes, in bytes.
func (h *heldMessage) size() int { return 128 + len(h.Topic) + len(h.Payload) }

// transmit sends a message, unless something has to go before it: the answer to another
// request, or a topic id, which it asks for.
func (d *device) transmit(p *codec.Publish) bool {
	s := d.conn.srv
	if p.QoS > 0 && d.request.kind != none {
		return false
	}
	kind, n, ok := d.commonID(p.Topic)
	if !ok {
		n, _ = d.ids().Find(p.Topic)
		ok = d.ids().Known(n)
	}
	m := sn.Publish{Dup: p.Dup, QoS: int8(p.QoS), Retain: p.Retain, TopicIDType: kind, TopicID: n, Data: p.Payload}
	if p.QoS > 0 {
		m.MessageID = p.ID
	}
	if !ok || !d.verified && d.credit < header+len(p.Payload)+registerCredit {
		d.askRegister(p.Topic)
		return false
	}
	if p.QoS == 0 {
		s.out = m.Append(s.out[:0])
		d.spend(len(s.out))
		d.send(s.out)
		return true
	}
	d.request.qos, d.request.topicID = p.QoS, n
	d.ask(m.Append(d.request.datagram[:0]), publishes, p.ID)
	return true
}

// spend says whether a datagram of n bytes may go to the device: it has shown that it hears
// us, or has credit left. The last one may go beyond that.
func (d *device) spend(n int) bool {
	switch {
	case d.verified:
		return true
	case d.credit <= 0:
		return false
	}
	d.credit -= n
	return true
}

// askRegister tells the device the number of a topic, if nothing else is asked. An answer
// shows that the device hears us, as nobody else can know what to answer.
func (d *device) askRegister(name []byte) {
	to := d.conn.session
	if d.request.kind != none {
		return
	}
	n := d.number(name, false) // a predefined one has none yet
	if n == 0 {
		return // there is no room: the device's own messages have to give it credit
	}
	if d.idsEpoch > to.srv.committed {
		to.block() // after a crash the number must not be another's
		return
	}
	if d.nextID++; d.nextID == 0 {
		d.nextID = 1
	}
	d.request.topicID = n
	d.ask((&sn.Register{TopicID: n, MessageID: d.nextID, Topic: name}).Append(d.request.datagram[:0]), registers, d.nextID)
}

// ask sends a request, whose memory is the device's from here on. Without credit it may
// leave only later, or never: nobody seems to be there.
func (d *device) ask(datagram []byte, kind requestKind, id uint16) {
	s := d.conn.srv
	r := &d.request
	r.datagram, r.kind, r.id, r.tries = datagram, kind, id, 0
	r.timer.owner = (*retry)(d)
	s.setTimer(&r.timer, s.now+s.cfg.SN.Retry)
	if d.spend(len(datagram)) {
		d.send(datagram)
	}
}

// answered ends the request, if that is what was answered.
func (d *device) answered(kind requestKind, id uint16) bool {
	r := &d.request
	if r.kind != kind || kind >= registers && r.id != id {
		return false
	}
	if kind == registers {
		d.verified = true // the MsgIds of others can be guessed
	}
	d.stopRequest()
	return true
}

func (d *device) stopRequest() {
	d.request.kind = none
	d.conn.srv.stopTimer(&d.request.timer)
}

// retry is a device whose answer has not come in time.
type retry device

func (r *retry) expire() {
	d := (*device)(r)
	s := d.conn.srv
	q := &d.request
	if int(q.tries) >= s.cfg.SN.Retries {
		d.giveUp()
		return
	}
	q.tries++
	if q.kind == publishes {
		sn.SetDup(q.datagram)
	}
	s.setTimer(&q.timer, s.now+s.cfg.SN.Retry)
	if d.spend(len(q.datagram)) {
		d.send(q.datagram)
	}
}

// giveUp ends the patience with a device: one that woke, or seemed to, is taken to sleep
// again, another is lost.
func (d *device) giveUp() {
	switch {
	case d.state == awake, d.stirred:
		d.fallAsleep()
		d.save()
	case d.state == connecting:
		d.conn.end("does not tell its Will")
	default:
		d.conn.close(codec.KeepAliveTimeout, "does not answer")
	}
}

// acknowledged takes a PUBACK.
func (d *device) acknowledged(m *sn.Puback) {
	s := d.conn.srv
	to := d.conn.session
	r := &d.request
	switch {
	case m.Code == sn.InvalidTopicID && m.MessageID == 0: // of a message at QoS 0
		d.unknown(m.TopicID)
	case r.kind != publishes || r.id != m.MessageID || m.Code == sn.Accepted && r.qos != 1:
	case m.Code == sn.Accepted:
		d.answered(publishes, m.MessageID)
		r.invalid = 0
		to.acknowledged(m.MessageID, codec.Success)
	case m.Code == sn.Congestion:
		s.setTimer(&r.timer, s.now+congestionWait)
	case m.Code == sn.InvalidTopicID && r.invalid < maxInvalid:
		r.invalid++
		d.unknown(r.topicID)
		d.putBack()
		to.pump()
	default:
		d.answered(publishes, m.MessageID)
		r.invalid = 0
		d.refused(m.MessageID, r.qos)
	}
}

// received takes a PUBREC. One that comes early, for a message that has its turn again
// only later, has no answer: with PUBREL the device would take it for another then.
func (d *device) received(id uint16) {
	r := &d.request
	if r.kind == publishes && r.id == id && r.qos != 2 {
		return
	}
	d.answered(publishes, id)
	d.unhold(id)
	to := d.conn.session
	if seq, sent := to.window.seqOf(id, maxID); sent || seq >= to.queue.Next() {
		to.received(id, codec.Success)
	}
}

// unknown notes that the device does not know a number.
func (d *device) unknown(n uint16) {
	d.ids().SetKnown(n, false)
}

// refused ends a message at QoS 1 or 2 that the device does not take.
func (d *device) refused(id uint16, qos byte) {
	s := d.conn.srv
	s.drop(&s.stats.Dropped.Refused)
	if qos == 2 {
		d.conn.session.received(id, codec.UnspecifiedError)
	} else {
		d.conn.session.acknowledged(id, codec.UnspecifiedError)
	}
}

// registered takes a REGACK.
func (d *device) registered(m *sn.Regack) {
	s := d.conn.srv
	r := &d.request
	if r.kind != registers || r.id != m.MessageID || r.topicID != m.TopicID {
		return
	}
	if m.Code == sn.Congestion {
		s.setTimer(&r.timer, s.now+congestionWait)
		return
	}
	d.answered(registers, m.MessageID)
	if m.Code == sn.Accepted {
		d.ids().SetKnown(m.TopicID, true)
		return
	}
	d.ids().Refuse(m.TopicID)
	name, _ := d.ids().Name(m.TopicID)
	if _, _, common := d.commonID([]byte(name)); common {
		return // that it has heard us is all that was asked
	}
	var gone []heldMessage
	d.held = slices.DeleteFunc(d.held, func(h heldMessage) bool {
		if string(h.Topic) != name {
			return false
		}
		gone = append(gone, h)
		return true
	})
	for _, h := range gone {
		if h.QoS > 0 {
			d.refused(h.ID, h.QoS)
			continue
		}
		d.heldBytes -= h.size()
		s.drop(&s.stats.Dropped.Refused)
	}
}

// sendAcks sends acknowledgements and answers whose time has come.
func (d *device) sendAcks(acks []ack) {
	c := &d.conn
	s := c.srv
	for i := range acks {
		a := &acks[i]
		switch {
		case a.kind == codec.TypePuback, a.kind == codec.TypePubrec && a.code >= codec.UnspecifiedError:
			c.settle()
			d.puback(d.topicIDOf(a.id), a.id, returnCode(a.code))
		case a.kind == codec.TypePubrec:
			d.topicIDOf(a.id)
			s.out = (&sn.Pubrec{MessageID: a.id}).Append(s.out[:0])
			d.send(s.out)
		case a.kind == codec.TypePubcomp:
			c.settle()
			s.out = (&sn.Pubcomp{MessageID: a.id}).Append(s.out[:0])
			d.send(s.out)
		case a.kind == codec.TypePubrel && a.code != codec.Success: // of a message that is over
			s.out = (&sn.Pubrel{MessageID: a.id}).Append(s.out[:0])
			d.send(s.out)
		case a.kind == codec.TypePubrel:
			if d.state == active || d.state == awake { // else it is sent when the device wakes
				d.release(a.id)
			}
		default:
			d.answers--
			d.send(a.packet)
		}
		a.ticket.leave()
	}
	d.advance()
}

// release sends PUBREL, in its turn.
func (d *device) release(id uint16) {
	if d.request.kind == releases && d.request.id == id || slices.Contains(d.releases, id) {
		return // PUBREC came twice
	}
	d.releases = append(d.releases, id)
}

// advance sends what has waited for something that has come about.
func (d *device) advance() {
	if d.state != active && d.state != awake {
		return
	}
	if len(d.releases) > 0 && d.request.kind == none {
		id := d.releases[0]
		d.releases = slices.Delete(d.releases, 0, 1)
		d.ask((&sn.Pubrel{MessageID: id}).Append(d.request.datagram[:0]), releases, id)
	}
	n := 0
	for n < len(d.held) && d.answers == 0 && (d.expired(&d.held[n]) || d.transmit(&d.held[n].Publish)) {
		if h := &d.held[n]; h.QoS == 0 {
			d.heldBytes -= h.size()
		}
		n++
	}
	if n > 0 {
		d.held = slices.Delete(d.held, 0, n)
		if len(d.held) == 0 {
			d.held = nil
		}
	}
	d.rest()
}
