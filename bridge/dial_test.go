package bridge

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// upstreamServer accepts one connection at a time on loopback and hands it to serve.
func upstreamServer(t *testing.T, serve func(net.Conn)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// dialTo dials what cfg says, as a bridge does.
func dialTo(t *testing.T, scheme, addr string, cfg *tls.Config) (io.ReadWriteCloser, error) {
	b, err := New(Config{
		Name: "cloud", ClientID: "site7", URL: &url.URL{Scheme: scheme, Host: addr}, TLS: cfg,
		Up: []Rule{{Filter: "#", QoS: 1}}, Dial: func() io.ReadWriteCloser { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.dial(t.Context(), b.cfg.URL)
}

// certificate makes a certificate for 127.0.0.1 and a client's trust in it.
func certificate(t *testing.T) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func wantEcho(t *testing.T, c io.ReadWriteCloser, size int) {
	t.Helper()
	sent := bytes.Repeat([]byte("0123456789"), size/10)
	kept := bytes.Clone(sent)
	go c.Write(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, kept) || !bytes.Equal(sent, kept) {
		t.Errorf("%d bytes do not come back as they were", size)
	}
}

func TestDialTLS(t *testing.T) {
	server, client := certificate(t)
	echo := func(conn net.Conn) { io.Copy(conn, conn) }
	addr := upstreamServer(t, func(conn net.Conn) { echo(tls.Server(conn, server)) })
	c, err := dialTo(t, "mqtts", addr, client)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, c, 100_000)
	c.Close()

	var unknown *tls.CertificateVerificationError
	if _, err := dialTo(t, "mqtts", addr, nil); !errors.As(err, &unknown) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// serveFrames echoes payload in frames of at most 100 bytes with pings between,
// and expects the pongs.
func serveFrames(t *testing.T, conn net.Conn) {
	request := ""
	up := ws.Upgrader{
		Protocol:  func(name []byte) bool { return string(name) == "mqtt" },
		OnRequest: func(uri []byte) error { request = string(uri); return nil },
	}
	if _, err := up.Upgrade(conn); err != nil {
		return
	}
	if request != "/mqtt" {
		t.Errorf("request for %q, want /mqtt", request)
	}
	for {
		h, err := ws.ReadHeader(conn)
		if err != nil {
			return
		}
		if err := ws.CheckHeader(h, ws.StateServerSide); err != nil {
			t.Error(err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode == ws.OpPong {
			if string(payload) != "still there?" {
				t.Errorf("PONG with %q", payload)
			}
			continue
		}
		op := ws.OpBinary
		for rest := payload; len(rest) > 0; op = ws.OpContinuation {
			part := rest[:min(len(rest), 100)]
			rest = rest[len(part):]
			ws.WriteFrame(conn, ws.NewFrame(op, len(rest) == 0, part))
			ws.WriteFrame(conn, ws.NewPingFrame([]byte("still there?")))
		}
	}
}

func TestDialWebSocket(t *testing.T) {
	addr := upstreamServer(t, func(conn net.Conn) { serveFrames(t, conn) })
	c, err := dialTo(t, "ws", addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{10, 120, 130, 5000, 70_000} {
		wantEcho(t, c, size)
	}
}

func TestDialSecureWebSocket(t *testing.T) {
	server, client := certificate(t)
	addr := upstreamServer(t, func(conn net.Conn) { serveFrames(t, tls.Server(conn, server)) })
	c, err := dialTo(t, "wss", addr, client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantEcho(t, c, 5000)
}

func TestWebSocketFaults(t *testing.T) {
	frames := func(b ...byte) func(net.Conn) {
		return func(conn net.Conn) {
			up := ws.Upgrader{Protocol: func([]byte) bool { return true }}
			if _, err := up.Upgrade(conn); err == nil {
				conn.Write(b)
				io.Copy(io.Discard, conn)
			}
		}
	}
	for _, test := range []struct {
		name  string
		serve func(net.Conn)
		want  string
	}{
		{"text frame", frames(0x81, 1, 'a'), errNotBinary.Error()},
		{"orphaned continuation", frames(0x80, 1, 'a'), "continuation"},
		{"new message inside another", frames(0x02, 0, 0x82, 1, 'a'), "continuation"},
		{"masked", frames(0x82, 0x81, 0, 0, 0, 0, 'a'), "masked"},
		{"close", frames(0x88, 2, 3, 0xe8), io.EOF.Error()},
		{"no subprotocol", func(conn net.Conn) { (ws.Upgrader{}).Upgrade(conn) }, errSubprotocol.Error()},
		{"no WebSocket", func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, "404"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := dialTo(t, "ws", upstreamServer(t, test.serve), nil)
			if err == nil {
				defer c.Close()
				_, err = c.Read(make([]byte, 10))
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestDialEnds(t *testing.T) {
	silent := make(chan struct{})
	addr := upstreamServer(t, func(net.Conn) { <-silent })
	defer close(silent)
	for _, scheme := range []string{"mqtts", "ws", "wss"} {
		b, err := New(Config{
			Name: "cloud", ClientID: "site7", URL: &url.URL{Scheme: scheme, Host: addr},
			Up: []Rule{{Filter: "#", QoS: 1}}, Dial: func() io.ReadWriteCloser { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if c, err := b.dial(ctx, b.cfg.URL); err == nil {
			c.Close()
			t.Errorf("%s: a server that says nothing is taken for one", scheme)
		}
		cancel()
	}
}
