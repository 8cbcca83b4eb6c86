package gateway

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"sluice/codec"
)

// connect begins the life of a connection. A password is verified apart, since that
// takes long on purpose.
func (c *conn) connect(p *codec.Connect) {
	s := c.srv
	c.version = p.Version
	c.trusted = c.tc.Wire() == "inside"
	if code, text := c.checkConnect(p); code != codec.Success {
		c.refuseConnect(code, text)
		return
	}
	if c.trusted || s.cfg.Access == nil {
		c.user = string(p.Username)
		c.establish(p)
		return
	}
	if p.Username == nil && s.cfg.Anonymous {
		c.establish(p)
		return
	}
	c.state = checking
	c.tc.Pause()
	go s.verify(c, cloneConnect(p))
}

// checkConnect says what is wrong with a well-formed CONNECT.
func (c *conn) checkConnect(p *codec.Connect) (codec.ReasonCode, string) {
	switch {
	case c.srv.closing:
		return codec.ServerShuttingDown, "server shutting down"
	case p.AuthMethod != nil:
		return codec.BadAuthenticationMethod, "no such authentication method" // [MQTT-4.12.0-1]
	case len(p.ClientID) == 0 && p.Version == codec.V31:
		return codec.ClientIdentifierNotValid, "empty client identifier"
	case len(p.ClientID) == 0 && p.Version == codec.V311 && !p.CleanStart:
		return codec.ClientIdentifierNotValid, "empty client identifier without clean session" // [MQTT-3.1.3-8]
	case !c.trusted && len(p.ClientID) > 0 && p.ClientID[0] == '$':
		return codec.ClientIdentifierNotValid, "client identifiers that begin with $ are the gateway's own"
	case p.Will != nil && !c.trusted && p.Will.Topic[0] == '$':
		return codec.NotAuthorized, "the will's topic begins with $"
	}
	return codec.Success, ""
}

// verify checks the password of c, outside of all locks and few at a time.
func (s *Server) verify(c *conn, p *codec.Connect) {
	s.hash <- struct{}{}
	ok := p.Username != nil && s.cfg.Access.Verify(string(p.Username), p.Password)
	<-s.hash
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if c.state != checking {
		return
	}
	c.state = fresh
	c.tc.Resume()
	switch {
	case !ok:
		s.stats.Refused++
		c.refuseConnect(codec.BadUserNameOrPassword, "bad user name or password")
	case p.Will != nil && !s.cfg.Access.CanPublish(string(p.Username), string(p.ClientID), p.Will.Topic):
		c.refuseConnect(codec.NotAuthorized, "may not publish to the will's topic")
	default:
		c.user = string(p.Username)
		c.establish(p)
	}
}

// cloneConnect copies what a CONNECT views.
func cloneConnect(p *codec.Connect) *codec.Connect {
	q := *p
	q.ClientID, q.Username, q.Password = clone(p.ClientID), clone(p.Username), clone(p.Password)
	q.User = nil
	if p.Will != nil {
		will := *p.Will
		will.Message = cloneMessage(will.Message)
		q.Will = &will
	}
	return &q
}

// refuseConnect answers CONNECT with a reason and closes. A MQTT 3 client is closed
// without a word where its version has no code for it.
func (c *conn) refuseConnect(code codec.ReasonCode, text string) {
	p := codec.Connack{Code: code, MaximumQoS: 2}
	if c.version >= codec.V5 {
		p.ReasonString = []byte(text)
	}
	if c.version == 0 {
		c.version = codec.V311
	}
	c.tc.End(p.Append(c.tc.Begin(), c.version))
	c.end(text)
}

// establish gives the connection its session and says so.
func (c *conn) establish(p *codec.Connect) {
	s := c.srv
	id, assigned := string(p.ClientID), false
	if id == "" {
		id, assigned = newClientID(), true
	}
	c.receiveMax = s.cfg.MaxInflight
	if p.ReceiveMaximum != 0 {
		c.receiveMax = min(c.receiveMax, p.ReceiveMaximum)
	}
	c.maxPacket = p.MaximumPacketSize
	c.noProblem = p.NoProblemInfo
	if p.TopicAliasMaximum > 0 {
		c.aliases = &aliases{max: min(p.TopicAliasMaximum, maxAliases)}
	}
	expiry := p.SessionExpiry
	if p.Version != codec.V5 && !p.CleanStart {
		expiry = never // section 3.1.2.4 of 3.1.1: kept across connections
	}
	expiry = s.limitExpiry(expiry)
	to, present := s.resume(id, p.CleanStart, expiry)
	c.setWill(p.Will)
	to.attach(c)
	keepAlive := c.setKeepAlive(p.KeepAlive)
	s.log.Info("client here", "client", id, "user", c.user, "remote", c.tc.Remote(), "wire", c.tc.Wire(),
		"version", c.version, "resumed", present, "waiting", to.queue.Len())
	c.welcome(p, present, assigned, expiry, keepAlive)
	to.pump()
}

// resume finds or makes the session of a client, taking it over from an older
// connection. [MQTT-3.1.4-3], [MQTT-3.1.2-4] to [MQTT-3.1.2-6]
func (s *Server) resume(id string, clean bool, expiry uint32) (to *session, present bool) {
	to = s.sessions[id]
	if to != nil && to.conn != nil {
		if clean && to.conn.will != nil {
			to.conn.will.delay = 0
		}
		to.conn.close(codec.SessionTakenOver, "session taken over")
		to = s.sessions[id] // gone if it was not to outlive its connection
	}
	if to != nil && clean {
		to.end()
		to = nil
	}
	if to == nil {
		return s.newSession(id, expiry), false
	}
	to.setExpiry(expiry)
	return to, true
}

// setKeepAlive starts the keep-alive clock and returns the value to use if it is not
// the client's.
func (c *conn) setKeepAlive(seconds uint16) (server uint16) {
	s := c.srv
	s.stopTimer(&c.timer)
	limit := uint16(min(s.cfg.MaxKeepAlive/time.Second, 65535))
	if limit > 0 && c.version == codec.V5 && (seconds == 0 || seconds > limit) {
		seconds, server = limit, limit // [MQTT-3.1.2-21], [MQTT-3.2.2-21]
	}
	c.keepAlive = time.Duration(seconds) * time.Second * 3 / 2 // [MQTT-3.1.2-22]
	if c.keepAlive > 0 && !c.trusted {
		s.setTimer(&c.timer, s.now+c.keepAlive)
	}
	return server
}

// welcome sends CONNACK with what the client has to know.
func (c *conn) welcome(p *codec.Connect, present, assigned bool, expiry uint32, keepAlive uint16) {
	s := c.srv
	a := codec.Connack{SessionPresent: present && c.version != codec.V31, MaximumQoS: 2}
	if c.version == codec.V5 {
		a.ReceiveMaximum = s.cfg.MaxInflight
		a.MaximumPacketSize = s.cfg.MaxPacketSize
		a.TopicAliasMaximum = maxAliases
		a.HasServerKeepAlive, a.ServerKeepAlive = keepAlive != 0, keepAlive
		a.HasSessionExpiry, a.SessionExpiry = expiry != p.SessionExpiry, expiry
		if assigned {
			a.AssignedClientID = []byte(c.session.id) // [MQTT-3.2.2-16]
		}
		if p.RequestResponseInfo {
			a.ResponseInfo = []byte("response/" + c.session.id)
		}
	}
	c.tc.End(a.Append(c.tc.Begin(), c.version))
}

// newClientID makes the identifier of a client that has none. [MQTT-3.1.3-6]
func newClientID() string {
	var b [10]byte
	rand.Read(b[:])
	return "auto-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
