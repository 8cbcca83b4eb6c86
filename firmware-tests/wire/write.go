package wire

import (
	"encoding/binary"
	"fmt"
)

// Protocol levels.
const (
	V31  byte = 3
	V311 byte = 4
	V5   byte = 5
)

// Types of packets: the high half of the first byte.
const (
	CONNECT byte = 1 + iota
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

// Str is a string, or binary data, with its length before it.
type Str string

// VBI is a variable byte integer, written with as few bytes as possible.
type VBI uint32

// Packet is a packet of any bytes: the first byte, the remaining length, the parts.
// See Bytes for what parts are.
func Packet(first byte, parts ...any) []byte {
	body := Bytes(parts...)
	return append(Bytes(first, VBI(len(body))), body...)
}

// Bytes joins parts: byte, uint16 and uint32 (big endian), VBI, Str, and string and
// []byte as they are.
func Bytes(parts ...any) []byte {
	b := []byte{}
	for _, part := range parts {
		switch v := part.(type) {
		case byte:
			b = append(b, v)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case VBI:
			b = appendVBI(b, uint32(v))
		case Str:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			panic(fmt.Sprintf("wire: no way to write %T", part))
		}
	}
	return b
}

func appendVBI(b []byte, n uint32) []byte {
	for n > 127 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// Props are properties with their length before them. The parts are those of Bytes:
// Props(ReceiveMaximum, uint16(3)).
func Props(parts ...any) []byte {
	body := Bytes(parts...)
	return append(appendVBI(nil, uint32(len(body))), body...)
}

// Connect is a CONNECT. The zero value is a CONNECT of version 0; fields are
// written as they are, with no thought of whether they are allowed.
type Connect struct {
	Version   byte
	ID        string
	Clean     bool
	KeepAlive uint16 // seconds
	Props     []byte // without their length
	Will      *Will
	Username  *string
	Password  *string
}

// Will is the Will of a CONNECT.
type Will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
	Props          []byte // without their length
}

// Flags is the byte of connect flags.
func (c Connect) Flags() byte {
	f := flag(c.Clean, 0x02) | flag(c.Username != nil, 0x80) | flag(c.Password != nil, 0x40)
	if w := c.Will; w != nil {
		f |= 0x04 | w.QoS<<3 | flag(w.Retain, 0x20)
	}
	return f
}

// Name is the protocol name that goes with the version.
func (c Connect) Name() string {
	if c.Version == V31 {
		return "MQIsdp"
	}
	return "MQTT"
}

// Bytes is the packet.
func (c Connect) Bytes() []byte {
	return Packet(CONNECT<<4, Str(c.Name()), c.Version, c.Flags(), c.KeepAlive, c.props(c.Props), c.Payload())
}

// Payload is what follows the variable header.
func (c Connect) Payload() []byte {
	b := Bytes(Str(c.ID))
	if w := c.Will; w != nil {
		b = append(b, Bytes(c.props(w.Props), Str(w.Topic), Str(w.Payload))...)
	}
	for _, s := range []*string{c.Username, c.Password} {
		if s != nil {
			b = append(b, Bytes(Str(*s))...)
		}
	}
	return b
}

func (c Connect) props(b []byte) []byte { return propsOf(c.Version, b) }

// Publish is a PUBLISH.
type Publish struct {
	Topic, Payload string
	QoS            byte
	Retain, Dup    bool
	ID             uint16 // written at QoS 1 and 2
	Props          []byte // without their length
}

// Bytes is the packet in a version.
func (p Publish) Bytes(version byte) []byte {
	b := Bytes(Str(p.Topic))
	if p.QoS > 0 {
		b = append(b, Bytes(p.ID)...)
	}
	first := PUBLISH<<4 | p.QoS<<1 | flag(p.Retain, 1) | flag(p.Dup, 8)
	return Packet(first, b, propsOf(version, p.Props), p.Payload)
}

// Subscribe is a SUBSCRIBE of topic filters, all with the same options.
func Subscribe(version byte, id uint16, options byte, filters ...string) []byte {
	b := Bytes(id, propsOf(version, nil))
	for _, f := range filters {
		b = append(b, Bytes(Str(f), options)...)
	}
	return Packet(SUBSCRIBE<<4|2, b)
}

// Unsubscribe is an UNSUBSCRIBE of topic filters.
func Unsubscribe(version byte, id uint16, filters ...string) []byte {
	b := Bytes(id, propsOf(version, nil))
	for _, f := range filters {
		b = append(b, Bytes(Str(f))...)
	}
	return Packet(UNSUBSCRIBE<<4|2, b)
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP without reason code: success.
func Ack(kind byte, id uint16) []byte {
	return Packet(kind<<4|flag(kind == PUBREL, 2), id)
}

// AckReason is an acknowledgement of MQTT 5 with a reason code.
func AckReason(kind byte, id uint16, reason byte) []byte {
	return Packet(kind<<4|flag(kind == PUBREL, 2), id, reason)
}

// Pingreq is a PINGREQ.
func Pingreq() []byte { return Packet(PINGREQ << 4) }

// Disconnect is the DISCONNECT of a client that leaves in good order.
func Disconnect() []byte { return Packet(DISCONNECT << 4) }

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func propsOf(version byte, b []byte) []byte {
	if version < V5 {
		return nil
	}
	return Props(b)
}
