package sn

// Register agrees on an id for a topic name, in either direction.
type Register struct {
	TopicID   uint16 // 0 from a client, which asks for one
	MessageID uint16 // 1 to 65535
	Topic     []byte // without wildcards
}

// Type is TypeRegister.
func (*Register) Type() MessageType { return TypeRegister }

// Append implements [Message].
func (m *Register) Append(b []byte) []byte {
	b = appendFrame(b, TypeRegister, 4+len(m.Topic))
	b = append(b, byte(m.TopicID>>8), byte(m.TopicID), byte(m.MessageID>>8), byte(m.MessageID))
	return append(b, m.Topic...)
}

func (m *Register) decode(f *fields) {
	*m = Register{TopicID: f.uint16(), MessageID: f.uint16(), Topic: f.topic()}
}
