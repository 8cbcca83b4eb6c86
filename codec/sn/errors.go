package sn

// Error is a rule of form that a datagram breaks. Every one is a value made
// once, so that an error costs no memory. There is no answer to any of them.
type Error struct {
	// Clause is the section of the specification of MQTT-SN 1.2.
	Clause string

	// Text says what was wrong.
	Text string
}

func (e *Error) Error() string { return e.Text + " [" + e.Clause + "]" }

var (
	errHeader   = &Error{"5.2", "datagram ends inside the length and the type"}
	errLength   = &Error{"5.2.1", "length is not that of the datagram"}
	errReserved = &Error{"5.2.2", "reserved message type"}
	errShort    = &Error{"5.4", "message ends inside a field"}
	errTrailing = &Error{"5.4", "bytes left over after the last field"}
	errNoTopic  = &Error{"5.3.12", "no topic"}
	errForward  = &Error{"5.5", "encapsulated message where a plain one has to be"}
	errNode     = &Error{"5.5", "encapsulation without a wireless node id"}
	errNoInner  = &Error{"5.5", "encapsulation without a message"}
)
