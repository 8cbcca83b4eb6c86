package sn

import "encoding/binary"

// fields is a cursor over the fields of one message. The first fault sticks:
// after it every read gives zero, so that a decode looks at err once, at its
// end. What it gives are views of b, cut so that an append copies them.
type fields struct {
	b   []byte
	err *Error
}

func (f *fields) fail(err *Error) {
	if f.err == nil {
		f.err = err
	}
	f.b = nil
}

// end makes sure that nothing is left of the message.
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

func (f *fields) uint16() uint16 {
	if len(f.b) < 2 {
		f.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(f.b)
	f.b = f.b[2:]
	return v
}

// rest reads the last field, which runs to the end of the message.
func (f *fields) rest() []byte {
	v := f.b[:len(f.b):len(f.b)]
	f.b = nil
	return v
}

// topic reads a topic as the last field.
func (f *fields) topic() []byte {
	if len(f.b) == 0 {
		f.fail(errNoTopic)
		return nil
	}
	return f.rest()
}

// flags is a byte of flags. A message has those that its type gives a meaning.
type flags byte

const (
	flagDup    flags = 0x80
	flagRetain flags = 0x10
	flagWill   flags = 0x08
	flagClean  flags = 0x04
)

func (f *fields) flags() flags { return flags(f.byte()) }

func (c flags) has(bit flags) bool { return c&bit != 0 }

// qos is 0 to 2, or 3 for -1.
func (c flags) qos() byte { return byte(c >> 5 & 3) }

// signedQoS is -1 to 2.
func (c flags) signedQoS() int8 {
	q := int8(c.qos())
	if q == 3 {
		return -1
	}
	return q
}

func (c flags) topicIDType() TopicIDType { return TopicIDType(c & 3) }

// pack makes a byte of flags of a QoS from -1 to 3 and a type of topic id.
func pack(qos int8, t TopicIDType) flags { return flags(qos&3)<<5 | flags(t&3) }

// set sets a bit if on is true.
func (c flags) set(bit flags, on bool) flags {
	if on {
		return c | bit
	}
	return c
}

// frame takes the length and the type off a datagram.
func frame(b []byte) (t MessageType, body []byte, err *Error) {
	switch {
	case len(b) < 2:
		return 0, nil, errHeader
	case b[0] != 1:
		if int(b[0]) != len(b) {
			return 0, nil, errLength
		}
		return MessageType(b[1]), b[2:], nil
	case len(b) < 4:
		return 0, nil, errHeader
	case int(binary.BigEndian.Uint16(b[1:])) != len(b):
		return 0, nil, errLength
	}
	return MessageType(b[3]), b[4:], nil
}

// appendFrame appends the length and the type of a message with a body of n
// bytes, which are yet to be appended.
func appendFrame(b []byte, t MessageType, n int) []byte {
	if n <= 255-2 {
		return append(b, byte(2+n), byte(t))
	}
	n += 4
	return append(b, 1, byte(n>>8), byte(n), byte(t))
}
