package bridge

import (
	"bytes"
	"errors"
	"time"

	"sluice/codec"
)

// downLoop takes what the upstream sends, a batch at a time.
func (l *link) downLoop() error {
	l.waitCleared()
	for {
		p, err := l.up.wire.decode()
		if err == nil && p != nil {
			err = l.fromUpstream(p)
		}
		if err != nil { // what came before counts
			l.local.send(l.toLocal)
			l.up.wire.send(l.backUp)
			return err
		}
		if p != nil {
			continue
		}
		l.flushDown()
		l.window.waitRoom()
		l.local.waitRoom()
		if err := l.up.wire.fill(); err != nil {
			return err
		}
		l.downNow = time.Since(l.start)
	}
}

// flushDown sends what came. Acknowledgements wait for others while the upstream owes
// half a window of them: it has that to go on with, and many small steps cost both sides
// more than a few large ones.
func (l *link) flushDown() {
	l.mu.Lock()
	window := l.pace.window
	l.mu.Unlock()
	if window != l.told {
		l.told = window
		l.cfg.Window(uint16(window))
		l.setWindow(window)
	}
	if l.owed.count() >= window/2 && window > 1 {
		l.local.hold(l.toLocal)
	} else {
		l.local.send(l.toLocal)
	}
	l.up.wire.send(l.backUp)
	l.toLocal, l.backUp = l.toLocal[:0], l.backUp[:0]
}

// What an upstream may not send. It is told so.
var (
	errAuth           = &codec.Error{Code: codec.ProtocolError, Clause: "MQTT-4.12.0-6", Text: "AUTH, for which nobody asked"}
	errSecondConnack  = &codec.Error{Code: codec.ProtocolError, Clause: "MQTT-3.2.0-2", Text: "second CONNACK"}
	errAlias          = &codec.Error{Code: codec.TopicAliasInvalid, Clause: "MQTT-3.1.2-26", Text: "topic alias, which nobody granted"}
	errReceiveMaximum = &codec.Error{Code: codec.ReceiveMaximumExceeded, Clause: "MQTT-3.3.4-9", Text: "more messages under way than Receive Maximum"}
)

var (
	// Quotas pass. The link ends, and what was refused is sent again after a pause.
	errUpstreamFull = errors.New("upstream's quota is exceeded")
	errGatewayFull  = errors.New("the gateway's queue is full")

	// It would do for QoS 1. To take it for that is for who writes the settings.
	errInexact = errors.New("upstream answers a message at QoS 2 with PUBACK: it can not take messages exactly once") // [MQTT-4.3.3-8]
)

func (l *link) fromUpstream(p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Publish:
		return l.receivePublish(p)

	// Acknowledgements of what went up.
	case *codec.Puback:
		return l.receivePuback(p)
	case *codec.Pubrec:
		return l.receivePubrec(p)
	case *codec.Pubcomp:
		l.receivePubcomp(p)

	// The third step of what comes down.
	case *codec.Pubrel:
		l.receivePubrel(p)

	case *codec.Suback:
		l.granted(p)
	case *codec.Unsuback:
		l.unsubscribed(p)
	case *codec.Pingresp:
		select {
		case l.pong <- struct{}{}:
		default:
		}
	case *codec.Disconnect:
		return &refusal{p.Code, string(p.ReasonString), string(p.ServerReference), maxHops}
	case *codec.Auth:
		return errAuth
	case *codec.Connack:
		return errSecondConnack
	}
	return nil
}

func (l *link) receivePublish(p *codec.Publish) error {
	switch {
	case p.TopicAlias != 0:
		return errAlias
	case p.QoS > 0 && l.up.wire.version == codec.V5 && !l.up.sessionPresent && l.window.exceeded(p.ID, l.cfg.mostDown()):
		return errReceiveMaximum
	}
	if p.QoS == 2 {
		l.resolve(p.ID, p.Dup)
	}
	l.relayDown(p)
	return nil
}

func (l *link) receivePuback(p *codec.Puback) error {
	l.owed.answer()
	if p.Code == codec.QuotaExceeded {
		return errUpstreamFull
	}
	ids, err := l.ackedTogether(p.ID)
	switch {
	case err != nil:
		l.up.server.inexact = time.Now()
		return err
	case ids != nil:
		return l.batchAcked(p, ids)
	}
	l.checkRefused(p.ID, p.Code, p.ReasonString)
	l.acked(p.ID, p.Code)
	return nil
}

func (l *link) receivePubrec(p *codec.Pubrec) error {
	l.owed.answer()
	if p.Code == codec.QuotaExceeded {
		return errUpstreamFull
	}
	l.checkRefused(p.ID, p.Code, p.ReasonString)
	l.timed(p.ID)
	if p.Code >= 0x80 {
		l.track(p.ID, false)
	}
	l.toLocal = (&codec.Pubrec{ID: p.ID, Code: p.Code}).Append(l.toLocal, l.local.version)
	return nil
}

func (l *link) receivePubcomp(p *codec.Pubcomp) {
	l.owed.answer()
	if l.isReleased(p.ID) {
		return
	}
	l.track(p.ID, false)
	l.toLocal = (&codec.Pubcomp{ID: p.ID, Code: p.Code}).Append(l.toLocal, l.local.version)
}

func (l *link) receivePubrel(p *codec.Pubrel) {
	l.resolve(p.ID, true)
	if l.declined.has(p.ID) {
		l.declined.remove(p.ID)
		l.backUp = (&codec.Pubcomp{ID: p.ID}).Append(l.backUp, l.up.wire.version)
		return
	}
	l.toLocal = (&codec.Pubrel{ID: p.ID, Code: p.Code}).Append(l.toLocal, l.local.version)
}

// checkRefused counts the message with an identifier as lost, 0 at QoS 0, if the upstream
// refuses it.
func (l *link) checkRefused(id uint16, code codec.ReasonCode, reason []byte) {
	if code >= 0x80 {
		l.count(&l.counts.refused, "upstream refuses a message", "reason", code.String(), "text", string(reason))
		l.cfg.Lost(lostRefused, nil, id)
	}
}

// acked tells the gateway that the upstream has taken a message at QoS 1.
func (l *link) acked(id uint16, code codec.ReasonCode) {
	if l.wasLowered(id) {
		l.toLocal = (&codec.Pubrec{ID: id, Code: code}).Append(l.toLocal, l.local.version)
		return
	}
	l.toLocal = (&codec.Puback{ID: id, Code: code}).Append(l.toLocal, l.local.version)
}

// wasLowered reports whether the PUBACK is for a message of QoS 2.
func (l *link) wasLowered(id uint16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.lowered.has(id)
	l.lowered.remove(id)
	return was
}

// setReceived notes whether the gateway holds id as received at QoS 2.
func (l *link) setReceived(id uint16, received bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if received {
		l.received.add(id)
	} else {
		l.received.remove(id)
	}
}

// resolve ends the doubt whether id is still of the message that the gateway holds: if
// so, the first that comes of it comes again [MQTT-3.3.1-1]. Else the gateway is told
// that that one is over.
func (l *link) resolve(id uint16, again bool) {
	if !l.doubtful.has(id) {
		return
	}
	l.doubtful.remove(id)
	if again {
		return
	}
	l.mu.Lock()
	l.clearing.add(id)
	l.mu.Unlock()
	l.toLocal = (&codec.Pubrel{ID: id}).Append(l.toLocal, l.local.version)
}

// relayDown hands a message to the gateway.
func (l *link) relayDown(p *codec.Publish) {
	topic := p.Topic
	passed, mark := hops(p.User)
	if l.isEcho(p, mark) {
		l.counts.echoed.Add(1)
		l.refuseDown(p, codec.Success)
		return
	}
	name, rule := l.downNames.name(topic)
	if len(name) == 0 || len(name) > maxTopic {
		l.count(&l.counts.unnamed, "message from upstream dropped: the name that the rules make is empty or too long", "topic", brief(topic))
		l.refuseDown(p, codec.TopicNameInvalid)
		return
	}
	if l.cfg.MaxHops > 0 && passed >= l.cfg.MaxHops {
		l.count(&l.counts.circled, "message from upstream dropped: it has passed too many bridges, perhaps in a circle", "topic", brief(topic), hopsProperty, passed)
		l.refuseDown(p, codec.ImplementationSpecificError)
		return
	}
	if p.QoS > 0 && l.window.full() {
		l.flushDown()
	}
	p.Topic = name
	p.SubscriptionIDs = nil // are of one hop only
	if rule != nil {
		p.Retain = rule.Retain.apply(p.Retain)
	}
	p.ResponseTopic = l.answerable(l.downNames, p.ResponseTopic)
	if l.cfg.MaxHops > 0 {
		p.User = l.downHops.count(p.User, passed+1)
	}
	begin := len(l.toLocal)
	l.toLocal = p.Append(l.toLocal, l.local.version)
	packet := l.toLocal[begin:]
	if l.localMaximum != 0 && uint32(len(packet)) > l.localMaximum {
		l.toLocal = l.toLocal[:begin]
		l.count(&l.counts.tooLarge, "message from upstream dropped: larger than the gateway takes", "topic", brief(topic), "size", len(packet), "maximum", l.localMaximum)
		l.refuseDown(p, codec.ImplementationSpecificError)
		return
	}
	l.counts.down.Add(1)
	if p.QoS == 0 {
		return
	}
	if p.QoS == 2 {
		l.setReceived(p.ID, true)
	}
	if !l.window.take(p.ID, packet) {
		l.toLocal = l.toLocal[:begin]
	}
}

// isEcho reports whether a message is one that the bridge itself sent up.
func (l *link) isEcho(p *codec.Publish, mark []byte) bool {
	switch {
	case l.echoes == nil:
		return false
	case l.up.wire.version == codec.V5:
		return l.mark != nil && bytes.Equal(mark, l.mark)
	}
	return l.echoes.cameBack(p.Topic, p.Payload, time.Since(l.start))
}

// refuseDown ends a message that the gateway is not to have.
func (l *link) refuseDown(p *codec.Publish, code codec.ReasonCode) {
	v := l.up.wire.version
	switch p.QoS {
	case 1:
		l.backUp = (&codec.Puback{ID: p.ID, Code: code}).Append(l.backUp, v)
	case 2:
		l.backUp = (&codec.Pubrec{ID: p.ID, Code: code}).Append(l.backUp, v)
		if v != codec.V5 { // has no refusal, and will release it
			l.declined.add(p.ID)
		}
	}
}
