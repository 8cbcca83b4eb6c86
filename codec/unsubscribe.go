package codec

import "encoding/binary"

// Unsubscribe ends subscriptions, one at least. Decoder looks at the filters as
// strings; see [ValidFilter].
type Unsubscribe struct {
	ID      uint16 // 1 to 65535
	User    []UserProperty
	Filters [][]byte
}

// Type is TypeUnsubscribe.
func (*Unsubscribe) Type() PacketType { return TypeUnsubscribe }

// Append implements [Packet].
func (p *Unsubscribe) Append(b []byte, v Version) []byte {
	at := len(b) + 1
	b = append(b, first(TypeUnsubscribe), 0)
	b = binary.BigEndian.AppendUint16(b, p.ID)
	if v == V5 {
		at := len(b)
		b = appendUser(append(b, 0), p.User)
		b = closeLength(b, at, 0)
	}
	for _, filter := range p.Filters {
		b = appendBinary(b, filter)
	}
	return closeLength(b, at, 0)
}

func (p *Unsubscribe) decode(f *fields, v Version) {
	*p = Unsubscribe{ID: f.packetID()}
	if v == V5 {
		f.properties()
		for f.next() {
			switch f.id {
			case propUser:
				p.User = f.user(p.User)
			default:
				f.fail(errProperty)
			}
		}
	}
	for len(f.b) > 0 {
		if f.tooMany(len(p.Filters)) {
			f.fail(errFilters)
			return
		}
		p.Filters = keep(p.Filters, &f.store.filters, f.text())
	}
	if len(p.Filters) == 0 {
		f.fail(errNoSubscription)
	}
}
