package access

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
)

// Iterations of PBKDF2 in new hashes: some 10 ms on a server and half a second
// on the smallest Raspberry Pi, which pays once for each account (see proof).
// RFC 7677 asks for 15,000 at least.
const iterations = 50_000

// Bounds on what a users file may ask for, so that neither a slip of the hand
// makes a password worthless nor a login takes minutes.
const (
	minIterations = 1_000
	maxIterations = 10_000_000
	minSalt       = 8
	maxSalt       = 64
)

// hash is a password as the users file keeps it: PBKDF2 with HMAC-SHA-256,
// which is the SaltedPassword of SCRAM (RFC 5802) too.
type hash struct {
	iterations int
	salt       []byte
	sum        [sha256.Size]byte
}

// Hash makes a line's worth of hash for password, with a fresh salt, in the
// PHC string form: $pbkdf2-sha256$i=50000$salt$hash, both parts in Base64
// without padding.
func Hash(password []byte) (string, error) {
	if len(password) == 0 {
		return "", errors.New("the password is empty")
	}
	h := hash{iterations: iterations, salt: make([]byte, 16)}
	rand.Read(h.salt)
	h.sum = h.of(password)
	return h.String(), nil
}

func (h *hash) String() string {
	b64 := base64.RawStdEncoding
	return "$pbkdf2-sha256$i=" + strconv.Itoa(h.iterations) +
		"$" + b64.EncodeToString(h.salt) + "$" + b64.EncodeToString(h.sum[:])
}

// parseHash reads what String writes.
func parseHash(s string) (h hash, err error) {
	part := strings.Split(s, "$")
	if len(part) != 5 || part[0] != "" || part[1] != "pbkdf2-sha256" {
		return h, errors.New("the password is not a $pbkdf2-sha256$ hash: write the line with sluice passwd")
	}
	count, ok := strings.CutPrefix(part[2], "i=")
	h.iterations, err = strconv.Atoi(count)
	if !ok || err != nil || h.iterations < minIterations || h.iterations > maxIterations {
		return h, errors.New("the hash has no i=1000 to i=10000000 for its iterations: write the line with sluice passwd")
	}
	b64 := base64.RawStdEncoding.Strict()
	h.salt, err = b64.DecodeString(part[3])
	if err != nil || len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return h, errors.New("the salt of the hash is not 8 to 64 bytes in Base64 without padding: write the line with sluice passwd")
	}
	sum, err := b64.DecodeString(part[4])
	if err != nil || len(sum) != len(h.sum) {
		return h, errors.New("the hash is not 32 bytes in Base64 without padding: write the line with sluice passwd")
	}
	copy(h.sum[:], sum)
	return h, nil
}

// of hashes password with h's salt and iterations.
func (h *hash) of(password []byte) (sum [sha256.Size]byte) {
	// Key fails on parameters only that FIPS 140 mode refuses, and these are not.
	b, err := pbkdf2.Key(sha256.New, string(password), h.salt, h.iterations, sha256.Size)
	if err != nil {
		panic(err)
	}
	copy(sum[:], b)
	return sum
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
	sum := l.mac(password)
	if a.verified.is(sum) {
		return true
	}
	got := a.hash.of(password)
	if subtle.ConstantTimeCompare(got[:], a.hash.sum[:]) != 1 || !known {
		return false
	}
	a.verified.set(sum)
	return true
}

// mac is the HMAC of password under a key that this process alone has.
func (l *List) mac(password []byte) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, l.key[:])
	m.Write(password)
	m.Sum(sum[:0])
	return sum
}

// proof remembers the one password of an account that was found right, by its
// MAC and not as it is. There is one for each account, which bounds the memory.
// The zero value remembers nothing.
type proof struct {
	mac atomic.Pointer[[sha256.Size]byte]
}

func (p *proof) set(mac [sha256.Size]byte) { p.mac.Store(&mac) }

func (p *proof) is(mac [sha256.Size]byte) bool {
	known := p.mac.Load()
	return known != nil && subtle.ConstantTimeCompare(known[:], mac[:]) == 1
}
