package store

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// timed opens a store in the bubble and returns how long after now each commit comes.
func timed(t *testing.T, cfg Config, f func(r *rig)) (at []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fakeReserve(t, dir)
		var start time.Time
		var db *DB
		var last uint64
		cfg.Dir = dir
		cfg.Committed = func(epoch uint64) {
			last = epoch
			at = append(at, time.Since(start))
		}
		db, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		f(&rig{DB: db, t: t, dir: dir})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(at) > 0 && db.Epoch() != last {
			t.Errorf("epoch is %d, the last committed %d", db.Epoch(), last)
		}
		n := len(at)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		at = at[:n]
		time.Sleep(time.Second) // for BuntDB to notice
	})
	return at
}

func TestUrgency(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		do   func(r *rig)
		want string
	}{
		{"now", func(r *rig) { r.Set("a", "", Now) }, "[0s]"},
		{"soon", func(r *rig) { r.Set("a", "", Soon) }, "[20ms]"},
		{"lazy", func(r *rig) { r.Set("a", "", Lazy) }, "[1s]"},
		{"soon, counted from the first", func(r *rig) {
			r.Set("a", "", Soon)
			time.Sleep(15 * ms)
			r.Set("b", "", Soon)
		}, "[20ms]"},
		{"now takes all along", func(r *rig) {
			r.Set("a", "", Lazy)
			time.Sleep(100 * ms)
			r.Set("b", "", Soon)
			time.Sleep(10 * ms)
			r.Set("c", "", Now)
		}, "[110ms]"},
		{"soon takes lazy along", func(r *rig) {
			r.Set("a", "", Lazy)
			time.Sleep(100 * ms)
			r.Set("b", "", Soon)
			time.Sleep(500 * ms)
			r.Set("c", "", Lazy)
		}, "[120ms 1.6s]"},
		{"lazy does not delay", func(r *rig) {
			r.Set("a", "", Soon)
			r.Set("b", "", Lazy)
		}, "[20ms]"},
		{"a queue", func(r *rig) {
			q := r.Queue(1)
			q.Append([]byte("x"), Now)
			time.Sleep(100 * ms)
			q.Done(1) // lazy
		}, "[0s 1.1s]"},
		{"a queue, removed", func(r *rig) {
			q := r.Queue(1)
			q.Append([]byte("x"), Now)
			time.Sleep(100 * ms)
			q.Remove()
		}, "[0s 1.1s]"},
		{"a queue whose recipient does nothing", func(r *rig) {
			q := r.Queue(1)
			q.Append([]byte("x"), Soon)
			time.Sleep(500 * ms)
			q.Append([]byte("y"), Soon) // it was given a chance
			time.Sleep(100 * ms)
			q.Done(2) // late
			q.Append([]byte("z"), Soon)
		}, "[80ms 520ms 680ms]"},
		{"nothing", func(r *rig) {
			r.Queue(1).Skip()
			r.Queue(2).Remove()
		}, "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at := timed(t, Config{Sync: Never, Linger: 20 * ms}, test.do)
			if got := fmt.Sprint(at); got != test.want {
				t.Errorf("commits come after %s, want %s", got, test.want)
			}
		})
	}
}

func TestSync(t *testing.T) {
	for sync, want := range map[Sync]string{
		Always:   "[0s 300ms 2s]",
		Interval: "[1s 3s]", // one for two batches
		Never:    "[]",
	} {
		var syncs []time.Duration
		var start time.Time
		timed(t, Config{Sync: sync, fault: func(step string) error {
			if step == "fsync" {
				syncs = append(syncs, time.Since(start))
			}
			return nil
		}}, func(r *rig) {
			start = time.Now()
			r.Set("a", "", Now)
			time.Sleep(300 * time.Millisecond)
			r.Set("b", "", Now)
			time.Sleep(1700 * time.Millisecond)
			r.Set("c", "", Now)
		})
		syncs = syncs[:len(syncs)-1] // by Close
		if got := fmt.Sprint(syncs); got != want {
			t.Errorf("%v: fsyncs come after %s, want %s", sync, got, want)
		}
	}
}

// While a slow fsync runs nobody waits, and all that is staged meanwhile becomes one batch.
func TestSlowSync(t *testing.T) {
	at := timed(t, Config{fault: func(step string) error {
		if step == "fsync" {
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	}}, func(r *rig) {
		start := time.Now()
		q := r.Queue(1)
		q.Append([]byte("x"), Now)
		time.Sleep(10 * time.Millisecond)
		for range 50 {
			q.Append([]byte("x"), Now)
			r.Set("a", "b", Now)
			q.Done(q.First())
			q.Record(q.First())
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(start); d != 60*time.Millisecond {
			t.Errorf("staging took %v, want 60 ms", d)
		}
	})
	if got, want := fmt.Sprint(at), "[100ms 200ms]"; got != want {
		t.Errorf("commits come after %s, want %s", got, want)
	}
}

// The clock stands still while the program is down.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fakeReserve(t, dir)
		for i := range 3 {
			db, err := Open(Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := db.Clock(), time.Duration(i)*7*time.Second; got != want {
				t.Errorf("opened at %v, want %v", got, want)
			}
			time.Sleep(7 * time.Second)
			db.Close()
			time.Sleep(time.Hour)
		}
		// Without Close it goes on from the last commit.
		db, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		db.Set("a", "b", Lazy)
		time.Sleep(10 * time.Second)
		killed := snapshot(t, dir)
		db.Close()
		fakeReserve(t, killed)
		db, err = Open(Config{Dir: killed})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := db.Clock(), 27*time.Second; got != want {
			t.Errorf("after a kill it is %v, want %v", got, want)
		}
		db.Close()
		time.Sleep(time.Second)
	})
}

// What is done, or set and deleted, before it comes to the disk does not come to it.
func TestElision(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Linger: time.Hour, fault: func(step string) error {
		if step != "write" { // that may be a transaction which changes nothing: see the size
			t.Errorf("there is a %s", step)
		}
		return nil
	}})
	before := size(t, dir)
	a, b := r.Queue(1), r.Queue(2)
	for i := range 1000 {
		rec := make([]byte, 300)
		seq := a.Append(rec, Soon)
		b.Append(rec, Soon)
		if i%3 == 0 {
			b.Skip()
		}
		r.Set("id", "x", Soon)
		r.Delete("id", Soon)
		a.Done(seq)
	}
	b.Remove()
	r.commit()
	if after := size(t, dir); after != before {
		t.Errorf("the file grew by %d bytes", after-before)
	}
	r.cfg.fault = nil
	// Of a batch that is half done the other half is written.
	for range 100 {
		a.Append(make([]byte, 100), Soon)
	}
	for seq := a.First(); seq < a.Next(); seq += 2 {
		a.Done(seq)
	}
	r.commit()
	if grown := size(t, dir) - before; grown < 50*101 || grown > 50*102+200 {
		t.Errorf("50 records of 100 bytes took %d", grown)
	}
	if _, ok := a.Record(a.Next() - 2); ok {
		t.Error("a record is there that is done")
	}
	if _, ok := a.Record(a.Next() - 1); !ok {
		t.Error("a record is not there that waits")
	}
}

// door is a lock whose waiters let the fake time pass.
type door chan struct{}

func (d door) Lock()   { d <- struct{}{} }
func (d door) Unlock() { <-d }

func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fakeReserve(t, dir)
		d := make(door, 1)
		var commits atomic.Int32
		db, err := Open(Config{Dir: dir, Together: d, Committed: func(uint64) { commits.Add(1) }})
		if err != nil {
			t.Fatal(err)
		}
		d.Lock()
		db.Set("message", "", Now)
		time.Sleep(time.Second)
		if commits.Load() != 0 {
			t.Error("half of what belongs together is committed")
		}
		db.Set("identifier", "", Now)
		d.Unlock()
		time.Sleep(time.Second)
		if commits.Load() != 1 {
			t.Errorf("%d commits, want one for both", commits.Load())
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) // for BuntDB to notice
	})
}

// TestStream has records come all the time, each done a little later: what is done in time is not written on account of
// those that came last, and what is not done is on disk when it should be.
func TestStream(t *testing.T) {
	const ms = time.Millisecond
	at := timed(t, Config{Sync: Never, Linger: 20 * ms}, func(r *rig) {
		q := r.Queue(1)
		var waiting []uint64
		stream := func(d time.Duration) {
			for ; d > 0; d -= 3 * ms {
				waiting = append(waiting, q.Append(make([]byte, 64), Soon))
				time.Sleep(3 * ms)
				if len(waiting) > 1 {
					q.Done(waiting[0])
					waiting = waiting[1:]
				}
			}
		}
		before := size(t, r.dir)
		stream(600 * ms)
		if n := size(t, r.dir) - before; n > 600 {
			t.Errorf("%d bytes were written for a stream of 200 records that were all done in time", n)
		}
		late := q.Append(make([]byte, 64), Soon)
		stream(100 * ms)
		if !q.Committed(late) {
			t.Error("a record was not on disk when it had lingered")
		}
	})
	if len(at) > 6 {
		t.Errorf("%d commits: %v", len(at), at)
	}
}

// TestBusyRecipient has records done in order, later and later after they came: they are waited for, but not for ever.
func TestBusyRecipient(t *testing.T) {
	const ms = time.Millisecond
	for most, written := range map[int]bool{15: false, 75: false, 105: true} {
		at := timed(t, Config{Sync: Never, Linger: 20 * ms}, func(r *rig) {
			q := r.Queue(1)
			for i := range 240 { // less than until what is staged is written in any case
				q.Append(make([]byte, 64), Soon)
				time.Sleep(ms)
				if q.Len() > min(most, i/2) {
					q.Done(q.First())
				}
			}
			for q.Len() > 0 {
				q.Done(q.First())
			}
		})
		if got := at[0] < 200*ms; got != written { // the last one has nothing to write
			t.Errorf("done up to %d ms late: written %v, want %v", most, at, written)
		}
	}
}

// TestQuiet looks for the goroutines of an idle store: nothing ticks, in the first generation or a later one.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		fault := func(step string) error {
			if step == "fsync" && broken {
				broken = false
				return errors.New("injected")
			}
			return nil
		}
		r := open(t, Config{Dir: t.TempDir(), fault: fault})
		managers := func() (n int) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			for _, stack := range strings.Split(string(stacks), "\n\n") {
				head, _, _ := strings.Cut(stack, "\n")
				if strings.Contains(head, "synctest bubble") && strings.Contains(stack, "tidwall/buntdb.") {
					n++
				}
			}
			return n
		}
		synctest.Wait()
		if n := managers(); n != 1 { // else there is nothing to end, or it is not found
			t.Fatalf("before the first tick BuntDB has %d goroutines", n)
		}
		ticks := func(when string) {
			t.Helper()
			time.Sleep(4 * time.Second)
			synctest.Wait()
			if n := managers(); n != 0 {
				t.Errorf("%s: BuntDB has %d goroutines", when, n)
			}
		}
		ticks("opened")
		r.Set("a", "", Now) // its fsync fails, so that a new generation is written
		ticks("renewed")
		if broken {
			t.Error("nothing was fsynced")
		}
		r.close()
		r = open(t, Config{Dir: r.dir, Sync: Never})
		if rep := r.Report(); rep.Dropped != 0 || rep.Torn != 0 {
			t.Errorf("opened again: report is %+v", rep)
		}
		ticks("opened again")
		r.close()
	})
}
