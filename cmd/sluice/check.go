package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"sluice/bridge"
	"sluice/codec"
	"sluice/codec/batch"
	"sluice/gateway/access"
	"sluice/gateway/topic"
	"sluice/gateway/transport"
)

// check finds values that are out of range, contradict each other, or name
// files that will not do, and loads the files that will. A variable in wrong
// already is left alone: what it holds is not what was written.
func (s *settings) check(environ map[string]string, wrong *faults) {
	c := checker{wrong: wrong, before: slices.Clone(*wrong), prefix: prefix}
	c.durations(s)
	c.between("MAX_PACKET_SIZE", s.MaxPacketSize, 1<<10, 256<<20)
	c.between("MAX_INFLIGHT", size(s.MaxInflight), 1, 65535)
	c.between("MAX_CONNECTIONS", size(s.MaxConnections), 0, 1<<31-1)
	c.between("STORE_MAX_BYTES", s.StoreMaxBytes, 1<<20, 1<<50)
	c.queueMaxBytes(s.QueueMaxBytes, s.StoreMaxBytes)
	c.between("MEMORY_LIMIT", s.MemoryLimit, 16<<20, 1<<62)
	if err := writable(s.DataDir); err != nil {
		c.add("DATA_DIR", "%v", err)
	}
	c.certificates(s)
	c.users(s)
	c.devices(s)
	c.listeners(s)
	c.batches(s)
	c.bridges(environ, s)
}

// devices checks what is about MQTT-SN.
func (c *checker) devices(s *settings) {
	c.between("SN_GATEWAY_ID", size(s.SNGatewayID), 1, 255)
	c.between("SN_RETRIES", size(s.SNRetries), 1, 100)
	c.between("SN_MAX_DATAGRAM", s.SNMaxDatagram, 64, transport.MaxDatagram)
	c.between("SN_MAX_DEVICES", size(s.SNMaxDevices), 1, 1<<31-1)
	c.between("SN_SLEEP_BUFFER", s.SNSleepBuffer, 1, 1<<30)
	for _, d := range []struct {
		name  string
		v     time.Duration
		least time.Duration
		most  time.Duration
	}{{"SN_ADVERTISE", s.SNAdvertise, time.Second, 65535 * time.Second}, {"SN_RETRY", s.SNRetry, 10 * time.Millisecond, time.Hour}} {
		if d.v < d.least || d.v > d.most {
			c.add(d.name, "%v is not within %v and %v", d.v, d.least, d.most)
		}
	}
	if s.SNGroup.IsValid() && s.SNAddr == off {
		c.add("SN_GROUP", "set, but SLUICE_SN_ADDR is off: devices would look for a gateway that is not there")
	}
	if len(s.SNDTLSOnly) > 0 && s.SNAddr == off && s.SNDTLSAddr == off {
		c.add("SN_DTLS_ONLY", "set, but SLUICE_SN_ADDR and SLUICE_SN_DTLS_ADDR are off: no device can connect")
	}
	c.predefined(s)
	c.dtls(s)
}

// dtls checks by what devices prove themselves.
func (c *checker) dtls(s *settings) {
	c.between("SN_DTLS_MAX_SESSIONS", size(s.SNDTLSMaxSessions), 1, 1<<20)
	if s.SNDTLSIdle < time.Second {
		c.add("SN_DTLS_IDLE", "%v is less than 1s", s.SNDTLSIdle)
	}
	if s.SNDTLSAddr == off {
		return
	}
	if _, err := access.LoadKeys(s.SNPSKFile, nil); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			c.add("SN_PSK_FILE", "%s", line)
		}
	}
	if dir := filepath.Dir(s.SNPSKFile); dir != filepath.Clean(s.DataDir) { // the data directory is made at the start
		if _, err := os.Stat(dir); err != nil {
			c.add("SN_PSK_FILE", "there is no directory %s", dir)
		}
	}
	if !s.SNDTLSCertificates {
		return
	}
	if s.TLSCert == "" {
		c.add("SN_DTLS_CERTIFICATES", "set, but SLUICE_TLS_CERT is not")
	} else if s.tls != nil {
		if _, ok := s.tls.Certificates[0].PrivateKey.(*ecdsa.PrivateKey); !ok {
			c.add("SN_DTLS_CERTIFICATES", "the key of SLUICE_TLS_CERT is not ECDSA, and no other can be used here: openssl ecparam -name prime256v1 -genkey makes one")
		}
	}
	if s.TLSClientCA == "" && !s.AuthAnonymous {
		c.add("SN_DTLS_CERTIFICATES", "nobody could show one: set SLUICE_TLS_CLIENT_CA, or SLUICE_AUTH_ANONYMOUS=true to let in who has none")
	}
}

// predefined reads the predefined topic ids, which are given in one way or the other.
func (c *checker) predefined(s *settings) {
	if s.SNPredefined != "" && s.SNPredefinedFile != "" {
		c.add("SN_PREDEFINED", "set along with SLUICE_SN_PREDEFINED_FILE: keep one")
		return
	}
	s.predefined, _ = s.SNPredefined.parse()
	if s.SNPredefinedFile == "" {
		return
	}
	f, err := os.Open(s.SNPredefinedFile)
	if err == nil {
		defer f.Close()
		s.predefined, err = topic.ParsePredefined(f)
	}
	if err != nil {
		c.add("SN_PREDEFINED_FILE", "%v", err)
	}
}

// checker adds faults to those that were found before.
type checker struct {
	wrong  *faults
	before faults
	prefix string // of the names in the calls below
}

func (c *checker) add(name, format string, args ...any) {
	if !c.before.of(c.prefix + name) {
		c.wrong.add(c.prefix+name, format, args...)
	}
}

// durations: none of target's is negative.
func (c *checker) durations(target any) {
	v := reflect.ValueOf(target).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type == reflect.TypeFor[time.Duration]() && v.Field(i).Int() < 0 {
			c.add(field.Tag.Get("env"), "%v is negative", v.Field(i))
		}
	}
}

func (c *checker) between(name string, v, least, most size) {
	switch {
	case v < least:
		c.add(name, "%v is less than %v", v, least)
	case v > most:
		c.add(name, "%v is more than %v", v, most)
	}
}

// queueMaxBytes checks what may wait in one queue, which is part of what may in all.
func (c *checker) queueMaxBytes(v, all size) {
	if v > all {
		c.add("QUEUE_MAX_BYTES", "%v is more than the %v of %sSTORE_MAX_BYTES, for all queues together", v, all, prefix)
		return
	}
	c.between("QUEUE_MAX_BYTES", v, 1<<10, all)
}

func (c *checker) certificates(s *settings) {
	s.tls = c.certificate("TLS_CERT", s.TLSCert, "TLS_KEY", s.TLSKey)
	for _, l := range []struct {
		name string
		addr address
	}{{"MQTTS_ADDR", s.MQTTSAddr}, {"WSS_ADDR", s.WSSAddr}} {
		if l.addr != off && s.TLSCert == "" {
			c.add(l.name, "TLS needs a certificate: set SLUICE_TLS_CERT and SLUICE_TLS_KEY")
		}
	}
	if s.TLSClientCA == "" {
		return
	}
	pool := c.authorities("TLS_CLIENT_CA", s.TLSClientCA)
	if s.TLSCert == "" {
		c.add("TLS_CLIENT_CA", "set, but SLUICE_TLS_CERT is not")
	}
	if s.tls != nil {
		s.tls.ClientCAs, s.tls.ClientAuth = pool, tls.VerifyClientCertIfGiven
	}
}

// certificate loads a certificate with its key, nil if there is none.
func (c *checker) certificate(certName, cert, keyName, key string) *tls.Config {
	switch {
	case cert == "" && key == "":
		return nil
	case key == "":
		c.add(keyName, "missing, but there is %s%s", c.prefix, certName)
		return nil
	case cert == "":
		c.add(certName, "missing, but there is %s%s", c.prefix, keyName)
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	var file *os.PathError
	switch {
	case err == nil:
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	case errors.As(err, &file) && file.Path == key:
		c.add(keyName, "%v", err)
	case errors.As(err, &file):
		c.add(certName, "%v", err)
	default:
		c.add(certName, "%s with the key %s: %v", cert, key, err)
	}
	return nil
}

// authorities loads the certificates of those whose signature counts.
func (c *checker) authorities(name, path string) *x509.CertPool {
	pool, err := loadAuthorities(path)
	if err != nil {
		c.add(name, "%v", err)
	}
	return pool
}

func loadAuthorities(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}

func (c *checker) users(s *settings) {
	if s.UsersFile == "" {
		return
	}
	var err error
	if s.accounts, err = access.Load(s.UsersFile); errors.Is(err, fs.ErrNotExist) {
		c.add("USERS_FILE", "%v: sluice passwd -f %s NAME makes it, with an account", err, s.UsersFile)
	} else if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			c.add("USERS_FILE", "%s", line)
		}
	}
}

// open reports whether clients from other machines are to be let in.
func (s *settings) open() bool { return s.UsersFile != "" || s.AuthAnonymous }

func (c *checker) listeners(s *settings) {
	type place struct {
		udp  bool // has ports of its own
		addr address
	}
	taken := make(map[place]string)
	if len(s.Bridges) == 0 && !slices.ContainsFunc(s.listeners(), func(l listener) bool { return l.addr != off }) {
		c.add("MQTT_ADDR", "off, as are all other ways in, and there is no bridge: nothing is left to do")
	}
	for _, l := range s.listeners() {
		if l.addr == off || l.network == "unix" {
			continue
		}
		if l.forClients() && l.addr.host() != "" && !l.addr.loopback() && !s.open() {
			c.add(l.variable, "%s is reached from other machines, but there are no accounts: set SLUICE_USERS_FILE (sluice help passwd), "+
				"or SLUICE_AUTH_ANONYMOUS=true to let everybody in", l.addr)
		}
		at := place{l.network == "udp" || l.network == "dtls", l.addr}
		if other := taken[at]; other != "" && !strings.HasSuffix(string(l.addr), ":0") {
			c.add(l.variable, "%s is taken by %s", l.addr, prefix+other)
		}
		taken[at] = l.variable
	}
}

func (c *checker) bridges(environ map[string]string, s *settings) {
	names := make(map[string]string)
	for i := range s.Bridges {
		b := &s.Bridges[i]
		c := checker{wrong: c.wrong, before: c.before, prefix: bridgeVariable(b.number, "")}
		c.durations(b)
		if k := b.KeepAlive.Duration; k < time.Second || k > 65535*time.Second || k%time.Second != 0 {
			c.add("KEEPALIVE", "%v is not a number of whole seconds from 1s to 65535s", k)
		}
		if b.AckTimeout < time.Second || b.AckTimeout > time.Hour {
			c.add("ACK_TIMEOUT", "%v is not from 1s to 1h", b.AckTimeout)
		}
		if b.Extensions == bridge.MarkedUsername && b.Username == "" {
			c.add("EXTENSIONS", "username, but there is no %sUSERNAME to mark", c.prefix)
		}
		if b.urls = c.urls(b.URL); b.urls != nil {
			c.bridgeTLS(b)
		}
		c.path(b)
		c.batching(b)
		if len(b.Up)+len(b.Down) == 0 {
			c.add("UP", "neither UP nor DOWN is set: the bridge would carry nothing")
		}
		c.queueMaxBytes(b.QueueMaxBytes, s.StoreMaxBytes)
		c.between("QUEUE_MAX_MESSAGES", size(b.QueueMaxMessages), 0, 1<<31-1)
		c.between("DRAIN_MESSAGES", size(b.DrainMessages), 0, 1e9)
		c.between("DRAIN_BYTES", b.DrainBytes, 0, 1e9)
		if b.QueueMaxAge > 0 && b.QueueMaxAge < time.Second {
			c.add("QUEUE_MAX_AGE", "%v is less than 1s", b.QueueMaxAge)
		}
		c.between("MAX_HOPS", size(b.MaxHops), 0, bridge.MaxMaxHops)
		c.between("MAX_QOS", size(b.MaxQoS), 1, 2)
		c.between("MAX_TOPIC_SIZE", size(b.MaxTopic), 1, 65535)
		if b.MaxUpSize != 0 {
			c.between("MAX_UP_SIZE", b.MaxUpSize, 128, 256<<20)
		}
		c.levels(b)
		c.tokens(b)
		c.preset(environ, b)
		b.files = digest(b.CA, b.Cert, b.Key, b.JWTKey, b.BatchDictionary)
		if slices.Contains(s.ForgetBridges, b.Name) {
			c := checker{wrong: c.wrong, before: c.before, prefix: prefix}
			c.add("FORGET_BRIDGES", "%q is the name of a bridge: its backlog goes up", b.Name)
		}
		if other := names[b.Name]; other != "" {
			c.add("NAME", "%q is the name of %s already", b.Name, other)
		}
		names[b.Name] = c.prefix[:len(c.prefix)-1]
		if file := filepath.Base(bridgeFile(s, b.Name)); len(file) > 250 { // of 255, with room for .new
			c.add("NAME", "too long for the name of a file: 75 bytes at most are always good")
		}
		for _, p := range []struct{ name, text string }{{"NAME", b.Name}, {"CLIENT_ID", b.ClientID}, {"USERNAME", b.Username}, {"UP_PREFIX", b.UpPrefix}, {"DOWN_PREFIX", b.DownPrefix}} {
			if err := codec.ValidString([]byte(p.text)); err != nil {
				c.add(p.name, "%q: %s", p.text, err.Text)
			}
		}
		for _, p := range []struct{ name, text string }{{"UP_PREFIX", b.UpPrefix}, {"DOWN_PREFIX", b.DownPrefix}} {
			if strings.ContainsAny(p.text, "+#\x00") {
				c.add(p.name, "%q holds + or #, which a topic can not", p.text)
			}
		}
	}
	c.topics(s)
}

// levels: the gateway has no topics of more, whatever upstreams have.
func (c *checker) levels(b *bridgeSettings) {
	check := func(name, text string) {
		if topic.TooDeep([]byte(text)) {
			c.add(name, "%.100q has more than %d levels, which no topic of the gateway has", text, topic.MaxLevels)
		}
	}
	for _, r := range b.Up {
		check("UP", r.Filter)
	}
	for _, r := range b.Down {
		_, filter, _ := codec.SplitShare([]byte(r.Filter))
		check("DOWN", cmp.Or(r.To, b.DownPrefix+string(filter)))
	}
}

// topics checks the rules of all bridges together: messages may go round through several.
func (c *checker) topics(s *settings) {
	var all []bridge.Config
	for i := range s.Bridges {
		all = append(all, s.Bridges[i].config(s, nil, nil))
	}
	for _, f := range bridge.CheckTopics(all) {
		c := checker{wrong: c.wrong, before: c.before, prefix: bridgeVariable(s.Bridges[f.Bridge].number, "")}
		c.add(strings.ToUpper(f.Way), "%s", f.Text)
	}
}

// path checks how to get to a bridge's servers.
func (c *checker) path(b *bridgeSettings) {
	if b.Proxy != "" {
		var err error
		if b.proxy, err = bridge.ParseProxy(string(b.Proxy)); err != nil {
			c.add("PROXY", "%v", err)
		}
	}
	for _, p := range []struct{ name, text, needs, is string }{
		{"PROXY_USERNAME", b.ProxyUsername, "PROXY", string(b.Proxy)},
		{"PROXY_PASSWORD", string(b.ProxyPassword), "PROXY_USERNAME", b.ProxyUsername},
	} {
		switch {
		case p.text != "" && p.is == "":
			c.add(p.name, "set, but %s%s is not", c.prefix, p.needs)
		case len(p.text) > 255:
			c.add(p.name, "longer than 255 bytes")
		}
	}
	if len(b.Interface) > 15 || strings.ContainsAny(b.Interface, "/ ") {
		c.add("INTERFACE", "%q is not the name of a network interface such as eth0", b.Interface)
	}
}

// warnings are what may be wrong, or not yet be there.
func (s *settings) warnings() (list faults) {
	for i := range s.Bridges {
		b := &s.Bridges[i]
		if b.Interface == "" {
			continue
		}
		if _, err := net.InterfaceByName(b.Interface); err != nil {
			list.add(bridgeVariable(b.number, "INTERFACE"), "there is no network interface %s now (ip link shows them): until there is, the bridge does not connect", b.Interface)
		}
	}
	list.locate(s.origins)
	return list
}

// batches reads the dictionaries that others use.
func (c *checker) batches(s *settings) {
	if len(s.BatchDictionaries) > 0 && !s.Batches {
		c.add("BATCH_DICTIONARIES", "set, but SLUICE_BATCHES is not true")
	}
	for _, path := range s.BatchDictionaries {
		if d := c.dictionary("BATCH_DICTIONARIES", path); d != nil {
			s.batches = append(s.batches, d)
		}
	}
}

// batching checks what a bridge is told of batches.
func (c *checker) batching(b *bridgeSettings) {
	if b.BatchDictionary != "" {
		b.batch = c.dictionary("BATCH_DICTIONARY", b.BatchDictionary)
	}
	if slices.ContainsFunc(b.Up, func(r bridge.Rule) bool { return r.Batch > 0 }) {
		return
	}
	const idle = "set, but no rule of %sUP has batch=, as in sensors/# 1 batch=10s"
	if b.BatchDictionary != "" {
		c.add("BATCH_DICTIONARY", idle, c.prefix)
	}
	if b.BatchUnasked {
		c.add("BATCH_UNASKED", idle, c.prefix)
	}
}

// dictionary reads one, nil if it can not.
func (c *checker) dictionary(name, path string) *batch.Dictionary {
	f, err := os.Open(path)
	if err != nil {
		c.add(name, "%v", err)
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, batch.MaxDictionary+1))
	if err != nil {
		c.add(name, "%v", err)
		return nil
	}
	d, err := batch.NewDictionary(text)
	if err != nil {
		c.add(name, "%s: %v", path, err)
	}
	return d
}

// urls reads the list of a bridge's servers, nil if one is wrong.
func (c *checker) urls(list serverURLs) (urls []*url.URL) {
	if len(list) == 0 {
		c.add("URL", "missing: set it to the upstream, such as mqtts://broker.example:8883")
	}
	for i, text := range list {
		u, err := parseURL(text)
		switch {
		case errors.Is(err, errScheme) || strings.HasPrefix(string(text), "unix:"):
			c.add("URL", "the URL of an upstream begins with mqtt://, mqtts://, ws:// or wss://")
			return nil
		case err != nil:
			c.add("URL", "%v", err)
			return nil
		case slices.Contains(list[:i], text):
			c.add("URL", "%s is in the list twice", text)
			return nil
		}
		urls = append(urls, u)
	}
	return urls
}

func (c *checker) bridgeTLS(b *bridgeSettings) {
	if !slices.ContainsFunc(b.urls, secure) {
		for _, p := range []struct{ name, text string }{{"CA", b.CA}, {"CERT", b.Cert}, {"KEY", b.Key}, {"ALPN", b.ALPN}} {
			if p.text != "" {
				c.add(p.name, "set, but %s:// is without TLS: write mqtts:// or wss://", b.urls[0].Scheme)
			}
		}
		return
	}
	b.tls = c.certificate("CERT", b.Cert, "KEY", b.Key)
	if b.tls == nil {
		b.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if b.ALPN != "" {
		b.tls.NextProtos = []string{b.ALPN}
	}
	if b.CA != "" {
		b.tls.RootCAs = c.authorities("CA", b.CA)
	}
}

var errScheme = errors.New("a URL begins with mqtt://, mqtts://, ws://, wss:// or unix://")

// parseURL reads the URL of an MQTT server. User and password do not belong in
// it, where logs would show them.
func parseURL(text serverURL) (*url.URL, error) {
	u, err := url.Parse(string(text))
	if err != nil {
		return nil, errors.New("not a URL such as mqtt://broker.example:1883")
	}
	switch u.Scheme {
	case "mqtt", "mqtts", "ws", "wss":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("%s:// names no host: write %s://broker.example", u.Scheme, u.Scheme)
		}
	case "unix":
		if u.Path == "" || u.Host != "" {
			return nil, errors.New("write unix:///path/of/the/socket, with three slashes")
		}
	default:
		return nil, errScheme
	}
	if u.User != nil {
		return nil, errors.New("a user name in the URL would show in logs: give user name and password on their own")
	}
	return u, bridge.CheckPort(u)
}

// writable says why no files can be made in dir, or if it is not there, in the
// nearest directory above it, where it will be made.
func writable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is not a directory", dir)
		case err == nil:
			f, err := os.CreateTemp(dir, ".sluice-*")
			if err != nil {
				return fmt.Errorf("no files can be made in %s: %w", dir, errors.Unwrap(err))
			}
			f.Close()
			return os.Remove(f.Name())
		case !os.IsNotExist(err):
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// digest tells whether any of several files is another than before; those without a name,
// or that can not be read, count as empty.
func digest(paths ...string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(h, "%d ", len(text))
		h.Write(text)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func secure(u *url.URL) bool { return u.Scheme == "mqtts" || u.Scheme == "wss" }
