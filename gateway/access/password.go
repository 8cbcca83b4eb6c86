package access

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// Iterations of PBKDF2 in new hashes: some 10 ms on a server and half a second
// on the smallest Raspberry Pi, which pays once for each account (see proof).
// RFC 7677 asks for 15,000 at least.
const iterations = 50_000

// Bounds on what a users file may ask for, so that neither a slip of the hand
// makes a password worthless nor a login takes minutes. With fewer iterations a
// client of SCRAM gives up. [RFC 7677 section 4]
const (
	minIterations = 4_096
	maxIterations = 10_000_000
	minSalt       = 8
	maxSalt       = 64
)

// hash is a password as the users file keeps it: the two keys of SCRAM, both of
// which come from the password, and neither of which does for it. [RFC 5802 section 3]
type hash struct {
	iterations int
	salt       []byte
	stored     [sha256.Size]byte // StoredKey: what a client proves to hold the origin of
	server     [sha256.Size]byte // ServerKey: by which the server proves that it knows the client
}

// Hash makes a line's worth of hash for password, with a fresh salt:
// $scram-sha-256$i=50000$salt$StoredKey$ServerKey, the last three in Base64
// without padding.
func Hash(password []byte) (string, error) {
	if prepare(password) == "" {
		return "", errors.New("the password is empty")
	}
	h := hash{iterations: iterations, salt: make([]byte, 16)}
	rand.Read(h.salt)
	h.stored, h.server = h.keys(password)
	return h.String(), nil
}

func (h *hash) String() string {
	b64 := base64.RawStdEncoding
	return "$scram-sha-256$i=" + strconv.Itoa(h.iterations) + "$" + b64.EncodeToString(h.salt) +
		"$" + b64.EncodeToString(h.stored[:]) + "$" + b64.EncodeToString(h.server[:])
}

// parseHash reads what String writes.
func parseHash(s string) (h hash, err error) {
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "scram-sha-256" {
		return h, errors.New("the password is not a $scram-sha-256$ hash: write the line with sluice passwd")
	}
	count, ok := strings.CutPrefix(part[2], "i=")
	h.iterations, err = strconv.Atoi(count)
	if !ok || err != nil || h.iterations < minIterations || h.iterations > maxIterations {
		return h, fmt.Errorf("the hash has no i=%d to i=%d for its iterations: write the line with sluice passwd", minIterations, maxIterations)
	}
	b64 := base64.RawStdEncoding.Strict()
	h.salt, err = b64.DecodeString(part[3])
	if err != nil || len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return h, errors.New("the salt of the hash is not 8 to 64 bytes in Base64 without padding: write the line with sluice passwd")
	}
	for i, key := range []*[sha256.Size]byte{&h.stored, &h.server} {
		b, err := b64.DecodeString(part[4+i])
		if err != nil || len(b) != len(key) {
			return h, errors.New("a key of the hash is not 32 bytes in Base64 without padding: write the line with sluice passwd")
		}
		copy(key[:], b)
	}
	return h, nil
}

// keys makes the keys of password with h's salt and iterations.
func (h *hash) keys(password []byte) (stored, server [sha256.Size]byte) {
	// Key fails on parameters only that FIPS 140 mode refuses, and these are not.
	salted, err := pbkdf2.Key(sha256.New, prepare(password), h.salt, h.iterations, sha256.Size)
	if err != nil {
		panic(err)
	}
	client := mac(salted, []byte("Client Key"))
	return sha256.Sum256(client[:]), mac(salted, []byte("Server Key"))
}

// Verify reports whether password is user's. It is slow on purpose, as slow for
// a user who does not exist, and compares in constant time: the caller bounds
// how many run at once. It is quick for a password that was right before, so
// that a thousand devices may come back together.
func (l *List) Verify(user string, password []byte) bool {
	if l == nil {
		return false
	}
	a, known := l.accounts[user]
	if !known {
		a = &l.decoy
	}
	sum := mac(l.key[:], password)
	if a.verified.is(sum) {
		return true
	}
	got, _ := a.hash.keys(password)
	if subtle.ConstantTimeCompare(got[:], a.hash.stored[:]) != 1 || !known {
		return false
	}
	a.verified.set(sum)
	return true
}

// mac is the HMAC-SHA-256 of text under key.
func mac(key, text []byte) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, key)
	m.Write(text)
	m.Sum(sum[:0])
	return sum
}

// proof remembers the one password of an account that was found right, by its
// MAC under a key that this process alone has, and not as it is. There is one for
// each account, which bounds the memory. The zero value remembers nothing.
type proof struct {
	mac atomic.Pointer[[sha256.Size]byte]
}

func (p *proof) set(mac [sha256.Size]byte) { p.mac.Store(&mac) }

func (p *proof) is(mac [sha256.Size]byte) bool {
	known := p.mac.Load()
	return known != nil && subtle.ConstantTimeCompare(known[:], mac[:]) == 1
}
