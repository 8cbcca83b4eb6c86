package codec

// UserProperty is a name and a value of the peer's own meaning, both UTF-8 and
// possibly empty. Names may repeat, and their order counts.
type UserProperty struct{ Name, Value []byte }

// Message is an Application Message: what a server forwards unaltered. It is
// the body of Publish and Will. A nil slice is a property that is absent, an
// empty one that is not nil is present and empty; Payload is never absent.
// Properties exist in MQTT 5.0 only.
type Message struct {
	Topic, Payload []byte
	QoS            byte // 0, 1, 2
	Retain         bool

	HasPayloadFormat bool
	PayloadFormat    byte // 0 bytes, 1 UTF-8
	HasMessageExpiry bool
	MessageExpiry    uint32 // seconds
	ContentType      []byte
	ResponseTopic    []byte
	CorrelationData  []byte
	User             []UserProperty
}

// property reads a property that belongs to a Message.
func (m *Message) property(f *fields) {
	switch f.id {
	case propPayloadFormat:
		m.HasPayloadFormat, m.PayloadFormat = true, f.bit()
	case propMessageExpiry:
		m.HasMessageExpiry, m.MessageExpiry = true, f.uint32()
	case propContentType:
		m.ContentType = f.text()
	case propResponseTopic:
		m.ResponseTopic = f.topic() // [MQTT-3.3.2-14]
	case propCorrelationData:
		m.CorrelationData = f.binary()
	case propUser:
		m.User = f.user(m.User)
	default:
		f.fail(errProperty)
	}
}

func (m *Message) appendProperties(b []byte) []byte {
	if m.HasPayloadFormat {
		b = append(b, propPayloadFormat, m.PayloadFormat)
	}
	if m.HasMessageExpiry {
		b = appendUint32Property(b, propMessageExpiry, m.MessageExpiry)
	}
	b = appendBinaryProperty(b, propContentType, m.ContentType)
	b = appendBinaryProperty(b, propResponseTopic, m.ResponseTopic)
	b = appendBinaryProperty(b, propCorrelationData, m.CorrelationData)
	return appendUser(b, m.User)
}
