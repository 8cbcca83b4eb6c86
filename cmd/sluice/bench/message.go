package bench

import (
	"encoding/binary"
	"fmt"

	"sluice/codec"
)

const (
	stampSize  = 24       // the smallest payload
	maxPayload = 16 << 20 // a worker's read buffer holds a few of them
	numWidth   = 8        // digits of the number in a numbered topic
)

// stamp is what each payload starts with.
type stamp struct {
	run  uint32 // tells this run's messages from any others
	pub  uint32 // the publisher
	seq  uint64 // the publisher's running number, from 0
	nano int64  // when it was sent, or was due, in nanoseconds of the run's clock
}

func (s stamp) put(b []byte) {
	_ = b[stampSize-1]
	binary.LittleEndian.PutUint32(b, s.run)
	binary.LittleEndian.PutUint32(b[4:], s.pub)
	binary.LittleEndian.PutUint64(b[8:], s.seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.nano))
}

// getStamp reads the stamp of a payload of stampSize bytes at least.
func getStamp(b []byte) stamp {
	_ = b[stampSize-1]
	return stamp{
		run:  binary.LittleEndian.Uint32(b),
		pub:  binary.LittleEndian.Uint32(b[4:]),
		seq:  binary.LittleEndian.Uint64(b[8:]),
		nano: int64(binary.LittleEndian.Uint64(b[16:])),
	}
}

// message is the PUBLISH that a publisher sends again and again, each time with
// another stamp and identifier.
type message struct {
	codec.Publish
	size     int  // bytes of the packet, the longest there is
	numbered bool // the topic ends in the sequence number
}

// newMessage is a message to topic as c describes it, with a payload of size bytes.
func newMessage(c *Config, topic string, size int) message {
	m := message{Publish: codec.Publish{ID: 1}}
	m.Topic = []byte(topic)
	m.QoS = c.QoS
	m.Payload = make([]byte, size)
	for i := range m.Payload {
		m.Payload[i] = 'a' + byte(i%26)
	}
	for i := range c.User {
		m.User = append(m.User, codec.UserProperty{Name: fmt.Appendf(nil, "name-%d", i), Value: fmt.Appendf(nil, "value-%d", i)})
	}
	m.size = len(m.Publish.Append(nil, c.Connect.Version))
	return m
}

// newRetained is newMessage with RETAIN and a topic of its own for each sequence
// number: prefix/00000000, prefix/00000001 and so on.
func newRetained(c *Config, prefix string, size int) message {
	m := newMessage(c, fmt.Sprintf("%s/%0*d", prefix, numWidth, 0), size)
	m.Retain, m.numbered = true, true
	return m
}

// append appends the message with identifier id and stamp s.
func (m *message) append(b []byte, v codec.Version, id uint16, s stamp) []byte {
	m.ID = id
	if len(m.Payload) > 0 {
		s.put(m.Payload)
	}
	if m.numbered {
		n := s.seq
		for i := range numWidth {
			m.Topic[len(m.Topic)-1-i] = '0' + byte(n%10)
			n /= 10
		}
	}
	b = m.Publish.Append(b, v)
	if m.TopicAlias != 0 {
		m.Topic = m.Topic[:0] // known by its alias from now on
	}
	return b
}
