package bench

import (
	"math/rand/v2"
	"testing"
)

func TestTracker(t *testing.T) {
	for _, c := range []struct {
		name string
		seqs []uint64
		want tally
	}{
		{"in order", []uint64{0, 1, 2, 3}, tally{received: 4}},
		{"gap", []uint64{0, 3}, tally{received: 2, skipped: 2}},
		{"first missing", []uint64{2, 3}, tally{received: 2, skipped: 2}},
		{"duplicate", []uint64{0, 1, 1, 0}, tally{received: 2, duplicated: 2}},
		{"swapped", []uint64{0, 2, 1, 3}, tally{received: 4, misordered: 1}},
		{"late in the middle of a gap", []uint64{0, 9, 5, 5, 1, 8, 6}, tally{received: 6, duplicated: 1, misordered: 4, skipped: 4}},
	} {
		var got tally
		tr := tracker{tally: &got}
		for _, s := range c.seqs {
			tr.see(s)
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestTrackersAgree compares both trackers with a set, on shuffled numbers.
func TestTrackersAgree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var one, shared tally
		tr, sh := tracker{tally: &one}, shareTracker{tally: &shared}
		set := map[uint64]bool{}
		var want tally
		for range 300 {
			s := rnd.Uint64N(200)
			if set[s] {
				want.duplicated++
			}
			set[s] = true
			tr.see(s)
			sh.see(s)
		}
		want.received = uint64(len(set))
		one.misordered, one.skipped = 0, 0
		if one != want || shared != want {
			t.Fatalf("%+v and %+v, want %+v", one, shared, want)
		}
	}
}

// What a tracker remembers is bounded, and what it has forgotten it does not call a
// duplicate.
func TestTrackerForgets(t *testing.T) {
	var got tally
	tr := tracker{tally: &got}
	const n = 5 * maxGaps
	for i := range uint64(n) {
		tr.see(2*i + 1) // every other one
	}
	if len(tr.missing) > maxGaps || got.skipped != n || got.received != n {
		t.Fatalf("%d gaps remembered, %+v", len(tr.missing), got)
	}
	tr.see(0)
	tr.see(2 * (n - 1))
	if want := (tally{received: n + 1, misordered: 2, skipped: n - 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
