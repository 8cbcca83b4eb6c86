package bridge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"

	"github.com/gobwas/ws"
)

// subprotocol is the name of MQTT within WebSocket [MQTT-6.0.0-3].
const subprotocol = "mqtt"

var (
	errSubprotocol = errors.New("WebSocket server does not offer the subprotocol mqtt: check the path of the URL")
	errNotBinary   = errors.New("WebSocket frame that is not binary [MQTT-6.0.0-1]")
)

// A webSocket carries bytes in binary frames. Reads and writes may be
// concurrent with each other.
type webSocket struct {
	net.Conn
	r     *bufio.Reader
	state ws.State // owned by Read: client side, and whether inside a fragmented message
	left  int64    // owned by Read: of the frame's payload

	mu  sync.Mutex
	out []byte // guarded by mu
}

// upgrade makes conn a WebSocket.
func upgrade(conn net.Conn, u *url.URL) (*webSocket, error) {
	at := *u
	if at.Path == "" {
		at.Path = "/mqtt"
	}
	r, hs, err := ws.Dialer{Protocols: []string{subprotocol}}.Upgrade(conn, &at)
	if err != nil {
		return nil, err
	}
	if hs.Protocol != subprotocol {
		return nil, errSubprotocol
	}
	if r == nil { // nothing came behind the handshake
		r = bufio.NewReader(conn)
	}
	return &webSocket{Conn: conn, r: r, state: ws.StateClientSide}, nil
}

// Read reads from the payload of binary frames, across their bounds [MQTT-6.0.0-2].
func (c *webSocket) Read(b []byte) (int, error) {
	for c.left == 0 {
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// nextFrame reads a frame's header, and the whole of a control frame.
func (c *webSocket) nextFrame() error {
	h, err := ws.ReadHeader(c.r)
	if err != nil {
		return err
	}
	if err := ws.CheckHeader(h, c.state); err != nil {
		return err
	}
	if h.OpCode.IsControl() {
		return c.control(h)
	}
	if h.OpCode == ws.OpText {
		return errNotBinary
	}
	c.state = c.state.Clear(ws.StateFragmented)
	if !h.Fin {
		c.state = c.state.Set(ws.StateFragmented)
	}
	c.left = h.Length
	return nil
}

func (c *webSocket) control(h ws.Header) error {
	payload := make([]byte, h.Length) // 125 at most
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		_, err := c.writeFrame(ws.OpPong, payload)
		return err
	case ws.OpClose:
		c.writeFrame(ws.OpClose, payload)
		return io.EOF
	}
	return nil
}

// Write writes b as one binary frame.
func (c *webSocket) Write(b []byte) (int, error) { return c.writeFrame(ws.OpBinary, b) }

func (c *webSocket) writeFrame(op ws.OpCode, b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := ws.Header{Fin: true, OpCode: op, Masked: true, Length: int64(len(b))}
	binary.LittleEndian.PutUint32(h.Mask[:], rand.Uint32())
	var buf writer
	buf = c.out[:0]
	if err := ws.WriteHeader(&buf, h); err != nil {
		return 0, err
	}
	begin := len(buf)
	buf = append(buf, b...)
	ws.Cipher(buf[begin:], h.Mask, 0)
	c.out = buf
	if cap(c.out) > 2*highWater {
		c.out = nil
	}
	if _, err := c.Conn.Write(buf); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A writer is a buffer to append to.
type writer []byte

func (w *writer) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}
