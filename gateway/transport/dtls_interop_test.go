package transport

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openssl runs openssl s_client against l, sends a line, and returns what was said until the
// line came back, or all if it did not.
func openssl(t *testing.T, l *dtlsListener, args ...string) (output string, echoed bool) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	ctx := t.Context()
	cmd := exec.CommandContext(ctx, path, append([]string{"s_client", "-dtls1_2", "-connect", l.u.Addr().String()}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer end.Stop()
	go func() {
		cmd.Wait()
		w.Close()
	}()
	var said strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		said.WriteString(line + "\n")
		switch {
		case strings.Contains(line, "Verify return code"): // it stands at the end of what is told of the session
			io.WriteString(in, "hello from openssl\n")
		case strings.HasSuffix(line, "hello from openssl"):
			echoed = true
			io.WriteString(in, "Q\n") // a line of its own: quit
			in.Close()
		}
	}
	return said.String(), echoed
}

func TestDTLSOpenSSL(t *testing.T) {
	t.Parallel() // it waits most of the time
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, CCM8: true}, h)
	key := hex.EncodeToString([]byte("key of openssl"))
	for _, suite := range []string{"PSK-CHACHA20-POLY1305", "PSK-AES256-CCM", "PSK-AES128-CCM8"} {
		t.Run(suite, func(t *testing.T) {
			session := filepath.Join(t.TempDir(), "session")
			args := []string{"-psk_identity", "openssl", "-psk", key, "-cipher", suite + ":@SECLEVEL=0"}
			said, echoed := openssl(t, l, append(args, "-sess_out", session)...)
			if !echoed || !strings.Contains(said, "New, TLSv1.2, Cipher is "+suite) {
				t.Fatalf("no echo by %s:\n%s", suite, said)
			}
			if peer := (<-h.got).Peer(); peer.User != "user of openssl" {
				t.Errorf("peer %v", peer)
			}
			said, echoed = openssl(t, l, append(args, "-sess_in", session)...)
			if !echoed || !strings.Contains(said, "Reused, TLSv1.2, Cipher is "+suite) {
				t.Fatalf("not resumed by %s:\n%s", suite, said)
			}
			if peer := (<-h.got).Peer(); peer.User != "user of openssl" {
				t.Errorf("peer of the resumed session: %v", peer)
			}
		})
	}
	t.Run("others are refused", func(t *testing.T) {
		said, echoed := openssl(t, l, "-psk_identity", "openssl", "-psk", key, "-cipher", "PSK-AES128-GCM-SHA256:PSK-AES128-CBC-SHA256:PSK-AES128-CCM")
		if echoed || !strings.Contains(said, "insufficient security") {
			t.Errorf("a suite with nonces at random:\n%s", said)
		}
	})
}

// authority makes certificates for the tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	c, _ := a.issue("authority", true)
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate, and writes it to a file with its key.
func (a *authority) issue(name string, ca bool) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: ca,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, by := template, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	path := filepath.Join(a.dir, name+".pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, path
}

func TestDTLSCertificates(t *testing.T) {
	t.Parallel() // it waits most of the time
	ca := newAuthority(t)
	server, _ := ca.issue("gateway", false)
	client, clientFile := ca.issue("pump7", false)
	forged, forgedFile := newAuthority(t).issue("pump7", false)
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, Certificates: []tls.Certificate{server}, ClientCAs: ca.pool()}, h)
	_, open := listenDTLS(t, DTLSConfig{Certificates: []tls.Certificate{server}, Anonymous: true}, h)
	caFile := filepath.Join(ca.dir, "authority.pem")

	t.Run("go", func(t *testing.T) {
		wantEcho(t, dialDTLS(t, l, DTLSClient{Roots: ca.pool(), ServerName: "gateway", Certificates: []tls.Certificate{client}}), "hello")
		if peer := (<-h.got).Peer(); peer != (Identity{User: "pump7", Name: "pump7"}) {
			t.Errorf("peer %v", peer)
		}
		wantEcho(t, dialDTLS(t, l, psk("beside")), "hello")
		if peer := (<-h.got).Peer(); peer.User != "user of beside" {
			t.Errorf("peer %v", peer)
		}
		wantEcho(t, dialDTLS(t, open, DTLSClient{Roots: ca.pool(), ServerName: "gateway"}), "hello")
		if peer := (<-h.got).Peer(); peer != (Identity{}) {
			t.Errorf("peer %v", peer)
		}
		for what, conf := range map[string]DTLSClient{
			"no certificate":        {Roots: ca.pool(), ServerName: "gateway"},
			"a forged certificate":  {Roots: ca.pool(), ServerName: "gateway", Certificates: []tls.Certificate{forged}},
			"other roots":           {Roots: newAuthority(t).pool(), ServerName: "gateway", Certificates: []tls.Certificate{client}},
			"a server of that name": {Roots: ca.pool(), ServerName: "other", Certificates: []tls.Certificate{client}},
		} {
			if c, err := tryDTLS(l, conf); err == nil {
				t.Errorf("let in with %s", what)
				c.Close()
			}
		}
	})
	t.Run("openssl", func(t *testing.T) {
		cipher := []string{"-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "-CAfile", caFile, "-verify_return_error"}
		said, echoed := openssl(t, l, append(cipher, "-cert", clientFile, "-key", clientFile)...)
		if !echoed || !strings.Contains(said, "Verify return code: 0 (ok)") {
			t.Fatalf("no echo:\n%s", said)
		}
		if peer := (<-h.got).Peer(); peer.User != "pump7" {
			t.Errorf("peer %v", peer)
		}
		for what, args := range map[string][]string{"no certificate": nil, "a forged certificate": {"-cert", forgedFile, "-key", forgedFile}} {
			if said, echoed := openssl(t, l, append(args, cipher...)...); echoed {
				t.Errorf("let in with %s:\n%s", what, said)
			}
		}
	})
}
