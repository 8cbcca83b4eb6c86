package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var proxyHeaders = []struct {
	what   string
	header string // version 2 in hex, without the signature, if it begins with a space
	peer   string // empty: none told; "bad": refused
}{
	{"TCP4", "PROXY TCP4 192.0.2.7 192.0.2.1 51000 1883\r\n", "192.0.2.7:51000"},
	{"TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 51000 1883\r\n", "[2001:db8::7]:51000"},
	{"TCP6 mapped", "PROXY TCP6 ::ffff:192.0.2.7 ::1 51000 1883\r\n", "192.0.2.7:51000"},
	{"UNKNOWN", "PROXY UNKNOWN\r\n", ""},
	{"UNKNOWN and more", "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", ""},
	{"of UDP", "PROXY UDP4 192.0.2.7 192.0.2.1 51000 1883\r\n", "bad"},
	{"port too high", "PROXY TCP4 192.0.2.7 192.0.2.1 65536 1883\r\n", "bad"},
	{"port negative", "PROXY TCP4 192.0.2.7 192.0.2.1 -1 1883\r\n", "bad"},
	{"port missing", "PROXY TCP4 192.0.2.7 192.0.2.1 51000\r\n", "bad"},
	{"destination bad", "PROXY TCP4 192.0.2.7 x 51000 1883\r\n", "bad"},
	{"of the other family", "PROXY TCP4 2001:db8::7 2001:db8::1 51000 1883\r\n", "bad"},
	{"with a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 51000 1883\r\n", "bad"},
	{"two spaces", "PROXY TCP4  192.0.2.7 192.0.2.1 51000 1883\r\n", "bad"},
	{"in small letters", "proxy TCP4 192.0.2.7 192.0.2.1 51000 1883\r\n", "bad"},
	{"without an end", "PROXY UNKNOWN " + strings.Repeat("x", 100), "bad"},

	{"v2 TCP4", " 21 11 000c c0000207 c0000201 c738 075b", "192.0.2.7:51000"},
	{"v2 TCP6", " 21 21 0024 20010db8000000000000000000000007 20010db8000000000000000000000001 c738 075b", "[2001:db8::7]:51000"},
	{"v2 more fields", " 21 11 0013 c0000207 c0000201 c738 075b 04 0004 00000000", "192.0.2.7:51000"},
	{"v2 unix", " 21 31 00d8" + strings.Repeat("00", 216), ""},
	{"v2 unknown", " 21 00 0000", ""},
	{"v2 UDP", " 21 12 000c c0000207 c0000201 c738 075b", ""},
	{"v2 LOCAL", " 20 00 0000", ""},
	{"v2 LOCAL with an address", " 20 11 000c c0000207 c0000201 c738 075b", ""},
	{"v2 too short", " 21 11 000b c0000207 c0000201 c738 07", "bad"},
	{"v2 of version 3", " 31 11 000c c0000207 c0000201 c738 075b", "bad"},
	{"v2 unknown command", " 22 11 000c c0000207 c0000201 c738 075b", "bad"},
	{"v2 too long", " 21 11 ffff c0000207", "bad"},

	{"none", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "bad"},
	{"half a signature", "\r\n\r\nhello world", "bad"},
}

func proxyHeader(t *testing.T, header string) []byte {
	if !strings.HasPrefix(header, " ") {
		return []byte(header)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(header, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(proxyV2), b...)
}

func TestParseProxy(t *testing.T) {
	for _, x := range proxyHeaders {
		b := proxyHeader(t, x.header)
		n, peer, err := parseProxy(append(bytes.Clone(b), "more"...))
		if (err != nil) != (x.peer == "bad") {
			t.Errorf("%s: %v", x.what, err)
		}
		if err != nil {
			continue
		}
		got := ""
		if peer.IsValid() {
			got = peer.String()
		}
		if n != len(b) || got != x.peer {
			t.Errorf("%s: %d of %d bytes, peer %q, want %q", x.what, n, len(b), got, x.peer)
		}
		for cut := range b {
			if n, _, err := parseProxy(b[:cut]); n != 0 || err != nil {
				t.Errorf("%s: the first %d bytes: %d, %v", x.what, cut, n, err)
			}
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	for _, x := range proxyHeaders {
		if !strings.HasPrefix(x.header, " ") {
			f.Add([]byte(x.header))
		}
	}
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\xc7\x38\x07\x5b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, peer, err := parseProxy(b)
		if n < 0 || n > len(b) || err != nil && (n != 0 || peer.IsValid()) {
			t.Errorf("%d of %d, %v, %v", n, len(b), peer, err)
		}
		if len(b) > maxProxyHeader && n == 0 && err == nil {
			t.Error("waits for more than the bound")
		}
	})
}

func TestProxied(t *testing.T) {
	for _, network := range []string{"tcp", "ws", "tls", "wss", "stream"} {
		for _, byByte := range []bool{false, true} {
			for _, x := range proxyHeaders {
				if x.what != "TCP4" && x.what != "v2 more fields" && x.what != "v2 LOCAL" && x.what != "none" {
					continue
				}
				t.Run(network+"/"+x.what, func(t *testing.T) {
					remote := make(chan string, 1)
					tr := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, &recorder{
						receive: func(c *Conn, b []byte) (int, error) { remote <- c.Remote(); return echo(c, b) },
					})
					var nc net.Conn
					switch network {
					case "stream":
						client, server := tcpPair(t)
						tr.Serve(server)
						nc = client
					case "tls", "wss":
						nc = dialTCP(t, listenTLS(t, tr, network))
					default:
						nc = dialTCP(t, listen(t, tr, network))
					}
					defer nc.Close()
					h := proxyHeader(t, x.header)
					if byByte {
						for i := range h {
							nc.Write(h[i : i+1])
						}
					} else if network == "tcp" {
						h = append(h, 'x') // together with what follows
						nc.Write(h)
					} else {
						nc.Write(h)
					}
					if x.peer == "bad" {
						wantGone(t, "a connection without the header", nc)
						return
					}
					var c io.ReadWriter = nc
					if network == "tls" || network == "wss" {
						tc := tls.Client(nc, &tls.Config{RootCAs: pool(serverCert()), ServerName: "gateway"})
						c, nc = tc, tc
					}
					if network == "ws" || network == "wss" {
						c = dialWebSocket(t, nc)
					}
					if byByte || network != "tcp" {
						c.Write([]byte("x"))
					}
					want(t, "echo", c, []byte("x"))
					peer := x.peer
					if peer == "" {
						peer = nc.LocalAddr().String()
					}
					if got := <-remote; got != peer {
						t.Errorf("remote is %s, want %s", got, peer)
					}
				})
			}
		}
	}
}

// From others than the proxies a header is what it looks like: not MQTT.
func TestNotProxied(t *testing.T) {
	tr := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, &recorder{receive: echo})
	c := dialTCP(t, listen(t, tr, "tcp"))
	defer c.Close()
	c.Write([]byte(proxyHeaders[0].header))
	want(t, "the header itself", c, []byte(proxyHeaders[0].header))
}
