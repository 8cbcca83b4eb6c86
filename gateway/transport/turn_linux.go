package transport

import "time"

// Who brings much, or is to be sent much, waits for a turn, and there are few turns in a
// round: so those who bring and take little, most sensors, never wait long, whatever the
// others do.
const (
	// turnTime is about how long the writers' turns of a round take together.
	turnTime = 50 * time.Microsecond

	// readTurns is how many of the readers have turns in a round, of some 50 us each.
	readTurns = 4

	// writeSize is what one connection is sent in a turn.
	writeSize = 128 << 10

	// bulk is more than little, in bytes: who brings it is read in turns from then on, and
	// output of so much has a turn of its own.
	bulk = 16 << 10

	// often is when a connection counts as sent much: if the last write was no longer ago.
	// While others have turns to read, it gets the next no sooner, and more with it.
	often = time.Millisecond

	// maxHeld is how many rounds in a row readers wait for writers.
	maxHeld = 15
)

// line is connections that wait, in the order they came. They are marked as queued, so
// that next is theirs.
type line struct{ first, last *polled }

func (w *line) push(c *polled) {
	c.next = nil
	if w.first == nil {
		w.first = c
	} else {
		w.last.next = c
	}
	w.last = c
}

// pop returns nil if nobody waits.
func (w *line) pop() *polled {
	c := w.first
	if c != nil {
		w.first, c.next = c.next, nil
	}
	return c
}

// postpone has c, which came off the dirty list, wait for a turn if it is to, and says so.
func (l *loop) postpone(c *polled) bool {
	if !c.live() {
		return false
	}
	c.mu.Lock()
	again := c.again && !c.paused && !c.closing
	c.mu.Unlock()
	switch {
	case again && c.in != nil: // else it was paused, or in the handshake of TLS, and brings little
		c.heavy = true
		l.readers.push(c)
	case c.readable:
		l.readers.push(c)
	case c.Pending() > 0 && (!l.due(c) || c.Pending() > bulk):
		l.writers.push(c)
	default:
		return false
	}
	return true
}

// live says whether l reads from c and writes to it: neither is its handshake still to be done,
// nor has it ended.
func (c *polled) live() bool { return c.entered && !c.lent() && c.fd >= 0 && !c.draining }

// pass ends the turn of somebody who brings much. If as much lies ready now for whoever was
// written to last, it is sent: later it would have to come back into the processor's cache.
// That one keeps its place on the dirty list.
func (l *loop) pass() {
	if c := l.dirty.Load(); c != nil && c.live() && c.Pending() > bulk {
		l.flush(c)
	}
}

// due says whether the last write to c was so long ago that the next need not wait.
func (l *loop) due(c *polled) bool { return l.now-c.written >= uint32(often/time.Microsecond) }

// tick sets the loop's clock, of microseconds, which begin again after an hour.
func (l *loop) tick() time.Time {
	now := time.Now()
	l.now = uint32(now.Sub(l.began) / time.Microsecond)
	return now
}

// inLine says whether anybody waits for a turn.
func (l *loop) inLine() bool { return l.readers.first != nil || l.writers.first != nil }

// serve gives writers as many turns as there is time for, and a few of the readers one: but
// not while there are writers with bulk, as what readers bring would pile up and be lost.
// They wait for a number of rounds at most, as others may send to those writers as well.
func (l *loop) serve() {
	until := l.tick().Add(turnTime)
	for c := l.writers.first; c != nil && (l.readers.first == nil || l.due(c) || c.Pending() > bulk); c = l.writers.first {
		l.writers.pop()
		l.attend(c)
		if !time.Now().Before(until) {
			break
		}
	}
	if c := l.writers.first; c != nil && c.Pending() > bulk && l.held < maxHeld {
		l.held++
		return
	}
	l.held = 0
	for n := 0; n < readTurns && l.readers.first != nil; n++ {
		l.attend(l.readers.pop())
	}
}
