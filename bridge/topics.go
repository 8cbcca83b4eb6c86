package bridge

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"

	"sluice/codec"
)

// A Fault is what is wrong with the topics of a bridge, and what to write instead.
type Fault struct {
	Bridge int    // its index
	Way    string // "up" or "down"
	Text   string
}

// CheckTopics finds rules that make no sense, never get their turn, have no way back
// for responses, or send messages round in circles, in one bridge or through several
// of one gateway.
func CheckTopics(bridges []Config) (faults []Fault) {
	for i := range bridges {
		for _, way := range []string{"up", "down"} {
			for _, text := range bridges[i].topicFaults(way) {
				faults = append(faults, Fault{i, way, text})
			}
		}
	}
	if len(faults) > 0 {
		return faults
	}
	return circles(bridges)
}

// rules are what the bridge carries one way, and under which prefix.
func (cfg *Config) rules(way string) (rules []Rule, prefix string) {
	if way == "up" {
		return cfg.Up, cfg.UpPrefix
	}
	return cfg.Down, cfg.DownPrefix
}

func (cfg *Config) topicFaults(way string) (texts []string) {
	rules, _ := cfg.rules(way)
	fault := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	for i, r := range rules {
		if err := r.check(); err != nil {
			fault("%v", err)
			continue
		}
		if r.EndToEnd && way == "down" {
			fault("%s: ack=upstream is for topics that go up", r.Filter)
		}
		if r.Batch > 0 && way == "down" {
			fault("%s: batch=%v is for topics that go up", r.Filter, r.Batch)
		}
		_, _, shared := codec.SplitShare([]byte(r.Filter))
		if shared && way == "up" {
			fault("%s: $share is for topics that come down", r.Filter)
		}
		for _, before := range rules[:i] {
			asks := way == "down" && before.To == r.To && before.Retain == r.Retain // for a subscription, with its QoS or group
			if before.check() == nil && codec.Covers(string(before.filter()), string(r.filter()), nil) && !asks {
				fault("%s never gets its turn, since %s before it matches all that it does: write it in front", r.Filter, before.Filter)
				break
			}
		}
		if n := r.unused(); n > 0 && len(cfg.Up) > 0 && len(cfg.Down) > 0 && cfg.Version != codec.V311 { // which has no response topics
			fault("%s -> %s leaves out $%d, so a response topic has no way back through it: use each wildcard, "+
				"or carry this in a bridge of its own that has rules one way only", r.Filter, r.To, n)
		}
		if shared && way == "down" {
			for _, up := range cfg.Up {
				if up.check() == nil && overlap(up.output(cfg.UpPrefix), r.filter()) {
					fault("%s brings down again what %s sends up, as No Local is not for shared subscriptions: leave $share out, or let the topics differ", r.Filter, up.Filter)
				}
			}
		}
	}
	return texts
}

// A step is a rule as a part of a way that messages take.
type step struct {
	bridge, rule int
	way          string
	in, out      []byte // filters for the topics before and after
}

// circles finds the ways that lead from a rule back to it: up with one bridge, down
// with another from the same server, and so on. Within one bridge there is none: the
// gateway does not give it back what it brought (No Local), and what it sent up does
// not come down. Whether two URLs lead to one cluster nobody can know here: for that
// there is the count of hops.
func circles(bridges []Config) (faults []Fault) {
	var steps []step
	for i := range bridges {
		for _, way := range []string{"up", "down"} {
			rules, prefix := bridges[i].rules(way)
			for j, r := range rules {
				steps = append(steps, step{i, j, way, r.filter(), r.output(prefix)})
			}
		}
	}
	follows := func(a, b *step) bool {
		return a.bridge != b.bridge && a.way != b.way && overlap(a.out, b.in) &&
			(a.way == "down" || sameServer(&bridges[a.bridge], &bridges[b.bridge]))
	}
	for i := range steps {
		if steps[i].way != "down" { // each circle has one
			continue
		}
		if back := wayBack(steps, i, follows); back >= 0 {
			down, up := &steps[i], &steps[back]
			faults = append(faults, Fault{down.bridge, "down", fmt.Sprintf(
				"%s comes down to where bridge %q sends it up again, round and round: let the topics differ, or give one of the two the other's rules",
				bridges[down.bridge].Down[down.rule].Filter, bridges[up.bridge].Name)})
		}
	}
	return faults
}

// wayBack returns the last step of a way that leads from a step back to it, -1 if
// there is none.
func wayBack(steps []step, from int, follows func(a, b *step) bool) int {
	seen := make([]bool, len(steps))
	for next := []int{from}; len(next) > 0; {
		at := next[0]
		next = next[1:]
		for i := range steps {
			if !follows(&steps[at], &steps[i]) {
				continue
			}
			if i == from {
				return at
			}
			if !seen[i] {
				seen[i] = true
				next = append(next, i)
			}
		}
	}
	return -1
}

// sameServer reports whether two bridges may lead to one server for all that can be
// seen: the same host, and the same port or each scheme's own.
func sameServer(a, b *Config) bool {
	for _, u := range a.urls() {
		for _, v := range b.urls() {
			if u != nil && v != nil && sameAddress(u, v) {
				return true
			}
		}
	}
	return false
}

func sameAddress(u, v *url.URL) bool {
	usual := func(u *url.URL) bool { return u.Port() == "" || u.Port() == defaultPort[u.Scheme] }
	return u.Hostname() == v.Hostname() && (u.Port() == v.Port() || usual(u) && usual(v))
}

// A Passage is what becomes of a message on its way through a bridge.
type Passage struct {
	Rule   string `json:"rule,omitempty"`  // that counts; empty: none matches
	Topic  string `json:"topic,omitempty"` // on the other side; empty: it is not carried
	QoS    byte   `json:"qos"`             // the highest
	Retain string `json:"retain"`          // "as published", "on", "off"
	Why    string `json:"why"`             // or why not
}

// Explain says what becomes of messages on a topic, which is valid, that the bridge
// hears of in the gateway ("up") or at the upstream ("down").
func (cfg *Config) Explain(way, topic string) Passage {
	rules, prefix := cfg.rules(way)
	n := newNames(rules, prefix)
	m := newNamer(n, n)
	name, rule := m.name([]byte(topic))
	switch {
	case len(rules) == 0:
		return Passage{Why: "the bridge carries nothing " + way}
	case rule == nil:
		why := "no rule matches"
		if topic[0] == '$' {
			why += "; + and # do not match topics that begin with $"
		}
		return Passage{Why: why}
	}
	p := Passage{Rule: rule.String(), Topic: string(name), QoS: rule.QoS, Retain: [...]string{"as published", "off", "on"}[rule.Retain], Why: "the first rule that matches"}
	switch {
	case len(name) == 0:
		p.Why = "the rule leaves nothing of the topic"
	case len(name) > maxTopic:
		p.Topic, p.Why = "", fmt.Sprintf("the name would be longer than %d bytes", maxTopic)
	case way == "up" && !cfg.takesTopic(name):
		p.Topic, p.Why = "", "the name would be longer, or have more levels, than the upstream takes"
	case way == "up" && cfg.endToEnd(topic):
		p.Why += "; its publisher's acknowledgement waits for the upstream's"
	}
	return p
}

// takesTopic reports whether a topic is not more than the upstream takes.
func (cfg *Config) takesTopic(name []byte) bool {
	return (cfg.MaxTopic == 0 || len(name) <= cfg.MaxTopic) &&
		(cfg.MaxLevels == 0 || bytes.Count(name, []byte{'/'}) < cfg.MaxLevels)
}

// endToEnd reports whether a publisher to topic waits for the upstream.
func (cfg *Config) endToEnd(topic string) bool {
	return slices.ContainsFunc(cfg.Up, func(r Rule) bool { return r.EndToEnd && codec.Match(r.filter(), []byte(topic)) })
}
