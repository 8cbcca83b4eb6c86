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

// refused are the messages of a batch that their publisher may not publish.
type refused struct {
	code   codec.ReasonCode // of the first
	places []byte           // as batch.AppendRefused makes them
}

// forwardBatch hands on the messages in p, each as if c had published it by itself, but
// at QoS 1 at most: what is refused for want of room comes again as a whole. pub is what
// the one acknowledgement waits for, and gets to know what is refused for other reasons.
// The code tells why p is not taken, or Success.
func (s *Server) forwardBatch(c *conn, p *codec.Publish, pub *publication) (code codec.ReasonCode) {
	if s.unpacker == nil {
		s.unpacker = batch.NewUnpacker(s.cfg.Batches.Dictionaries)
	}
	s.stats.MessagesIn-- // itself is none
	place := -1
	err := s.unpacker.Unpack(p.Payload, func(m *codec.Message) {
		place++
		if code == codec.QuotaExceeded {
			return
		}
		s.stats.MessagesIn++
		m.QoS = min(m.QoS, p.QoS, 1)
		why, known := codec.NotAuthorized, (*route)(nil)
		if m.Topic[0] == '$' { // a bridge may have brought it from anywhere
			s.drop(&s.stats.Dropped.NotAuthorized)
		} else {
			why, known = s.admit(c, m)
		}
		switch {
		case why == codec.QuotaExceeded:
			code = why
		case why >= codec.UnspecifiedError:
			pub.refuse(why, place)
		default:
			pub.Message, pub.known, pub.expires = *m, known, 0
			pub.admitted = m.QoS > 0
			s.forward(pub)
		}
	})
	if err != nil {
		s.drop(&s.stats.Dropped.Unreadable)
		if s.seldom(&s.refused) {
			s.log.Warn("batch refused", "client", brief(c.session.id), "topic", brief(p.Topic), "error", err)
		}
		return codec.PayloadFormatInvalid
	}
	return code
}

// refuse notes that the message at a place in the batch is not taken.
func (pub *publication) refuse(code codec.ReasonCode, place int) {
	if pub.refused == nil {
		pub.refused = &refused{code: code}
	}
	pub.refused.places = batch.AppendRefused(pub.refused.places, place)
}

// problem is what the acknowledgement of a batch says of the messages that are refused.
// A client that does not want to know, or does not take so much, is told of no message:
// then the batch as a whole is refused. [MQTT-3.1.2-29], [MQTT-3.4.2-3]
func (c *conn) problem(a *ack) []codec.UserProperty {
	if a.packet == nil || a.why || c.noProblem || c.tooLarge(len(a.packet)+128) {
		return nil
	}
	return []codec.UserProperty{{Name: []byte(batch.Property), Value: a.packet}}
}
