package access

import (
	"crypto/rand"
	"os"
	"strings"
	"unsafe"
)

// List is the content of a users file. It does not change once loaded and is
// safe for concurrent use. A nil *List holds no accounts and no grants.
type List struct {
	// Set once by parse.
	accounts map[string]*account
	everyone []grant  // of the section *
	decoy    account  // checked in place of an account that does not exist
	secret   []byte   // salts the decoy for each name
	key      [32]byte // of the remembered passwords
}

// account is one user: how the password is checked and what is granted.
type account struct {
	// Set once by parse.
	hash   hash
	grants []grant
	line   int // in the users file, counted from 1

	verified proof
}

// Load reads the users file at path. Its error names every fault of the file,
// one to a line, with line number and remedy; it never quotes a line, which
// may hold a password somebody wrote in the clear.
func Load(path string) (*List, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l, err := parse(path, string(text))
	if err != nil {
		return nil, err
	}
	rand.Read(l.key[:])
	return l, nil
}

// Len is the number of accounts.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.accounts)
}

// Has says whether user has an account.
func (l *List) Has(user string) bool { return l != nil && l.accounts[user] != nil }

// CanPublish says whether user, connected as clientID, may publish to topic, a
// valid topic name. user is empty for who came without an account.
func (l *List) CanPublish(user, clientID string, topic []byte) bool {
	// Nothing below keeps or changes it: a copy would be allocated for each message.
	name := unsafe.String(unsafe.SliceData(topic), len(topic))
	if allowed, listed := l.granted(write, user, clientID, name); listed {
		return allowed
	}
	// "$" topics are the server's own to write. [section 4.7.2]
	return name != "$SYS" && !strings.HasPrefix(name, "$SYS/") && !strings.HasPrefix(name, "$CONTROL/")
}

// CanSubscribe says whether user, connected as clientID, may subscribe to
// filter, a valid topic filter: whether one grant covers every topic that it
// matches. Of a shared subscription the filter behind the group counts.
func (l *List) CanSubscribe(user, clientID string, filter []byte) bool {
	f := string(filter)
	if group, ok := strings.CutPrefix(f, "$share/"); ok {
		_, f, _ = strings.Cut(group, "/")
	}
	allowed, listed := l.granted(read, user, clientID, f)
	return allowed || !listed
}

// granted says whether a grant allows verb on filter, and whether user has any
// grant at all.
func (l *List) granted(verb verbs, user, clientID, filter string) (allowed, listed bool) {
	if l == nil {
		return false, false
	}
	var own []grant
	if a := l.accounts[user]; a != nil {
		own = a.grants
	}
	for _, grants := range [...][]grant{own, l.everyone} {
		for _, g := range grants {
			if g.verbs&verb != 0 && g.covers(filter, user, clientID) {
				return true, true
			}
		}
	}
	return false, len(own)+len(l.everyone) > 0
}
