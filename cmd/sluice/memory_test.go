package main

import (
	"runtime/debug"
	"testing"
	"time"
)

// The heap grows less between two collections while much is stored, and more while that becomes more.
func TestHeap(t *testing.T) {
	was := debug.SetGCPercent(gcPercent)
	defer debug.SetGCPercent(was)
	h := new(heap)
	for i, c := range []struct {
		after  time.Duration
		stored int64
		want   int
	}{
		{0, 0, gcPercent},
		{0, muchGrown - 1, gcPercent},
		{0, muchGrown, gcPercentGrowing},
		{growingTime - 1, 0, gcPercentGrowing},
		{growingTime, muchGrown - 1, gcPercent},
		{growingTime, muchGrown, gcPercentGrowing},
		{2 * growingTime, 2*muchGrown - 1, gcPercent},
		{2 * growingTime, muchStored, gcPercentGrowing},
		{2 * growingTime, muchStored + 1, gcPercentLarge},
		{4 * growingTime, muchStored, gcPercentLarge},
		{4 * growingTime, muchStored / 2, gcPercentLarge},
		{4 * growingTime, muchStored/2 - 1, gcPercent},
		{4 * growingTime, muchStored, gcPercentGrowing},
	} {
		h.look(c.stored, time.Time{}.Add(time.Hour+c.after))
		got := debug.SetGCPercent(gcPercent)
		debug.SetGCPercent(got)
		if got != c.want {
			t.Errorf("%d: with %d bytes stored it is %d %%, want %d", i, c.stored, got, c.want)
		}
	}
	h.committed() // before the store is open
}
