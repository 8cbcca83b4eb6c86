package sn

import "strconv"

// MessageType is the byte behind the length of a message.
type MessageType byte

// The types of messages.
const (
	TypeAdvertise           MessageType = 0x00
	TypeSearchGateway       MessageType = 0x01
	TypeGatewayInfo         MessageType = 0x02
	TypeConnect             MessageType = 0x04
	TypeConnack             MessageType = 0x05
	TypeWillTopicRequest    MessageType = 0x06
	TypeWillTopic           MessageType = 0x07
	TypeWillMessageRequest  MessageType = 0x08
	TypeWillMessage         MessageType = 0x09
	TypeRegister            MessageType = 0x0a
	TypeRegack              MessageType = 0x0b
	TypePublish             MessageType = 0x0c
	TypePuback              MessageType = 0x0d
	TypePubcomp             MessageType = 0x0e // the order of these three
	TypePubrec              MessageType = 0x0f // is not that of MQTT
	TypePubrel              MessageType = 0x10
	TypeSubscribe           MessageType = 0x12
	TypeSuback              MessageType = 0x13
	TypeUnsubscribe         MessageType = 0x14
	TypeUnsuback            MessageType = 0x15
	TypePingreq             MessageType = 0x16
	TypePingresp            MessageType = 0x17
	TypeDisconnect          MessageType = 0x18
	TypeWillTopicUpdate     MessageType = 0x1a
	TypeWillTopicResponse   MessageType = 0x1b
	TypeWillMessageUpdate   MessageType = 0x1c
	TypeWillMessageResponse MessageType = 0x1d

	// TypeForward is no message, but the wrapping of one: see CutForward.
	TypeForward MessageType = 0xfe
)

var typeNames = [...]string{
	TypeAdvertise:           "ADVERTISE",
	TypeSearchGateway:       "SEARCHGW",
	TypeGatewayInfo:         "GWINFO",
	TypeConnect:             "CONNECT",
	TypeConnack:             "CONNACK",
	TypeWillTopicRequest:    "WILLTOPICREQ",
	TypeWillTopic:           "WILLTOPIC",
	TypeWillMessageRequest:  "WILLMSGREQ",
	TypeWillMessage:         "WILLMSG",
	TypeRegister:            "REGISTER",
	TypeRegack:              "REGACK",
	TypePublish:             "PUBLISH",
	TypePuback:              "PUBACK",
	TypePubcomp:             "PUBCOMP",
	TypePubrec:              "PUBREC",
	TypePubrel:              "PUBREL",
	TypeSubscribe:           "SUBSCRIBE",
	TypeSuback:              "SUBACK",
	TypeUnsubscribe:         "UNSUBSCRIBE",
	TypeUnsuback:            "UNSUBACK",
	TypePingreq:             "PINGREQ",
	TypePingresp:            "PINGRESP",
	TypeDisconnect:          "DISCONNECT",
	TypeWillTopicUpdate:     "WILLTOPICUPD",
	TypeWillTopicResponse:   "WILLTOPICRESP",
	TypeWillMessageUpdate:   "WILLMSGUPD",
	TypeWillMessageResponse: "WILLMSGRESP",
}

// String gives the name as the specification writes it, such as "PUBACK", or
// "reserved 0xNN" if there is none.
func (t MessageType) String() string {
	switch {
	case t == TypeForward:
		return "FORWARD"
	case int(t) < len(typeNames) && typeNames[t] != "":
		return typeNames[t]
	}
	return "reserved 0x" + strconv.FormatUint(uint64(t), 16)
}

// Message is a pointer to one of the types of messages of this package.
type Message interface {
	// Append appends the whole message and returns the longer slice. It does
	// not fail: a message has at most 65535 bytes, all of it counted, and no
	// datagram over IP holds one that is longer.
	Append(b []byte) []byte

	Type() MessageType
}

// ReturnCode is the answer to a request.
type ReturnCode byte

// The return codes. The others are reserved.
const (
	Accepted       ReturnCode = 0
	Congestion     ReturnCode = 1 // try again after T_WAIT
	InvalidTopicID ReturnCode = 2 // register the topic again
	NotSupported   ReturnCode = 3
)

// String gives the name of the code, or "return code 0xNN" if it has none.
func (c ReturnCode) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case Congestion:
		return "congestion"
	case InvalidTopicID:
		return "invalid topic id"
	case NotSupported:
		return "not supported"
	}
	return "return code 0x" + strconv.FormatUint(uint64(c), 16)
}

// TopicIDType says what the topic of a message is. The value 3 is reserved.
type TopicIDType byte

// The types of topic ids.
const (
	NormalTopic     TopicIDType = 0 // an id agreed on by REGISTER or SUBACK; in SUBSCRIBE and UNSUBSCRIBE a name
	PredefinedTopic TopicIDType = 1 // an id that both sides know beforehand
	ShortTopic      TopicIDType = 2 // no id, but a name of two bytes
)

// String gives "normal", "predefined", "short" or "reserved".
func (t TopicIDType) String() string {
	return [4]string{"normal", "predefined", "short", "reserved"}[t&3]
}
