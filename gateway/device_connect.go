package gateway

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
)

const (
	protocolID  = 1   // of MQTT-SN 1.2
	maxDeviceID = 128 // bytes of a client identifier; the specification has 23, and devices have more

	// maxConnecting bounds the devices that have not yet told their Will.
	maxConnecting = 1024

	// What may be sent to an address that has not shown that it hears us: some bytes, and so
	// many for each that came from there.
	firstCredit  = 512
	creditFactor = 3
	maxCredit    = 64 << 10

	// registerCredit is kept for REGISTER, by whose answer an address shows it.
	registerCredit = firstCredit / 2
)

// meet takes a CONNECT of a device that is not here.
func (s *Server) meet(at path, m *sn.Connect) {
	if at.session == nil && !s.greetings.Allow(at.addr.Addr(), s.now) {
		s.discard(&s.stats.Datagrams.Unanswered)
		return
	}
	code := sn.Accepted
	switch {
	case m.ProtocolID != protocolID, len(m.ClientID) == 0, len(m.ClientID) > maxDeviceID,
		codec.ValidString(m.ClientID) != nil, m.ClientID[0] == '$':
		code = sn.NotSupported
	case s.crowded(m.ClientID), m.Will && s.connecting >= maxConnecting:
		code = sn.Congestion
	}
	if code != sn.Accepted {
		if s.mayAnswer(at) {
			s.out = (&sn.Connack{Code: code}).Append(s.out[:0])
			s.send(at, s.out)
		}
		return
	}
	d := s.newDevice(at)
	d.clean = m.CleanSession
	d.asked = &codec.Connect{
		Version: codec.V5, ClientID: clone(m.ClientID), CleanStart: m.CleanSession, KeepAlive: m.Duration,
		SessionExpiry: never, ReceiveMaximum: 1,
	}
	d.repeats = sn.Connect{Will: m.Will, CleanSession: m.CleanSession, Duration: m.Duration}
	if !m.Will {
		d.admit()
		return
	}
	d.ask((&sn.WillTopicRequest{}).Append(nil), willTopic, 0)
}

// crowded says whether there are too many devices to take in one of that name.
func (s *Server) crowded(clientID []byte) bool {
	if to := s.sessions[string(clientID)]; to != nil && to.device != nil {
		return false
	}
	return s.remembered+s.connecting >= s.cfg.SN.MaxDevices
}

// newDevice makes a device that has not been let in.
func (s *Server) newDevice(at path) *device {
	d := &device{secure: at.session != nil, met: s.now}
	d.doubt()
	if d.secure {
		d.identity = at.ep.Peer().Name
	}
	d.conn = conn{srv: s, dev: d, version: codec.V5, heard: s.now}
	s.conns[&d.conn] = struct{}{}
	s.stats.Connections++
	s.connecting++
	d.moveTo(at)
	return d
}

// doubt has a device show that it is where it seems to be: over DTLS it has.
func (d *device) doubt() {
	var b [2]byte
	rand.Read(b[:])
	d.nextID = binary.BigEndian.Uint16(b[:])
	d.verified, d.credit = d.secure, firstCredit
}

// dialogue goes on with a CONNECT that has a Will.
func (d *device) dialogue(m sn.Message) {
	s := d.conn.srv
	switch m := m.(type) {
	case *sn.Connect: // it has missed our question, or thought better of it
		at := d.at
		d.conn.end("connects anew")
		s.meet(at, m)
	case *sn.WillTopic:
		switch {
		case d.request.kind == none:
		case len(m.Topic) == 0:
			d.asked.Will = nil
			d.answered(willTopic, 0)
			d.answered(willMessage, 0)
			d.admit()
		case d.request.kind == willTopic:
			d.askWillMessage(m)
		}
	case *sn.WillMessage:
		if d.request.kind != willMessage {
			d.conn.close(codec.ProtocolError, "WILLMSG before WILLTOPIC")
			return
		}
		if len(m.Message) > s.cfg.SN.MaxDatagram {
			d.conn.refuseConnect(codec.PacketTooLarge, "the will is longer than SLUICE_SN_MAX_DATAGRAM")
			return
		}
		d.answered(willMessage, 0)
		d.asked.Will.Payload = clone(m.Message)
		d.admit()
	case *sn.Disconnect:
		s.out = (&sn.Disconnect{}).Append(s.out[:0])
		d.send(s.out)
		d.conn.end("disconnected by client")
	}
}

func (d *device) askWillMessage(m *sn.WillTopic) {
	if !d.mayWill(m.QoS, m.Topic) {
		d.conn.refuseConnect(codec.TopicNameInvalid, "the will's topic or QoS is invalid, too long, of too many levels, or for DTLS only")
		return
	}
	w := &codec.Will{}
	w.Topic, w.QoS, w.Retain = clone(m.Topic), m.QoS, m.Retain
	d.asked.Will = w
	d.answered(willTopic, 0)
	d.ask((&sn.WillMessageRequest{}).Append(nil), willMessage, 0)
}

// mayWill says whether a Will may have that QoS and topic. Topic and message are no longer
// than messages to devices: they are kept for whoever comes.
func (d *device) mayWill(qos byte, name []byte) bool {
	s := d.conn.srv
	return qos <= 2 && takes(name) && codec.ValidTopic(name) == nil && name[0] != '$' && len(name) <= s.cfg.SN.MaxDatagram &&
		(d.secure || !s.needsDTLS(name))
}

// admit gives the device its session, unless it may not have it.
func (d *device) admit() {
	c := &d.conn
	s := c.srv
	if d.secure {
		c.user = d.at.ep.Peer().User
	}
	if why := s.forbids(c.user); why != "" {
		c.refuseConnect(codec.NotAuthorized, why)
		return
	}
	p := d.asked
	d.asked = nil
	c.establish(p, nil)
}

// forbids says why a device of that account may not be here; "" if it may.
func (s *Server) forbids(user string) (why string) {
	switch access := s.cfg.Access; {
	case access == nil:
	case user == "" && !s.cfg.Anonymous:
		return "no account: devices have one over DTLS only, see SLUICE_AUTH_ANONYMOUS"
	case user != "" && !access.Has(user):
		return "the account of its key is not in the users file"
	}
	return ""
}

// replace keeps the Will from going out of the device that has the session: it was not
// lost, but has come anew.
func (d *device) replace(old *session) {
	if old != nil && old.conn != nil && old.conn.dev != nil && old.user == d.conn.user {
		old.conn.will = nil
	}
}

// settle joins the device with its session: what outlived an earlier connection of its.
func (d *device) settle(to *session) {
	if to.device == nil {
		to.device = &deviceSession{}
		to.srv.remembered++
	}
	switch {
	case d.clean:
		to.device.will = nil
	case d.repeats.Will: // perhaps with an empty topic
		to.device.will = d.conn.will
	case d.secure || to.device.will == nil || !to.srv.needsDTLS(to.device.will.Topic):
		d.conn.will = to.device.will
	}
	d.conn.srv.connecting--
	d.state = active
	d.conn.session = to
	d.save()
}

// connack answers CONNECT.
func (d *device) connack(code codec.ReasonCode) {
	s := d.conn.srv
	s.out = (&sn.Connack{Code: returnCode(code)}).Append(s.out[:0])
	d.send(s.out)
}

// returnCode is what MQTT-SN has for a reason.
func returnCode(code codec.ReasonCode) sn.ReturnCode {
	switch {
	case code < codec.UnspecifiedError:
		return sn.Accepted
	case code == codec.QuotaExceeded, code == codec.ServerBusy, code == codec.ServerUnavailable:
		return sn.Congestion
	}
	return sn.NotSupported
}

// connectAgain takes a CONNECT of a device that is here: it wakes, has missed CONNACK, or
// begins anew.
func (d *device) connectAgain(m *sn.Connect) {
	c := &d.conn
	s := c.srv
	same := string(m.ClientID) == c.session.id && m.ProtocolID == protocolID
	now := sn.Connect{Will: m.Will, CleanSession: m.CleanSession, Duration: m.Duration}
	if same && (d.state == asleep || d.state == awake) {
		d.repeats, d.met = now, s.now
		d.rise()
		return
	}
	if same && sameConnect(&now, &d.repeats) && s.now-d.met < s.cfg.SN.Retry {
		d.connack(codec.Success)
		return
	}
	at := d.at
	if same {
		c.will = nil // it is not lost
		c.end("connects anew")
	} else {
		c.end("another client identifier connects from its address")
	}
	s.meet(at, m)
}

// rise makes a sleeping device active. Its CONNECT may be a late copy of the one before: as
// long as it says no more, it may be silent as when it sleeps.
func (d *device) rise() {
	d.state, d.stirred = active, true
	d.conn.heard = d.conn.srv.now
	silence := d.repeats.Duration
	if silence != 0 {
		silence = max(silence, d.sleep)
	}
	d.setKeepAlive(silence)
	d.saveNow() // else it would be asleep after a crash
	d.answer((&sn.Connack{}).Append(nil))
	d.conn.session.pump()
}

func sameConnect(a, b *sn.Connect) bool {
	return a.Will == b.Will && a.CleanSession == b.CleanSession && a.Duration == b.Duration
}

// updateWillTopic takes WILLTOPICUPD: without a topic it deletes the Will.
func (d *device) updateWillTopic(m *sn.WillTopicUpdate) {
	c := &d.conn
	code := sn.Accepted
	switch {
	case len(m.Topic) == 0:
		code = d.changeWill(nil)
	case !d.mayWill(m.QoS, m.Topic), !c.mayPublish(c.session.id, m.Topic):
		code = sn.NotSupported
	default:
		w := &will{}
		w.Topic, w.QoS, w.Retain = clone(m.Topic), m.QoS, m.Retain
		if c.will != nil {
			w.Payload = c.will.Payload
		}
		code = d.changeWill(w)
	}
	d.answerIf(code, (&sn.WillTopicResponse{Code: code}).Append(nil))
}

// updateWillMessage takes WILLMSGUPD.
func (d *device) updateWillMessage(m *sn.WillMessageUpdate) {
	code := sn.NotSupported
	if old := d.conn.will; old != nil && len(m.Message) <= d.conn.srv.cfg.SN.MaxDatagram {
		w := *old
		w.Payload = clone(m.Message)
		code = d.changeWill(&w)
	}
	d.answerIf(code, (&sn.WillMessageResponse{Code: code}).Append(nil))
}

// changeWill changes the Will, and the one that is kept, if the store has room for both.
func (d *device) changeWill(w *will) sn.ReturnCode {
	to := d.conn.session
	if w != nil && to.durable() && !to.srv.storeHasRoom(2*recordSize(&w.Message)) {
		return sn.Congestion
	}
	d.conn.will = w
	if !d.clean {
		to.device.will = w
	}
	to.save()
	d.saveNow()
	return sn.Accepted
}

// answer sends a message once what was staged last is on disk.
func (d *device) answer(b []byte) {
	d.answers++
	d.conn.answer(codec.TypeSuback, b)
}

// reply sends a message for which nothing was staged, behind the answers that wait.
func (d *device) reply(b []byte) {
	if d.answers > 0 {
		d.answer(b)
		return
	}
	d.send(b)
}

// answerIf answers or, if the code is a refusal, replies.
func (d *device) answerIf(code sn.ReturnCode, b []byte) {
	if code == sn.Accepted {
		d.answer(b)
	} else {
		d.reply(b)
	}
}

// maxSilence is what is allowed to a device that asks for no keep-alive: nothing else would
// ever tell that it is gone.
const maxSilence = 24 * time.Hour

// keepAliveOf is the silence allowed to a device. Section 7.2 adds a tenth to more than a
// minute, and a half to less; MQTT has a half for all, and so have we.
func (d *device) keepAliveOf(seconds uint16) time.Duration {
	if seconds == 0 {
		return maxSilence
	}
	return time.Duration(seconds) * time.Second * 3 / 2
}
