package gateway

import (
	"sluice/codec"
	"sluice/store"
)

// retain keeps the message for those who subscribe later, or forgets the one kept.
// [MQTT-3.3.1-5] to [MQTT-3.3.1-8]
func (s *Server) retain(pub *publication) {
	if len(pub.Payload) == 0 {
		had := s.unretain(pub.Topic, pub.urgency())
		if s.cleared > s.committed { // this one now, or perhaps a moment ago
			pub.onDisk(s)
			pub.wanted = pub.wanted || had
		}
		return
	}
	if !pub.volatile && !(pub.admitted && s.rejects()) && !s.storeHasRoom(recordSize(&pub.Message)) {
		s.drop(&s.stats.Dropped.QueueFull)
		return
	}
	out := codec.Publish{Message: pub.Message}
	out.QoS, out.Retain = pub.QoS, true
	rec := s.encodeRecord(&out, pub.expires, pub.bridge())
	key := retainedKey(pub.Topic)
	if s.db == nil || pub.volatile {
		s.retained.Set(key[len(retainedPrefix):], string(rec))
		return
	}
	s.retained.Set(key[len(retainedPrefix):], s.db.Keep(key, rec, pub.urgency()))
	pub.onDisk(s)
	pub.wanted = true
}

// bridge is the client identifier of the bridge that published it, "" if none did.
func (pub *publication) bridge() string {
	if pub.origin != nil && pub.origin.trusted {
		return pub.origin.session.id
	}
	return ""
}

// urgency is that of what is retained: nobody waits for a message at QoS 0, and of a
// value that changes all the time only the last one of a second is written.
func (pub *publication) urgency() store.Urgency {
	if pub.QoS == 0 {
		return store.Lazy
	}
	return store.Now
}

// unretain forgets the message retained under a topic.
func (s *Server) unretain(name []byte, when store.Urgency) (had bool) {
	_, had = s.retained.Delete(name)
	if s.db != nil && (had || when == store.Now && s.cleared > s.committed) { // it may be on disk still
		s.db.Delete(retainedKey(name), when)
		s.cleared = s.db.Epoch()
	}
	return had
}

// onDisk makes the acknowledgement wait for what was staged last.
func (pub *publication) onDisk(s *Server) {
	pub.disk = true
	pub.epoch = s.db.Epoch()
}

// deliverRetained sends what is retained under a new subscription's filter. A bridge
// does not get back what it brought itself: its upstream may have newer. [MQTT-3.8.3-3]
func (s *Server) deliverRetained(to *session, req *codec.Subscription, id uint32) {
	_, inner, shared := codec.SplitShare(req.Filter)
	if shared {
		return // section 4.8.2
	}
	w := want{qos: req.QoS, retain: true, any: true}
	if id != 0 {
		w.ids = []uint32{id}
	}
	var found []string // a slow reader may be closed meanwhile, and its will may be retained
	s.retained.Match(inner, func(_ string, rec string) bool {
		found = append(found, rec)
		return true
	})
	var buf []byte
	for _, rec := range found {
		buf = append(buf[:0], rec...)
		m, err := s.decodeRecord(buf)
		switch {
		case err != nil:
			s.drop(&s.stats.Dropped.Damaged)
		case m.expires != 0 && m.expires <= s.now:
			s.drop(&s.stats.Dropped.Expired)
			s.unretain(m.Topic, store.Lazy)
		case req.NoLocal && m.via == to.id:
		default:
			pub := publication{Message: m.Message, expires: m.expires}
			to.deliver(&pub, &w)
		}
	}
}
