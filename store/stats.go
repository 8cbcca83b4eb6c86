package store

import (
	"sync/atomic"
	"time"
)

// Stats are counts since Open, and how much there is now.
type Stats struct {
	Bytes       int64  // as DB.Bytes
	MaxBytes    int64  // Config.MaxBytes
	Commits     uint64 // batches that were written
	Compactions uint64 // generations begun for the room that the last one took, or its fsync that failed
	Fsyncs      Durations
}

// FsyncBounds are the bounds between the Buckets of Durations. On a sound disk fsync takes
// milliseconds; an SD card that takes seconds is about to fail.
var FsyncBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
}

// Durations counts how long something took.
type Durations struct {
	Buckets [len(FsyncBounds) + 1]uint64 // up to each bound and above the one before, and above the last
	Sum     time.Duration
}

// counts are what Stats are read from. Who commits writes them.
type counts struct {
	commits, compactions atomic.Uint64
	fsyncs               [len(FsyncBounds) + 1]atomic.Uint64
	fsyncing             atomic.Int64 // nanoseconds
}

// fsynced counts an fsync that took d.
func (c *counts) fsynced(d time.Duration) {
	i := 0
	for i < len(FsyncBounds) && d > FsyncBounds[i] {
		i++
	}
	c.fsyncs[i].Add(1)
	c.fsyncing.Add(int64(d))
}

// Stats returns the counts. It does not wait for the disk.
func (db *DB) Stats() Stats {
	st := Stats{
		Bytes:       db.Bytes(),
		MaxBytes:    db.cfg.MaxBytes,
		Commits:     db.counts.commits.Load(),
		Compactions: db.counts.compactions.Load(),
	}
	for i := range st.Fsyncs.Buckets {
		st.Fsyncs.Buckets[i] = db.counts.fsyncs[i].Load()
	}
	st.Fsyncs.Sum = time.Duration(db.counts.fsyncing.Load())
	return st
}
