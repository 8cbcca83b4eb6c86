package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTrials bounds the handshakes under way, maxPrefixTrials those of one
	// prefix of addresses, so that nobody takes all places.
	maxTrials       = 128
	maxPrefixTrials = 64

	// A peer has strangerWait to prove its address, and then provenWait for
	// the rest of the handshake: a round trip of a mobile network can take
	// seconds. Meanwhile it keeps its place against others for provenGrace,
	// and before, against those of its own prefix, for strangerGrace after it
	// was answered: this machine may be the slow one.
	strangerWait  = 5 * time.Second
	provenWait    = 10 * time.Second
	strangerGrace = 500 * time.Millisecond
	provenGrace   = time.Second

	// trialRate and trialBurst are how many handshakes a prefix may begin and
	// not get on with, in a second and at once.
	trialRate  = 100
	trialBurst = 256

	defaultMaxSessions = 2000
	defaultIdleTimeout = 24 * time.Hour
)

// DTLSConfig of a listener. Peers prove themselves by a pre-shared key, a
// certificate, or either, whatever is set.
type DTLSConfig struct {
	// Key finds the pre-shared key of an identity and the account that it
	// stands for. It is called from many goroutines. nil for no such keys.
	Key func(identity string) (key []byte, user string, ok bool)

	// Certificates is the listener's, with its ECDSA key; ClientCAs are those
	// whose certificates prove who a client is, by their common name.
	Certificates []tls.Certificate
	ClientCAs    *x509.CertPool

	// Anonymous lets in clients without a certificate, as nobody, where there is no pre-shared key.
	Anonymous bool

	// CCM8 offers TLS_PSK_WITH_AES_128_CCM_8 too, with nonces at random: such
	// a session is ended after 2^20 records.
	CCM8 bool

	// MaxSessions bounds the sessions, 0 for 2,000. When there are as many,
	// the one that was idle for longest has to go, of the newcomer's prefix if that holds
	// more than half.
	MaxSessions int

	// IdleTimeout ends a session from which nothing came, 0 for 24 hours. A
	// session may be resumed for as long.
	IdleTimeout time.Duration
}

// dtlsListener finds the session or the handshake that a datagram is for.
type dtlsListener struct {
	// Set once.
	t         *Transport
	u         *UDP
	h         DatagramHandler
	conf      DTLSConfig
	common    dtlsSettings
	resumable *resumable
	complaint complaint
	began     time.Time

	wg sync.WaitGroup // trials and sessions

	// Guarded by mu, which comes before the locks of a pipe and a session.
	mu       sync.Mutex
	stopped  bool
	patience patience
	limiter  *Limiter
	trials   map[netip.AddrPort]*dtlsTrial
	sessions map[netip.AddrPort]*dtlsSession
	idle     dtlsSession // head of a ring, the session that was idle for longest first
	prefixes map[netip.Prefix]int
	timer    *time.Timer // for the first in the ring
}

// patience is for how long a handshake may last, before its peer has proved its address and
// after, and for how long of that it keeps its place against others.
type patience struct{ strangerWait, provenWait, strangerGrace, provenGrace time.Duration }

// ListenDTLS opens a UDP socket at addr, host:port, for sessions of DTLS 1.2,
// and hands what they bring to h. It returns the address it has got.
func (t *Transport) ListenDTLS(addr string, conf DTLSConfig, h DatagramHandler) (net.Addr, error) {
	l, err := t.openDTLS(addr, conf, h)
	if err != nil {
		return nil, fmt.Errorf("listen dtls %s: %w", addr, err)
	}
	return l.u.conn.LocalAddr(), nil
}

func (t *Transport) openDTLS(addr string, conf DTLSConfig, h DatagramHandler) (*dtlsListener, error) {
	if conf.Key == nil && len(conf.Certificates) == 0 {
		return nil, errors.New("neither pre-shared keys nor a certificate")
	}
	if conf.MaxSessions == 0 {
		conf.MaxSessions = defaultMaxSessions
	}
	if conf.IdleTimeout == 0 {
		conf.IdleTimeout = defaultIdleTimeout
	}
	l := &dtlsListener{
		t: t, h: h, conf: conf,
		common:    serveDTLS(&conf),
		patience:  patience{strangerWait, provenWait, strangerGrace, provenGrace},
		limiter:   NewLimiter(trialRate, trialBurst),
		began:     time.Now(),
		resumable: newResumable(2*conf.MaxSessions, conf.IdleTimeout),
		trials:    make(map[netip.AddrPort]*dtlsTrial),
		sessions:  make(map[netip.AddrPort]*dtlsSession),
		prefixes:  make(map[netip.Prefix]int),
	}
	l.idle.next, l.idle.prev = &l.idle, &l.idle
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		return nil, net.ErrClosed
	}
	t.stops = append(t.stops, l.stop)
	t.mu.Unlock()
	var err error
	if l.u, err = t.openUDP(addr, l); err != nil {
		return nil, err
	}
	return l, l.u.start(l)
}

// stop begins no handshake any more.
func (l *dtlsListener) stop() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
}

// Close ends handshakes and sessions, and then the socket.
func (l *dtlsListener) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
	for _, tr := range l.trials {
		tr.cancel()
	}
	for _, s := range l.sessions {
		s.Close()
	}
	go func() {
		l.wg.Wait()
		l.u.close()
	}()
}

func (l *dtlsListener) kill() { l.u.conn.Close() }

// Datagram hands a datagram to its session or handshake, to both if it may be
// meant for either, or begins a handshake.
func (l *dtlsListener) Datagram(_ Endpoint, from netip.AddrPort, b []byte) {
	random := firstHello(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	tr, s := l.trials[from], l.sessions[from]
	if random != nil {
		// A device that was switched off and on says hello from its old port.
		// Its session goes on until this one, or whoever pretends to be the
		// device, has proved to be it. [RFC 6347 section 4.2.8]
		if tr == nil || !tr.proven.Load() && !bytes.Equal(tr.random[:], random) {
			tr = l.begin(from, random, tr)
		}
		s = nil
	}
	if tr == nil && s == nil && isSecondHello(b) && l.limiter.Allow(from.Addr(), time.Since(l.began)) {
		// Its handshake gave way to others'. It would repeat this for long.
		l.u.Send(handshakeFailure, from)
	}
	if tr != nil {
		tr.pipe.put(b)
	}
	if s != nil {
		s.pipe.put(b)
	}
}

func (l *dtlsListener) Ended(Endpoint) {}

// begin starts a handshake with a peer, in place of one that it has given up;
// nil if there is no place for it. It is called with mu held.
func (l *dtlsListener) begin(from netip.AddrPort, random []byte, old *dtlsTrial) *dtlsTrial {
	now := time.Now()
	if l.stopped {
		return nil
	}
	if old == nil {
		var full bool
		if old, full = l.yielding(from, now); full && old == nil {
			return nil
		}
	}
	if !l.limiter.Allow(from.Addr(), now.Sub(l.began)) {
		return nil
	}
	if old != nil {
		l.discard(old)
	}
	tr := newTrial(l, from, random, now)
	l.trials[from] = tr
	l.run(tr.run)
	return tr
}

// run runs f in a goroutine for which Close waits.
func (l *dtlsListener) run(f func()) {
	l.wg.Add(1)
	l.t.wg.Add(1)
	go func() {
		defer l.t.wg.Done()
		defer l.wg.Done()
		f()
	}()
}

// yielding says whether the places for handshakes are taken, all or those of
// the newcomer's prefix, and which is to be given up: the oldest, of the prefix
// that has the most, whose peer has not proved its address, and if all have, the
// oldest that had time enough. It is called with mu held.
//
// Others of its own prefix keep their places for a while in any case: when all
// devices of a site come at once, each needs its own until it has answered, and
// who finds none says hello again.
func (l *dtlsListener) yielding(from netip.AddrPort, now time.Time) (tr *dtlsTrial, full bool) {
	own := limitedPrefix(from.Addr())
	held := make(map[netip.Prefix]int)
	for _, tr := range l.trials {
		held[tr.prefix]++
	}
	prefix := own
	switch {
	case held[own] >= maxPrefixTrials:
	case len(l.trials) >= maxTrials:
		for p, n := range held {
			if n > held[prefix] {
				prefix = p
			}
		}
	default:
		return nil, false
	}
	for _, x := range l.trials {
		if x.prefix == prefix && x.yields(prefix == own, now) && (tr == nil || x.before(tr)) {
			tr = x
		}
	}
	return tr, true
}

// discard ends a handshake. It is called with mu held.
func (l *dtlsListener) discard(tr *dtlsTrial) {
	delete(l.trials, tr.from)
	tr.pipe.silence()
	tr.cancel()
}

// admit makes a session of a handshake that is over, in place of the one that its peer had;
// nil if the handshake was discarded meanwhile.
func (l *dtlsListener) admit(tr *dtlsTrial, conn net.Conn) *dtlsSession {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trials[tr.from] != tr || l.stopped {
		return nil
	}
	delete(l.trials, tr.from)
	l.limiter.Refund(tr.from.Addr())
	if old := l.sessions[tr.from]; old != nil {
		l.forget(old)
		old.pipe.silence()
		old.Close()
	} else if len(l.sessions) >= l.conf.MaxSessions {
		l.makeRoom(tr.prefix)
	}
	s := newSession(l, tr, conn)
	l.sessions[s.remote] = s
	l.prefixes[s.prefix]++
	l.push(s)
	l.watch()
	return s
}

// makeRoom ends the session that was idle for longest. It is called with mu held.
func (l *dtlsListener) makeRoom(prefix netip.Prefix) {
	s := l.idle.next
	if l.prefixes[prefix] > l.conf.MaxSessions/2 {
		for s.prefix != prefix {
			s = s.next
		}
	}
	l.forget(s)
	s.Close()
	l.complaint.log(l.t.log, "too many DTLS sessions, the one that was idle for longest was ended", "remote", s.remote, "identity", s.peer.Name, "max", l.conf.MaxSessions)
}

// forget takes s out, if it is in. It is called with mu held.
func (l *dtlsListener) forget(s *dtlsSession) {
	if s.next == nil {
		return
	}
	s.unlink()
	delete(l.sessions, s.remote)
	if l.prefixes[s.prefix]--; l.prefixes[s.prefix] == 0 {
		delete(l.prefixes, s.prefix)
	}
}

// noteHeard notes that s is not idle, and reports whether it is time to look at its key.
func (l *dtlsListener) noteHeard(s *dtlsSession) (look bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.next == nil {
		return false
	}
	s.unlink()
	l.push(s)
	if look = s.heard.Sub(s.looked) >= lookAtKey; look {
		s.looked = s.heard
	}
	return look
}

// push puts s at the end of the ring. It is called with mu held.
func (l *dtlsListener) push(s *dtlsSession) {
	s.heard = time.Now()
	s.prev, s.next = l.idle.prev, &l.idle
	s.prev.next, s.next.prev = s, s
}

func (s *dtlsSession) unlink() {
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
}

// watch sets the timer for the first in the ring, unless it runs. It is called with mu held.
func (l *dtlsListener) watch() {
	if l.timer == nil && l.idle.next != &l.idle && !l.stopped {
		l.timer = time.AfterFunc(time.Until(l.idle.next.heard.Add(l.conf.IdleTimeout)), l.expire)
	}
}

// expire ends the sessions that were idle for too long.
func (l *dtlsListener) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := l.idle.next; s != &l.idle && time.Since(s.heard) >= l.conf.IdleTimeout; s = l.idle.next {
		l.forget(s)
		s.Close()
	}
	l.timer = nil
	l.watch()
}

// complaint keeps a log readable while somebody does the same wrong all the
// time: one line a second.
type complaint struct {
	mu     sync.Mutex
	next   time.Time
	hidden int
}

func (c *complaint) log(log *slog.Logger, msg string, args ...any) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.next) {
		c.hidden++
		return
	}
	if c.hidden > 0 {
		args = append(args, "more_hidden", c.hidden)
	}
	log.Info(msg, args...)
	c.next, c.hidden = now.Add(time.Second), 0
}
