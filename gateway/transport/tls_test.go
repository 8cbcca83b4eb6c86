package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// certificate makes one that vouches for itself.
func certificate(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

var serverCert, clientCert = sync.OnceValue(func() tls.Certificate { return certificate("gateway") }),
	sync.OnceValue(func() tls.Certificate { return certificate("pump") })

func pool(c tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.Leaf)
	return p
}

func listenTLS(t testing.TB, tr *Transport, network string) string {
	a, err := tr.Listen(network, "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{serverCert()},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    pool(clientCert()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func tlsClient(t testing.TB, addr string) *tls.Conn {
	return tls.Client(dialTCP(t, addr), &tls.Config{RootCAs: pool(serverCert()), ServerName: "gateway"})
}

func dialTLS(t testing.TB, tr *Transport, network string) net.Conn {
	return tlsClient(t, listenTLS(t, tr, network))
}

func TestPeerCertificate(t *testing.T) {
	names := make(chan string, 1)
	tr := start(t, Config{}, &recorder{receive: echo, open: func(c *Conn) {
		if crt := c.PeerCertificate(); crt != nil {
			names <- crt.Subject.CommonName
		} else {
			names <- ""
		}
	}})
	addr := listenTLS(t, tr, "tls")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, certs := range [][]tls.Certificate{nil, {clientCert()}} {
			c := tls.Client(dialTCP(t, addr), &tls.Config{
				RootCAs: pool(serverCert()), ServerName: "gateway",
				MinVersion: version, MaxVersion: version, Certificates: certs,
			})
			c.Write([]byte("x"))
			want(t, "echo", c, []byte("x"))
			name := ""
			if certs != nil {
				name = "pump"
			}
			if got := <-names; got != name {
				t.Errorf("version %x: certificate of %q, want %q", version, got, name)
			}
			c.Close()
		}
	}
}

func TestHandshakeRefused(t *testing.T) {
	tr := start(t, Config{HandshakeTimeout: 100 * time.Millisecond}, &recorder{
		open: func(c *Conn) { t.Error("Open without a handshake") },
	})
	addr := listenTLS(t, tr, "tls")
	old := tls.Client(dialTCP(t, addr), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err := old.Handshake(); err == nil {
		t.Error("TLS 1.1 is served")
	}
	old.Close()
	plain := dialTCP(t, addr)
	plain.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
	wantGone(t, "a client without TLS", plain)
	silent := dialTCP(t, addr)
	before := time.Now()
	wantGone(t, "a client that says nothing", silent)
	if d := time.Since(before); d < 50*time.Millisecond || d > 2*time.Second {
		t.Errorf("the handshake timed out after %v", d)
	}
	if !settles(func() bool { return tr.conns.Load() == 0 }) {
		t.Error("connections without a handshake are still counted")
	}
}

// The buffer of a stream grows while there is much to read, and shrinks after.
func TestStreamUnderLoad(t *testing.T) {
	most, n := 0, 0
	tr := start(t, Config{}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
		most = max(most, len(b))
		if n += len(b); n == 4<<20+5 {
			send(c, []byte("done"))
		}
		return len(b), nil
	}})
	client, server := tcpPair(t)
	tr.Serve(tls.Server(server, &tls.Config{Certificates: []tls.Certificate{serverCert()}}))
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	defer c.Close()
	c.Write(noise(4 << 20))
	c.Write([]byte("small"))
	want(t, "the end", c, []byte("done"))
	if most < 8<<10 || most > maxRead {
		t.Errorf("%d bytes at most in one read", most)
	}
}
