package main

import (
	"runtime/debug"
	"testing"
)

// The heap grows less between two collections while much is stored.
func TestHeap(t *testing.T) {
	was := debug.SetGCPercent(gcPercent)
	defer debug.SetGCPercent(was)
	h := new(heap)
	for _, c := range []struct {
		stored int64
		want   int
	}{
		{0, gcPercent}, {muchStored, gcPercent}, {muchStored + 1, gcPercentLarge}, {muchStored, gcPercentLarge},
		{muchStored / 2, gcPercentLarge}, {muchStored/2 - 1, gcPercent}, {muchStored, gcPercent},
	} {
		h.look(c.stored)
		got := debug.SetGCPercent(gcPercent)
		debug.SetGCPercent(got)
		if got != c.want {
			t.Errorf("with %d bytes stored it is %d %%, want %d", c.stored, got, c.want)
		}
	}
	h.committed() // before the store is open
}
