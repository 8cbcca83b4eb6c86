package gateway

import (
	"iter"
	"log/slog"
	"strings"
	"time"

	"sluice/codec"
)

// Stats are counts since the start, and how many there are now. What is dropped is
// counted once per recipient.
type Stats struct {
	Connections   uint64 // accepted
	Connected     int64  // now
	Sessions      int64  // now
	Subscriptions int64  // now
	Retained      int    // now
	PacketsIn     uint64
	Datagrams     Datagrams
	MessagesIn    uint64
	MessagesOut   uint64
	Wills         uint64
	Dropped       Dropped
	Ended         Reasons // connections
}

// Datagrams counts those of MQTT-SN that nothing was done with.
type Datagrams struct {
	Bad        uint64 // no message, or none that may come
	Unanswered uint64 // of who has not connected, beyond the rate at which those are answered
}

// Dropped counts messages by why they were not delivered.
type Dropped struct {
	Away          uint64 // QoS 0 for a client that is not here
	SlowReader    uint64 // QoS 0 for a client that does not read, or its queue when it was closed for that
	QueueFull     uint64 // by the policies drop-oldest and drop-newest
	Rejected      uint64 // by the policy reject, or while the disk fails: the publisher was told or not acknowledged
	Expired       uint64
	TooOld        uint64 // waited for longer than Limits.MaxAge
	TooLarge      uint64 // for the client's Maximum Packet Size, or a datagram, or with more user properties than the gateway takes
	Refused       uint64 // by an MQTT-SN device
	NotAuthorized uint64
	InvalidTopic  uint64 // longer, or of more levels, than the gateway takes
	SessionEnded  uint64 // waited for a session that expired or was replaced
	Damaged       uint64 // unreadable after a fault of the disk
	Unreadable    uint64 // batches that could not be unpacked
}

// Reasons counts the connections that the gateway ended, by the reason code that it
// gave, or would have given had the client's version known it. How often clients send
// what is no MQTT is at codec.MalformedPacket and codec.ProtocolError; two devices with
// one client identifier show as codec.SessionTakenOver.
type Reasons [256]uint64

// reportAfter is how long the log waits to tell of messages that were dropped and of
// connections that were ended.
const reportAfter = time.Minute

// drop counts a message that is not delivered, and has the log tell of it.
func (s *Server) drop(count *uint64) {
	*count++
	s.reportSoon()
}

// ended counts a connection that the gateway ends, and has the log tell of it.
func (s *Server) ended(code codec.ReasonCode) {
	s.stats.Ended[code]++
	s.reportSoon()
}

// discard counts a datagram that nothing is done with, and has the log tell of it.
func (s *Server) discard(count *uint64) {
	*count++
	s.reportSoon()
}

func (s *Server) reportSoon() {
	if s.reporter.index == 0 {
		s.reporter.owner = (*reporter)(s)
		s.setTimer(&s.reporter, s.now+reportAfter)
	}
}

// seldom says whether the log is to be told of something that clients can bring about as
// often as they like: once in reportAfter. last is when it was.
func (s *Server) seldom(last *time.Duration) bool {
	if *last != 0 && s.now < *last+reportAfter {
		return false
	}
	*last = s.now
	return true
}

// brief is the beginning of what a client has chosen, such as a topic, for the log.
func brief[T string | []byte](text T) string { return string(text[:min(len(text), 100)]) }

// reporter tells the log what was dropped and who was ended since it last did.
type reporter Server

func (r *reporter) expire() {
	s := (*Server)(r)
	if now := s.stats.Dropped; now != s.reported.Dropped {
		s.log.Warn("messages dropped since the start, by reason", "dropped", now)
	}
	if now, was := s.stats.Datagrams, s.reported.Datagrams; now != was {
		s.log.Info("datagrams since the start that were no message, or beyond the rate for strangers", "bad", now.Bad, "unanswered", now.Unanswered)
	}
	if now := s.stats.Ended; now != s.reported.Ended {
		s.log.Info("connections ended since the start, by reason", "ended", &now)
	}
	s.reported = s.stats
}

// All gives the name of each reason and the count.
func (d Dropped) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, r := range []struct {
			name  string
			count uint64
		}{
			{lossAway, d.Away}, {lossSlow, d.SlowReader}, {lossFull, d.QueueFull}, {"rejected", d.Rejected},
			{lossExpired, d.Expired}, {lossOld, d.TooOld}, {lossTooLarge, d.TooLarge}, {"refused", d.Refused}, {"not_authorized", d.NotAuthorized},
			{"invalid_topic", d.InvalidTopic},
			{"session_ended", d.SessionEnded}, {lossDamaged, d.Damaged}, {"unreadable", d.Unreadable},
		} {
			if !yield(r.name, r.count) {
				return
			}
		}
	}
}

// All gives the name of each reason code that has one and tells of a failure, or that
// something was counted by, and the count.
func (r *Reasons) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i, count := range r {
			code := codec.ReasonCode(i)
			if count == 0 && !(code >= codec.UnspecifiedError && code.Named()) {
				continue
			}
			if !yield(strings.ReplaceAll(code.String(), " ", "_"), count) {
				return
			}
		}
	}
}

// LogValue shows the reasons there were.
func (d Dropped) LogValue() slog.Value { return logged(d.All()) }

// LogValue shows the reasons there were.
func (r *Reasons) LogValue() slog.Value { return logged(r.All()) }

func logged(all iter.Seq2[string, uint64]) slog.Value {
	var attrs []slog.Attr
	for name, count := range all {
		if count > 0 {
			attrs = append(attrs, slog.Uint64(name, count))
		}
	}
	return slog.GroupValue(attrs...)
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Retained = s.retained.Len()
	return st
}
