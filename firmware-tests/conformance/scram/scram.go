// Package scram is the client's part of SCRAM-SHA-256, made from the RFCs: it shares
// nothing with what the gateway uses.
package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Method is its name, RFC 7677.
const Method = "SCRAM-SHA-256"

// Client is one authentication, RFC 5802: First, Answer, Verify.
type Client struct {
	User, Password string

	nonce   string
	bare    string // the first message without its header
	message string // all that the proofs are about
	salted  []byte
}

// First is the message that begins it.
func (s *Client) First() string {
	b := make([]byte, 18)
	rand.Read(b)
	s.nonce = base64.StdEncoding.EncodeToString(b)
	s.bare = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.User) + ",r=" + s.nonce
	return "n,," + s.bare
}

// Answer is the proof, to the challenge of the server.
func (s *Client) Answer(challenge string) (string, error) {
	var nonce, salt64, rounds string
	for _, field := range strings.Split(challenge, ",") {
		switch name, value, _ := strings.Cut(field, "="); name {
		case "r":
			nonce = value
		case "s":
			salt64 = value
		case "i":
			rounds = value
		default:
			return "", fmt.Errorf("unknown field in %q", challenge)
		}
	}
	salt, err := base64.StdEncoding.DecodeString(salt64)
	n, err2 := strconv.Atoi(rounds)
	if err != nil || err2 != nil || len(salt) == 0 || n < 4096 || len(nonce) <= len(s.nonce) || !strings.HasPrefix(nonce, s.nonce) {
		return "", fmt.Errorf("the challenge %q does not go with the nonce %q", challenge, s.nonce)
	}
	if s.salted, err = pbkdf2.Key(sha256.New, s.Password, salt, n, sha256.Size); err != nil {
		return "", err
	}
	last := "c=biws,r=" + nonce
	s.message = s.bare + "," + challenge + "," + last
	key := mac(s.salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := make([]byte, len(key))
	subtle.XORBytes(proof, key, mac(stored[:], s.message))
	return last + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// Verify checks that the server knows the password too.
func (s *Client) Verify(final string) error {
	want := "v=" + base64.StdEncoding.EncodeToString(mac(mac(s.salted, "Server Key"), s.message))
	if final != want {
		return fmt.Errorf("the server's signature is %q, want %q", final, want)
	}
	return nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
