package codec

import "encoding/binary"

// Publish carries a Message.
type Publish struct {
	Message
	Dup bool
	ID  uint16 // 1 to 65535 above QoS 0

	// Of MQTT 5.0. With an alias the topic may be empty: it is the one that
	// the alias was last given with, which is for the caller to know.
	TopicAlias      uint16   // 0 = absent
	SubscriptionIDs []uint32 // 1 to 268435455 each, from a server only
}

// Type is TypePublish.
func (*Publish) Type() PacketType { return TypePublish }

// Append implements [Packet].
func (p *Publish) Append(b []byte, v Version) []byte {
	c := first(TypePublish) | p.QoS<<1
	if p.Dup {
		c |= 8
	}
	if p.Retain {
		c |= 1
	}
	at := len(b) + 1
	b = append(b, c, 0)
	b = appendBinary(b, p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	if v == V5 {
		b = p.appendProperties(b)
	}
	b = closeLength(b, at, len(p.Payload))
	return append(b, p.Payload...)
}

func (p *Publish) appendProperties(b []byte) []byte {
	at := len(b)
	b = append(b, 0)
	b = p.Message.appendProperties(b)
	if p.TopicAlias != 0 {
		b = appendUint16Property(b, propTopicAlias, p.TopicAlias)
	}
	for _, id := range p.SubscriptionIDs {
		b = appendVarint(append(b, propSubscriptionID), id)
	}
	return closeLength(b, at, 0)
}

// decode reads a PUBLISH whose first byte is c.
func (p *Publish) decode(f *fields, c byte, v Version, fromServer bool) {
	*p = Publish{Dup: c&8 != 0}
	p.QoS, p.Retain = c>>1&3, c&1 != 0
	p.Topic = f.binary()
	if p.QoS > 0 {
		p.ID = f.packetID()
	}
	if v == V5 {
		p.properties(f, fromServer)
	}
	if f.err != nil {
		return
	}
	if err := ValidTopic(p.Topic); err != nil && (err != errTopicEmpty || p.TopicAlias == 0) {
		f.fail(err) // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
		return
	}
	p.Payload = f.b
}

func (p *Publish) properties(f *fields, fromServer bool) {
	f.properties()
	for f.next() {
		switch f.id {
		case propTopicAlias:
			if p.TopicAlias = f.uint16(); p.TopicAlias == 0 {
				f.fail(errTopicAlias)
			}
		case propSubscriptionID:
			f.again() // one for each subscription that matches
			if !fromServer {
				f.fail(errSubscriptionID)
			}
			p.SubscriptionIDs = keep(p.SubscriptionIDs, &f.store.ids, f.subscriptionID())
		default:
			p.property(f)
		}
	}
}

// subscriptionID reads a subscription identifier.
func (f *fields) subscriptionID() uint32 {
	id := f.varint()
	if id == 0 {
		f.fail(errPropertyValue)
	}
	return id
}
