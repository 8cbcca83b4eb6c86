package server

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connect is section 3.1.
var connect = slices.Concat(connecting, connectForm, wills, keepAlive, sessions, mqtt31)

// connecting is what becomes of a CONNECT.
var connecting = []suite.Test{
	{V311: "3.1.0-1", V5: "3.1.0-1", Run: firstPacketIsNotConnect},
	{V311: "3.1.0-2 4.8.0-1", V5: "3.1.0-2", Run: secondConnect},
	{V311: "3.1.2-1", V5: "3.1.2-1", Run: otherProtocolName},
	{V311: "3.1.2-2", Run: unacceptableProtocolLevel},
	{V5: "3.1.2-2", Run: unsupportedProtocolVersion},
	{V311: "3.1.3-1", V5: "3.1.3-1", Run: connectWithEverything},
	{V311: "3.1.3-5", V5: "3.1.3-5", Run: plainIdentifiers},
	{V311: "3.1.3-6", V5: "3.1.3-6 3.1.3-7 3.2.2-16", Run: emptyIdentifier},
	{V5: "3.1.3-7", Run: assignedIdentifierNamesTheSession},
	{V311: "3.1.3-7 3.1.3-8 3.2.2-5", Run: emptyIdentifierOfLastingSession},
	{V311: "3.1.3-9 3.2.2-5", V5: "3.1.3-8 3.2.2-7", Run: unwelcomeIdentifier},
	{V311: "3.1.4-2", V5: "3.1.4-3", Run: takeover},
	{V311: "3.1.4-2", V5: "3.1.4-3", Run: takeoverOfResumedSession},
	{V311: "3.1.4-4", V5: "3.1.4-5 3.2.2-1 3.2.2-8", Run: goodConnectIsAccepted},
	{V5: "3.1.4-2", Run: wrongPassword},
	{V311: "3.1.4-5 3.2.2-5", V5: "3.1.4-6 3.2.2-7", Run: nothingAfterRefusal},
	{V311: "3.1.4-5 3.2.2-5", V5: "3.1.4-6 3.2.2-7", Run: nothingAfterWrongPassword},
	{V311: "RULE-3.1.4-A", V5: "RULE-3.1.4-B", Run: packetsBehindConnect},
	{V311: "4.8.0-2", Unseen: "a client cannot cause a transient error"},
}

// firstPacketIsNotConnect publishes before it connects; nobody gets that.
func firstPacketIsNotConnect(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic)
	first := [][]byte{
		wire.Publish{Topic: topic, Payload: "too early"}.Bytes(t.Version),
		wire.Publish{Topic: topic, Payload: "too early", QoS: 1, ID: 1}.Bytes(t.Version),
		wire.Pingreq(),
		wire.Subscribe(t.Version, 1, 0, topic),
		wire.Disconnect(),
	}
	if t.V5() {
		first = append(first, wire.Packet(wire.AUTH<<4, byte(0x18), wire.Props(wire.AuthenticationMethod, wire.Str("x"))))
	}
	for _, b := range first {
		refused(t, append(b, t.CONNECT().Bytes()...))
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "in time"})
	watcher.Take(topic, "in time")
}

// secondConnect sends CONNECT twice, also with other contents.
func secondConnect(t *suite.T) {
	p := t.CONNECT()
	c := t.Connect(p)
	c.Send(p.Bytes())
	c.WantClosed(0x82)
	c = t.Join()
	c.Send(t.CONNECT().Bytes(), wire.Pingreq())
	c.WantClosed(0x82)
}

// otherProtocolName wants names that are not the protocol's not to be served as if
// they were. What other protocol the server may go on with is its own affair.
func otherProtocolName(t *suite.T) {
	for _, name := range []string{"MQTX", "mqtt", "MQT", "MQTTT", "MQTT\x00", ""} {
		p := t.CONNECT()
		b := wire.Packet(wire.CONNECT<<4, wire.Str(name), p.Version, p.Flags(), uint16(0), noProps(t), p.Payload())
		if got := last(t, b); accepted(got) {
			t.Fatalf("protocol %q is answered by % x", name, got)
		}
	}
}

// unacceptableProtocolLevel wants levels from before 3.1.1 to be told so.
func unacceptableProtocolLevel(t *suite.T) {
	for _, level := range []byte{0, 1, 2, 3} {
		if got := last(t, levelled(t, level)); got != "\x20\x02\x00\x01" {
			t.Fatalf("level %d is answered by % x, want CONNACK with code 1, and the end", level, got)
		}
	}
	for _, level := range []byte{6, 9, 0xff} {
		if got := last(t, levelled(t, level)); !unsupported(got) {
			t.Fatalf("level %d is answered by % x", level, got)
		}
	}
}

func unsupportedProtocolVersion(t *suite.T) {
	for _, level := range []byte{0, 2, 6, 9, 0x7f, 0xff} {
		if got := last(t, levelled(t, level)); got != "" && !unsupported(got) {
			t.Fatalf("version %d is answered by % x", level, got)
		}
	}
}

// levelled is a CONNECT of a protocol level, in the form of the test's version.
func levelled(t *suite.T, level byte) []byte {
	p := t.CONNECT()
	return wire.Packet(wire.CONNECT<<4, wire.Str(p.Name()), level, p.Flags(), uint16(0), noProps(t), p.Payload())
}

// unsupported says whether got refuses a version, in the form of 3.1.1 or of 5.0.
func unsupported(got string) bool {
	return got == "\x20\x02\x00\x01" || len(got) > 4 && got[0] == 0x20 && got[2:4] == "\x00\x84"
}

// accepted says whether got begins with a CONNACK that accepts.
func accepted(got string) bool { return len(got) > 3 && got[0] == 0x20 && got[3] == 0 }

// last sends bytes and returns all that comes until the end of the connection, which
// must come. It is for what no version can read.
func last(t *suite.T, b []byte) string {
	nc, err := net.DialTimeout("tcp", t.Target.Addr, suite.Patience)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(suite.Patience))
	nc.Write(b) // that it is closed already, is seen by reading
	got, err := io.ReadAll(nc)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		t.Fatalf("the connection is not closed after % x", got)
	}
	return string(got)
}

// connectWithEverything has each field of the payload do what it is for.
func connectWithEverything(t *suite.T) {
	topic := t.Topic()
	p := t.CONNECT()
	addr := t.Target.Addr
	name, password := "somebody", "something"
	if t.Target.Guarded != "" {
		addr, name, password = t.Target.Guarded, t.Target.User, t.Target.Password
	}
	p.Username, p.Password = &name, &password
	watcher := t.Dial(addr).Accepted(p)
	watcher.Subscribe(1, topic)
	p.ID = t.ID()
	p.KeepAlive = 60
	p.Will = &wire.Will{Topic: topic, Payload: "\x00\x01the last", QoS: 1}
	if t.V5() {
		p.Props = wire.Bytes(wire.SessionExpiry, uint32(0), wire.ReceiveMaximum, uint16(9), wire.UserProperty, wire.Str("a"), wire.Str("b"))
		p.Will.Props = wire.Bytes(wire.ContentType, wire.Str("text"), wire.UserProperty, wire.Str("c"), wire.Str("d"))
	}
	t.Dial(addr).Accepted(p).Drop()
	if got := watcher.Take(topic, "\x00\x01the last"); got.QoS != 1 {
		t.Fatalf("the Will came at QoS %d", got.QoS)
	}
}

// plainIdentifiers are those that all servers take, each in a session of its own.
func plainIdentifiers(t *suite.T) {
	one, tag := "k", "a"
	if t.V5() {
		one, tag = "K", "A"
	}
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	ids := []string{one, tag + letters[:22], tag + letters[20:42], tag + letters[40:], tag + strings.ToLower(letters[40:])}
	var all []*suite.Conn
	for _, id := range ids {
		p := t.CONNECT()
		p.ID = id
		all = append(all, t.Connect(p))
	}
	for _, c := range all {
		c.Ping() // nobody has taken it over
	}
}

// emptyIdentifier wants clients without one to have different ones, or none to be
// allowed.
func emptyIdentifier(t *suite.T) {
	var all []*suite.Conn
	assigned := map[string]bool{}
	for range 3 {
		c := t.Dial(t.Target.Addr)
		p := t.CONNECT()
		p.ID = ""
		c.Send(p.Bytes())
		answer := c.NextOrEnd()
		if answer == nil || answer.Code() == 0x85 || answer.Code() == 2 {
			return // it may refuse them
		}
		if answer.Type != wire.CONNACK || answer.Code() != 0 {
			t.Fatalf("%v answers an empty client identifier", answer)
		}
		id, has := answer.Props.Get(wire.AssignedClientIdentifier)
		if t.V5() && (!has || id.Text == "" || assigned[id.Text]) {
			t.Fatalf("assigned %q, after %v", id.Text, assigned)
		}
		assigned[id.Text] = true
		all = append(all, c)
	}
	topic := t.Topic()
	for _, c := range all {
		c.Subscribe(0, topic)
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "to all"})
	for _, c := range all {
		c.Take(topic, "to all")
	}
}

// assignedIdentifierNamesTheSession comes back with the identifier it was given.
func assignedIdentifierNamesTheSession(t *suite.T) {
	p := t.Lasting()
	p.ID, p.Clean = "", true
	c := t.Dial(t.Target.Addr)
	c.Send(p.Bytes())
	answer := c.NextOrEnd()
	if answer == nil || answer.Code() == 0x85 {
		return // it may refuse
	}
	id, has := answer.Props.Get(wire.AssignedClientIdentifier)
	if !has {
		t.Fatalf("%v, want an identifier", answer)
	}
	c.Leave()
	p.ID, p.Clean = id.Text, false
	back := t.Connect(p)
	if !back.Connack.Present {
		t.Fatalf("no session of the assigned identifier %q", id.Text)
	}
	if back.Connack.Props.Has(wire.AssignedClientIdentifier) {
		t.Fatalf("an identifier is assigned to a client that has one")
	}
}

func emptyIdentifierOfLastingSession(t *suite.T) {
	p := t.Lasting()
	p.ID = ""
	c := t.Dial(t.Target.Addr)
	c.Send(p.Bytes())
	if got := c.Want(wire.CONNACK); got.Code() != 2 {
		t.Fatalf("%v, want CONNACK with code 2", got)
	}
	c.WantEnd()
}

// unwelcomeIdentifier tries identifiers that a server need not take: each is taken, or
// refused as it must be.
func unwelcomeIdentifier(t *suite.T) {
	for _, id := range []string{"$SYS/" + t.ID(), "a client/" + t.ID(), "+" + t.ID(), "#" + t.ID(), "\u4e2d" + t.ID(), t.ID() + strings.Repeat("x", 500)} {
		p := t.CONNECT()
		p.ID = id
		c := t.Dial(t.Target.Addr)
		c.Send(p.Bytes())
		answer := c.NextOrEnd()
		switch {
		case answer == nil && t.V5():
			continue // CONNACK is optional
		case answer == nil:
			t.Fatalf("the identifier %.30q is refused without CONNACK", id)
		case answer.Code() == 0:
			c.Ping()
			continue
		case answer.Code() != 2 && answer.Code() != 0x85:
			t.Fatalf("%v refuses the identifier %.30q", answer, id)
		}
		c.WantEnd()
	}
}

// takeover connects twice with one identifier. The first is closed, the second stays.
func takeover(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic)
	p := t.CONNECT()
	first := t.Connect(p)
	second := t.Connect(p)
	first.WantClosed(0x8e)
	second.Ping()
	second.Publish(wire.Publish{Topic: topic, Payload: "the second"})
	watcher.Take(topic, "the second")
}

// takeoverOfResumedSession takes a session over from a connection that still stands,
// with what it has subscribed to.
func takeoverOfResumedSession(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	first := t.Connect(p)
	first.Subscribe(1, topic)
	second := t.Connect(p)
	first.WantClosed(0x8e)
	if !second.Connack.Present {
		t.Fatalf("the session is not there after a take-over")
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "once", QoS: 1})
	second.Take(topic, "once")
	second.Ping()
}

func goodConnectIsAccepted(t *suite.T) {
	c := t.Join()
	if raw := c.Connack.Raw; !t.V5() && string(raw) != "\x20\x02\x00\x00" {
		t.Fatalf("CONNACK is % x", raw)
	}
	c.Ping()
}

func wrongPassword(t *suite.T) {
	t.Need(t.Target.Guarded, "listener with accounts")
	for _, c := range []struct{ name, password string }{
		{t.Target.User, "not this"}, {t.Target.User, ""}, {"nobody", t.Target.Password}, {"", t.Target.Password},
	} {
		p := t.CONNECT()
		p.Username, p.Password = &c.name, &c.password
		t.Dial(t.Target.Guarded).Refused(p.Bytes(), 0x86, 0x87)
	}
	t.Dial(t.Target.Guarded).Refused(t.CONNECT().Bytes(), 0x86, 0x87)
}

// nothingAfterRefusal has a message stand behind a CONNECT that is refused by a code.
func nothingAfterRefusal(t *suite.T) {
	topic := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, topic)
	p := t.Lasting()
	if t.V5() {
		p.Props = wire.Bytes(wire.AuthenticationMethod, wire.Str("no such method"))
	} else {
		p.ID = ""
	}
	behind := wire.Publish{Topic: topic, Payload: "from nobody"}.Bytes(t.Version)
	t.Dial(t.Target.Addr).Refused(append(p.Bytes(), behind...), 2, 0x8c, 0x87)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "from somebody"})
	watcher.Take(topic, "from somebody")
}

func nothingAfterWrongPassword(t *suite.T) {
	topic := t.Topic()
	watcher := guardedJoin(t)
	watcher.Subscribe(0, topic)
	p, wrong := t.CONNECT(), "not this"
	p.Username, p.Password = &t.Target.User, &wrong
	behind := wire.Publish{Topic: topic, Payload: "from nobody"}.Bytes(t.Version)
	t.Dial(t.Target.Guarded).Refused(append(p.Bytes(), behind...), 4, 5, 0x86, 0x87)
	guardedJoin(t).Publish(wire.Publish{Topic: topic, Payload: "from somebody"})
	watcher.Take(topic, "from somebody")
}

// guardedJoin connects with the password of the account, if there is a listener for it.
func guardedJoin(t *suite.T) *suite.Conn {
	t.Need(t.Target.Guarded, "listener with accounts")
	p := t.CONNECT()
	p.Username, p.Password = &t.Target.User, &t.Target.Password
	return t.Dial(t.Target.Guarded).Accepted(p)
}

// packetsBehindConnect does not wait for CONNACK, as a client need not.
func packetsBehindConnect(t *suite.T) {
	topic := t.Topic()
	c := t.Dial(t.Target.Addr)
	c.Send(t.CONNECT().Bytes(), wire.Subscribe(t.Version, 1, 0, topic), wire.Publish{Topic: topic, Payload: "soon"}.Bytes(t.Version))
	if got := c.Want(wire.CONNACK); got.Code() != 0 {
		t.Fatalf("%v, want to be accepted", got)
	}
	c.WantAck(wire.SUBACK, 1)
	c.Take(topic, "soon")
}
