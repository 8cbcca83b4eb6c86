package codec

import "encoding/binary"

// Unsuback answers an Unsubscribe, with a code for each of its filters in order.
// Before MQTT 5.0 it has an identifier and nothing else.
type Unsuback struct {
	ID           uint16
	ReasonString []byte
	User         []UserProperty
	Codes        []ReasonCode
}

// Type is TypeUnsuback.
func (*Unsuback) Type() PacketType { return TypeUnsuback }

// Append implements [Packet].
func (p *Unsuback) Append(b []byte, v Version) []byte {
	at := len(b) + 1
	b = append(b, first(TypeUnsuback), 0)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		b = appendProblem(b, p.ReasonString, p.User)
		for _, c := range p.Codes {
			b = append(b, byte(c))
		}
	}
	return closeLength(b, at, 0)
}

func (p *Unsuback) decode(f *fields, v Version) {
	*p = Unsuback{ID: f.packetID()}
	if v != V5 {
		f.end()
		return
	}
	p.ReasonString, p.User = f.problem()
	for len(f.b) > 0 {
		c := ReasonCode(f.byte())
		if !unsubackCode(c) {
			f.fail(errReasonCode)
		}
		p.Codes = keep(p.Codes, &f.store.codes, c)
	}
	if len(p.Codes) == 0 {
		f.fail(errNoCode)
	}
}

func unsubackCode(c ReasonCode) bool {
	switch c {
	case Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse:
		return true
	}
	return false
}
