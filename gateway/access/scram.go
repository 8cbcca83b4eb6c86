package access

import (
	"bytes"
	"errors"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
)

// Method is what an Exchange speaks, by its registered name. [RFC 7677]
const Method = "SCRAM-SHA-256"

// maxMessage bounds a client's message, in bytes: a user name and a nonce. It bounds the
// time that a stranger takes of us as well, some 0.1 ms at the worst.
const maxMessage = 1 << 10

// Why an Exchange fails. None says whether there is such an account.
var (
	errMessage = errors.New("authentication data is no message of " + Method)
	errOther   = errors.New("authenticates as another user than it may")
	errDenied  = errors.New("bad user name or password")
)

// Exchange is one authentication by SCRAM-SHA-256, as the server sees it: two messages
// of the client, each with an answer. [RFC 5802] It costs a few HMACs, the slow part is
// the client's, and keeps up to some 4 KiB. It is used by one goroutine at a time.
type Exchange struct {
	// Set once by List.Exchange.
	list         *List
	only         []byte // the user it may be; nil: any
	conversation *scram.ServerConversation

	asked bool // the client was asked for its first message
	begun bool // that has come
	known bool // the user has an account
}

// Exchange begins an authentication: as the user only, a copy of which is kept, or if
// that is nil, as any.
func (l *List) Exchange(only []byte) *Exchange {
	e := &Exchange{list: l, only: bytes.Clone(only)}
	server, err := scram.SHA256.NewServer(e.lookup)
	if err != nil {
		panic(err) // there is nothing that could fail
	}
	e.conversation = server.NewConversation()
	return e
}

// Next takes a message of the client and returns the answer. The second is the last:
// done says that the client is User. Who begins without a message is asked for it by an
// empty answer, once. After an error, the text of which holds nothing that the client
// sent, the exchange is over.
func (e *Exchange) Next(message []byte) (answer []byte, done bool, err error) {
	if len(message) > maxMessage {
		return nil, false, errMessage
	}
	first := !e.begun
	if len(message) == 0 && first && !e.asked {
		e.asked = true
		return []byte{}, false, nil
	}
	e.begun = true
	text, err := e.conversation.Step(string(message)) // its errors quote the client
	as := e.conversation.AuthzID()
	switch {
	case err != nil && first:
		return nil, false, errMessage
	case err != nil, e.conversation.Done() && !e.known:
		return nil, false, errDenied
	case as != "" && as != e.User(), e.only != nil && string(e.only) != e.User():
		return nil, false, errOther
	}
	return []byte(text), e.conversation.Valid(), nil
}

// User is who the client says it is, and once Next was done, who it is.
func (e *Exchange) User() string { return e.conversation.Username() }

// lookup finds what the users file keeps of user. Who has no account is given a salt
// that is always the same, keys that no password makes, and as many iterations as the
// slowest account: which tells nothing where sluice passwd has made them all.
func (e *Exchange) lookup(user string) (scram.StoredCredentials, error) {
	salt := mac(e.list.secret, []byte(user)) // for all: an account is not found faster
	h := e.list.decoy.hash
	h.salt = salt[:len(h.salt)]
	if a := e.list.accounts[user]; a != nil {
		h, e.known = a.hash, true
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(h.salt), Iters: h.iterations},
		StoredKey:  h.stored[:],
		ServerKey:  h.server[:],
	}, nil
}

// prepare brings a password into the form that is hashed. What SASLprep does not take,
// such as bytes that are not UTF-8, is hashed as it is.
func prepare(password []byte) string {
	p, err := stringprep.SASLprep.Prepare(string(password))
	if err != nil {
		return string(password)
	}
	return p
}
