package gateway

import (
	"sluice/codec"
	"sluice/codec/batch"
)

// Batches are publishes of several messages, see package batch.
type Batches struct {
	Unpack       bool                // clients are told so; else a batch is a message like others
	Dictionaries []*batch.Dictionary // that they may use
}

// offer tells a client of MQTT 5 that it may send batches.
func (b *Batches) offer() []codec.UserProperty {
	if !b.Unpack {
		return nil
	}
	return []codec.UserProperty{{Name: []byte(batch.Property), Value: []byte(batch.Offer(b.Dictionaries))}}
}

// isBatch says whether p is to be unpacked.
func (s *Server) isBatch(p *codec.Publish) bool {
	return s.cfg.Batches.Unpack && string(p.ContentType) == batch.ContentType
}

// forwardBatch hands on the messages in p, each as if c had published it by itself, but
// at QoS 1 at most: what is refused for want of room comes again as a whole. pub is what
// the one acknowledgement waits for. The code tells why p is not taken, or Success.
func (s *Server) forwardBatch(c *conn, p *codec.Publish, pub *publication) (code codec.ReasonCode) {
	if s.unpacker == nil {
		s.unpacker = batch.NewUnpacker(s.cfg.Batches.Dictionaries)
	}
	s.stats.MessagesIn-- // itself is none
	err := s.unpacker.Unpack(p.Payload, func(m *codec.Message) {
		if code == codec.QuotaExceeded {
			return
		}
		s.stats.MessagesIn++
		m.QoS = min(m.QoS, p.QoS, 1)
		if m.Topic[0] == '$' { // a bridge may have brought it from anywhere
			s.drop(&s.stats.Dropped.NotAuthorized)
			return
		}
		why, known := s.admit(c, m)
		switch {
		case why == codec.QuotaExceeded:
			code = why
		case why < codec.UnspecifiedError:
			pub.Message, pub.known, pub.expires = *m, known, 0
			pub.admitted = m.QoS > 0
			s.forward(pub)
		}
	})
	if err != nil {
		s.drop(&s.stats.Dropped.Unreadable)
		s.log.Warn("batch refused", "client", c.session.id, "topic", string(p.Topic[:min(len(p.Topic), 100)]), "error", err)
		return codec.PayloadFormatInvalid
	}
	return code
}
