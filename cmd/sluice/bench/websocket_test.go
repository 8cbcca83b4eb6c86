package bench

import (
	"bytes"
	"math/rand"
	"strings"
	"testing"
)

// TestWSReader feeds frames cut at random places.
func TestWSReader(t *testing.T) {
	var stream, want []byte
	frame := func(opcode byte, payload []byte) {
		switch n := len(payload); {
		case n < 126:
			stream = append(stream, 0x80|opcode, byte(n))
		case n < 1<<16:
			stream = append(stream, 0x80|opcode, 126, byte(n>>8), byte(n))
		default:
			stream = append(stream, 0x80|opcode, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		stream = append(stream, payload...)
		if opcode == wsBinary {
			want = append(want, payload...)
		}
	}
	for i, n := range []int{0, 1, 125, 126, 300, 65535, 65536, 70000, 3} {
		frame(wsBinary, bytes.Repeat([]byte{byte('a' + i)}, n))
		frame(wsPing, []byte("hello"))
	}
	rnd := rand.New(rand.NewSource(3))
	for range 50 {
		var r wsReader
		var got []byte
		for rest := bytes.Clone(stream); len(rest) > 0; {
			n := min(1+rnd.Intn(9)*rnd.Intn(3000), len(rest))
			m, err := r.feed(rest[:n])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rest[:m]...)
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes out, not %d or not the same", len(got), len(want))
		}
		if !r.pinged || string(r.pong) != "hello" {
			t.Fatal("ping not seen")
		}
	}
	var r wsReader
	if _, err := r.feed([]byte{0x88, 0}); err != errWSClosed {
		t.Errorf("close frame gives %v", err)
	}
	for _, b := range [][]byte{
		{0x82, 0x81, 0, 0, 0, 0, 'a'},              // masked
		{0x89, 126, 1, 0},                          // a ping of 256 bytes
		{0x82, 127, 0, 0, 0, 0, 0x80, 0, 0, 0},     // 2 GiB
		{0x82, 127, 0xff, 0, 0, 0, 0x80, 0, 0, 17}, // and more
	} {
		var r wsReader
		if _, err := r.feed(b); err != errWSFrame {
			t.Errorf("% x gives %v", b, err)
		}
	}
}

func TestWSHeader(t *testing.T) {
	for n, want := range map[int][]byte{
		5:       {0x82, 0x85, 0, 0, 0, 0},
		200:     {0x82, 0xFE, 0, 200, 0, 0, 0, 0},
		1 << 16: {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
	} {
		buf := make([]byte, wsReserve)
		from := wsPutHeader(buf, wsBinary, n)
		if !bytes.Equal(buf[from:], want) {
			t.Errorf("%d: % x", n, buf[from:])
		}
	}
}

func TestWSResponse(t *testing.T) {
	// The accept value for wsKey, computed apart from this program.
	good := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nsec-websocket-accept: ACCEPT\r\n\r\n"
	if n, err := wsResponse([]byte(good[:20])); n != 0 || err != nil {
		t.Errorf("part of an answer: %d, %v", n, err)
	}
	if _, err := wsResponse([]byte(good)); err == nil {
		t.Error("wrong accept value taken")
	}
	good = strings.Replace(good, "ACCEPT", "haixjBghirHiSdpuuBy/vOdppsg=", 1)
	if n, err := wsResponse([]byte(good + "more")); n != len(good) || err != nil {
		t.Errorf("answer: %d, %v", n, err)
	}
	if _, err := wsResponse([]byte("HTTP/1.1 404 Not Found\r\n\r\n")); err == nil {
		t.Error("refusal taken")
	}
}
