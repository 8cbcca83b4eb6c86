package bridge

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// proxyPort are the ports of proxies whose URL names none.
var proxyPort = map[string]string{"http": "80", "socks5": "1080"}

var errProxyLogin = errors.New("the proxy does not take this user name and password")

// throughProxy asks the proxy at the other end of conn for a connection to addr,
// host:port, whose name the proxy resolves. What comes behind the answer is left to
// be read.
func (p *Path) throughProxy(ctx context.Context, conn net.Conn, addr string) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	var err error
	if p.Proxy.Scheme == "http" {
		err = p.httpConnect(conn, addr)
	} else {
		err = p.socks5(conn, addr)
	}
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("proxy %s: %w", p.Proxy.Host, err)
	}
	return nil
}

// maxProxyAnswer is how long the header of an HTTP answer may be, in bytes.
const maxProxyAnswer = 8 << 10

// httpConnect speaks HTTP/1.1 (RFC 9110, 9.3.6).
func (p *Path) httpConnect(conn net.Conn, addr string) error {
	request := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", addr, addr)
	if p.ProxyUsername != "" {
		login := base64.StdEncoding.EncodeToString([]byte(p.ProxyUsername + ":" + string(p.ProxyPassword)))
		request = fmt.Appendf(request, "Proxy-Authorization: Basic %s\r\n", login)
	}
	if _, err := conn.Write(append(request, "\r\n"...)); err != nil {
		return err
	}
	var answer []byte
	for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); answer = append(answer, b[0]) {
		if len(answer) >= maxProxyAnswer {
			return errors.New("its answer has no end")
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
	}
	line, _, _ := bytes.Cut(answer, []byte("\r\n"))
	version, status, _ := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(status, []byte(" "))
	switch n, err := strconv.Atoi(string(code)); {
	case !bytes.HasPrefix(version, []byte("HTTP/1.")) || err != nil:
		return fmt.Errorf("is none for HTTP: it answers %q", line[:min(len(line), 100)])
	case n == 407 || n == 401: // which tinyproxy says
		return errProxyLogin
	case n < 200 || n > 299:
		return fmt.Errorf("refuses: %q", status[:min(len(status), 100)])
	}
	return nil
}

// The bytes of SOCKS5 (RFC 1928) and of its login (RFC 1929).
const (
	socksVersion   = 5
	socksNoLogin   = 0
	socksLogin     = 2
	loginVersion   = 1
	socksConnect   = 1
	socksIPv4      = 1
	socksName      = 3
	socksIPv6      = 4
	socksSucceeded = 0
)

var socksReplies = []string{1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
	5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported"}

var errNoSOCKS5 = errors.New("does not speak SOCKS5")

func (p *Path) socks5(conn net.Conn, addr string) error {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return err
	}
	method := byte(socksNoLogin)
	if p.ProxyUsername != "" {
		method = socksLogin
	}
	answer := make([]byte, 2, 256)
	if err := exchange(conn, []byte{socksVersion, 1, method}, answer); err != nil {
		return err
	}
	switch {
	case answer[0] != socksVersion:
		return errNoSOCKS5
	case answer[1] != method:
		return errProxyLogin // or it wants one and there is none
	}
	if method == socksLogin {
		login := append([]byte{loginVersion, byte(len(p.ProxyUsername))}, p.ProxyUsername...)
		login = append(append(login, byte(len(p.ProxyPassword))), p.ProxyPassword...)
		if err := exchange(conn, login, answer); err != nil {
			return err
		}
		if answer[1] != 0 {
			return errProxyLogin
		}
	}
	request := []byte{socksVersion, socksConnect, 0}
	switch ip, err := netip.ParseAddr(host); {
	case err != nil && len(host) > 255:
		return fmt.Errorf("host name of %d bytes", len(host))
	case err != nil:
		request = append(append(request, socksName, byte(len(host))), host...)
	case ip.Is4():
		request = append(append(request, socksIPv4), ip.AsSlice()...)
	default:
		request = append(append(request, socksIPv6), ip.AsSlice()...)
	}
	answer = answer[:5] // up to the first byte of the address, which may be its length
	if err := exchange(conn, binary.BigEndian.AppendUint16(request, uint16(port)), answer); err != nil {
		return err
	}
	if code := int(answer[1]); answer[0] != socksVersion || code != socksSucceeded {
		if code > 0 && code < len(socksReplies) {
			return errors.New("refuses: " + socksReplies[code])
		}
		return fmt.Errorf("refuses: code %d", code)
	}
	rest := 0 // of the address, and its port
	switch answer[3] {
	case socksIPv4:
		rest = net.IPv4len - 1 + 2
	case socksIPv6:
		rest = net.IPv6len - 1 + 2
	case socksName:
		rest = int(answer[4]) + 2
	default:
		return errNoSOCKS5
	}
	_, err = io.ReadFull(conn, make([]byte, rest))
	return err
}

// exchange sends request and fills answer.
func exchange(conn net.Conn, request, answer []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, answer)
	return err
}

// checkProxy says what is wrong with the proxy.
func (p *Path) checkProxy() error {
	switch u := p.Proxy; {
	case u == nil:
		return nil
	case proxyPort[u.Scheme] == "":
		return fmt.Errorf("a proxy is http://host:port or socks5://host:port, not %s://", u.Scheme)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return errors.New("a proxy is http://host:port or socks5://host:port")
	case u.User != nil:
		return errors.New("a user name in the proxy's URL would show in logs: give it and the password on their own")
	case len(p.ProxyUsername) > 255 || len(p.ProxyPassword) > 255:
		return errors.New("a proxy's user name and password have at most 255 bytes each")
	default:
		return CheckPort(u)
	}
}

// ParseProxy reads the URL of a proxy.
func ParseProxy(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("a proxy is http://host:port or socks5://host:port")
	}
	return u, (&Path{Proxy: u}).checkProxy()
}
