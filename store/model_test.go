package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// A model does to a map and some slices what it does to a store, at random.
type model struct {
	*rig
	rand   *rand.Rand
	queues map[uint64]*Queue
	keys   contents
	// By queue: what waits. A number that is missing was skipped or is done.
	waiting map[uint64]map[uint64]string
	next    map[uint64]uint64
}

func newModel(t testing.TB, seed uint64) *model {
	return &model{
		rand:    rand.New(rand.NewPCG(seed, 0)),
		keys:    make(contents),
		waiting: make(map[uint64]map[uint64]string),
		next:    make(map[uint64]uint64),
	}
}

// use makes the model go on with r, opened again or not.
func (m *model) use(r *rig) {
	m.rig = r
	m.queues = make(map[uint64]*Queue)
	for id := range uint64(4) {
		q := r.Queue(id)
		if m.waiting[id] == nil {
			m.waiting[id] = make(map[uint64]string)
			m.next[id] = 1
		}
		q.SetNext(m.next[id])
		m.queues[id] = q
	}
}

// step does one thing.
func (m *model) step() {
	id := m.rand.Uint64N(4)
	q, waiting := m.queues[id], m.waiting[id]
	when := Urgency(1 + m.rand.IntN(3))
	switch n := m.rand.IntN(100); {
	case n < 40:
		size := m.rand.IntN(100)
		if m.rand.IntN(50) == 0 {
			size = m.rand.IntN(100_000)
		}
		rec := make([]byte, size)
		for i := range rec {
			rec[i] = "*3\r\nset$del\x00\xff"[m.rand.IntN(13)]
		}
		seq := q.Append(rec, when)
		if seq != m.next[id] {
			m.t.Fatalf("queue %d gives %d, want %d", id, seq, m.next[id])
		}
		waiting[seq] = string(rec)
		clear(rec) // Append has copied it
		m.next[id]++
	case n < 42:
		m.next[id] = q.Skip() + 1
	case n < 55: // in order
		seq := q.First()
		delete(waiting, seq)
		q.Done(seq)
	case n < 70: // out of order, and what is done already
		seq := q.First() + m.rand.Uint64N(20)
		delete(waiting, seq)
		q.Done(seq)
	case n < 71:
		q.Remove()
		clear(waiting)
	case n < 85:
		key, value := fmt.Sprint("key", m.rand.IntN(30)), fmt.Sprint("value", m.rand.Int())
		m.keys[key] = value
		m.Set(key, value, when)
	case n < 95:
		key := fmt.Sprint("key", m.rand.IntN(30))
		delete(m.keys, key)
		m.Delete(key, when)
	case n < 96:
		m.commit()
	default:
		seq := q.First() + m.rand.Uint64N(20)
		want, ok := waiting[seq]
		if got, there := q.Record(seq); there != ok || string(got) != want {
			m.t.Fatalf("queue %d record %d is %.20q, %v; want %.20q, %v", id, seq, got, there, want, ok)
		}
	}
}

// check compares every queue in memory with the model.
func (m *model) check() {
	m.t.Helper()
	for id, q := range m.queues {
		waiting := m.waiting[id]
		var bytes int64
		first := m.next[id]
		for seq, rec := range waiting {
			bytes += recordCharge([]byte(rec))
			first = min(first, seq)
		}
		if q.Len() != len(waiting) || q.Bytes() != bytes || q.First() != first || q.Next() != m.next[id] {
			m.t.Fatalf("queue %d has %d records of %d bytes in %d..%d, want %d of %d in %d..%d",
				id, q.Len(), q.Bytes(), q.First(), q.Next(), len(waiting), bytes, first, m.next[id])
		}
		for seq := first; seq < m.next[id]; seq++ {
			want, ok := waiting[seq]
			if got, there := q.Record(seq); there != ok || string(got) != want {
				m.t.Fatalf("queue %d record %d is %.20q, %v; want %.20q, %v", id, seq, got, there, want, ok)
			}
		}
	}
}

// want is what must be on disk.
func (m *model) want() contents {
	c := maps.Clone(m.keys)
	for id, waiting := range m.waiting {
		for seq, rec := range waiting {
			c.setRecord(id, seq, rec)
		}
	}
	return c
}

// checkDisk compares a store that was just opened. A record that is done may be there still, because its chunk is;
// it is done again then.
func (m *model) checkDisk(r *rig) {
	m.t.Helper()
	for id, q := range r.loaded {
		for seq := q.First(); seq < q.Next(); seq++ {
			if _, ok := m.waiting[id][seq]; !ok && seq < m.next[id] {
				q.Done(seq)
			}
		}
	}
	r.read().check(m.t, m.want())
}

func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			dir := t.TempDir()
			for range 10 {
				r := open(t, Config{Dir: dir, Sync: Never})
				m.rig = r
				if rep := r.Report(); rep.Dropped > 0 || rep.Torn > 0 {
					t.Fatalf("report is %+v", rep)
				}
				m.checkDisk(r)
				m.use(r)
				for range 400 {
					m.step()
				}
				m.check()
				if m.rand.IntN(2) == 0 {
					m.close()
					continue
				}
				m.commit() // killed after it
				dir = snapshot(t, dir)
				m.close()
			}
		})
	}
}

// TestMemoryQueue runs the model's operations on queues of a nil DB.
func TestMemoryQueue(t *testing.T) {
	m := newModel(t, 1)
	r := open(t, Config{Dir: t.TempDir(), Sync: Never})
	m.use(r)
	for id := range m.queues {
		m.queues[id] = (*DB)(nil).Queue(0)
	}
	for range 20 {
		for range 500 {
			m.step()
		}
		m.check()
	}
	if q := m.queues[0]; q.Committed(1) {
		t.Error("a queue in memory is committed")
	}
}

// TestCut cuts the file at every byte of several batches. What was committed by then is there, and nothing of the next batch.
func TestCut(t *testing.T) {
	m := newModel(t, 3)
	dir := t.TempDir()
	m.use(open(t, Config{Dir: dir, Sync: Never}))
	type state struct {
		end  int64
		want contents
	}
	begun := size(t, dir)
	states := []state{{0, contents{}}, {begun, contents{}}}
	for len(states) < 8 {
		for range 6 {
			if m.rand.IntN(2) == 0 {
				key := fmt.Sprint("key", m.rand.IntN(5))
				m.keys[key] = fmt.Sprint(m.rand.IntN(1000))
				m.Set(key, m.keys[key], Lazy)
			} else {
				id := m.rand.Uint64N(3)
				rec := fmt.Sprint("record ", m.rand.IntN(1000))
				m.waiting[id][m.queues[id].Append([]byte(rec), Lazy)] = rec
			}
		}
		if len(states)%4 == 0 {
			m.queues[1].Remove()
			clear(m.waiting[1])
		}
		m.commit()
		states = append(states, state{size(t, dir), m.want()})
	}
	m.close()
	file := fileOf(t, dir)
	step := 1
	if testing.Short() {
		step = 17
	}
	at := 0
	for cut := 0; cut <= int(states[len(states)-1].end); cut += step {
		for at+1 < len(states) && states[at+1].end <= int64(cut) {
			at++
		}
		dir := storeOf(t, file[:cut])
		r := open(t, Config{Dir: dir, Sync: Never})
		r.read().check(t, states[at].want)
		rep := r.Report()
		if rep.Dropped != 0 || rep.Torn != int64(cut)-states[at].end {
			t.Errorf("report is %+v, want %d bytes torn", rep, int64(cut)-states[at].end)
		}
		r.Set("new", "x", Now)
		r.close()
		if t.Failed() {
			t.Fatalf("cut at %d of %d", cut, len(file))
		}
		if cut%16 == 0 { // and it goes on from there
			r = open(t, Config{Dir: dir, Sync: Never})
			want := maps.Clone(states[at].want)
			want["new"] = "x"
			r.read().check(t, want)
			r.close()
		}
	}
	t.Logf("cut at %d bytes", states[len(states)-1].end)
}
