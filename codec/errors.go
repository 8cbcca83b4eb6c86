package codec

// Error is a rule of the protocol that the peer broke. Every one is a value
// made once, so that an error costs no memory: compare with == or errors.As.
type Error struct {
	// Code is what to answer, in CONNACK before the connection is accepted and
	// in DISCONNECT after. MQTT 3.1 and 3.1.1 know it in CONNACK only.
	Code ReasonCode

	// Clause is the rule: a statement or a section of the specification of
	// MQTT 5.0, or of the version it names.
	Clause string

	// Text says what was wrong.
	Text string
}

func (e *Error) Error() string { return e.Text + " [" + e.Clause + "]" }

// Faults of form: the packet cannot be parsed.
var (
	errRemainingLength = &Error{MalformedPacket, "MQTT-1.5.5-1", "remaining length is not a variable byte integer"}
	errVarint          = &Error{MalformedPacket, "MQTT-1.5.5-1", "variable byte integer too long"}
	errReserved        = &Error{MalformedPacket, "2.1.2", "reserved packet type"}
	errHeaderFlags     = &Error{MalformedPacket, "MQTT-2.1.3-1", "reserved flags in the fixed header"}
	errShort           = &Error{MalformedPacket, "4.13.1", "packet ends inside a field"}
	errTrailing        = &Error{MalformedPacket, "4.13.1", "bytes left over after the last field"}
	errUTF8            = &Error{MalformedPacket, "MQTT-1.5.4-1", "string is not UTF-8 or holds U+0000"}
	errStringLong      = &Error{MalformedPacket, "1.5.4", "string longer than 65535 bytes"}
	errQoS3            = &Error{MalformedPacket, "MQTT-3.3.1-4", "QoS 3"}
	errDupQoS0         = &Error{MalformedPacket, "MQTT-3.3.1-2", "DUP set at QoS 0"}
	errProperty        = &Error{MalformedPacket, "2.2.2.2", "property unknown or not allowed in this packet"}
	errConnectFlags    = &Error{MalformedPacket, "MQTT-3.1.2-3", "reserved connect flag set"}
	errWillQoS3        = &Error{MalformedPacket, "MQTT-3.1.2-12", "Will QoS 3"}
	errNoWill          = &Error{MalformedPacket, "MQTT-3.1.2-11", "Will QoS or Will Retain without a Will"}
	errPasswordAlone   = &Error{MalformedPacket, "MQTT-3.1.2-22 of 3.1.1", "password without user name"}
	errConnackFlags    = &Error{MalformedPacket, "MQTT-3.2.2-1", "reserved acknowledge flag set"}
	errReturnCode      = &Error{MalformedPacket, "MQTT-3.9.3-2 of 3.1.1", "reserved return code"}
	errOptions         = &Error{MalformedPacket, "MQTT-3.8.3-5", "reserved bits in the subscription options"}
	errNoCode          = &Error{MalformedPacket, "MQTT-3.8.4-6", "acknowledgement without a reason code"}
)

// Faults of content: the packet can be parsed but is not allowed.
var (
	errPacketTooLarge     = &Error{PacketTooLarge, "MQTT-3.2.2-15", "packet larger than the maximum"}
	errNotConnect         = &Error{ProtocolError, "MQTT-3.1.0-1", "first packet is not CONNECT"}
	errDirection          = &Error{ProtocolError, "2.1.2", "packet of the other side"}
	errProtocolName       = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-1", "unknown protocol name"}
	errProtocolLevel      = &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-2", "unsupported protocol level"}
	errClientID           = &Error{ClientIdentifierNotValid, "MQTT-3.1.3-8 of 3.1.1", "empty client identifier without clean session"}
	errAuthData           = &Error{ProtocolError, "3.1.2.11.10", "authentication data without method"}
	errAuthMethod         = &Error{ProtocolError, "3.15.2.2.2", "no authentication method"}
	errPropertyTwice      = &Error{ProtocolError, "3.1.2.11", "property given twice"}
	errPropertyValue      = &Error{ProtocolError, "3.1.2.11", "property value out of range"}
	errSessionPresent     = &Error{ProtocolError, "MQTT-3.2.2-6", "session present in a refusal"}
	errReasonCode         = &Error{ProtocolError, "2.4", "reason code not allowed in this packet"}
	errPacketID           = &Error{ProtocolError, "MQTT-2.2.1-3", "packet identifier is zero"}
	errTopicAlias         = &Error{TopicAliasInvalid, "MQTT-3.3.2-8", "topic alias is zero"}
	errTopicEmpty         = &Error{ProtocolError, "MQTT-4.7.3-1", "empty topic name"}
	errTopicLong          = &Error{ProtocolError, "MQTT-4.7.3-3", "topic name longer than 65535 bytes"}
	errTopicWildcard      = &Error{ProtocolError, "MQTT-3.3.2-2", "wildcard in a topic name"}
	errSubscriptionID     = &Error{ProtocolError, "MQTT-3.3.4-6", "subscription identifier from a client"}
	errFilters            = &Error{QuotaExceeded, "2.4", "more topic filters than a packet may have"}
	errNoSubscription     = &Error{ProtocolError, "MQTT-3.8.3-2", "no topic filter"}
	errSubscribeQoS3      = &Error{ProtocolError, "3.8.3.1", "maximum QoS 3"}
	errRetainHandling     = &Error{ProtocolError, "3.8.3.1", "retain handling 3"}
	errSharedNoLocal      = &Error{ProtocolError, "MQTT-3.8.3-4", "no local on a shared subscription"}
	errDisconnectExpiry   = &Error{ProtocolError, "MQTT-3.14.2-2", "session expiry interval from a server"}
	errDisconnectRedirect = &Error{ProtocolError, "3.14.2.2.5", "server reference from a client"}
)

// Faults of a topic filter. The server answers them in SUBACK or UNSUBACK.
var (
	errFilterEmpty = &Error{TopicFilterInvalid, "MQTT-4.7.3-1", "empty topic filter"}
	errFilterLong  = &Error{TopicFilterInvalid, "MQTT-4.7.3-3", "topic filter longer than 65535 bytes"}
	errFilterHash  = &Error{TopicFilterInvalid, "MQTT-4.7.1-1", "# is not the whole last level"}
	errFilterPlus  = &Error{TopicFilterInvalid, "MQTT-4.7.1-2", "+ is not a whole level"}
	errShareName   = &Error{TopicFilterInvalid, "MQTT-4.8.2-2", "share name is empty or holds a wildcard"}
	errShareFilter = &Error{TopicFilterInvalid, "MQTT-4.8.2-2", "shared subscription without a filter"}
)
