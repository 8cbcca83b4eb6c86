package codec

// Decoder turns bytes into packets. It holds one packet of each type and fills
// it anew: what Next returns is valid until the next call. It keeps nothing
// from one packet to the next, so that one Decoder serves many connections,
// but one at a time. The zero value reads what clients send.
type Decoder struct {
	// FromServer is true to read what servers send.
	FromServer bool

	// Extended is true to understand two more forms of CONNACK before MQTT 5.0,
	// of servers that were asked for them: the keep-alive that the server
	// demands, in ServerKeepAlive, and return code 6, the URL of another server to
	// use, in ServerReference and Hops.
	Extended bool

	// MaxList bounds what takes a hundred times as long to read as other bytes do; 0 is no
	// bound. A packet of more topic filters is an error, with the code QuotaExceeded. Of more
	// user properties those above MaxList + 1 are passed over unseen: who has so many of a
	// packet knows that it had more.
	MaxList int

	connect     Connect
	will        Will
	connack     Connack
	publish     Publish
	puback      Puback
	pubrec      Pubrec
	pubrel      Pubrel
	pubcomp     Pubcomp
	subscribe   Subscribe
	suback      Suback
	unsubscribe Unsubscribe
	unsuback    Unsuback
	pingreq     Pingreq
	pingresp    Pingresp
	disconnect  Disconnect
	auth        Auth

	lists     storage // of the packet
	willLists storage // of the Will in it
}

// PacketLen says how many bytes the packet at the start of b has in all, up to
// 268435460, or 0 if b ends inside the fixed header. The error is an *Error.
func PacketLen(b []byte) (n int, err error) {
	header, body, fault := fixedHeader(b)
	if fault != nil {
		return 0, fault
	}
	return header + body, nil
}

// fixedHeader reads the lengths of the fixed header and of what follows it;
// both are 0 if b ends inside the header.
func fixedHeader(b []byte) (header, body int, err *Error) {
	if len(b) < 2 {
		return 0, 0, nil
	}
	if b[1] < 0x80 {
		return 2, int(b[1]), nil
	}
	v, n, err := varint(b[1:])
	switch {
	case err != nil:
		return 0, 0, errRemainingLength
	case n == 0:
		return 0, 0, nil
	}
	return 1 + n, int(v), nil
}

// Next decodes the first packet in b and says how many bytes it took. The byte
// fields of p are views of b, and its lists are the Decoder's: both are gone
// with the next call, or when b is written to.
//
// It returns nil, 0, nil if b does not hold the whole packet yet. Nothing is
// stored meanwhile: call again with the same bytes and more behind them.
//
// v is the version of the connection, 0 before CONNECT, which is then the only
// packet there may be. CONNECT itself goes by its own level. maxSize is the
// largest packet that is accepted, in bytes with the fixed header; 0 is no
// limit. A packet that breaks a rule of its first byte or is too large is an
// error before the rest of it has come.
//
// The error is an *Error, after which the connection is of no more use. If
// it is about a CONNECT, p is what could be read of it, with a Version in whose
// form to answer, or 0 if there is none.
func (d *Decoder) Next(b []byte, v Version, maxSize uint32) (p Packet, n int, err error) {
	if len(b) == 0 {
		return nil, 0, nil
	}
	c := b[0]
	if err := d.checkFirst(c, v); err != nil {
		return nil, 0, err
	}
	header, body, fault := fixedHeader(b)
	n = header + body
	switch {
	case fault != nil:
		return nil, 0, fault
	case n == 0:
		return nil, 0, nil
	case maxSize != 0 && uint32(n) > maxSize:
		return d.tooLarge(b, header), 0, errPacketTooLarge
	case len(b) < n:
		return nil, 0, nil
	}
	d.lists.most = d.MaxList
	f := fields{b: b[header:n:n], store: &d.lists}
	p = d.decode(&f, c, v)
	if c == first(TypeConnect) {
		v = d.connect.Version
	}
	if v == V5 && header != 1+sizeVarint(uint32(body)) {
		f.fail(errRemainingLength) // [MQTT-1.5.5-1]
	}
	switch {
	case f.err == nil:
		return p, n, nil
	case c == first(TypeConnect):
		return p, 0, f.err
	}
	return nil, 0, f.err
}

// checkFirst looks at the first byte of a packet.
func (d *Decoder) checkFirst(c byte, v Version) *Error {
	t := PacketType(c >> 4)
	if t == TypePublish && v != 0 {
		switch {
		case c&6 == 6:
			return errQoS3
		case c&0xe == 8:
			return errDupQoS0
		}
		return nil
	}
	switch {
	case v == 0 && t != TypeConnect:
		return errNotConnect
	case t == 0, t == TypeAuth && v != V5:
		return errReserved
	case c != first(t) && !(v == V31 && c&2 != 0 && c == first(t)|8): // 3.1 has DUP there
		return errHeaderFlags
	case d.sends(v)&(1<<t) == 0:
		return errDirection
	}
	return nil
}

// sends is the set of types that the peer may send.
func (d *Decoder) sends(v Version) uint16 {
	switch {
	case d.FromServer && v == V5:
		return serverSends5
	case d.FromServer:
		return serverSends
	case v == V5:
		return clientSends5
	}
	return clientSends
}

// tooLarge finds the version of a CONNECT that is too large, if that much of it
// has come.
func (d *Decoder) tooLarge(b []byte, header int) Packet {
	if b[0] != first(TypeConnect) {
		return nil
	}
	d.connect = Connect{}
	d.connect.decodeVersion(&fields{b: b[header:]})
	return &d.connect
}

// decode reads the packet with the first byte c from f.
func (d *Decoder) decode(f *fields, c byte, v Version) Packet {
	switch t := PacketType(c >> 4); t {
	case TypePublish:
		d.publish.decode(f, c, v, d.FromServer)
		return &d.publish
	case TypePuback:
		d.puback.decode(f, t, v)
		return &d.puback
	case TypePubrec:
		(*Puback)(&d.pubrec).decode(f, t, v)
		return &d.pubrec
	case TypePubrel:
		(*Puback)(&d.pubrel).decode(f, t, v)
		return &d.pubrel
	case TypePubcomp:
		(*Puback)(&d.pubcomp).decode(f, t, v)
		return &d.pubcomp
	case TypeConnect:
		d.connect.decode(f, &d.will, &d.willLists)
		return &d.connect
	case TypeConnack:
		d.connack.decode(f, v, d.Extended)
		return &d.connack
	case TypeSubscribe:
		d.subscribe.decode(f, v)
		return &d.subscribe
	case TypeSuback:
		d.suback.decode(f, v)
		return &d.suback
	case TypeUnsubscribe:
		d.unsubscribe.decode(f, v)
		return &d.unsubscribe
	case TypeUnsuback:
		d.unsuback.decode(f, v)
		return &d.unsuback
	case TypePingreq:
		f.end()
		return &d.pingreq
	case TypePingresp:
		f.end()
		return &d.pingresp
	case TypeDisconnect:
		d.disconnect.decode(f, v, d.FromServer)
		return &d.disconnect
	default:
		d.auth.decode(f, d.FromServer)
		return &d.auth
	}
}
