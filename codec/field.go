package codec

import "encoding/binary"

// Limits of the formats, in bytes.
const (
	maxString = 1<<16 - 1 // of a string or binary field
	maxVarint = 1<<28 - 1 // the largest variable byte integer
)

// fields is a cursor over the fields of one packet. The first fault sticks:
// after it every read gives zero, so that a decode looks at err once, at its
// end. What it gives are views of b, cut so that an append copies them.
type fields struct {
	b   []byte
	err *Error

	// Inside a block of properties, b ends with the block.
	rest []byte // what follows the block
	seen uint64 // bit i is set: property i was there
	id   byte   // the property to read now

	store *storage
}

// storage is what the lists of packets are made in, time and again.
type storage struct {
	users         []UserProperty
	ids           []uint32
	subscriptions []Subscription
	filters       [][]byte
	codes         []ReasonCode

	most int // Decoder.MaxList
}

// keep appends v to a list of a packet. A list that is nil begins in the storage
// spare, which grows with it. What one packet made large is let go, so that a
// Decoder stays small.
func keep[T any](list []T, spare *[]T, v T) []T {
	const most = 256
	if list == nil && cap(*spare) <= most {
		list = (*spare)[:0]
	}
	list = append(list, v)
	*spare = list
	return list
}

func (f *fields) fail(err *Error) {
	if f.err == nil {
		f.err = err
	}
	f.b, f.rest = nil, nil
}

// end makes sure that nothing is left of the packet.
func (f *fields) end() {
	if len(f.b) > 0 {
		f.fail(errTrailing)
	}
}

func (f *fields) byte() byte {
	if len(f.b) < 1 {
		f.fail(errShort)
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

// bit reads a byte that is 0 or 1.
func (f *fields) bit() byte {
	v := f.byte()
	if v > 1 {
		f.fail(errPropertyValue)
		return 0
	}
	return v
}

func (f *fields) uint16() uint16 {
	if len(f.b) < 2 {
		f.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(f.b)
	f.b = f.b[2:]
	return v
}

// positive16 reads a number for which 0 is no value.
func (f *fields) positive16() uint16 {
	v := f.uint16()
	if v == 0 {
		f.fail(errPropertyValue)
	}
	return v
}

func (f *fields) uint32() uint32 {
	if len(f.b) < 4 {
		f.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

func (f *fields) positive32() uint32 {
	v := f.uint32()
	if v == 0 {
		f.fail(errPropertyValue)
	}
	return v
}

// varint reads a variable byte integer in its shortest form [MQTT-1.5.5-1].
func (f *fields) varint() uint32 {
	if len(f.b) > 0 && f.b[0] < 0x80 { // nearly always
		v := f.b[0]
		f.b = f.b[1:]
		return uint32(v)
	}
	v, n, err := varint(f.b)
	switch {
	case err != nil || n != sizeVarint(v) && n != 0:
		f.fail(errVarint)
		return 0
	case n == 0:
		f.fail(errShort)
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) binary() []byte {
	if len(f.b) < 2 {
		f.fail(errShort)
		return nil
	}
	n := 2 + int(binary.BigEndian.Uint16(f.b))
	if len(f.b) < n {
		f.fail(errShort)
		return nil
	}
	v := f.b[2:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) text() []byte {
	v := f.binary()
	if ok, _ := scan(v); !ok {
		f.fail(errUTF8)
	}
	return v
}

// topic reads a topic name that may not be empty.
func (f *fields) topic() []byte {
	v := f.binary()
	if f.err == nil {
		if err := ValidTopic(v); err != nil {
			f.fail(err)
		}
	}
	return v
}

// packetID reads a packet identifier.
func (f *fields) packetID() uint16 {
	if len(f.b) < 2 {
		f.fail(errShort)
		return 0
	}
	id := binary.BigEndian.Uint16(f.b)
	f.b = f.b[2:]
	if id == 0 {
		f.fail(errPacketID)
	}
	return id
}

// properties enters the block of properties, which then is read by
//
//	for f.next() {
//		switch f.id {
//
// with a case for each property the packet may carry.
func (f *fields) properties() {
	n := int(f.varint())
	if n > len(f.b) {
		f.fail(errShort)
		return
	}
	f.b, f.rest = f.b[:n], f.b[n:]
	f.seen = 0
}

// next reads the identifier of the next property to id, or leaves the block
// and returns false. The identifier is a variable byte integer, but all that
// are defined take one byte.
func (f *fields) next() bool {
	if len(f.b) == 0 {
		f.b, f.rest = f.rest, nil
		return false
	}
	f.id = f.b[0]
	f.b = f.b[1:]
	bit := uint64(1) << (f.id & 63)
	if f.seen&bit != 0 && f.id < 64 {
		f.fail(errPropertyTwice)
		return false
	}
	f.seen |= bit
	return true
}

// again allows the property just read another time.
func (f *fields) again() { f.seen &^= 1 << f.id }

// user reads a user property and appends it to list, unless that is too long already.
func (f *fields) user(list []UserProperty) []UserProperty {
	f.again()
	if f.tooMany(len(list) - 1) {
		f.binary()
		f.binary()
		return list
	}
	u := UserProperty{Name: f.text(), Value: f.text()} // [MQTT-1.5.7-1]
	return keep(list, &f.store.users, u)
}

// tooMany says whether a list may not have one more than n.
func (f *fields) tooMany(n int) bool { return f.store.most != 0 && n >= f.store.most }

// varint reads the variable byte integer at the start of b; n is its length,
// 0 if b ends inside it. It may be longer than it needs to be.
func varint(b []byte) (v uint32, n int, err *Error) {
	for n < len(b) && n < 4 {
		c := b[n]
		v |= uint32(c&0x7f) << (7 * n)
		n++
		if c < 0x80 {
			return v, n, nil
		}
	}
	if n == 4 {
		return 0, 0, errVarint
	}
	return 0, 0, nil
}

// sizeVarint is the number of bytes of v as a variable byte integer.
func sizeVarint(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// appendVarint appends v, which is at most maxVarint.
func appendVarint(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// appendBinary appends v with its length. The format has no room for more than
// maxString bytes: of a longer v only as much is written, so that at least the
// packets behind it are read right.
func appendBinary(b, v []byte) []byte {
	if len(v) > maxString {
		v = v[:maxString]
	}
	b = append(b, byte(len(v)>>8), byte(len(v)))
	return append(b, v...)
}

// closeLength sets the variable byte integer at b[at], for which one byte was
// left, to the length of what follows it, including more bytes that are yet to
// be appended.
func closeLength(b []byte, at, more int) []byte {
	n := len(b) - at - 1 + more
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	extra := sizeVarint(uint32(n)) - 1
	for range extra {
		b = append(b, 0)
	}
	copy(b[at+1+extra:], b[at+1:])
	appendVarint(b[:at], uint32(n))
	return b
}
