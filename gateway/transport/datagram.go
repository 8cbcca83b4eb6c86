package transport

import "net/netip"

// MaxDatagram is the longest payload of a datagram, in bytes. What a network
// carries in one piece is less: some 1,200 bytes are safe.
const MaxDatagram = 65507

// Endpoint carries datagrams: a plain UDP socket with any number of peers, or
// a DTLS session with its only one. All methods may be called from everywhere:
// inside callbacks, and from any goroutine, with the handler's locks held.
type Endpoint interface {
	// Send sends b, at most MaxDatagram bytes, to a peer. It copies b and never
	// waits; as networks do, it may drop, which is counted. A session does not
	// look at to.
	Send(b []byte, to netip.AddrPort)

	// Wire is "udp" or "dtls".
	Wire() string

	// Peer is who a session's peer has proved to be; the zero Identity on a
	// UDP socket, where nobody proves anything.
	Peer() Identity

	// Close ends a session: the peer is told, and Ended will be called. A UDP
	// socket stays, for its other peers, until the Transport closes.
	Close()
}

// Identity is what the peer of a DTLS session has proved.
type Identity struct {
	User string // the account
	Name string // what stands for it: the identity of the pre-shared key, or the certificate's common name
}

// DatagramHandler is the protocol engine of datagrams. Calls for one Endpoint
// are never concurrent, calls for several are. No lock of the Endpoint is held
// during a call.
type DatagramHandler interface {
	// Datagram takes one datagram from a peer; b is valid until it returns.
	// What is sent meanwhile, to whomever, leaves soon after it.
	Datagram(ep Endpoint, from netip.AddrPort, b []byte)

	// Ended is the last call for a session. A UDP socket does not end while
	// there is anybody to tell.
	Ended(ep Endpoint)
}
