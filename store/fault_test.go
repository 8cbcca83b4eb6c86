package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A faulty disk fails at the steps that a test names.
type faulty struct {
	step   atomic.Pointer[func(step string) error]
	failed atomic.Int64 // steps since the last failAt
}

func (f *faulty) set(fn func(step string) error) { f.step.Store(&fn) }

func (f *faulty) fault(step string) error {
	if fn := f.step.Load(); fn != nil {
		return (*fn)(step)
	}
	return nil
}

// failAt fails each of these steps, as often as they come.
func (f *faulty) failAt(steps ...string) {
	f.failed.Store(0)
	f.set(func(step string) error {
		for _, s := range steps {
			if s == step {
				f.failed.Add(1)
				return unix.EIO
			}
		}
		return nil
	})
}

func TestFailingFsync(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, fault: disk.fault})
	r.Set("a", "1", Now)
	q := r.Queue(1)
	q.Append([]byte("one"), Now)
	r.commit()
	before := fileOf(t, dir)

	disk.failAt("fsync")
	r.Set("b", "2", Now)
	q.Append([]byte("two"), Now)
	epoch := r.Epoch()
	r.wait(func() bool { return len(r.failures) == 1 })
	if err := r.said()[0]; !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "fsync") {
		t.Errorf("the failure is %v", err)
	}
	if r.Err() == nil || q.Committed(2) || !q.Committed(1) {
		t.Error("what is not fsynced is committed, or what is is not")
	}
	if r.last() >= epoch {
		t.Error("an epoch was committed by an fsync that failed")
	}
	// From now on only the old file would fail.
	old, err := os.Stat(r.path(fileName))
	if err != nil {
		t.Fatal(err)
	}
	disk.set(func(step string) error {
		if now, err := os.Stat(r.path(fileName)); step == "fsync" && err == nil && os.SameFile(old, now) {
			if _, err := os.Stat(r.path(newName)); err != nil {
				t.Error("the file that could not be fsynced is fsynced again")
			}
		}
		return nil
	})
	r.wait(func() bool { return r.committed >= epoch })
	r.wait(func() bool { return len(r.failures) == 2 })
	if r.said()[1] != nil || r.Err() != nil || !q.Committed(2) {
		t.Errorf("it works again, but says %v, %v", r.said(), r.Err())
	}
	if now, _ := os.Stat(r.path(fileName)); os.SameFile(old, now) {
		t.Error("there is no new generation")
	}
	r.Set("c", "3", Now)
	r.commit()
	want := contents{"a": "1", "b": "2", "c": "3", "q1.1": "one", "q1.2": "two"}
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, want)
	// The old file had all that was committed before.
	open(t, Config{Dir: storeOf(t, before)}).read().check(t, contents{"a": "1", "q1.1": "one"})
}

// Whatever step of writing the new generation fails, it is begun again until it works.
func TestFailingGeneration(t *testing.T) {
	for _, step := range []string{"write", "copy", "fsync", "rename", "fsync directory"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			var disk faulty
			dir := t.TempDir()
			r := open(t, Config{Dir: dir, fault: disk.fault})
			r.Set("a", "1", Now)
			r.commit()
			disk.failAt("fsync")
			r.Set("b", "2", Now)
			epoch := r.Epoch()
			r.wait(func() bool { return len(r.failures) == 1 })
			disk.failAt(step)
			for start := time.Now(); disk.failed.Load() < 2; time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > 10*time.Second {
					t.Fatal("it is not tried again")
				}
			}
			if r.last() >= epoch {
				t.Error("committed while it fails")
			}
			r.Set("c", "3", Now)
			disk.failAt()
			r.commit()
			open(t, Config{Dir: snapshot(t, dir)}).read().check(t, contents{"a": "1", "b": "2", "c": "3"})
			r.wait(func() bool { return r.failures[len(r.failures)-1] == nil })
		})
	}
}

func TestFailingWrite(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, fault: disk.fault})
	q := r.Queue(1)
	for i := range 5 {
		q.Append(fmt.Append(nil, i), Now)
	}
	want := contents{"b": "1"}
	r.Set("b", "1", Now)
	for i := range 10 { // whose deletion takes two transactions
		key := strings.Repeat(fmt.Sprint(i), 120_000)
		r.Set(key, "", Now)
		want[key] = ""
	}
	r.commit()
	for i := range 5 {
		want.setRecord(1, uint64(i+1), fmt.Sprint(i))
	}
	// The first transaction is written, the other with the marker is not.
	fail := func() {
		n := 0
		disk.set(func(step string) error {
			if n++; step == "write" && n > 1 {
				return unix.EIO
			}
			return nil
		})
		r.DB.mu.Lock() // so that it is one batch
		defer r.DB.mu.Unlock()
		for key := range want {
			if len(key) > 1000 {
				r.stage(key, nil, Now)
			}
		}
	}
	fail()
	r.wait(func() bool { return len(r.failures) == 1 })
	r.Set("b", "2", Now)
	q.Remove() // staged behind the batch that fails
	q.Append([]byte("new"), Now)
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, want)
	disk.failAt()
	r.commit()
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, contents{"b": "2", "q1.6": "new"})
}

// A marker is written if there is anything that it ends, be it of an attempt before.
func TestMarker(t *testing.T) {
	g, last, err := openGeneration(filepath.Join(t.TempDir(), fileName))
	if err != nil || last != (marker{}) {
		t.Fatalf("a new file has the marker %+v: %v", last, err)
	}
	defer g.close()
	mark := marker{epoch: 7}.value()
	nothing, set := op{key: "a", del: true}, op{key: "b", value: "12345"}
	for _, test := range []struct {
		op    op
		mark  string
		begun bool
		want  string
	}{
		{nothing, mark, false, ""},
		{nothing, mark, true, string(appendSet(nil, markerKey, mark))},
		{set, "", true, string(appendSet(nil, set.key, set.value))},
		{set, mark, false, string(appendSet(appendSet(nil, set.key, set.value), markerKey, mark))},
		{op{key: set.key, del: true}, mark, false, string(appendSet(appendDelete(nil, set.key), markerKey, mark))},
	} {
		from := g.end
		if _, err := g.update([]op{test.op}, test.mark, test.begun); err != nil {
			t.Fatal(err)
		}
		file, _ := os.ReadFile(g.file.Name())
		if got := string(file[from:]); got != test.want || g.end != int64(len(file)) {
			t.Errorf("%+v: %q is written, want %q", test, got, test.want)
		}
	}
}

// What a write leaves that failed in the middle is cut off before the next.
func TestTornWrite(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	r.Set("a", "1", Now)
	r.commit()
	r.disk.Lock()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var was unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_FSIZE, &was)
	g := r.current
	full := unix.Rlimit{Cur: uint64(g.end) + 100, Max: was.Max} // for all of the process, so no test runs beside
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	_, err := g.update([]op{{key: "big", value: strings.Repeat("x", 1000)}}, "", false)
	unix.Setrlimit(unix.RLIMIT_FSIZE, &was)
	if err == nil || size(t, dir) != g.end+100 {
		t.Errorf("a write beyond what is allowed leaves %d bytes of %d: %v", size(t, dir)-g.end, 100, err)
	}
	r.disk.Unlock()
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, contents{"a": "1"})
	r.Set("b", "2", Now)
	r.commit()
	if n := size(t, dir); n != g.end {
		t.Errorf("the file has %d bytes, want %d", n, g.end)
	}
	s := open(t, Config{Dir: snapshot(t, dir)})
	s.read().check(t, contents{"a": "1", "b": "2"})
	if rep := s.Report(); rep.Dropped+int(rep.Torn) != 0 {
		t.Errorf("report is %+v", rep)
	}
}

// What is being written stays as it is when its records are done meanwhile.
func TestDoneWhileWritten(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never, fault: disk.fault})
	at, on := make(chan struct{}), make(chan struct{})
	disk.set(func(step string) error {
		at <- struct{}{}
		<-on
		return nil
	})
	q := r.Queue(1)
	q.Append(make([]byte, 200), Now)
	<-at
	q.Done(1)
	memory := (*DB)(nil).Queue(0) // takes what buffers there are
	for range 10 {
		memory.Append(make([]byte, 150), Now)
	}
	disk.set(func(string) error { return nil })
	epoch := r.epoch
	on <- struct{}{}
	r.wait(func() bool { return r.committed >= epoch-1 })
	s := open(t, Config{Dir: snapshot(t, dir)})
	if rep := s.Report(); rep.Dropped > 0 {
		t.Errorf("report is %+v", rep)
	}
	r.commit()
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, contents{})
}

// A store that is closed while it fails tries once more, in order, and says if that was in vain.
func TestCloseWhileFailing(t *testing.T) {
	for _, works := range []bool{true, false} {
		var disk faulty
		dir := t.TempDir()
		r := open(t, Config{Dir: dir, fault: disk.fault})
		disk.failAt("write")
		r.Set("a", "1", Now)
		r.Set("b", "1", Now)
		r.wait(func() bool { return len(r.failures) == 1 })
		r.Set("a", "2", Now)
		want := contents{}
		if works {
			disk.set(func(string) error { return nil })
			want = contents{"a": "2", "b": "1"}
		}
		if err := r.Close(); (err == nil) != works {
			t.Errorf("closed with %v", err)
		}
		open(t, Config{Dir: dir}).read().check(t, want)
	}
}

// A batch that was given up half written is not made whole by a compaction.
func TestCloseBeforeCompaction(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never, fault: disk.fault})
	r.Set("big", strings.Repeat("x", compactSlack+1<<20), Now)
	r.commit()
	writes := 0
	disk.set(func(step string) error {
		if step != "write" || r.copying != nil {
			return nil
		}
		if writes++; writes == 1 {
			return nil
		}
		return unix.EIO
	})
	(func() {
		r.DB.mu.Lock() // so that it is one batch, of two transactions
		defer r.DB.mu.Unlock()
		r.stage("big", nil, Now)
		r.stage("small", make(change, headerLen+updateBytes/2), Now)
		r.stage("other", make(change, headerLen+updateBytes/2+1), Now)
	})()
	r.wait(func() bool { return len(r.failures) == 1 })
	if err := r.Close(); err == nil {
		t.Error("closed without an error")
	}
	r = open(t, Config{Dir: dir})
	if got := r.read(); len(got) != 1 || got["big"] == "" {
		t.Errorf("%d keys are left of a batch that was not committed", len(got))
	}
}

// What is read at start is there even if the generation is replaced meanwhile.
func TestAscendWhileReplaced(t *testing.T) {
	var disk faulty
	r := open(t, Config{Dir: t.TempDir(), fault: disk.fault})
	r.Set("key", "value", Now)
	r.commit()
	disk.set(func(step string) error { // of a commit: every one renews the generation
		if step == "fsync" && r.copying == nil {
			return unix.ENOSPC // tried again at once, with the reserve given up
		}
		return nil
	})
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			found := false
			r.Ascend("key", func(string, string) bool { found = true; return true })
			if !found {
				t.Error("a key is not found")
				return
			}
		}
	}()
	for i := range 10 {
		r.Set("other", fmt.Sprint(i), Now)
		r.commit()
	}
	close(stop)
	<-done
}

// TestCompaction stops at each step of several compactions, while commits go on, and looks at what a kill would leave.
func TestCompaction(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never, fault: disk.fault})
	m := newModel(t, 5)
	m.use(r)
	big := strings.Repeat("x", 100_000)
	for i := range 10 { // 1 MB that stay: four slices
		key := fmt.Sprint("big", i)
		m.Set(key, big, Now)
		m.keys[key] = big
	}
	m.commit()
	inode := func() os.FileInfo {
		info, err := os.Stat(r.path(fileName))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	// What was committed before a step, and what may have been since.
	type moment struct {
		step      string
		dir       string
		want, may contents
	}
	var moments []moment
	var committed, staged contents
	gate := make(chan struct{}) // the test goes on while the committer stands at a step
	back := make(chan struct{})
	disk.set(func(step string) error {
		if step == "write" || r.copying == nil && step == "fsync" {
			return nil
		}
		gate <- struct{}{}
		moments = append(moments, moment{step, snapshot(t, dir), committed, staged})
		<-back
		return nil
	})
	old := inode()
	committed = m.want()
	for i := range 200 { // garbage to compact
		m.Set("garbage", big, Now)
		m.keys["garbage"] = big
		// What is copied first changes with every commit.
		key := fmt.Sprint("a", i%5)
		if i%2 == 0 {
			m.Delete(key, Now)
			delete(m.keys, key)
		} else {
			m.keys[key] = fmt.Sprint(i)
			m.Set(key, m.keys[key], Now)
		}
		staged = m.want()
		m.DB.mu.Lock()
		epoch := r.epoch
		r.want(Now)
		m.DB.mu.Unlock()
		for done := false; !done; {
			select {
			case <-gate:
				back <- struct{}{}
			default:
				r.mu.Lock()
				done = r.committed >= epoch
				r.mu.Unlock()
			}
		}
		committed = m.want()
		if !os.SameFile(old, inode()) {
			break
		}
	}
	if os.SameFile(old, inode()) {
		t.Fatalf("no compaction with a file of %d bytes", size(t, dir))
	}
	disk.set(func(string) error { return nil })
	m.commit()
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, m.want())
	if n := size(t, dir); n > 3<<20 {
		t.Errorf("the new file has %d bytes", n)
	}
	steps := make(map[string]int)
	for _, at := range moments {
		steps[at.step]++
		s := open(t, Config{Dir: at.dir, Sync: Never})
		if got := s.read(); !maps.Equal(got, at.may) {
			t.Logf("killed at %s", at.step)
			got.check(t, at.want)
		}
		s.close()
	}
	for _, step := range []string{"copy", "fsync", "rename", "fsync directory"} {
		if steps[step] == 0 {
			t.Errorf("the compaction did not pass %q: %v", step, steps)
		}
	}
	m.close()
	open(t, Config{Dir: dir}).read().check(t, m.want())
}

// If the directory cannot be fsynced after a compaction, nothing is committed to the new file before another generation is in place.
func TestCompactionWithoutDirectory(t *testing.T) {
	var disk faulty
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, fault: disk.fault})
	disk.failAt("fsync directory")
	big := strings.Repeat("x", 1<<20)
	for range 30 { // all but the last are garbage
		r.Set("a", big, Now)
		epoch := r.Epoch()
		r.wait(func() bool { return r.committed >= epoch || len(r.failures) > 0 })
		if len(r.said()) > 0 {
			break
		}
	}
	r.wait(func() bool { return len(r.failures) > 0 })
	r.Set("b", "1", Now)
	epoch := r.Epoch()
	for start := time.Now(); disk.failed.Load() < 3 && time.Since(start) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
	}
	if r.last() >= epoch {
		t.Error("committed to a file whose name may not be on disk")
	}
	disk.failAt()
	r.commit()
	open(t, Config{Dir: snapshot(t, dir)}).read().check(t, contents{"a": big, "b": "1"})
}
