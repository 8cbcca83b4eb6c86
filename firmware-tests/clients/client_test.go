package clients

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// message is an application message as a client sees it. QoS and Retain are as
// given to Publish, or as received.
type message struct {
	Topic, Payload string
	QoS            byte
	Retain         bool

	// MQTT 5.
	Expiry      uint32 // seconds; 0: none
	ContentType string
	User        []string // name, value, name, value, ...
}

func (m message) String() string {
	return fmt.Sprintf("%s %q, QoS %d, retain %v, expiry %d, content %q, user %q",
		m.Topic, m.Payload, m.QoS, m.Retain, m.Expiry, m.ContentType, m.User)
}

// options is what a client connects with.
type options struct {
	url     string // tcp://, tls://, ws:// or wss://
	version string // 3.1.1 or 5.0
	ca      string // path of the CA's certificate
	id      string
	persist bool // the session outlives the connection
	will    *message
}

// client is one library's client. Calls return when the server has answered.
type client interface {
	connect(options) (sessionPresent bool, err error)
	subscribe(filter string, qos byte) error
	publish(message) error
	messages() <-chan message
	disconnect()
}

// player is a client behind a line of its own, which can break.
type player struct {
	client
	line *rig.Proxy
}

// drop ends the connection without DISCONNECT.
func (p *player) drop() { p.line.Close() }

// patience bounds every wait for something that should come.
const patience = 20 * time.Second

// connect makes a client and ends it with the test.
func connect(t *testing.T, newClient func(*testing.T) client, o options) (p *player, sessionPresent bool) {
	t.Helper()
	u, err := url.Parse(o.url)
	if err != nil {
		t.Fatal(err)
	}
	line, err := rig.NewProxy(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	u.Host = line.Addr
	o.url = u.String()
	p = &player{newClient(t), line}
	t.Cleanup(func() {
		if len(p.messages()) > 0 {
			t.Errorf("%s: there came besides: %v", o.id, <-p.messages())
		}
	})
	if sessionPresent, err = p.connect(o); err != nil {
		t.Fatalf("%s connects: %v", o.id, err)
	}
	return p, sessionPresent
}

func subscribe(t *testing.T, c client, filter string, qos byte) {
	t.Helper()
	if err := c.subscribe(filter, qos); err != nil {
		t.Fatalf("subscribe to %s: %v", filter, err)
	}
}

func publish(t *testing.T, c client, m message) {
	t.Helper()
	if err := c.publish(m); err != nil {
		t.Fatalf("publish %v: %v", m, err)
	}
}

// want waits for the next message, and compares all but the expiry, which counts
// down.
func want(t *testing.T, c client, m message) {
	t.Helper()
	select {
	case got := <-c.messages():
		if got.Expiry > m.Expiry || m.Expiry > 0 && got.Expiry == 0 {
			t.Errorf("expiry %d, want 1 to %d", got.Expiry, m.Expiry)
		}
		got.Expiry = m.Expiry
		if got.String() != m.String() {
			t.Fatalf("got %v, want %v", got, m)
		}
	case <-time.After(patience):
		t.Fatalf("%v did not arrive", m)
	}
}

// trusting returns a TLS configuration for a CA.
func trusting(ca string) (*tls.Config, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, nil
}
