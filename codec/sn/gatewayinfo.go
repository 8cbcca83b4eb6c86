package sn

// GatewayInfo answers a SearchGateway.
type GatewayInfo struct {
	GatewayID byte
	Address   []byte // of the gateway, in a form of the network; empty if it answers itself
}

// Type is TypeGatewayInfo.
func (*GatewayInfo) Type() MessageType { return TypeGatewayInfo }

// Append implements [Message].
func (m *GatewayInfo) Append(b []byte) []byte {
	b = append(appendFrame(b, TypeGatewayInfo, 1+len(m.Address)), m.GatewayID)
	return append(b, m.Address...)
}

func (m *GatewayInfo) decode(f *fields) {
	*m = GatewayInfo{GatewayID: f.byte(), Address: f.rest()}
}
