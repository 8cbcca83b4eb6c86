package vectors

import (
	"fmt"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// matchPlays are the rows of topic-match.tsv.
func matchPlays() (plays []play, err error) {
	rows, err := table("topic-match.tsv", 4)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		row := Row{File: "topic-match.tsv", Name: fmt.Sprintf("%q %q", r[0], r[1]), Verdict: r[2], Meaning: r[3]}
		plays = append(plays, inBoth(play{Row: row, run: func(t *suite.T) string { return match(t, r[0], r[1], r[2] == "1") }})...)
	}
	return plays, nil
}

// match subscribes to a filter and publishes to a topic.
func match(t *suite.T, filter, topic string, want bool) string {
	c, pub := t.Join(), t.Join()
	own := t.Topic()
	c.Subscribe(0, filter, own)
	pub.Send(wire.Publish{Topic: topic, Payload: "m"}.Bytes(t.Version))
	switch {
	case topic == "" || strings.ContainsAny(topic, "+#"):
		closedWith(t, pub, 0x81, 0x82, 0x90)
	case topic[0] != '$':
		pub.Ping()
	default:
		pub.Send(wire.Pingreq())
		pub.NextOrEnd() // it may be closed for the topic
	}
	t.Join().Publish(wire.Publish{Topic: own})
	p := c.Want(wire.PUBLISH)
	came := p.Topic == topic
	for p.Topic != own { // or the client of the next row may hear it
		p = c.Want(wire.PUBLISH)
	}
	if !came && strings.HasPrefix(topic, "$") && refuses(t, topic) {
		came = matchFromUpstream(t, filter, topic)
	}
	if came != want {
		t.Fatalf("delivered: %v", came)
	}
	if came {
		return "delivered"
	}
	return "not delivered"
}

// refuses says whether a client may not publish to a topic: the message does not even
// come to who subscribed to nothing else.
func refuses(t *suite.T, topic string) bool {
	if strings.HasPrefix(topic, "$share/") {
		return true // not to be asked for
	}
	c, pub := t.Join(), t.Join()
	own := t.Topic()
	c.Subscribe(0, topic, own)
	pub.Send(wire.Publish{Topic: topic}.Bytes(t.Version), wire.Pingreq())
	pub.NextOrEnd()
	t.Join().Publish(wire.Publish{Topic: own})
	return c.Want(wire.PUBLISH).Topic == own
}

// matchFromUpstream says whether a filter brings a message that came from an upstream,
// which may publish where clients may not.
func matchFromUpstream(t *suite.T, filter, topic string) (came bool) {
	first, _, _ := strings.Cut(topic, "/")
	if first == "$share" {
		t.Skip("nobody can subscribe to it")
	}
	addr, up := t.Upstream(first + "/#,last")
	c := t.Dial(addr).Accepted(t.CONNECT())
	c.Subscribe(0, filter, "last")
	up.Send(wire.Publish{Topic: topic, Payload: "m"}.Bytes(t.Version), wire.Publish{Topic: "last"}.Bytes(t.Version))
	p := c.Want(wire.PUBLISH)
	for strings.HasPrefix(p.Topic, "$SYS/bridge/") { // what the gateway tells of the bridge
		p = c.Want(wire.PUBLISH)
	}
	return p.Topic == topic
}

// validPlays are the rows of topic-valid.tsv.
func validPlays() (plays []play, err error) {
	rows, err := table("topic-valid.tsv", 4)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		s, err := unhex(r[1])
		if err != nil {
			return nil, err
		}
		row := Row{File: "topic-valid.tsv", Name: r[0] + " " + r[1], Verdict: r[2], Meaning: r[3]}
		run := filterOf
		if r[0] == "name" {
			run = nameOf
		}
		plays = append(plays, inBoth(play{row, func(t *suite.T) string { return run(t, s, r[2]) }, r[2] == "invalid" || r[2] == "invalid-5"})...)
	}
	return plays, nil
}

// filterOf subscribes to a filter. What of shared subscriptions is wrong in 5.0, is for
// a server of 3.1.1 to say.
func filterOf(t *suite.T, filter, verdict string) string {
	c := t.Join()
	c.Send(wire.Subscribe(t.Version, 1, 0, filter))
	p := c.NextOrEnd()
	granted := p != nil && p.Type == wire.SUBACK && len(p.Codes) == 1 && p.Codes[0] == 0
	refused := p == nil ||
		p.Type == wire.SUBACK && len(p.Codes) == 1 && (p.Codes[0] == 0x8f || !t.V5() && p.Codes[0] == 0x80) ||
		p.Type == wire.DISCONNECT && slices.Contains([]byte{0x81, 0x82, 0x8f}, p.Code())
	if !granted && !refused {
		t.Fatalf("%v", p)
	}
	either := verdict == "ordinary" || verdict == "invalid-5" && !t.V5()
	if !either && granted != (verdict == "valid") {
		t.Fatalf("%v", p)
	}
	if p == nil {
		return "closed"
	}
	if p.Type == wire.SUBACK {
		if refused {
			c.Ping()
		}
		return fmt.Sprintf("SUBACK %#x", p.Codes[0])
	}
	return fmt.Sprintf("DISCONNECT %#x", p.Code())
}

// nameOf publishes to a name.
func nameOf(t *suite.T, name, verdict string) string {
	c, own := t.Join(), t.Topic()
	if verdict != "valid" {
		c.Send(wire.Publish{Topic: name}.Bytes(t.Version))
		return closedWith(t, c, 0x81, 0x82, 0x90)
	}
	other := t.Join()
	other.Subscribe(0, name, own)
	c.Send(wire.Publish{Topic: name}.Bytes(t.Version), wire.Pingreq())
	if p := c.NextOrEnd(); p == nil && name[0] != '$' {
		t.Fatalf("closed for the topic %q", name)
	}
	t.Join().Publish(wire.Publish{Topic: own})
	switch m := other.Want(wire.PUBLISH); {
	case m.Topic == name:
		return "delivered"
	case m.Topic != own || name[0] != '$':
		t.Fatalf("%v, want a message to %q", m, name)
	}
	return "taken, and not passed on: clients may not publish to it"
}
