package sn

// forwardFixed is what precedes the wireless node id, in bytes: length, type and
// control.
const forwardFixed = 3

// CutForward takes an encapsulated message apart: the wireless node id, which is
// the forwarder's name for the node, of 1 to 252 bytes, and the node's message
// as a datagram of its own. Both are views of the datagram. A datagram that is
// not encapsulated comes back as inner, and node is nil.
//
// The error is an *Error: the datagram is to be dropped without an answer. It is
// one also for an inner message whose length is not that of the rest, and for an
// encapsulation in an encapsulation.
func CutForward(datagram []byte) (node, inner []byte, err error) {
	if len(datagram) < 2 || datagram[0] == 1 || MessageType(datagram[1]) != TypeForward {
		return nil, datagram, nil
	}
	n := int(datagram[0])
	switch {
	case n <= forwardFixed:
		return nil, nil, errNode
	case n > len(datagram):
		return nil, nil, errLength
	case n == len(datagram):
		return nil, nil, errNoInner
	}
	node, inner = datagram[forwardFixed:n:n], datagram[n:]
	if inner[0] != 1 && len(inner) > 1 && MessageType(inner[1]) == TypeForward {
		return nil, nil, errForward // its length does not count what is in it
	}
	t, _, fault := frame(inner)
	switch {
	case fault != nil:
		return nil, nil, fault
	case t == TypeForward:
		return nil, nil, errForward
	}
	return node, inner, nil
}

// AppendForward appends inner, a whole message, encapsulated for a node of 1 to
// 252 bytes, and returns the longer slice. The broadcast radius is 0.
func AppendForward(b, node, inner []byte) []byte {
	b = append(b, byte(forwardFixed+len(node)), byte(TypeForward), 0)
	b = append(b, node...)
	return append(b, inner...)
}
