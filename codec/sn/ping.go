package sn

// Pingreq asks for a sign of life, or, from a client that sleeps, for the
// messages that wait for it.
type Pingreq struct {
	ClientID []byte // of a client that sleeps, else empty
}

// Type is TypePingreq.
func (*Pingreq) Type() MessageType { return TypePingreq }

// Append implements [Message].
func (m *Pingreq) Append(b []byte) []byte {
	return append(appendFrame(b, TypePingreq, len(m.ClientID)), m.ClientID...)
}

func (m *Pingreq) decode(f *fields) { *m = Pingreq{ClientID: f.rest()} }

// Pingresp answers a Pingreq. To a client that sleeps it says that nothing more
// waits.
type Pingresp struct{}

// Type is TypePingresp.
func (*Pingresp) Type() MessageType { return TypePingresp }

// Append implements [Message].
func (*Pingresp) Append(b []byte) []byte { return appendFrame(b, TypePingresp, 0) }
