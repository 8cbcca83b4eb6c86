package store

import (
	"encoding/binary"
	"strings"
)

// A Queue is the order of the records that wait for one session: durable, or in memory only for a nil DB.
// Sequence numbers start at 1 and have no gaps but by Skip and SetNext.
//
// A Queue of a DB shares its lock with the committer. A Queue in memory has no lock. Either way the methods
// are called by one goroutine at a time.
type Queue struct {
	// Set once by DB.Queue.
	db *DB // nil: in memory only
	id uint64

	// Guarded by db.mu.
	first, next uint64 // what precedes first is done; next is not given yet
	durable     uint64 // what precedes it is on disk
	head, tail  *chunk // chunks with something left; numbers between chunks are done
	start, read cursor // where first is, and where the last Record was: both advance in order
	bytes       int64
	len         int32
	usual       uint32 // bytes that the last chunk held which was never written
	dirty       bool   // in db.dirty
	still       uint8  // looks of the committer since a record was done, as long as it is dirty
}

// A cursor remembers where in a chunk a record is, so that the next is found without a search.
type cursor struct {
	c   *chunk
	seq uint64
	off int
}

// recordCharge is what a waiting record counts: its bytes, and 16 for its length and its share of the chunk.
func recordCharge(rec []byte) int64 { return int64(len(rec)) + 16 }

func (q *Queue) lock() {
	if q.db != nil {
		q.db.mu.Lock()
	}
}

func (q *Queue) unlock() {
	if q.db != nil {
		q.db.mu.Unlock()
	}
}

// Append adds a copy of rec, which may be empty, and returns its sequence number.
// It is on disk once Committed says so, or once Config.Committed came with DB.Epoch as it is after this call.
func (q *Queue) Append(rec []byte, when Urgency) (seq uint64) {
	q.lock()
	defer q.unlock()
	c := q.tail
	switch {
	case c == nil || c.written || c.end() != q.next:
		c = q.begin(len(rec))
	case len(c.data)+binary.MaxVarintLen32+len(rec) > maxChunk:
		q.usual = fullRoom // one is full: so will be the next
		c = q.begin(len(rec))
	}
	before := len(c.data)
	c.append(rec)
	q.len++
	q.bytes += recordCharge(rec)
	if q.db != nil {
		q.db.pending += int64(len(c.data) - before)
		if !q.dirty {
			q.dirty = true
			q.db.dirty = append(q.db.dirty, dirtyQueue{Queue: q})
		}
		q.db.want(when)
	}
	q.next++
	return q.next - 1
}

// Skip takes a sequence number that gets no record.
func (q *Queue) Skip() (seq uint64) {
	q.lock()
	defer q.unlock()
	if c := q.tail; c != nil && !c.written && c.end() == q.next {
		c.appendHole()
		if q.db != nil {
			q.db.pending++
		}
	}
	q.next++
	q.advance()
	return q.next - 1
}

// SetNext makes seq the next number to be given, if it would be a smaller one otherwise. A queue that was empty on disk
// starts at 1 again: its owner knows which numbers the peer may still remember.
func (q *Queue) SetNext(seq uint64) {
	q.lock()
	defer q.unlock()
	if seq > q.next {
		q.next = seq
		q.advance()
	}
}

// First returns the lowest number that is not done, or Next if none waits.
func (q *Queue) First() uint64 {
	q.lock()
	defer q.unlock()
	return q.first
}

// Next returns the number that the next Append will give.
func (q *Queue) Next() uint64 {
	q.lock()
	defer q.unlock()
	return q.next
}

// Len returns how many records wait.
func (q *Queue) Len() int {
	q.lock()
	defer q.unlock()
	return int(q.len)
}

// Bytes returns the bytes of the waiting records, with 16 for each.
func (q *Queue) Bytes() int64 {
	q.lock()
	defer q.unlock()
	return q.bytes
}

// Committed reports whether everything up to seq is as durable as Config.Sync promises.
// A queue in memory never is.
func (q *Queue) Committed(seq uint64) bool {
	q.lock()
	defer q.unlock()
	return seq < q.durable
}

// Record returns a view of a record, valid until Done(seq) or Remove, not to be written.
// ok is false if there is none: skipped, done, lost by damage, or not given yet.
// A record beside the one that was asked for last is found at once, another by stepping through a chunk.
func (q *Queue) Record(seq uint64) (rec []byte, ok bool) {
	q.lock()
	defer q.unlock()
	at, ok := q.seek(q.read, seq)
	if !ok || q.isDone(at.c, seq) {
		return nil, false
	}
	q.read = at
	rec, _, ok = record(at.c.data, at.off)
	return rec, ok
}

// Done takes away a record that its recipient has acknowledged. If it was not written yet it never will be.
// Otherwise its chunk is deleted with the last of its records, when the next commit comes or a second later.
func (q *Queue) Done(seq uint64) {
	q.lock()
	defer q.unlock()
	at, ok := q.seek(q.start, seq)
	if !ok || q.isDone(at.c, seq) {
		return
	}
	rec, next, _ := record(at.c.data, at.off)
	q.still = 0
	q.len--
	q.bytes -= recordCharge(rec)
	at.c.left--
	if at.c.left == 0 {
		q.drop(at.c)
	} else if seq == q.first {
		q.start = cursor{at.c, seq + 1, next}
	} else {
		at.c.setDone(seq)
	}
	if seq == q.first {
		q.first++
		q.advance()
	}
}

// Remove takes away all records, waiting or not. The numbers go on.
func (q *Queue) Remove() {
	q.lock()
	defer q.unlock()
	for q.head != nil {
		q.drop(q.head)
	}
	q.first, q.len, q.bytes = q.next, 0, 0
}

// isDone reports whether seq, which is in c, is done or a hole.
func (q *Queue) isDone(c *chunk, seq uint64) bool { return seq < q.first || c.isDone(seq) }

// seek finds seq from a position at or before it, if from is one, else from the first chunk.
func (q *Queue) seek(from cursor, seq uint64) (at cursor, ok bool) {
	if seq < q.first || seq >= q.next || q.head == nil {
		return at, false
	}
	at = from
	if at.c == nil || at.seq > seq {
		at = q.start
	}
	if at.c == nil || at.seq > seq {
		at = cursor{q.head, q.head.first, headerLen}
	}
	for seq >= at.c.end() {
		c := at.c.next
		if c == nil {
			return at, false
		}
		at = cursor{c, c.first, headerLen}
	}
	if seq < at.c.first {
		return at, false
	}
	for at.seq < seq {
		_, at.off, ok = record(at.c.data, at.off)
		if !ok {
			panic("store: a chunk in memory is broken")
		}
		at.seq++
	}
	return at, true
}

// advance moves first over what is done already.
func (q *Queue) advance() {
	for q.first < q.next {
		switch c := q.head; {
		case c == nil:
			q.first = q.next
		case q.first < c.first:
			q.first = c.first
		case c.isDone(q.first):
			q.first++
		default:
			return
		}
	}
}

// begin appends a chunk for a record of so many bytes, with room for as many more as there were in the last.
func (q *Queue) begin(size int) *chunk {
	room := max(size, min(int(q.usual), fullRoom))
	if q.db != nil {
		room = max(room, min(q.db.usual, maxUsual))
		q.db.pending += overhead + int64(queueKeyLen)
	}
	c := newChunk(q.next, room)
	q.push(c)
	return c
}

// push appends c to the chunks.
func (q *Queue) push(c *chunk) {
	c.prev = q.tail
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

// drop takes c out of the chunks, and off the disk if it is there.
func (q *Queue) drop(c *chunk) {
	if c.prev == nil {
		q.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		q.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	q.forget(c)
	if c.written {
		q.db.stage(queueKey(q.id, c.first), nil, Lazy)
		return
	}
	if q.db != nil {
		q.db.pending -= overhead + int64(queueKeyLen) + int64(len(c.data)-headerLen)
	}
	q.usual = uint32(len(c.data))
	c.recycle()
}

// forget makes cursors in c search again.
func (q *Queue) forget(c *chunk) {
	if q.start.c == c {
		q.start = cursor{}
	}
	if q.read.c == c {
		q.read = cursor{}
	}
}

// unwritten returns the lowest number that is neither done nor part of a batch, if there is one.
func (q *Queue) unwritten() (seq uint64, ok bool) {
	c := q.tail
	if c == nil || c.written {
		return 0, false
	}
	for c.prev != nil && !c.prev.written {
		c = c.prev
	}
	for seq = max(c.first, q.first); c.isDone(seq); {
		seq++
	}
	return seq, true // c has something left, or it would have been dropped
}

// seal makes the chunks that were appended to since the last commit what they will be on disk,
// without the records that are done already, and adds them to b.
func (q *Queue) seal(b *batch) {
	q.dirty = false
	c := q.tail
	if c == nil || c.written {
		return
	}
	for c.prev != nil && !c.prev.written {
		c = c.prev
	}
	if p := c.prev; p != nil && len(p.data) < smallChunk && len(c.data) < maxChunk && c.first-p.end() < smallChunk {
		q.merge(p, c)
		b.put(q.id, p)
		c = p.next
	}
	for ; c != nil; c = c.next {
		q.settle(c)
		b.put(q.id, c)
	}
}

// merge moves the records of c, which is open, behind those of p, which is on disk and small.
func (q *Queue) merge(p, c *chunk) {
	merged := chunk{prev: p.prev, next: c.next, first: p.first}
	merged.data = make([]byte, headerLen, len(p.data)+int(c.first-p.end())+len(c.data))
	q.copyLeft(&merged, p)
	for merged.end() < c.first {
		merged.appendHole()
	}
	q.copyLeft(&merged, c)
	merged.clip()
	if c.next == nil {
		q.tail = p
	} else {
		c.next.prev = p
	}
	q.forget(p)
	q.forget(c)
	merged.written = true
	*p = merged
}

// settle gives c the buffer that it keeps: without what is done, and without room to grow.
func (q *Queue) settle(c *chunk) {
	c.written = true
	q.db.usual = (q.db.usual + len(c.data) + 1) / 2
	if c.left == c.n && c.tight() {
		return
	}
	settled := chunk{prev: c.prev, next: c.next, first: max(c.first, q.first), written: true}
	settled.data = make([]byte, headerLen, len(c.data))
	q.copyLeft(&settled, c)
	settled.clip()
	q.forget(c)
	*c = settled
}

// copyLeft appends the records of from to c, from c.end on, as far as they are not done, and holes for the others.
func (q *Queue) copyLeft(c, from *chunk) {
	off := headerLen
	for seq := from.first; seq < from.end(); seq++ {
		rec, next, _ := record(from.data, off)
		switch {
		case seq < c.first:
		case q.isDone(from, seq):
			c.appendHole()
		default:
			c.append(rec)
		}
		off = next
	}
}

// The key of a chunk is q/, the id of its queue and the number of its first record, so that chunks sort as they are read.
const (
	queuePrefix = "q/"
	queueKeyLen = len(queuePrefix) + 8 + 8 // bytes
)

func queueKey(id, first uint64) string {
	b := make([]byte, 0, queueKeyLen)
	b = append(b, queuePrefix...)
	b = binary.BigEndian.AppendUint64(b, id)
	return freeze(binary.BigEndian.AppendUint64(b, first))
}

// parseQueueKey is the inverse of queueKey.
func parseQueueKey(key string) (id, first uint64, ok bool) {
	if len(key) != queueKeyLen || !strings.HasPrefix(key, queuePrefix) {
		return 0, 0, false
	}
	b := view(key)[len(queuePrefix):]
	return binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), true
}

// load adds a chunk as it was found on disk. Chunks come in order.
func (q *Queue) load(first uint64, value string) bool {
	c, bytes, ok := readChunk(first, view(value))
	if !ok || first < q.next && q.head != nil || first == 0 {
		return false
	}
	q.push(c)
	q.len += int32(c.left)
	q.bytes += bytes
	q.next = c.end()
	q.durable = q.next
	q.first = q.head.first
	q.advance()
	return true
}
