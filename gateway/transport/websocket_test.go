package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// webSocket is the client's end of a WebSocket, as plain bytes.
type webSocket struct {
	net.Conn
	r io.Reader

	mu   sync.Mutex // one frame at a time
	left []byte
}

func dialWebSocket(t testing.TB, nc net.Conn) *webSocket {
	c, err := upgradeWebSocket(nc)
	if err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	return c
}

func upgradeWebSocket(nc net.Conn) (*webSocket, error) {
	u := &url.URL{Scheme: "ws", Host: "gateway", Path: "/mqtt", RawQuery: "x=y"}
	br, hs, err := ws.Dialer{Protocols: []string{"other", "mqtt"}}.Upgrade(nc, u)
	if err != nil {
		return nil, err
	}
	if hs.Protocol != "mqtt" {
		return nil, fmt.Errorf("subprotocol is %q", hs.Protocol)
	}
	c := &webSocket{Conn: nc, r: nc}
	if br != nil {
		c.r = br
	}
	return c, nil
}

func (c *webSocket) Read(p []byte) (int, error) {
	for len(c.left) == 0 {
		b, op, err := wsutil.ReadServerData(struct {
			io.Reader
			io.Writer
		}{c.r, io.Discard})
		if _, ok := err.(wsutil.ClosedError); ok {
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		if op != ws.OpBinary {
			panic(op)
		}
		c.left = b
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *webSocket) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(p), wsutil.WriteClientBinary(c.Conn, p)
}

func TestUpgradeRefused(t *testing.T) {
	const rest = "Host: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	tr := start(t, Config{}, &recorder{receive: echo})
	addr := listen(t, tr, "ws")
	for _, x := range []struct{ what, request, status string }{
		{"agreed", "GET /mqtt HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: mqtt\r\n\r\n", "101"},
		{"of 3.1", "GET /mqtt HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: x, mqttv3.1\r\n\r\n", "101"},
		{"in two headers", "GET /mqtt HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", "101"},
		{"other path", "GET /mqtt2 HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: mqtt\r\n\r\n", "404"},
		{"no subprotocol", "GET /mqtt HTTP/1.1\r\n" + rest + "\r\n", "400"},
		{"other subprotocol", "GET /mqtt HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: amqp\r\n\r\n", "400"},
		{"no upgrade", "GET /mqtt HTTP/1.1\r\nHost: gateway\r\n\r\n", "400"},
		{"POST", "POST /mqtt HTTP/1.1\r\n" + rest + "Sec-WebSocket-Protocol: mqtt\r\n\r\n", "405"},
		{"not HTTP", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\r\n\r\n", "400"},
		{"too long", "GET /mqtt HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", maxUpgrade/6) + rest + "\r\n", "431"},
		{"a long line", "GET /" + strings.Repeat("a", maxUpgrade), "431"},
	} {
		c := dialTCP(t, addr)
		for b := []byte(x.request); len(b) > 0; b = b[min(len(b), 100):] {
			c.Write(b[:min(len(b), 100)])
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+x.status) {
			t.Errorf("%s: got %q, %v; want %s", x.what, line, err, x.status)
		}
		if x.status != "101" {
			wantGone(t, x.what, c)
		}
		c.Close()
	}
}

// Frames as a client sends them: the mask is 01020304, or 0.
func TestFrames(t *testing.T) {
	const big = 70_000
	for _, x := range []struct {
		what string
		in   string // frames in hex
		out  string // what the handler sent back, in one frame or several
		code string // of the close frame; empty: none
	}{
		{"one frame", "82 85 01020304 69676f686e", "hello", ""},
		{"two packets in one, one in two", "82 83 00000000 616263 82 81 00000000 64", "abcd", ""},
		{"fragments", "02 81 00000000 61 00 81 00000000 62 80 81 00000000 63", "abc", ""},
		{"empty fragments", "02 80 00000000 80 80 00000000 82 81 00000000 63", "c", ""},
		{"pong unasked", "8a 81 00000000 78 82 81 00000000 61", "a", ""},
		{"length in two bytes", "82 fe 0003 00000000 616263", "abc", ""},
		{"length in eight bytes", "82 ff 0000000000000003 00000000 616263", "abc", ""},
		{"close", "82 81 00000000 61 88 82 00000000 03e8", "a", "03e8"},
		{"close going away, with a reason", "88 85 00000000 03e9 627965", "", "03e9"},
		{"close without a code", "88 80 00000000", "", "none"},
		{"what follows close", "88 80 00000000 82 81 00000000 61", "", "none"},

		{"text", "81 81 00000000 61", "", "03eb"},
		{"text after data", "82 81 00000000 61 81 81 00000000 61", "a", "03eb"},
		{"not masked", "82 01 61", "", "03ea"},
		{"reserved bit", "c2 81 00000000 61", "", "03ea"},
		{"reserved opcode", "83 81 00000000 61", "", "03ea"},
		{"reserved control opcode", "8b 80 00000000", "", "03ea"},
		{"continuation of nothing", "80 81 00000000 61", "", "03ea"},
		{"data between fragments", "02 81 00000000 61 82 81 00000000 62", "a", "03ea"},
		{"text between fragments", "02 81 00000000 61 81 81 00000000 62", "a", "03ea"},
		{"ping in fragments", "09 81 00000000 61", "", "03ea"},
		{"ping too long", "89 fe 007e 00000000", "", "03ea"},
		{"length negative", "82 ff 8000000000000000 00000000", "", "03ea"},
		{"close of one byte", "88 81 00000000 03", "", "03ea"},
		{"close with a reserved code", "88 82 00000000 03ed", "", "03ea"},
		{"close with a code of nobody", "88 82 00000000 0001", "", "03ea"},
		{"close with a bad reason", "88 83 00000000 03e8 ff", "", "03ea"},
	} {
		for _, step := range []int{1, big} {
			t.Run(x.what, func(t *testing.T) {
				tr := start(t, Config{}, &recorder{receive: echo})
				nc := dialTCP(t, listen(t, tr, "ws"))
				defer nc.Close()
				c := dialWebSocket(t, nc)
				in, err := hex.DecodeString(strings.ReplaceAll(x.in, " ", ""))
				if err != nil {
					t.Fatal(err)
				}
				for b := in; len(b) > 0; b = b[min(len(b), step):] {
					nc.Write(b[:min(len(b), step)])
				}
				if x.code == "" {
					want(t, "data", c, []byte(x.out))
					return
				}
				var got []byte
				for {
					h, err := ws.ReadHeader(c.r)
					if err != nil {
						t.Fatalf("no close frame: %v", err)
					}
					p := make([]byte, h.Length)
					io.ReadFull(c.r, p)
					if h.OpCode == ws.OpClose {
						code := hex.EncodeToString(p)
						if len(p) == 0 {
							code = "none"
						}
						if code != x.code {
							t.Errorf("closed with %s, want %s", code, x.code)
						}
						break
					}
					got = append(got, p...)
				}
				if string(got) != x.out {
					t.Errorf("got %q, want %q", got, x.out)
				}
				wantEnd(t, "after the close frame", c.r)
			})
		}
	}
}

// The mask goes on where it was, and its position does not count up with a frame
// that never ends.
func TestEndlessFrame(t *testing.T) {
	f := &framer{inside: true, op: ws.OpBinary, left: 1 << 62, mask: [4]byte{1, 2, 3, 4}}
	plain := noise(1000)
	masked := bytes.Clone(plain)
	ws.Cipher(masked, f.mask, 0)
	for n := 1; len(masked) > 0; n++ {
		n = min(n, len(masked))
		got, err := f.feed(nil, masked[:n])
		if err != nil || !bytes.Equal(got, plain[:n]) {
			t.Fatalf("piece of %d bytes: got %x, %v", n, got, err)
		}
		if f.at >= len(f.mask) {
			t.Fatalf("position %d in a mask of %d bytes", f.at, len(f.mask))
		}
		masked, plain = masked[n:], plain[n:]
	}
}

func TestPingBetweenFragments(t *testing.T) {
	tr := start(t, Config{}, &recorder{receive: echo})
	nc := dialTCP(t, listen(t, tr, "ws"))
	defer nc.Close()
	c := dialWebSocket(t, nc)
	nc.Write([]byte("\x02\x81\x00\x00\x00\x00a" + "\x89\x82\x00\x00\x00\x00hi" + "\x80\x81\x00\x00\x00\x00b"))
	var pong, data []byte
	for len(data) < 2 {
		h, err := ws.ReadHeader(c.r)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, h.Length)
		io.ReadFull(c.r, p)
		switch h.OpCode {
		case ws.OpPong:
			pong = append(pong, p...)
		case ws.OpBinary:
			data = append(data, p...)
		}
	}
	if string(pong) != "hi" || string(data) != "ab" {
		t.Errorf("pong %q, data %q", pong, data)
	}
}

// One who pings and never reads must not fill the memory with pongs.
func TestPingsDoNotPileUp(t *testing.T) {
	opened := make(chan *Conn, 1)
	tr := start(t, Config{}, &recorder{open: func(c *Conn) { opened <- c }})
	nc := dialTCP(t, listen(t, tr, "ws"))
	defer nc.Close()
	dialWebSocket(t, nc)
	c := <-opened
	pings := []byte(strings.Repeat("\x89\xfd\x00\x00\x00\x00"+strings.Repeat("p", 125), 1000))
	nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	for {
		if _, err := nc.Write(pings); err != nil {
			break
		}
	}
	if n := c.Pending(); n > 1000 {
		t.Errorf("%d bytes pending", n)
	}
}

// What follows the request in the same segment is not lost, and a header
// promises nothing: no memory for a length that has not come.
func TestPipelinedAndOversized(t *testing.T) {
	opened := make(chan *Conn, 1)
	tr := start(t, Config{}, &recorder{open: func(c *Conn) { opened <- c }, receive: echo})
	nc := dialTCP(t, listen(t, tr, "ws"))
	defer nc.Close()
	nc.Write([]byte("GET /mqtt HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n" +
		"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00abc"))
	br := bufio.NewReader(nc)
	for line := " "; line != "\r\n"; {
		var err error
		if line, err = br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	want(t, "the start of a frame of 2^63-1 bytes", br, []byte("\x82\x03abc"))
	c := <-opened
	if c.Wire() != "ws" || c.Remote() != nc.LocalAddr().String() {
		t.Errorf("wire %s, remote %s", c.Wire(), c.Remote())
	}
}

// Each packet has a frame of its own, however many go out at once: not all
// clients look for a second one.
func TestPacketPerFrame(t *testing.T) {
	const pingresp = "\xd0\x00"
	packets := []string{pingresp, "\x40\x02\x00\x01"}
	for _, n := range []int{123, 124, 125, 300, 70_000} {
		packets = append(packets, string(mqttPacket(noise(n))), pingresp)
	}
	for n := 1; n <= len(packets); n++ {
		sent := packets[len(packets)-n:]
		opened := make(chan *Conn, 1)
		tr := start(t, Config{}, &recorder{open: func(c *Conn) { opened <- c }})
		c := dialWebSocket(t, dialTCP(t, listen(t, tr, "ws")))
		send(<-opened, []byte(strings.Join(sent, "")))
		for i, packet := range sent {
			h, err := ws.ReadHeader(c.r)
			if err != nil {
				t.Fatal(err)
			}
			if h.OpCode != ws.OpBinary || !h.Fin || h.Length != int64(len(packet)) {
				t.Fatalf("frame %d of %d: %d bytes, want a packet of %d", i, n, h.Length, len(packet))
			}
			want(t, "the packet", c.r, []byte(packet))
		}
		c.Close()
	}
}

// Frames make more of the output than End counted: a handler that holds back for
// that is told when to go on.
func TestFramesRaiseHighWater(t *testing.T) {
	const pingresp = "\xd0\x00"
	opened, writable := make(chan *Conn, 1), make(chan struct{}, 8)
	tr := start(t, Config{}, &recorder{
		open:     func(c *Conn) { opened <- c },
		writable: func(c *Conn) { writable <- struct{}{} },
	})
	client, server := net.Pipe() // holds nothing
	defer client.Close()
	if !tr.admit() {
		t.Fatal("not admitted")
	}
	tr.startStream(server, wireWS, false)
	w := dialWebSocket(t, client)
	c := <-opened
	send(c, []byte(strings.Repeat(pingresp, (HighWater-1<<10)/len(pingresp))))
	if !settles(func() bool { return c.Pending() > HighWater }) {
		t.Fatalf("%d bytes pending", c.Pending())
	}
	go io.Copy(io.Discard, w.r)
	select {
	case <-writable:
	case <-time.After(time.Minute):
		t.Error("no Writable")
	}
}

// The end of the stream that comes in one read with data waits until the handler has
// taken that, however slowly it does.
func TestEndAfterData(t *testing.T) {
	for _, wire := range []string{"ws", "wss"} {
		got := ""
		cause := make(chan error, 1)
		tr := start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				got += string(b[:1])
				c.Yield()
				return 1, nil
			},
			closed: func(_ *Conn, err error) { cause <- err },
		})
		var nc net.Conn
		if wire == "ws" {
			nc = dialTCP(t, listen(t, tr, wire))
		} else {
			nc = dialTLS(t, tr, wire)
		}
		c := dialWebSocket(t, nc)
		end := ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
		c.Conn.Write(append(ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte("abc")))), end...))
		if err := <-cause; err != io.EOF || got != "abc" {
			t.Errorf("%s: got %q, %v", wire, got, err)
		}
	}
}

// The engine closes before the upgrade: the peer is told nothing, but not kept.
func TestCloseBeforeUpgrade(t *testing.T) {
	tr := start(t, Config{}, &recorder{open: func(c *Conn) { send(c, []byte("x")); c.Close() }})
	wantEnd(t, "closed before the upgrade", dialTCP(t, listen(t, tr, "ws")))
}

func TestNormalClosure(t *testing.T) {
	tr := start(t, Config{}, &recorder{})
	c := dialWebSocket(t, dialTCP(t, listen(t, tr, "ws")))
	defer c.Close()
	go tr.Close(context.Background())
	want(t, "the close frame of the server", c.r, []byte("\x88\x02\x03\xe8"))
	wantEnd(t, "after the close frame", c.r)
}
