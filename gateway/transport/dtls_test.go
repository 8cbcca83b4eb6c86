package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
)

// keys are those of the tests: any identity that is a name with "key" before it.
func testKey(identity string) (key []byte, user string, ok bool) {
	if identity == "stranger" {
		return nil, "", false
	}
	return []byte("key of " + identity), "user of " + identity, true
}

// sessions is a DatagramHandler that echoes, and knows which sessions there are.
type sessions struct {
	t     testing.TB
	mu    sync.Mutex
	live  map[Endpoint]int // datagrams
	ended map[Endpoint]bool
	calls map[Endpoint]*sync.Mutex
	got   chan Endpoint // each session's first datagram, if it is not nil
	gone  chan Endpoint
}

func newSessions(t testing.TB) *sessions {
	return &sessions{t: t, live: make(map[Endpoint]int), ended: make(map[Endpoint]bool), calls: make(map[Endpoint]*sync.Mutex),
		got: make(chan Endpoint, 10000), gone: make(chan Endpoint, 10000)}
}

func (h *sessions) Datagram(ep Endpoint, from netip.AddrPort, b []byte) {
	h.mu.Lock()
	h.live[ep]++
	first := h.live[ep] == 1
	if h.ended[ep] {
		h.t.Error("a datagram of a session that has ended")
	}
	h.mu.Unlock()
	ep.Send(b, netip.AddrPort{})
	if first {
		h.got <- ep
	}
}

func (h *sessions) Ended(ep Endpoint) {
	h.mu.Lock()
	if h.ended[ep] {
		h.t.Error("a session has ended twice")
	}
	h.ended[ep] = true
	h.mu.Unlock()
	h.gone <- ep
}

func listenDTLS(t testing.TB, conf DTLSConfig, h DatagramHandler) (*Transport, *dtlsListener) {
	t.Helper()
	tr := New(Config{}, nil)
	l, err := tr.openDTLS("127.0.0.1:0", conf, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tr, l
}

func dialDTLS(t testing.TB, l *dtlsListener, conf DTLSClient) net.Conn {
	t.Helper()
	c, err := tryDTLS(l, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDTLS(l *dtlsListener, conf DTLSClient) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), aeon)
	defer cancel()
	return DialDTLS(ctx, l.u.Addr().String(), conf)
}

// aeon is longer than anything takes, on a machine however loaded, but what waits for ever.
const aeon = 5 * time.Minute

func setPatience(l *dtlsListener, p patience) {
	l.mu.Lock()
	l.patience = p
	l.mu.Unlock()
}

// psk is a client with the key of an identity.
func psk(identity string) DTLSClient {
	key, _, _ := testKey(identity)
	return DTLSClient{Identity: identity, Key: key}
}

func wantEcho(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDTLSDatagram)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := c.Read(b)
	c.SetReadDeadline(time.Time{}) // or its goroutine waits for it
	if err != nil || string(b[:n]) != text {
		t.Fatalf("echo: %d bytes %.60q %v, want %d bytes %.60q", n, b[:n], err, len(text), text)
	}
}

func TestDTLSSuites(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, CCM8: true}, h)
	all := sequencedSuites()
	for name, conf := range map[string]DTLSClient{
		"chacha20": {suites: all[:1]},
		"ccm":      {suites: all[2:]},
		"ccm8":     {CCM8: true},
	} {
		t.Run(name, func(t *testing.T) {
			conf.Identity, conf.Key = name, []byte("key of "+name)
			c := dialDTLS(t, l, conf)
			for _, n := range []int{0, 1, 1000, 2000, 8000, maxDTLSPayload - 100} {
				wantEcho(t, c, string(bytes.Repeat([]byte{'x'}, n)))
			}
			ep := <-h.got
			if ep.Wire() != "dtls" || ep.Peer() != (Identity{User: "user of " + name, Name: name}) {
				t.Errorf("wire %s, peer %v", ep.Wire(), ep.Peer())
			}
			c.Close()
			if gone := <-h.gone; gone != ep {
				t.Error("another session has ended")
			}
		})
	}
}

func TestDTLSMany(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, h)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := tryDTLS(l, psk(fmt.Sprint("device", i)))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for range 20 {
				wantEcho(t, c, fmt.Sprint("echo", i))
			}
		})
	}
	wg.Wait()
	for range 20 {
		<-h.gone
	}
}

// hello is the first ClientHello of an openssl client, with the session id and
// the random value that are wanted.
func hello(random byte, session []byte) []byte {
	body := []byte{0xfe, 0xfd}
	body = append(body, bytes.Repeat([]byte{random}, randomSize)...)
	body = append(append(body, byte(len(session))), session...)
	body = append(body, 0)                            // no cookie
	body = append(body, 0, 4, 0xcc, 0xab, 0xc0, 0xa5) // suites
	body = append(body, 1, 0)                         // no compression
	body = append(body, 0, 4, 0, 23, 0, 0)            // extended master secret
	n := byte(len(body))                              // it is short
	msg := append([]byte{1, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, n}, body...)
	return rawRecord(contentHandshake, 0, 0, msg)
}

func rawRecord(typ byte, epoch uint16, seq byte, payload []byte) []byte {
	b := []byte{typ, 0xfe, 0xfd, byte(epoch >> 8), byte(epoch), 0, 0, 0, 0, 0, seq, byte(len(payload) >> 8), byte(len(payload))}
	return append(b, payload...)
}

// silentHellos sends hellos from so many addresses, of so many prefixes, and
// reads no answer.
func silentHellos(t testing.TB, l *dtlsListener, n, prefixes int) {
	t.Helper()
	for i := range n {
		from := &net.UDPAddr{IP: net.IPv4(127, 1, byte(i%prefixes), byte(1+i/prefixes%250))}
		c, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(l.u.Addr()))
		if err != nil {
			t.Skip(err)
		}
		if _, err := c.Write(hello(1, nil)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A thousand hellos from which nothing follows take neither all places nor
// more than there are, and a new device is served as if they were not there.
func TestDTLSSilentHellos(t *testing.T) {
	for _, prefixes := range []int{1, 4, 100} {
		t.Run(fmt.Sprint(prefixes, " prefixes"), func(t *testing.T) {
			_, l := listenDTLS(t, DTLSConfig{Key: testKey}, newSessions(t))
			// None of the silent is given up before the device, if it has to wait for that.
			setPatience(l, patience{2 * aeon, 2 * aeon, strangerGrace, provenGrace})
			silentHellos(t, l, 1000, prefixes)
			began := time.Now()
			wantEcho(t, dialDTLS(t, l, psk("new")), "hello")
			l.mu.Lock()
			trials := len(l.trials)
			l.mu.Unlock()
			if trials > maxTrials || trials < maxPrefixTrials-1 {
				t.Errorf("%d handshakes are under way", trials)
			}
			t.Logf("served after %v", time.Since(began))
		})
	}
}

// A peer that answers to the cookie and then nothing more keeps its place for a
// second only, if others wait.
func TestDTLSTrialsOfOnePrefix(t *testing.T) {
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, newSessions(t))
	silentHellos(t, l, maxPrefixTrials, 1)
	if !settles(func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		answered := 0
		for _, tr := range l.trials {
			if tr.asked.Load() > 0 {
				answered++
			}
		}
		return answered == maxPrefixTrials
	}) {
		t.Fatal("some hellos were not answered")
	}
	var proven netip.AddrPort
	l.mu.Lock()
	var first, now time.Time // of the oldest and of the newest
	for from, tr := range l.trials {
		if first.IsZero() || tr.began.Before(first) {
			first = tr.began
		}
		if tr.began.After(now) {
			now = tr.began
		}
		tr.asked.Store(1)
		if !proven.IsValid() {
			proven = from
			tr.proven.Store(true)
		} else if tr.proven.Load() {
			t.Error("a peer has proved its address in silence")
		}
	}
	newcomer := netip.MustParseAddrPort("127.1.0.254:1")
	if tr, full := l.yielding(newcomer, first); !full || tr != nil {
		t.Errorf("who gives up its place at once: %v %v", tr, full)
	}
	if tr, full := l.yielding(newcomer, now.Add(provenGrace-1)); !full || tr == nil || tr.from == proven {
		t.Errorf("who gives up its place: %v %v", tr, full)
	}
	for _, tr := range l.trials {
		tr.asked.Store(0)
	}
	if tr, full := l.yielding(newcomer, now.Add(time.Minute)); !full || tr != nil && tr.from != proven {
		t.Errorf("who gives up its place, when nobody was answered: %v %v", tr, full)
	}
	for _, tr := range l.trials {
		tr.proven.Store(true)
	}
	if tr, full := l.yielding(newcomer, first); !full || tr != nil {
		t.Errorf("who gives up its place, when all have proved their addresses: %v %v", tr, full)
	}
	if tr, full := l.yielding(newcomer, now.Add(provenGrace+time.Minute)); !full || tr == nil {
		t.Errorf("who gives up its place, when all had their time: %v %v", tr, full)
	}
	if tr, full := l.yielding(netip.MustParseAddrPort("127.2.0.1:1"), now); full || tr != nil {
		t.Errorf("another prefix has to wait: %v %v", tr, full)
	}
	l.mu.Unlock()
}

// dialFrom opens a session from a port that a device has.
func dialFrom(t testing.TB, port int, l *dtlsListener, conf DTLSClient) (net.Conn, *asked) {
	t.Helper()
	udp, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, net.UDPAddrFromAddrPort(l.u.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	under := &asked{UDPConn: udp}
	conn, err := conf.handshake(ctx, under)
	if err != nil {
		t.Fatal(err)
	}
	return conn, under
}

// asked counts how often a cookie was asked for.
type asked struct {
	*net.UDPConn
	asked atomic.Int32
}

func (a *asked) Read(b []byte) (int, error) {
	n, err := a.UDPConn.Read(b)
	if n > recordHeader && b[0] == contentHandshake && b[recordHeader] == 3 {
		a.asked.Add(1)
	}
	return n, err
}

// A device that was switched off says nothing, and hello from its old port
// when it is on again. Its session goes on until that has led to another.
func TestDTLSRebootOnOldPort(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, h)
	old, under := dialFrom(t, 0, l, psk("device"))
	wantEcho(t, old, "before")
	first := <-h.got
	before := under.asked.Swap(0)
	if before != 1 {
		t.Fatalf("asked for a cookie %d times", before)
	}
	port := under.LocalAddr().(*net.UDPAddr).Port

	// Somebody who pretends to be the device, from its address: the old session goes on.
	for i := range 2 {
		under.Write(hello(byte(7+i), nil))
		wantEcho(t, old, "beside a hello")
		if !settles(func() bool { return under.asked.Load() == int32(1+i) }) {
			t.Fatal("the hello is not answered")
		}
	}
	l.mu.Lock()
	trials := len(l.trials)
	l.mu.Unlock()
	if trials != 1 {
		t.Errorf("%d trials for one address", trials)
	}
	under.Close() // and nothing else: the device has no power any more

	began := time.Now()
	again, _ := dialFrom(t, port, l, psk("device"))
	wantEcho(t, again, "after")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the device is back after %v", took)
	}
	if gone := <-h.gone; gone != first {
		t.Error("another session has ended")
	}
	second := <-h.got
	first.Send([]byte("to the old session"), netip.AddrPort{})
	first.Close()
	second.Send([]byte("to the new one"), netip.AddrPort{})
	b := make([]byte, maxDTLSDatagram)
	if n, err := again.Read(b); err != nil || string(b[:n]) != "to the new one" {
		t.Errorf("%q %v", b[:n], err)
	}
	again.Close()
	old.Close()
}

// What anybody can send in the name of a device does not touch its session.
func TestDTLSSpoofed(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, h)
	c, udp := dialFrom(t, 0, l, psk("device"))
	defer c.Close()
	for round, confirmed := range []bool{false, true} {
		if confirmed {
			wantEcho(t, c, "hello")
		}
		for _, spoofed := range [][]byte{
			rawRecord(contentAlert, 0, 200, []byte{1, 0}),            // close_notify
			rawRecord(contentAlert, 0, 201, []byte{2, 40}),           // handshake_failure
			rawRecord(contentApplicationData, 0, 202, []byte("boo")), // answered with an alert by pion/dtls
			rawRecord(99, 0, 203, []byte("boo")),                     // so is this
			rawRecord(contentAlert, 1, 204, make([]byte, 32)),        // not sealed by the device
			rawRecord(contentApplicationData, 1, 205, make([]byte, 64)),
			rawRecord(contentChangeCipherSpec, 1, 206, []byte{1}), // is never sealed
			rawRecord(contentChangeCipherSpec, 0, 207, []byte{1}),
			rawRecord(contentApplicationData, 2, 208, make([]byte, 64)),
			rawRecord(contentHandshake, 0, 209, make([]byte, 64)),
			[]byte("nonsense"), {}, make([]byte, 9000),
		} {
			udp.Write(spoofed)
		}
		wantEcho(t, c, fmt.Sprint("after the spoof ", round))
	}
	if len(h.gone) > 0 {
		t.Error("the session has ended")
	}
	for range 200 { // what would be kept for later
		udp.Write(rawRecord(contentHandshake, 0, 1, append([]byte{11, 0, 255, 255, 0, 99, 0, 0, 0, 0, 4, 0}, make([]byte, 1024)...)))
		udp.Write(rawRecord(contentApplicationData, 2, 1, make([]byte, 1024)))
	}
	wantEcho(t, c, "after much of it")
}

// memory is a store of pion/dtls for clients.
type memory map[string]dtls.Session

func (m memory) Set(key []byte, s dtls.Session) error {
	m[string(key)] = s
	return nil
}
func (m memory) Get(key []byte) (dtls.Session, error) { return m[string(key)], nil }
func (m memory) Del(key []byte) error {
	delete(m, string(key))
	return nil
}

func TestDTLSResume(t *testing.T) {
	key := []byte("the first key")
	var mu sync.Mutex
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: func(string) ([]byte, string, bool) {
		mu.Lock()
		defer mu.Unlock()
		return key, "user", key != nil
	}}, h)
	store := make(memory)
	conf := DTLSClient{Identity: "device", Key: key, sessions: store}
	open := func() Endpoint {
		t.Helper()
		c := dialDTLS(t, l, conf)
		wantEcho(t, c, "hello")
		c.Close()
		return <-h.got
	}
	open()
	if len(store) != 1 || l.resumable.order.Len() != 1 {
		t.Fatalf("%d sessions at the client, %d here", len(store), l.resumable.order.Len())
	}
	// The key is not needed again, as the session is.
	conf.Key = []byte("no key at all")
	for range 2 {
		if peer := open().Peer(); peer != (Identity{User: "user", Name: "device"}) {
			t.Errorf("peer %v", peer)
		}
	}
	if l.resumable.order.Len() != 1 {
		t.Error("a resumed session is stored twice")
	}
	// But it counts for nothing once the identity has another.
	mu.Lock()
	key = []byte("the second key")
	mu.Unlock()
	quick := conf
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if c, err := DialDTLS(ctx, l.u.Addr().String(), quick); err == nil {
		t.Error("resumed with a key that is not the identity's any more")
		c.Close()
	}
	conf.Key = key
	open()
}

// A handshake that stops before the client has proved anything leaves nothing
// that could be resumed.
func TestDTLSNothingToResume(t *testing.T) {
	t.Parallel() // it waits most of the time
	ca := newAuthority(t)
	server, _ := ca.issue("gateway", false)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, Certificates: []tls.Certificate{server}, ClientCAs: ca.pool()}, newSessions(t))
	for name, conf := range map[string]DTLSClient{
		"no certificate":    {Roots: ca.pool(), ServerName: "gateway"},
		"wrong key":         {Identity: "device", Key: []byte("wrong")},
		"no such identity":  {Identity: "stranger", Key: []byte("wrong")},
		"the last flight":   psk("device"),
		"the last, by cert": {Roots: ca.pool(), ServerName: "gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			client, here := net.Pipe()
			defer client.Close()
			udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.u.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			// Between client and gateway: what is sealed, the Finished, is lost.
			go func() {
				b := make([]byte, maxDTLSDatagram)
				for {
					n, err := here.Read(b)
					if err != nil {
						return
					}
					var clear []byte
					for rs := dtlsRecords(b[:n]); ; {
						r := rs.next()
						if r == nil {
							break
						}
						if epoch(r) == 0 {
							clear = append(clear, r...)
						}
					}
					udp.Write(clear)
				}
			}()
			go func() {
				b := make([]byte, maxDTLSDatagram)
				for {
					n, err := udp.Read(b)
					if err != nil {
						here.Close()
						return
					}
					here.Write(b[:n])
				}
			}()
			store := make(memory)
			conf.sessions = store
			ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
			defer cancel()
			if _, err := conf.handshake(ctx, client); err == nil {
				t.Fatal("the handshake is over without the client's proof")
			}
			if n := l.resumable.order.Len(); n != 0 {
				t.Errorf("%d sessions could be resumed", n)
			}
		})
	}
}

// Neither what is answered nor when tells a wrong key from an identity that
// there is not.
func TestDTLSUnknownIdentity(t *testing.T) {
	t.Parallel() // it waits most of the time
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, newSessions(t))
	var wg sync.WaitGroup
	var seen [2]watched
	for i, identity := range []string{"existing", "stranger"} {
		w := &seen[i]
		w.UDPConn = dialUDP(t, l.u.Addr())
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			began := time.Now()
			conf := DTLSClient{Identity: identity, Key: []byte("wrong"), interval: time.Hour}
			_, err := conf.handshake(ctx, w)
			if err == nil || !strings.Contains(err.Error(), "HandshakeFailure") {
				t.Errorf("%s: %v", identity, err)
			}
			if took := time.Since(began); took < provenWait {
				t.Errorf("%s: refused after %v", identity, took)
			}
		})
	}
	wg.Wait()
	// How often a flight came again is a matter of time.
	known, unknown := slices.Compact(seen[0].lengths), slices.Compact(seen[1].lengths)
	if !slices.Equal(known, unknown) || len(known) != 3 {
		t.Errorf("lengths of what was answered: %v and %v", known, unknown)
	}
}

// watched keeps the lengths of what is read.
type watched struct {
	*net.UDPConn
	lengths []int
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.UDPConn.Read(b)
	if err == nil {
		w.lengths = append(w.lengths, n)
	}
	return n, err
}

// The nonces that stand in records are their sequence numbers, for all time.
func TestDTLSNoncesAreSequenced(t *testing.T) {
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, newSessions(t))
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.u.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	w := &sealed{UDPConn: udp, t: t}
	conf := psk("device")
	conf.suites = sequencedSuites()[2:]
	c, err := conf.handshake(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		wantEcho(t, c, "hello")
	}
	c.Close()
	if w.n < 11 {
		t.Errorf("%d records", w.n)
	}
}

// sealed looks at the sealed records that are read.
type sealed struct {
	*net.UDPConn
	t testing.TB
	n int
}

func (s *sealed) Read(b []byte) (int, error) {
	n, err := s.UDPConn.Read(b)
	for rs := dtlsRecords(b[:n]); ; {
		r := rs.next()
		if r == nil {
			return n, err
		}
		if epoch(r) == 1 {
			s.n++
			if !bytes.Equal(r[3:11], r[recordHeader:recordHeader+8]) {
				s.t.Errorf("record %x has nonce %x", r[3:11], r[recordHeader:recordHeader+8])
			}
		}
	}
}

// A session with nonces at random is ended when it has sent what it may.
func TestDTLSRandomNoncesAreBounded(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, CCM8: true}, h)
	conf := psk("device")
	conf.CCM8 = true
	c := dialDTLS(t, l, conf)
	wantEcho(t, c, "1")
	s := (<-h.got).(*dtlsSession)
	if s.max != maxRandomNonces {
		t.Fatalf("bound of %d", s.max)
	}
	if !settles(func() bool { // until nobody writes, or looks at the bound
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.writing {
			s.max = 3
		}
		return s.max == 3
	}) {
		t.Fatal("it writes on")
	}
	wantEcho(t, c, "2")
	wantEcho(t, c, "3")
	<-h.gone
	if s.records != 3 {
		t.Errorf("%d records", s.records)
	}
	s.Send([]byte("4"), netip.AddrPort{})
	if _, err := c.Read(make([]byte, 100)); err == nil {
		t.Error("a fourth record was sent")
	}
	plain := dialDTLS(t, l, psk("other"))
	wantEcho(t, plain, "1")
	if s := (<-h.got).(*dtlsSession); s.max != 0 {
		t.Errorf("bound of %d on a suite with nonces from the sequence", s.max)
	}
}

// When there are as many sessions as there may be, the one that was idle for
// longest goes.
func TestDTLSMaxSessions(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, MaxSessions: 3}, h)
	var conns []net.Conn
	var eps []Endpoint
	for i := range 3 {
		conns = append(conns, dialDTLS(t, l, psk(fmt.Sprint(i))))
		wantEcho(t, conns[i], "hello")
		eps = append(eps, <-h.got)
	}
	wantEcho(t, conns[0], "not idle")
	dialDTLS(t, l, psk("newcomer"))
	if gone := <-h.gone; gone != eps[1] {
		t.Errorf("%v has ended", gone.Peer())
	}
	if _, err := conns[1].Read(make([]byte, 100)); err == nil {
		t.Error("the session is still there")
	}
	wantEcho(t, conns[0], "still there")
	wantEcho(t, conns[2], "still there")
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.prefixes[limitedPrefix(netip.MustParseAddr("127.0.0.1"))]; len(l.sessions) != 3 || n != 3 {
		t.Errorf("%d sessions, %d of the prefix", len(l.sessions), n)
	}
}

func TestDTLSIdle(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey, IdleTimeout: 200 * time.Millisecond}, h)
	idle := dialDTLS(t, l, psk("idle"))
	if ep := <-h.gone; ep.Peer().Name != "idle" {
		t.Errorf("%v has ended", ep.Peer())
	}
	if _, err := idle.Read(make([]byte, 100)); err == nil {
		t.Error("the session is still there")
	}
	if l.resumable.get([]byte("nothing")) != nil {
		t.Error("resumed nothing")
	}
}

// Close of the Transport tells every peer, and every session has Ended.
func TestDTLSClose(t *testing.T) {
	h := newSessions(t)
	tr, l := listenDTLS(t, DTLSConfig{Key: testKey}, h)
	var conns []net.Conn
	for i := range 5 {
		conns = append(conns, dialDTLS(t, l, psk(fmt.Sprint(i))))
		wantEcho(t, conns[i], "hello")
	}
	silentHellos(t, l, 10, 1)
	tr.StopAccepting()
	wantEcho(t, conns[0], "still there")
	ep := <-h.got
	ep.Send([]byte("goodbye"), netip.AddrPort{})
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if len(h.gone) != 5 {
		t.Errorf("%d sessions have ended", len(h.gone))
	}
	b := make([]byte, 100)
	for i, c := range conns {
		for {
			n, err := c.Read(b)
			if err == nil && string(b[:n]) == "goodbye" {
				continue
			}
			if err == nil {
				t.Errorf("session %d: %q", i, b[:n])
			}
			break
		}
	}
	if _, err := tr.ListenDTLS("127.0.0.1:0", DTLSConfig{Key: testKey}, h); err == nil {
		t.Error("listens after Close")
	}
}

// Who has lost its handshake is told, in fewer bytes than it sent, and who has
// a session is not: its hello is an old one.
func TestDTLSSecondHelloOfNoHandshake(t *testing.T) {
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, h)
	second := hello(1, nil)
	second[18] = 1
	udp := dialUDP(t, l.u.Addr())
	udp.Write(second)
	wantDatagram(t, "an alert", udp, handshakeFailure)

	c, under := dialFrom(t, 0, l, psk("device"))
	defer c.Close()
	wantEcho(t, c, "hello")
	under.Write(second)
	wantEcho(t, c, "hello again")
}

// A session does not outlive its key, nor that it stands for the account.
func TestDTLSKeyRemoved(t *testing.T) {
	var removed atomic.Int32
	h := newSessions(t)
	_, l := listenDTLS(t, DTLSConfig{Key: func(identity string) ([]byte, string, bool) {
		key, user, ok := testKey(identity)
		switch removed.Load() {
		case 1:
			return nil, "", false
		case 2:
			return []byte("another key"), user, ok
		case 3:
			return key, "another user", ok
		}
		return key, user, ok
	}}, h)
	for what := range int32(4) {
		removed.Store(0)
		c := dialDTLS(t, l, psk("device"))
		wantEcho(t, c, "hello")
		s := (<-h.got).(*dtlsSession)
		removed.Store(what)
		wantEcho(t, c, "not looked yet")
		l.mu.Lock()
		s.looked = s.looked.Add(-lookAtKey)
		l.mu.Unlock()
		if what == 0 {
			wantEcho(t, c, "nothing was removed")
			c.Close()
		} else {
			c.Write([]byte("is anybody there?"))
			if n, err := c.Read(make([]byte, 100)); err == nil {
				t.Errorf("%d: an answer of %d bytes", what, n)
			}
		}
		if gone := <-h.gone; gone != s {
			t.Error("another session has ended")
		}
	}
}

// All devices of a site come at once, when its power is back: those that find
// no place say hello again, and nobody loses one that it has to another.
func TestDTLSStorm(t *testing.T) {
	_, l := listenDTLS(t, DTLSConfig{Key: testKey}, newSessions(t))
	setPatience(l, patience{strangerWait, provenWait, aeon, aeon}) // devices that run beside other tests may be slow
	var wg sync.WaitGroup
	for range 5 * maxPrefixTrials {
		wg.Go(func() {
			end := time.Now().Add(aeon)
			c, err := tryDTLS(l, psk("device"))
			for err != nil && strings.Contains(err.Error(), "Alert") && time.Now().Before(end) {
				c, err = tryDTLS(l, psk("device")) // so slow that strangerWait or provenWait was over
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			b, got := make([]byte, 100), ""
			for got != "hello" && time.Now().Before(end) {
				c.Write([]byte("hello")) // for which a socket's buffer may have no room, with so many
				c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				n, _ := c.Read(b)
				got = string(b[:n])
			}
			c.SetReadDeadline(time.Time{})
			if got != "hello" {
				t.Errorf("echo: %q", got)
			}
		})
	}
	wg.Wait()
}
