package bridge

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"sluice/codec"
)

var (
	errSilent = errors.New("nothing heard for one and a half keep alives")
	errNoPong = errors.New("PINGREQ not answered for one and a half keep alives")
	errNoAck  = errors.New("no acknowledgement, and nothing else heard, for the acknowledgement time-out")
)

// looks is how often the watch looks, within one acknowledgement time-out,
// whether what is to be acknowledged still drains.
const looks = 8

// watch keeps the connection to the upstream alive, and finds out when it is
// dead. It sends PINGREQ when nothing went for as long as silence may last, and
// also when nothing came: a line that takes everything may lead nowhere.
//
// Dead is an upstream of which nothing is heard for an acknowledgement time-out
// while it owes an answer, or for twice the silence. Output that still drains,
// as a large message on a slow line does, is as good as a word.
func (l *link) watch(ctx context.Context) error {
	w := l.up.wire
	var drain drain
	var asked time.Duration // when PINGREQ was sent that is not yet answered; 0: none
	for {
		if l.up.auto {
			l.up.server.quiet.survived(w.survived())
		}
		silence := l.up.silence()
		dead := 2 * silence
		now := time.Since(w.start)
		heard, said := time.Duration(w.heard.Load()), time.Duration(w.said.Load())
		alive := max(heard, drain.look(w, now))
		owes, since := l.owed.pending()
		if asked != 0 && (!owes || asked < since) {
			owes, since = true, asked
		}
		patience := max(alive, since) + l.cfg.AckTimeout
		switch {
		case owes && now >= patience:
			return errNoAck
		case now >= alive+dead:
			return errSilent
		case asked != 0 && now >= max(asked, drain.moved)+dead:
			return errNoPong
		case asked == 0 && (now >= min(heard, said)+silence || owes && now >= patience-l.cfg.AckTimeout/2):
			w.send((&codec.Pingreq{}).Append(nil, w.version))
			asked = now
			continue
		}
		next := alive + dead
		switch {
		case asked != 0:
			next = min(next, max(asked, drain.moved)+dead, patience, now+l.cfg.AckTimeout/looks)
		case owes:
			next = min(next, min(heard, said)+silence, patience-l.cfg.AckTimeout/2, now+l.cfg.AckTimeout/looks)
		default:
			next = min(next, min(heard, said)+silence)
			if !l.owed.sleep() { // something was sent meanwhile
				continue
			}
		}
		select {
		case <-time.After(next - now):
		case <-l.owed.wake:
		case <-l.pong:
			asked = 0
		case <-ctx.Done():
			return nil
		}
	}
}

// silence is how long nothing may be said or heard before the upstream is asked.
// Three quarters of the keep alive are in time also on a slow line [MQTT-3.1.2-20].
func (up *upstream) silence() time.Duration {
	longest := up.keepAlive * 3 / 4
	if up.auto {
		return up.server.quiet.next(time.Now(), longest)
	}
	return longest
}

// owed counts the packets that the upstream has to answer.
type owed struct {
	asked, answered atomic.Uint32 // begin anew after 2^32; of 32 bits, as 64 at once are dear on small ARMs
	since           atomic.Int64  // when the first was sent of those that are not answered, in nanoseconds since the wire's start
	asleep          atomic.Bool   // whether the watch wants to be woken
	wake            chan struct{} // with room for one
}

// ask counts a packet on its way.
func (o *owed) ask(w *wire) {
	if o.count() <= 0 {
		o.since.Store(int64(time.Since(w.start)))
	}
	o.asked.Add(1)
	if o.asleep.Load() && o.asleep.CompareAndSwap(true, false) {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
}

// answer counts an answer, unless nothing was asked: one too many is not for what is asked
// later. Only the down loop calls it.
func (o *owed) answer() {
	if o.count() > 0 {
		o.answered.Add(1)
	}
}

// count is how many answers are owed.
func (o *owed) count() int { return int(int32(o.asked.Load() - o.answered.Load())) }

func (o *owed) pending() (yes bool, since time.Duration) {
	return o.count() > 0, time.Duration(o.since.Load())
}

// sleep arranges for the watch to be woken by the next ask, and returns false if
// that has been already.
func (o *owed) sleep() bool {
	o.asleep.Store(true)
	yes, _ := o.pending()
	return !yes
}

// A drain sees whether output moves on.
type drain struct {
	delivered int64 // bytes, at the last look
	pending   bool  // there were more then
	moved     time.Duration
}

// look returns when output was last seen to be taken with more still to go.
func (d *drain) look(w *wire, now time.Duration) time.Duration {
	delivered, pending := w.delivered()
	if d.pending && pending && delivered > d.delivered {
		d.moved = now
	}
	d.delivered, d.pending = delivered, pending
	return d.moved
}
