package bridge

import (
	"fmt"
	"sync/atomic"
	"time"

	"sluice/codec"
)

// upLoop takes what the gateway sends, as much as one read brought at a time.
func (l *link) upLoop() error {
	l.turn.Lock()
	defer l.turn.Unlock()
	for {
		p, err := l.local.decode()
		if err != nil {
			return err
		}
		if p != nil {
			if err := l.fromGateway(p); err != nil { // what came before counts
				l.flushUp()
				return err
			}
			continue
		}
		l.flushUp()
		l.turn.Unlock()
		l.up.wire.waitRoom()
		err = l.local.fill()
		l.turn.Lock()
		l.upNow = time.Since(l.start)
		if err != nil {
			return err
		}
	}
}

func (l *link) flushUp() {
	l.up.wire.send(l.toUp)
	l.local.send(l.backDown)
	l.toUp, l.backDown = l.toUp[:0], l.backDown[:0]
}

func (l *link) fromGateway(p codec.Packet) error {
	v := l.up.wire.version
	switch p := p.(type) {
	case *codec.Publish:
		if l.settling.Load() && p.QoS > 0 {
			return nil // it comes again on the next link
		}
		return l.relayUp(p)

	// Acknowledgements of what came down. That nobody subscribes to it only a
	// server may say [3.4.2.1].
	case *codec.Puback:
		if p.Code == codec.QuotaExceeded {
			return errGatewayFull
		}
		l.checkDeclined(p.Code)
		l.window.acked(p.ID)
		l.toUp = (&codec.Puback{ID: p.ID, Code: clientCode(p.Code)}).Append(l.toUp, v)
	case *codec.Pubrec:
		if p.Code == codec.QuotaExceeded {
			return errGatewayFull
		}
		if p.Code >= 0x80 { // the end of the message [4.3.3]
			l.checkDeclined(p.Code)
			l.window.acked(p.ID)
			l.setReceived(p.ID, false)
		}
		l.toUp = (&codec.Pubrec{ID: p.ID, Code: clientCode(p.Code)}).Append(l.toUp, v)
	case *codec.Pubcomp:
		if l.isCleared(p.ID) {
			return nil
		}
		l.window.acked(p.ID)
		l.setReceived(p.ID, false)
		l.toUp = (&codec.Pubcomp{ID: p.ID, Code: p.Code}).Append(l.toUp, v)

	// The third step of what goes up. The upstream has none, or had taken the
	// message in a session that it has lost [MQTT-3.2.2-5].
	case *codec.Pubrel:
		if l.up.maximumQoS < 2 || l.short.has(p.ID) || !l.up.sessionPresent && !l.begun.has(p.ID) && p.Code == codec.Success {
			l.backDown = (&codec.Pubcomp{ID: p.ID}).Append(l.backDown, l.local.version)
			return nil
		}
		if !l.begun.has(p.ID) { // went up on an earlier link
			l.begin(p.ID, false)
		}
		l.toUp = (&codec.Pubrel{ID: p.ID, Code: p.Code}).Append(l.toUp, v)
		l.owed.ask(l.up.wire)

	case *codec.Pingresp:
		l.synchronised, l.allRetained = true, false
	case *codec.Disconnect:
		return fmt.Errorf("disconnected: %v", p.Code)
	}
	return nil
}

// clientCode is a reason code of the gateway as a client may use it.
func clientCode(c codec.ReasonCode) codec.ReasonCode {
	if c == codec.NoMatchingSubscribers {
		return codec.Success
	}
	return c
}

func (l *link) checkDeclined(code codec.ReasonCode) {
	if code >= 0x80 {
		l.count(&l.counts.declined, "gateway refuses a message from upstream", "reason", code.String())
	}
}

// A loss is a reason why a message does not go up, now or later.
type loss struct {
	cause string // for Config.Lost
	what  string // for the log
	code  codec.ReasonCode
	count func(*counts) *atomic.Int64
}

// LossCauses are all that Config.Lost is called with.
var LossCauses = []string{lostUnnamed, lostCircled, lostRefused, lostTooLarge}

const (
	lostUnnamed  = "unnamed"
	lostCircled  = "circled"
	lostRefused  = "refused"
	lostTooLarge = "too_large"
)

var (
	unnamed = &loss{lostUnnamed, "message not sent up: the name that the rules make is empty or too long", codec.TopicNameInvalid,
		func(c *counts) *atomic.Int64 { return &c.unnamed }}
	untakable = &loss{lostUnnamed, "message not sent up: its topic is longer, or has more levels, than upstream takes", codec.TopicNameInvalid,
		func(c *counts) *atomic.Int64 { return &c.unnamed }}
	circled = &loss{lostCircled, "message not sent up: it has passed too many bridges, perhaps in a circle", codec.ImplementationSpecificError,
		func(c *counts) *atomic.Int64 { return &c.circled }}
	unanswered = &loss{lostRefused, "message not sent up: its publisher waits for the upstream, which acknowledges nothing as it takes QoS 0 only", codec.ImplementationSpecificError,
		func(c *counts) *atomic.Int64 { return &c.refused }}
	tooLarge = &loss{lostTooLarge, "message not sent up: larger than upstream takes", codec.ImplementationSpecificError,
		func(c *counts) *atomic.Int64 { return &c.tooLarge }}
)

// lose ends a message of the gateway that can not go up.
func (l *link) lose(why *loss, topic []byte, id uint16, qos byte, attrs ...any) {
	l.count(why.count(&l.counts), why.what, append([]any{"topic", brief(topic)}, attrs...)...)
	l.cfg.Lost(why.cause, topic, id)
	l.answerUp(id, qos, why.code)
}

// relayUp hands a message to the upstream, as far as the upstream can take it.
func (l *link) relayUp(p *codec.Publish) error {
	topic, id, qos, again := p.Topic, p.ID, p.QoS, p.Dup
	name, rule := l.upNames.name(topic)
	passed, _ := hops(p.User)
	switch {
	case len(name) == 0 || len(name) > maxTopic:
		l.lose(unnamed, topic, id, qos)
		return nil
	case !l.cfg.takesTopic(name):
		l.lose(untakable, topic, id, qos)
		return nil
	case l.cfg.MaxHops > 0 && passed >= l.cfg.MaxHops:
		l.lose(circled, topic, id, qos, hopsProperty, passed)
		return nil
	}
	p.Topic = name
	l.adapt(p, rule, topic)
	if p.QoS == 2 && l.inexact {
		return errInexact
	}
	if p.QoS == 0 && qos > 0 && rule != nil && rule.EndToEnd {
		l.lose(unanswered, topic, id, qos)
		return nil
	}
	l.readdress(p, passed)
	if rule != nil && rule.Batch > 0 && l.gather(p, id, qos, rule.Batch) {
		return nil
	}
	begin := len(l.toUp)
	l.toUp = p.Append(l.toUp, l.up.wire.version)
	if packet := l.toUp[begin:]; !l.up.takes(packet) {
		l.toUp = l.toUp[:begin]
		l.lose(tooLarge, topic, id, qos, "size", len(packet), "maximum", l.up.maximumPacketSize)
		return nil
	}
	if l.echoes != nil && l.up.wire.version != codec.V5 && l.downNames.forth.find(name) != nil {
		l.echoes.sent(name, p.Payload, again, time.Since(l.start))
	}
	l.sentUp(p, topic, id, qos, len(l.toUp)-begin)
	return nil
}

// readdress gives p what is between two servers only. It has had so many hops.
func (l *link) readdress(p *codec.Publish, passed int) {
	if p.QoS == 0 {
		p.ID = 0
	}
	if p.QoS == 0 || !l.up.sessionPresent { // to a new session all are new
		p.Dup = false
	}
	if l.up.wire.version == codec.V5 {
		p.ResponseTopic = l.answerable(l.upNames, p.ResponseTopic)
		if l.cfg.MaxHops > 0 {
			p.User = l.upHops.count(p.User, passed+1)
		}
	}
}

// sentUp notes what is to come of p, which has gone up in so many bytes: it came from the
// gateway with this topic, identifier and QoS.
func (l *link) sentUp(p *codec.Publish, topic []byte, id uint16, qos byte, size int) {
	l.counts.up.Add(1)
	l.short.set(id, p.QoS < qos && qos == 2)
	if p.QoS > 0 {
		l.owed.ask(l.up.wire)
		l.begin(id, true)
		l.lead(id, topic, size)
	}
	switch {
	case p.QoS == 0:
		l.answerUp(id, qos, codec.Success) // nobody else will
	case p.QoS < qos:
		l.mu.Lock()
		l.lowered.add(id)
		l.mu.Unlock()
	case p.QoS == 2:
		l.begun.add(id)
		l.track(id, true)
	}
}

// begin counts a message as under way. One that was sent just now may be timed.
func (l *link) begin(id uint16, now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pace.begin()
	if now {
		l.pace.sent(id, l.upNow)
	}
}

// adapt makes of a message's QoS and RETAIN what its rule wants and the upstream takes.
func (l *link) adapt(p *codec.Publish, rule *naming, topic []byte) {
	p.SubscriptionIDs, p.TopicAlias = nil, 0 // are of one hop only
	if rule != nil {
		p.QoS = min(p.QoS, rule.QoS)
		p.Retain = rule.Retain.apply(p.Retain)
	}
	if p.Retain && l.up.noRetain { // [MQTT-3.2.2-14]
		p.Retain = false
		l.count(&l.counts.unretained, "upstream has no retained messages: sent up as ordinary ones", "topic", brief(topic))
	}
	if p.QoS > l.up.maximumQoS { // [MQTT-3.2.2-11]
		p.QoS = l.up.maximumQoS
		l.count(&l.counts.lowered, "message sent up at a lower QoS, the highest that upstream takes", "topic", brief(topic), "qos", p.QoS)
	}
}

// answerable returns the name of a Response Topic on the other side. One that no rule
// brings back is carried as it is.
func (l *link) answerable(n *namer, topic []byte) []byte {
	if topic == nil {
		return nil
	}
	name, ok := n.answer(topic)
	if !ok || len(name) > maxTopic {
		l.count(&l.counts.unanswerable, "response topic carried as it is: no rule brings back what is published there", "topic", brief(topic))
		return topic
	}
	return name
}

// answerUp answers a message in place of the upstream.
func (l *link) answerUp(id uint16, qos byte, code codec.ReasonCode) {
	switch qos {
	case 1:
		l.backDown = (&codec.Puback{ID: id, Code: code}).Append(l.backDown, l.local.version)
	case 2:
		l.backDown = (&codec.Pubrec{ID: id, Code: code}).Append(l.backDown, l.local.version)
	}
}
