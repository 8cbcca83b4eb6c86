package suite

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"sluice/firmware-tests/wire"
)

// Conn is one connection of a test to a broker, or of a client to a test that plays
// the broker. It sends what it is told and nothing else: it acknowledges nothing and
// answers no ping by itself.
type Conn struct {
	t       *T
	nc      net.Conn
	in      *bufio.Reader
	version byte
	client  bool // the other side is one
	limit   time.Duration

	ID      string     // the client identifier
	Connack *wire.Read // once it is connected

	greeted bool // CONNACK has come
}

// Dial connects to an address, and says nothing yet.
func (t *T) Dial(addr string) *Conn {
	nc, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatalf("connect to %s: %v", addr, err)
	}
	return t.Over(nc)
}

// Over speaks MQTT over a connection that the test made, and closes it in the end.
func (t *T) Over(nc net.Conn) *Conn {
	t.Cleanup(func() { nc.Close() })
	return &Conn{t: t, nc: nc, in: bufio.NewReader(nc), version: t.Version, limit: Patience}
}

// Serve is the server's end of a connection that a client made, in the version that
// its CONNECT will ask for. It is closed in the end.
func (t *T) Serve(nc net.Conn) *Conn {
	c := t.Over(nc)
	c.client = true
	return c
}

// WantConnect reads the first packet of a client, which must be CONNECT.
func (c *Conn) WantConnect() *wire.Read {
	p := c.Want(wire.CONNECT)
	c.version, c.ID = p.Connect.Version, p.Connect.ID
	return p
}

// CONNECT is the packet of a client with nothing special: a new identifier, a clean
// session, no keep-alive.
func (t *T) CONNECT() wire.Connect {
	return wire.Connect{Version: t.Version, ID: t.ID(), Clean: true}
}

// Lasting is the packet of a client whose session outlasts the connection.
func (t *T) Lasting() wire.Connect {
	c := wire.Connect{Version: t.Version, ID: t.ID()}
	if t.V5() {
		c.Props = wire.Bytes(wire.SessionExpiry, uint32(300))
	}
	return c
}

// Join connects a client with nothing special.
func (t *T) Join() *Conn { return t.Connect(t.CONNECT()) }

// Connect connects to the target and wants to be accepted.
func (t *T) Connect(c wire.Connect) *Conn { return t.Dial(t.Target.Addr).Accepted(c) }

// Away leaves a session of the target behind: it connects, subscribes to filters with
// the same options, and disconnects.
func (t *T) Away(p wire.Connect, options byte, filters ...string) {
	c := t.Connect(p)
	c.Subscribe(options, filters...)
	c.Leave()
}

// Accepted sends CONNECT and wants to be accepted.
func (c *Conn) Accepted(p wire.Connect) *Conn {
	c.ID = p.ID
	c.Send(p.Bytes())
	c.Connack = c.Want(wire.CONNACK)
	if code := c.Connack.Code(); code != 0 {
		c.t.Fatalf("CONNACK with code %#x", code)
	}
	return c
}

// Refused sends the bytes of a CONNECT and wants to be refused: closed, after a
// CONNACK with one of the codes, or after nothing at all.
func (c *Conn) Refused(connect []byte, codes ...byte) {
	c.Send(connect)
	p := c.next()
	if p == nil {
		return
	}
	if p.Type != wire.CONNACK || !slices.Contains(codes, p.Code()) {
		c.t.Fatalf("%v, want CONNACK with one of % x, or an end", p, codes)
	}
	c.WantEnd()
}

// Send sends packets, in one piece. That the other side has closed meanwhile is no
// failure: the answer tells.
func (c *Conn) Send(packets ...[]byte) {
	c.nc.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.nc.Write(slices.Concat(packets...))
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatalf("the other side does not read: %v", err)
	}
}

// WaitFor bounds each wait from now on by another time than Patience.
func (c *Conn) WaitFor(limit time.Duration) { c.limit = limit }

// next reads one packet, nil if the other side closed the connection.
func (c *Conn) next() *wire.Read {
	c.nc.SetReadDeadline(time.Now().Add(c.limit))
	p, err := wire.Next(c.in, c.version, !c.client)
	var breach *wire.Breach
	ne := net.Error(nil)
	switch {
	case errors.As(err, &breach):
		c.t.breach(breach.Rule, breach.Text)
		c.t.Fatalf("%v breaks %v", p, breach)
	case errors.As(err, &ne) && ne.Timeout():
		c.t.Fatalf("nothing came within %v", c.limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.t.Fatalf("the connection ended in the middle of a packet")
	case err != nil: // the end, or a reset
		return nil
	}
	if !c.client {
		c.order(p)
	}
	return p
}

// order holds the place of CONNACK: it is the first packet but for AUTH, and comes
// once.
func (c *Conn) order(p *wire.Read) {
	rule := ""
	switch {
	case p.Type == wire.CONNACK && c.greeted:
		rule = "MQTT-3.2.0-2"
	case p.Type == wire.DISCONNECT && !c.greeted:
		rule = "MQTT-3.14.0-1"
	case p.Type != wire.CONNACK && p.Type != wire.AUTH && !c.greeted:
		rule = "MQTT-3.2.0-1"
	}
	c.greeted = c.greeted || p.Type == wire.CONNACK && p.Code() == 0
	if rule != "" {
		c.t.breach(rule, p.String()+" out of its place")
		c.t.Fatalf("%v breaks %s", p, rule)
	}
}

// NextOrEnd reads the next packet, nil if the server closed the connection instead.
func (c *Conn) NextOrEnd() *wire.Read { return c.next() }

// Next reads the next packet, which must come.
func (c *Conn) Next() *wire.Read {
	p := c.next()
	if p == nil {
		c.t.Fatalf("the other side closed the connection")
	}
	return p
}

// Want reads the next packet, which must be of a type.
func (c *Conn) Want(kind byte) *wire.Read {
	p := c.Next()
	if p.Type != kind {
		c.t.Fatalf("%v, want a packet of type %d", p, kind)
	}
	return p
}

// WantAck reads the next packet, which must be an acknowledgement with a packet
// identifier and, in MQTT 5.0, one of the codes; none means success.
func (c *Conn) WantAck(kind byte, id uint16, codes ...byte) *wire.Read {
	p := c.Want(kind)
	if len(codes) == 0 {
		codes = []byte{0}
		if kind == wire.PUBACK || kind == wire.PUBREC {
			codes = []byte{0, 0x10} // no matching subscribers
		}
	}
	if p.ID != id || c.version == wire.V5 && !slices.Contains(codes, p.Code()) {
		c.t.Fatalf("%v, want packet identifier %d with one of % x", p, id, codes)
	}
	return p
}

// WantPublish reads the next packet, which must be a PUBLISH with a topic and a
// payload.
func (c *Conn) WantPublish(topic, payload string) *wire.Read {
	p := c.Want(wire.PUBLISH)
	if p.Topic != topic || p.Payload != payload {
		c.t.Fatalf("PUBLISH of %q to %q, want %q to %q", p.Payload, p.Topic, payload, topic)
	}
	return p
}

// WantEnd wants the other side to close the connection without another packet.
func (c *Conn) WantEnd() {
	if p := c.next(); p != nil {
		c.t.Fatalf("%v, want the end of the connection", p)
	}
}

// WantClosed wants the other side to close the connection; in MQTT 5.0 after a DISCONNECT
// with one of the codes, or after nothing. Acknowledgements of what came before may
// come first.
func (c *Conn) WantClosed(codes ...byte) {
	for {
		p := c.next()
		switch {
		case p == nil:
			return
		case p.Type == wire.DISCONNECT:
			if !slices.Contains(codes, p.Code()) {
				c.t.Fatalf("%v, want one of the codes % x", p, codes)
			}
			c.WantEnd()
			return
		case p.Type == wire.PUBLISH || p.Type == wire.PINGRESP:
			c.t.Fatalf("%v, want the end of the connection", p)
		}
	}
}

// Ping wants a PINGRESP to be the next that comes: nothing else is on its way.
func (c *Conn) Ping() {
	c.Send(wire.Pingreq())
	c.Want(wire.PINGRESP)
}

// Subscribe subscribes to filters with the same options, and wants all granted at
// the QoS of the options.
func (c *Conn) Subscribe(options byte, filters ...string) {
	c.Send(wire.Subscribe(c.version, 9999, options, filters...))
	p := c.WantAck(wire.SUBACK, 9999, 0, 1, 2)
	if len(p.Codes) != len(filters) {
		c.t.Fatalf("%v, want %d codes", p, len(filters))
	}
	for _, code := range p.Codes {
		if code != options&3 {
			c.t.Fatalf("%v, want QoS %d granted", p, options&3)
		}
	}
}

// Publish publishes and plays the whole handshake of its QoS.
func (c *Conn) Publish(p wire.Publish) {
	if p.QoS > 0 && p.ID == 0 {
		p.ID = 9998
	}
	c.Send(p.Bytes(c.version))
	switch p.QoS {
	case 1:
		c.WantAck(wire.PUBACK, p.ID)
	case 2:
		c.WantAck(wire.PUBREC, p.ID)
		c.Send(wire.Ack(wire.PUBREL, p.ID))
		c.WantAck(wire.PUBCOMP, p.ID)
	}
}

// Take reads a PUBLISH as WantPublish does and plays the receiver's part of its
// handshake.
func (c *Conn) Take(topic, payload string) *wire.Read {
	p := c.WantPublish(topic, payload)
	switch p.QoS {
	case 1:
		c.Send(wire.Ack(wire.PUBACK, p.ID))
	case 2:
		c.Send(wire.Ack(wire.PUBREC, p.ID))
		c.WantAck(wire.PUBREL, p.ID)
		c.Send(wire.Ack(wire.PUBCOMP, p.ID))
	}
	return p
}

// Drop ends the connection without DISCONNECT.
func (c *Conn) Drop() { c.nc.Close() }

// Leave sends DISCONNECT and waits until the server has closed.
func (c *Conn) Leave() {
	c.Send(wire.Disconnect())
	c.WantEnd()
}

// Half closes the sending half: the server reads the end, and can still answer.
func (c *Conn) Half() {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // it may have ended by itself
	}
}
