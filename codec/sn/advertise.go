package sn

// Advertise is what a gateway broadcasts time and again.
type Advertise struct {
	GatewayID byte
	Duration  uint16 // seconds until the next one
}

// Type is TypeAdvertise.
func (*Advertise) Type() MessageType { return TypeAdvertise }

// Append implements [Message].
func (m *Advertise) Append(b []byte) []byte {
	return append(appendFrame(b, TypeAdvertise, 3), m.GatewayID, byte(m.Duration>>8), byte(m.Duration))
}

func (m *Advertise) decode(f *fields) {
	*m = Advertise{GatewayID: f.byte(), Duration: f.uint16()}
}
