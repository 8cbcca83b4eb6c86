package codec

// Pingreq asks for a sign of life.
type Pingreq struct{}

// Type is TypePingreq.
func (*Pingreq) Type() PacketType { return TypePingreq }

// Append implements [Packet].
func (*Pingreq) Append(b []byte, _ Version) []byte { return append(b, first(TypePingreq), 0) }

// Pingresp is the answer to Pingreq.
type Pingresp struct{}

// Type is TypePingresp.
func (*Pingresp) Type() PacketType { return TypePingresp }

// Append implements [Packet].
func (*Pingresp) Append(b []byte, _ Version) []byte { return append(b, first(TypePingresp), 0) }
