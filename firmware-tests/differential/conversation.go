package differential

import (
	"fmt"
	"slices"
	"strings"

	"sluice/firmware-tests/wire"
)

// Conversation is what a few clients do, in turn. Their names, topics and filters are
// completed by the player, so that many conversations can be held at one broker.
type Conversation struct {
	Seed     uint64
	Versions []byte // of the clients: wire.V311 or wire.V5
	Steps    []step
}

// step is something that one client does, or that time does.
type step interface {
	// take moves s on, if the step is allowed there and its outcome is one that the
	// specifications settle. If not, it is false and s is as before.
	take(s *state) bool
	play(p *player)
	String() string
}

// Intervals in seconds. Whatever has the short one is over after pause, and is not
// before a conversation has gone on for haste.
const (
	short = 2
	long  = 1000
	never = 1<<32 - 1
)

// connect opens a connection. A client that has one already takes its session over.
type connect struct {
	who        int
	clean      bool
	expiry     uint32 // of the session, in seconds; not 0 in 3.1.1 means: not clean
	receiveMax uint16 // 0: not said; so below. MQTT 5.0 only
	aliasMax   uint16
	maxPacket  uint32
	will       *will
}

type will struct {
	payload string
	qos     byte
	retain  bool
	delay   uint32 // seconds
	decor   decor
}

// decor is what MQTT 5.0 adds to a message.
type decor struct {
	expiry     uint32 // seconds; 0: none
	properties bool   // one of each of the others
}

type subscribe struct {
	who     int
	id      uint32 // subscription identifier; 0: none
	filters []filter
}

type filter struct {
	name     string
	qos      byte
	noLocal  bool
	asRetain bool // retain as published
	handling byte // of retained messages
}

type unsubscribe struct {
	who   int
	names []string
}

type publish struct {
	who     int
	topic   string
	payload string
	qos     byte
	retain  bool
	decor   decor
	alias   uint16 // 0: none
	bare    bool   // the alias stands for the topic
	again   bool   // the acknowledgement is lost with the connection: it is sent again on a new one
}

// hold tells a client which acknowledgements to withhold from now on.
type hold struct {
	who  int
	what withheld
}

type withheld byte

const (
	nothing withheld = iota
	first            // PUBACK and PUBREC
	second           // PUBCOMP
)

// acknowledge sends the oldest acknowledgement that was withheld, or all.
type acknowledge struct {
	who int
	all bool
}

// leave is DISCONNECT.
type leave struct {
	who      int
	withWill bool
	end      bool // sets the Session Expiry Interval to 0
}

// drop ends the connection without DISCONNECT.
type drop struct{ who int }

// wait is until all that is short is over.
type wait struct{}

// hurried says whether the conversation has clocks that run out while it goes on.
func (c *Conversation) hurried() bool {
	for _, s := range c.Steps {
		switch s := s.(type) {
		case connect:
			if s.expiry == short || s.will != nil && (s.will.delay == short || s.will.decor.expiry == short) {
				return true
			}
		case publish:
			if s.decor.expiry == short {
				return true
			}
		}
	}
	return false
}

// delays says whether the conversation has wills with the short delay.
func (c *Conversation) delays() bool {
	return slices.ContainsFunc(c.Steps, func(s step) bool {
		connect, is := s.(connect)
		return is && connect.will != nil && connect.will.delay == short
	})
}

// waits says whether the conversation waits.
func (c *Conversation) waits() bool {
	return slices.Contains(c.Steps, step(wait{}))
}

func (c *Conversation) String() string {
	var b strings.Builder
	for who, v := range c.Versions {
		fmt.Fprintf(&b, "    %s speaks MQTT %s\n", name(who), map[byte]string{wire.V311: "3.1.1", wire.V5: "5.0"}[v])
	}
	for i, s := range c.Steps {
		fmt.Fprintf(&b, "%3d %s\n", i, s)
	}
	return b.String()
}

// name is what a client is called.
func name(who int) string { return [...]string{"ann", "bob", "cid", "dot"}[who] }

// phrase joins words and leaves out the empty ones.
func phrase(words ...string) string {
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	return strings.Join(said, " ")
}

// when is text if it holds.
func when(holds bool, format string, args ...any) string {
	if !holds {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func (s connect) String() string {
	text := phrase(name(s.who), "connects", when(s.clean, "clean"), "expiry "+seconds(s.expiry),
		when(s.receiveMax > 0, "receive-maximum %d", s.receiveMax), when(s.aliasMax > 0, "alias-maximum %d", s.aliasMax),
		when(s.maxPacket > 0, "maximum-packet %d", s.maxPacket))
	if w := s.will; w != nil {
		text = phrase(text, fmt.Sprintf("will %.10q to %s QoS %d", w.payload, willTopic(s.who), w.qos), when(w.retain, "retain"),
			when(w.delay > 0, "delay %s", seconds(w.delay)), w.decor.String())
	}
	return text
}

func (d decor) String() string {
	return phrase(when(d.expiry > 0, "expiry %s", seconds(d.expiry)), when(d.properties, "with properties"))
}

func seconds(n uint32) string {
	if n == never {
		return "never"
	}
	return fmt.Sprintf("%ds", n)
}

func (s subscribe) String() string {
	text := phrase(name(s.who), "subscribes", when(s.id > 0, "identifier %d", s.id))
	for _, f := range s.filters {
		text = phrase(text, fmt.Sprintf("%s QoS %d", f.name, f.qos), when(f.noLocal, "no-local"),
			when(f.asRetain, "retain-as-published"), when(f.handling > 0, "retain-handling %d", f.handling)) + ","
	}
	return strings.TrimSuffix(text, ",")
}

func (s unsubscribe) String() string {
	return phrase(name(s.who), "unsubscribes", strings.Join(s.names, ", "))
}

func (s publish) String() string {
	return phrase(name(s.who), fmt.Sprintf("publishes %.10q to %s QoS %d", s.payload, s.topic, s.qos), when(s.retain, "retain"),
		when(len(s.payload) > 10, "(%d bytes)", len(s.payload)), when(s.alias > 0, "alias %d", s.alias), when(s.bare, "alone"),
		s.decor.String(), when(s.again, "and again on a new connection"))
}

func (s hold) String() string {
	return name(s.who) + [...]string{" acknowledges all", " withholds PUBACK and PUBREC", " withholds PUBCOMP"}[s.what]
}

func (s acknowledge) String() string {
	return name(s.who) + " sends " + [...]string{"the oldest acknowledgement", "all acknowledgements"}[btoi(s.all)] + " withheld"
}

func (s leave) String() string {
	return phrase(name(s.who), "disconnects", when(s.withWill, "with will"), when(s.end, "and ends the session"))
}

func (s drop) String() string { return name(s.who) + " is cut off" }

func (wait) String() string { return "time passes: " + pause.String() }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
