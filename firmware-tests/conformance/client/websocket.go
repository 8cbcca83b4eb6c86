package client

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// webSocket is section 6.
var webSocket = []suite.Test{
	{V311: "6.0.0-3", V5: "6.0.0-3", Run: offersTheSubprotocol},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: frameBordersMeanNothing},
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: leavesOnTextFrame},
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: sendsBinaryFrames},
	{V311: "RULE-6-p", V5: "RULE-6-p", Run: serverWithoutSubprotocol},
}

// Kinds of frames.
const (
	continued = 0
	textual   = 1
	binaryOne = 2
)

// A socket is the server's end of a WebSocket, in raw frames. What is written goes out
// as one binary frame, or as one for each byte.
type socket struct {
	net.Conn
	in      *bufio.Reader
	payload []byte // of the last frame, not yet read
	kind    byte   // of the last message
	byBytes bool
	text    bool // frames are sent as text
	offered string
}

// upgrade takes the request of a client and selects a subprotocol; "": none.
func (s *server) upgrade(subprotocol string) *socket {
	nc := s.take()
	ws := &socket{Conn: nc, in: bufio.NewReader(nc)}
	req, err := http.ReadRequest(ws.in)
	if err != nil {
		s.t.Fatalf("no request for a WebSocket: %v", err)
	}
	ws.offered = strings.Join(req.Header.Values("Sec-WebSocket-Protocol"), ",")
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n"
	if subprotocol != "" {
		answer += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	if _, err := io.WriteString(nc, answer+"\r\n"); err != nil {
		s.t.Fatalf("%v", err)
	}
	return ws
}

func (s *socket) Write(b []byte) (int, error) {
	kind := byte(binaryOne)
	if s.text {
		kind = textual
	}
	if !s.byBytes {
		return len(b), s.frame(kind, b)
	}
	for i := range b {
		if err := s.frame(kind, b[i:i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// frame sends one frame, which is a message.
func (s *socket) frame(kind byte, b []byte) error {
	f := []byte{0x80 | kind, byte(len(b))}
	if len(b) > 125 {
		f = binary.BigEndian.AppendUint16([]byte{0x80 | kind, 126}, uint16(len(b)))
	}
	_, err := s.Conn.Write(append(f, b...))
	return err
}

// Read reads from the payload of frames, until one that closes.
func (s *socket) Read(b []byte) (int, error) {
	for len(s.payload) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.payload)
	s.payload = s.payload[n:]
	return n, nil
}

func (s *socket) next() error {
	h := make([]byte, 2, 14)
	if _, err := io.ReadFull(s.in, h); err != nil {
		return err
	}
	size := int(h[1] & 0x7f)
	for want, wide := range map[int]int{126: 2, 127: 8} {
		if size == want {
			b := make([]byte, wide)
			if _, err := io.ReadFull(s.in, b); err != nil {
				return err
			}
			size = 0
			for _, c := range b {
				size = size<<8 | int(c)
			}
			break
		}
	}
	mask := make([]byte, 4)
	if h[1]&0x80 != 0 {
		if _, err := io.ReadFull(s.in, mask); err != nil {
			return err
		}
	}
	s.payload = make([]byte, size)
	if _, err := io.ReadFull(s.in, s.payload); err != nil {
		return err
	}
	for i := range s.payload {
		s.payload[i] ^= mask[i%4]
	}
	if kind := h[0] & 15; kind >= 8 {
		s.payload = nil
		if kind == 8 {
			return io.EOF
		}
	} else if kind != continued {
		s.kind = kind
	}
	return nil
}

// eachSocket calls f with a connection of the bridge, of pub and of sub over
// WebSocket, CONNECT read. prepare may set how the server behaves.
func eachSocket(t *suite.T, prepare func(*socket), f func(s *server, c *suite.Conn, ws *socket)) {
	open := func(s *server) {
		for {
			ws := s.upgrade("mqtt")
			prepare(ws)
			c := t.Serve(ws)
			if p := c.WantConnect(); p.Connect.Version == t.Version {
				f(s, c, ws)
				return
			}
			c.Send(wire.Packet(wire.CONNACK<<4, byte(0), byte(1)))
			c.WantEnd()
		}
	}
	s := listen(t)
	bridgeTo(t, s, "ws", "UP=up/#")
	open(s)
	for _, args := range commands {
		s := listen(t)
		s.commandTo(nil, "ws", args...)
		open(s)
	}
}

func offersTheSubprotocol(t *suite.T) {
	eachSocket(t, func(*socket) {}, func(_ *server, _ *suite.Conn, ws *socket) {
		if ws.offered != "mqtt" {
			t.Fatalf("offers %q, want mqtt", ws.offered)
		}
	})
}

// frameBordersMeanNothing: a byte in each frame, then three packets in one.
func frameBordersMeanNothing(t *suite.T) {
	eachSocket(t, func(ws *socket) { ws.byBytes = true }, func(s *server, c *suite.Conn, ws *socket) {
		c.Send(s.connack(false, 0))
		one := wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version)
		two := wire.Publish{Topic: "down/1", QoS: 1, ID: 8}.Bytes(t.Version)
		taken := func(id uint16) {
			p := c.Next()
			if p.Type == wire.SUBSCRIBE {
				c.Send(s.suback(p.ID, 2))
				p = c.Next()
			}
			if p.Type != wire.PUBACK || p.ID != id {
				t.Fatalf("%v, want PUBACK %d", p, id)
			}
		}
		c.Send(one)
		taken(7)
		ws.byBytes = false
		c.Send(one, two, one)
		taken(7)
		taken(8)
		taken(7)
	})
}

func leavesOnTextFrame(t *suite.T) {
	eachSocket(t, func(*socket) {}, func(s *server, c *suite.Conn, ws *socket) {
		c.Send(s.connack(false, 0))
		ws.text = true
		c.Send(wire.Publish{Topic: "down/1", QoS: 1, ID: 7}.Bytes(t.Version))
		for p := c.NextOrEnd(); p != nil; p = c.NextOrEnd() {
			if p.Type == wire.PUBACK {
				t.Fatalf("%v to what came as text", p)
			}
		}
	})
}

func sendsBinaryFrames(t *suite.T) {
	eachSocket(t, func(*socket) {}, func(s *server, c *suite.Conn, ws *socket) {
		if ws.kind != binaryOne {
			t.Fatalf("CONNECT came in a frame of kind %d", ws.kind)
		}
	})
}

// serverWithoutSubprotocol: one that speaks something else is left alone.
func serverWithoutSubprotocol(t *suite.T) {
	for _, subprotocol := range []string{"", "chat"} {
		s := listen(t)
		bridgeTo(t, s, "ws", "UP=up/#")
		t.Serve(s.upgrade(subprotocol)).WantEnd()
		for _, args := range commands {
			s := listen(t)
			cmd := s.commandTo(nil, "ws", args...)
			t.Serve(s.upgrade(subprotocol)).WantEnd()
			cmd.wantExit(exitUnreachable)
		}
	}
}
