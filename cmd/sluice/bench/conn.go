//go:build linux

package bench

import (
	"crypto/tls"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sluice/codec"
)

// connState is how far a connection has got.
type connState uint8

const (
	stDialing     connState = iota // waiting for the TCP handshake
	stShaking                      // waiting for the TLS handshake; its goroutine has the socket
	stUpgrading                    // waiting for the WebSocket handshake
	stConnecting                   // waiting for CONNACK
	stSubscribing                  // waiting for SUBACK
	stReady
	stClosed
)

// conn is one client's connection. It belongs to one worker.
type conn struct {
	// Set before open.
	connect codec.Connect
	filter  string // subscribed to after CONNACK when not empty
	pub     *publisher
	sub     *subscriber

	// Set by open.
	w    *worker
	fd   int
	slot int32 // index in worker.conns

	state connState
	tls   *tls.Conn // nil without
	ws    *wsReader // nil without
	ack   ack

	dialed    int64 // when connect(2) was called
	connected int64 // when CONNACK came
	ready     int64 // when all handshakes were over

	out       []byte // packets not yet sent, behind room for a frame's header
	unsent    []byte // what the kernel did not take of an earlier write
	in        []byte // the start of a packet whose rest has not come yet
	wantWrite bool
	dirty     bool
	pong      bool // a PINGRESP has come

	shakeErr error // of the TLS handshake, until shakeDone
}

// ack is what CONNACK said.
type ack struct {
	sessionPresent bool
	receiveMaximum int
	aliases        uint16
}

// client makes the connection of the client with the given name. It subscribes to
// filter if that is not empty.
func (r *run) client(w *worker, name, filter string) *conn {
	c := &conn{w: w, connect: r.cfg.Connect, filter: filter}
	c.connect.ClientID = append(append([]byte(nil), r.cfg.Connect.ClientID...), name...)
	c.connect.CleanStart = true
	if r.cfg.Alias {
		c.connect.TopicAliasMaximum = 1
	}
	return c
}

// hour is how long a session is kept that outlives its connection, in seconds.
const hour = 3600

// outlive asks for a session that is kept after the connection.
func (c *conn) outlive() {
	c.connect.CleanStart = false
	if c.connect.Version == codec.V5 {
		c.connect.SessionExpiry = hour
	}
}

// outStart is the length of an empty out buffer.
func (c *conn) outStart() int {
	if c.ws != nil {
		return wsReserve
	}
	return 0
}

// close ends the connection; err is nil when the scenario wanted that.
func (c *conn) close(err error) {
	if c.state == stClosed {
		return
	}
	wasReady := c.state == stReady
	c.state = stClosed
	unix.Close(c.fd)
	c.w.freeSlot(c.slot)
	if err == nil {
		return
	}
	c.w.connError(err)
	if c.pub != nil && wasReady {
		c.pub.abandon()
	}
}

// hangUp ends the connection with a DISCONNECT, if it has got so far.
func (c *conn) hangUp() {
	switch c.state {
	case stShaking: // the socket belongs to the handshake, which fails now
		_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
		return
	case stReady:
		c.out = (&codec.Disconnect{}).Append(c.out, c.connect.Version)
		c.flush()
	}
	c.close(nil)
}

// greet begins with what is behind TCP and TLS.
func (c *conn) greet() {
	if !c.w.run.ws {
		c.sendConnect()
		return
	}
	c.state = stUpgrading
	c.out = append(c.out[:0], wsRequest(c.w.run.cfg.URL)...)
	c.flush()
}

func (c *conn) sendConnect() {
	if c.w.run.ws {
		c.ws = &wsReader{}
		c.out = append(c.out[:0], make([]byte, wsReserve)...)
	}
	c.state = stConnecting
	c.out = c.connect.Append(c.out, 0)
	c.flush()
}

// flush hands as much as possible to the kernel. It reports whether all went.
func (c *conn) flush() bool {
	if c.state == stClosed || c.state == stShaking {
		return false
	}
	err := c.resume()
	if start := c.outStart(); err == nil && len(c.unsent) == 0 && len(c.out) > start {
		b := c.out
		if c.ws != nil {
			b = b[wsPutHeader(b, wsBinary, len(b)-start):]
		}
		err = c.send(b)
		c.out = c.out[:start]
	}
	if err != nil {
		c.close(fmt.Errorf("write: %w", err))
		return false
	}
	c.interest(len(c.unsent) > 0)
	return len(c.unsent) == 0
}

// resume goes on with what the kernel did not take.
func (c *conn) resume() error {
	if len(c.unsent) == 0 {
		return nil
	}
	n, err := rawWrite(c.fd, c.unsent)
	c.unsent = c.unsent[:copy(c.unsent, c.unsent[n:])]
	return err
}

// send writes b, through TLS if there is any.
func (c *conn) send(b []byte) error {
	if c.tls == nil {
		return c.write(b)
	}
	_, err := c.tls.Write(b)
	return err
}

// readable reads, once from a socket and from TLS whatever it has, and handles all
// whole packets.
func (c *conn) readable() {
	for more := true; more && c.state != stClosed; {
		w := c.w
		have := copy(w.buf, c.in)
		var n int
		var err error
		if c.tls == nil {
			n, err = rawRead(c.fd, w.buf[have:])
			more = false
		} else {
			n, err = c.tls.Read(w.buf[have:])
		}
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			c.close(fmt.Errorf("read: %w", err))
			return
		}
		w.now = w.run.clock()
		w.reads++
		c.receive(w.buf[:have+n], have)
	}
}

// receive handles what has come; the part up to have is from before.
func (c *conn) receive(b []byte, have int) {
	if c.state == stUpgrading {
		c.upgrade(b)
		return
	}
	if c.ws != nil {
		n, err := c.ws.feed(b[have:])
		if err != nil {
			c.close(err)
			return
		}
		b = b[:have+n]
		c.answerPing()
	}
	c.packets(b)
}

// packets handles the whole packets in b and keeps the rest for later.
func (c *conn) packets(b []byte) {
	for c.state != stClosed {
		p, n, err := c.w.dec.Next(b, c.connect.Version, 0)
		if err == nil && p != nil {
			b = b[n:]
			err = c.take(p)
		} else if err == nil {
			break
		}
		if err != nil {
			c.close(err)
			return
		}
	}
	if len(b) >= len(c.w.buf)/2 {
		c.close(errors.New("a packet larger than anything that was sent"))
		return
	}
	c.in = append(c.in[:0], b...)
	if len(c.out) > c.outStart() {
		c.w.markDirty(c)
	}
}

// upgrade takes the answer to the WebSocket handshake.
func (c *conn) upgrade(b []byte) {
	n, err := wsResponse(b)
	if err != nil {
		c.close(err)
		return
	}
	if n == 0 {
		c.in = append(c.in[:0], b...)
		return
	}
	c.in = c.in[:0]
	c.sendConnect()
	if c.state != stClosed && n < len(b) {
		c.receive(b[n:], 0)
	}
}

// answerPing answers a ping of WebSocket, if one has come.
func (c *conn) answerPing() {
	if !c.ws.pinged || !c.flush() {
		return // without room in the socket the next ping will do
	}
	c.ws.pinged = false
	frame := append(make([]byte, wsReserve), c.ws.pong...)
	if err := c.send(frame[wsPutHeader(frame, wsPong, len(c.ws.pong)):]); err != nil {
		c.close(fmt.Errorf("write: %w", err))
	}
}

// take handles one packet.
func (c *conn) take(p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Publish:
		c.message(p)
	case *codec.Puback:
		return c.acked(codec.TypePuback, p.ID, p.Code)
	case *codec.Pubrec:
		return c.acked(codec.TypePubrec, p.ID, p.Code)
	case *codec.Pubcomp:
		return c.acked(codec.TypePubcomp, p.ID, p.Code)
	case *codec.Pubrel:
		if c.sub != nil {
			c.sub.released(p.ID)
		}
		c.out = (&codec.Pubcomp{ID: p.ID}).Append(c.out, c.connect.Version)
	case *codec.Connack:
		return c.accepted(p)
	case *codec.Suback:
		return c.subscribed(p)
	case *codec.Pingresp:
		c.pong = true
	case *codec.Disconnect:
		return fmt.Errorf("the server hangs up: %v", p.Code)
	default:
		return fmt.Errorf("unexpected %v", p.Type())
	}
	return nil
}

func (c *conn) acked(t codec.PacketType, id uint16, code codec.ReasonCode) error {
	if c.pub == nil {
		return fmt.Errorf("unexpected %v", t)
	}
	c.pub.acked(t, id, code >= 0x80)
	return nil
}

func (c *conn) accepted(p *codec.Connack) error {
	switch {
	case c.state != stConnecting:
		return errors.New("unexpected CONNACK")
	case p.Code >= 0x80:
		return fmt.Errorf("the server refuses the connection: %v", p.Code)
	case c.pub != nil && p.MaximumQoS < c.pub.message.QoS:
		return fmt.Errorf("the server takes QoS %d at most", p.MaximumQoS)
	}
	c.ack = ack{p.SessionPresent, 65535, p.TopicAliasMaximum}
	if p.ReceiveMaximum != 0 {
		c.ack.receiveMaximum = int(p.ReceiveMaximum)
	}
	c.connected = c.w.now
	if c.filter == "" {
		c.isReady()
		return nil
	}
	c.state = stSubscribing
	s := codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte(c.filter), QoS: c.w.run.cfg.QoS}}}
	c.out = s.Append(c.out, c.connect.Version)
	return nil
}

func (c *conn) subscribed(p *codec.Suback) error {
	switch got, want := p.Codes[0], codec.ReasonCode(c.w.run.cfg.QoS); {
	case c.state != stSubscribing:
		return errors.New("unexpected SUBACK")
	case got >= 0x80:
		return fmt.Errorf("the server refuses the subscription: %v", got)
	case got != want:
		return fmt.Errorf("the server grants QoS %d, not %d", got, want)
	}
	c.isReady()
	return nil
}

func (c *conn) isReady() {
	c.state = stReady
	c.ready = c.w.now
	c.w.ready++
}

// message takes a message and acknowledges it.
func (c *conn) message(p *codec.Publish) {
	switch p.QoS {
	case 1:
		c.out = (&codec.Puback{ID: p.ID}).Append(c.out, c.connect.Version)
	case 2:
		c.out = (&codec.Pubrec{ID: p.ID}).Append(c.out, c.connect.Version)
		if c.sub != nil && !c.sub.begin(p.ID) {
			c.w.resent++
			return
		}
	}
	c.w.message(c.sub, p.Payload)
}
