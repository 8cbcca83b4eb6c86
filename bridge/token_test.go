package bridge

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// The example is Azure's own way in Python (hmac, base64, urllib), run once.
func TestSAS(t *testing.T) {
	key, err := base64.StdEncoding.DecodeString("MDEyMzQ1Njc4OWFiY2RlZg==")
	if err != nil {
		t.Fatal(err)
	}
	s := &SAS{Key: key, Resource: "hub.azure-devices.net/devices/site 7"}
	got, err := s.password(time.Unix(1_700_000_000, 0), time.Hour)
	want := "SharedAccessSignature sr=hub.azure-devices.net%2Fdevices%2Fsite+7&sig=Zn1SClxS2P5iy7RzOA%2B53Bd%2F8Vo7mRiALO95HckwSzg%3D&se=1700003600"
	if err != nil || string(got) != want {
		t.Errorf("password %s, %v, want %s", got, err, want)
	}
}

func TestJWT(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(rsaKey)
	ec, _ := x509.MarshalECPrivateKey(ecKey)
	now := time.Unix(1_700_000_000, 0)
	for _, form := range []struct {
		algorithm, kind string
		der             []byte
		verify          func(hash, signature []byte) bool
	}{
		{"RS256", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), func(hash, sig []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, hash, sig) == nil
		}},
		{"RS256", "PRIVATE KEY", pkcs8, func(hash, sig []byte) bool {
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, hash, sig) == nil
		}},
		{"ES256", "EC PRIVATE KEY", ec, func(hash, sig []byte) bool {
			return len(sig) == 64 && ecdsa.Verify(&ecKey.PublicKey, hash, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		}},
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: form.kind, Bytes: form.der}), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := LoadSigner(file)
		if err != nil {
			t.Fatal(err)
		}
		token, err := (&JWT{key, "project"}).password(now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(token), ".")
		var raw [3][]byte
		for i, part := range parts {
			if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
				t.Fatal(err)
			}
		}
		var header struct{ Alg, Typ string }
		var claims struct {
			Aud      string
			Iat, Exp int64
		}
		if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &claims) != nil {
			t.Fatalf("%s", token)
		}
		if header.Alg != form.algorithm || header.Typ != "JWT" || claims.Aud != "project" || claims.Exp != now.Unix()+3600 || claims.Iat > now.Unix() {
			t.Errorf("%+v %+v", header, claims)
		}
		hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if !form.verify(hash[:], raw[2]) {
			t.Errorf("%s: the signature is wrong", form.kind)
		}
	}
}

func TestLoadSigner(t *testing.T) {
	small, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalECPrivateKey(small)
	for name, text := range map[string][]byte{
		"no private key in PEM":             []byte("text"),
		"holds no private key":              pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"neither an RSA key nor one on the": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSigner(file); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), file) {
			t.Errorf("%v, want %q", err, name)
		}
	}
	if _, err := LoadSigner("none"); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// clock is a token that says when it was made.
type clock struct{}

func (clock) password(now time.Time, life time.Duration) ([]byte, error) {
	return fmt.Appendf(nil, "from %d for %v", now.Unix(), life), nil
}

func TestTokenIsRenewed(t *testing.T) {
	cfg := Config{Up: []Rule{{Filter: "#", QoS: 2}}, Username: "me", Token: clock{}, TokenLife: 10 * time.Minute, KeepAlive: time.Hour, AckTimeout: time.Hour}
	play(t, cfg, func(t *testing.T, s *scene) {
		next := func() *peer {
			t.Helper()
			up := s.dialled(codec.V5)
			c := s.b.connectPacket(codec.V5)
			c.Password, _ = clock{}.password(time.Now(), 10*time.Minute)
			up.want("with a password made now", c)
			up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
			return up
		}
		up := next()
		local := s.local(100, &codec.Connack{})
		began := time.Now()
		time.Sleep(7*time.Minute + 59*time.Second)
		local.send(publish(1, 2, "a", ""))
		up.want("goes up", publish(1, 2, "a", ""))
		time.Sleep(2 * time.Second)
		local.send(publish(2, 1, "a", ""))
		up.wantIdle("nothing new is begun")
		up.send(&codec.Pubrec{ID: 1})
		local.want("what is under way is finished", &codec.Pubrec{ID: 1})
		local.send(&codec.Pubrel{ID: 1})
		up.want("", &codec.Pubrel{ID: 1})
		up.send(&codec.Pubcomp{ID: 1})
		local.want("", &codec.Pubcomp{ID: 1})
		up.want("then the bridge connects anew", &codec.Disconnect{})
		if took := time.Since(began); took < 8*time.Minute || took > 8*time.Minute+2*time.Second {
			t.Errorf("after %v, want four fifths of ten minutes", took)
		}
		up = next()
		local = s.local(100, &codec.Connack{})
		local.send(publish(2, 1, "a", ""))
		up.want("and what had to wait goes up", publish(2, 1, "a", ""))
		if strings.Contains(s.log.String(), "from ") && strings.Contains(s.log.String(), "for 10m") {
			t.Error("the log shows a password")
		}
	})
}

func TestLimitsThatUpstreamDoesNotTell(t *testing.T) {
	cfg := Config{Up: []Rule{{Filter: "#", QoS: 2}}, Down: []Rule{{Filter: "cmd", QoS: 2}}, Version: codec.V311, MaxQoS: 1, MaxUpSize: 60, MaxTopic: 20, MaxLevels: 3}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.upstream(codec.V311)
		up.send(&codec.Connack{})
		local := s.local(100, &codec.Connack{})
		up.want("not at QoS 2", &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{{Filter: []byte("cmd"), QoS: 1}}})
		local.send(publish(1, 2, "a/b/c", ""), publish(2, 2, "a/b/c/d", ""), publish(3, 1, strings.Repeat("x", 20), ""),
			publish(4, 1, strings.Repeat("x", 21), ""), publish(5, 1, "a", string(bytes.Repeat([]byte{'y'}, 53))), publish(6, 1, "a", strings.Repeat("y", 54)))
		up.want("what it takes", publish(1, 1, "a/b/c", ""), publish(3, 1, strings.Repeat("x", 20), ""), publish(5, 1, "a", strings.Repeat("y", 53)))
		local.want("the rest is refused", &codec.Pubrec{ID: 2, Code: codec.TopicNameInvalid}, &codec.Puback{ID: 4, Code: codec.TopicNameInvalid},
			&codec.Puback{ID: 6, Code: codec.ImplementationSpecificError})
		if st := s.b.Status(); st.Unnamed != 2 || st.TooLarge != 1 || st.Lowered != 1 {
			t.Errorf("Status() = %+v", st)
		}
		up.conn.Close()
		s.upstream(codec.V311) // never another
	})
}
