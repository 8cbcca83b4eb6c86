package server

import (
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// filters is section 4.7: topic names, topic filters, and how they match.
var filters = []suite.Test{
	{V311: "4.7.1-1", V5: "4.7.0-1", Run: wildcardInName},
	{V311: "4.7.1-2", V5: "4.7.1-1", Run: misplacedHash},
	{V311: "4.7.1-3", V5: "4.7.1-2", Run: misplacedPlus},
	{V311: "RULE-4.7.1-a", V5: "RULE-4.7.1-a", Run: hashMatches},
	{V311: "RULE-4.7.1-b", V5: "RULE-4.7.1-b", Run: plusMatches},
	{V311: "4.7.2-1", V5: "4.7.2-1", Run: dollarTopics},
	{V311: "4.7.2-1", V5: "4.7.2-1", Run: dollarTopicsOfDevices},
	{V311: "RULE-4.7.2-a", V5: "RULE-4.7.2-a", Run: dollarInsideIsOrdinary},
	{V311: "4.7.3-1", V5: "4.7.3-1", Run: emptyNamesAndFilters},
	{V311: "4.7.3-3", V5: "4.7.3-3", Run: longNames},
	{V311: "4.7.3-4", V5: "4.7.3-4", Run: namesAreComparedAsTheyAre},
	{V311: "RULE-4.7.3-a", V5: "RULE-4.7.3-a", Run: emptyLevelsAndSpaces},
}

// wildcardInName has one in the topic of a PUBLISH and of a Will. Nobody gets such a message.
func wildcardInName(t *suite.T) {
	base := t.Topic()
	watcher := t.Join()
	watcher.Subscribe(0, base+"/#")
	for _, bad := range []string{"/#", "/+", "/a/#/b", "/a+", "/#b"} {
		closedFor(t, wire.Publish{Topic: base + bad, Payload: bad}.Bytes(t.Version), 0x81, 0x82, 0x90)
		closedFor(t, wire.Publish{Topic: base + bad, Payload: bad, QoS: 1, ID: 1}.Bytes(t.Version), 0x81, 0x82, 0x90)
		p := t.CONNECT()
		p.Will = &wire.Will{Topic: base + bad, Payload: "will"}
		refusedFor(t, p.Bytes(), 0x81, 0x82, 0x90)
	}
	t.Join().Publish(wire.Publish{Topic: base + "/good", Payload: "good", QoS: 1})
	watcher.Take(base+"/good", "good")
}

// wantFiltersRefused wants each filter refused: by closing or by a failure code. What
// it might have meant does not come.
func wantFiltersRefused(t *suite.T, below func(filter string) []string, filters ...string) {
	for _, bad := range filters {
		c := t.Join()
		c.Send(wire.Subscribe(t.Version, 1, 0, bad))
		p := c.NextOrEnd()
		switch {
		case p == nil:
			continue
		case t.V5() && p.Type == wire.DISCONNECT && slices.Contains([]byte{0x81, 0x82, 0x8f}, p.Code()):
			c.WantEnd()
			continue
		case p.Type != wire.SUBACK || len(p.Codes) != 1 || p.Codes[0] < 0x80:
			t.Fatalf("%v to the filter %q", p, bad)
		}
		pub := t.Join()
		for _, name := range below(bad) {
			pub.Publish(wire.Publish{Topic: name, QoS: 1})
		}
		c.Ping()
	}
}

// plain is a filter without its wildcards: a name.
func plain(filter string) string { return strings.NewReplacer("#", "x", "+", "x").Replace(filter) }

func misplacedHash(t *suite.T) {
	base := t.Topic()
	wantFiltersRefused(t, func(bad string) []string {
		return []string{base + "/a", base + "/a/x/b", plain(bad)}
	}, base+"/a#", base+"/#/b", base+"/a/#/", base+"/##", base+"/#+", base+"/+#")
	wantFiltersRefused(t, func(string) []string { return nil }, "#/"+base, "##", "#a")
}

func misplacedPlus(t *suite.T) {
	base := t.Topic()
	wantFiltersRefused(t, func(bad string) []string {
		return []string{base + "/a", base + "/ax", plain(bad)}
	}, base+"/a+", base+"/+a", base+"/a+/b", base+"/++", base+"/+/b+")
	wantFiltersRefused(t, func(string) []string { return nil }, "+a/"+base, "++/"+base)
}

// wantMatches publishes to each of the names below a topic of the test's own, and wants
// those that match to come, and nothing else.
func wantMatches(t *suite.T, filter string, matching, other []string) {
	base := t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(0, base+filter)
	for _, name := range other {
		pub.Publish(wire.Publish{Topic: base + name, Payload: "does not match " + filter, QoS: 1})
	}
	for _, name := range matching {
		pub.Publish(wire.Publish{Topic: base + name, Payload: name, QoS: 1})
		c.Take(base+name, name)
	}
	c.Ping()
}

// hashMatches any number of levels, the one above included.
func hashMatches(t *suite.T) {
	wantMatches(t, "/a/#", []string{"/a", "/a/", "/a/b", "/a/b/c/d", "/a//"}, []string{"/ab", "/b/a", "", "/", "//a", "/A/b"})
	wantMatches(t, "/+/#", []string{"/", "/a", "/a/b", "//"}, []string{""})
}

// plusMatches one level, empty ones too.
func plusMatches(t *suite.T) {
	wantMatches(t, "/+/c", []string{"/a/c", "//c", "/ä/c"}, []string{"/c", "/a/b/c", "/a/c/", "/a/cc", "/a"})
	wantMatches(t, "/a/+", []string{"/a/b", "/a/"}, []string{"/a", "/a/b/c", "/ab"})
	wantMatches(t, "/+/+/d", []string{"/b/c/d", "///d"}, []string{"/b/d", "/a/b/c/d"})
}

// dollarTopics come from an upstream, since devices may be kept from publishing to
// them. Filters that begin with a wildcard do not match.
func dollarTopics(t *suite.T) {
	addr, up := t.Upstream("$conform/#,plain/#")
	wide := t.Dial(addr).Accepted(t.CONNECT())
	wide.Subscribe(0, "#", "+/x", "+/#")
	narrow := t.Dial(addr).Accepted(t.CONNECT())
	narrow.Subscribe(0, "$conform/+")
	up.Send(wire.Publish{Topic: "$conform/x", Payload: "1"}.Bytes(t.Version), wire.Publish{Topic: "plain/y", Payload: "2"}.Bytes(t.Version))
	narrow.Take("$conform/x", "1")
	wide.Take("plain/y", "2")
}

// dollarTopicsOfDevices may not be taken by the server; if they are, wildcards at the
// beginning of a filter do not match them.
func dollarTopicsOfDevices(t *suite.T) {
	topic := "$" + t.Topic()
	level := topic[strings.IndexByte(topic, '/'):]
	c := t.Join()
	c.Send(wire.Subscribe(t.Version, 1, 0, "+"+level, "+/#", topic[1:]))
	for c.Next().Type != wire.SUBACK { // retained messages of others may come first
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "$"})
	pub := t.Join()
	pub.Send(wire.Publish{Topic: topic, Payload: "$", QoS: 1, ID: 1}.Bytes(t.Version))
	if p := pub.NextOrEnd(); p != nil && p.Type != wire.PUBACK && p.Type != wire.DISCONNECT {
		t.Fatalf("%v to a PUBLISH to %s", p, topic)
	}
	t.Join().Publish(wire.Publish{Topic: topic[1:], Payload: "last", QoS: 1})
	for {
		m := c.Want(wire.PUBLISH) // of others, too
		if m.Topic == topic {
			t.Fatalf("%v for a filter that begins with +", m)
		}
		if m.Topic == topic[1:] {
			return
		}
	}
}

// dollarInsideIsOrdinary: it means something as the first character only.
func dollarInsideIsOrdinary(t *suite.T) {
	wantMatches(t, "/+/x", []string{"/$a/x", "/$/x"}, nil)
	wantMatches(t, "/#", []string{"/$SYS", "/a/$b", "/$"}, nil)
	wantMatches(t, "/$a/b", []string{"/$a/b"}, []string{"/a/b"})
}

func emptyNamesAndFilters(t *suite.T) {
	closedFor(t, wire.Publish{Payload: "x"}.Bytes(t.Version), 0x81, 0x82, 0x90)
	closedFor(t, wire.Publish{Payload: "x", QoS: 1, ID: 1}.Bytes(t.Version), 0x81, 0x82, 0x90)
	p := t.CONNECT()
	p.Will = &wire.Will{}
	refusedFor(t, p.Bytes(), 0x81, 0x82, 0x90)
	wantFiltersRefused(t, func(string) []string { return nil }, "")
}

// longNames have up to 65535 bytes, or what the server takes of them; then it says so.
func longNames(t *suite.T) {
	base := t.Topic()
	for _, size := range []int{200, 4000, 65535} {
		topic := base + "/" + strings.Repeat("x", size-len(base)-1)
		c := t.Join()
		c.Send(wire.Subscribe(t.Version, 1, 0, topic))
		p := c.NextOrEnd()
		if size > 4000 && (p == nil || p.Type == wire.DISCONNECT || p.Codes[0] >= 0x80) {
			continue // a limit of its own
		}
		if p == nil || p.Type != wire.SUBACK || p.Code() != 0 {
			t.Fatalf("%v to a filter of %d bytes", p, size)
		}
		t.Join().Publish(wire.Publish{Topic: topic, Payload: "m"})
		c.Take(topic, "m")
	}
}

// namesAreComparedAsTheyAre: no case is folded, nothing is normalised or left out.
func namesAreComparedAsTheyAre(t *suite.T) {
	base := t.Topic() + "/"
	names := []string{"\u00e9", "e\u0301", "E\u0301", "a", "A", "/a", "a/", "\uff41", "\u212b", "\u00c5", "%61", "a.b", "a*", "\ufeffa"}
	var subs []*suite.Conn
	for _, name := range names {
		c := t.Join()
		c.Subscribe(0, base+name)
		subs = append(subs, c)
	}
	pub := t.Join()
	for _, name := range names {
		pub.Publish(wire.Publish{Topic: base + name, Payload: name, QoS: 1})
	}
	for i, name := range names {
		subs[i].Take(base+name, name)
		subs[i].Ping()
	}
}

// emptyLevelsAndSpaces are levels and characters like others.
func emptyLevelsAndSpaces(t *suite.T) {
	wantMatches(t, "//", []string{"//"}, []string{"/", "", "///"})
	wantMatches(t, "/a b/+", []string{"/a b/c d", "/a b/ "}, []string{"/ab/c"})
	wantMatches(t, "/a ", []string{"/a "}, []string{"/a", "/ a"})
	wantMatches(t, "/ a", []string{"/ a"}, []string{"/a", "/a "})
	base := t.Topic()
	c, pub := t.Join(), t.Join()
	c.Subscribe(0, "/"+base, "+/"+base+"/x")
	pub.Publish(wire.Publish{Topic: base, Payload: "no", QoS: 1})
	pub.Publish(wire.Publish{Topic: "/" + base, Payload: "first", QoS: 1})
	pub.Publish(wire.Publish{Topic: "/" + base + "/x", Payload: "second", QoS: 1})
	c.Take("/"+base, "first")
	c.Take("/"+base+"/x", "second")
}
