package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"

	"sluice/gateway"
	"sluice/gateway/access"
	"sluice/gateway/transport"
)

// listener is one way in, as the settings ask for it.
type listener struct {
	variable string // name of the setting, without SLUICE_
	network  string // as transport.Listen has it, or udp, dtls, http
	title    string
	addr     address // or a path, or off
}

func (s *settings) listeners() []listener {
	return []listener{
		{"MQTT_ADDR", "tcp", "MQTT", s.MQTTAddr},
		{"MQTTS_ADDR", "tls", "MQTT over TLS", s.MQTTSAddr},
		{"WS_ADDR", "ws", "MQTT over WebSocket", s.WSAddr},
		{"WSS_ADDR", "wss", "MQTT over secure WebSocket", s.WSSAddr},
		{"UNIX_PATH", "unix", "MQTT over a Unix socket", address(s.UnixPath)},
		{"SN_ADDR", "udp", "MQTT-SN over UDP", s.SNAddr},
		{"SN_DTLS_ADDR", "dtls", "MQTT-SN over DTLS", s.SNDTLSAddr},
		{"HTTP_ADDR", "http", "HTTP", s.HTTPAddr},
	}
}

// forClients says whether clients come in this way, who may be let in by an account only.
func (l *listener) forClients() bool { return l.network != "http" }

// listen opens the listeners and prints the addresses they have got, one line
// each. Without accounts, an address that names no host is this machine's only.
func listen(g *running, t *transport.Transport, stdout io.Writer) error {
	s := g.settings
	narrowed := false
	for _, l := range s.listeners() {
		if l.addr == off {
			continue
		}
		addr := string(l.addr)
		if l.network != "unix" && l.forClients() && l.addr.host() == "" && !s.open() {
			addr = net.JoinHostPort("127.0.0.1", l.addr.port())
			narrowed = true
		}
		at, err := l.open(addr, g, t)
		if err != nil {
			return fmt.Errorf("%s%s: %w", prefix, l.variable, cannotListen(addr, err))
		}
		fmt.Fprintf(stdout, "%s on %v\n", l.title, at)
	}
	if narrowed {
		g.log.Warn("listening for this machine only: set " + prefix + "USERS_FILE to let others in with an account (sluice help passwd), or " +
			prefix + "AUTH_ANONYMOUS=true to let everybody in")
	}
	if s.SNAddr != off && s.UsersFile != "" && !s.AuthAnonymous {
		g.log.Warn("no device can connect over plain UDP, where nobody has an account: let devices in over DTLS (" + prefix + "SN_DTLS_ADDR), or " +
			prefix + "AUTH_ANONYMOUS=true lets in whoever comes")
	}
	return nil
}

// open opens the listener at addr and returns the address it has got.
func (l *listener) open(addr string, g *running, t *transport.Transport) (net.Addr, error) {
	switch l.network {
	case "dtls":
		conf, err := g.settings.dtls(g.log)
		if err != nil {
			return nil, err
		}
		return t.ListenDTLS(addr, conf, g.srv)
	case "http":
		return g.admin.Listen(addr)
	case "udp":
		return openUDP(addr, g.settings.SNGroup.Addr, t, g.srv)
	case "tls", "wss":
		return t.Listen(l.network, addr, g.certificate())
	}
	return t.Listen(l.network, addr, nil)
}

// certificate is the configuration of TLS, each connection with what is in force then.
func (g *running) certificate() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return g.tls.Load(), nil },
	}
}

// openUDP opens the socket of MQTT-SN, which also listens to group if that is valid.
func openUDP(addr string, group netip.Addr, t *transport.Transport, srv *gateway.Server) (net.Addr, error) {
	socket, err := t.ListenUDP(addr, srv)
	if err != nil {
		return nil, err
	}
	if group.IsMulticast() {
		if err := socket.JoinGroup(group); err != nil {
			return nil, err
		}
	}
	var to netip.AddrPort
	if group.IsValid() {
		to = netip.AddrPortFrom(group, socket.Addr().Port())
	}
	srv.ServeUDP(socket, to)
	return net.UDPAddrFromAddrPort(socket.Addr()), nil
}

// dtls is how devices prove themselves.
func (s *settings) dtls(log *slog.Logger) (transport.DTLSConfig, error) {
	keys, err := access.LoadKeys(s.SNPSKFile, func(err error) {
		log.Error("the changed file of pre-shared keys is not used", "err", err)
	})
	if err != nil {
		return transport.DTLSConfig{}, err
	}
	if keys.Len() == 0 && !s.SNDTLSCertificates {
		log.Warn("no device has a pre-shared key yet: sluice psk set makes one", "file", s.SNPSKFile)
	}
	conf := transport.DTLSConfig{
		Key:         keys.Find,
		CCM8:        s.SNDTLSCCM8,
		MaxSessions: s.SNDTLSMaxSessions,
		IdleTimeout: s.SNDTLSIdle,
	}
	if s.SNDTLSCertificates {
		conf.Certificates, conf.ClientCAs, conf.Anonymous = s.tls.Certificates, s.tls.ClientCAs, s.AuthAnonymous
	}
	return conf, nil
}

// cannotListen says in a user's words why there is no listener at addr.
func cannotListen(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program: stop that one (ss -lntupx shows it), or take another address", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this machine (ip addr shows them), or not yet", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: permission denied: ports below 1024 need CAP_NET_BIND_SERVICE, a socket a directory that may be written", addr)
	}
	return err
}
