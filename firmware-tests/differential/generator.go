package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"sluice/firmware-tests/wire"
)

var (
	topics  = []string{"a", "a/x", "a/y", "b/x", "b", "a/", "a/x/z", "grp/x"}
	filters = []string{"a", "a/x", "a/+", "a/#", "+/x", "#", "b/#", "+", "+/+", "+/x/#", "will/+", "will/bob", "a/x/z", "b/x"}
	groups  = []string{"$share/one/grp/x", "$share/two/grp/#"}
)

// generate makes the conversation of a seed. timed ones wait in between.
func generate(seed uint64, timed bool) *Conversation {
	g := generator{Rand: rand.New(rand.NewPCG(seed, 0)), timed: timed}
	c := &Conversation{Seed: seed}
	for range 2 + g.IntN(3) {
		c.Versions = append(c.Versions, pick(g, wire.V311, wire.V5, wire.V5))
	}
	g.versions = c.Versions
	g.topics, g.filters = g.some(topics), g.some(filters)
	st := newState(c)
	if timed {
		g.add(c, st, connect{who: 0, expiry: never})
		g.add(c, st, subscribe{who: 0, filters: []filter{{name: "#", qos: 1 + byte(g.IntN(2))}}})
	}
	if g.one(6) && c.Versions[0] == wire.V5 { // more than a window holds
		g.add(c, st, connect{who: 1, expiry: never})
		g.add(c, st, connect{who: 0, expiry: never, receiveMax: 1 + uint16(g.IntN(3))})
		g.add(c, st, subscribe{who: 0, filters: []filter{{name: "a/x", qos: 2}}})
		g.add(c, st, hold{0, pick(g, first, second)})
		for range 5 {
			g.add(c, st, publish{who: 1, topic: "a/x", payload: g.payload(), qos: 1 + byte(g.IntN(2))})
		}
	}
	for want := 8 + g.IntN(30); len(c.Steps) < want; {
		g.add(c, st, g.step())
	}
	if timed {
		g.add(c, st, hold{0, nothing})
		g.add(c, st, drop{0})
		for range 4 {
			g.add(c, st, g.publish(1, c.Versions[1] == wire.V5))
		}
		g.add(c, st, wait{})
		for who := range c.Versions { // what has grown old meanwhile
			g.add(c, st, connect{who: who, expiry: never})
			g.add(c, st, subscribe{who: who, filters: []filter{{name: "#", qos: 1}}})
		}
		for range 8 {
			g.add(c, st, g.step())
		}
	}
	for who := range c.Versions { // what waits for whom, in the end
		g.add(c, st, hold{who, nothing})
		g.add(c, st, connect{who: who, expiry: never})
	}
	return c
}

type generator struct {
	*rand.Rand
	versions []byte
	topics   []string // few of them, so that they meet
	filters  []string
	timed    bool
	made     int // payloads
}

// add takes a step if it may be taken.
func (g *generator) add(c *Conversation, st *state, s step) {
	if s.take(st) {
		c.Steps = append(c.Steps, s)
	}
}

// some are two to five of them.
func (g *generator) some(names []string) (some []string) {
	for _, i := range g.Perm(len(names))[:2+g.IntN(4)] {
		some = append(some, names[i])
	}
	return some
}

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// one is true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

// step proposes one.
func (g *generator) step() step {
	who := g.IntN(len(g.versions))
	v5 := g.versions[who] == wire.V5
	switch n := g.IntN(100); {
	case n < 16:
		return g.connect(who, v5)
	case n < 34:
		return g.subscribe(who, v5)
	case n < 38:
		return unsubscribe{who, []string{pick(*g, groups...), pick(*g, g.filters...)}}
	case n < 80:
		return g.publish(who, v5)
	case n < 87:
		return hold{who, pick(*g, nothing, first, first, second)}
	case n < 90:
		return acknowledge{who, g.one(2)}
	case n < 94:
		return leave{who, v5 && g.one(3), v5 && g.one(4)}
	}
	return drop{who}
}

// interval is long, or short where somebody will wait for it.
func (g *generator) interval() uint32 {
	if g.timed && g.one(2) {
		return short
	}
	return long
}

func (g *generator) connect(who int, v5 bool) step {
	s := connect{who: who, clean: g.one(3)}
	if !g.one(3) {
		s.will = &will{payload: g.payload(), qos: byte(g.IntN(3)), retain: g.one(3)}
	}
	if !v5 {
		if !s.clean {
			s.expiry = never
		}
		return s
	}
	if !g.one(4) {
		s.expiry = pick(*g, g.interval(), never)
	}
	if g.one(3) {
		s.receiveMax = 1 + uint16(g.IntN(3))
	}
	if g.one(3) {
		s.aliasMax = 1 + uint16(g.IntN(3))
	}
	if g.one(6) {
		s.maxPacket = 300
	}
	if s.will != nil {
		s.will.decor = g.decor()
		if g.one(2) {
			s.will.delay = pick(*g, long, g.interval())
		}
	}
	return s
}

func (g *generator) decor() (d decor) {
	if g.one(4) || g.timed && g.one(2) {
		d.expiry = g.interval()
	}
	d.properties = g.one(4)
	return d
}

// payload is a new one, as a rule.
func (g *generator) payload() string {
	g.made++
	switch {
	case g.one(8):
		return ""
	case g.one(12):
		return fmt.Sprint("big", g.made, strings.Repeat(".", 400))
	}
	return fmt.Sprint("m", g.made)
}

func (g *generator) subscribe(who int, v5 bool) step {
	s := subscribe{who: who}
	if v5 && g.one(2) {
		s.id = 1 + uint32(g.IntN(300))
	}
	for range 1 + g.IntN(2) {
		f := filter{name: pick(*g, g.filters...), qos: byte(g.IntN(3))}
		if g.one(6) {
			f.name = pick(*g, groups...)
		}
		if v5 {
			f.noLocal = g.one(4) && !shared(f.name) // [MQTT-3.8.3-4]
			f.asRetain = g.one(3)
			f.handling = pick[byte](*g, 0, 0, 1, 2)
		}
		s.filters = append(s.filters, f)
	}
	return s
}

func (g *generator) publish(who int, v5 bool) step {
	s := publish{who: who, topic: pick(*g, g.topics...), payload: g.payload(), qos: byte(g.IntN(3)), retain: g.one(3)}
	s.again = g.one(6)
	if v5 {
		s.decor = g.decor()
		if g.one(3) {
			s.alias, s.bare = 1+uint16(g.IntN(2)), g.one(2)
		}
	}
	return s
}
