package sn

// Unsuback answers an Unsubscribe. It knows no refusal.
type Unsuback struct {
	MessageID uint16
}

// Type is TypeUnsuback.
func (*Unsuback) Type() MessageType { return TypeUnsuback }

// Append implements [Message].
func (m *Unsuback) Append(b []byte) []byte {
	return append(appendFrame(b, TypeUnsuback, 2), byte(m.MessageID>>8), byte(m.MessageID))
}

func (m *Unsuback) decode(f *fields) { *m = Unsuback{MessageID: f.uint16()} }
