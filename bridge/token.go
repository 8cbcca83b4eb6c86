package bridge

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// A Token makes passwords that expire. A bridge gives each connection a new one, and
// connects anew when four fifths of its life are over.
type Token interface {
	// password is good from now on for life.
	password(now time.Time, life time.Duration) ([]byte, error)
}

// SAS are the shared access signatures of Azure.
type SAS struct {
	Key      []byte // of the device; in Azure's words base64
	Resource string // host/devices/id
}

func (s *SAS) password(now time.Time, life time.Duration) ([]byte, error) {
	resource, end := url.QueryEscape(s.Resource), now.Add(life).Unix()
	mac := hmac.New(sha256.New, s.Key)
	fmt.Fprintf(mac, "%s\n%d", resource, end)
	signature := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return fmt.Appendf(nil, "SharedAccessSignature sr=%s&sig=%s&se=%d", resource, signature, end), nil
}

// JWT are JSON Web Tokens (RFC 7519) by RS256 or ES256.
type JWT struct {
	Key      crypto.Signer // *rsa.PrivateKey, or *ecdsa.PrivateKey on P-256
	Audience string
}

// early is how far the clock of the other side may be behind.
const early = time.Minute

func (j *JWT) password(now time.Time, life time.Duration) ([]byte, error) {
	algorithm := "RS256"
	if _, ok := j.Key.(*ecdsa.PrivateKey); ok {
		algorithm = "ES256"
	}
	part := func(b []byte, v any) []byte {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // of strings and numbers
		}
		return base64.RawURLEncoding.AppendEncode(b, text)
	}
	text := part(nil, map[string]string{"alg": algorithm, "typ": "JWT"})
	text = part(append(text, '.'), map[string]any{"aud": j.Audience, "iat": now.Add(-early).Unix(), "exp": now.Add(life).Unix()})
	hash := sha256.Sum256(text)
	var signature []byte
	var err error
	switch key := j.Key.(type) {
	case *ecdsa.PrivateKey: // r and s in 32 bytes each (RFC 7518, 3.4)
		r, s, signErr := ecdsa.Sign(rand.Reader, key, hash[:])
		if err = signErr; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	default:
		signature, err = key.Sign(rand.Reader, hash[:], crypto.SHA256)
	}
	if err != nil {
		return nil, fmt.Errorf("sign the token: %w", err)
	}
	return base64.RawURLEncoding.AppendEncode(append(text, '.'), signature), nil
}

// LoadSigner reads a private key for JWT from a file in PEM.
func LoadSigner(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if rsaKey, rsaErr := x509.ParsePKCS1PrivateKey(block.Bytes); rsaErr == nil {
			key, err = rsaKey, nil
		} else if ecKey, ecErr := x509.ParseECPrivateKey(block.Bytes); ecErr == nil {
			key, err = ecKey, nil
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < 2048 {
			return nil, fmt.Errorf("%s: an RSA key of %d bits: RS256 needs 2048 at least", path, bits)
		}
		return key, nil
	case *ecdsa.PrivateKey:
		if key.Curve.Params().BitSize == 256 {
			return key, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key in PEM: %w", path, err)
	}
	return nil, fmt.Errorf("%s: neither an RSA key nor one on the curve P-256", path)
}

var errRenew = errors.New("the password is about to expire")

// renew ends the link before its password expires, when nothing is under way.
func (l *link) renew(ctx context.Context) error {
	select {
	case <-time.After(time.Until(l.up.since.Add(l.cfg.TokenLife * 4 / 5))):
	case <-ctx.Done():
		return nil
	}
	l.settle(ctx, l.cfg.AckTimeout)
	return errRenew
}
