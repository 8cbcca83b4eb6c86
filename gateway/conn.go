package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sluice/codec"
	"sluice/gateway/transport"
)

// connState is the life of a conn: fresh → (checking → or challenged →) connected →
// closed, and from each straight to closed.
type connState uint8

const (
	fresh      connState = iota // nothing but CONNECT is expected
	checking                    // the password is being verified; reading is paused
	challenged                  // nothing but AUTH and DISCONNECT is expected, see auth.go
	connected                   // has a session
	closed                      // the session, if there was one, has been told; the transport may still be flushing
)

// maxConnect bounds CONNECT, in bytes: what those may leave with us whom we do not know.
const maxConnect = 128 << 10

// pausedLook is how long nobody looks, at least, whether a client that is not read from is
// still there.
const pausedLook = 10 * time.Second

// conn is a Network Connection, which dies with its socket, or an MQTT-SN device that is
// here. Guarded by Server.mu.
type conn struct {
	// Set once. One of tc and dev is nil.
	srv *Server
	tc  *transport.Conn
	dev *device

	// Set by CONNECT.
	session    *session
	user       string
	maxPacket  uint32        // bytes the client accepts; 0: any
	receiveMax uint16        // QoS 1 and 2 messages the client takes unacknowledged
	version    codec.Version // 0 before CONNECT
	noProblem  bool          // the client wants no reason strings but where they are always allowed
	trusted    bool          // the other end is a part of this program
	enhanced   bool          // authenticates by AUTH
	inflight   int32         // of receiveMax, what the client has not ended: sent here, or waiting for PUBCOMP since before
	keepAlive  time.Duration // silence after which the client is taken for dead; 0: never

	state    connState
	waits    bool          // is in Server.waiting
	paused   bool          // reading is stopped until acknowledgements have left
	deaf     bool          // reading is stopped until the client has read
	braked   bool          // reading is stopped for a moment, see brake.go
	slow     bool          // is counted in Server.slow
	refused  bool          // trusted, and a message was refused for want of room: so are those behind it
	unacked  uint16        // QoS 1 and 2 messages received and not acknowledged
	heard    time.Duration // when the last packet came
	timer    timer         // CONNECT or keep-alive
	exchange *exchange     // nil: none is under way
	acks     []ack         // in the order they must leave
	will     *will
	aliases  *aliases
	taken    uint64 // messages received
}

// maxTurn is how many packets of a connection are handled before the others have their
// turn, and maxCopied how many bytes of messages, for all recipients together, it may have
// copied: more than that take longer than others should wait, some 50 us.
const (
	maxTurn   = 512
	maxCopied = 256 << 10
)

// receive takes what has come and returns how much of it: whole packets only.
func (c *conn) receive(b []byte) (n int) {
	s := c.srv
	until := s.copied + maxCopied
	for packets := 0; n < len(b); packets++ {
		if packets == maxTurn || s.copied > until {
			c.tc.Yield()
			return n
		}
		limit := s.cfg.MaxPacketSize
		switch c.state {
		case closed:
			return len(b)
		case checking:
			return n
		case fresh, challenged:
			limit = min(limit, maxConnect)
		}
		if c.behind() {
			c.deafen() // does not read our answers: so we read no more questions
			return n
		}
		p, size, err := s.dec.Next(b[n:], c.version, limit)
		if err != nil {
			c.refuse(p, err)
			return len(b)
		}
		if size == 0 {
			break
		}
		c.heard = s.now
		c.handle(p)
		if _, again := s.unfinished[c]; again {
			c.tc.Yield()
			return n
		}
		n += size
		s.stats.PacketsIn++
	}
	return n
}

// handle acts on one packet. p is valid until it returns.
func (c *conn) handle(p codec.Packet) {
	if t := p.Type(); c.state == challenged && t != codec.TypeAuth && t != codec.TypeDisconnect {
		c.close(codec.ProtocolError, "neither AUTH nor DISCONNECT before CONNACK") // [MQTT-3.1.2-30]
		return
	}
	if (c.state == fresh) != (p.Type() == codec.TypeConnect) {
		if c.state == fresh {
			c.close(codec.ProtocolError, "first packet is not CONNECT") // [MQTT-3.1.0-1]
		} else {
			c.close(codec.ProtocolError, "second CONNECT") // [MQTT-3.1.0-2]
		}
		return
	}
	if c.state == connected && c.session.came == notYet {
		c.session.arrive()
	}
	switch p := p.(type) {
	case *codec.Publish:
		c.publish(p)
	case *codec.Puback:
		c.session.acknowledged(p.ID, p.Code)
	case *codec.Pubrec:
		c.session.received(p.ID, p.Code)
	case *codec.Pubrel:
		c.release(p)
	case *codec.Pubcomp:
		c.session.completed(p.ID)
	case *codec.Pingreq:
		c.tc.End((&codec.Pingresp{}).Append(c.tc.Begin(0), c.version))
	case *codec.Connect:
		c.connect(p)
	case *codec.Subscribe:
		c.subscribe(p)
	case *codec.Unsubscribe:
		c.unsubscribe(p)
	case *codec.Disconnect:
		c.disconnect(p)
	case *codec.Auth:
		c.auth(p)
	default:
		c.close(codec.ProtocolError, "packet that only a server sends")
	}
}

// refuse answers bytes that are no packet a client may send. p is what could be read
// of a CONNECT.
func (c *conn) refuse(p codec.Packet, err error) {
	code, text := codec.MalformedPacket, err.Error()
	var fault *codec.Error
	if errors.As(err, &fault) {
		code, text = fault.Code, fault.Text
		c.srv.log.Debug("bad packet", "remote", c.tc.Remote(), "version", c.version, "code", code, "why", text, "clause", fault.Clause)
	}
	switch connect, ok := p.(*codec.Connect); {
	case ok && c.state == fresh:
		c.version = connect.Version
		c.refuseConnect(code, text)
		return
	case ok: // whatever is wrong with it, and may be told in CONNACK only [MQTT-3.1.0-2]
		code, text = codec.ProtocolError, "second CONNECT"
	}
	c.close(code, text)
}

// disconnect ends the connection as the client wishes.
func (c *conn) disconnect(p *codec.Disconnect) {
	if c.state == challenged {
		c.end("disconnected by client")
		return
	}
	if p.HasSessionExpiry {
		if c.session.expiry == 0 && p.SessionExpiry != 0 {
			c.close(codec.ProtocolError, "session expiry raised from 0 in DISCONNECT") // [MQTT-3.14.2-2]
			return
		}
		c.session.expiry = c.srv.limitExpiry(p.SessionExpiry)
	}
	if p.Code == codec.Success {
		c.will = nil // [MQTT-3.14.4-3]
	}
	c.end("disconnected by client")
}

// close ends the connection with a reason, which a MQTT 5 client is told: by CONNACK if
// it waits for that. [MQTT-3.14.0-1]
func (c *conn) close(code codec.ReasonCode, text string) {
	switch c.state {
	case closed:
		return
	case challenged:
		c.refuseConnect(code, text)
		return
	}
	c.srv.ended(code)
	if c.dev != nil {
		c.dev.dismiss()
		c.end(text)
		return
	}
	if c.state == connected && c.version == codec.V5 {
		p := codec.Disconnect{Code: code, ReasonString: []byte(text)}
		b := c.tc.Begin(0)
		n := len(b)
		b = p.Append(b, c.version)
		if c.tooLarge(len(b) - n) { // [MQTT-3.14.2-3]
			p.ReasonString = nil
			b = p.Append(b[:n], c.version)
		}
		c.tc.End(b)
	}
	c.end(text)
}

// end is the one way out of all states: the session is told, the transport closes
// once it has flushed, and one line is logged.
func (c *conn) end(why string) {
	s := c.srv
	if c.state == closed {
		return
	}
	was, tells := c.state, s.tells()
	var remote, wire string
	if tells {
		remote, wire = c.remote()
	}
	c.state = closed
	s.stopTimer(&c.timer)
	delete(s.conns, c)
	delete(s.unfinished, c)
	c.caughtUp()
	c.acks, c.exchange = nil, nil
	if c.dev != nil {
		c.dev.ended()
	} else {
		c.tc.Close()
	}
	if was != connected {
		if tells {
			s.log.Info("connection refused", "remote", remote, "wire", wire, "why", why)
		}
		return
	}
	s.stats.Connected--
	c.forgetLate()
	if tells {
		s.log.Info("client gone", "client", brief(c.session.id), "remote", remote, "why", why, "received", c.taken)
	}
	c.session.detach(c)
}

// tells says whether the coming and going of clients is logged: the arguments of a line
// cost as much as a packet does.
func (s *Server) tells() bool { return s.log.Enabled(context.Background(), slog.LevelInfo) }

// remote says where the client is and how its bytes come, for the log.
func (c *conn) remote() (addr, wire string) {
	if c.dev != nil {
		return c.dev.remote(), c.dev.wire()
	}
	return c.tc.Remote(), c.tc.Wire()
}

// expire is called when the connection's deadline may have come.
func (c *conn) expire() {
	s := c.srv
	switch c.state {
	case fresh, checking:
		c.end("no CONNECT in time") // [MQTT-3.1.4-1], section 3.1.4
		return
	case challenged:
		c.end("authentication not over in time")
		return
	}
	if due := c.heard + c.keepAlive; due > s.now {
		s.setTimer(&c.timer, due)
		return
	}
	switch {
	case c.paused: // we are the ones who do not listen
		if c.dev == nil && !c.deaf && !c.braked {
			c.tc.ResumeIfOver()
		}
		s.setTimer(&c.timer, s.now+max(c.keepAlive, pausedLook))
		return
	case c.keepAlive == 0:
		return
	}
	c.close(codec.KeepAliveTimeout, "keep-alive timeout") // [MQTT-3.1.2-22]
}

// deafen stops reading until the client has read: more than transport.HighWater waits.
func (c *conn) deafen() {
	c.deaf = true
	c.tc.Pause()
}

// speaks is the version of the protocol, for the log.
func (c *conn) speaks() string {
	if c.dev != nil {
		return "SN 1.2"
	}
	return c.version.String()
}

// listen reads on, unless there is another reason not to.
func (c *conn) listen() {
	if !c.paused && !c.deaf && !c.braked {
		c.heard = c.srv.now // it could not be heard meanwhile
		if c.dev == nil {
			c.tc.Resume()
		}
	}
}

// pending is how many bytes of output the client has not taken. Datagrams do not wait.
func (c *conn) pending() int {
	if c.dev != nil {
		return 0
	}
	return c.tc.Pending()
}

// behind says whether the client has left so much of its output unread that it gets no
// more that may be dropped, and is asked for no more: its share of what slow clients may.
func (c *conn) behind() bool {
	return c.pending() > transport.HighWater && c.beyondShare()
}

func (c *conn) beyondShare() bool {
	if !c.slow {
		c.slow = true
		c.srv.slow++
	}
	all := int(min(slowOutput, c.srv.cfg.QueueMaxBytes/2))
	return c.tc.Pending() > min(deafOutput, all/c.srv.slow)
}

// caughtUp is called when a slow client has read again, and when it ends.
func (c *conn) caughtUp() {
	if c.slow {
		c.slow = false
		c.srv.slow--
	}
}

// tooLarge says whether the client does not take a packet of n bytes. [MQTT-3.1.2-24]
func (c *conn) tooLarge(n int) bool {
	return c.maxPacket != 0 && n > int(min(c.maxPacket, 1<<30))
}
