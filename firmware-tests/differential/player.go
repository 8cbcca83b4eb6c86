package differential

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"sluice/firmware-tests/wire"
)

const (
	patience = 30 * time.Second // for what must come
	// pause is more than the short interval, and haste, which is how long a conversation
	// may go on between two waits, is less. Mosquitto counts whole seconds: what has two
	// is over after one at the least, and three at the most.
	pause = 4200 * time.Millisecond
	haste = 900 * time.Millisecond
)

// event is something that came to a client.
type event struct {
	who    int
	kind   string
	topic  string // of a message; in an acknowledgement, of what it belongs to
	text   string // the payload, or what else there is to tell
	qos    byte
	retain bool
	dup    bool
	props  string   // all but those below
	ids    []uint32 // subscription identifiers
	expiry int      // seconds that are left; -1: does not expire
	codes  []byte
}

func (e event) String() string {
	s := fmt.Sprintf("%s gets %s %s %.12q", name(e.who), e.kind, e.topic, e.text)
	if e.kind == "PUBLISH" {
		s = phrase(s, fmt.Sprintf("QoS %d", e.qos), when(e.retain, "retain"), when(e.dup, "DUP"), e.props,
			when(len(e.ids) > 0, "identifiers %v", e.ids), when(e.expiry >= 0, "expiry %d", e.expiry))
	}
	return phrase(s, when(len(e.codes) > 0, "[% x]", e.codes))
}

// lastWord is the kind of an event on a connection whose session was taken over.
const lastWord = "a last word"

// player plays a conversation at one broker.
type player struct {
	addr, prefix string
	slots        chan struct{} // one is taken while it plays, and not while it waits
	actors       []*actor
	keeper       *line // publishes what settle waits for
	kept         int

	events  []event // of the step that is played
	began   time.Time
	slowest time.Duration // between two waits
}

// actor is what a client has of its own, here or not.
type actor struct {
	version  byte
	line     *line // nil: away
	as       connect
	withhold withheld
	held     [][]byte // acknowledgements, the oldest first
	lastID   uint16
	came     map[uint16][2]string // topic and payload of messages, by packet identifier
}

// line is one connection.
type line struct {
	nc      net.Conn
	in      *bufio.Reader
	version byte
	out     []byte
	aliases map[uint32]string
}

// transcript is what came to all clients, by steps.
type transcript struct {
	events  [][]event
	slowest time.Duration // a step went on for, between two waits
}

// play plays all of a conversation. The prefix is one that nobody has used there. An
// error says that the broker was silent, or broke the rules of form.
func play(c *Conversation, addr, prefix string, slots chan struct{}) (t *transcript, err error) {
	p := &player{addr: addr, prefix: prefix, slots: slots}
	for _, v := range c.Versions {
		p.actors = append(p.actors, &actor{version: v, came: map[uint16][2]string{}})
	}
	slots <- struct{}{}
	defer func() { <-slots }()
	t = &transcript{}
	at := 0
	defer p.close()
	defer func() {
		if trouble, is := recover().(trouble); is {
			t, err = nil, fmt.Errorf("step %d: %w", at, trouble.error)
		}
	}()
	p.keeper = p.dial(wire.V311)
	p.keeper.send(wire.Connect{Version: wire.V311, ID: prefix + "-keeper", Clean: true}.Bytes())
	p.keeper.want(wire.CONNACK)
	p.began = time.Now()
	for i, s := range c.Steps {
		at = i
		s.play(p)
		p.settle()
		t.events = append(t.events, p.events)
		p.events = nil
	}
	t.slowest = max(p.slowest, time.Since(p.began))
	return t, nil
}

// trouble ends the playing: the broker does not answer, or not in MQTT.
type trouble struct{ error }

func fail(format string, args ...any) { panic(trouble{fmt.Errorf(format, args...)}) }

func (p *player) close() {
	if p.keeper != nil {
		p.keeper.nc.Close()
	}
	for _, a := range p.actors {
		if a.line != nil {
			a.line.nc.Close()
		}
	}
}

// settle returns when the broker has nothing more to say to anybody. A round trip on
// every connection has the broker take all that was sent; the keeper's retained message
// is acknowledged by Sluice when it is on disk, and so is all before it; what waited for
// that is in front of the answers to the next round trips. Acknowledgements that these
// brought out begin it anew.
func (p *player) settle() {
	for sent := true; ; {
		arrived, answered := p.roundTrips()
		if !arrived && !sent {
			return
		}
		sent = answered
		p.kept++
		p.keeper.send(wire.Publish{Topic: p.prefix + "-kept", Payload: "x", QoS: 1, ID: uint16(p.kept%1000 + 1), Retain: true}.Bytes(wire.V311))
		p.keeper.want(wire.PUBACK)
	}
}

// roundTrips pings on all connections, and says whether anything came before the
// answers and whether it was answered.
func (p *player) roundTrips() (arrived, answered bool) {
	for _, a := range p.actors {
		if a.line != nil {
			a.line.queue(wire.Pingreq())
			a.line.flush()
		}
	}
	for who, a := range p.actors {
		for l := a.line; l != nil; l = a.line {
			r := l.next()
			if r != nil && r.Type == wire.PINGRESP {
				break
			}
			arrived = true
			p.take(who, r)
		}
		if a.line != nil && len(a.line.out) > 0 {
			answered = true
			a.line.flush()
		}
	}
	return arrived, answered
}

// take notes a packet that came to a client, and answers it. nil: the end.
func (p *player) take(who int, r *wire.Read) {
	a := p.actors[who]
	e := event{who: who, expiry: -1}
	if r == nil {
		e.kind = "the end"
		p.events = append(p.events, e)
		a.line.nc.Close()
		a.line = nil
		return
	}
	e.kind, _, _ = strings.Cut(r.String(), " ")
	e.codes = r.Codes
	l := a.line
	switch r.Type {
	case wire.PUBLISH:
		p.message(a, r, &e)
	case wire.PUBREL:
		e.topic, e.text = a.came[r.ID][0], a.came[r.ID][1]
		a.answer(second, wire.Ack(wire.PUBCOMP, r.ID))
	case wire.PUBREC:
		if r.Code() < 0x80 {
			l.queue(wire.Ack(wire.PUBREL, r.ID))
		}
	case wire.CONNACK:
		e.text = fmt.Sprintf("session present: %t", r.Present)
	}
	p.events = append(p.events, e)
}

func (p *player) message(a *actor, r *wire.Read, e *event) {
	l := a.line
	e.qos, e.retain, e.dup = r.QoS, r.Retain, r.Dup
	topic := r.Topic
	if alias := r.Props.Int(wire.TopicAlias, 0); alias > 0 {
		if topic == "" {
			topic = l.aliases[alias]
		}
		l.aliases[alias] = topic
	}
	e.topic, e.text = p.brief(topic), r.Payload
	for _, prop := range r.Props {
		switch prop.ID {
		case wire.TopicAlias:
		case wire.SubscriptionIdentifier:
			e.ids = append(e.ids, prop.Value)
		case wire.MessageExpiry:
			e.expiry = int(prop.Value)
		default:
			e.props += fmt.Sprintf("%#x:%d%+q%+q ", prop.ID, prop.Value, prop.Text, prop.Text2)
		}
	}
	slices.Sort(e.ids)
	if r.QoS > 0 {
		a.came[r.ID] = [2]string{e.topic, e.text}
	}
	switch r.QoS {
	case 1:
		a.answer(first, wire.Ack(wire.PUBACK, r.ID))
	case 2:
		a.answer(first, wire.Ack(wire.PUBREC, r.ID))
	}
}

// answer sends an acknowledgement, or withholds it.
func (a *actor) answer(kind withheld, ack []byte) {
	if a.withhold == kind {
		a.held = append(a.held, ack)
		return
	}
	a.line.queue(ack)
}

func (p *player) dial(version byte) *line {
	nc, err := net.DialTimeout("tcp", p.addr, patience)
	if err != nil {
		fail("connect: %w", err)
	}
	return &line{nc: nc, in: bufio.NewReader(nc), version: version, aliases: map[uint32]string{}}
}

func (l *line) queue(packet []byte) { l.out = append(l.out, packet...) }

// flush sends what is queued. That the broker has closed is no trouble: it will be read.
func (l *line) flush() {
	l.nc.SetWriteDeadline(time.Now().Add(patience))
	_, _ = l.nc.Write(l.out)
	l.out = l.out[:0]
}

func (l *line) send(packet []byte) {
	l.queue(packet)
	l.flush()
}

// next reads one packet, nil if the connection has ended.
func (l *line) next() *wire.Read {
	l.nc.SetReadDeadline(time.Now().Add(patience))
	r, err := wire.Next(l.in, l.version, true)
	if breach, is := err.(*wire.Breach); is {
		fail("%v breaks %v", r, breach)
	}
	if ne, is := err.(net.Error); is && ne.Timeout() {
		fail("nothing came in %v", patience)
	}
	if err != nil {
		return nil
	}
	return r
}

func (l *line) want(kind byte) *wire.Read {
	r := l.next()
	if r == nil || r.Type != kind {
		fail("%v came, want a packet of type %d", r, kind)
	}
	return r
}

// await takes what comes to a client until a packet of a type, or the end, has come.
func (p *player) await(who int, kind byte) {
	for p.actors[who].line != nil {
		r := p.actors[who].line.next()
		p.take(who, r)
		if r != nil && r.Type == kind {
			return
		}
	}
}

// full is the whole of a topic or filter. Those of shared subscriptions are in a tree
// of their own, which no other filter matches: what comes of it came by a share.
func (p *player) full(name string) string {
	if share, group, is := strings.Cut(name, "grp/"); is {
		return share + p.prefix + ".grp/" + group
	}
	return p.prefix + "/" + name
}

// brief is the inverse of full, for topics.
func (p *player) brief(topic string) string {
	rest, is := strings.CutPrefix(topic, p.prefix)
	if !is || rest == "" {
		return "alien " + topic
	}
	return rest[1:]
}

func (a *actor) newID() uint16 {
	a.lastID++
	return a.lastID
}

func (s connect) play(p *player) {
	a := p.actors[s.who]
	old := a.line
	a.as = s
	a.held = nil
	p.open(s)
	if old == nil {
		return
	}
	for r := old.next(); r != nil; r = old.next() {
		p.events = append(p.events, event{who: s.who, kind: lastWord, codes: r.Codes, expiry: -1})
	}
	old.nc.Close()
}

// open connects and waits for the answer.
func (p *player) open(s connect) {
	a := p.actors[s.who]
	c := wire.Connect{Version: a.version, ID: p.prefix + "-" + name(s.who), Clean: s.clean}
	if a.version == wire.V5 {
		c.Props = wire.Bytes(wire.SessionExpiry, s.expiry)
		if s.receiveMax > 0 {
			c.Props = wire.Bytes(c.Props, wire.ReceiveMaximum, s.receiveMax)
		}
		if s.aliasMax > 0 {
			c.Props = wire.Bytes(c.Props, wire.TopicAliasMaximum, s.aliasMax)
		}
		if s.maxPacket > 0 {
			c.Props = wire.Bytes(c.Props, wire.MaximumPacketSize, s.maxPacket)
		}
	}
	if w := s.will; w != nil {
		c.Will = &wire.Will{Topic: p.full(willTopic(s.who)), Payload: w.payload, QoS: w.qos, Retain: w.retain}
		if a.version == wire.V5 {
			c.Will.Props = w.decor.bytes()
			if w.delay > 0 {
				c.Will.Props = wire.Bytes(c.Will.Props, wire.WillDelay, w.delay)
			}
		}
	}
	a.line = p.dial(a.version)
	a.line.send(c.Bytes())
	p.await(s.who, wire.CONNACK)
}

// bytes are the properties of a message.
func (d decor) bytes() (b []byte) {
	if d.expiry > 0 {
		b = wire.Bytes(b, wire.MessageExpiry, d.expiry)
	}
	if d.properties {
		b = wire.Bytes(b, wire.PayloadFormat, byte(1), wire.ContentType, wire.Str("text/plain"), wire.ResponseTopic, wire.Str("answer/here"),
			wire.CorrelationData, wire.Str("\x00\x01"), wire.UserProperty, wire.Str("b"), wire.Str("2"), wire.UserProperty, wire.Str("a"), wire.Str("1"),
			wire.UserProperty, wire.Str("b"), wire.Str("3"))
	}
	return b
}

func (s subscribe) play(p *player) {
	p.say(s.who, func(a *actor) []byte {
		b := wire.Bytes(a.newID())
		if a.version == wire.V5 {
			props := []byte{}
			if s.id > 0 {
				props = wire.Bytes(wire.SubscriptionIdentifier, wire.VBI(s.id))
			}
			b = wire.Bytes(b, wire.Props(props))
		}
		for _, f := range s.filters {
			b = wire.Bytes(b, wire.Str(p.full(f.name)), f.qos|byte(btoi(f.noLocal))<<2|byte(btoi(f.asRetain))<<3|f.handling<<4)
		}
		return wire.Packet(wire.SUBSCRIBE<<4|2, b)
	})
}

func (s unsubscribe) play(p *player) {
	p.say(s.who, func(a *actor) []byte {
		var names []string
		for _, n := range s.names {
			names = append(names, p.full(n))
		}
		return wire.Unsubscribe(a.version, a.newID(), names...)
	})
}

// say sends a packet of a client, if it is here; the broker may have closed.
func (p *player) say(who int, packet func(*actor) []byte) {
	if a := p.actors[who]; a.line != nil {
		a.line.queue(packet(a))
		a.line.flush()
	}
}

func (s publish) play(p *player) {
	m := wire.Publish{Topic: p.full(s.topic), Payload: s.payload, QoS: s.qos, Retain: s.retain}
	p.say(s.who, func(a *actor) []byte {
		m.ID = a.newID()
		m.Props = s.decor.bytes()
		if s.alias > 0 {
			m.Props = wire.Bytes(m.Props, wire.TopicAlias, s.alias)
		}
		if s.bare {
			m.Topic = ""
		}
		return m.Bytes(a.version)
	})
	if s.again {
		p.again(s.who, m)
	}
}

// again loses the acknowledgement of m with the connection, and sends m again.
func (p *player) again(who int, m wire.Publish) {
	a := p.actors[who]
	for a.line != nil {
		r := a.line.next()
		if r != nil && (r.Type == wire.PUBACK || r.Type == wire.PUBREC) {
			break
		}
		p.take(who, r)
	}
	p.cut(who)
	as := a.as
	as.clean, as.will = false, nil
	p.open(as)
	m.Dup = true
	p.say(who, func(a *actor) []byte { return m.Bytes(a.version) })
}

func (s hold) play(p *player) {
	a := p.actors[s.who]
	a.withhold = s.what
	acknowledge{s.who, true}.play(p)
}

func (s acknowledge) play(p *player) {
	me := p.actors[s.who]
	n := min(len(me.held), 1)
	if s.all {
		n = len(me.held)
	}
	for _, ack := range me.held[:n] {
		p.say(s.who, func(*actor) []byte { return ack })
	}
	me.held = me.held[n:]
}

func (s leave) play(p *player) {
	p.say(s.who, func(a *actor) []byte {
		reason, props := byte(0), []byte(nil)
		if s.withWill {
			reason = 4
		}
		if s.end {
			props = wire.Bytes(wire.SessionExpiry, uint32(0))
		}
		if reason == 0 && props == nil {
			return wire.Disconnect()
		}
		return wire.Packet(wire.DISCONNECT<<4, reason, wire.Props(props))
	})
	p.finish(s.who)
}

func (s drop) play(p *player) { p.cut(s.who) }

// cut has the broker end a connection, by a packet of type 0. If the client just
// closed, nobody would know when the broker has noticed: Sluice closes its side before
// it publishes the will.
func (p *player) cut(who int) {
	p.say(who, func(*actor) []byte { return wire.Packet(0) })
	p.finish(who)
}

// finish reads a connection to its end.
func (p *player) finish(who int) {
	a := p.actors[who]
	if a.line == nil {
		return
	}
	for a.line.next() != nil {
	}
	a.line.nc.Close()
	a.line, a.held = nil, nil
}

func (wait) play(p *player) {
	p.slowest = max(p.slowest, time.Since(p.began))
	<-p.slots
	time.Sleep(pause)
	p.slots <- struct{}{}
	p.began = time.Now()
}
