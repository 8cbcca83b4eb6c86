package store

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// When what is staged in a turn is committed, and whether that is so when it ends, after 10 ms.
func TestTurn(t *testing.T) {
	const ms = time.Millisecond
	set := func(urgencies ...Urgency) func(r *rig) {
		return func(r *rig) {
			for i, u := range urgencies {
				r.Set(fmt.Sprint(i), "", u)
			}
		}
	}
	tests := []struct {
		name string
		sync Sync
		do   func(r *rig)
		here bool
		want string
	}{
		{"now", Never, set(Now), true, "[10ms]"},
		{"now, and less than that", Interval, set(Lazy, Soon, Now, Lazy), true, "[10ms]"},
		{"now, with an fsync", Always, set(Now), false, "[10ms]"},
		{"soon", Never, set(Soon), false, "[30ms]"},
		{"lazy", Never, set(Lazy), false, "[1.01s]"},
		{"soon, then now in a turn", Never, func(r *rig) {
			set(Soon)(r)
			r.End()
			time.Sleep(5 * ms)
			r.Begin()
			set(Now)(r)
		}, true, "[15ms]"},
		{"a turn in which another begins and ends", Never, func(r *rig) {
			set(Now)(r)
			r.Begin()
			time.Sleep(5 * ms)
			r.End()
		}, true, "[5ms]"},
		{"a turn in which the committer commits for others", Always, func(r *rig) {
			set(Soon)(r)
			r.End()
			time.Sleep(15 * ms)
			r.Begin()
			set(Now)(r)
			time.Sleep(10 * ms)
		}, true, "[20ms]"},
		{"nothing", Never, set(), true, "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at := timed(t, Config{Sync: test.sync, Linger: 20 * ms}, func(r *rig) {
				synctest.Wait() // the committer sleeps
				r.Begin()
				test.do(r)
				time.Sleep(10 * ms)
				r.End()
				if test.here && r.staged() {
					t.Error("when the turn is over it is not committed")
				}
			})
			if got := fmt.Sprint(at); got != test.want {
				t.Errorf("commits come after %s, want %s", got, test.want)
			}
		})
	}
}

// staged reports whether anything is.
func (r *rig) staged() bool {
	r.DB.mu.Lock()
	defer r.DB.mu.Unlock()
	return r.urgency != 0
}

// What a turn can not write is left to the committer, with all that is staged after it, in this order.
func TestTurnFails(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never, fault: disk.fault})
	q := r.Queue(1)
	for _, nth := range []int{1, 2} { // the first transaction, or the second, with the record and the marker
		n := 0
		disk.set(func(step string) error {
			if step == "write" && n < nth+2 {
				if n++; n >= nth {
					return unix.EIO
				}
			}
			return nil
		})
		r.Begin()
		r.Set("a", strings.Repeat("x", updateBytes), Now)
		seq := q.Append([]byte("x"), Now)
		r.End()
		if q.Committed(seq) {
			t.Error("committed what was not written")
		}
		r.Begin()
		r.Set("a", fmt.Sprint("second ", nth), Now)
		epoch := r.Epoch()
		r.End()
		r.wait(func() bool { return r.committed >= epoch })
		if !q.Committed(seq) {
			t.Error("a record is not committed with the batch that has it")
		}
		want := contents{"a": fmt.Sprint("second ", nth)}
		for i := range nth {
			want[fmt.Sprint("q1.", i+1)] = "x"
		}
		open(t, Config{Dir: snapshot(t, dir)}).read().check(t, want)
	}
	for _, err := range r.said() {
		if err != nil && !strings.Contains(err.Error(), unix.EIO.Error()) {
			t.Error(err)
		}
	}
}

// A turn after Close leaves the disk alone.
func TestTurnAfterClose(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	r.Begin()
	r.Set("a", "1", Now)
	r.close()
	r.Set("b", "1", Now)
	r.End()
	open(t, Config{Dir: dir}).read().check(t, contents{"a": "1"})
}

// Turns of many at once, with others who stage outside of turns, leave nothing uncommitted.
func TestTurnsTogether(t *testing.T) {
	for _, mode := range []Sync{Never, Interval, Always} {
		dir := t.TempDir()
		r := open(t, Config{Dir: dir, Sync: mode, Together: new(sync.Mutex)})
		want := contents{}
		var all sync.WaitGroup
		for i := range 4 {
			for j := range 100 {
				want[fmt.Sprint(i, "/", j)] = "x"
			}
			all.Go(func() {
				for j := range 100 {
					if i > 0 {
						r.Begin()
					}
					r.Set(fmt.Sprint(i, "/", j), "x", Now)
					epoch := r.Epoch()
					if i > 0 {
						r.End()
					}
					if j%10 == 9 {
						r.wait(func() bool { return r.committed >= epoch })
					}
				}
			})
		}
		all.Wait()
		open(t, Config{Dir: snapshot(t, dir)}).read().check(t, want)
	}
}
