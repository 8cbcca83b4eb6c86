package bench

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
)

// The client side of RFC 6455, as far as MQTT over WebSocket needs it.

const (
	wsKey       = "c2x1aWNlLWJlbmNobWFyaw==" // any 16 bytes in base64
	wsGUID      = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	wsReserve   = 14 // room for the longest client frame header
	wsBinary    = 0x2
	wsClose     = 0x8
	wsPing      = 0x9
	wsPong      = 0xA
	wsMaxHeader = 64 << 10
)

var (
	errWSClosed = errors.New("the server closes the WebSocket")
	errWSFrame  = errors.New("the server sends a WebSocket frame that is masked or too long")
)

// wsRequest returns the opening handshake. A URL without a path means /mqtt, where servers
// have it.
func wsRequest(u *url.URL) []byte {
	path := u.RequestURI()
	if u.Path == "" {
		path = "/mqtt"
	}
	return []byte("GET " + path + " HTTP/1.1\r\n" +
		"Host: " + u.Host + "\r\n" +
		"Upgrade: websocket\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + wsKey + "\r\n" +
		"Sec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
}

// wsResponse checks the server's answer at the start of b. It returns the
// length of the answer, or 0 when it is not complete yet.
func wsResponse(b []byte) (int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > wsMaxHeader {
			return 0, errors.New("websocket handshake answer too long")
		}
		return 0, nil
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	if !strings.HasPrefix(lines[0], "HTTP/1.1 101") {
		return 0, fmt.Errorf("websocket handshake refused: %s", lines[0])
	}
	sum := sha1.Sum([]byte(wsKey + wsGUID))
	want := base64.StdEncoding.EncodeToString(sum[:])
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Sec-WebSocket-Accept") && strings.TrimSpace(value) == want {
			return end + 4, nil
		}
	}
	return 0, errors.New("websocket handshake without a valid Sec-WebSocket-Accept")
}

// wsPutHeader writes the header of a final frame of n payload bytes, masked
// with the zero key, so that it ends at buf[wsReserve]. It returns where the
// header starts.
func wsPutHeader(buf []byte, opcode byte, n int) int {
	var h [wsReserve]byte
	h[0] = 0x80 | opcode
	used := 2
	switch {
	case n < 126:
		h[1] = 0x80 | byte(n)
	case n < 1<<16:
		h[1] = 0x80 | 126
		binary.BigEndian.PutUint16(h[2:], uint16(n))
		used = 4
	default:
		h[1] = 0x80 | 127
		binary.BigEndian.PutUint64(h[2:], uint64(n))
		used = 10
	}
	used += 4 // masking key 0
	start := wsReserve - used
	copy(buf[start:wsReserve], h[:used])
	return start
}

// wsReader takes the frames out of a byte stream.
type wsReader struct {
	left    int    // payload bytes of the current frame still to come
	opcode  byte   // of the current frame
	head    []byte // an incomplete frame header
	control []byte // payload of the current control frame
	pong    []byte // payload of a ping to be answered
	pinged  bool
}

// feed moves the data payload found in b to its front and returns its length.
func (r *wsReader) feed(b []byte) (int, error) {
	out, in := 0, 0
	for in < len(b) {
		if r.left == 0 {
			used, err := r.header(b[in:])
			if err != nil {
				return out, err
			}
			in += used
			continue
		}
		n := min(r.left, len(b)-in)
		if r.opcode >= 8 {
			r.control = append(r.control, b[in:in+n]...)
		} else {
			out += copy(b[out:], b[in:in+n])
		}
		in += n
		r.left -= n
		if r.left == 0 {
			if err := r.end(); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// header takes a frame's header, or one byte of it if it is not all there, from
// the start of b and returns how many bytes that is.
func (r *wsReader) header(b []byte) (used int, err error) {
	used = 1
	if len(r.head) > 0 {
		r.head = append(r.head, b[0])
		b = r.head
	}
	opcode, n, size, ok := wsHeader(b)
	if !ok {
		if len(r.head) == 0 {
			r.head = append(r.head, b[0])
		}
		return used, nil
	}
	if len(r.head) == 0 {
		used = size
	}
	r.head = r.head[:0]
	if n < 0 || opcode >= 8 && n > 125 {
		return 0, errWSFrame
	}
	r.opcode, r.left = opcode, n
	if n == 0 {
		return used, r.end()
	}
	return used, nil
}

// end acts on a frame that is whole.
func (r *wsReader) end() error {
	switch r.opcode {
	case wsClose:
		return errWSClosed
	case wsPing:
		r.pong = append(r.pong[:0], r.control...)
		r.pinged = true
	}
	r.control = r.control[:0]
	return nil
}

// wsHeader decodes a frame's header; ok is false when b is too short, and n is
// negative when the frame is masked, which a server's is not, or larger than any
// buffer.
func wsHeader(b []byte) (opcode byte, n, used int, ok bool) {
	if len(b) < 2 {
		return 0, 0, 0, false
	}
	opcode, used = b[0]&0x0f, 2
	length := uint64(b[1] & 0x7f)
	switch length {
	case 126:
		if used = 4; len(b) < used {
			return 0, 0, 0, false
		}
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if used = 10; len(b) < used {
			return 0, 0, 0, false
		}
		length = binary.BigEndian.Uint64(b[2:])
	}
	if b[1] >= 0x80 || length > math.MaxInt32 {
		return opcode, -1, used, true
	}
	return opcode, int(length), used, true
}
