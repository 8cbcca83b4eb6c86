package vectors

import (
	"fmt"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// stringPlays are the rows of utf8.tsv.
func stringPlays() (plays []play, err error) {
	rows, err := table("utf8.tsv", 3)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		s, err := unhex(r[0])
		if err != nil {
			return nil, err
		}
		row := Row{File: "utf8.tsv", Name: "string " + r[0], Verdict: r[1], Meaning: r[2]}
		switch r[1] {
		case "valid":
			plays = append(plays, inBoth(play{Row: row, run: func(t *suite.T) string { return goodString(t, s) }})...)
		case "malformed":
			plays = append(plays, inBoth(play{row, func(t *suite.T) string { return badString(t, s) }, true})...)
		default:
			plays = append(plays, inBoth(play{Row: row, run: func(t *suite.T) string { return oddString(t, s) }})...)
		}
	}
	return plays, nil
}

// place is a field that is a string, in the packet of a client; those in CONNECT begin
// a connection.
type place struct {
	name    string
	connect bool
	packet  func(t *suite.T, s string) []byte
}

// places are the fields, but for those of 5.0 alone.
var places = []place{
	{"client identifier", true, func(t *suite.T, s string) []byte {
		p := t.CONNECT()
		p.ID = s
		return p.Bytes()
	}},
	{"will topic", true, func(t *suite.T, s string) []byte {
		p := t.CONNECT()
		p.Will = &wire.Will{Topic: "w" + s}
		return p.Bytes()
	}},
	{"user name", true, func(t *suite.T, s string) []byte {
		p := t.CONNECT()
		p.Username = &s
		return p.Bytes()
	}},
	{"topic name", false, func(t *suite.T, s string) []byte {
		return wire.Publish{Topic: "t" + s, QoS: 1, ID: 1}.Bytes(t.Version)
	}},
	{"filter", false, func(t *suite.T, s string) []byte { return wire.Subscribe(t.Version, 1, 0, "t"+s) }},
	{"filter to unsubscribe from", false, func(t *suite.T, s string) []byte { return wire.Unsubscribe(t.Version, 1, "t"+s) }},
}

// property is a place in the properties of CONNECT, or PUBLISH.
func property(name string, connect bool, props func(s string) []byte) place {
	return place{name, connect, func(t *suite.T, s string) []byte {
		if connect {
			p := t.CONNECT()
			p.Props = props(s)
			return p.Bytes()
		}
		return wire.Publish{Topic: "t", QoS: 1, ID: 1, Props: props(s)}.Bytes(t.Version)
	}}
}

// places5 are the fields of 5.0 alone.
var places5 = []place{
	property("user property's name in CONNECT", true, func(s string) []byte { return wire.Bytes(wire.UserProperty, wire.Str(s), wire.Str("v")) }),
	property("user property's value in CONNECT", true, func(s string) []byte { return wire.Bytes(wire.UserProperty, wire.Str("n"), wire.Str(s)) }),
	property("user property's name", false, func(s string) []byte { return wire.Bytes(wire.UserProperty, wire.Str(s), wire.Str("v")) }),
	property("user property's value", false, func(s string) []byte { return wire.Bytes(wire.UserProperty, wire.Str("n"), wire.Str(s)) }),
	property("content type", false, func(s string) []byte { return wire.Bytes(wire.ContentType, wire.Str(s)) }),
	property("response topic", false, func(s string) []byte { return wire.Bytes(wire.ResponseTopic, wire.Str("r"+s)) }),
	{"reason string", false, func(t *suite.T, s string) []byte {
		return wire.Packet(wire.PUBREC<<4, uint16(1), byte(0), wire.Props(wire.ReasonString, wire.Str(s)))
	}},
}

func placesOf(t *suite.T) []place {
	if t.V5() {
		return append(places[:len(places):len(places)], places5...)
	}
	return places
}

// send sends a packet of the place over a connection of its own.
func (at place) send(t *suite.T, s string) *suite.Conn {
	t.Step("as %s", at.name)
	c := t.Dial(t.Target.Addr)
	if !at.connect {
		c.Accepted(t.CONNECT())
	}
	c.Send(at.packet(t, s))
	return c
}

// accepted wants the answer of a packet that is right.
func (at place) accepted(t *suite.T, c *suite.Conn, p *wire.Read) {
	switch {
	case p == nil:
		t.Fatalf("closed")
	case p.Type == wire.DISCONNECT, p.Type == wire.CONNACK && p.Code() != 0, p.Type == wire.SUBACK && p.Code() != 0, p.Code() >= 0x80 && p.Type != wire.PUBREL:
		t.Fatalf("%v", p)
	}
	c.Ping()
}

func goodString(t *suite.T, s string) string {
	for _, at := range placesOf(t) {
		c := at.send(t, s)
		at.accepted(t, c, c.NextOrEnd())
	}
	carried(t, s)
	return "accepted in each field, and carried"
}

// carried wants a string to arrive in a message byte by byte, in the fields there are.
func carried(t *suite.T, s string) {
	t.Step("passed on")
	c, pub := t.Join(), t.Join()
	topic := t.Topic() + s
	c.Subscribe(0, topic)
	p := wire.Publish{Topic: topic}
	if t.V5() {
		p.Props = wire.Bytes(wire.ContentType, wire.Str(s), wire.ResponseTopic, wire.Str("r"+s), wire.UserProperty, wire.Str(s), wire.Str(s))
	}
	pub.Publish(p)
	m := c.Take(topic, "")
	if user, _ := m.Props.Get(wire.UserProperty); t.V5() && (user.Text != s || user.Text2 != s) {
		t.Fatalf("%v", m)
	}
	for id, want := range map[byte]string{wire.ContentType: s, wire.ResponseTopic: "r" + s} {
		if got, _ := m.Props.Get(id); t.V5() && got.Text != want {
			t.Fatalf("%v", m)
		}
	}
}

func badString(t *suite.T, s string) string {
	for _, at := range placesOf(t) {
		c := at.send(t, s)
		came := ""
		if at.connect {
			came = refusedWith(t, c, 0x81)
		} else {
			came = closedWith(t, c, 0x81)
		}
		if came == "closed" && t.V5() {
			return fmt.Sprintf("closed, as %s", at.name)
		}
	}
	if t.V5() {
		return "0x81 in each field"
	}
	return "closed in each field"
}

// oddString may be accepted or not, but the same everywhere.
func oddString(t *suite.T, s string) string {
	accepted := 0
	for _, at := range placesOf(t) {
		c := at.send(t, s)
		switch p := c.NextOrEnd(); {
		case p == nil:
		case t.V5() && (p.Type == wire.CONNACK || p.Type == wire.DISCONNECT) && p.Code() == 0x81:
		default:
			at.accepted(t, c, p)
			accepted++
		}
	}
	switch accepted {
	case 0:
		return "refused in each field"
	case len(placesOf(t)):
		carried(t, s)
		return "accepted in each field, and carried"
	}
	t.Fatalf("accepted in %d of %d fields", accepted, len(placesOf(t)))
	return ""
}
