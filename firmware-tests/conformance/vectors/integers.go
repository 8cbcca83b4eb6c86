package vectors

import (
	"slices"
	"strconv"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// integer is a row of vbi.tsv: its bytes and what they mean.
type integer struct {
	b       string
	value   int // -1: none
	verdict string
}

// integerPlays are the rows of vbi.tsv, once for each place where a client writes such
// an integer.
func integerPlays() (plays []play, err error) {
	rows, err := table("vbi.tsv", 4)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		n := integer{value: -1, verdict: r[2]}
		if n.b, err = unhex(r[0]); err != nil {
			return nil, err
		}
		if r[1] != "-" {
			if n.value, err = strconv.Atoi(r[1]); err != nil {
				return nil, err
			}
		}
		row := Row{File: "vbi.tsv", Name: r[0] + " as Remaining Length", Verdict: r[2], Meaning: r[3]}
		plays = append(plays, inBoth(play{Row: row, run: n.remainingLength})...)
		row.Version = "5.0"
		row.Name = r[0] + " as Property Length"
		plays = append(plays, play{Row: row, run: n.propertyLength})
		row.Name = r[0] + " as Subscription Identifier"
		plays = append(plays, play{Row: row, run: n.subscriptionIdentifier})
	}
	return plays, nil
}

// most is what a test sends in one packet, in bytes.
const most = 4 << 20

// remainingLength sends a packet of that length.
func (n integer) remainingLength(t *suite.T) string {
	c := t.Join()
	header := func(kind byte) []byte { return append([]byte{kind << 4}, n.b...) }
	bad := n.verdict == "malformed"
	switch {
	case n.verdict == "incomplete":
		return n.completed(t, c)
	case n.value < 0:
		c.Send(header(wire.PUBLISH))
		return closedWith(t, c, 0x81)
	case n.value == 0:
		c.Send(header(wire.PINGREQ))
		if bad && t.V5() {
			return closedWith(t, c, 0x81)
		}
		return pingOrEnd(t, c, bad)
	case n.value == 1 && t.V5():
		c.Send(header(wire.DISCONNECT), []byte{0})
		return closedWith(t, c, 0x81)
	case n.value == 1: // no packet of 3.1.1 is that short
		c.Send(header(wire.PUBACK), []byte{0})
		return closedWith(t, c)
	}
	topic := t.Topic()
	head := wire.Publish{Topic: topic}.Bytes(t.Version)[2:]
	size := n.value - len(head)
	if n.value+1+len(n.b) > biggest(t) {
		c.Send(header(wire.PUBLISH), head)
		return closedWith(t, c, 0x95)
	}
	if size > most {
		t.Skip("the target takes packets of that size, the test sends none")
	}
	other := t.Join()
	other.Subscribe(0, topic)
	payload := strings.Repeat("x", size)
	c.Send(header(wire.PUBLISH), head, []byte(payload))
	if bad && t.V5() {
		return closedWith(t, c, 0x81)
	}
	c.Send(wire.Pingreq())
	if came := pingOrEnd(t, c, bad); came == "closed" {
		return came
	}
	other.WantPublish(topic, payload)
	return "passed on"
}

// biggest is the largest packet that the target takes, in bytes. To a client of 3.1.1 it
// does not say.
func biggest(t *suite.T) int {
	if !t.Target.V5 {
		return 1 << 28
	}
	p := t.CONNECT()
	p.Version = wire.V5
	limit := 0
	outcome, detail := suite.Play(t.Target, wire.V5, "limit", func(t *suite.T) {
		limit = int(min(t.Connect(p).Connack.Props.Int(wire.MaximumPacketSize, 1<<28+5), 1<<28+5))
	})
	if outcome != suite.Pass {
		t.Fatalf("%s", detail)
	}
	return limit
}

// pingOrEnd wants an answer; to an integer of 3.1.1 that is not minimal an end will do.
func pingOrEnd(t *suite.T, c *suite.Conn, mayEnd bool) string {
	p := c.NextOrEnd()
	switch {
	case p != nil && p.Type == wire.PINGRESP:
		return "PINGRESP"
	case p == nil && mayEnd:
		return "closed"
	}
	t.Fatalf("%v, want PINGRESP", p)
	return ""
}

// completed sends the rest of an integer after a while: nothing is wrong before.
func (n integer) completed(t *suite.T, c *suite.Conn) string {
	c.Send([]byte{wire.PUBLISH << 4}, []byte(n.b))
	t.Join().Ping() // the server has had the time to read it
	if n.b != "\x80" {
		c.Send([]byte{0x7f}) // 268435455
		if biggest(t) >= 1<<28 {
			t.Skip("the target takes packets of that size, the test sends none")
		}
		return closedWith(t, c, 0x95)
	}
	head := wire.Publish{Topic: t.Topic()}.Bytes(t.Version)[2:]
	c.Send([]byte{1}, head, make([]byte, 128-len(head)))
	c.Ping()
	return "taken"
}

// propertyLength sends a PUBLISH whose user properties have that length.
func (n integer) propertyLength(t *suite.T) string {
	c := t.Join()
	topic := t.Topic()
	head := wire.Bytes(wire.Str(topic), n.b)
	switch {
	case n.verdict != "valid":
		c.Send(wire.Packet(wire.PUBLISH<<4, head))
		return closedWith(t, c, 0x81)
	case n.value > 0 && n.value < 5: // a property that is cut
		c.Send(wire.Packet(wire.PUBLISH<<4, head, wire.UserProperty))
		return closedWith(t, c, 0x81)
	case n.value > most && biggest(t) >= 1<<28:
		t.Skip("the target takes packets of that size, the test sends none")
	case len(head)+n.value+5 > biggest(t):
		c.Send(slices.Concat([]byte{wire.PUBLISH << 4}, wire.Bytes(wire.VBI(min(len(head)+n.value, 1<<28-1))), head))
		return closedWith(t, c, 0x95)
	}
	var props []byte
	for left := n.value; left > 0; left = n.value - len(props) {
		size := min(left, 60000)
		if left-size < 5 {
			size = left
		}
		props = append(props, wire.Bytes(wire.UserProperty, wire.Str("n"), wire.Str(strings.Repeat("v", size-6)))...)
	}
	other := t.Join()
	other.Subscribe(0, topic)
	c.Send(wire.Packet(wire.PUBLISH<<4, head, props, "m"))
	if m := other.WantPublish(topic, "m"); len(wire.Bytes(m.Raw)) < n.value {
		t.Fatalf("%d bytes of properties came as a packet of %d", n.value, len(m.Raw))
	}
	return "passed on"
}

// subscriptionIdentifier subscribes with that identifier, and wants it back.
func (n integer) subscriptionIdentifier(t *suite.T) string {
	c, topic := t.Join(), t.Topic()
	if c.Connack.Props.Int(wire.SubscriptionIdentifierAvailable, 1) == 0 {
		t.Skip("no subscription identifiers")
	}
	c.Send(wire.Packet(wire.SUBSCRIBE<<4|2, uint16(1), wire.Props(wire.SubscriptionIdentifier, n.b), wire.Str(topic), byte(0)))
	switch {
	case n.verdict != "valid":
		return closedWith(t, c, 0x81)
	case n.value == 0:
		return closedWith(t, c, 0x82)
	}
	c.WantAck(wire.SUBACK, 1)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "m"})
	if got := c.Take(topic, "m").Props.Int(wire.SubscriptionIdentifier, 0); int(got) != n.value {
		t.Fatalf("came back as %d", got)
	}
	return "came back"
}
