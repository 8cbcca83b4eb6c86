package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

const (
	// maxUpgrade bounds the request for the upgrade.
	maxUpgrade = 8 << 10

	// A WebSocket may have a frame in every seven bytes. Of one that has many, so much is
	// read at a time.
	readFrames = 8 << 10

	// frameRoom is kept free before the payload of a frame for its header:
	// 2, 4 or 10 bytes, as a server does not mask.
	frameRoom = 10

	webSocketPath = "/mqtt"
)

var (
	errUpgradeLong = errors.New("websocket: request for upgrade too long")
	errText        = errors.New("websocket: text frame") // [MQTT-6.0.0-1]
	errLength      = errors.New("websocket: frame length out of range")
	errCloseFrame  = errors.New("websocket: malformed close frame")

	errNotFound = ws.RejectConnectionError(
		ws.RejectionStatus(http.StatusNotFound),
		ws.RejectionReason("MQTT is at "+webSocketPath))
	errProtocol = ws.RejectConnectionError(
		ws.RejectionStatus(http.StatusBadRequest),
		ws.RejectionReason("subprotocol mqtt or mqttv3.1 is needed"))
)

// framer is the WebSocket between the bytes of a wire and the packets of a
// Conn (RFC 6455, [MQTT-6.0.0]). It does nothing by itself: input passes
// through upgrade, then feed; output through take.
//
// Payload is handed on as it comes and unmasked where it lies. Packets may
// span frames and share them [MQTT-6.0.0-2]; a frame may be of any length.
// Output has each packet in a frame of its own: Eclipse Paho for C lets the
// second packet of a frame lie until another frame comes.
type framer struct {
	// Owned by the reader.
	upgraded bool
	tiny     bool     // most of what was read last was headers
	inside   bool     // of a frame: its header has come, its end has not
	have     uint8    // bytes of head that have come
	head     [14]byte // the header that is coming
	op       ws.OpCode
	state    ws.State
	mask     [4]byte
	at       int    // position in the mask
	left     int64  // bytes of the frame to come
	control  []byte // payload of a control frame, at most 125 bytes
	bad      error  // what the stream of frames has ended with

	// Guarded by Conn.mu.
	response []byte // to the upgrade
	open     bool   // the response was an agreement
	pong     []byte // to be sent, if not empty; of several only the last [RFC 6455, 5.5.3]
	code     ws.StatusCode
	echo     bool // answer a close frame that told no code
	ended    bool // the close frame was sent
}

// upgrade answers the request that is in c.in. n is its length, 0 if it has
// not come whole.
func (f *framer) upgrade(c *Conn) (n int, err error) {
	end := bytes.Index(c.in.b, []byte("\r\n\r\n"))
	var response bytes.Buffer
	switch {
	case end < 0 && len(c.in.b) <= maxUpgrade:
		return 0, nil
	case end < 0 || end+4 > maxUpgrade:
		err = errUpgradeLong
		response.WriteString("HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
	default:
		// The Upgrader reads without a bound and drops what it has read too
		// much, so it gets the request alone.
		n = end + 4
		err = negotiate(c.in.b[:n], &response)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.response = response.Bytes()
	f.open = err == nil
	f.upgraded = f.open
	c.driver.poke()
	return n, err
}

// negotiate writes the response to the request.
func negotiate(request []byte, response *bytes.Buffer) error {
	agreed := false
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			if path, _, _ := strings.Cut(string(uri), "?"); path != webSocketPath {
				return errNotFound
			}
			return nil
		},
		Protocol: func(p []byte) bool { // [MQTT-6.0.0-3]
			ok := string(p) == "mqtt" || string(p) == "mqttv3.1"
			agreed = agreed || ok
			return ok
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !agreed { // the Upgrader would go on without
				return nil, errProtocol
			}
			return nil, nil
		},
	}
	_, err := u.Upgrade(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(request), response})
	if err != nil && response.Len() == 0 {
		response.WriteString("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	}
	return err
}

// feed takes bytes of frames, and moves the payload of those with data
// together at the start of b. An error ends the connection, and comes again from
// now on; the payload that comes with it is good.
func (f *framer) feed(c *Conn, b []byte) (payload []byte, err error) {
	if f.bad != nil {
		return nil, f.bad
	}
	payload, f.bad = f.payload(c, b)
	if len(b) > 0 { // nothing comes where Receive goes on with what it has not taken
		f.tiny = len(payload) < len(b)/2
	}
	return payload, f.bad
}

func (f *framer) payload(c *Conn, b []byte) (payload []byte, err error) {
	kept := 0
	for at := 0; at < len(b); {
		if !f.inside {
			n, err := f.header(b[at:])
			if err != nil {
				return b[:kept], f.refuse(c, err)
			}
			at += n
		}
		p := b[at:]
		if !f.inside {
			break
		}
		p = p[:min(int64(len(p)), f.left)]
		ws.Cipher(p, f.mask, f.at)
		f.at = (f.at + len(p)) % len(f.mask) // a frame may be longer than an int counts
		f.left -= int64(len(p))
		at += len(p)
		if !f.op.IsControl() {
			kept += copy(b[kept:], p)
		} else {
			f.control = append(f.control, p...)
		}
		if f.left == 0 {
			f.inside = false
			if f.op.IsControl() {
				if err := f.obey(c); err != nil {
					return b[:kept], err
				}
			}
		}
	}
	return b[:kept], nil
}

// header takes the n bytes at the start of b that belong to a frame's header,
// and begins the frame when that is whole.
func (f *framer) header(b []byte) (n int, err error) {
	for f.have < f.need() {
		if n == len(b) {
			return n, nil
		}
		f.head[f.have] = b[n]
		f.have++
		n++
	}
	h := ws.Header{
		Fin:    f.head[0]&0x80 != 0,
		Rsv:    f.head[0] >> 4 & 7,
		OpCode: ws.OpCode(f.head[0] & 0x0f),
		Masked: f.head[1]&0x80 != 0,
		Length: int64(f.head[1] & 0x7f),
	}
	switch h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		h.Length = int64(binary.BigEndian.Uint64(f.head[2:]))
	}
	if h.Length < 0 {
		return n, errLength
	}
	if err := ws.CheckHeader(h, f.state|ws.StateServerSide); err != nil {
		return n, err
	}
	if h.OpCode == ws.OpText {
		return n, errText
	}
	switch {
	case h.OpCode.IsControl():
	case h.Fin:
		f.state = f.state.Clear(ws.StateFragmented)
	default:
		f.state = f.state.Set(ws.StateFragmented)
	}
	copy(f.mask[:], f.head[f.have-4:])
	f.op, f.left, f.at, f.have, f.inside = h.OpCode, h.Length, 0, 0, true
	return n, nil
}

// need is how long the header is, as far as its bytes tell.
func (f *framer) need() uint8 {
	if f.have < 2 {
		return 2
	}
	n := uint8(2)
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// refuse has the connection closed with the code for err.
func (f *framer) refuse(c *Conn, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.code = ws.StatusProtocolError
	if err == errText {
		f.code = ws.StatusUnsupportedData
	}
	return err
}

// obey does what a control frame asks for.
func (f *framer) obey(c *Conn) error {
	payload := f.control
	f.control = nil
	switch f.op {
	case ws.OpPing:
		c.mu.Lock()
		f.pong = append(append(f.pong[:0], 0x8a, byte(len(payload))), payload...)
		c.driver.poke()
		c.mu.Unlock()
	case ws.OpClose:
		if len(payload) == 0 {
			c.mu.Lock()
			f.echo = true
			c.mu.Unlock()
			return io.EOF
		}
		code, reason := ws.ParseCloseFrameData(payload)
		if len(payload) == 1 || ws.CheckCloseFrameData(code, reason) != nil {
			return f.refuse(c, errCloseFrame)
		}
		c.mu.Lock()
		f.code = code
		c.mu.Unlock()
		return io.EOF
	}
	return nil
}

// take gives the next frames to be sent, nil if there are none. c.mu is held.
func (f *framer) take(c *Conn) *buffer {
	switch {
	case f.response != nil:
		b := &buffer{b: f.response}
		f.response = nil
		return b
	case !f.open:
		return nil
	case len(f.pong) > 0:
		b := newBuffer(len(f.pong))
		b.b = append(b.b, f.pong...)
		f.pong = f.pong[:0]
		return b
	case c.out != nil:
		return frames(c.takeOutput())
	case c.closing && !f.ended:
		f.ended = true
		return f.closeFrame(c.cause)
	}
	return nil
}

// waiting says whether there is something besides c.out. c.mu is held.
func (f *framer) waiting() bool { return f.response != nil || f.open && len(f.pong) > 0 }

// closeFrame is what the connection ends with; nothing if the peer hung up
// without one.
func (f *framer) closeFrame(cause error) *buffer {
	switch {
	case f.echo:
		return &buffer{b: []byte{0x88, 0}}
	case f.code == 0 && cause == io.EOF:
		return nil
	case f.code == 0:
		f.code = ws.StatusNormalClosure
	}
	return &buffer{b: []byte{0x88, 2, byte(f.code >> 8), byte(f.code)}}
}

// frames gives every packet in b, which begin at frameRoom, the header of a
// frame. It takes b over.
func frames(b *buffer) *buffer {
	packets := b.b[frameRoom:]
	var header [frameRoom]byte
	if n := packetLength(packets); n == len(packets) { // in place
		h := appendHeader(header[:0], n)
		b.off = frameRoom - len(h)
		copy(b.b[b.off:], h)
		return b
	}
	to := newBuffer(len(packets))
	for len(packets) > 0 {
		n := packetLength(packets)
		to.grow(frameRoom + n)
		to.b = append(appendHeader(to.b, n), packets[:n]...)
		packets = packets[n:]
	}
	b.free()
	return to
}

// packetLength is the length of the first packet in b, all of b if that does not
// begin with a whole one.
func packetLength(b []byte) int {
	n := 0
	for i := 1; i < min(len(b), 5); i++ {
		n |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return min(len(b), 1+i+n)
		}
	}
	return len(b)
}

// appendHeader appends the header of one final binary frame with n bytes of
// payload.
func appendHeader(b []byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, 0x82, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0x82, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0x82, 127), uint64(n))
}
