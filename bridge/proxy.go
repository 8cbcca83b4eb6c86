package bridge

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"
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

// socks5 speaks SOCKS5 (RFC 1928, RFC 1929).
func (p *Path) socks5(conn net.Conn, addr string) error {
	var login *proxy.Auth
	if p.ProxyUsername != "" {
		login = &proxy.Auth{User: p.ProxyUsername, Password: string(p.ProxyPassword)}
	}
	d, err := proxy.SOCKS5("tcp", p.Proxy.Host, login, connected{conn})
	if err != nil {
		return err
	}
	_, err = d.Dial("tcp", addr)
	if op := (*net.OpError)(nil); errors.As(err, &op) { // which names both ends again
		err = op.Err
	}
	if err != nil && strings.Contains(err.Error(), "authentication") {
		return fmt.Errorf("%w: %w", errProxyLogin, err)
	}
	return err
}

// connected is the way to a proxy that there is a connection to already.
type connected struct{ net.Conn }

// Dial implements [proxy.Dialer].
func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

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
