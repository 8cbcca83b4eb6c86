package gateway

import (
	"time"

	"sluice/codec"
)

// will is a Will Message, published when its client goes without saying so. The zero
// delay publishes at once.
type will struct {
	codec.Message
	delay time.Duration
	due   time.Duration // the gateway's time, once the client is gone
}

// setWill keeps a copy of the will of a CONNECT.
func (c *conn) setWill(w *codec.Will) {
	if w == nil {
		return
	}
	c.will = &will{Message: cloneMessage(w.Message), delay: time.Duration(w.Delay) * time.Second}
}

// publishWill publishes the will, once. [MQTT-3.1.2-8], [MQTT-3.1.2-10]
func (to *session) publishWill() {
	w := to.will
	to.will = nil
	s := to.srv
	if s.cfg.Access != nil && !s.cfg.Access.CanPublish(to.user, to.id, w.Topic) {
		s.drop(&s.stats.Dropped.NotAuthorized)
		return
	}
	s.stats.Wills++
	pub := publication{Message: w.Message, live: true}
	s.forward(&pub)
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// cloneMessage copies what a message views.
func cloneMessage(m codec.Message) codec.Message {
	m.Topic, m.Payload = clone(m.Topic), clone(m.Payload)
	m.ContentType, m.ResponseTopic, m.CorrelationData = clone(m.ContentType), clone(m.ResponseTopic), clone(m.CorrelationData)
	user := m.User
	m.User = nil
	for _, u := range user {
		m.User = append(m.User, codec.UserProperty{Name: clone(u.Name), Value: clone(u.Value)})
	}
	return m
}
