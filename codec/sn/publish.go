package sn

// Publish carries an application message, in either direction.
type Publish struct {
	Dup         bool
	QoS         int8 // -1 to 2; -1 needs no connection
	Retain      bool
	TopicIDType TopicIDType
	TopicID     uint16 // of a short topic its two bytes, the first one high
	MessageID   uint16 // 1 to 65535 at QoS 1 and 2, else 0
	Data        []byte
}

// Type is TypePublish.
func (*Publish) Type() MessageType { return TypePublish }

// Append implements [Message].
func (m *Publish) Append(b []byte) []byte {
	c := pack(m.QoS, m.TopicIDType).set(flagDup, m.Dup).set(flagRetain, m.Retain)
	b = appendFrame(b, TypePublish, 5+len(m.Data))
	b = append(b, byte(c), byte(m.TopicID>>8), byte(m.TopicID), byte(m.MessageID>>8), byte(m.MessageID))
	return append(b, m.Data...)
}

func (m *Publish) decode(f *fields) {
	c := f.flags()
	*m = Publish{
		Dup: c.has(flagDup), QoS: c.signedQoS(), Retain: c.has(flagRetain), TopicIDType: c.topicIDType(),
		TopicID: f.uint16(), MessageID: f.uint16(), Data: f.rest(),
	}
}

// SetDup sets DUP in a whole PUBLISH that Append made: it is sent again.
func SetDup(publish []byte) {
	flags := 2
	if publish[0] == 1 { // the long form
		flags = 4
	}
	publish[flags] |= byte(flagDup)
}
