package store

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"unsafe"
)

// A view stays what it is until its record is done, whatever is committed, merged and done around it.
func TestViews(t *testing.T) {
	r := open(t, Config{Dir: t.TempDir(), Sync: Never})
	q := r.Queue(1)
	rec := func(seq uint64) []byte { return bytes.Repeat([]byte{byte(seq)}, 40) }
	views := make(map[uint64][]byte)
	for i := range 500 {
		seq := q.Append(rec(q.Next()), Now)
		views[seq], _ = q.Record(seq)
		if i%7 == 0 {
			r.commit()
		}
		if i%3 == 0 {
			seq := q.First() + uint64(i%5)
			q.Done(seq)
			delete(views, seq)
		}
		for seq, v := range views {
			if !bytes.Equal(v, rec(seq)) {
				t.Fatalf("the view of %d has become %x", seq, v)
			}
		}
	}
}

// A trickle of single records, each committed alone, does not become an item each.
func TestTrickle(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	q := r.Queue(1)
	want := make(contents)
	for i := range 500 {
		rec := fmt.Sprintf("record %050d", i)
		want.setRecord(1, q.Append([]byte(rec), Now), rec)
		r.commit()
		if i == 250 {
			q.Skip()
		}
	}
	items := 0
	r.Ascend(queuePrefix, func(key, value string) bool { items++; return true })
	if most := 500*58/smallChunk + 2; items > most {
		t.Errorf("500 records are %d items, want no more than %d", items, most)
	}
	r.close()
	r = open(t, Config{Dir: dir})
	r.read().check(t, want)
	q = r.Queue(1)
	for seq := q.First(); seq < q.Next(); seq++ {
		q.Done(seq)
	}
	r.commit()
	items = 0
	r.Ascend("", func(key, value string) bool { items++; return true })
	if items != 0 || q.First() != 502 || q.Next() != 502 {
		t.Errorf("%d items are left, queue %d..%d", items, q.First(), q.Next())
	}
}

// A record may be as large as the largest packet, and has a chunk of its own.
func TestLargeRecord(t *testing.T) {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	q := r.Queue(1)
	large := bytes.Repeat([]byte("large"), 1<<20)
	q.Append([]byte("small"), Now)
	q.Append(large, Now)
	q.Append([]byte("small"), Now)
	r.commit()
	q.Done(2)
	r.commit()
	if n := r.Bytes(); n > 1000 {
		t.Errorf("the large record is done, and still %d bytes are charged", n)
	}
	q.Append(large, Now)
	r.close()
	r = open(t, Config{Dir: dir})
	q = r.Queue(1)
	if rec, ok := q.Record(4); !ok || !bytes.Equal(rec, large) {
		t.Errorf("the record has %d bytes, %v", len(rec), ok)
	}
}

func TestSetNext(t *testing.T) {
	for name, db := range map[string]*DB{"memory": nil, "disk": open(t, Config{Dir: t.TempDir(), Sync: Never}).DB} {
		q := db.Queue(9)
		q.SetNext(100)
		if q.First() != 100 || q.Next() != 100 {
			t.Errorf("%s: %d..%d", name, q.First(), q.Next())
		}
		q.Append([]byte("a"), Now)
		q.SetNext(200)
		q.SetNext(50)
		q.Append([]byte("b"), Now)
		a, _ := q.Record(100)
		b, _ := q.Record(200)
		if _, ok := q.Record(150); ok || string(a) != "a" || string(b) != "b" || q.Next() != 201 {
			t.Errorf("%s: %q, %q, next %d", name, a, b, q.Next())
		}
		q.Done(150)
		q.Done(100)
		if q.First() != 200 || q.Len() != 1 {
			t.Errorf("%s: first is %d of %d", name, q.First(), q.Len())
		}
	}
}

// A session whose client is there appends and acknowledges without garbage, durable or not.
func TestAllocs(t *testing.T) {
	rec := make([]byte, 100)
	db := open(t, Config{Dir: t.TempDir(), Sync: Never, Linger: 1 << 50})
	for name, db := range map[string]*DB{"memory": nil, "disk": db.DB} {
		q := db.Queue(1)
		if n := testing.AllocsPerRun(1000, func() {
			seq := q.Append(rec, Soon)
			q.Append(rec, Soon)
			q.Record(seq)
			q.Record(seq + 1)
			q.Done(seq)
			q.Done(seq + 1)
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestQueueSize(t *testing.T) {
	if size := unsafe.Sizeof(Queue{}); size > 128 {
		t.Errorf("a queue with nothing waiting takes %d bytes", size)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Bursts that are done before they are written leave no garbage, of whatever size, and a
// queue that held much does not hold a large buffer for little.
func TestBurstsAllocateNothing(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("built with the race detector, which drops buffers from their pools")
	}
	rec := make([]byte, 100)
	for _, burst := range []int{1, 60, 1000, 5000} {
		q := (*DB)(nil).Queue(0)
		once := func() {
			for range burst {
				q.Append(rec, Soon)
			}
			for q.Len() > 0 {
				q.Done(q.First())
			}
		}
		once() // what is usual is known now
		if n := testing.AllocsPerRun(50, once); n >= 1 {
			t.Errorf("a burst of %d allocates %v times", burst, n)
		}
		for range 2 {
			q.Append(rec, Soon)
			if n := cap(q.tail.data); burst == 1 && n > 256 {
				t.Errorf("a record of %d bytes has a buffer of %d", len(rec), n)
			}
			q.Done(q.First())
		}
		if q.Append(rec, Soon); cap(q.tail.data) > 256 {
			t.Errorf("after bursts of %d a record of %d bytes has a buffer of %d", burst, len(rec), cap(q.tail.data))
		}
	}
}
