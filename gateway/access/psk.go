package access

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	minKey      = 16 // bytes: fewer can be guessed
	maxKey      = 64 // every peer has to take as many [RFC 4279 section 5.4]
	maxIdentity = 128
	maxKeysFile = 16 << 20

	// lookAgain is how old what is known of the file may be.
	lookAgain = time.Second
)

// Keys is a file of pre-shared keys, for DTLS:
//
//	# identity, key in hexadecimal or Base64, account
//	pump7 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 pump7
//
// It follows the file: what is changed there counts within a second. A file
// that has become faulty changes nothing. Keys is safe for concurrent use.
type Keys struct {
	// Set once.
	path  string
	fault func(error)

	// Guarded by mu.
	mu      sync.Mutex
	byName  map[string]sharedKey
	looked  time.Time
	changed stamp
}

type sharedKey struct {
	key  []byte
	user string
}

// stamp tells one content of a file from another; the zero value is of no file.
type stamp struct {
	time time.Time
	size int64
	mode os.FileMode
}

// LoadKeys reads the file of pre-shared keys at path. One that is not there
// holds no keys, until it is. Its error names every fault, one to a line, with
// line number and remedy, and never a key; fault, if it is not nil, is told of those that a
// change of the file brings later.
func LoadKeys(path string, fault func(error)) (*Keys, error) {
	k := &Keys{path: path, fault: fault}
	if err := k.look(); err != nil {
		return nil, err
	}
	return k, nil
}

// Len is the number of keys.
func (k *Keys) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.byName)
}

// Find returns the key of an identity and the account that it stands for. The
// key is not to be changed.
func (k *Keys) Find(identity string) (key []byte, user string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) >= lookAgain {
		if err := k.look(); err != nil && k.fault != nil {
			k.fault(err)
		}
	}
	s, ok := k.byName[identity]
	return s.key, s.user, ok
}

// look reads the file if it has changed, and says what is wrong with it, once.
func (k *Keys) look() error {
	k.looked = time.Now()
	f, err := os.Open(k.path)
	if os.IsNotExist(err) {
		k.byName, k.changed = nil, stamp{}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now := stamp{info.ModTime(), info.Size(), info.Mode()}
	if now == k.changed {
		return nil
	}
	k.changed = now
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s: mode %04o lets others read the keys: chmod 600 it", k.path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeysFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxKeysFile {
		return fmt.Errorf("%s: more than %d MiB are no file of keys", k.path, maxKeysFile>>20)
	}
	byName, err := parseKeys(k.path, string(text))
	if err != nil {
		return err
	}
	k.byName = byName
	return nil
}

// parseKeys reads the text of a file of keys; name stands before its faults.
func parseKeys(name, text string) (map[string]sharedKey, error) {
	byName := make(map[string]sharedKey)
	lines := make(map[string]int)
	var faults []error
	number := 0
	for line := range strings.Lines(text) {
		number++
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, number, fmt.Errorf(format, args...)))
		}
		identity, rest := cutField(strings.TrimSpace(line))
		encoded, user := cutField(rest)
		if identity == "" || identity[0] == '#' {
			continue
		}
		if err := CheckIdentity(identity); err != nil {
			fault("%w", err)
			continue
		}
		key, err := ParseKey(encoded)
		switch {
		case lines[identity] != 0:
			fault("a second key of %q, the first is on line %d: remove one", identity, lines[identity])
		case err != nil:
			fault("the key of %q: %w", identity, err)
		case user == "":
			fault("%q stands for no account: write identity, key and account", identity)
		default:
			if err := CheckName(user); err != nil {
				fault("%q: %w", identity, err)
			}
		}
		lines[identity] = number
		byName[identity] = sharedKey{key, user}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return byName, nil
}

// cutField cuts the first word off a line.
func cutField(line string) (word, rest string) {
	i := strings.IndexFunc(line, unicode.IsSpace)
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimSpace(line[i:])
}

// CheckIdentity says what keeps the identity of a pre-shared key from standing
// in a file of keys, nil if nothing does.
func CheckIdentity(identity string) error {
	switch {
	case identity == "":
		return errors.New("the identity is empty")
	case identity[0] == '#':
		return errors.New("an identity may not begin with #")
	case len(identity) > maxIdentity:
		return fmt.Errorf("an identity has at most %d bytes", maxIdentity)
	case !utf8.ValidString(identity) || strings.ContainsFunc(identity, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return errors.New("an identity is UTF-8 without spaces and control characters")
	}
	return nil
}

// ParseKey reads a pre-shared key, in hexadecimal or Base64.
func ParseKey(text string) ([]byte, error) {
	key, err := hex.DecodeString(text)
	if err != nil {
		key, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	}
	switch {
	case err != nil || text == "":
		return nil, errors.New("neither hexadecimal nor Base64")
	case len(key) < minKey || len(key) > maxKey:
		return nil, fmt.Errorf("it has %d bytes, not %d to %d", len(key), minKey, maxKey)
	}
	return key, nil
}

// SetKey returns the text of a file of keys with the key of identity, which
// stands for user: its line is replaced, or one is added at the end. All other lines stay
// as they are.
func SetKey(text, identity string, key []byte, user string) string {
	line := identity + " " + hex.EncodeToString(key) + " " + user + "\n"
	if start, end, found := findKey(text, identity); found {
		return text[:start] + line + text[end:]
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line
}

// RemoveKey returns the text of a file of keys without the key of identity, and
// whether there was one.
func RemoveKey(text, identity string) (string, bool) {
	start, end, found := findKey(text, identity)
	return text[:start] + text[end:], found
}

// findKey finds the line of identity in text, [start,end).
func findKey(text, identity string) (start, end int, found bool) {
	for line := range strings.Lines(text) {
		end += len(line)
		if word, _ := cutField(strings.TrimSpace(line)); word == identity {
			return start, end, true
		}
		start = end
	}
	return 0, 0, false
}

// Identities calls f with each identity in the text of a file of keys and its
// account, in the order of the file.
func Identities(text string, f func(identity, user string)) {
	for line := range strings.Lines(text) {
		identity, rest := cutField(strings.TrimSpace(line))
		if _, user := cutField(rest); identity != "" && identity[0] != '#' {
			f(identity, user)
		}
	}
}
