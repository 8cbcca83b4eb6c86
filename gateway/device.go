package gateway

import (
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/gateway/topic"
)

// deviceState is the life of a device, section 6.14 of MQTT-SN 1.2:
//
//	connecting → active ⇄ asleep ⇄ awake
//	               ↑         │       │
//	               └─────────┴───────┘ by CONNECT
//
// It is disconnected or lost from each, and then is no device any more.
type deviceState uint8

const (
	connecting deviceState = iota // asked for its Will; has no session
	active
	asleep // nothing is sent to it
	awake  // for what waited when it woke
)

// device is an MQTT-SN device that is here: a conn whose packets are the messages of
// MQTT-SN. Sessions, queues, retained messages, wills and access are those of MQTT; here
// is what differs. Guarded by Server.mu.
//
// One message at QoS 1 or 2 is under way to it at a time, as the protocol asks: its conn's
// receiveMax is 1. What it has no topic id for waits in held until it has one.
type device struct {
	conn conn

	// Set once.
	secure   bool   // over DTLS
	identity string // that it proved there

	at    path // where it is; no ep: out of reach, after a restart or the end of a DTLS session
	state deviceState
	clean bool // its session ends with it

	asked   *codec.Connect // while connecting
	repeats sn.Connect     // what it connected with, without ClientID, to know a repeat by
	met     time.Duration  // when
	sleep   uint16         // seconds, as it last said
	stirred bool           // active by a CONNECT in its sleep, and has said nothing since
	until   uint64         // awake: what comes from here on in the queue waits for the next time

	request   request        // of ours, that it has to answer
	releases  []uint16       // PUBRELs that wait for request
	held      []heldMessage  // PUBLISHes that wait for a topic id, for request, or for its waking
	heldBytes int            // of those at QoS 0
	publishes []receivedByID // of its, not yet acknowledged
	last      subscribed     // of its
	answers   int            // not yet sent: no message goes before them
	idsEpoch  uint64         // when all topic ids are on disk
	nextID    uint16         // of REGISTER; begins anywhere, so that nobody can guess it

	// Plain UDP only: until something has shown that the device gets what is sent to its
	// address, no more than credit bytes of messages are.
	verified bool
	credit   int
}

// receivedByID is a PUBLISH of the device's, whose acknowledgement repeats its topic id.
type receivedByID struct{ id, topicID uint16 }

// deviceSession is what a session has of an MQTT-SN device beside what all have. It
// outlives the connection.
type deviceSession struct {
	ids  topic.IDs
	will *will         // kept for its next connections, section 6.3
	twos []exactlyOnce // of its PUBLISHes, the last few
}

func (d *device) wire() string {
	if d.secure {
		return "dtls"
	}
	return "udp"
}

// remote is where the device is, for the log.
func (d *device) remote() string {
	switch {
	case d.secure:
		return d.identity
	case d.at.node != "":
		return d.at.addr.String() + " behind a forwarder"
	}
	return d.at.addr.String()
}

// ids are the topic ids of the device.
func (d *device) ids() *topic.IDs { return &d.conn.session.device.ids }

// moveTo notes that the device is elsewhere.
func (d *device) moveTo(to path) {
	s := d.conn.srv
	if s.devices[d.at.deviceKey] == d {
		delete(s.devices, d.at.deviceKey)
	}
	d.at = to
	if to.ep != nil {
		s.devices[to.deviceKey] = d
	}
}

// send sends a message that needs no answer.
func (d *device) send(b []byte) { d.conn.srv.send(d.at, b) }

// receive acts on a message of the device's, which came in n bytes.
func (d *device) receive(m sn.Message, n int) {
	d.hear(m, n)
	c := &d.conn
	switch {
	case d.state == connecting:
		d.dialogue(m)
		return
	case c.paused && m.Type() != sn.TypeConnect && m.Type() != sn.TypePublish:
		return // as if the network had lost it: too many answers wait for the disk
	}
	switch m := m.(type) {
	case *sn.Publish:
		d.publish(m)
	case *sn.Puback:
		d.acknowledged(m)
	case *sn.Pubrec:
		d.received(m.MessageID)
	case *sn.Pubrel:
		d.published(m.MessageID)
		c.release(&codec.Pubrel{ID: m.MessageID})
	case *sn.Pubcomp:
		d.answered(releases, m.MessageID)
		c.session.completed(m.MessageID)
	case *sn.Register:
		d.register(m)
	case *sn.Regack:
		d.registered(m)
	case *sn.Subscribe:
		d.subscribe(m)
	case *sn.Unsubscribe:
		d.unsubscribe(m)
	case *sn.Pingreq:
		d.ping(m)
	case *sn.Disconnect:
		d.disconnect(m)
	case *sn.Connect:
		d.connectAgain(m)
	case *sn.WillTopicUpdate:
		d.updateWillTopic(m)
	case *sn.WillMessageUpdate:
		d.updateWillMessage(m)
	case *sn.WillMessage: // it has missed CONNACK
		d.connack(codec.Success)
	case *sn.SearchGateway:
		c.srv.answerSearch(d.at)
	}
	if c.state == connected {
		d.advance()
	}
}

// hear notes that the device has said something.
func (d *device) hear(m sn.Message, n int) {
	c := &d.conn
	if d.state != asleep {
		c.heard = c.srv.now
	}
	if !d.verified {
		d.credit = min(d.credit+creditFactor*n, maxCredit)
	}
	if d.stirred && m.Type() != sn.TypeConnect {
		d.stirred = false
		d.setKeepAlive(d.repeats.Duration)
	}
}

// open says whether the message of the queue at seq may be sent now.
func (d *device) open(seq uint64) bool {
	switch d.state {
	case active:
		return true
	case awake:
		return seq < d.until
	}
	return false
}

// dismiss tells the device that it is connected no more.
func (d *device) dismiss() {
	if d.state != asleep {
		s := d.conn.srv
		s.out = (&sn.Disconnect{}).Append(s.out[:0])
		d.send(s.out)
	}
}

// ended is the end of the device as such: its conn tells the session.
func (d *device) ended() {
	s := d.conn.srv
	d.moveTo(path{})
	s.stopTimer(&d.request.timer)
	if d.state == connecting {
		s.connecting--
	}
	switch to := d.conn.session; {
	case to == nil:
	case d.clean:
		to.expiry = 0
	default:
		d.save()
	}
	for _, h := range d.held {
		if h.QoS == 0 {
			s.drop(&s.stats.Dropped.Away)
		}
	}
	d.held = nil
}
