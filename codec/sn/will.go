package sn

// WillTopicRequest asks for a WillTopic.
type WillTopicRequest struct{}

// WillTopic is the first half of a Will.
type WillTopic struct {
	QoS    byte // 0 to 2; 3 comes through, but no Will has it
	Retain bool
	Topic  []byte // empty: there is no Will, and one that is stored is deleted
}

// WillMessageRequest asks for a WillMessage.
type WillMessageRequest struct{}

// WillMessage is the second half of a Will.
type WillMessage struct {
	Message []byte
}

// WillTopicUpdate changes topic, QoS and retain of a stored Will, or deletes it.
type WillTopicUpdate WillTopic

// WillTopicResponse answers a WillTopicUpdate.
type WillTopicResponse Connack

// WillMessageUpdate changes the message of a stored Will.
type WillMessageUpdate WillMessage

// WillMessageResponse answers a WillMessageUpdate.
type WillMessageResponse Connack

// Type is TypeWillTopicRequest.
func (*WillTopicRequest) Type() MessageType { return TypeWillTopicRequest }

// Type is TypeWillTopic.
func (*WillTopic) Type() MessageType { return TypeWillTopic }

// Type is TypeWillMessageRequest.
func (*WillMessageRequest) Type() MessageType { return TypeWillMessageRequest }

// Type is TypeWillMessage.
func (*WillMessage) Type() MessageType { return TypeWillMessage }

// Type is TypeWillTopicUpdate.
func (*WillTopicUpdate) Type() MessageType { return TypeWillTopicUpdate }

// Type is TypeWillTopicResponse.
func (*WillTopicResponse) Type() MessageType { return TypeWillTopicResponse }

// Type is TypeWillMessageUpdate.
func (*WillMessageUpdate) Type() MessageType { return TypeWillMessageUpdate }

// Type is TypeWillMessageResponse.
func (*WillMessageResponse) Type() MessageType { return TypeWillMessageResponse }

// Append implements [Message].
func (*WillTopicRequest) Append(b []byte) []byte { return appendFrame(b, TypeWillTopicRequest, 0) }

// Append implements [Message].
func (m *WillTopic) Append(b []byte) []byte { return m.append(b, TypeWillTopic) }

// Append implements [Message].
func (*WillMessageRequest) Append(b []byte) []byte { return appendFrame(b, TypeWillMessageRequest, 0) }

// Append implements [Message].
func (m *WillMessage) Append(b []byte) []byte { return m.append(b, TypeWillMessage) }

// Append implements [Message].
func (m *WillTopicUpdate) Append(b []byte) []byte {
	return (*WillTopic)(m).append(b, TypeWillTopicUpdate)
}

// Append implements [Message].
func (m *WillTopicResponse) Append(b []byte) []byte {
	return (*Connack)(m).append(b, TypeWillTopicResponse)
}

// Append implements [Message].
func (m *WillMessageUpdate) Append(b []byte) []byte {
	return (*WillMessage)(m).append(b, TypeWillMessageUpdate)
}

// Append implements [Message].
func (m *WillMessageResponse) Append(b []byte) []byte {
	return (*Connack)(m).append(b, TypeWillMessageResponse)
}

// append writes the message as one of type t. Without a topic there are no flags
// either.
func (m *WillTopic) append(b []byte, t MessageType) []byte {
	if len(m.Topic) == 0 {
		return appendFrame(b, t, 0)
	}
	c := pack(int8(m.QoS), 0).set(flagRetain, m.Retain)
	b = append(appendFrame(b, t, 1+len(m.Topic)), byte(c))
	return append(b, m.Topic...)
}

func (m *WillTopic) decode(f *fields) {
	*m = WillTopic{}
	if len(f.b) == 0 {
		return
	}
	c := f.flags()
	if topic := f.rest(); len(topic) > 0 {
		*m = WillTopic{QoS: c.qos(), Retain: c.has(flagRetain), Topic: topic}
	}
}

// append writes the message as one of type t.
func (m *WillMessage) append(b []byte, t MessageType) []byte {
	return append(appendFrame(b, t, len(m.Message)), m.Message...)
}

func (m *WillMessage) decode(f *fields) { *m = WillMessage{Message: f.rest()} }
