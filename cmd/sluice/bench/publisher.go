//go:build linux

package bench

import (
	"math"

	"sluice/codec"
)

// publisher sends stamped messages over its connection.
type publisher struct {
	c       *conn
	id      uint32
	message message
	seq     uint64 // of the next message
	limit   uint64 // messages to send
	burst   uint64 // wait for room for this many before going on
	running bool
	done    bool

	// At QoS 1 and 2: free packet identifiers in a ring, and what each one in use waits for.
	ids      []uint16
	idHead   int
	idCount  int
	awaiting []codec.PacketType // by identifier; 0 is free
	unacked  int                // messages not fully acknowledged
	rejected uint64
	badAcks  uint64

	// With a rate.
	paced    bool
	start    int64
	interval float64 // nanoseconds between this worker's messages
	index    int     // among the worker's publishers
	stride   int     // how many publishers share the rate
	due      uint64  // messages that may have been sent by now

	// The end-to-end window: no more than window messages beyond what the slowest
	// of the watched subscribers has seen.
	window    uint64
	watch     []*tracker
	any       bool   // the fastest instead, for shared subscriptions
	forgiven  uint64 // taken as seen after a time without progress
	isStalled bool
	seen      uint64
	seenAt    int64
}

// newPublisher prepares a publisher of m as c describes it.
func newPublisher(to *conn, id uint32, m message, c *Config) *publisher {
	p := &publisher{c: to, id: id, message: m, limit: uint64(c.N), burst: uint64(c.Burst)}
	if m.QoS > 0 {
		inflight := min(c.Inflight, 65535)
		p.ids = make([]uint16, inflight)
		for i := range p.ids {
			p.ids[i] = uint16(i + 1)
		}
		p.idCount = inflight
		p.awaiting = make([]codec.PacketType, inflight+1)
	}
	to.pub = p
	return p
}

// begin lets the publisher send. The server's Receive Maximum narrows its window
// [MQTT-3.3.4-7].
func (p *publisher) begin(start int64) {
	p.idCount = min(p.idCount, p.c.ack.receiveMaximum)
	if p.c.w.run.cfg.Alias && !p.message.numbered {
		p.message.TopicAlias = min(1, p.c.ack.aliases)
	}
	p.start = start
	p.seenAt = start
	p.running = true
	if !p.paced {
		p.c.w.markDirty(p.c)
	}
}

// dueAt is when message seq is due, with a rate.
func (p *publisher) dueAt(seq uint64) int64 {
	return p.start + int64(p.interval*(float64(seq)*float64(p.stride)+float64(p.index)))
}

// windowRoom is how many messages the end-to-end window has room for.
func (p *publisher) windowRoom() uint64 {
	if p.window == 0 {
		return math.MaxUint64
	}
	var seen uint64
	for i, t := range p.watch {
		if n := t.next.Load(); i == 0 || p.any && n > seen || !p.any && n < seen {
			seen = n
		}
	}
	now := p.c.w.now
	if seen > p.seen {
		p.seen, p.seenAt = seen, now
	} else if now-p.seenAt > 1e9 && p.seq-max(seen, p.forgiven) >= p.window {
		p.forgiven, p.seenAt = p.seq, now // lost, it seems
	}
	unseen := p.seq - max(seen, p.forgiven)
	if unseen >= p.window {
		return 0
	}
	return p.window - unseen
}

// stall makes the worker look for room in the window from now on.
func (p *publisher) stall() {
	if !p.isStalled {
		p.isStalled = true
		p.c.w.stalled = append(p.c.w.stalled, p)
	}
}

// enough reports whether n messages are worth a write: a whole burst, or all that
// is left.
func (p *publisher) enough(n uint64) bool {
	return n > 0 && (p.paced || n >= p.burst || n >= p.limit-p.seq)
}

// room is how many messages may be sent now.
func (p *publisher) room() uint64 {
	n := p.limit - min(p.seq, p.limit)
	if p.paced {
		n = min(n, p.due-p.seq)
	}
	if p.message.QoS > 0 {
		n = min(n, uint64(p.idCount))
	}
	if n > 0 && p.window > 0 {
		n = min(n, p.windowRoom())
		if !p.enough(n) {
			p.stall()
		}
	}
	return n
}

// pump encodes and sends as many messages as are allowed now.
func (p *publisher) pump() {
	c := p.c
	if !c.flush() {
		return // goes on when the socket takes bytes again
	}
	n := p.room()
	if !p.enough(n) {
		p.finish()
		return
	}
	chunk := min(n, uint64(max(1, chunkBytes/p.message.size)))
	p.encode(chunk)
	if !c.flush() {
		return
	}
	switch {
	case n > chunk:
		c.w.markDirty(c)
	case p.window > 0 && p.seq < p.limit:
		p.stall()
	default:
		p.finish()
	}
}

// encode appends n messages to what is to be sent.
func (p *publisher) encode(n uint64) {
	c, w := p.c, p.c.w
	now := w.run.clock()
	for range n {
		s := stamp{run: w.run.id, pub: p.id, seq: p.seq, nano: now}
		if p.paced {
			s.nano = p.dueAt(p.seq)
			w.lag.add(now - s.nano)
		}
		var id uint16
		if p.message.QoS > 0 {
			id = p.takeID()
		}
		c.out = p.message.append(c.out, c.connect.Version, id, s)
		p.seq++
	}
	w.sent += n
	w.lastSend = now
}

// takeID takes a free packet identifier for a message about to be sent.
func (p *publisher) takeID() uint16 {
	id := p.ids[p.idHead]
	if p.idHead++; p.idHead == len(p.ids) {
		p.idHead = 0
	}
	p.idCount--
	p.unacked++
	p.awaiting[id] = codec.TypePuback
	if p.message.QoS == 2 {
		p.awaiting[id] = codec.TypePubrec
	}
	return id
}

// finish marks the publisher as done when all is sent and acknowledged.
func (p *publisher) finish() {
	if p.seq >= p.limit && p.unacked == 0 {
		p.abandon()
	}
}

// abandon ends the publisher: all is done, or its connection broke.
func (p *publisher) abandon() {
	p.running = false
	if !p.done {
		p.done = true
		p.c.w.pubsDone++
	}
}

// acked takes a PUBACK, PUBREC or PUBCOMP.
func (p *publisher) acked(t codec.PacketType, id uint16, failed bool) {
	if int(id) >= len(p.awaiting) || p.awaiting[id] != t {
		p.badAcks++
		return
	}
	if failed {
		p.rejected++
	} else if t == codec.TypePubrec {
		p.awaiting[id] = codec.TypePubcomp
		p.c.out = (&codec.Pubrel{ID: id}).Append(p.c.out, p.c.connect.Version)
		return
	}
	p.awaiting[id] = 0
	at := p.idHead + p.idCount
	if at >= len(p.ids) {
		at -= len(p.ids)
	}
	p.ids[at] = id
	p.idCount++
	p.unacked--
	p.c.w.markDirty(p.c)
}
