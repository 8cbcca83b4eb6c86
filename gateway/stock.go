package gateway

import (
	"math/bits"
	"sync"
	"unsafe"
)

// A stock keeps slices that were needed for a burst, for the next one of whatever connection:
// they would be garbage of some bytes for each message, and more than is to be held for each.
// Its slices have powers of two as their length; they are zero when they are taken.
type stock[T any] [20]sync.Pool // by the logarithm of the length: pointers to the first element

// get gives n elements; n is a power of two.
func (s *stock[T]) get(n int) []T {
	if first, ok := s[bits.Len(uint(n))-1].Get().(*T); ok {
		return unsafe.Slice(first, n)
	}
	return make([]T, n)
}

// put takes back what get gave, which may not be used any more, if it is anything.
func (s *stock[T]) put(b []T) {
	if n := len(b); n > 0 {
		clear(b)
		s[bits.Len(uint(n))-1].Put(&b[0])
	}
}
