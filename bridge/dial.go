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

// Dial makes the connection that MQTT runs over: u is as in Config, conf as its
// TLS. It takes ten seconds at most.
func Dial(ctx context.Context, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1} // MQTT has its own, and metered lines count bytes
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return nil, err
	}
	rwc, err := shake(ctx, conn, u, conf)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return rwc, nil
}

// shake makes the handshakes below MQTT that the URL asks for.
func shake(ctx context.Context, conn net.Conn, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	if u.Scheme == "mqtts" || u.Scheme == "wss" {
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

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
