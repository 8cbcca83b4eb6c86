package sn

// Unsubscribe ends a subscription.
type Unsubscribe struct {
	TopicIDType TopicIDType
	MessageID   uint16 // 1 to 65535
	Topic       []byte // as in Subscribe
	TopicID     uint16 // as in Subscribe
}

// Type is TypeUnsubscribe.
func (*Unsubscribe) Type() MessageType { return TypeUnsubscribe }

// Append implements [Message].
func (m *Unsubscribe) Append(b []byte) []byte {
	return appendFilter(b, TypeUnsubscribe, pack(0, m.TopicIDType), m.MessageID, m.Topic, m.TopicID)
}

func (m *Unsubscribe) decode(f *fields) {
	*m = Unsubscribe{TopicIDType: f.flags().topicIDType(), MessageID: f.uint16()}
	m.Topic, m.TopicID = f.filter(m.TopicIDType)
}
