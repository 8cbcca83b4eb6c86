package bridge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"time"
)

var defaultPort = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// dialUpstream makes the connection that MQTT runs over, with the name looked
// up anew each time.
func (b *Bridge) dialUpstream(ctx context.Context) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u := b.cfg.URL
	dialer := net.Dialer{KeepAlive: -1} // MQTT has its own, and metered lines count bytes
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return nil, err
	}
	rwc, err := b.shake(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return rwc, nil
}

// shake makes the handshakes below MQTT that the URL asks for.
func (b *Bridge) shake(ctx context.Context, conn net.Conn) (io.ReadWriteCloser, error) {
	u := b.cfg.URL
	if u.Scheme == "mqtts" || u.Scheme == "wss" {
		cfg := b.cfg.TLS
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName = u.Hostname()
		}
		secure := tls.Client(conn, cfg)
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

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
