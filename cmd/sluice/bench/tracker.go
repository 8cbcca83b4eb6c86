package bench

import (
	"sort"
	"sync/atomic"
)

// tally counts what subscribers see.
type tally struct {
	received   uint64 // distinct messages
	duplicated uint64 // arrivals after the first
	misordered uint64 // first arrivals after a later message of the same publisher
	skipped    uint64 // numbers left out so far: lost, or late
}

// span is a run of missing sequence numbers, from first up to and without end.
type span struct{ first, end uint64 }

// maxGaps bounds what a tracker remembers.
const maxGaps = 1 << 12

// tracker follows one publisher's sequence numbers as one subscriber sees them.
// As long as they arrive in order it does no more than count.
type tracker struct {
	tally     *tally
	next      atomic.Uint64 // one past the highest number seen; read by publishers
	missing   []span        // sorted; gaps not yet filled
	forgotten uint64        // gaps below are no longer in missing
}

// see takes the arrival of number seq.
func (t *tracker) see(seq uint64) {
	next := t.next.Load()
	switch {
	case seq == next:
		t.tally.received++
		t.next.Store(seq + 1)
	case seq > next:
		t.tally.received++
		t.next.Store(seq + 1)
		t.skip(span{next, seq})
	default:
		t.late(seq)
	}
}

// skip notes a gap, and forgets the oldest of too many.
func (t *tracker) skip(gap span) {
	t.tally.skipped += gap.end - gap.first
	if len(t.missing) == maxGaps {
		half := maxGaps / 2
		t.forgotten = t.missing[half-1].end
		t.missing = t.missing[:copy(t.missing, t.missing[half:])]
	}
	t.missing = append(t.missing, gap)
}

// late takes a number below one already seen: out of order if it was missing,
// a duplicate if not. Below what is forgotten it is taken for the first.
func (t *tracker) late(seq uint64) {
	i := sort.Search(len(t.missing), func(i int) bool { return t.missing[i].end > seq })
	found := i < len(t.missing) && t.missing[i].first <= seq
	if !found && seq >= t.forgotten {
		t.tally.duplicated++
		return
	}
	t.tally.misordered++
	if !found {
		return
	}
	t.tally.received++
	t.tally.skipped--
	t.fill(i, seq)
}

// fill takes seq out of gap i.
func (t *tracker) fill(i int, seq uint64) {
	gap := t.missing[i]
	switch {
	case gap.first == seq && gap.end == seq+1:
		t.missing = append(t.missing[:i], t.missing[i+1:]...)
	case gap.first == seq:
		t.missing[i].first++
	case gap.end == seq+1:
		t.missing[i].end--
	default:
		t.missing = append(t.missing, span{})
		copy(t.missing[i+1:], t.missing[i:])
		t.missing[i] = span{gap.first, seq}
		t.missing[i+1] = span{seq + 1, gap.end}
	}
}

// maxShared bounds the numbers that a shareTracker follows: 128 MiB of bits.
const maxShared = 1 << 30

// shareTracker follows a publisher whose messages come in any order, or are spread
// over the members of a shared subscription: every number once over all members.
type shareTracker struct {
	tally *tally
	seen  []uint64 // bitmap
}

// see takes the arrival of number seq, below maxShared.
func (t *shareTracker) see(seq uint64) {
	word, bit := seq/64, uint64(1)<<(seq%64)
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, make([]uint64, 1024)...)
	}
	if t.seen[word]&bit != 0 {
		t.tally.duplicated++
		return
	}
	t.seen[word] |= bit
	t.tally.received++
}
