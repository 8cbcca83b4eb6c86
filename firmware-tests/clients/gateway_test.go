package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// gateway is the gateway under test.
type gateway struct {
	urls map[string]string // of each wire
	ca   string            // path of the certificate that signed the gateway's
}

// wires are the ways to the gateway.
var wires = []string{"tcp", "tls", "ws", "wss"}

// each plays on every wire in every version, side by side, as subtests
// WIRE/VERSION. It skips what cannot has a reason for, a wire or a version.
func (g gateway) each(t *testing.T, versions []string, cannot map[string]string, play func(t *testing.T, o options)) {
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			for _, version := range versions {
				t.Run(version, func(t *testing.T) {
					t.Parallel()
					for _, what := range []string{wire, version} {
						if why, found := cannot[what]; found {
							t.Skip(why)
						}
					}
					play(t, options{url: g.urls[wire], version: version, ca: g.ca})
				})
			}
		})
	}
}

// startGateway runs the gateway with all its listeners.
func startGateway(t *testing.T) gateway {
	t.Helper()
	dir := t.TempDir()
	ca := makeCertificates(t, dir)
	addrs, err := rig.FreeAddrs(2)
	if err != nil {
		t.Fatal(err)
	}
	g, err := rig.NewGateway(filepath.Join(dir, "data"),
		"SLUICE_MQTTS_ADDR="+addrs[0], "SLUICE_WSS_ADDR="+addrs[1],
		"SLUICE_TLS_CERT="+filepath.Join(dir, "server.pem"), "SLUICE_TLS_KEY="+filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Terminate(); err != nil {
			t.Errorf("%v\n%s", err, g.Log.Tail(20))
		}
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", g.Log.Tail(40))
		}
	})
	return gateway{
		urls: map[string]string{
			"tcp": "tcp://" + g.Addr, "tls": "tls://" + addrs[0],
			"ws": "ws://" + g.WS + "/mqtt", "wss": "wss://" + addrs[1] + "/mqtt",
		},
		ca: ca,
	}
}

// makeCertificates writes ca.pem, and server.pem and server.key signed by it.
func makeCertificates(t *testing.T, dir string) (ca string) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	check(err)
	ca = write("ca.pem", "CERTIFICATE", der)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "gateway"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err = x509.CreateCertificate(rand.Reader, server, root, &key.PublicKey, caKey)
	check(err)
	write("server.pem", "CERTIFICATE", der)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	check(err)
	write("server.key", "PRIVATE KEY", der)
	return ca
}
