package transport

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"
)

// What may come of a handshake: before the peer has proved its address, when it
// has, and when the handshake is over on this side.
var (
	heedStranger  = heed{alerts: true, clear: true, messages: 8, bytes: 8 << 10}
	heedProven    = heed{alerts: true, clear: true, messages: 64, bytes: 32 << 10}
	heedOver      = heed{clear: true, messages: 16, bytes: 8 << 10} // its last flight may have been lost
	heedConfirmed = heed{}
)

// dtlsTrial is a handshake.
//
// What pion/dtls would have stored for resumption when the peer had named a key stays
// with the trial until the peer has proved to hold it. Otherwise who has
// neither key nor certificate could stop there, and resume what never was.
type dtlsTrial struct {
	// Set once.
	l        *dtlsListener
	from     netip.AddrPort
	prefix   netip.Prefix
	random   [randomSize]byte // of the first hello: another is another handshake
	began    time.Time
	patience patience
	pipe     *dtlsPipe
	ctx      context.Context
	cancel   context.CancelFunc
	timer    *time.Timer // until the trial is given up

	asked  atomic.Int64 // when the peer was answered first, in nanoseconds since began; 0 if it was not
	proven atomic.Bool  // it has proved its address
	over   atomic.Bool  // it has proved who it is
	late   atomic.Bool  // it took too long

	// Guarded by pipe.mu.
	verifying bool // a cookie was asked for

	// Owned by the handshake.
	suite    uint16
	peer     Identity
	known    bool     // peer is to be believed once the handshake is over
	digest   [32]byte // of the pre-shared key
	id       []byte   // of the session, to resume it
	secret   []byte
	resuming bool
}

// newTrial is called with l.mu held.
func newTrial(l *dtlsListener, from netip.AddrPort, random []byte, now time.Time) *dtlsTrial {
	tr := &dtlsTrial{l: l, from: from, prefix: limitedPrefix(from.Addr()), began: now, patience: l.patience, pipe: newDTLSPipe(l.u, from)}
	copy(tr.random[:], random)
	tr.pipe.heed = heedStranger
	tr.pipe.sent = tr.sent
	tr.ctx, tr.cancel = context.WithCancel(context.Background())
	tr.timer = time.AfterFunc(tr.patience.strangerWait, func() {
		tr.late.Store(true)
		tr.cancel()
	})
	return tr
}

// yields says whether tr may have to give up its place, to one of its own
// prefix or another.
func (tr *dtlsTrial) yields(toOwn bool, now time.Time) bool {
	age := now.Sub(tr.began)
	if tr.proven.Load() {
		return age >= tr.patience.provenGrace
	}
	asked := time.Duration(tr.asked.Load())
	return !toOwn || asked > 0 && age-asked >= tr.patience.strangerGrace
}

// before says whether tr has to give up its place before x.
func (tr *dtlsTrial) before(x *dtlsTrial) bool {
	if proven := tr.proven.Load(); proven != x.proven.Load() {
		return !proven
	}
	return tr.began.Before(x.began)
}

// run does the handshake, and then serves the session.
func (tr *dtlsTrial) run() {
	if tr.ctx.Err() != nil { // it gave way already: in a flood most do
		tr.timer.Stop()
		tr.pipe.Close()
		return
	}
	conn, err := tr.handshake(tr.ctx, tr.l.common)
	tr.timer.Stop()
	tr.cancel()
	if err == nil && !tr.known {
		err = errNobody
	}
	if err != nil {
		tr.fail(err)
		if conn != nil {
			conn.Close()
		}
		tr.pipe.Close()
		return
	}
	tr.pipe.mu.Lock()
	tr.pipe.heed, tr.pipe.sent = heedOver, nil
	tr.pipe.mu.Unlock()
	s := tr.l.admit(tr, conn)
	if s == nil {
		conn.Close()
		tr.pipe.Close()
		return
	}
	tr.over.Store(true)
	if !tr.resuming && tr.id != nil {
		tr.l.resumable.put(tr.id, &proof{secret: tr.secret, peer: tr.peer, digest: tr.digest})
	}
	tr.l.run(s.read) // with a stack of its own, that has not grown
}

var errNobody = errors.New("nobody has proved anything")

// fail ends the trial, and says so if its peer has proved its address: others may be made up.
func (tr *dtlsTrial) fail(err error) {
	tr.l.mu.Lock()
	if tr.l.trials[tr.from] == tr {
		delete(tr.l.trials, tr.from)
	}
	stopped := tr.l.stopped
	tr.l.mu.Unlock()
	if !tr.proven.Load() || stopped {
		return
	}
	late := tr.late.Load()
	if late {
		tr.l.u.Send(handshakeFailure, tr.from)
	}
	switch {
	case tr.peer.Name != "" && !tr.known:
		err = errors.New("no such identity")
	case tr.peer.Name != "" && late:
		err = errors.New("the key of this identity was not proved: another key, or the device went away")
	case late:
		err = errors.New("the device went away")
	}
	tr.l.complaint.log(tr.l.t.log, "DTLS handshake failed", "remote", tr.from, "identity", tr.peer.Name, "err", err)
}

// handshakeFailure ends the wait of a peer whose key is wrong: pion/dtls drops its proof and
// says nothing. The sequence number is above those of any flight.
var handshakeFailure = []byte{contentAlert, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 40}

// sent is told what is sent to the peer: a ServerHello after a cookie was asked
// for means that the cookie has come back from the address.
func (tr *dtlsTrial) sent(b []byte) {
	tr.asked.CompareAndSwap(0, int64(time.Since(tr.began)))
	suite := chosenSuite(b)
	if suite == 0 {
		tr.verifying = tr.verifying || tr.suite == 0
		return
	}
	tr.suite = suite
	if tr.verifying && tr.proven.CompareAndSwap(false, true) {
		tr.pipe.heed = heedProven
		tr.timer.Reset(tr.patience.provenWait)
	}
}

// decoySecret makes keys for identities that there are not.
var decoySecret = func() (b [32]byte) { rand.Read(b[:]); return b }()

// key finds the pre-shared key of an identity. One that does not exist gets a
// key that nobody has: that it is not there can not be told from a wrong key.
func (tr *dtlsTrial) key(identity []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, decoySecret[:])
	mac.Write(identity)
	decoy := mac.Sum(nil)
	name := string(identity)
	key, user, ok := tr.l.conf.Key(name)
	tr.peer, tr.known = Identity{User: user, Name: name}, ok
	if !ok {
		tr.peer.User = ""
		return decoy, nil
	}
	tr.digest = sha256.Sum256(key)
	return key, nil
}

// verify is called when the peer's proof was found right, with its certificate.
func (tr *dtlsTrial) verify(certificate []byte) error {
	if tr.suite != certificateSuite {
		return nil // the key was proved
	}
	if certificate == nil {
		if !tr.l.conf.Anonymous {
			return errors.New("the client has no certificate")
		}
		tr.known = true
		return nil
	}
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		return err
	}
	name := c.Subject.CommonName
	if name == "" {
		return errors.New("the client's certificate has no common name")
	}
	tr.peer, tr.known = Identity{User: name, Name: name}, true
	return nil
}

// resume is the secret of a session, nil if it can not be resumed.
func (tr *dtlsTrial) resume(id []byte) []byte {
	p := tr.l.resumable.get(id)
	if p == nil {
		return nil
	}
	peer, ok := tr.l.stands(p.peer.Name, p.digest)
	if !ok {
		return nil
	}
	tr.peer, tr.digest, tr.known, tr.resuming = peer, p.digest, true, true
	return p.secret
}

// stands says who has proved to hold the key with that digest, if it is the key
// of the identity still.
func (l *dtlsListener) stands(identity string, digest [32]byte) (Identity, bool) {
	if identity == "" {
		return Identity{}, l.conf.Anonymous
	}
	if l.conf.Key == nil {
		return Identity{}, false
	}
	key, user, ok := l.conf.Key(identity)
	now := sha256.Sum256(key)
	return Identity{User: user, Name: identity}, ok && subtle.ConstantTimeCompare(now[:], digest[:]) == 1
}

// store is told of a session that could be resumed, when the peer has proved nothing yet.
func (tr *dtlsTrial) store(id, secret []byte) {
	tr.id, tr.secret = append([]byte(nil), id...), append([]byte(nil), secret...)
}

// spoilt is told of a session that must not be resumed after a fatal alert.
func (tr *dtlsTrial) spoilt(id []byte) {
	if tr.over.Load() {
		tr.l.resumable.remove(id)
	}
}
