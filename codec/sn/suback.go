package sn

// Suback answers a Subscribe.
type Suback struct {
	QoS       byte   // granted, 0 to 2
	TopicID   uint16 // what messages will carry; 0 for wildcards and short names
	MessageID uint16
	Code      ReturnCode
}

// Type is TypeSuback.
func (*Suback) Type() MessageType { return TypeSuback }

// Append implements [Message].
func (m *Suback) Append(b []byte) []byte {
	b = append(appendFrame(b, TypeSuback, 6), byte(pack(int8(m.QoS), 0)))
	return append(b, byte(m.TopicID>>8), byte(m.TopicID), byte(m.MessageID>>8), byte(m.MessageID), byte(m.Code))
}

func (m *Suback) decode(f *fields) {
	*m = Suback{QoS: f.flags().qos(), TopicID: f.uint16(), MessageID: f.uint16(), Code: ReturnCode(f.byte())}
}
