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
	st := newState(c)
	for want := 8 + g.IntN(30); len(c.Steps) < want; {
		if s := g.step(); s.take(st) {
			c.Steps = append(c.Steps, s)
		}
	}
	if timed { // a place in the middle, and then the clients come back
		c.Steps = append(c.Steps, wait{})
		wait{}.take(st)
		for want := len(c.Steps) + 8; len(c.Steps) < want; {
			if s := g.step(); s.take(st) {
				c.Steps = append(c.Steps, s)
			}
		}
	}
	for who := range c.Versions { // what waits for whom, in the end
		for _, s := range []step{hold{who, nothing}, connect{who: who, expiry: never}} {
			if s.take(st) {
				c.Steps = append(c.Steps, s)
			}
		}
	}
	return c
}

type generator struct {
	*rand.Rand
	versions []byte
	timed    bool
	made     int // payloads
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
		return unsubscribe{who, []string{pick(*g, append(groups, filters...)...), pick(*g, filters...)}}
	case n < 80:
		return g.publish(who, v5)
	case n < 86:
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
	if g.one(5) {
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
	if g.one(4) {
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
		f := filter{name: pick(*g, filters...), qos: byte(g.IntN(3))}
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
	s := publish{who: who, topic: pick(*g, topics...), payload: g.payload(), qos: byte(g.IntN(3)), retain: g.one(3)}
	s.again = g.one(6)
	if v5 {
		s.decor = g.decor()
		if g.one(3) {
			s.alias, s.bare = 1+uint16(g.IntN(2)), g.one(2)
		}
	}
	return s
}
