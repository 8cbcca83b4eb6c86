package store

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk fills a file system of its own.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("a small file system needs root: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	os.WriteFile(dir+"/"+reserveName, bytes.Repeat([]byte("x"), reserveSize), 0o600)
	r := open(t, Config{Dir: dir})
	q := r.Queue(1)
	rec := make([]byte, 60_000)
	var full uint64
	for r.Err() == nil { // as a gateway would
		full = q.Append(rec, Now)
		r.commit()
		if full > 1000 {
			t.Fatal("24 MiB hold 60 MB")
		}
	}
	if free, _ := room(dir); free < reserveSize {
		t.Errorf("it says that the disk is full with %d bytes free", free)
	}
	if err := r.Err(); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("it says %v", err)
	}
	// Something else takes the rest.
	fill, err := os.Create(dir + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := fill.Write(rec[:4096]); err != nil {
			break
		}
	}
	fill.Close()
	last := q.Append(rec[:10_000], Now)
	r.commit()
	if _, err := os.Stat(r.path(reserveName)); !os.IsNotExist(err) {
		t.Error("the reserve is still there")
	}
	// And again, until nothing goes any more.
	fill, _ = os.Create(dir + "/fill2")
	for {
		if _, err := fill.Write(rec[:4096]); err != nil {
			break
		}
	}
	fill.Close()
	failures := len(r.said())
	r.Set("late", string(rec), Now)
	epoch := r.Epoch()
	r.wait(func() bool { return len(r.failures) > failures && r.failures[len(r.failures)-1] != nil })
	if r.last() >= epoch {
		t.Error("committed on a full disk")
	}
	os.Remove(dir + "/fill")
	os.Remove(dir + "/fill2")
	r.wait(func() bool { return r.committed >= epoch })
	for seq := q.First(); seq < last; seq++ {
		q.Done(seq)
	}
	r.commit()
	// What is done leaves the disk, so that the store works again by itself.
	r.wait(func() bool { return r.failures[len(r.failures)-1] == nil })
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if info, err := os.Stat(r.path(reserveName)); err == nil && info.Size() == reserveSize {
			break
		}
		if time.Since(start) > 10*time.Second {
			t.Fatal("the reserve has not come back")
		}
	}
	if n := size(t, dir); n > 4<<20 {
		t.Errorf("the file still has %d bytes", n)
	}
	r.close()
	r = open(t, Config{Dir: dir})
	if got := r.read(); len(got) != 2 {
		t.Errorf("%d items are left, want the last record and the late key", len(got))
	}
	r.close()
}
