package sn

// Puback answers a Publish: at QoS 1, and with a Code other than Accepted at any
// QoS but -1.
type Puback struct {
	TopicID   uint16
	MessageID uint16
	Code      ReturnCode
}

// Regack answers a Register.
type Regack Puback

// Pubrec acknowledges a Publish at QoS 2.
type Pubrec struct {
	MessageID uint16
}

// Pubrel answers a Pubrec: the Publish will not come again.
type Pubrel Pubrec

// Pubcomp answers a Pubrel and ends the flow.
type Pubcomp Pubrec

// Type is TypePuback.
func (*Puback) Type() MessageType { return TypePuback }

// Type is TypeRegack.
func (*Regack) Type() MessageType { return TypeRegack }

// Type is TypePubrec.
func (*Pubrec) Type() MessageType { return TypePubrec }

// Type is TypePubrel.
func (*Pubrel) Type() MessageType { return TypePubrel }

// Type is TypePubcomp.
func (*Pubcomp) Type() MessageType { return TypePubcomp }

// Append implements [Message].
func (m *Puback) Append(b []byte) []byte { return m.append(b, TypePuback) }

// Append implements [Message].
func (m *Regack) Append(b []byte) []byte { return (*Puback)(m).append(b, TypeRegack) }

// Append implements [Message].
func (m *Pubrec) Append(b []byte) []byte { return m.append(b, TypePubrec) }

// Append implements [Message].
func (m *Pubrel) Append(b []byte) []byte { return (*Pubrec)(m).append(b, TypePubrel) }

// Append implements [Message].
func (m *Pubcomp) Append(b []byte) []byte { return (*Pubrec)(m).append(b, TypePubcomp) }

// append writes the message as one of type t.
func (m *Puback) append(b []byte, t MessageType) []byte {
	b = appendFrame(b, t, 5)
	return append(b, byte(m.TopicID>>8), byte(m.TopicID), byte(m.MessageID>>8), byte(m.MessageID), byte(m.Code))
}

func (m *Puback) decode(f *fields) {
	*m = Puback{TopicID: f.uint16(), MessageID: f.uint16(), Code: ReturnCode(f.byte())}
}

// append writes the message as one of type t.
func (m *Pubrec) append(b []byte, t MessageType) []byte {
	return append(appendFrame(b, t, 2), byte(m.MessageID>>8), byte(m.MessageID))
}

func (m *Pubrec) decode(f *fields) { *m = Pubrec{MessageID: f.uint16()} }
