package sn

import "encoding/binary"

// Subscribe asks for the messages of a topic.
type Subscribe struct {
	Dup         bool
	QoS         int8 // 0 to 2; -1 comes through, but no subscription has it
	TopicIDType TopicIDType
	MessageID   uint16 // 1 to 65535
	Topic       []byte // of NormalTopic: a name, wildcards allowed; else nil
	TopicID     uint16 // of the other types; of a short topic its two bytes, the first one high
}

// Type is TypeSubscribe.
func (*Subscribe) Type() MessageType { return TypeSubscribe }

// Append implements [Message].
func (m *Subscribe) Append(b []byte) []byte {
	c := pack(m.QoS, m.TopicIDType).set(flagDup, m.Dup)
	return appendFilter(b, TypeSubscribe, c, m.MessageID, m.Topic, m.TopicID)
}

func (m *Subscribe) decode(f *fields) {
	c := f.flags()
	*m = Subscribe{Dup: c.has(flagDup), QoS: c.signedQoS(), TopicIDType: c.topicIDType(), MessageID: f.uint16()}
	m.Topic, m.TopicID = f.filter(m.TopicIDType)
}

// filter reads the topic of a Subscribe or an Unsubscribe.
func (f *fields) filter(t TopicIDType) (topic []byte, id uint16) {
	if t.isID() {
		return nil, f.uint16()
	}
	return f.topic(), 0
}

// isID says whether the topic of a Subscribe or an Unsubscribe takes two bytes.
func (t TopicIDType) isID() bool { return t == PredefinedTopic || t == ShortTopic }

// appendFilter appends a Subscribe or an Unsubscribe.
func appendFilter(b []byte, t MessageType, c flags, messageID uint16, topic []byte, topicID uint16) []byte {
	n := len(topic)
	if c.topicIDType().isID() {
		n = 2
	}
	b = appendFrame(b, t, 3+n)
	b = append(b, byte(c), byte(messageID>>8), byte(messageID))
	if c.topicIDType().isID() {
		return binary.BigEndian.AppendUint16(b, topicID)
	}
	return append(b, topic...)
}
