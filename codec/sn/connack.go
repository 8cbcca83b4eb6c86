package sn

// Connack answers a Connect.
type Connack struct {
	Code ReturnCode
}

// Type is TypeConnack.
func (*Connack) Type() MessageType { return TypeConnack }

// Append implements [Message].
func (m *Connack) Append(b []byte) []byte { return m.append(b, TypeConnack) }

// append writes the message as one of type t: the responses about the Will have
// the same form.
func (m *Connack) append(b []byte, t MessageType) []byte {
	return append(appendFrame(b, t, 1), byte(m.Code))
}

func (m *Connack) decode(f *fields) { *m = Connack{Code: ReturnCode(f.byte())} }
