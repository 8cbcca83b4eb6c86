package bridge

import (
	"cmp"
	"slices"
	"time"

	"sluice/codec"
)

// A pace finds how many messages at QoS 1 and 2 to have under way to the upstream: as
// many as fill the line, and few more. What is beyond that waits on the way, where
// messages that come later can not pass it, rather than in the gateway's queue.
//
// Of the messages in each round trip one is timed until it is acknowledged, at QoS 2 by
// PUBREC. Those under way with it, divided by its latency, are what the line carries; and
// the shortest latency seen is that of the line with nothing waiting. The window is what
// the line carries in twice that, and in latencySlack more. With less than twice, a
// line would be empty at times: acknowledgements come in clumps, and a line has its moods.
//
// A path may become longer, and then its latency looks like that of a queue, and the
// window shrinks. But if with a quarter under way the latency is what it was, or there is
// nothing to wait for, it is that of the line. One that becomes shorter shows when less is
// under way; until then no more waits than before.
//
// The zero value is not for use. Guarded by link.mu.
type pace struct {
	least, most int // that window may be
	window      int // messages that may be under way
	flying      int // messages under way

	base  time.Duration // the latency of the line with nothing waiting; 0: not known yet
	late  late
	probe probe
}

// A probe is the message that is timed.
type probe struct {
	id     uint16 // 0: there is none
	sent   time.Duration
	flying int // messages under way with it
}

// A late is the first of the probes that come back late, one after the other.
type late struct {
	flying  int // 0: the last one did not
	latency time.Duration
}

const (
	firstWindow = 100
	maxWindow   = 16384 // the gateway gives no more identifiers away

	// latencySlack is for short lines: a large step costs both ends less than many small
	// ones, and a server that has other things to do for a moment is no longer line.
	latencySlack = 20 * time.Millisecond

	// alone is how many messages under way do not wait for one another.
	alone = 2
)

func newPace(least, most int) pace {
	most = max(1, min(most, maxWindow))
	least = max(1, min(least, most))
	return pace{least: least, most: most, window: min(max(firstWindow, least), most)}
}

// full reports whether the window is what holds messages back, with n under way.
func (p *pace) full(n int) bool { return 4*n >= 3*p.window }

// begin counts a message as under way.
func (p *pace) begin() { p.flying++ }

// end counts n messages as over.
func (p *pace) end(n int) { p.flying = max(0, p.flying-n) }

// sent may time a message, which has begun.
func (p *pace) sent(id uint16, now time.Duration) {
	if p.probe.id == 0 || p.base != 0 && !p.full(p.probe.flying) && p.full(p.flying) {
		p.probe = probe{id, now, p.flying}
	}
}

// acked takes the first acknowledgement of a message.
func (p *pace) acked(id uint16, now time.Duration) {
	if id != p.probe.id {
		return
	}
	n, latency := p.probe.flying, max(now-p.probe.sent, 1)
	p.probe.id = 0
	if n <= alone || 4*n <= p.late.flying && 4*latency >= 3*p.late.latency {
		p.base, p.late = latency, late{}
	}
	if p.base = min(p.base, latency); p.base == 0 {
		p.base = latency
	}
	bound := 2*p.base + latencySlack
	switch {
	case latency <= bound:
		p.late = late{}
	case p.late.flying == 0:
		p.late = late{n, latency}
	}
	window := p.window
	fits := int(min(float64(n)*float64(bound)/float64(latency), maxWindow))
	switch {
	case latency > bound:
		window = min(window, fits)
	case p.full(n):
		window = max(window, min(2*window, fits))
	}
	p.window = max(p.least, min(window, p.most))
}

// What may be under way where nobody says how much: down to a gateway, and up to an
// upstream of MQTT 3.1.1, which knows no Receive Maximum. At QoS 2 some servers have a
// bound all the same: Mosquitto 2.0 has 20 unless it is told, the lowest that is known,
// and with more under way it comes to a standstill.
const (
	ungranted    = 512
	ungrantedTwo = 20
)

// mostUp is how many messages may be under way to an upstream that grants so many; 0: any.
func (cfg *Config) mostUp(v codec.Version, granted uint16) uint16 {
	most := uint16(maxWindow)
	switch {
	case cfg.MaxInflight != 0:
		most = min(most, cfg.MaxInflight)
	case v != codec.V5 && cfg.MaxQoS == 2 && slices.ContainsFunc(cfg.Up, func(r Rule) bool { return r.QoS == 2 }):
		most = ungrantedTwo
	case v != codec.V5:
		most = ungranted
	}
	if granted != 0 {
		most = min(most, granted)
	}
	return most
}

// mostDown is how many messages may be under way from the upstream.
func (cfg *Config) mostDown() uint16 { return cmp.Or(cfg.MaxInflight, ungranted) }

// least is the least window. Batches are made of half of it: they are not to begin small on each link.
func (l *link) least() int {
	if l.batches.packer != nil {
		return ungranted
	}
	return 1
}
