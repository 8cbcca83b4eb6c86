package store

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
)

// maxChunk bounds a chunk in bytes, unless it is a single record: memory and disk of a chunk
// are given back when the last of its records is done, so a chunk must not be too large.
const maxChunk = 64 << 10

// smallChunk: the tail chunk is written again with the new records as long as it is smaller than this, in bytes.
// A trickle of records of 130 bytes, each committed alone, so takes 165 bytes of the heap a record with what BuntDB has for
// each key, instead of 249, and 1,219 bytes of file instead of 234. A commit costs a disk 4 KiB at least, however small.
const smallChunk = 2 << 10

// A chunk holds consecutive records of one queue, as they are on disk:
//
//	header  5 bytes, see value.go
//	record  uvarint 1 + length, then the bytes
//	hole    0: a number without a record (skipped, or done before it was written)
type chunk struct {
	prev, next *chunk
	first      uint64   // sequence number of the first record
	n          uint32   // records and holes
	left       uint32   // records not done yet
	data       []byte   // with header; once written it is the very string that BuntDB holds
	done       []uint64 // a bit for each number from first on that is done out of order or a hole; may be short
	written    bool     // part of a batch: no more appended, and the key is to be deleted in the end
}

// chunks are used again, by the logarithm of their buffer's size: a queue that holds little
// is not to have a large one.
var chunks [17]sync.Pool

const (
	minClass = 8       // 256 bytes
	maxUsual = 4 << 10 // bytes, of what is usual for all queues: in most of them less waits
	fullRoom = maxChunk - headerLen - binary.MaxVarintLen32
)

// newChunk makes a chunk with room for a record of so many bytes, or several.
func newChunk(first uint64, room int) *chunk {
	n := headerLen + binary.MaxVarintLen32 + room
	class := max(minClass, bits.Len(uint(n-1)))
	if class >= len(chunks) {
		return &chunk{first: first, data: make([]byte, headerLen, n)}
	}
	c, ok := chunks[class].Get().(*chunk)
	if !ok {
		c = &chunk{data: make([]byte, 0, 1<<class)}
	}
	c.first = first
	c.data = c.data[:headerLen]
	return c
}

// recycle takes back a chunk that was never written and whose records are all done.
func (c *chunk) recycle() {
	if n := cap(c.data); n >= 1<<minClass && n <= maxChunk {
		*c = chunk{data: c.data, done: c.done[:0]}
		chunks[bits.Len(uint(n))-1].Put(c)
	}
}

func (c *chunk) end() uint64 { return c.first + uint64(c.n) }

func (c *chunk) append(rec []byte) {
	c.data = binary.AppendUvarint(c.data, uint64(len(rec))+1)
	c.data = append(c.data, rec...)
	c.n++
	c.left++
}

func (c *chunk) appendHole() {
	c.setDone(c.end())
	c.data = append(c.data, 0)
	c.n++
}

// tight reports whether the buffer has little room left, so that it may be kept for long.
func (c *chunk) tight() bool { return cap(c.data)-len(c.data) <= len(c.data)/8 }

func (c *chunk) clip() {
	if !c.tight() {
		c.data = bytes.Clone(c.data)
	}
}

func (c *chunk) isDone(seq uint64) bool {
	i := seq - c.first
	return i/64 < uint64(len(c.done)) && c.done[i/64]&(1<<(i%64)) != 0
}

func (c *chunk) setDone(seq uint64) {
	i := seq - c.first
	for uint64(len(c.done)) <= i/64 {
		c.done = append(c.done, 0)
	}
	c.done[i/64] |= 1 << (i % 64)
}

// record returns the record at off, nil for a hole, and the offset of the next.
// ok is false if there is no whole record.
func record(data []byte, off int) (rec []byte, next int, ok bool) {
	size, n := binary.Uvarint(data[off:])
	if n <= 0 || size > uint64(len(data)-off-n)+1 {
		return nil, off, false
	}
	off += n
	if size == 0 {
		return nil, off, true
	}
	next = off + int(size-1)
	return data[off:next:next], next, true
}

// readChunk makes a chunk of a value of the store. ok is false if it does not hold at least one record.
func readChunk(first uint64, data []byte) (c *chunk, charged int64, ok bool) {
	c = &chunk{first: first, data: data, written: true}
	for off := headerLen; off < len(data); c.n++ {
		rec, next, ok := record(data, off)
		if !ok {
			return nil, 0, false
		}
		if rec == nil {
			c.setDone(c.end())
		} else {
			c.left++
			charged += recordCharge(rec)
		}
		off = next
	}
	return c, charged, c.left > 0
}
