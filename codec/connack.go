package codec

// Connack accepts or refuses a connection. Before MQTT 5.0 it has the first two
// fields only.
type Connack struct {
	SessionPresent bool

	// Code is a code of MQTT 5.0 in every version. The older ones know six
	// return codes, which Append and Decoder translate.
	Code ReasonCode

	HasSessionExpiry   bool
	SessionExpiry      uint32 // seconds, 0xffffffff = never; absent = as asked for
	ReceiveMaximum     uint16 // 0 = absent
	MaximumQoS         byte   // 2 = absent: set it to 2 unless the server has less
	NoRetain           bool
	MaximumPacketSize  uint32 // bytes, 0 = absent
	AssignedClientID   []byte
	TopicAliasMaximum  uint16
	ReasonString       []byte
	User               []UserProperty
	NoWildcard         bool
	NoSubscriptionIDs  bool
	NoShared           bool
	HasServerKeepAlive bool
	ServerKeepAlive    uint16 // seconds, 0 = off
	ResponseInfo       []byte
	ServerReference    []byte
	AuthMethod         []byte
	AuthData           []byte

	// Hops is how many more servers the client may be sent on to: before MQTT
	// 5.0, of servers with extensions, with Code UseAnotherServer only.
	Hops uint16
}

// alternateServer is the return code with which servers with extensions send a
// client of MQTT 3.1 or 3.1.1 to another.
const alternateServer = 6

// Type is TypeConnack.
func (*Connack) Type() PacketType { return TypeConnack }

// Append implements [Packet], without extensions. Before MQTT 5.0 there is no return code for some
// reasons; then it appends nothing, for such a connection is closed without
// CONNACK [MQTT-3.2.2-6 of 3.1.1].
func (p *Connack) Append(b []byte, v Version) []byte {
	var flags byte
	if p.SessionPresent && v != V31 {
		flags = 1
	}
	if v != V5 {
		if code, ok := returnCode(p.Code); ok {
			b = append(b, first(TypeConnack), 2, flags, code)
		}
		return b
	}
	at := len(b) + 1
	b = append(b, first(TypeConnack), 0, flags, byte(p.Code), 0)
	b = p.appendProperties(b)
	b = closeLength(b, at+3, 0)
	return closeLength(b, at, 0)
}

func (p *Connack) appendProperties(b []byte) []byte {
	if p.HasSessionExpiry {
		b = appendUint32Property(b, propSessionExpiry, p.SessionExpiry)
	}
	if p.ReceiveMaximum != 0 {
		b = appendUint16Property(b, propReceiveMaximum, p.ReceiveMaximum)
	}
	if p.MaximumQoS < 2 {
		b = append(b, propMaximumQoS, p.MaximumQoS)
	}
	if p.NoRetain {
		b = append(b, propRetainAvailable, 0)
	}
	if p.MaximumPacketSize != 0 {
		b = appendUint32Property(b, propMaximumPacketSize, p.MaximumPacketSize)
	}
	b = appendBinaryProperty(b, propAssignedClientID, p.AssignedClientID)
	if p.TopicAliasMaximum != 0 {
		b = appendUint16Property(b, propTopicAliasMaximum, p.TopicAliasMaximum)
	}
	b = appendBinaryProperty(b, propReasonString, p.ReasonString)
	b = appendUser(b, p.User)
	if p.NoWildcard {
		b = append(b, propWildcardAvailable, 0)
	}
	if p.NoSubscriptionIDs {
		b = append(b, propSubscriptionIDsAvail, 0)
	}
	if p.NoShared {
		b = append(b, propSharedAvailable, 0)
	}
	if p.HasServerKeepAlive {
		b = appendUint16Property(b, propServerKeepAlive, p.ServerKeepAlive)
	}
	b = appendBinaryProperty(b, propResponseInfo, p.ResponseInfo)
	b = appendBinaryProperty(b, propServerReference, p.ServerReference)
	b = appendBinaryProperty(b, propAuthMethod, p.AuthMethod)
	return appendBinaryProperty(b, propAuthData, p.AuthData)
}

// returnCode translates a reason code to MQTT 3.1.1; not ok if it has no word.
func returnCode(c ReasonCode) (code byte, ok bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIdentifierNotValid:
		return 2, true
	case UnspecifiedError, ImplementationSpecificError, ServerUnavailable, ServerBusy,
		QuotaExceeded, UseAnotherServer, ServerMoved, ConnectionRateExceeded:
		return 3, true
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4, true
	case NotAuthorized, Banned:
		return 5, true
	}
	return 0, false
}

// returnCodes are the return codes of MQTT 3.1.1 as reason codes.
var returnCodes = [...]ReasonCode{
	Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized,
}

// decode reads a CONNACK; extended, as [Decoder.Extended] says.
func (p *Connack) decode(f *fields, v Version, extended bool) {
	*p = Connack{MaximumQoS: 2}
	flags, code := f.byte(), f.byte()
	if v == V31 {
		flags = 0 // reserved
	}
	if flags > 1 {
		f.fail(errConnackFlags)
	}
	p.SessionPresent = flags == 1
	switch {
	case v == V5 && connackCode(ReasonCode(code)):
		p.Code = ReasonCode(code)
		p.properties(f)
	case v == V5:
		f.fail(errReasonCode) // [MQTT-3.2.2-8]
	case extended && code == alternateServer:
		p.Code, p.ServerReference, p.Hops = UseAnotherServer, f.text(), f.uint16()
	case int(code) < len(returnCodes):
		p.Code = returnCodes[code]
		if extended && p.Code == Success && len(f.b) > 0 {
			p.HasServerKeepAlive, p.ServerKeepAlive = true, f.uint16()
		}
	default:
		f.fail(errReturnCode)
	}
	f.end()
	if p.SessionPresent && p.Code != Success {
		f.fail(errSessionPresent)
	}
}

func (p *Connack) properties(f *fields) {
	f.properties()
	for f.next() {
		switch f.id {
		case propSessionExpiry:
			p.HasSessionExpiry, p.SessionExpiry = true, f.uint32()
		case propReceiveMaximum:
			p.ReceiveMaximum = f.positive16()
		case propMaximumQoS:
			p.MaximumQoS = f.bit()
		case propRetainAvailable:
			p.NoRetain = f.bit() == 0
		case propMaximumPacketSize:
			p.MaximumPacketSize = f.positive32()
		case propAssignedClientID:
			p.AssignedClientID = f.text()
		case propTopicAliasMaximum:
			p.TopicAliasMaximum = f.uint16()
		case propReasonString:
			p.ReasonString = f.text()
		case propUser:
			p.User = f.user(p.User)
		case propWildcardAvailable:
			p.NoWildcard = f.bit() == 0
		case propSubscriptionIDsAvail:
			p.NoSubscriptionIDs = f.bit() == 0
		case propSharedAvailable:
			p.NoShared = f.bit() == 0
		case propServerKeepAlive:
			p.HasServerKeepAlive, p.ServerKeepAlive = true, f.uint16()
		case propResponseInfo:
			p.ResponseInfo = f.text()
		case propServerReference:
			p.ServerReference = f.text()
		case propAuthMethod:
			p.AuthMethod = f.text()
		case propAuthData:
			p.AuthData = f.binary()
		default:
			f.fail(errProperty)
		}
	}
}

func connackCode(c ReasonCode) bool {
	switch c {
	case Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized,
		ServerUnavailable, ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge,
		QuotaExceeded, PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer,
		ServerMoved, ConnectionRateExceeded:
		return true
	}
	return false
}
