package codec

import "strconv"

// ReasonCode says how something went. Below 0x80 it went well.
type ReasonCode byte

// The reason codes of MQTT 5.0, section 2.4.
const (
	Success             ReasonCode = 0x00
	NormalDisconnection ReasonCode = 0x00 // Success, in DISCONNECT
	GrantedQoS0         ReasonCode = 0x00 // Success, in SUBACK

	GrantedQoS1            ReasonCode = 0x01
	GrantedQoS2            ReasonCode = 0x02
	DisconnectWithWill     ReasonCode = 0x04
	NoMatchingSubscribers  ReasonCode = 0x10
	NoSubscriptionExisted  ReasonCode = 0x11
	ContinueAuthentication ReasonCode = 0x18
	Reauthenticate         ReasonCode = 0x19

	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIdentifierNotValid            ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8a
	ServerShuttingDown                  ReasonCode = 0x8b
	BadAuthenticationMethod             ReasonCode = 0x8c
	KeepAliveTimeout                    ReasonCode = 0x8d
	SessionTakenOver                    ReasonCode = 0x8e
	TopicFilterInvalid                  ReasonCode = 0x8f
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIdentifierInUse               ReasonCode = 0x91
	PacketIdentifierNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9a
	QoSNotSupported                     ReasonCode = 0x9b
	UseAnotherServer                    ReasonCode = 0x9c
	ServerMoved                         ReasonCode = 0x9d
	SharedSubscriptionsNotSupported     ReasonCode = 0x9e
	ConnectionRateExceeded              ReasonCode = 0x9f
	MaximumConnectTime                  ReasonCode = 0xa0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xa1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xa2
)

var reasonNames = map[ReasonCode]string{
	Success:                             "success",
	GrantedQoS1:                         "granted QoS 1",
	GrantedQoS2:                         "granted QoS 2",
	DisconnectWithWill:                  "disconnect with Will message",
	NoMatchingSubscribers:               "no matching subscribers",
	NoSubscriptionExisted:               "no subscription existed",
	ContinueAuthentication:              "continue authentication",
	Reauthenticate:                      "re-authenticate",
	UnspecifiedError:                    "unspecified error",
	MalformedPacket:                     "malformed packet",
	ProtocolError:                       "protocol error",
	ImplementationSpecificError:         "implementation specific error",
	UnsupportedProtocolVersion:          "unsupported protocol version",
	ClientIdentifierNotValid:            "client identifier not valid",
	BadUserNameOrPassword:               "bad user name or password",
	NotAuthorized:                       "not authorized",
	ServerUnavailable:                   "server unavailable",
	ServerBusy:                          "server busy",
	Banned:                              "banned",
	ServerShuttingDown:                  "server shutting down",
	BadAuthenticationMethod:             "bad authentication method",
	KeepAliveTimeout:                    "keep alive timeout",
	SessionTakenOver:                    "session taken over",
	TopicFilterInvalid:                  "topic filter invalid",
	TopicNameInvalid:                    "topic name invalid",
	PacketIdentifierInUse:               "packet identifier in use",
	PacketIdentifierNotFound:            "packet identifier not found",
	ReceiveMaximumExceeded:              "receive maximum exceeded",
	TopicAliasInvalid:                   "topic alias invalid",
	PacketTooLarge:                      "packet too large",
	MessageRateTooHigh:                  "message rate too high",
	QuotaExceeded:                       "quota exceeded",
	AdministrativeAction:                "administrative action",
	PayloadFormatInvalid:                "payload format invalid",
	RetainNotSupported:                  "retain not supported",
	QoSNotSupported:                     "QoS not supported",
	UseAnotherServer:                    "use another server",
	ServerMoved:                         "server moved",
	SharedSubscriptionsNotSupported:     "shared subscriptions not supported",
	ConnectionRateExceeded:              "connection rate exceeded",
	MaximumConnectTime:                  "maximum connect time",
	SubscriptionIdentifiersNotSupported: "subscription identifiers not supported",
	WildcardSubscriptionsNotSupported:   "wildcard subscriptions not supported",
}

// Named says whether the code is one of MQTT 5.0.
func (c ReasonCode) Named() bool {
	_, ok := reasonNames[c]
	return ok
}

// String gives the name of the code, or "reason 0xNN" if it has none.
func (c ReasonCode) String() string {
	if name, ok := reasonNames[c]; ok {
		return name
	}
	return "reason 0x" + strconv.FormatUint(uint64(c), 16)
}
