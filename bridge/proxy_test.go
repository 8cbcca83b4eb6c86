package bridge

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// conversation reads what is expected and writes what is to be answered, in turns.
func conversation(t *testing.T, turns ...string) func(net.Conn) {
	return func(conn net.Conn) {
		for i := 0; i < len(turns); i += 2 {
			got := make([]byte, len(turns[i]))
			if n, err := io.ReadFull(conn, got); err != nil || string(got) != turns[i] {
				t.Errorf("proxy got %q, %v, want %q", got[:n], err, turns[i])
				return
			}
			io.WriteString(conn, turns[i+1])
		}
		io.Copy(conn, conn)
	}
}

func TestProxy(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		name, scheme string
		host         string // of the server
		login        bool
		turns        []string
		err          string
	}{
		{"HTTP", "http", "cloud.example", false, []string{
			"CONNECT cloud.example:1883 HTTP/1.1\r\nHost: cloud.example:1883\r\n\r\n", "HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n"}, ""},
		{"HTTP with login", "http", "[2001:db8::1]:99", true, []string{
			"CONNECT [2001:db8::1]:99 HTTP/1.1\r\nHost: [2001:db8::1]:99\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n", "HTTP/1.0 200\r\n\r\n"}, ""},
		{"HTTP login refused", "http", "cloud.example", true, []string{"CONNECT ", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"}, errProxyLogin.Error()},
		{"HTTP login refused otherwise", "http", "cloud.example", true, []string{"CONNECT ", "HTTP/1.1 401 Unauthorized\r\n\r\n"}, errProxyLogin.Error()},
		{"HTTP refuses", "http", "cloud.example", false, []string{"CONNECT ", "HTTP/1.1 403 Forbidden\r\n\r\n"}, `refuses: "403 Forbidden"`},
		{"no HTTP", "http", "cloud.example", false, []string{"CONNECT ", "220 mail.example ESMTP\r\n\r\n"}, "is none for HTTP"},
		{"HTTP without end", "http", "cloud.example", false, []string{"CONNECT ", "HTTP/1.1 200 " + strings.Repeat("x", maxProxyAnswer)}, "no end"},
		{"SOCKS5", "socks5", "cloud.example", false, []string{
			"\x05\x01\x00", "\x05\x00",
			"\x05\x01\x00\x03\x0dcloud.example\x07\x5b", "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"}, ""},
		{"SOCKS5 with login", "socks5", "192.0.2.1:99", true, []string{
			"\x05\x02\x00\x02", "\x05\x02",
			"\x01\x02me\x06secret", "\x01\x00",
			"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x63", "\x05\x00\x00\x03\x04name\x00\x50"}, ""},
		{"SOCKS5 to IPv6", "socks5", "[2001:db8::1]", false, []string{
			"\x05\x01\x00", "\x05\x00",
			"\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x07\x5b", "\x05\x00\x00\x04" + strings.Repeat("a", 16) + "\x00\x50"}, ""},
		{"SOCKS5 wants login", "socks5", "cloud.example", false, []string{"\x05\x01\x00", "\x05\xff"}, errProxyLogin.Error()},
		{"SOCKS5 login refused", "socks5", "cloud.example", true, []string{"\x05\x02\x00\x02", "\x05\x02", "\x01\x02me\x06secret", "\x01\x01"}, errProxyLogin.Error()},
		{"SOCKS5 refuses", "socks5", "cloud.example", false, []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x0dcloud.example\x07\x5b", "\x05\x05\x00\x01\x00"}, "connection refused"},
		{"SOCKS5 refuses in its own way", "socks5", "cloud.example", false, []string{"\x05\x01\x00", "\x05\x00", "\x05\x01\x00\x03\x0dcloud.example\x07\x5b", "\x05\x77\x00\x01\x00"}, "119"},
		{"no SOCKS5", "socks5", "cloud.example", false, []string{"\x05\x01\x00", "HTTP"}, "unexpected protocol version"},
		{"a name too long", "socks5", long, false, []string{"\x05\x01\x00", "\x05\x00"}, "too long"},
		{"hangs up", "socks5", "cloud.example", false, []string{"\x05", ""}, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := upstreamServer(t, func(conn net.Conn) {
				if test.name == "hangs up" {
					io.ReadFull(conn, make([]byte, 3))
					return
				}
				conversation(t, test.turns...)(conn)
			})
			p := &Path{Proxy: &url.URL{Scheme: test.scheme, Host: addr}}
			if test.login {
				p.ProxyUsername, p.ProxyPassword = "me", []byte("secret")
			}
			c, err := p.dial(t.Context(), &url.URL{Scheme: "mqtt", Host: test.host}, nil)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v, want one of %s that says %q", err, addr, test.err)
				}
				if (hint(err) != "") != errors.Is(err, errProxyLogin) {
					t.Errorf("hint %q for %v", hint(err), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			wantEcho(t, c, 5000)
		})
	}
}

func TestProxyThatSaysNothing(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	addr := upstreamServer(t, func(net.Conn) { <-silent })
	for _, scheme := range []string{"http", "socks5"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		p := &Path{Proxy: &url.URL{Scheme: scheme, Host: addr}}
		if _, err := p.dial(ctx, &url.URL{Scheme: "mqtt", Host: "cloud.example"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// A nameServer answers questions for A with addr, which may change.
type nameServer struct {
	conn net.PacketConn

	mu     sync.Mutex
	addr   netip.Addr // invalid: say nothing
	asked  int
	within time.Duration // the longest that a question had time
}

func newNameServer(t *testing.T) *nameServer {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 512); ; {
			size, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.asked++
			addr := n.addr
			n.mu.Unlock()
			if addr.IsValid() {
				conn.WriteTo(answerName(b[:size], addr), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return n
}

// answerName answers a question for A; those for AAAA get none (RFC 1035, 4.1).
func answerName(question []byte, addr netip.Addr) []byte {
	end := 12
	for question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 1 + 4
	b := append([]byte(nil), question[:end]...)
	b[2], b[3] = b[2]|0x80, 0x80 // an answer, and recursion is to be had
	clear(b[6:12])
	if binary.BigEndian.Uint16(question[end-4:]) == 1 {
		b[7] = 1
		b = append(b, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		b = append(b, addr.AsSlice()...)
	}
	return b
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		end, _ := ctx.Deadline()
		n.mu.Lock()
		n.within = max(n.within, time.Until(end))
		n.mu.Unlock()
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func TestNamesAreResolvedAgain(t *testing.T) {
	n := newNameServer(t)
	p := &Path{resolver: n.resolver()}
	addr := upstreamServer(t, func(conn net.Conn) { io.Copy(conn, conn) })
	_, port, _ := net.SplitHostPort(addr)
	u := &url.URL{Scheme: "mqtt", Host: "cloud.example:" + port}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.dial(ctx, u, nil); err == nil || ctx.Err() == nil {
		t.Errorf("a name server that says nothing: %v", err)
	}
	if n.within > patience {
		t.Errorf("a question had %v, want %v at most", n.within, patience)
	}
	for i, to := range []string{"127.0.0.2", "127.0.0.1"} { // nobody listens at the first
		n.mu.Lock()
		n.addr = netip.MustParseAddr(to)
		n.mu.Unlock()
		c, err := p.dial(t.Context(), u, nil)
		if (err == nil) != (i == 1) {
			t.Errorf("with the address %s: %v", to, err)
		}
		if err == nil {
			wantEcho(t, c, 100)
			c.Close()
		}
	}
}

func TestPathThroughSystem(t *testing.T) {
	addr := upstreamServer(t, func(conn net.Conn) {
		if host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); host != "127.0.0.1" {
			io.WriteString(conn, host)
		}
		io.Copy(conn, conn)
	})
	u := &url.URL{Scheme: "mqtt", Host: addr}
	c, err := (&Path{Source: netip.MustParseAddr("127.0.0.9")}).dial(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	from := make([]byte, 9)
	if io.ReadFull(c, from); string(from) != "127.0.0.9" {
		t.Errorf("came from %q", from)
	}
	c.Close()
	if _, err := (&Path{Source: netip.MustParseAddr("192.0.2.1")}).dial(t.Context(), u, nil); err == nil {
		t.Error("came from another's address")
	}
	c, err = (&Path{Interface: "lo"}).dial(t.Context(), u, nil)
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, 100)
	c.Close()
	if _, err := (&Path{Interface: "none0"}).dial(t.Context(), u, nil); err == nil || !strings.Contains(err.Error(), "none0: there is none of that name") {
		t.Errorf("through an interface that is not: %v", err)
	}
}

func TestIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			io.Copy(conn, conn)
		}
	}()
	c, err := Dial(t.Context(), &url.URL{Scheme: "mqtt", Host: ln.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, 100)
	c.Close()
}
