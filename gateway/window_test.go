package gateway

import (
	"math/rand/v2"
	"testing"
)

// The window against a map of phases by packet identifier, over several rounds of the
// identifiers, with acknowledgements in any order.
func TestWindowAgainstAMap(t *testing.T) {
	for _, c := range []struct {
		start  uint64
		spread int // at most in flight
	}{{1, 1}, {1, 20}, {maxID - 35, 100}, {2*maxID - 1, 7}, {1<<32 - 40, 300}, {4*maxID - 10, maxSpan}} {
		r := rand.New(rand.NewPCG(c.start, uint64(c.spread)))
		w := window{first: c.start, sent: c.start, past: c.start}
		open := make(map[uint16]uint64) // what the other side has: identifier → sequence number
		var ids []uint16
		oldest := c.start
		for range 100_000 + 3*c.spread {
			grow := len(ids) < c.spread && int(w.sent-w.first) < maxSpan && r.IntN(5) > 1
			if grow || len(ids) == 0 {
				seq := w.sent
				id := packetID(seq)
				if _, used := open[id]; used || id == 0 {
					t.Fatalf("identifier %d of %d is in use", id, seq)
				}
				*w.at(seq) = flight{phase: sent, qos: 1}
				w.sent++
				w.past = max(w.past, w.sent)
				open[id] = seq
				ids = append(ids, id)
				continue
			}
			i := 0 // mostly the oldest, as most clients do
			if r.IntN(3) == 0 {
				i = r.IntN(len(ids))
			}
			id := ids[i]
			ids = append(ids[:i], ids[i+1:]...)
			seq, ok := w.seqOf(id, maxID)
			if !ok || seq != open[id] || w.phaseOf(seq) != sent {
				t.Fatalf("identifier %d is taken for %d (%v, phase %d), it is %d", id, seq, ok, w.phaseOf(seq), open[id])
			}
			delete(open, id)
			w.finish(seq)
			if again, ok := w.seqOf(id, maxID); ok && w.phaseOf(again) == sent && open[id] != again {
				t.Fatalf("identifier %d is still in flight", id)
			}
			for ; oldest < w.sent; oldest++ {
				if at, used := open[packetID(oldest)]; used && at == oldest {
					break
				}
			}
			if w.first != oldest {
				t.Fatalf("the window begins at %d, the oldest in flight is %d", w.first, oldest)
			}
		}
		for _, id := range ids {
			if seq, ok := w.seqOf(id, maxID); !ok || seq != open[id] {
				t.Fatalf("identifier %d is taken for %d, it is %d", id, seq, open[id])
			}
			w.finish(open[id])
		}
		if w.first != w.sent || len(w.ring) > keptRing {
			t.Errorf("nothing is in flight, and the window is %d to %d with room for %d", w.first, w.sent, len(w.ring))
		}
		for _, id := range []uint16{0, liveID, liveID + packetID(w.sent-1), packetID(w.sent), packetID(w.sent + 100)} {
			if seq, ok := w.seqOf(id, maxID); ok {
				t.Errorf("identifier %d is taken for %d, nothing is in flight", id, seq)
			}
		}
	}
}

// A window that is full stays full until its oldest is done, however many others are.
func TestWindowSpanIsBounded(t *testing.T) {
	inBubble(t, Config{MaxInflight: 65535}, func(at *site) {
		p := at.join("p", versions[2])
		s := at.srv
		s.mu.Lock()
		defer s.mu.Unlock()
		to := p.at.srv.sessions["p"]
		pub := publication{Message: message("a", "", 1, 0).Message}
		w := want{qos: 1}
		to.deliver(&pub, &w)
		first := to.window.first
		for range 2 * maxSpan {
			seq := to.window.sent
			to.deliver(&pub, &w)
			if to.window.sent > seq {
				to.acknowledged(packetID(seq), 0)
			}
		}
		if got := to.window.sent - first; got != maxSpan {
			t.Fatalf("%d numbers in use with the oldest open, want %d", got, maxSpan)
		}
		to.acknowledged(packetID(first), 0)
		if to.window.sent-first <= maxSpan {
			t.Error("it does not go on once the oldest is done")
		}
	})
}

// Bursts leave no garbage, of whatever size.
func TestBurstsAllocateNothing(t *testing.T) {
	if raced() {
		t.Skip("built with the race detector")
	}
	for _, burst := range []uint64{1, 64, 100, 512, maxSpan} {
		w := window{first: 1, sent: 1, past: 1}
		if n := testing.AllocsPerRun(100, func() {
			for range burst {
				*w.at(w.sent) = flight{phase: sent}
				w.sent++
			}
			for w.first < w.sent {
				w.finish(w.first)
			}
		}); n >= 1 {
			t.Errorf("a burst of %d allocates %v times", burst, n)
		}
	}
}

// The identifiers of a live lane are no others', and leave some to the bridge, for SUBSCRIBE.
func TestLiveIdentifiers(t *testing.T) {
	to := &session{live: new(live)}
	l := &to.live.lane
	for _, seq := range []uint64{1, maxLiveID - 1, maxLiveID, maxLiveID + 1, maxID, 5*maxID + 7, 1 << 40} {
		l.window = window{first: seq - min(seq-1, maxSpan-1), sent: seq + 1, past: seq + 1}
		id := to.packetID(l, seq)
		if id <= liveID || id > 1<<16-1-1024 {
			t.Errorf("%d has the identifier %d", seq, id)
		}
		if of, at, _ := to.inFlight(id); of != l || at != seq {
			t.Errorf("identifier %d is taken for %d, it is %d", id, at, seq)
		}
		if _, _, p := to.inFlight(1<<16 - 1); p != idle {
			t.Errorf("a bridge's own identifier is in phase %d", p)
		}
	}
}
