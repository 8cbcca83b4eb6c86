package vectors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/firmware-tests/conformance/scram"
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// golden are the rows of vectors.tsv.
func golden() (plays []play, err error) {
	rows, err := table("vectors.tsv", 5)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if levels[r[1]] == 0 {
			continue // for another transport
		}
		b, err := unhex(r[2])
		if err != nil {
			return nil, err
		}
		v := vector{Row: Row{File: "vectors.tsv", Name: r[0], Version: r[1], Verdict: r[3], Meaning: r[4]}, b: []byte(b)}
		plays = append(plays, play{v.Row, v.play, v.Verdict != "valid" || strings.HasPrefix(v.Meaning, "[S>C]") || v.Version == "3.1.1-ext"})
	}
	return plays, nil
}

// vector is one row: a packet, or CONNECT and a packet.
type vector struct {
	Row
	b []byte
}

func (v vector) kind() byte { return v.b[0] >> 4 }

// play plays the row on the side of a client.
func (v vector) play(t *suite.T) string {
	first, second := v.split()
	switch {
	case second != nil:
		return v.closes(t, t.Dial(t.Target.Addr), first, second)
	case strings.HasSuffix(v.Name, "-level-6"):
		return v.unknownLevel(t)
	case v.Name == "5-connect-all-props":
		return v.allProps(t)
	case v.kind() == wire.CONNECT && v.Verdict == "valid" && v.Version != "3.1.1-ext":
		return answered(t, v.b)
	case v.kind() == wire.CONNECT:
		return v.connect(t)
	case strings.HasSuffix(v.Name, "first-not-connect"):
		c := t.Dial(t.Target.Addr)
		c.Send(v.b)
		c.WantEnd()
		return "closed"
	case v.Verdict != "valid":
		return v.closes(t, t.Join(), nil, v.b)
	case strings.HasPrefix(v.Meaning, "[S>C]"):
		return v.ofServer(t)
	}
	return v.valid(t)
}

// split parts a CONNECT from what follows it.
func (v vector) split() (first, second []byte) {
	size, n := binary.Uvarint(v.b[1:])
	end := 1 + n + int(size)
	if v.kind() != wire.CONNECT || n <= 0 || end >= len(v.b) {
		return v.b, nil
	}
	return v.b[:end], v.b[end:]
}

// named finds the code that the meaning of a row names.
var named = regexp.MustCompile(`CONNACK code (\d)|: (?:DISCONNECT |optional CONNACK )?([89][0-9A-F])\b`)

// codes are those that a bad row may be answered with.
func (v vector) codes() []byte {
	if list, ok := open[v.Name]; ok {
		return list
	}
	if m := named.FindStringSubmatch(v.Meaning); m != nil {
		code, _ := strconv.ParseUint(m[1]+m[2], 16, 8)
		return []byte{byte(code)}
	}
	switch {
	case v.Version != "5.0":
		return nil
	case strings.HasPrefix(v.Meaning, "[S>C]") && v.kind() != wire.PUBLISH && v.kind() != wire.DISCONNECT:
		return []byte{0x82, 0x81} // on the wrong side, and it may be wrong there too
	case v.Verdict == "malformed":
		return []byte{0x81}
	}
	return []byte{0x82}
}

// open are the codes of rows that the specification leaves open, or gives no code for.
var open = map[string][]byte{
	"311-connect-name-wrong":       {1},
	"311-connect-name-case":        {1},
	"31-connect-mqtt-level-3":      {1},
	"5-connect-twice":              {0x82},
	"5-publish-pfi-2":              {0x82, 0x81},
	"5-subscribe-shared-noname":    {0x8f, 0x82, 0x81},
	"5-subscribe-shared-wild-name": {0x8f, 0x82, 0x81},
	"5-auth-empty":                 {0x82, 0x81},
}

// connect plays a CONNECT that must be refused.
func (v vector) connect(t *suite.T) string {
	c := t.Dial(t.Target.Addr)
	c.Send(v.b)
	if v.Name != "31-connect-id-24" {
		return refusedWith(t, c, v.codes()...)
	}
	p := c.NextOrEnd() // longer identifiers than 3.1 has are accepted by most
	if p == nil || p.Type != wire.CONNACK || p.Code() != 0 && p.Code() != 2 {
		t.Fatalf("%v", p)
	}
	return fmt.Sprintf("CONNACK %#x", p.Code())
}

// allProps is accepted, but that it asks for an authentication which it does not begin
// rightly.
func (v vector) allProps(t *suite.T) string {
	c := t.Dial(t.Target.Addr)
	c.Send(v.b)
	came := refusedWith(t, c, 0x86, 0x87, 0x8c)
	p, err := wire.Next(bytes.NewReader(v.b), t.Version, false)
	if err != nil {
		t.Fatalf("%v", err)
	}
	auth := wire.Bytes(wire.AuthenticationMethod, wire.Str(scram.Method), wire.AuthenticationData, wire.Str("\x00\x01"))
	const before = 12 // bytes of what precedes the properties
	props := bytes.Replace(v.b[before+1:], auth, nil, 1)
	size := int(v.b[before]) - len(auth)
	answered(t, wire.Packet(v.b[0], v.b[2:before], byte(size), props))
	return came + "; without " + scram.Method + ", " + p.Connect.ID + " is accepted"
}

// unknownLevel may be answered in the form of any version.
func (v vector) unknownLevel(t *suite.T) string {
	nc, err := net.DialTimeout("tcp", t.Target.Addr, suite.Patience)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Over(nc)
	nc.SetDeadline(time.Now().Add(suite.Patience))
	nc.Write(v.b)
	b, err := io.ReadAll(nc)
	switch {
	case err != nil && len(b) == 0:
		t.Fatalf("%v, want the end of the connection", err)
	case len(b) == 0:
		return "closed"
	case bytes.Equal(b, []byte{0x20, 2, 0, 1}):
		return "CONNACK 0x1"
	case len(b) > 4 && b[0] == 0x20 && b[2] == 0 && b[3] == 0x84:
		return "CONNACK 0x84"
	}
	t.Fatalf("% x, want CONNACK that says that the version is not supported", b)
	return ""
}

// closes plays a bad packet, after the state that it needs or a CONNECT of the row's.
func (v vector) closes(t *suite.T, c *suite.Conn, connect, packet []byte) string {
	if connect != nil {
		c.Send(connect)
		if p := c.Want(wire.CONNACK); p.Code() != 0 {
			t.Fatalf("%v", p)
		}
	}
	c.Send(packet)
	if v.kind() != wire.SUBSCRIBE || !slices.Contains([]string{
		"311-subscribe-filter-empty", "311-subscribe-hash-middle", "311-subscribe-plus-glued", "5-subscribe-shared-noname", "5-subscribe-shared-wild-name",
	}, v.Name) {
		return closedWith(t, c, v.codes()...)
	}
	p := c.NextOrEnd() // a filter may be refused, and the connection go on
	switch {
	case p == nil:
		return "closed"
	case p.Type == wire.SUBACK && len(p.Codes) == 1 && (p.Codes[0] == 0x80 && !t.V5() || p.Codes[0] == 0x8f):
		c.Ping()
		return fmt.Sprintf("SUBACK %#x", p.Codes[0])
	case p.Type == wire.DISCONNECT && slices.Contains(v.codes(), p.Code()):
		c.WantEnd()
		return fmt.Sprintf("DISCONNECT %#x", p.Code())
	}
	t.Fatalf("%v", p)
	return ""
}

// ofServer plays a good packet of a server's on the wrong side.
func (v vector) ofServer(t *suite.T) string {
	c := t.Join()
	c.Send(v.b)
	switch {
	case v.kind() == wire.DISCONNECT && slices.Contains([]byte{0x81, 0x93, 0x94, 0x95, 0x96}, v.b[2]):
		c.WantEnd() // which a client may send too
		return "closed"
	case v.Name == "311-publish-topic-sys": // a matter of what is allowed, not of form
		c.Send(wire.Pingreq())
		if p := c.NextOrEnd(); p == nil {
			return "closed"
		} else if p.Type != wire.PINGRESP {
			t.Fatalf("%v", p)
		}
		return "PINGRESP"
	}
	return closedWith(t, c, 0x82, 0x81)
}
