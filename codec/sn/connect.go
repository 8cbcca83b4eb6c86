package sn

// Connect begins a connection, or ends the sleep of a client.
type Connect struct {
	Will         bool   // the gateway asks for the Will before it accepts
	CleanSession bool   // forgets subscriptions and, other than in MQTT, the Will
	ProtocolID   byte   // 1 for MQTT-SN 1.2
	Duration     uint16 // keep alive in seconds, 0 = off
	ClientID     []byte // 1 to 23 bytes by the letter
}

// Type is TypeConnect.
func (*Connect) Type() MessageType { return TypeConnect }

// Append implements [Message].
func (m *Connect) Append(b []byte) []byte {
	c := flags(0).set(flagWill, m.Will).set(flagClean, m.CleanSession)
	b = appendFrame(b, TypeConnect, 4+len(m.ClientID))
	b = append(b, byte(c), m.ProtocolID, byte(m.Duration>>8), byte(m.Duration))
	return append(b, m.ClientID...)
}

func (m *Connect) decode(f *fields) {
	c := f.flags()
	*m = Connect{
		Will: c.has(flagWill), CleanSession: c.has(flagClean),
		ProtocolID: f.byte(), Duration: f.uint16(), ClientID: f.rest(),
	}
}
