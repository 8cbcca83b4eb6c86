package bridge

import (
	"bytes"

	"sluice/codec"
)

// names are what a bridge carries one way, compiled: which rule counts for a topic,
// what the topic is called on the other side, and back. It is not changed once made.
type names struct {
	prefix    []byte
	rules     []naming
	wildcards int // most of a rule
}

// A naming is one rule, ready for use.
type naming struct {
	Rule
	filter    []byte  // without $share/group/
	wildcards int     // of filter
	many      bool    // the last of them is #
	to        []level // nil: the prefix and the topic
}

func newNames(rules []Rule, prefix string) *names {
	n := &names{prefix: []byte(prefix)}
	for _, r := range rules {
		one := naming{Rule: r, filter: r.filter()}
		if r.To != "" {
			one.to = parseLevels(r.To)
		}
		one.wildcards, one.many = wildcardsOf(one.filter)
		n.wildcards = max(n.wildcards, one.wildcards)
		n.rules = append(n.rules, one)
	}
	return n
}

// A namer makes names for one loop, in buffers of its own: what it returns is valid
// until the next call of the same method.
type namer struct {
	forth *names // of the messages that the loop carries
	back  *names // of those that come the other way

	captures     [][]byte
	topic, guess []byte
	response     []byte
}

func newNamer(forth, back *names) *namer {
	return &namer{forth: forth, back: back, captures: make([][]byte, max(forth.wildcards, back.wildcards))}
}

// name returns what a topic is called on the other side, and the rule that says so;
// nil if there is none, as for what waits since a filter was taken out: then the
// prefix alone does. The name is empty if the rule leaves nothing of the topic.
func (n *namer) name(topic []byte) (name []byte, rule *naming) {
	n.topic, rule = n.forth.appendName(n.topic[:0], topic, n.captures)
	return n.topic, rule
}

// answer returns the name on the other side of a Response Topic: the topic there whose
// messages come back here as topic. Without one it is false.
func (n *namer) answer(topic []byte) (name []byte, ok bool) {
	for i := range n.back.rules {
		n.response, ok = n.back.appendOrigin(n.response[:0], topic, &n.back.rules[i], n.captures)
		if !ok {
			continue
		}
		var rule *naming // an earlier one may have it otherwise
		if n.guess, rule = n.back.appendName(n.guess[:0], n.response, n.captures); rule != nil && bytes.Equal(n.guess, topic) {
			return n.response, true
		}
	}
	return nil, false
}

// find returns the rule that counts for a topic, nil if there is none.
func (n *names) find(topic []byte) *naming {
	for i := range n.rules {
		if codec.Match(n.rules[i].filter, topic) {
			return &n.rules[i]
		}
	}
	return nil
}

// appendName appends the name of topic to b.
func (n *names) appendName(b, topic []byte, captures [][]byte) ([]byte, *naming) {
	r := n.find(topic)
	if r == nil || r.to == nil {
		return append(append(b, n.prefix...), topic...), r
	}
	capture(r.filter, topic, captures)
	first := true
	for _, l := range r.to {
		part := l.text
		if l.capture > 0 {
			part = captures[l.capture-1]
		}
		b, first = appendLevel(b, first, part)
	}
	return b, r
}

// appendLevel appends a level to a name, or several, or nil for none.
func appendLevel(b []byte, first bool, part []byte) ([]byte, bool) {
	if part == nil {
		return b, first
	}
	if !first {
		b = append(b, '/')
	}
	return append(b, part...), false
}

// capture finds what the wildcards of a filter stand for in a topic that it matches;
// nil for # where there is no level left.
func capture(filter, topic []byte, captures [][]byte) {
	n := 0
	for len(filter) > 0 {
		if string(filter) == "#" {
			captures[n] = topic
			return
		}
		var a, b []byte
		a, filter, _ = bytes.Cut(filter, slash)
		b, topic, _ = bytes.Cut(topic, slash) // nil behind the last level
		if string(a) == "+" {
			captures[n] = b
			n++
		}
	}
}

// appendOrigin appends the topic that r gives this name, if there is one. Where an
// earlier rule takes that topic, it has another name.
func (n *names) appendOrigin(b, name []byte, r *naming, captures [][]byte) ([]byte, bool) {
	if r.to == nil {
		origin, ok := bytes.CutPrefix(name, n.prefix)
		return append(b, origin...), ok && len(origin) > 0
	}
	if !r.read(name, captures) {
		return b, false
	}
	first, wildcard := true, 0
	for filter := r.filter; filter != nil; {
		var part []byte
		part, filter, _ = bytes.Cut(filter, slash)
		if string(part) == "+" || string(part) == "#" {
			part = captures[wildcard]
			wildcard++
		}
		b, first = appendLevel(b, first, part)
	}
	return b, len(b) > 0
}

// read finds in a name what the wildcards of the filter stand for.
func (r *naming) read(name []byte, captures [][]byte) bool {
	clear(captures)
	for _, l := range r.to {
		if r.many && l.capture == r.wildcards { // comes last
			captures[l.capture-1] = name
			return true
		}
		if name == nil {
			return false
		}
		var part []byte
		part, name, _ = bytes.Cut(name, slash)
		want := l.text
		if l.capture > 0 {
			want = captures[l.capture-1] // nil: not seen yet
			captures[l.capture-1] = part
		}
		if want != nil && !bytes.Equal(part, want) {
			return false
		}
	}
	return name == nil
}
