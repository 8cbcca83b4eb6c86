package codec

import "encoding/binary"

// Subscribe asks for subscriptions, one at least.
type Subscribe struct {
	ID             uint16 // 1 to 65535
	SubscriptionID uint32 // 1 to 268435455, 0 = absent
	User           []UserProperty
	Subscriptions  []Subscription
}

// Subscription is a topic filter and how to serve it. Before MQTT 5.0 it has a
// QoS only. Decoder looks at the filter as a string; see [ValidFilter].
type Subscription struct {
	Filter            []byte
	QoS               byte // the most to deliver: 0, 1, 2
	NoLocal           bool // not what the subscriber publishes itself
	RetainAsPublished bool // forward RETAIN as it came
	RetainHandling    byte // send retained messages: 0 always, 1 if the subscription is new, 2 never
}

// Type is TypeSubscribe.
func (*Subscribe) Type() PacketType { return TypeSubscribe }

// Append implements [Packet].
func (p *Subscribe) Append(b []byte, v Version) []byte {
	at := len(b) + 1
	b = append(b, first(TypeSubscribe), 0)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		at := len(b)
		b = append(b, 0)
		if p.SubscriptionID != 0 {
			b = appendVarint(append(b, propSubscriptionID), p.SubscriptionID)
		}
		b = appendUser(b, p.User)
		b = closeLength(b, at, 0)
	}
	for i := range p.Subscriptions {
		s := &p.Subscriptions[i]
		b = appendBinary(b, s.Filter)
		b = append(b, s.options(v))
	}
	return closeLength(b, at, 0)
}

func (s *Subscription) options(v Version) byte {
	c := s.QoS
	if v != V5 {
		return c
	}
	if s.NoLocal {
		c |= 4
	}
	if s.RetainAsPublished {
		c |= 8
	}
	return c | s.RetainHandling<<4
}

func (p *Subscribe) decode(f *fields, v Version) {
	*p = Subscribe{ID: f.packetID()}
	if v == V5 {
		f.properties()
		for f.next() {
			switch f.id {
			case propSubscriptionID:
				p.SubscriptionID = f.subscriptionID()
			case propUser:
				p.User = f.user(p.User)
			default:
				f.fail(errProperty)
			}
		}
	}
	for len(f.b) > 0 {
		if f.tooMany(len(p.Subscriptions)) {
			f.fail(errFilters)
			return
		}
		s := Subscription{Filter: f.text()}
		s.setOptions(f, v)
		p.Subscriptions = keep(p.Subscriptions, &f.store.subscriptions, s)
	}
	if len(p.Subscriptions) == 0 {
		f.fail(errNoSubscription)
	}
}

// setOptions reads the options and checks them.
func (s *Subscription) setOptions(f *fields, v Version) {
	c := f.byte()
	s.QoS = c & 3
	s.NoLocal = c&4 != 0
	s.RetainAsPublished = c&8 != 0
	s.RetainHandling = c >> 4 & 3
	switch {
	case v != V5 && c&^3 != 0, c&0xc0 != 0:
		f.fail(errOptions)
	case v != V5 && s.QoS == 3:
		f.fail(errQoS3)
	case s.QoS == 3:
		f.fail(errSubscribeQoS3)
	case s.RetainHandling == 3:
		f.fail(errRetainHandling)
	case s.NoLocal:
		if _, _, shared := SplitShare(s.Filter); shared {
			f.fail(errSharedNoLocal)
		}
	}
}
