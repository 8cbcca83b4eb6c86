package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// reserveSize is what the reserve file keeps from other uses of the disk, really written.
// On a full disk it is given up, so that deletions, which free room, can be written.
const reserveSize = 4 << 20

// lowWater is the free space below which the store says that it is full, before it is.
const lowWater = 2 * reserveSize

// errLow wraps ENOSPC, as the write that it forestalls would have.
var errLow = fmt.Errorf("less than %d MiB free on the data disk: make room, or let the queues drain: %w", lowWater>>20, unix.ENOSPC)

// A reserve is the reserve file. Used by the committer only, after Open.
type reserve struct {
	path string
	held bool
}

// take writes the file, if it is not there.
func (r *reserve) take() {
	if info, err := os.Stat(r.path); err == nil && info.Size() == reserveSize {
		r.held = true
		return
	}
	// Random, because some file systems do not store zeros or compress them.
	b := make([]byte, reserveSize)
	rand.NewChaCha8([32]byte{}).Read(b)
	if err := os.WriteFile(r.path, b, 0o600); err != nil {
		os.Remove(r.path)
		return
	}
	r.held = true
}

// giveUp removes the file and reports whether that made room.
func (r *reserve) giveUp() bool {
	if !r.held {
		return false
	}
	r.held = false
	return os.Remove(r.path) == nil
}

// room returns the bytes free for us on the disk of dir.
func room(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
