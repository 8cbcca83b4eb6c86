package gateway

import (
	"hash/maphash"
	"slices"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
)

// publish takes a PUBLISH. A sleeping device may send one as well: it is known to do so,
// though the specification has it connect first.
func (d *device) publish(m *sn.Publish) {
	c := &d.conn
	s := c.srv
	if m.QoS > 0 && m.MessageID == 0 {
		s.discard(&s.stats.Datagrams.Bad)
		return
	}
	name, code := d.topic(m.TopicIDType, m.TopicID)
	switch {
	case code != sn.Accepted:
	case m.QoS == -1 && m.TopicIDType == sn.NormalTopic, !d.secure && s.needsDTLS(name):
		code = sn.NotSupported
	case m.QoS > 0 && (c.paused || len(d.publishes) >= int(s.cfg.MaxInflight)) && !d.taken(m):
		code = sn.Congestion
	}
	if code != sn.Accepted {
		if m.QoS >= 0 {
			d.puback(m.TopicID, m.MessageID, code)
		}
		return
	}
	if m.QoS > 0 && m.Dup && d.waitsFor(m.MessageID) {
		return // it is on its way to the disk, or upstream
	}
	if m.QoS == 2 && d.isLate(m, name) {
		s.out = (&sn.Pubrec{MessageID: m.MessageID}).Append(s.out[:0])
		d.send(s.out)
		return
	}
	if m.QoS > 0 {
		d.publishes = append(d.publishes, receivedByID{m.MessageID, m.TopicID})
	}
	p := &s.published
	*p = codec.Publish{ID: m.MessageID, Dup: m.Dup}
	p.Topic, p.Payload, p.QoS, p.Retain = name, m.Data, byte(max(m.QoS, 0)), m.Retain
	c.publish(p)
}

// exactlyOnce is a PUBLISH of the device's at QoS 2. A network may bring a copy of it even
// after PUBREL, when its identifier is free again, and after the CONNECT that follows.
type exactlyOnce struct {
	id   uint16
	sum  uint64        // of topic and data
	over time.Duration // when PUBREL came; 0: not yet
}

// maxLate is how many are remembered of a device, which is to send one at a time.
const maxLate = 8

var lateSeed = maphash.MakeSeed()

// isLate says whether a PUBLISH is the late copy of one that is over, and remembers it if
// not. Networks do not hold a datagram longer than T_RETRY, and within that a device does
// not say the same again under the same identifier.
func (d *device) isLate(m *sn.Publish, name []byte) bool {
	var h maphash.Hash
	h.SetSeed(lateSeed)
	h.Write(name)
	h.WriteByte(0)
	h.Write(m.Data)
	now := exactlyOnce{id: m.MessageID, sum: h.Sum64()}
	s, of := d.conn.srv, d.conn.session.device
	for i := range of.twos {
		if two := &of.twos[i]; two.id == now.id {
			if two.sum == now.sum && two.over != 0 && s.now < two.over+s.cfg.SN.Retry {
				return true
			}
			*two = now
			return false
		}
	}
	if len(of.twos) == maxLate {
		of.twos = slices.Delete(of.twos, 0, 1)
	}
	of.twos = append(of.twos, now)
	return false
}

// published notes that PUBREL has come for a PUBLISH.
func (d *device) published(id uint16) {
	twos := d.conn.session.device.twos
	for i := range twos {
		if two := &twos[i]; two.id == id && two.over == 0 {
			two.over = d.conn.srv.now
		}
	}
}

// topic is the topic that a message of the device's means. It is valid until the next call.
func (d *device) topic(kind sn.TopicIDType, n uint16) ([]byte, sn.ReturnCode) {
	s := d.conn.srv
	if kind != sn.NormalTopic {
		return s.commonTopic(kind, n)
	}
	name, ok := d.ids().Name(n)
	if !ok {
		return nil, sn.InvalidTopicID
	}
	s.name = append(s.name[:0], name...)
	return s.name, sn.Accepted
}

// taken says whether a PUBLISH has come before, and is not to be refused now.
func (d *device) taken(m *sn.Publish) bool {
	return d.waitsFor(m.MessageID) || m.QoS == 2 && d.conn.session.holds(m.MessageID)
}

// waitsFor says whether the PUBLISH with this identifier is not yet acknowledged.
func (d *device) waitsFor(id uint16) bool {
	return slices.ContainsFunc(d.publishes, func(p receivedByID) bool { return p.id == id })
}

// topicIDOf takes the topic id of a PUBLISH that is acknowledged now.
func (d *device) topicIDOf(id uint16) (topicID uint16) {
	for i, p := range d.publishes {
		if p.id == id {
			d.publishes = slices.Delete(d.publishes, i, i+1)
			return p.topicID
		}
	}
	return 0
}

func (d *device) puback(topicID, id uint16, code sn.ReturnCode) {
	s := d.conn.srv
	s.out = (&sn.Puback{TopicID: topicID, MessageID: id, Code: code}).Append(s.out[:0])
	d.send(s.out)
}

// register gives a topic a number. The answer waits for the disk: after a crash the number
// must not be another's.
func (d *device) register(m *sn.Register) {
	if m.MessageID == 0 {
		d.conn.srv.discard(&d.conn.srv.stats.Datagrams.Bad)
		return
	}
	ack := sn.Regack{MessageID: m.MessageID, Code: sn.NotSupported}
	if takes(m.Topic) && codec.ValidTopic(m.Topic) == nil {
		ack.TopicID, ack.Code = d.giveID(m.Topic)
	}
	if d.idsEpoch > d.conn.srv.committed {
		d.answer(ack.Append(nil))
	} else {
		d.reply(ack.Append(nil))
	}
}

// giveID gives a topic a number that the device is about to know.
func (d *device) giveID(name []byte) (uint16, sn.ReturnCode) {
	n := d.number(name, false)
	if n == 0 {
		return 0, sn.Congestion
	}
	d.ids().SetKnown(n, true)
	return n, sn.Accepted
}

// subscribe takes a SUBSCRIBE; what is retained under its filter follows the answer.
func (d *device) subscribe(m *sn.Subscribe) {
	c := &d.conn
	s := c.srv
	if m.MessageID == 0 {
		s.discard(&s.stats.Datagrams.Bad)
		return
	}
	req := codec.Subscription{QoS: byte(max(m.QoS, 0))}
	ack := sn.Suback{MessageID: m.MessageID, QoS: req.QoS}
	req.Filter, ack.Code = d.filter(m.TopicIDType, m.Topic, m.TopicID)
	if m.QoS == -1 {
		ack.Code = sn.NotSupported
	}
	if ack.Code == sn.Accepted {
		ack.Code = returnCode(c.admitSubscription(&req))
	}
	if ack.Code != sn.Accepted {
		ack.QoS = 0
		d.reply(ack.Append(nil))
		return
	}
	_, _, shared := codec.SplitShare(req.Filter)
	switch {
	case m.TopicIDType == sn.PredefinedTopic:
		ack.TopicID = m.TopicID
	case m.TopicIDType == sn.NormalTopic && !shared && !codec.HasWildcard(req.Filter):
		// Without a number the device is registered one with the first message.
		ack.TopicID, _ = d.giveID(req.Filter)
	}
	repeated := d.hasSubscribed(m, req.Filter)
	c.session.subscribe(&req, 0)
	d.answer(ack.Append(nil))
	if !repeated {
		s.deliverRetained(c.session, &req, 0)
	}
}

// subscribed is the last SUBSCRIBE of a device.
type subscribed struct {
	id  uint16
	qos int8
	sum uint64 // of the filter
	at  time.Duration
}

// hasSubscribed says whether a SUBSCRIBE has come before, and remembers it. What is retained
// is not to come twice because SUBACK was lost.
func (d *device) hasSubscribed(m *sn.Subscribe, filter []byte) bool {
	s := d.conn.srv
	last := d.last
	d.last = subscribed{m.MessageID, m.QoS, maphash.Bytes(lateSeed, filter), s.now}
	_, found := d.conn.session.subs.find(filter)
	return found && last.id == m.MessageID && last.qos == m.QoS && last.sum == d.last.sum && (m.Dup || s.now < last.at+s.cfg.SN.Retry)
}

// filter is what a SUBSCRIBE or UNSUBSCRIBE is about: a name, or a topic by its id. It is
// valid until the next call.
func (d *device) filter(kind sn.TopicIDType, name []byte, n uint16) ([]byte, sn.ReturnCode) {
	if kind == sn.NormalTopic {
		return name, sn.Accepted
	}
	return d.topic(kind, n)
}

// unsubscribe takes an UNSUBSCRIBE, whose answer knows no failure.
func (d *device) unsubscribe(m *sn.Unsubscribe) {
	if m.MessageID == 0 {
		d.conn.srv.discard(&d.conn.srv.stats.Datagrams.Bad)
		return
	}
	ack := (&sn.Unsuback{MessageID: m.MessageID}).Append(nil)
	to := d.conn.session
	filter, code := d.filter(m.TopicIDType, m.Topic, m.TopicID)
	if i, found := to.subs.find(filter); found && code == sn.Accepted {
		to.unsubscribe(i)
		d.answer(ack)
		return
	}
	d.reply(ack)
}
