package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice/bridge"
	"sluice/codec"
)

// target is the server that pub and sub use and how they get in: flags, over
// the defaults of the environment.
type target struct {
	environment clientSettings

	certificates
	url, host                    string
	username, password, passFile string
	clientID                     string
	version                      versionFlag
	keepAlive, timeout           secondsFlag
	insecure                     bool
}

// flags defines the flags that pub and sub share.
func (t *target) flags(f *flag.FlagSet, environ map[string]string) error {
	environ, _, wrong := withFile(environ)
	parse(environ, clientPrefix, &t.environment, &wrong)
	if len(wrong) > 0 {
		return wrong
	}
	t.version = versionFlag(codec.V5)
	t.keepAlive = secondsFlag(time.Minute)
	t.timeout = secondsFlag(30 * time.Second)
	f.StringVar(&t.url, "url", "", "")
	f.StringVar(&t.host, "h", "", "")
	f.StringVar(&t.username, "u", t.environment.Username, "")
	f.StringVar(&t.password, "P", string(t.environment.Password), "")
	f.StringVar(&t.passFile, "password-file", "", "")
	f.StringVar(&t.clientID, "i", "sluice-"+rand.Text()[:12], "")
	t.certificates.flags(f)
	f.BoolVar(&t.insecure, "insecure", false, "")
	f.Var(&t.version, "V", "")
	f.Var(&t.keepAlive, "k", "")
	f.Var(&t.timeout, "timeout", "")
	return nil
}

// isSet reports whether the flag was on the command line.
func isSet(f *flag.FlagSet, name string) (set bool) {
	f.Visit(func(one *flag.Flag) { set = set || one.Name == name })
	return set
}

// address is where to dial.
func (t *target) address() (*url.URL, error) {
	text := cmp.Or(serverURL(t.url), t.environment.URL)
	switch {
	case t.url != "" && t.host != "":
		return nil, usage("give -url or -h, not both")
	case t.host != "":
		text = serverURL("mqtt://" + t.host)
	}
	u, err := parseURL(text)
	if err != nil {
		return nil, usage("%s: %w", text, err)
	}
	return u, nil
}

// certificates are files: whom to trust, and who we are.
type certificates struct{ ca, cert, key string }

func (c *certificates) flags(f *flag.FlagSet) {
	f.StringVar(&c.ca, "cafile", "", "")
	f.StringVar(&c.cert, "cert", "", "")
	f.StringVar(&c.key, "key", "", "")
}

// tlsConfig is what they say.
func (c *certificates) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pool, err := loadAuthorities(c.ca)
		if err != nil {
			return nil, usage("-cafile: %w", err)
		}
		conf.RootCAs = pool
	}
	if (c.cert == "") != (c.key == "") {
		return nil, usage("-cert and -key go together: give both")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, usage("-cert and -key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// tlsConfig is what the TLS flags say.
func (t *target) tlsConfig() (*tls.Config, error) {
	conf, err := t.certificates.tlsConfig()
	if err == nil {
		conf.InsecureSkipVerify = t.insecure
	}
	return conf, err
}

// credentials fills in who we are.
func (t *target) credentials(p *codec.Connect) error {
	p.Version = codec.Version(t.version)
	p.KeepAlive = uint16(min(time.Duration(t.keepAlive)/time.Second, 65535))
	p.ClientID = []byte(t.clientID)
	if t.passFile != "" {
		text, err := os.ReadFile(t.passFile)
		if err != nil {
			return usage("-password-file: %w", err)
		}
		t.password = strings.TrimRight(string(text), "\r\n")
	}
	for _, one := range []struct{ flag, text string }{{"-i", t.clientID}, {"-u", t.username}} {
		if err := codec.ValidString([]byte(one.text)); err != nil {
			return usage("%s: %s", one.flag, err.Text)
		}
	}
	if t.username != "" {
		p.Username = []byte(t.username)
	}
	if t.password != "" {
		p.Password = []byte(t.password)
		if p.Username == nil && p.Version != codec.V5 { // [MQTT-3.1.2-22] of 3.1.1
			return usage("a password needs a user name: -u")
		}
	}
	return nil
}

// client is a connection to a server. One goroutine receives; any may send.
type client struct {
	// Set once by connect.
	wire    io.ReadWriteCloser
	version codec.Version
	alive   *time.Timer   // closes the connection of a server that is silent
	quiet   time.Duration // for so long
	done    chan struct{} // closed by close
	close   func()        // hangs up; further calls do nothing

	// What the server said of itself, set once by login.
	keepAlive         time.Duration // as the server will have it
	receiveMaximum    uint16
	maximumPacketSize uint32
	maximumQoS        byte
	noRetain          bool
	noWildcard        bool
	noShared          bool

	// Owned by the goroutine that receives.
	accepted bool // by CONNACK
	dec      codec.Decoder
	in       []byte // read
	at       int    // decoded so far

	mu   sync.Mutex // held while writing
	left bool       // guarded by mu: DISCONNECT is sent
}

// connect dials t and logs in by p.
func (t *target) connect(ctx context.Context, p *codec.Connect) (*client, error) {
	u, err := t.address()
	if err != nil {
		return nil, err
	}
	conf, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	if err := t.credentials(p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.timeout))
	defer cancel()
	wire, err := dial(ctx, u, conf)
	if err != nil {
		return nil, &failure{exitUnreachable, fmt.Errorf("%s: %w%s", u, err, dialHint(err))}
	}
	c := newClient(wire, p)
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	if err := c.login(p); err != nil {
		c.close()
		if ctx.Err() == context.DeadlineExceeded {
			err = &failure{exitUnreachable, fmt.Errorf("%s: no answer to CONNECT within %v", u, &t.timeout)}
		}
		return nil, err
	}
	go c.ping(c.keepAlive * 3 / 4)
	return c, nil
}

func newClient(wire io.ReadWriteCloser, p *codec.Connect) *client {
	c := &client{
		wire:    wire,
		version: p.Version,
		done:    make(chan struct{}),
		dec:     codec.Decoder{FromServer: true},
	}
	c.keepUp(p.KeepAlive)
	c.close = sync.OnceFunc(func() {
		close(c.done)
		wire.Close()
	})
	c.alive = time.AfterFunc(c.quiet, c.close)
	return c
}

// keepUp takes a keep-alive, in seconds.
func (c *client) keepUp(seconds uint16) {
	c.keepAlive = time.Duration(seconds) * time.Second
	c.quiet = cmp.Or(c.keepAlive*3/2, math.MaxInt64)
}

func dial(ctx context.Context, u *url.URL, conf *tls.Config) (io.ReadWriteCloser, error) {
	if u.Scheme == "unix" {
		return new(net.Dialer).DialContext(ctx, "unix", u.Path)
	}
	return bridge.Dial(ctx, u, conf)
}

// dialHint says what to do about an error of dial.
func dialHint(err error) string {
	var unverified *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unverified):
		return ": -cafile names the authorities to trust"
	case errors.Is(err, syscall.ECONNREFUSED):
		return ": is the server running? -url or SLUICE_CLIENT_URL says where"
	}
	return ""
}

func (c *client) login(p *codec.Connect) error {
	if err := c.send(p); err != nil {
		return &failure{exitUnreachable, err}
	}
	answer, err := c.receive()
	var broken *codec.Error
	switch {
	case errors.As(err, &broken):
		return fmt.Errorf("the server's answer is not MQTT %s: %w", (*versionFlag)(&p.Version), err)
	case err != nil:
		return &failure{exitUnreachable, fmt.Errorf("no answer to CONNECT: %w", err)}
	}
	ack, ok := answer.(*codec.Connack)
	switch {
	case !ok:
		return fmt.Errorf("the server answers CONNECT with %v", answer.Type())
	case ack.Code == codec.UnsupportedProtocolVersion:
		return fmt.Errorf("the server does not speak MQTT %s: try another -V", (*versionFlag)(&p.Version))
	case ack.Code >= 0x80:
		return refused("the connection", ack.Code, ack.ReasonString)
	case ack.SessionPresent && p.CleanStart: // [MQTT-3.2.2-4]
		return errors.New("the server goes on with a session that was to be new")
	}
	c.accepted = true
	if ack.HasServerKeepAlive { // [MQTT-3.2.2-21]
		c.keepUp(ack.ServerKeepAlive)
		c.alive.Reset(c.quiet)
	}
	c.receiveMaximum = cmp.Or(ack.ReceiveMaximum, 65535)
	c.maximumPacketSize = cmp.Or(ack.MaximumPacketSize, 268435460)
	c.maximumQoS = ack.MaximumQoS
	c.noRetain, c.noWildcard, c.noShared = ack.NoRetain, ack.NoWildcard, ack.NoShared
	return nil
}

// refused is the error for a reason code of 0x80 and up.
func refused(what string, code codec.ReasonCode, reason []byte) error {
	if len(reason) > 0 && string(reason) != code.String() {
		return fmt.Errorf("the server refuses %s: %v: %s", what, code, reason)
	}
	return fmt.Errorf("the server refuses %s: %v", what, code)
}

// ping shows the server that we are here until the connection is closed.
func (c *client) ping(every time.Duration) {
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.send(&codec.Pingreq{}) // what fails here, receive sees too
		case <-c.done:
			return
		}
	}
}

// send writes p.
func (c *client) send(p codec.Packet) error {
	return c.sendBytes(p.Append(nil, c.version))
}

// sendBytes writes packets.
func (c *client) sendBytes(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return net.ErrClosed
	}
	_, err := c.wire.Write(b)
	return err
}

// receive returns the next packet, valid until the next call. A DISCONNECT is
// an error.
func (c *client) receive() (codec.Packet, error) {
	for {
		p, err := c.decode()
		if p != nil || err != nil {
			return p, err
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// decode returns the next packet of what has been read, nil if there is none. A
// server that breaks a rule is left, with the reason.
func (c *client) decode() (codec.Packet, error) {
	p, n, err := c.dec.Next(c.in[c.at:], c.version, 0)
	c.at += n
	if err == nil {
		err = c.expected(p)
	}
	var broken *codec.Error
	if errors.As(err, &broken) {
		c.leave(broken.Code)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

var (
	errSecondConnack = &codec.Error{Code: codec.ProtocolError, Clause: "MQTT-3.2.0-2", Text: "the server sends a second CONNACK"}
	errAuth          = &codec.Error{Code: codec.ProtocolError, Clause: "MQTT-4.12.0-6", Text: "the server sends AUTH, for which nobody asked"}
	errAlias         = &codec.Error{Code: codec.TopicAliasInvalid, Clause: "MQTT-3.1.2-26", Text: "the server sends a topic alias, which nobody granted"}
)

// expected is an error for a packet that there is no reason to send.
func (c *client) expected(p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Disconnect:
		return refused("to go on", p.Code, p.ReasonString)
	case *codec.Connack:
		if c.accepted {
			return errSecondConnack
		}
	case *codec.Auth:
		return errAuth
	case *codec.Publish:
		if p.TopicAlias != 0 {
			return errAlias
		}
	}
	return nil
}

// fill reads what has come. A server that is silent for longer than it may be
// makes it fail.
func (c *client) fill() error {
	c.in = c.in[:copy(c.in, c.in[c.at:])]
	c.at = 0
	c.in = slices.Grow(c.in, max(4096, len(c.in))) // doubles for a packet that is large
	n, err := c.wire.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n == 0 {
		return err
	}
	c.alive.Reset(c.quiet)
	return nil
}

// disconnect takes leave of the server.
func (c *client) disconnect() { c.leave(codec.NormalDisconnection) }

// leave tells the server why and hangs up; further calls do nothing, and nothing more
// is sent [MQTT-3.14.4-1]. Before MQTT 5 there is no word for an error.
func (c *client) leave(code codec.ReasonCode) {
	c.mu.Lock()
	if !c.left && (c.version == codec.V5 || code < 0x80) {
		c.wire.Write((&codec.Disconnect{Code: code}).Append(nil, c.version))
	}
	c.left = true
	c.mu.Unlock()
	c.alive.Stop()
	c.close()
}

// versionFlag is a protocol version by its usual name.
type versionFlag codec.Version

var versionNames = map[string]codec.Version{"3.1": codec.V31, "3.1.1": codec.V311, "5": codec.V5}

func (v *versionFlag) Set(text string) error {
	version, ok := versionNames[text]
	if !ok {
		return errors.New("a version is 5, 3.1.1 or 3.1")
	}
	*v = versionFlag(version)
	return nil
}

func (v *versionFlag) String() string {
	for name, version := range versionNames {
		if version == codec.Version(*v) {
			return name
		}
	}
	return ""
}

// secondsFlag is a duration; a plain number counts seconds.
type secondsFlag time.Duration

func (s *secondsFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		d, err = time.ParseDuration(text + "s")
	}
	if err != nil || d < 0 {
		return errors.New("a duration is written 10s, 5m, or 10 for seconds")
	}
	*s = secondsFlag(d)
	return nil
}

func (s *secondsFlag) String() string { return time.Duration(*s).String() }
