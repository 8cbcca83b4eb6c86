package transport

import (
	"math/bits"
	"slices"
	"sync"
)

// Buffers come in powers of two. A larger one is left to the garbage collector.
const (
	minClass = 9  // 512 B
	maxClass = 21 // 2 MiB: a packet as large as is allowed, unless more is, and the next
)

// pieceSize is the output, in bytes, that one buffer holds, but for a packet that is larger.
// A slow peer's is not copied over and over as it grows.
const pieceSize = 128 << 10

var pools [maxClass - minClass + 1]sync.Pool

// buffer is bytes on their way: b[off:] is still to be taken.
// It has one owner at a time, who gives it back with free.
type buffer struct {
	b    []byte
	off  int
	next *buffer // see Conn.out
}

// newBuffer returns an empty buffer with room for n bytes.
func newBuffer(n int) *buffer {
	class := max(minClass, bits.Len(uint(n-1)))
	if n <= 1<<minClass {
		class = minClass
	}
	if class > maxClass {
		return &buffer{b: make([]byte, 0, n)}
	}
	if b, ok := pools[class-minClass].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<class)}
}

// free gives the buffer back; neither it nor its bytes may be used after.
func (b *buffer) free() {
	// The handler's append may have left any capacity: round down.
	class := bits.Len(uint(cap(b.b))) - 1
	if class < minClass || class > maxClass {
		return
	}
	b.b, b.off, b.next = b.b[:0], 0, nil
	pools[class-minClass].Put(b)
}

// grow makes room for n more bytes, by moving into a pooled buffer of at
// least twice the capacity as long as there are such.
func (b *buffer) grow(n int) {
	need := len(b.b) + n
	switch {
	case need <= cap(b.b):
	case need <= 1<<maxClass:
		b.move(need)
	default:
		b.b = slices.Grow(b.b, n)
	}
}

// move puts the bytes into an array from the pool that holds n.
func (b *buffer) move(n int) {
	to := newBuffer(n)
	b.b, to.b = append(to.b, b.b...), b.b
	to.free()
}

// rest is what is still to be taken.
func (b *buffer) rest() []byte { return b.b[b.off:] }

// drop forgets the first n bytes, and moves into a smaller array if what
// stays would hold more than eight times the memory it needs.
func (b *buffer) drop(n int) {
	if n == 0 {
		return
	}
	b.b = b.b[:copy(b.b, b.b[n:])]
	if cap(b.b) > 8<<minClass && cap(b.b) > 8*len(b.b) {
		b.move(len(b.b))
	}
}
