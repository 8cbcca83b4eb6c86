package uplink

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// A cloud that takes at most these, hangs up on what is more, and tells nothing.
func limited(s *server, maxSize, maxTopic, maxSlashes int) {
	s.refuse = func(p *codec.Publish) bool {
		return p.QoS > 1 || len(p.Append(nil, codec.V311)) > maxSize || len(p.Topic) > maxTopic ||
			strings.Count(string(p.Topic), "/") > maxSlashes
	}
}

// mutual is server for a cloud that wants client certificates, and an application
// protocol if one is given.
func (a *authority) mutual(name string, alpn ...string) *tls.Config {
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	conf := a.server(name)
	conf.ClientAuth, conf.ClientCAs, conf.NextProtos = tls.RequireAndVerifyClientCert, clients, alpn
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(alpn) > 0 && !slices.Contains(hello.SupportedProtos, alpn[0]) {
			return nil, errors.New("no ALPN")
		}
		return nil, nil
	}
	return conf
}

// AWS IoT Core: client certificate, ALPN on port 443, no QoS 2, 128 KiB, 256 bytes and
// seven slashes of topic.
func TestAWS(t *testing.T) {
	t.Parallel()
	const addr = "127.0.0.44:443"
	probe, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip(err)
	}
	probe.Close()
	ca := newAuthority(t)
	cloud := &server{tls: ca.mutual("127.0.0.44", "x-amzn-mqtt-ca")}
	limits(t, cloud, addr, 128<<10, ca, "PRESET=aws")
}

// Azure Event Grid: client certificate and name, no QoS 2, 512 KiB, 256 bytes and seven
// slashes of topic.
func TestEventGrid(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cloud := &server{tls: ca.mutual("127.0.0.1")}
	limits(t, cloud, "", 512<<10, ca, "PRESET=azure-eventgrid", "USERNAME=site7")
}

// limits sends a cloud what it takes, and what would have it hang up.
func limits(t *testing.T, cloud *server, addr string, maxSize int, ca *authority, settings ...string) {
	t.Helper()
	limited(cloud, maxSize, 256, 7)
	cloud.answer = func(c *codec.Connect) []byte {
		if c.Version == codec.V5 { // which could tell some of it
			return []byte{0x20, 2, 0, 1}
		}
		return nil
	}
	cloud.start(t, addr)
	cert, key := ca.client("site7")
	g := startGateway(t, append(settings, "URL=mqtts://"+cloud.addr, "CA="+ca.file, "CERT="+cert, "KEY="+key, "UP=plant/# 2", "DOWN=cmd/# 2")...)
	plant.AwaitLog(t, g, 1, plant.Connected)
	publish(t, g, 2, "plant/a", "1")
	publish(t, g, 1, "plant/1/2/3/4/5/6/7", "2")
	publish(t, g, 1, "plant/1/2/3/4/5/6/7/8", "too deep")
	publish(t, g, 2, "plant/"+strings.Repeat("x", 250), "3")
	publish(t, g, 2, "plant/"+strings.Repeat("x", 251), "too long")
	fits := codec.Publish{ID: 1, Message: codec.Message{Topic: []byte("plant/a"), QoS: 1}}
	large := strings.Repeat("y", maxSize-2-len(fits.Append(nil, codec.V311))) // its length takes two bytes more
	publish(t, g, 1, "plant/a", large)
	publish(t, g, 1, "plant/a", large+"y")
	publish(t, g, 1, "plant/a", "4")
	cloud.wantPayloads("all that the cloud takes, and no more", "1", "2", "3", large, "4")
	if _, n := cloud.lastConnect(); n > 2 { // one in MQTT 5
		t.Errorf("%d connections: the cloud has hung up", n)
	}
	for _, text := range []string{"its topic is longer, or has more levels", "larger than upstream takes", "lower QoS"} {
		plant.AwaitLog(t, g, 1, text)
	}
}

// expiring has a cloud check the password of every CONNECT, which check returns the
// end of, and hang up when that has come.
func expiring(s *server, check func(c *codec.Connect) (time.Time, error)) (expired *atomic.Int64) {
	expired = new(atomic.Int64)
	s.answer = func(c *codec.Connect) []byte {
		if c.Version == codec.V5 {
			return []byte{0x20, 2, 0, 1}
		}
		end, err := check(c)
		if err != nil || !end.After(time.Now()) {
			s.t.Logf("refused: %v, good until %v", err, end)
			return []byte{0x20, 2, 0, 5}
		}
		mine := len(s.connects)
		time.AfterFunc(time.Until(end), func() {
			if _, n := s.lastConnect(); n == mine && s.t.Context().Err() == nil {
				expired.Add(1)
				s.hangUp()
			}
		})
		return nil
	}
	return expired
}

// stream publishes for a while and wants everything to arrive, once and in order,
// over some changes of the password.
func stream(t *testing.T, cloud *server, expired *atomic.Int64, settings ...string) {
	t.Helper()
	g := startGateway(t, settings...)
	plant.AwaitLog(t, g, 1, plant.Connected)
	ledger := &device.Ledger{}
	fleet := plant.NewPlayers(t).Fleet(2, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window, s.Ledgers = g.Addr, "plant", 5*time.Millisecond, 100, []*device.Ledger{ledger}
	})
	awaitConnect(t, cloud, 3)
	arrive(t, cloud, fleet, ledger)
	if n := expired.Load(); n != 0 {
		t.Errorf("%d passwords expired while they were used", n)
	}
}

// arrive stops sensors, the only ones with this ledger, and waits until the cloud has all
// that they were promised, once and in order.
func arrive(t *testing.T, cloud *server, fleet []*device.Sensor, ledger *device.Ledger) {
	t.Helper()
	for _, s := range fleet {
		s.Stop()
	}
	seen := 0
	plant.Await(t, func() string {
		payloads := cloud.payloads()
		for ; seen < len(payloads); seen++ {
			var s device.Source
			var n int
			if _, err := fmt.Sscanf(payloads[seen], "%d %d %d", &s.Sensor, &s.QoS, &n); err == nil {
				ledger.Arrived(s, n)
			}
		}
		var unfinished []string
		for _, s := range fleet {
			unfinished = append(unfinished, s.Unfinished()...)
		}
		if list, n := ledger.Missing(3); n > 0 || len(unfinished) > 0 {
			return fmt.Sprintf("%d messages have not arrived: %q, %q", n, list, unfinished)
		}
		return ""
	})
	for qos := byte(1); qos <= 2; qos++ {
		count := ledger.Count(qos)
		if err := count.Broken(2); err != nil { // once, although the cloud knows no QoS 2
			t.Errorf("QoS %d: %v", qos, err)
		}
	}
}

// Azure IoT Hub: shared access signatures that expire, fixed topics, MQTT 3.1.1 at QoS
// 1.
func TestIoTHub(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	key := []byte("0123456789abcdef")
	hub := &server{tls: ca.server("localhost")}
	limited(hub, 256<<10, 65535, 100)
	within := hub.refuse
	hub.refuse = func(p *codec.Publish) bool {
		return within(p) || !strings.HasPrefix(string(p.Topic), "devices/site7/messages/events/")
	}
	expired := expiring(hub, func(c *codec.Connect) (end time.Time, err error) {
		if string(c.Username) != "localhost/site7/?api-version=2021-04-12" || string(c.ClientID) != "site7" {
			return end, fmt.Errorf("user name %q of %q", c.Username, c.ClientID)
		}
		token, ok := strings.CutPrefix(string(c.Password), "SharedAccessSignature ")
		q, err := url.ParseQuery(token)
		if !ok || err != nil || q.Get("sr") != "localhost/devices/site7" {
			return end, fmt.Errorf("password %q", c.Password)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte("localhost%2Fdevices%2Fsite7\n" + q.Get("se")))
		if q.Get("sig") != base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			return end, errors.New("signature")
		}
		seconds, err := strconv.ParseInt(q.Get("se"), 10, 64)
		return time.Unix(seconds, 0), err
	})
	hub.start(t, "")
	_, port, _ := net.SplitHostPort(hub.addr)
	stream(t, hub, expired, "PRESET=azure-iothub", "URL=mqtts://localhost:"+port, "CA="+ca.file, "CLIENT_ID=site7",
		"SAS_KEY="+base64.StdEncoding.EncodeToString(key), "TOKEN_LIFE=10s", "UP=plant/# 2 -> devices/site7/messages/events/source=plant")
	hub.mu.Lock()
	defer hub.mu.Unlock()
	if filters := hub.sessions["site7"].filters; !slices.Contains(filters, "devices/site7/messages/devicebound/#") {
		t.Errorf("subscribed to %q", filters)
	}
}

// Clouds in the manner of Google's IoT Core: a JSON Web Token for a password.
func TestJWT(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "device.pem")
	ca.write(file, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	cloud := &server{tls: ca.server("localhost")}
	limited(cloud, 256<<10, 256, 20)
	expired := expiring(cloud, func(c *codec.Connect) (end time.Time, err error) {
		parts := strings.Split(string(c.Password), ".")
		if len(parts) != 3 || string(c.Username) != "unused" {
			return end, fmt.Errorf("password of %d parts for %q", len(parts), c.Username)
		}
		var raw [3][]byte
		for i, part := range parts {
			if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
				return end, err
			}
		}
		hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, hash[:], raw[2]); err != nil {
			return end, err
		}
		var claims struct {
			Aud      string
			Iat, Exp int64
		}
		if err := json.Unmarshal(raw[1], &claims); err != nil || claims.Aud != "project" {
			return end, fmt.Errorf("claims %s: %v", raw[1], err)
		}
		return time.Unix(claims.Exp, 0), nil
	})
	cloud.start(t, "")
	_, port, _ := net.SplitHostPort(cloud.addr)
	stream(t, cloud, expired, "PRESET=gcp-jwt", "URL=mqtts://localhost:"+port, "CA="+ca.file, "JWT_KEY="+file, "JWT_AUDIENCE=project",
		"TOKEN_LIFE=10s", "UP=plant/# 2", "UP_PREFIX=/devices/site7/events/",
		"CLIENT_ID=projects/project/locations/europe-west1/registries/plants/devices/site7")
}

// hosted is a cloud of MQTT 5 with limits that it tells, and one that it does not: the levels
// of topics, 0 for any. It has many tenants, and so lets in over TLS who says where he wants to
// go, and by a password.
func hosted(t *testing.T, limits *codec.Connack, levels int, settings ...string) {
	t.Helper()
	ca := newAuthority(t)
	conf := ca.server("localhost")
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName != "localhost" {
			return nil, fmt.Errorf("SNI %q", hello.ServerName)
		}
		return nil, nil
	}
	cloud := &server{tls: conf, accept: limits, acked: codec.NoMatchingSubscribers}
	cloud.answer = func(c *codec.Connect) []byte {
		if string(c.Username) != "site7" || string(c.Password) != "s3cret" {
			return (&codec.Connack{Code: codec.BadUserNameOrPassword}).Append(nil, c.Version)
		}
		return nil
	}
	cloud.refuse = func(p *codec.Publish) bool { return levels > 0 && strings.Count(string(p.Topic), "/") >= levels }
	cloud.start(t, "")
	_, port, _ := net.SplitHostPort(cloud.addr)
	settings = append(settings, "URL=mqtts://localhost:"+port, "CA="+ca.file, "USERNAME=site7", "UP=plant/# 2", "DOWN=cmd/# 2", "SLUICE_MAX_PACKET_SIZE=8MiB")

	stranger := startGateway(t, append(settings, "PASSWORD=wrong")...)
	plant.AwaitLog(t, stranger, 1, "bad user name or password")
	stranger.Kill()
	_, before := cloud.lastConnect()
	g := startGateway(t, append(settings, "PASSWORD=s3cret")...)
	plant.AwaitLog(t, g, 1, plant.Connected)

	largest := int(limits.MaximumPacketSize) - 100 // with the topic, and what the bridge adds
	if levels > 0 {
		deepest := "plant" + strings.Repeat("/x", levels-1)
		publish(t, g, 2, deepest+"/x", "too deep")
		publish(t, g, 2, deepest, "1")
	} else {
		publish(t, g, 2, "plant"+strings.Repeat("/x", 150), "1")
	}
	publish(t, g, 1, "plant/a", strings.Repeat("y", largest))
	publish(t, g, 1, "plant/a", strings.Repeat("y", largest+100))
	publish(t, g, 1, "plant/a", "2")
	plant.Await(t, func() string {
		var got []string
		for _, payload := range cloud.payloads() {
			got = append(got, fmt.Sprintf("%.1s of %d", payload, len(payload)))
		}
		if want := []string{"1 of 1", fmt.Sprintf("y of %d", largest), "2 of 1"}; !slices.Equal(got, want) {
			return fmt.Sprintf("all that the cloud takes, and no more: %q have arrived, want %q", got, want)
		}
		return ""
	})
	ledger := &device.Ledger{}
	fleet := plant.NewPlayers(t).Fleet(4, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Window, s.Ledgers = g.Addr, "plant", 100, []*device.Ledger{ledger}
	})
	plant.Await(t, func() string {
		for _, s := range fleet {
			if s.Acked.Load() < 500 {
				return "a sensor has no 500 messages acknowledged"
			}
		}
		return ""
	})
	arrive(t, cloud, fleet, ledger)
	cloud.mu.Lock()
	defer cloud.mu.Unlock()
	if cloud.flying != int(limits.ReceiveMaximum) {
		t.Errorf("at most %d messages were in flight, the cloud takes %d", cloud.flying, limits.ReceiveMaximum)
	}
	if n := len(cloud.connects) - before; n != 1 {
		t.Errorf("%d connections: the cloud has hung up", n)
	}
}

// EMQX as it comes: 1 MiB, 32 messages in flight, 128 levels.
func TestEMQX(t *testing.T) {
	t.Parallel()
	hosted(t, &codec.Connack{MaximumQoS: 2, ReceiveMaximum: 32, MaximumPacketSize: 1 << 20, TopicAliasMaximum: 65535}, 128, "PRESET=emqx")
}

// HiveMQ Cloud: 10 messages in flight, sessions of its own length.
func TestHiveMQ(t *testing.T) {
	t.Parallel()
	hosted(t, &codec.Connack{MaximumQoS: 2, ReceiveMaximum: 10, MaximumPacketSize: 5 << 20, HasSessionExpiry: true, SessionExpiry: 3 * 24 * 3600, TopicAliasMaximum: 5},
		0, "PRESET=hivemq")
}

// RabbitMQ itself, which has no QoS 2.
func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	m, err := rig.StartRabbitMQ(t.TempDir())
	plant.Need(t, err)
	t.Cleanup(m.Kill)
	g := startGateway(t, "PRESET=rabbitmq", "URL=mqtt://"+m.MQTT, "UP=plant/# 2", "DOWN=cmd/# 2")
	plant.AwaitLog(t, g, 1, plant.Connected)
	players := plant.NewPlayers(t)
	center := players.Consumer("center", m.MQTT, "plant/#", codec.V311)
	players.Fleet(2, func(d *device.Sensor) {
		d.Addr, d.Topic, d.Interval, d.Window = g.Addr, "plant", 5*time.Millisecond, 50
	})
	time.Sleep(time.Second)
	players.Settle(patience)
	for qos := byte(1); qos <= 2; qos++ {
		if err := center.Ledger.Count(qos).Broken(2); err != nil {
			t.Errorf("QoS %d: %v", qos, err)
		}
	}
	if !strings.Contains(g.Log.String(), "lower QoS") {
		t.Error("QoS 2 went up as it was")
	}
}
