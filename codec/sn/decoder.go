package sn

// Decoder turns datagrams into messages. It holds one message of each type and
// fills it anew: what Decode returns is valid until the next call. It keeps
// nothing from one datagram to the next, so that one Decoder serves many peers,
// but one at a time. The zero value is ready.
type Decoder struct {
	advertise           Advertise
	searchGateway       SearchGateway
	gatewayInfo         GatewayInfo
	connect             Connect
	connack             Connack
	willTopicRequest    WillTopicRequest
	willTopic           WillTopic
	willMessageRequest  WillMessageRequest
	willMessage         WillMessage
	register            Register
	regack              Regack
	publish             Publish
	puback              Puback
	pubcomp             Pubcomp
	pubrec              Pubrec
	pubrel              Pubrel
	subscribe           Subscribe
	suback              Suback
	unsubscribe         Unsubscribe
	unsuback            Unsuback
	pingreq             Pingreq
	pingresp            Pingresp
	disconnect          Disconnect
	willTopicUpdate     WillTopicUpdate
	willTopicResponse   WillTopicResponse
	willMessageUpdate   WillMessageUpdate
	willMessageResponse WillMessageResponse
}

// Decode decodes a datagram that is exactly one message, of either side. The
// byte fields of the message are views of the datagram: they are gone with the
// next call, or when the datagram is written to.
//
// The error is an *Error: the datagram is not a message, and is to be dropped
// without an answer. The package comment says what is not an error here. An
// encapsulated message is one: take it out by [CutForward] first.
func (d *Decoder) Decode(datagram []byte) (Message, error) {
	t, body, err := frame(datagram)
	if err != nil {
		return nil, err
	}
	f := fields{b: body}
	m := d.decode(&f, t)
	f.end()
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

// decode reads the message of type t from f.
func (d *Decoder) decode(f *fields, t MessageType) Message {
	switch t {
	case TypePublish:
		d.publish.decode(f)
		return &d.publish
	case TypePuback:
		d.puback.decode(f)
		return &d.puback
	case TypePubrec:
		d.pubrec.decode(f)
		return &d.pubrec
	case TypePubrel:
		(*Pubrec)(&d.pubrel).decode(f)
		return &d.pubrel
	case TypePubcomp:
		(*Pubrec)(&d.pubcomp).decode(f)
		return &d.pubcomp
	case TypePingreq:
		d.pingreq.decode(f)
		return &d.pingreq
	case TypePingresp:
		return &d.pingresp
	case TypeRegister:
		d.register.decode(f)
		return &d.register
	case TypeRegack:
		(*Puback)(&d.regack).decode(f)
		return &d.regack
	case TypeConnect:
		d.connect.decode(f)
		return &d.connect
	case TypeConnack:
		d.connack.decode(f)
		return &d.connack
	case TypeDisconnect:
		d.disconnect.decode(f)
		return &d.disconnect
	case TypeSubscribe:
		d.subscribe.decode(f)
		return &d.subscribe
	case TypeSuback:
		d.suback.decode(f)
		return &d.suback
	case TypeUnsubscribe:
		d.unsubscribe.decode(f)
		return &d.unsubscribe
	case TypeUnsuback:
		d.unsuback.decode(f)
		return &d.unsuback
	case TypeAdvertise:
		d.advertise.decode(f)
		return &d.advertise
	case TypeSearchGateway:
		d.searchGateway.decode(f)
		return &d.searchGateway
	case TypeGatewayInfo:
		d.gatewayInfo.decode(f)
		return &d.gatewayInfo
	}
	return d.decodeWill(f, t)
}

// decodeWill reads the message if it is one about the Will.
func (d *Decoder) decodeWill(f *fields, t MessageType) Message {
	switch t {
	case TypeWillTopicRequest:
		return &d.willTopicRequest
	case TypeWillTopic:
		d.willTopic.decode(f)
		return &d.willTopic
	case TypeWillMessageRequest:
		return &d.willMessageRequest
	case TypeWillMessage:
		d.willMessage.decode(f)
		return &d.willMessage
	case TypeWillTopicUpdate:
		(*WillTopic)(&d.willTopicUpdate).decode(f)
		return &d.willTopicUpdate
	case TypeWillTopicResponse:
		(*Connack)(&d.willTopicResponse).decode(f)
		return &d.willTopicResponse
	case TypeWillMessageUpdate:
		(*WillMessage)(&d.willMessageUpdate).decode(f)
		return &d.willMessageUpdate
	case TypeWillMessageResponse:
		(*Connack)(&d.willMessageResponse).decode(f)
		return &d.willMessageResponse
	case TypeForward:
		f.fail(errForward)
	default:
		f.fail(errReserved)
	}
	return nil
}
