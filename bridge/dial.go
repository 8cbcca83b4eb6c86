package bridge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

var defaultPort = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// A Path is how a connection gets to a server. The zero value is as the system has
// it. Names are resolved at each attempt; where they have addresses of both IPv6
// and IPv4, both are tried (RFC 8305).
type Path struct {
	Proxy         *url.URL // http or socks5, which then resolves names; nil: none
	ProxyUsername string   // empty: no login
	ProxyPassword []byte

	Interface string     // network interface to leave by, where Linux allows it; empty: any
	Source    netip.Addr // address to come from; the zero value: any

	resolver *net.Resolver // nil: the system's
}

// Dial makes the connection that MQTT runs over: u is as in Config, conf as its
// TLS. It takes ten seconds at most, however long a name server, a proxy or the
// server lets it wait.
func Dial(ctx context.Context, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	return new(Path).dial(ctx, u, conf)
}

func (p *Path) dial(ctx context.Context, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dialer := net.Dialer{Resolver: p.resolver, KeepAlive: -1} // MQTT has its own, and metered lines count bytes
	if p.Source.IsValid() {
		dialer.LocalAddr = &net.TCPAddr{IP: p.Source.AsSlice(), Zone: p.Source.Zone()}
	}
	if p.Interface != "" {
		dialer.Control = func(_, _ string, raw syscall.RawConn) error { return leaveBy(raw, p.Interface) }
	}
	first := hostPort(u, defaultPort)
	if p.Proxy != nil {
		first = hostPort(p.Proxy, proxyPort)
	}
	conn, err := dialer.DialContext(ctx, "tcp", first)
	if err != nil {
		return nil, err
	}
	rwc, err := p.shake(ctx, conn, u, conf)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return rwc, nil
}

// shake makes the handshakes below MQTT that the path and the URL ask for.
func (p *Path) shake(ctx context.Context, conn net.Conn, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	if p.Proxy != nil {
		if err := p.throughProxy(ctx, conn, hostPort(u, defaultPort)); err != nil {
			return nil, err
		}
	}
	if secure(u) {
		if conf == nil {
			conf = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if conf.ServerName == "" {
			conf = conf.Clone()
			conf.ServerName = u.Hostname()
		}
		secure := tls.Client(conn, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	if u.Scheme == "mqtt" || u.Scheme == "mqtts" {
		return conn, nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	ws, err := upgrade(conn, u)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return ws, err
}

// CheckPort says what is wrong with the port of a URL, if there is one.
func CheckPort(u *url.URL) error {
	text := u.Port()
	if n, err := strconv.ParseUint(text, 10, 16); text != "" && (err != nil || n == 0) {
		return fmt.Errorf("there is no port %s: 1 to 65535", text)
	}
	return nil
}

func hostPort(u *url.URL, usual map[string]string) string {
	port := u.Port()
	if port == "" {
		port = usual[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
