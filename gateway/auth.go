package gateway

import (
	"sluice/codec"
	"sluice/gateway/access"
)

// authRoom is more, in bytes, than AUTH and CONNACK have beside what they repeat of the
// client's nonce.
const authRoom = 256

// exchange is an authentication under way, of a CONNECT or of a client that is here. It
// takes microseconds and no waiting, so it runs with Server.mu held.
type exchange struct {
	scram   *access.Exchange
	connect *codec.Connect // a copy of what is to be established after it; nil: the client is here
}

// challenge begins the authentication of a CONNECT. Nothing is done for the client
// before it has succeeded; the time for CONNECT goes on.
func (c *conn) challenge(p *codec.Connect) {
	c.state = challenged
	c.enhanced = true
	c.begin(p.Username, cloneConnect(p), p.AuthData)
}

// auth acts on AUTH: a step of an authentication, or the first of another one.
func (c *conn) auth(p *codec.Auth) {
	again := p.Code == codec.Reauthenticate
	switch {
	case !c.enhanced:
		c.close(codec.ProtocolError, "AUTH without an agreed method") // [MQTT-4.12.0-7]
	case string(p.AuthMethod) != access.Method:
		c.close(codec.ProtocolError, "AUTH with another method") // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
	case again != (c.exchange == nil):
		c.close(codec.ProtocolError, "AUTH with the reason code of another step") // [MQTT-4.12.0-3]
	case again:
		c.begin([]byte(c.user), nil, p.AuthData)
	default:
		c.step(p.AuthData)
	}
}

// begin begins an authentication as the user only, nil: as any.
func (c *conn) begin(only []byte, connect *codec.Connect, first []byte) {
	c.exchange = &exchange{c.srv.cfg.Access.Exchange(only), connect}
	c.step(first)
}

// step answers a message of the client's.
func (c *conn) step(message []byte) {
	x := c.exchange
	answer, done, err := x.scram.Next(message)
	switch {
	case err != nil && x.connect == nil:
		c.close(codec.NotAuthorized, err.Error()) // [MQTT-4.12.1-2]
	case err != nil:
		c.close(codec.BadUserNameOrPassword, err.Error()) // [MQTT-4.12.0-4]
	case c.tooLarge(authRoom + len(message)):
		c.close(codec.PacketTooLarge, "the answer is larger than the client accepts")
	case !done:
		c.sendAuth(codec.ContinueAuthentication, answer) // [MQTT-4.12.0-2]
	case x.connect == nil:
		c.exchange = nil
		c.sendAuth(codec.Success, answer)
	default:
		c.exchange = nil
		c.user = x.scram.User()
		c.establish(x.connect, answer)
	}
}

func (c *conn) sendAuth(code codec.ReasonCode, data []byte) {
	p := codec.Auth{Code: code, AuthMethod: []byte(access.Method), AuthData: data}
	c.tc.End(p.Append(c.tc.Begin(0), c.version))
}
