package sn

// SearchGateway is what a client broadcasts to find a gateway.
type SearchGateway struct {
	Radius byte // hops, 0 = everywhere
}

// Type is TypeSearchGateway.
func (*SearchGateway) Type() MessageType { return TypeSearchGateway }

// Append implements [Message].
func (m *SearchGateway) Append(b []byte) []byte {
	return append(appendFrame(b, TypeSearchGateway, 1), m.Radius)
}

func (m *SearchGateway) decode(f *fields) { *m = SearchGateway{Radius: f.byte()} }
