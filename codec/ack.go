package codec

import "encoding/binary"

// Puback acknowledges a Publish at QoS 1. Before MQTT 5.0 it has an identifier
// and nothing else, and Code is Success. The other three acknowledgements have
// the same form.
type Puback struct {
	ID           uint16
	Code         ReasonCode
	ReasonString []byte
	User         []UserProperty
}

// Pubrec acknowledges a Publish at QoS 2. A Code of 0x80 and above ends the flow.
type Pubrec Puback

// Pubrel answers a Pubrec: the Publish will not come again.
type Pubrel Puback

// Pubcomp answers a Pubrel and ends the flow.
type Pubcomp Puback

// Type is TypePuback.
func (*Puback) Type() PacketType { return TypePuback }

// Type is TypePubrec.
func (*Pubrec) Type() PacketType { return TypePubrec }

// Type is TypePubrel.
func (*Pubrel) Type() PacketType { return TypePubrel }

// Type is TypePubcomp.
func (*Pubcomp) Type() PacketType { return TypePubcomp }

// Append implements [Packet].
func (p *Puback) Append(b []byte, v Version) []byte { return p.append(b, TypePuback, v) }

// Append implements [Packet].
func (p *Pubrec) Append(b []byte, v Version) []byte { return (*Puback)(p).append(b, TypePubrec, v) }

// Append implements [Packet].
func (p *Pubrel) Append(b []byte, v Version) []byte { return (*Puback)(p).append(b, TypePubrel, v) }

// Append implements [Packet].
func (p *Pubcomp) Append(b []byte, v Version) []byte { return (*Puback)(p).append(b, TypePubcomp, v) }

// append writes the packet as one of type t, in the shortest form.
func (p *Puback) append(b []byte, t PacketType, v Version) []byte {
	bare := v != V5 || p.ReasonString == nil && len(p.User) == 0
	switch {
	case v != V5 || bare && p.Code == Success:
		return append(b, first(t), 2, byte(p.ID>>8), byte(p.ID))
	case bare:
		return append(b, first(t), 3, byte(p.ID>>8), byte(p.ID), byte(p.Code))
	}
	at := len(b) + 1
	b = append(b, first(t), 0)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	b = append(b, byte(p.Code))
	b = appendProblem(b, p.ReasonString, p.User)
	return closeLength(b, at, 0)
}

// decode reads a packet of type t.
func (p *Puback) decode(f *fields, t PacketType, v Version) {
	*p = Puback{ID: f.packetID()}
	if v == V5 && len(f.b) > 0 {
		p.Code = ReasonCode(f.byte())
		if !ackCode(t, p.Code) {
			f.fail(errReasonCode)
		}
		if len(f.b) > 0 {
			p.ReasonString, p.User = f.problem()
		}
	}
	f.end()
}

// ackCode says whether an acknowledgement of type t may carry c.
func ackCode(t PacketType, c ReasonCode) bool {
	switch c {
	case Success:
		return true
	case NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicNameInvalid, PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid:
		return t == TypePuback || t == TypePubrec
	case PacketIdentifierNotFound:
		return t == TypePubrel || t == TypePubcomp
	}
	return false
}

// problem reads the properties of a packet that may carry only these two:
// acknowledgements of every kind.
func (f *fields) problem() (reason []byte, user []UserProperty) {
	f.properties()
	for f.next() {
		switch f.id {
		case propReasonString:
			reason = f.text()
		case propUser:
			user = f.user(user)
		default:
			f.fail(errProperty)
		}
	}
	return reason, user
}

func appendProblem(b, reason []byte, user []UserProperty) []byte {
	at := len(b)
	b = append(b, 0)
	b = appendBinaryProperty(b, propReasonString, reason)
	b = appendUser(b, user)
	return closeLength(b, at, 0)
}
