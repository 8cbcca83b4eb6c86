package server

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"sluice/firmware-tests/conformance/suite"
)

// The opcodes of frames, RFC 6455.
const (
	continuation byte = 0x0
	textFrame    byte = 0x1
	binaryFrame  byte = 0x2
	closeFrame   byte = 0x8
	pingFrame    byte = 0x9
	pongFrame    byte = 0xa

	final  byte = 0x80 // the last of a message
	masked byte = 0x80 // as all of a client's are
)

// frame is a frame of a client. first is the opcode, with final or without.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x00, 0xff, 0x9a}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// webSocketConn is a WebSocket as the connection under MQTT: each Write is one binary
// frame, Read gives what is in those of the server, and the end once it sends a close
// frame.
type webSocketConn struct {
	net.Conn
	t    *suite.T
	in   *bufio.Reader
	left []byte // of a frame

	pongs     []string
	closeCode uint16 // of the server's close frame, 0: none came
}

func (w *webSocketConn) Write(b []byte) (int, error) {
	if _, err := w.Conn.Write(frame(final|binaryFrame, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// raw sends bytes as they are. That the server has closed is seen by reading.
func (w *webSocketConn) raw(b ...[]byte) {
	w.SetWriteDeadline(time.Now().Add(suite.Patience))
	for _, b := range b {
		w.Conn.Write(b)
	}
}

func (w *webSocketConn) Read(b []byte) (int, error) {
	for len(w.left) == 0 {
		if w.closeCode != 0 {
			return 0, io.EOF
		}
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, w.left)
	w.left = w.left[n:]
	return n, nil
}

// next reads one frame and holds it against RFC 6455 and [MQTT-6.0.0-1].
func (w *webSocketConn) next() error {
	head := make([]byte, 2, 10)
	if _, err := io.ReadFull(w.in, head); err != nil {
		return err
	}
	size := int(head[1] & 0x7f)
	if more := map[int]int{126: 2, 127: 8}[size]; more > 0 {
		head = head[:2+more]
		if _, err := io.ReadFull(w.in, head[2:]); err != nil {
			return err
		}
		size = 0
		for _, c := range head[2:] {
			size = size<<8 | int(c)
		}
	}
	if head[1]&masked != 0 || head[0]&0x70 != 0 || size > 1<<28 {
		w.t.Fatalf("a frame of the server begins % x", head)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(w.in, payload); err != nil {
		return err
	}
	switch head[0] & 0xf {
	case binaryFrame, continuation:
		w.left = payload
	case pongFrame:
		w.pongs = append(w.pongs, string(payload))
	case closeFrame:
		w.closeCode = 1005 // no code
		if size >= 2 {
			w.closeCode = binary.BigEndian.Uint16(payload)
		}
	case pingFrame:
		w.raw(frame(final|pongFrame, payload))
	default:
		w.t.Fatalf("a frame of the server begins % x: neither binary nor control", head)
	}
	return nil
}

// upgrade asks for a WebSocket with sub-protocols, none if there are none. It returns
// the response too; the connection is good if that is 101.
func upgrade(t *suite.T, protocols ...string) (*webSocketConn, *http.Response) {
	t.Need(t.Target.WebSocket, "listener for WebSocket")
	path := t.Target.Path
	if path == "" {
		path = "/mqtt"
	}
	nc, err := net.DialTimeout("tcp", t.Target.WebSocket, suite.Patience)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(suite.Patience))
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	request := "GET " + path + " HTTP/1.1\r\nHost: " + t.Target.WebSocket + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	if len(protocols) > 0 {
		request += "Sec-WebSocket-Protocol: " + strings.Join(protocols, ", ") + "\r\n"
	}
	fmt.Fprint(nc, request+"\r\n")
	w := &webSocketConn{Conn: nc, t: t, in: bufio.NewReader(nc)}
	response, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return w, &http.Response{} // closed instead of an answer
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if want := base64.StdEncoding.EncodeToString(sum[:]); response.StatusCode == 101 && response.Header.Get("Sec-WebSocket-Accept") != want {
		t.Fatalf("Sec-WebSocket-Accept is %q, want %q", response.Header.Get("Sec-WebSocket-Accept"), want)
	}
	return w, response
}

// webSocketTo is a WebSocket for MQTT, and a connection over it.
func webSocketTo(t *suite.T) (*webSocketConn, *suite.Conn) {
	w, response := upgrade(t, "mqtt")
	if response.StatusCode != 101 {
		t.Fatalf("the request for a WebSocket is answered by %q", response.Status)
	}
	return w, t.Over(w)
}
