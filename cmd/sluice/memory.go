package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"sluice/store"
)

// gcPercent is GOGC where the environment has none. Messages leave no garbage, so that
// collecting twice as often as Go does costs next to nothing, and the heap of a
// gateway, which is what connections and queues hold, needs half the room besides.
const gcPercent = 50

// gcPercentLarge is GOGC while muchStored waits. Records hold no pointers, so that to look
// at a large heap of them is cheap, and half of it would be much.
const (
	gcPercentLarge = 20
	muchStored     = 16 << 20 // bytes, as store.DB.Bytes counts them
)

// ballastSize is of what counts as heap, but is never touched and so takes no memory, in bytes.
// Half of it is how much any heap may grow before it is collected: else one that
// connections or records make grow from little to some megabytes would be at every step.
const ballastSize = 12 << 20

// A heap sets how far Go's grows between two collections by how much is stored.
type heap struct {
	ballast []byte
	db      atomic.Pointer[store.DB] // nil: not open yet

	// Owned by who commits.
	large bool
}

// committed is called after each commit.
func (h *heap) committed() {
	if db := h.db.Load(); db != nil {
		h.look(db.Bytes())
	}
}

// look changes GOGC when the store has become large, or half as large again.
func (h *heap) look(stored int64) {
	switch {
	case !h.large && stored > muchStored:
		h.large = true
		debug.SetGCPercent(gcPercentLarge)
	case h.large && stored < muchStored/2:
		h.large = false
		debug.SetGCPercent(gcPercent)
	}
}

// availableMemory is how many bytes this process may use: the machine's memory
// or what its control group allows, whichever is less. Where neither is known
// it is as good as unlimited.
func availableMemory() int64 {
	least := int64(math.MaxInt64)
	if total, ok := machineMemory(); ok {
		least = total
	}
	if limit, ok := groupMemory("/sys/fs/cgroup", "/proc/self/cgroup"); ok {
		least = min(least, limit)
	}
	return least
}

func machineMemory() (int64, bool) {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

// groupMemory is the least memory.max from the process's control group up to
// the root, as version 2 has it. ok is false where nothing limits it.
func groupMemory(root, self string) (least int64, ok bool) {
	text, _ := os.ReadFile(self)
	for line := range strings.Lines(string(text)) {
		group, v2 := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !v2 {
			continue
		}
		for ; ; group = filepath.Dir(group) {
			max, _ := os.ReadFile(filepath.Join(root, group, "memory.max"))
			n, err := strconv.ParseInt(strings.TrimSpace(string(max)), 10, 64)
			if err == nil && (!ok || n < least) {
				least, ok = n, true
			}
			if group == "/" || group == "." {
				break
			}
		}
	}
	return least, ok
}
