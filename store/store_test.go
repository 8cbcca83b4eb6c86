package store

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		runChild(os.Getenv(childEnv))
	}
	code := m.Run()
	if code == 0 && leaks() {
		code = 1
	}
	os.Exit(code)
}

// leaks waits for goroutines to end: BuntDB's notices within a second that its store is closed.
func leaks() bool {
	buf := make([]byte, 1<<20)
	for range 40 {
		buf = buf[:runtime.Stack(buf[:cap(buf)], true)]
		if !strings.Contains(string(buf), "store.(*DB)") && !strings.Contains(string(buf), "buntdb.") {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Printf("goroutines left:\n%s\n", buf)
	return true
}

// A rig is a store with what its callbacks said.
type rig struct {
	*DB
	t   testing.TB
	dir string

	mu        sync.Mutex
	came      *sync.Cond
	committed uint64
	failures  []error
}

func open(t testing.TB, cfg Config) *rig {
	t.Helper()
	r, err := tryOpen(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tryOpen(t testing.TB, cfg Config) (*rig, error) {
	r := &rig{t: t, dir: cfg.Dir}
	r.came = sync.NewCond(&r.mu)
	cfg.Committed = func(epoch uint64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if epoch <= r.committed {
			t.Errorf("epoch %d committed after %d", epoch, r.committed)
		}
		r.committed = epoch
		r.came.Broadcast()
	}
	cfg.Failed = func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failures = append(r.failures, err)
		r.came.Broadcast()
	}
	fakeReserve(t, cfg.Dir)
	db, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	r.DB = db
	t.Cleanup(func() { r.Close() })
	return r, nil
}

// fakeReserve spares the disk of the machine that tests.
func fakeReserve(t testing.TB, dir string) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, reserveName)
	if _, err := os.Stat(name); err == nil {
		return
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, reserveSize); err != nil {
		t.Fatal(err)
	}
}

// commit waits until all that is staged is committed.
func (r *rig) commit() {
	r.t.Helper()
	r.DB.mu.Lock()
	epoch := r.epoch
	r.want(Now)
	r.DB.mu.Unlock()
	r.wait(func() bool { return r.committed >= epoch })
}

func (r *rig) wait(cond func() bool) {
	r.t.Helper()
	deadline := time.AfterFunc(20*time.Second, r.came.Broadcast)
	defer deadline.Stop()
	start := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !cond() {
		if time.Since(start) > 19*time.Second {
			r.t.Fatalf("waited in vain; committed %d, failures %v", r.committed, r.failures)
		}
		r.came.Wait()
	}
}

// said returns what Failed was called with.
func (r *rig) said() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failures)
}

// last returns the last epoch that was committed.
func (r *rig) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committed
}

// close ends the store as it should end.
func (r *rig) close() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// size is that of the file.
func size(t testing.TB, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// snapshot copies the files as a process that is killed now would leave them.
func snapshot(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "snapshot")
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileName, newName} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// storeOf makes a directory whose store is file.
func storeOf(t testing.TB, file []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fileOf(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contents is what a store holds: keys, and records as q<id>.<seq>.
type contents map[string]string

func (c contents) setRecord(id, seq uint64, rec string) { c[fmt.Sprintf("q%d.%d", id, seq)] = rec }

// read reads everything in a store that was just opened.
func (r *rig) read() contents {
	c := make(contents)
	r.Ascend("", func(key, value string) bool {
		if _, _, ok := parseQueueKey(key); !ok {
			c[key] = value
		}
		return true
	})
	for id, q := range r.loaded {
		for seq := q.First(); seq < q.Next(); seq++ {
			if rec, ok := q.Record(seq); ok {
				c.setRecord(id, seq, string(rec))
			}
		}
	}
	return c
}

// check compares, and names the differences.
func (c contents) check(t testing.TB, want contents) {
	t.Helper()
	if maps.Equal(c, want) {
		return
	}
	for k, v := range want {
		if got, ok := c[k]; !ok {
			t.Errorf("%q is lost", k)
		} else if got != v {
			t.Errorf("%q is %.40q, want %.40q", k, got, v)
		}
	}
	for k := range c {
		if _, ok := want[k]; !ok {
			t.Errorf("%q is there, and should not be", k)
		}
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db := open(t, Config{Dir: dir})
	db.Set("session/a", "one", Lazy)
	db.Set("session/b", "\r\n*3\r\n\x00", Lazy)
	db.Set("session/c", "", Lazy)
	db.Set("gone", "x", Lazy)
	db.Delete("gone", Lazy)
	q := db.Queue(7)
	for i := range 5 {
		q.Append(fmt.Append(nil, "record ", i), Lazy)
	}
	q.Append(nil, Lazy)
	q.Done(2)
	db.commit()
	if !q.Committed(6) || q.Committed(7) {
		t.Error("6 records are committed, not more")
	}
	q.Done(1)
	q.Done(4)
	db.close()

	for name, mode := range map[string]os.FileMode{".": 0o700, fileName: 0o600, reserveName: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, %v", name, info.Mode().Perm(), err)
		}
	}

	db = open(t, Config{Dir: dir})
	if r := db.Report(); r != (Report{Records: 4}) {
		t.Errorf("report is %+v", r)
	}
	var keys []string
	db.Ascend("session/", func(key, value string) bool {
		keys = append(keys, key+"="+value)
		return true
	})
	if got, want := fmt.Sprintf("%q", keys), `["session/a=one" "session/b=\r\n*3\r\n\x00" "session/c="]`; got != want {
		t.Errorf("keys are %s, want %s", got, want)
	}
	q = db.Queue(7)
	// That single records are done is not on disk, only that a whole chunk is.
	if q.First() != 1 || q.Next() != 7 || q.Len() != 5 {
		t.Errorf("queue has %d records in %d..%d", q.Len(), q.First(), q.Next())
	}
	if rec, ok := q.Record(5); string(rec) != "record 4" || !ok {
		t.Errorf("record 5 is %q, %v", rec, ok)
	}
	if rec, ok := q.Record(6); len(rec) != 0 || !ok {
		t.Errorf("record 6 is %q, %v; want an empty one", rec, ok)
	}
	if rec, ok := q.Record(2); ok {
		t.Errorf("record 2, done before it was written, is %q", rec)
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Config{Dir: dir})
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("opened twice: %v", err)
	}
	db.close()
	open(t, Config{Dir: dir})
}

func TestRemoveUnopened(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Config{Dir: dir})
	for id := range uint64(3) {
		db.Queue(id).Append([]byte("x"), Now)
	}
	db.close()
	db = open(t, Config{Dir: dir})
	db.Queue(1)
	if n := db.RemoveUnopened(); n != 2 {
		t.Errorf("%d removed, want 2", n)
	}
	// A queue that begins anew may use the very keys that are being deleted.
	db.Queue(2).Append([]byte("new"), Now)
	db.close()
	open(t, Config{Dir: dir}).read().check(t, contents{"q1.1": "x", "q2.1": "new"})
}

func TestBytes(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Config{Dir: dir, MaxBytes: 1000})
	db.Set("abc", "defg", Now)
	db.commit()
	if got, want := db.Bytes(), int64(3+4+headerLen+overhead); got != want {
		t.Errorf("a key costs %d, want %d", got, want)
	}
	db.Set("abc", "d", Now)
	q := db.Queue(1)
	q.Append(make([]byte, 100), Now)
	db.commit()
	want := int64(3 + 1 + headerLen + overhead + queueKeyLen + headerLen + 1 + 100 + overhead)
	if got := db.Bytes(); got != want {
		t.Errorf("a key and a chunk cost %d, want %d", got, want)
	}
	if q.Bytes() != 116 || q.Len() != 1 {
		t.Errorf("the queue has %d bytes in %d records", q.Bytes(), q.Len())
	}
	if !db.Room(1000-want) || db.Room(1001-want) {
		t.Errorf("no room where there is, or the other way round")
	}
	db.close()
	db = open(t, Config{Dir: dir})
	if got := db.Bytes(); got != want {
		t.Errorf("after it is opened again %d, want %d", got, want)
	}
	db.Delete("abc", Now)
	db.Queue(1).Remove()
	db.commit()
	if got := db.Bytes(); got != 0 {
		t.Errorf("empty costs %d", got)
	}
	// What is done before it is written leaves nothing behind in the account.
	for range 1000 {
		q := db.Queue(2)
		q.Append(make([]byte, 300), Lazy)
		q.Skip()
		q.Append(make([]byte, 10), Lazy)
		q.Done(1)
		q.Done(3)
	}
	if got := db.Bytes(); got != 0 {
		t.Errorf("after elision %d", got)
	}
}

func TestParseSync(t *testing.T) {
	for _, s := range []Sync{Always, Interval, Never} {
		if got, err := ParseSync(s.String()); got != s || err != nil {
			t.Errorf("%v becomes %v, %v", s, got, err)
		}
	}
	if _, err := ParseSync("sometimes"); err == nil {
		t.Error("sometimes is accepted")
	}
}
