package bridge

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"sluice/codec"
)

// A suspect is a message that was the first on several links to a server, one after the
// other, all of which that has ended without an acknowledgement of it. So upstreams answer
// what they do not take and have no word for: it comes again on each link, and all that is
// behind it waits.
type suspect struct {
	server *server
	id     uint16
	times  int // how many links
}

// suspicious is how many links it takes until messages go up one at a time, which shows
// whether it was this one.
const suspicious = 3

// A head is the first message that went up on a link.
type head struct {
	id    uint16 // 0: there is none, or it is acknowledged
	topic string // in the gateway, for logs
	size  int    // of the packet, in bytes
}

// lead notes a message that goes up, if it is the first. Called with turn held.
func (l *link) lead(id uint16, topic []byte, size int) {
	if l.led {
		return
	}
	l.led = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = head{id, brief(topic), size}
}

// judge takes why the link has ended, when its loops have, and returns err with the message
// that is to blame for it, if there is one. An unanswered SUBSCRIBE may be to blame as well.
func (l *link) judge(hungUp bool, err error) error {
	s := &l.suspect
	switch {
	case l.led && l.head.id == 0:
		*s = suspect{}
		return err
	case !hungUp || !l.led || len(l.asked) > 0 && !l.subscribed:
		return err
	case l.head.id != s.id || l.up.server != s.server:
		*s = suspect{server: l.up.server, id: l.head.id}
	}
	if s.times++; s.times <= suspicious {
		return err
	}
	return &unwanted{l.head, s.times, err}
}

// mayReject reports whether err may be an upstream's answer to a message.
func mayReject(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
	switch r.code {
	case codec.UnspecifiedError, codec.MalformedPacket, codec.ProtocolError, codec.ImplementationSpecificError, codec.NotAuthorized,
		codec.TopicNameInvalid, codec.PacketTooLarge, codec.PayloadFormatInvalid, codec.RetainNotSupported, codec.QoSNotSupported:
		return true
	}
	return false
}

// An unwanted is a message on which the upstream hangs up each time.
type unwanted struct {
	head
	times int
	err   error // how it did the last time
}

func (u *unwanted) Error() string {
	return fmt.Sprintf("upstream hangs up each time that it is sent the message of topic %q, a packet of %d bytes, at QoS 1 or 2, %d times in a row: %v", u.topic, u.size, u.times, u.err)
}

func (u *unwanted) Unwrap() error { return u.err }
