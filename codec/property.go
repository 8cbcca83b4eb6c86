package codec

import "encoding/binary"

// Identifiers of the properties of MQTT 5.0, section 2.2.2.2.
const (
	propPayloadFormat        = 0x01
	propMessageExpiry        = 0x02
	propContentType          = 0x03
	propResponseTopic        = 0x08
	propCorrelationData      = 0x09
	propSubscriptionID       = 0x0b
	propSessionExpiry        = 0x11
	propAssignedClientID     = 0x12
	propServerKeepAlive      = 0x13
	propAuthMethod           = 0x15
	propAuthData             = 0x16
	propRequestProblemInfo   = 0x17
	propWillDelay            = 0x18
	propRequestResponseInfo  = 0x19
	propResponseInfo         = 0x1a
	propServerReference      = 0x1c
	propReasonString         = 0x1f
	propReceiveMaximum       = 0x21
	propTopicAliasMaximum    = 0x22
	propTopicAlias           = 0x23
	propMaximumQoS           = 0x24
	propRetainAvailable      = 0x25
	propUser                 = 0x26
	propMaximumPacketSize    = 0x27
	propWildcardAvailable    = 0x28
	propSubscriptionIDsAvail = 0x29
	propSharedAvailable      = 0x2a
)

// appendBinaryProperty appends a string or binary property, unless v is nil.
func appendBinaryProperty(b []byte, id byte, v []byte) []byte {
	if v == nil {
		return b
	}
	return appendBinary(append(b, id), v)
}

func appendUint16Property(b []byte, id byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, id), v)
}

func appendUint32Property(b []byte, id byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, id), v)
}

func appendUser(b []byte, user []UserProperty) []byte {
	for i := range user {
		b = appendBinary(append(b, propUser), user[i].Name)
		b = appendBinary(b, user[i].Value)
	}
	return b
}
