package client

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// A vector is a packet of the golden vectors that a server may want to send.
type vector struct {
	name    string
	packet  []byte
	verdict string // valid, malformed, protocol-error
}

// more are packets that the golden vectors do not have.
func more(t *suite.T) []vector {
	list := []vector{
		{"connect", t.CONNECT().Bytes(), "protocol-error"},
		{"subscribe", wire.Subscribe(t.Version, 7, 0, "a"), "protocol-error"},
		{"unsubscribe", wire.Unsubscribe(t.Version, 7, "a"), "protocol-error"},
		{"pingreq", wire.Pingreq(), "protocol-error"},
	}
	acks := map[string]byte{"puback": wire.PUBACK, "pubrec": wire.PUBREC, "pubrel": wire.PUBREL, "pubcomp": wire.PUBCOMP}
	if !t.V5() {
		list = append(list, vector{"disconnect", wire.Disconnect(), "protocol-error"})
		for name, kind := range acks {
			first := wire.Ack(kind, 1)[0]
			list = append(list,
				vector{name + " too long", wire.Packet(first, uint16(7), byte(0)), "malformed"},
				vector{name + " too short", wire.Packet(first, byte(7)), "malformed"},
				vector{name + " of 0", wire.Packet(first, uint16(0)), "protocol-error"})
		}
		return list
	}
	publish := func(props ...any) []byte { return wire.Packet(wire.PUBLISH<<4, wire.Str("a"), wire.Props(props...)) }
	list = append(list,
		vector{"rl of 5 bytes", []byte{wire.PUBLISH << 4, 0xff, 0xff, 0xff, 0xff, 0x7f}, "malformed"},
		vector{"properties length not minimal", wire.Packet(wire.PUBLISH<<4, wire.Str("a"), byte(0x80), byte(0)), "malformed"},
		vector{"publish of 0", wire.Publish{Topic: "a", QoS: 1}.Bytes(t.Version), "protocol-error"},
		vector{"no topic, no alias", wire.Publish{}.Bytes(t.Version), "protocol-error"},
		vector{"unknown property", publish(byte(0x7f), byte(0)), "malformed"},
		vector{"cut property", publish(wire.MessageExpiry, byte(0)), "malformed"},
		vector{"content type ill-formed", publish(wire.ContentType, wire.Str("\xc3\x28")), "malformed"},
		vector{"user property ill-formed", publish(wire.UserProperty, wire.Str("a"), wire.Str("\xc3\x28")), "malformed"},
		vector{"U+0000 in user property", publish(wire.UserProperty, wire.Str("a\x00"), wire.Str("b")), "malformed"})
	for name, kind := range acks {
		first := wire.Ack(kind, 1)[0]
		ack := func(props []byte) []byte { return wire.Packet(first, uint16(999), byte(0), props) }
		user := wire.Bytes(wire.UserProperty, wire.Str("k"), wire.Str("v"))
		reason := wire.Bytes(wire.ReasonString, wire.Str("why"))
		list = append(list,
			vector{name + " with properties", ack(wire.Props(user, reason, user)), "valid"},
			vector{name + " reason twice", ack(wire.Props(reason, reason)), "protocol-error"},
			vector{name + " alien property", ack(wire.Props(wire.TopicAlias, uint16(1))), "malformed"},
			vector{name + " properties too long", ack([]byte{9, wire.ReasonString}), "malformed"},
			vector{name + " of 0", wire.Packet(first, uint16(0)), "protocol-error"})
	}
	return list
}

// vectors are the packets of servers in the version of the test, golden and more, that
// keep chooses.
func vectors(t *suite.T, keep func(v vector) bool) (chosen []vector) {
	for _, v := range more(t) {
		if keep(v) {
			chosen = append(chosen, v)
		}
	}
	version := "3.1.1"
	if t.V5() {
		version = "5.0"
	}
	f, err := os.Open(filepath.Join(rig.Root(), "codec", "testdata", "vectors.tsv"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		row := strings.Split(lines.Text(), "\t")
		if row[1] != version || !strings.HasPrefix(row[4], "[S>C]") && !strings.HasPrefix(row[4], "[C<>S]") {
			continue
		}
		packet, err := hex.DecodeString(row[2])
		if err != nil {
			t.Fatalf("%s: %v", row[0], err)
		}
		if v := (vector{row[0], packet, row[3]}); keep(v) {
			chosen = append(chosen, v)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("no vectors")
	}
	return chosen
}

func (v vector) kind() byte { return v.packet[0] >> 4 }
func (v vector) bad() bool  { return v.verdict != "valid" }

// unexpected are good packets that no client of ours asked for: an alias, a challenge.
var unexpected = map[string][]byte{"5-publish-alias-use": {0x94, 0x82}, "5-auth-continue": {0x82}}

// codes are the reasons with which a client may leave.
func (v vector) codes() []byte {
	switch {
	case unexpected[v.name] != nil:
		return unexpected[v.name]
	case v.name == "5-publish-alias-0":
		return []byte{0x94}
	case v.name == "5-publish-alias-unset":
		return []byte{0x82, 0x94}
	case strings.Contains(v.name, "-pfi-2"):
		return []byte{0x82, 0x99}
	case strings.Contains(v.name, "wildcard"), strings.Contains(v.name, "-plus"), strings.Contains(v.name, "-hash"):
		return []byte{0x82, 0x90}
	case v.verdict == "malformed":
		return []byte{0x81}
	}
	return []byte{0x82}
}

// breaking are the packets that end an accepted connection.
func breaking(v vector) bool {
	return v.kind() != wire.CONNACK && (v.bad() || unexpected[v.name] != nil)
}

// commands are those that stay connected.
var commands = [][]string{{"pub", "-t", "up/1", "-l", "-q", "1"}, {"sub", "-t", "down/#", "-q", "2"}}

// leavesOnBadPackets sends them to pub and sub.
func leavesOnBadPackets(t *suite.T) {
	for _, v := range vectors(t, breaking) {
		for _, args := range commands {
			s := listen(t)
			cmd := s.command(args...)
			c := s.welcome(false)
			c.Send(v.packet)
			t.Step("%s to %s", v.name, args[0])
			s.ends(c, v.codes()...)
			cmd.wantExit(exitRefused)
		}
	}
}

// bridgeLosesNothingToBadPackets has a bridge for each, some of them of one gateway.
// While a message is under way the packet comes; the message is there again on the
// next connection, and the one behind it.
func bridgeLosesNothingToBadPackets(t *suite.T) {
	for list := range slices.Chunk(vectors(t, breaking), 16) {
		servers, g := bridges(t, len(list))
		device := (&bridge{servers[0], g}).device()
		sent := make([]*wire.Read, len(list))
		for i, c := range welcomeAll(servers, false) {
			t.Step("%s to the bridge", list[i].name)
			topic := fmt.Sprintf("up/%d", i)
			device.Publish(wire.Publish{Topic: topic, Payload: "a", QoS: 1})
			sent[i] = c.WantPublish(topic, "a")
			c.Send(list[i].packet)
			servers[i].ends(c, list[i].codes()...)
		}
		for i, c := range welcomeAll(servers, true) {
			t.Step("after %s to the bridge", list[i].name)
			p := c.WantPublish(sent[i].Topic, "a")
			if p.ID != sent[i].ID || !p.Dup {
				t.Fatalf("%v, want it again as %d with DUP", p, sent[i].ID)
			}
			c.Send(wire.Ack(wire.PUBACK, p.ID))
			device.Publish(wire.Publish{Topic: p.Topic, Payload: "b", QoS: 1})
			c.WantPublish(p.Topic, "b")
		}
		g.Kill()
	}
}

// welcomeAll accepts a CONNECT at each server: no bridge waits for long.
func welcomeAll(servers []*server, present bool) (conns []*suite.Conn) {
	for _, s := range servers {
		conns = append(conns, s.welcome(present))
	}
	return conns
}

// bridges starts a gateway with n bridges, each to a server of its own: bridge i
// carries up/i up.
func bridges(t *suite.T, n int) (servers []*server, g *rig.Gateway) {
	var env []string
	for i := range n {
		s := listen(t)
		servers = append(servers, s)
		prefix := fmt.Sprintf("SLUICE_BRIDGE_%d_", i)
		env = append(env, prefix+"URL=mqtt://"+s.addr(), prefix+fmt.Sprintf("UP=up/%d", i))
	}
	return servers, startGateway(t, env...)
}

// leavesOnBadConnack: the bridge tries again, the commands give up.
func leavesOnBadConnack(t *suite.T) {
	list := vectors(t, func(v vector) bool { return v.kind() == wire.CONNACK && v.bad() })
	servers, g := bridges(t, len(list))
	for i, v := range list {
		t.Step("%s to the bridge", v.name)
		c, _ := servers[i].connect()
		c.Send(v.packet)
		servers[i].closes(c, v)
	}
	device := (&bridge{servers[0], g}).device()
	for i, v := range list {
		t.Step("after %s to the bridge", v.name)
		if v.name == "5-connack-no-proplen" {
			continue // is that of 3.1.1, which the bridge speaks then
		}
		c := servers[i].welcome(false)
		topic := fmt.Sprintf("up/%d", i)
		device.Publish(wire.Publish{Topic: topic, Payload: "a", QoS: 1})
		c.WantPublish(topic, "a")
	}
	for _, v := range list {
		for _, args := range commands {
			t.Step("%s to %s", v.name, args[0])
			s := listen(t)
			cmd := s.command(args...)
			c, _ := s.connect()
			c.Send(v.packet)
			s.closes(c, v)
			cmd.wantExit(exitRefused)
		}
	}
}

// closes wants the end of a connection that was not yet accepted. Whether a client says
// why is left to it.
func (s *server) closes(c *suite.Conn, v vector) {
	if s.t.V5() {
		c.WantClosed(v.codes()...)
	} else {
		c.WantClosed(0)
	}
}

// goesOnAfterGoodPackets: whatever a server may say, wanted or not.
func goesOnAfterGoodPackets(t *suite.T) {
	ends := []byte{wire.CONNACK, wire.DISCONNECT, wire.AUTH}
	list := vectors(t, func(v vector) bool { return !v.bad() && !slices.Contains(ends, v.kind()) && unexpected[v.name] == nil })
	for _, r := range receivers(t) {
		for _, v := range list {
			t.Step("%s", v.name)
			if v.name == "5-puback-reason" || v.name == "5-puback-props" || v.name == "5-pubrec-props" {
				continue // quota exceeded, upon which the bridge makes a pause
			}
			r.conn.Send(v.packet)
			r.passes()
		}
	}
	for _, v := range list {
		t.Step("%s to pub", v.name)
		s := listen(t)
		pub := s.command("pub", "-t", "up/1", "-l")
		c := s.welcome(false)
		c.Send(v.packet)
		pub.say("a")
		for p := c.Next(); p.Type != wire.PUBLISH; p = c.Next() {
		}
	}
}

// takesGoodConnacks: one that accepts a new session is the beginning, any other the end.
func takesGoodConnacks(t *suite.T) {
	for _, v := range vectors(t, func(v vector) bool { return !v.bad() && v.kind() == wire.CONNACK }) {
		if v.name == "5-connack-84" {
			continue // the bridge asks for 3.1.1 then
		}
		present, code := v.packet[2] == 1, v.packet[3]
		each(t, nil, nil, func(s *server, c *suite.Conn, p *wire.Read) {
			t.Step("%s to %s", v.name, p.Connect.ID)
			c.Send(v.packet)
			switch {
			case code == 0 && !present:
				c.Send(wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version))
				if next := c.Next(); next.Type == wire.SUBSCRIBE {
					c.Send(s.suback(next.ID, 0))
					c.WantAck(wire.PUBACK, 7, 0)
				} else if next.Type != wire.PUBACK {
					t.Fatalf("%v, want PUBACK", next)
				}
			case code != 0 || t.V5() || p.Connect.Clean:
				c.WantClosed(0, 0x82)
			}
		})
	}
}
