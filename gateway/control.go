package gateway

import (
	"net/netip"

	"sluice/codec"
)

// controlPrefix begins the topics on which clients tell the gateway what to do.
const controlPrefix = "$CONTROL/"

func isControl(topic []byte) bool {
	return len(topic) > len(controlPrefix) && string(topic[:len(controlPrefix)]) == controlPrefix
}

// control takes a message for the gateway itself. It goes to nobody else, and is
// acknowledged when it has been obeyed.
func (c *conn) control(p *codec.Publish) {
	s := c.srv
	code := codec.NotAuthorized
	if s.cfg.Control != nil && c.mayControl(p.Topic) {
		code = s.cfg.Control(string(p.Topic[len(controlPrefix):]), string(p.Payload))
	}
	s.log.Info("control", "client", c.session.id, "user", c.user, "topic", string(p.Topic), "outcome", code.String())
	if code < codec.UnspecifiedError {
		if p.QoS > 0 {
			c.accept(p, &publication{wanted: true})
		}
		return
	}
	s.drop(&s.stats.Dropped.NotAuthorized)
	if c.version != codec.V5 {
		code = codec.NotAuthorized // what is refused for other reasons closes a 3.1.1 client
	}
	c.denied(p, code)
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
