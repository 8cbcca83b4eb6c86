package gateway

import (
	"net/netip"

	"sluice/codec"
	"sluice/store"
)

// controlPrefix begins the topics on which clients tell the gateway what to do.
const controlPrefix = "$CONTROL/"

func isControl(topic []byte) bool {
	return len(topic) > len(controlPrefix) && string(topic[:len(controlPrefix)]) == controlPrefix
}

// A Command is a message for the gateway itself, published on $CONTROL/ and Topic.
type Command struct {
	Topic   string
	Payload string

	// Why is set by Config.Control to tell the client, in 100 bytes at most, why it refuses
	// the command; "" is the reason code's name.
	Why string

	srv   *Server
	epoch uint64 // when what it changes is on disk; 0: it need not be
}

// Keep puts a note to the session of a client that was provisioned, in place of the one
// there is; "" is none. It stays until the session is forgotten, and is on disk before the
// command is acknowledged. Only for Config.Control, while that is called.
func (cmd *Command) Keep(clientID, note string) {
	to := cmd.srv.sessions[clientID]
	if to == nil {
		return
	}
	to.note = note
	cmd.epoch = to.saveNote() // also the same again, which may not be on disk yet
}

// Kept returns the note at the session of a client; "" if there is none.
func (s *Server) Kept(clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to := s.sessions[clientID]; to != nil {
		return to.note
	}
	return ""
}

// saveNote stores the note, if the session lasts, and returns the epoch in which it will be
// on disk; 0 if it need not be.
func (to *session) saveNote() uint64 {
	if !to.durable() {
		return 0
	}
	db := to.srv.db
	if to.note == "" {
		db.Delete(to.diskKey('k'), store.Now)
	} else {
		db.Set(to.diskKey('k'), to.note, store.Now)
	}
	return db.Epoch()
}

// control takes a message for the gateway itself. It goes to nobody else, and is
// acknowledged when it has been obeyed.
func (c *conn) control(p *codec.Publish) {
	s := c.srv
	cmd := Command{Topic: string(p.Topic[len(controlPrefix):]), Payload: string(p.Payload), srv: s}
	code := codec.NotAuthorized
	if s.cfg.Control != nil && c.mayControl(p.Topic) { // the log is not for what anybody may try
		code = s.cfg.Control(&cmd)
		s.log.Info("control", "client", brief(c.session.id), "user", brief(c.user), "topic", brief(p.Topic), "payload", brief(p.Payload), "outcome", code.String())
	}
	if code < codec.UnspecifiedError {
		if p.QoS > 0 {
			c.accept(p, &publication{wanted: true, epoch: cmd.epoch})
		}
		return
	}
	s.drop(&s.stats.Dropped.NotAuthorized)
	if c.version != codec.V5 {
		code = codec.NotAuthorized // what is refused for other reasons closes a 3.1.1 client
	}
	a := ack{code: code}
	if cmd.Why != "" {
		a.packet, a.why = []byte(cmd.Why), true
	}
	c.denied(p, a)
}

// mayControl says whether the client may publish to a topic of control: with accounts
// whom the users file lets write there, else who is on this machine. Of a datagram nobody
// can say that.
func (c *conn) mayControl(topic []byte) bool {
	if access := c.srv.cfg.Access; access != nil {
		return access.CanPublish(c.user, c.session.id, topic)
	}
	if c.dev != nil {
		return false
	}
	remote, err := netip.ParseAddrPort(c.tc.Remote())
	return err == nil && remote.Addr().Unmap().IsLoopback() || c.tc.Wire() == "unix"
}

// Drain lifts the budget of a limited session for what waits now.
func (s *Server) Drain(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if to := s.sessions[clientID]; to != nil && to.limit != nil {
		to.limit.budget.end = 0
		to.pump()
	}
}
