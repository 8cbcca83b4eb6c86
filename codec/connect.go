package codec

import "encoding/binary"

// Connect opens a connection.
type Connect struct {
	Version    Version
	CleanStart bool   // before MQTT 5.0: clean session
	KeepAlive  uint16 // seconds, 0 = off
	ClientID   []byte
	Username   []byte // nil = absent
	Password   []byte // nil = absent
	Will       *Will  // nil = none

	// Of MQTT 5.0.
	SessionExpiry       uint32 // seconds, 0xffffffff = never
	ReceiveMaximum      uint16 // 0 = absent
	MaximumPacketSize   uint32 // bytes, 0 = absent
	TopicAliasMaximum   uint16
	RequestResponseInfo bool
	NoProblemInfo       bool
	AuthMethod          []byte
	AuthData            []byte
	User                []UserProperty

	// HasHops asks a server with extensions, before MQTT 5.0, for another server
	// to use if it thinks so, Hops times in a row at most. To others the packet
	// is malformed; Decoder does not read it.
	HasHops bool
	Hops    uint16
}

// Will is the Message that the server publishes when the connection is lost.
type Will struct {
	Message
	Delay uint32 // seconds
}

// The connect flags. Bits 3 and 4 are the Will QoS.
const (
	flagReserved   = 0x01 // with extensions: Hops follow
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

// Type is TypeConnect.
func (*Connect) Type() PacketType { return TypeConnect }

// Append implements [Packet]. The form is that of p.Version, whatever v is.
func (p *Connect) Append(b []byte, _ Version) []byte {
	at := len(b) + 1
	b = append(b, first(TypeConnect), 0)
	if p.Version == V31 {
		b = append(b, "\x00\x06MQIsdp"...)
	} else {
		b = append(b, "\x00\x04MQTT"...)
	}
	b = append(b, byte(p.Version), p.flags())
	b = binary.BigEndian.AppendUint16(b, p.KeepAlive)
	if p.Version == V5 {
		b = p.appendProperties(b)
	}
	b = appendBinary(b, p.ClientID)
	if p.Will != nil {
		if p.Version == V5 {
			b = p.Will.appendProperties(b)
		}
		b = appendBinary(b, p.Will.Topic)
		b = appendBinary(b, p.Will.Payload)
	}
	if p.Username != nil {
		b = appendBinary(b, p.Username)
	}
	if p.Password != nil {
		b = appendBinary(b, p.Password)
	}
	if p.HasHops {
		b = binary.BigEndian.AppendUint16(b, p.Hops)
	}
	return closeLength(b, at, 0)
}

func (p *Connect) flags() byte {
	var c byte
	if p.CleanStart {
		c |= flagCleanStart
	}
	if p.Will != nil {
		c |= flagWill | p.Will.QoS<<3
		if p.Will.Retain {
			c |= flagWillRetain
		}
	}
	if p.Password != nil {
		c |= flagPassword
	}
	if p.Username != nil {
		c |= flagUsername
	}
	if p.HasHops {
		c |= flagReserved
	}
	return c
}

func (p *Connect) appendProperties(b []byte) []byte {
	at := len(b)
	b = append(b, 0)
	if p.SessionExpiry != 0 {
		b = appendUint32Property(b, propSessionExpiry, p.SessionExpiry)
	}
	if p.ReceiveMaximum != 0 {
		b = appendUint16Property(b, propReceiveMaximum, p.ReceiveMaximum)
	}
	if p.MaximumPacketSize != 0 {
		b = appendUint32Property(b, propMaximumPacketSize, p.MaximumPacketSize)
	}
	if p.TopicAliasMaximum != 0 {
		b = appendUint16Property(b, propTopicAliasMaximum, p.TopicAliasMaximum)
	}
	if p.RequestResponseInfo {
		b = append(b, propRequestResponseInfo, 1)
	}
	if p.NoProblemInfo {
		b = append(b, propRequestProblemInfo, 0)
	}
	b = appendUser(b, p.User)
	b = appendBinaryProperty(b, propAuthMethod, p.AuthMethod)
	b = appendBinaryProperty(b, propAuthData, p.AuthData)
	return closeLength(b, at, 0)
}

func (w *Will) appendProperties(b []byte) []byte {
	at := len(b)
	b = append(b, 0)
	if w.Delay != 0 {
		b = appendUint32Property(b, propWillDelay, w.Delay)
	}
	b = w.Message.appendProperties(b)
	return closeLength(b, at, 0)
}

// decode reads a CONNECT. Its Will, if it has one, is made in will, and the
// lists of the Will in store.
func (p *Connect) decode(f *fields, will *Will, store *storage) {
	*p = Connect{}
	p.decodeVersion(f)
	flags := f.byte()
	p.KeepAlive = f.uint16()
	p.CleanStart = flags&flagCleanStart != 0
	p.checkFlags(f, flags)
	if p.Version == V5 {
		p.properties(f)
	}
	p.ClientID = f.text()
	if flags&flagWill != 0 {
		p.Will = will
		store.most = f.store.most
		f.store = store // no list of the packet's own comes after
		will.decode(f, flags, p.Version)
	}
	if p.follows(f, flags&flagUsername) {
		p.Username = f.text()
	}
	if p.follows(f, flags&flagPassword) {
		p.Password = f.binary()
	}
	f.end()
	// A newer client may leave it to the server to name it.
	if len(p.ClientID) == 0 && (p.Version == V31 || p.Version == V311 && !p.CleanStart) {
		f.fail(errClientID)
	}
}

// decodeVersion reads the name and the level of the protocol. Of a level that
// is not supported, p.Version is the one in whose form the client will
// understand the refusal; of another name it is 0.
func (p *Connect) decodeVersion(f *fields) {
	name := string(f.binary())
	level := Version(f.byte())
	switch {
	case f.err != nil:
	case name == "MQTT" && (level == V311 || level == V5), name == "MQIsdp" && level == V31:
		p.Version = level
	case name != "MQTT" && name != "MQIsdp":
		f.fail(errProtocolName)
	default:
		// Some bridges set the top bit, and fall back if they are told
		// in the form of 3.1.1.
		p.Version = V5
		if level&0x7f < V5 {
			p.Version = V311
		}
		f.fail(errProtocolLevel)
	}
}

func (p *Connect) checkFlags(f *fields, flags byte) {
	switch {
	case flags&flagReserved != 0:
		f.fail(errConnectFlags)
	case flags&flagWillQoS == flagWillQoS:
		f.fail(errWillQoS3)
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0:
		f.fail(errNoWill)
	case flags&flagPassword != 0 && flags&flagUsername == 0 && p.Version != V5:
		f.fail(errPasswordAlone)
	}
}

// follows says whether the field that a flag announces is there. In MQTT 3.1
// the Remaining Length has the last word.
func (p *Connect) follows(f *fields, flag byte) bool {
	return flag != 0 && (p.Version != V31 || len(f.b) > 0)
}

func (p *Connect) properties(f *fields) {
	f.properties()
	for f.next() {
		switch f.id {
		case propSessionExpiry:
			p.SessionExpiry = f.uint32()
		case propReceiveMaximum:
			p.ReceiveMaximum = f.positive16()
		case propMaximumPacketSize:
			p.MaximumPacketSize = f.positive32()
		case propTopicAliasMaximum:
			p.TopicAliasMaximum = f.uint16()
		case propRequestResponseInfo:
			p.RequestResponseInfo = f.bit() == 1
		case propRequestProblemInfo:
			p.NoProblemInfo = f.bit() == 0
		case propUser:
			p.User = f.user(p.User)
		case propAuthMethod:
			p.AuthMethod = f.text()
		case propAuthData:
			p.AuthData = f.binary()
		default:
			f.fail(errProperty)
		}
	}
	if p.AuthData != nil && p.AuthMethod == nil {
		f.fail(errAuthData)
	}
}

func (w *Will) decode(f *fields, flags byte, v Version) {
	*w = Will{}
	w.QoS, w.Retain = flags&flagWillQoS>>3, flags&flagWillRetain != 0
	if v == V5 {
		f.properties()
		for f.next() {
			switch f.id {
			case propWillDelay:
				w.Delay = f.uint32()
			default:
				w.property(f)
			}
		}
	}
	w.Topic = f.topic()
	w.Payload = f.binary()
}
