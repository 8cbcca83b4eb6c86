package transport

import "encoding/binary"

// Records as RFC 6347 section 4.1 has them: type, version, epoch, sequence
// number, length. Epoch 0 is in the clear; there is no renegotiation, so all
// that is encrypted is of epoch 1.
const (
	recordHeader = 13

	contentChangeCipherSpec = 20
	contentAlert            = 21
	contentHandshake        = 22
	contentApplicationData  = 23

	// A message of the handshake, in a record: type, length, number, and
	// offset and length of the fragment. [RFC 6347 section 4.2.2]
	handshakeHeader = 12

	clientHello = 1
	serverHello = 2

	randomOffset = 2 // in a hello, behind the version
	randomSize   = 32
)

// dtlsRecords is what of a datagram has not been looked at.
type dtlsRecords []byte

// next cuts off a record with its header; nil if what is left is none.
func (r *dtlsRecords) next() []byte {
	b := *r
	if len(b) < recordHeader || b[1] != 0xfe {
		return nil
	}
	n := recordHeader + int(binary.BigEndian.Uint16(b[11:]))
	if n > len(b) {
		return nil
	}
	*r = b[n:]
	return b[:n]
}

func epoch(record []byte) uint16 { return binary.BigEndian.Uint16(record[3:]) }

// handshakeMessage is the first message in a record in the clear, or the first
// fragment of it, with its header; nil if there is none.
func handshakeMessage(record []byte, typ byte) []byte {
	m := record[recordHeader:]
	if record[0] != contentHandshake || epoch(record) != 0 || len(m) < handshakeHeader || m[0] != typ || m[6]|m[7]|m[8] != 0 {
		return nil
	}
	return m
}

// firstHello is the random value of the ClientHello that begins a handshake,
// with which b has to begin; nil if it does not. Message number 0 tells it from
// the second one, which carries the cookie.
func firstHello(b []byte) []byte {
	m := leadingHello(b)
	if m == nil || m[4]|m[5] != 0 {
		return nil
	}
	return m[handshakeHeader+randomOffset:][:randomSize]
}

func isSecondHello(b []byte) bool {
	m := leadingHello(b)
	return m != nil && m[4] == 0 && m[5] == 1
}

// leadingHello is the ClientHello with which b begins, nil if it does not.
func leadingHello(b []byte) []byte {
	rs := dtlsRecords(b)
	record := rs.next()
	if record == nil {
		return nil
	}
	if m := handshakeMessage(record, clientHello); len(m) >= handshakeHeader+randomOffset+randomSize {
		return m
	}
	return nil
}

// chosenSuite is the cipher suite in the ServerHello with which b begins, 0 if
// it does not.
func chosenSuite(b []byte) uint16 {
	rs := dtlsRecords(b)
	record := rs.next()
	if record == nil {
		return 0
	}
	m := handshakeMessage(record, serverHello)
	if len(m) < handshakeHeader+randomOffset+randomSize+1 {
		return 0
	}
	m = m[handshakeHeader+randomOffset+randomSize:]
	if session := 1 + int(m[0]); len(m) >= session+2 {
		return binary.BigEndian.Uint16(m[session:])
	}
	return 0
}

// heed is which records of a peer may be believed, and how many messages of a
// handshake are looked at.
type heed struct {
	alerts   bool // in the clear: before there are keys
	clear    bool // other records in the clear: the peer may still be in its handshake
	messages int  // of the handshake, still to be let through
	bytes    int  // in those
}

// pass copies the records that may be believed from datagram to b, which has
// room for all of it, and returns those.
//
// pion/dtls would end a session for an alert in the clear, and answer much
// else with an alert of its own, that anybody can send. It keeps parts of handshake
// messages up to 2 MB, and looks at all of them again for each new one.
func (h *heed) pass(b, datagram []byte) []byte {
	b = b[:0]
	for rs := dtlsRecords(datagram); ; {
		record := rs.next()
		if record == nil {
			return b
		}
		if h.believe(record) {
			b = append(b, record...)
		}
	}
}

func (h *heed) believe(record []byte) bool {
	switch typ, e := record[0], epoch(record); {
	case e > 1:
		return false
	case typ == contentHandshake && (e == 1 || h.clear) && h.messages > 0 && h.bytes >= len(record):
		h.messages--
		h.bytes -= len(record)
		return true
	case typ == contentAlert:
		return e == 1 || h.alerts
	case typ == contentChangeCipherSpec:
		return e == 0 && h.clear
	case typ == contentApplicationData:
		return e == 1
	}
	return false
}
