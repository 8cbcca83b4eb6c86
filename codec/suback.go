package codec

import "encoding/binary"

// Suback answers a Subscribe with a code for each of its filters, in order: the
// QoS that is granted, or 0x80 and above. Before MQTT 5.0 the only failure is
// UnspecifiedError; Append makes every other that.
type Suback struct {
	ID           uint16
	ReasonString []byte
	User         []UserProperty
	Codes        []ReasonCode
}

// Type is TypeSuback.
func (*Suback) Type() PacketType { return TypeSuback }

// Append implements [Packet].
func (p *Suback) Append(b []byte, v Version) []byte {
	at := len(b) + 1
	b = append(b, first(TypeSuback), 0)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		b = appendProblem(b, p.ReasonString, p.User)
	}
	for _, c := range p.Codes {
		if v != V5 && c > UnspecifiedError {
			c = UnspecifiedError
		}
		b = append(b, byte(c))
	}
	return closeLength(b, at, 0)
}

func (p *Suback) decode(f *fields, v Version) {
	*p = Suback{ID: f.packetID()}
	if v == V5 {
		p.ReasonString, p.User = f.problem()
	}
	for len(f.b) > 0 {
		c := ReasonCode(f.byte())
		switch {
		case v != V5 && c > GrantedQoS2 && c != UnspecifiedError:
			f.fail(errReturnCode)
		case !subackCode(c):
			f.fail(errReasonCode)
		}
		p.Codes = keep(p.Codes, &f.store.codes, c)
	}
	if len(p.Codes) == 0 {
		f.fail(errNoCode)
	}
}

func subackCode(c ReasonCode) bool {
	switch c {
	case GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded,
		SharedSubscriptionsNotSupported, SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported:
		return true
	}
	return false
}
