package gateway

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"sluice/codec"
	"sluice/gateway/access"
)

// minConnack is the least size of a CONNACK of MQTT 5, in bytes.
const minConnack = 5

// connect begins the life of a connection. A password is verified apart, since that
// takes long on purpose.
func (c *conn) connect(p *codec.Connect) {
	s := c.srv
	c.version, c.maxPacket = p.Version, p.MaximumPacketSize
	c.trusted = c.tc.Wire() == "inside"
	if code, text := c.checkConnect(p); code != codec.Success {
		c.refuseConnect(code, text)
		return
	}
	if p.AuthMethod != nil {
		c.challenge(p)
		return
	}
	if c.trusted || s.cfg.Access == nil {
		c.user = string(p.Username)
		c.establish(p, nil)
		return
	}
	if p.Username == nil && s.cfg.Anonymous {
		c.establish(p, nil)
		return
	}
	c.state = checking
	c.tc.Pause()
	go s.verify(c, cloneConnect(p), s.cfg.Access)
}

// checkConnect says what is wrong with a well-formed CONNECT.
func (c *conn) checkConnect(p *codec.Connect) (codec.ReasonCode, string) {
	switch {
	case p.AuthMethod != nil && (c.srv.cfg.Access == nil || string(p.AuthMethod) != access.Method):
		return codec.BadAuthenticationMethod, "no such authentication method" // [MQTT-4.12.0-1]
	case len(p.ClientID) == 0 && p.Version == codec.V31:
		return codec.ClientIdentifierNotValid, "empty client identifier"
	case len(p.ClientID) == 0 && p.Version == codec.V311 && !p.CleanStart:
		return codec.ClientIdentifierNotValid, "empty client identifier without clean session" // [MQTT-3.1.3-8]
	case !c.trusted && len(p.ClientID) > 0 && p.ClientID[0] == '$':
		return codec.ClientIdentifierNotValid, "client identifiers that begin with $ are the gateway's own"
	case p.Will != nil && !c.trusted && p.Will.Topic[0] == '$':
		return codec.NotAuthorized, "the will's topic begins with $"
	case p.Will != nil && !takes(p.Will.Topic):
		return codec.TopicNameInvalid, "the will's topic is too long, or has too many levels"
	case p.Will != nil && len(p.Will.User) > maxList:
		return codec.ImplementationSpecificError, "the will has too many user properties"
	}
	return codec.Success, ""
}

// verify checks the password of c, outside of all locks and few at a time.
func (s *Server) verify(c *conn, p *codec.Connect, list *access.List) {
	s.hash <- struct{}{}
	ok := p.Username != nil && s.waitsFor(c) && list.Verify(string(p.Username), p.Password)
	<-s.hash
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if c.state != checking {
		return
	}
	c.state = fresh
	c.tc.Resume()
	if !ok {
		c.refuseConnect(codec.BadUserNameOrPassword, "bad user name or password")
		return
	}
	c.user = string(p.Username)
	c.establish(p, nil)
}

// waitsFor says whether c is still there: in a flood most have given up by the time
// that it is their turn.
func (s *Server) waitsFor(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.state == checking
}

// cloneConnect copies what a CONNECT views, but for what is not looked at later.
func cloneConnect(p *codec.Connect) *codec.Connect {
	q := *p
	q.ClientID, q.Username, q.Password = clone(p.ClientID), clone(p.Username), clone(p.Password)
	q.User, q.AuthMethod, q.AuthData = nil, nil, nil
	if p.Will != nil {
		will := *p.Will
		will.Message = cloneMessage(will.Message)
		q.Will = &will
	}
	return &q
}

// refuseConnect answers CONNECT with a reason and closes. A MQTT 3 client is closed
// without a word where its version has no code for it, and so is one that accepts
// nothing as large as CONNACK.
func (c *conn) refuseConnect(code codec.ReasonCode, text string) {
	c.srv.ended(code)
	if c.dev != nil {
		c.dev.connack(code)
		c.end(text)
		return
	}
	p := codec.Connack{Code: code, MaximumQoS: 2}
	if c.version >= codec.V5 && !c.tooLarge(128) {
		p.ReasonString = []byte(text)
	}
	if c.version == 0 {
		c.version = codec.V311
	}
	if !c.tooLarge(minConnack) {
		c.tc.End(p.Append(c.tc.Begin(0), c.version))
	}
	c.end(text)
}

// establish gives the connection its session and says so. proof ends an authentication
// by AUTH, else it is nil.
func (c *conn) establish(p *codec.Connect, proof []byte) {
	s := c.srv
	id := string(p.ClientID)
	if id == "" {
		id = newClientID()
	}
	expiry := p.SessionExpiry
	if p.Version != codec.V5 && !p.CleanStart {
		expiry = never // section 3.1.2.4 of 3.1.1: kept across connections
	}
	if !c.trusted { // a bridge's session waits as long as its upstream is away
		expiry = s.limitExpiry(expiry)
	}
	foreign, wanted := s.foreign(id, c)
	welcome := c.welcome(p, id, expiry, proof)
	switch {
	case wanted:
		c.refuseConnect(codec.ClientIdentifierNotValid, "the client identifier belongs to another user")
		return
	case p.Will != nil && !c.mayPublish(id, p.Will.Topic):
		c.refuseConnect(codec.NotAuthorized, "may not publish to the will's topic")
		return
	case expiry > 0 && s.sessions[id] == nil && !s.storeHasRoom(sessionSize(id, c.user, p.Will)):
		c.refuseConnect(codec.QuotaExceeded, "the store is full: no room for one more session")
		return
	case c.tooLarge(len(welcome.Append(nil, c.version))):
		c.refuseConnect(codec.PacketTooLarge, "CONNACK is larger than the client accepts") // [MQTT-3.1.2-24]
		return
	}
	c.setLimits(p)
	if c.dev != nil {
		c.dev.replace(s.sessions[id])
	}
	to, present := s.resume(id, p.CleanStart || foreign, expiry)
	c.setWill(p.Will)
	if c.dev != nil {
		c.dev.settle(to)
	}
	to.attach(c)
	to.endForbidden()
	if c.dev != nil {
		c.dev.setKeepAlive(p.KeepAlive)
	} else {
		c.setKeepAlive(p.KeepAlive, &welcome)
	}
	c.greet(present, &welcome)
	if present || to.came == notYet {
		to.save()
		to.pump()
	} else {
		to.arrive()
	}
}

// setLimits notes what the client takes.
func (c *conn) setLimits(p *codec.Connect) {
	c.receiveMax = c.srv.cfg.MaxInflight
	if p.ReceiveMaximum != 0 && (c.trusted || p.ReceiveMaximum < c.receiveMax) {
		c.receiveMax = p.ReceiveMaximum
	}
	c.noProblem = p.NoProblemInfo
	if p.TopicAliasMaximum > 0 {
		c.aliases = &aliases{max: min(p.TopicAliasMaximum, maxAliases)}
	}
}

// greet sends CONNACK. present is whether the client has come before.
func (c *conn) greet(present bool, welcome *codec.Connack) {
	s, to := c.srv, c.session
	if s.tells() {
		remote, wire := c.remote()
		s.log.Info("client here", "client", brief(to.id), "user", brief(c.user), "remote", remote, "wire", wire,
			"version", c.speaks(), "resumed", present, "waiting", to.messages())
	}
	if c.dev != nil {
		c.dev.connack(codec.Success)
		return
	}
	welcome.SessionPresent = present && c.version != codec.V31
	c.tc.End(welcome.Append(c.tc.Begin(0), c.version))
}

// SetReceiveMaximum changes what a part of this program, which is connected with that
// client identifier, takes unacknowledged: n messages at QoS 1 and 2.
func (s *Server) SetReceiveMaximum(clientID string, n uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if to := s.sessions[clientID]; to != nil && to.conn != nil && to.conn.trusted {
		to.conn.receiveMax = n
		to.pump()
	}
}

// foreign says whether the session of that identifier was made by another user, whose
// messages c may not read, and whether that user still has an account and so may come
// for them. What was made without an account goes to who comes for it.
func (s *Server) foreign(id string, c *conn) (foreign, wanted bool) {
	to := s.sessions[id]
	if to == nil || s.cfg.Access == nil || c.trusted || to.user == "" || to.user == c.user {
		return false, false
	}
	return true, s.cfg.Access.Has(to.user)
}

// sessionSize is about what a new session takes in the store, in bytes.
func sessionSize(id, user string, will *codec.Will) int64 {
	n := 512 + int64(len(id)+len(user))
	if will != nil {
		n += recordSize(&will.Message)
	}
	return n
}

// resume finds or makes the session of a client, taking it over from an older
// connection. [MQTT-3.1.4-3], [MQTT-3.1.2-4] to [MQTT-3.1.2-6]
func (s *Server) resume(id string, clean bool, expiry uint32) (to *session, present bool) {
	to = s.sessions[id]
	if to != nil && to.conn != nil {
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
	to.expiry = expiry
	return to, to.came != notYet
}

// setKeepAlive starts the keep-alive clock, with the value of CONNACK if that has one.
func (c *conn) setKeepAlive(seconds uint16, welcome *codec.Connack) {
	s := c.srv
	s.stopTimer(&c.timer)
	if welcome.HasServerKeepAlive {
		seconds = welcome.ServerKeepAlive // [MQTT-3.1.2-21], [MQTT-3.2.2-21]
	}
	c.keepAlive = time.Duration(seconds) * time.Second * 3 / 2 // [MQTT-3.1.2-22]
	if c.keepAlive > 0 && !c.trusted {
		s.setTimer(&c.timer, s.now+c.keepAlive)
	}
}

// welcome is the CONNACK with what the client has to know, but for whether there is a
// session.
func (c *conn) welcome(p *codec.Connect, id string, expiry uint32, proof []byte) codec.Connack {
	s := c.srv
	a := codec.Connack{MaximumQoS: 2}
	if c.version != codec.V5 {
		return a
	}
	a.ReceiveMaximum = s.cfg.MaxInflight
	a.MaximumPacketSize = s.cfg.MaxPacketSize
	a.TopicAliasMaximum = maxAliases
	a.HasSessionExpiry, a.SessionExpiry = expiry != p.SessionExpiry, expiry
	limit := uint16(min(s.cfg.MaxKeepAlive/time.Second, 65535))
	if limit > 0 && (p.KeepAlive == 0 || p.KeepAlive > limit) {
		a.HasServerKeepAlive, a.ServerKeepAlive = true, limit
	}
	if len(p.ClientID) == 0 {
		a.AssignedClientID = []byte(id) // [MQTT-3.2.2-16]
	}
	if p.RequestResponseInfo && !c.tooLarge(256+2*len(id)) {
		a.ResponseInfo = []byte("response/" + id)
	}
	if !c.trusted && !c.tooLarge(1024) {
		a.User = s.cfg.Batches.offer()
	}
	if c.enhanced {
		a.AuthMethod, a.AuthData = []byte(access.Method), proof // [MQTT-4.12.0-5], [MQTT-4.12.0-6]
	}
	return a
}

// newClientID makes the identifier of a client that has none. [MQTT-3.1.3-6]
func newClientID() string {
	var b [10]byte
	rand.Read(b[:])
	return "auto-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
