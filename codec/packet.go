package codec

// Version is the protocol level, as CONNECT has it.
type Version byte

// The versions of the protocol.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String gives the name of the version, such as "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "unknown"
}

// PacketType is the upper half of the first byte of a packet.
type PacketType byte

// The types of packets.
const (
	TypeConnect     PacketType = 1
	TypeConnack     PacketType = 2
	TypePublish     PacketType = 3
	TypePuback      PacketType = 4
	TypePubrec      PacketType = 5
	TypePubrel      PacketType = 6
	TypePubcomp     PacketType = 7
	TypeSubscribe   PacketType = 8
	TypeSuback      PacketType = 9
	TypeUnsubscribe PacketType = 10
	TypeUnsuback    PacketType = 11
	TypePingreq     PacketType = 12
	TypePingresp    PacketType = 13
	TypeDisconnect  PacketType = 14
	TypeAuth        PacketType = 15
)

var typeNames = [16]string{
	"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
	"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String gives the name as the specification writes it, such as "PUBACK".
func (t PacketType) String() string { return typeNames[t&15] }

// Packet is a pointer to one of the types of packets of this package.
type Packet interface {
	// Append appends the whole packet in the form of version v and returns
	// the longer slice. It does not fail: the packet must be one that v
	// allows. Its strings and binary fields hold at most 65535 bytes each,
	// and all of it at most 268435455.
	Append(b []byte, v Version) []byte

	Type() PacketType
}

// Which side sends which types, one bit each.
const (
	eitherSends = 1<<TypePublish | 1<<TypePuback | 1<<TypePubrec | 1<<TypePubrel | 1<<TypePubcomp
	clientSends = eitherSends | 1<<TypeConnect | 1<<TypeSubscribe | 1<<TypeUnsubscribe | 1<<TypePingreq | 1<<TypeDisconnect
	serverSends = eitherSends | 1<<TypeConnack | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypePingresp

	clientSends5 = clientSends | 1<<TypeAuth
	serverSends5 = serverSends | 1<<TypeDisconnect | 1<<TypeAuth
)

// first is the first byte of a packet of type t: three types carry QoS 1 there,
// for no reason that outlived MQTT 3.1.
func first(t PacketType) byte {
	switch t {
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		return byte(t)<<4 | 2
	}
	return byte(t) << 4
}
