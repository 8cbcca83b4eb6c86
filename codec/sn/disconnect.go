package sn

import "encoding/binary"

// Disconnect ends a connection, or begins the sleep of a client.
type Disconnect struct {
	Duration    uint16 // of the sleep, in seconds
	HasDuration bool   // from a client only
}

// Type is TypeDisconnect.
func (*Disconnect) Type() MessageType { return TypeDisconnect }

// Append implements [Message].
func (m *Disconnect) Append(b []byte) []byte {
	if !m.HasDuration {
		return appendFrame(b, TypeDisconnect, 0)
	}
	return binary.BigEndian.AppendUint16(appendFrame(b, TypeDisconnect, 2), m.Duration)
}

func (m *Disconnect) decode(f *fields) {
	*m = Disconnect{}
	if len(f.b) > 0 {
		*m = Disconnect{Duration: f.uint16(), HasDuration: true}
	}
}
