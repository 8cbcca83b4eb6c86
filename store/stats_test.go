package store

import (
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	r := open(t, Config{Dir: t.TempDir(), MaxBytes: 1 << 20})
	fsyncs := func() (n uint64) {
		for _, count := range r.Stats().Fsyncs.Buckets {
			n += count
		}
		return n
	}
	if s := r.Stats(); s.Commits != 0 || s.MaxBytes != 1<<20 || fsyncs() != 0 {
		t.Errorf("at the start: %+v", s)
	}
	for i := range uint64(3) {
		r.Set("k", string('a'+rune(i)), Now)
		r.commit()
		if s := r.Stats(); s.Commits != i+1 || fsyncs() != i+1 || s.Fsyncs.Sum <= 0 || s.Bytes != r.Bytes() {
			t.Errorf("after %d commits: %+v", i+1, s)
		}
	}
	r.Delete("nothing", Now) // is no write
	r.commit()
	if s := r.Stats(); s.Commits != 3 || fsyncs() != 3 {
		t.Errorf("after a batch of nothing: %+v", s)
	}
}

func TestFsyncBuckets(t *testing.T) {
	var c counts
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 5 * time.Second, time.Hour} {
		c.fsynced(d)
	}
	for i, want := range map[int]uint64{0: 2, 1: 1, 2: 0, len(FsyncBounds) - 1: 1, len(FsyncBounds): 1} {
		if n := c.fsyncs[i].Load(); n != want {
			t.Errorf("bucket %d has %d, want %d", i, n, want)
		}
	}
}
