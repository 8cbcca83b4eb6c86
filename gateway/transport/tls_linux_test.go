package transport

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
)

// records is a client of TLS 1.3 that writes and reads records by itself once the
// handshake is over, to send what crypto/tls would not. Its cipher is AES-128-GCM.
type records struct {
	t   testing.TB
	nc  net.Conn
	r   *bufio.Reader
	out direction
	in  direction
}

// direction is the keys of one.
type direction struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len(label)))
	info = append(append(info, label...), 0)
	b, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		panic(err)
	}
	return b
}

func (d *direction) use(secret []byte) {
	block, err := aes.NewCipher(expand(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	d.aead, err = cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	d.secret, d.iv, d.seq = secret, expand(secret, "iv", 12), 0
}

// renew is what both sides do after a KeyUpdate (RFC 8446, 7.2).
func (d *direction) renew() { d.use(expand(d.secret, "traffic upd", 32)) }

func (d *direction) nonce() []byte {
	n := bytes.Clone(d.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, d.seq) {
		n[4+i] ^= b
	}
	d.seq++
	return n
}

func dialRecords(t testing.TB, addr string) *records {
	var log bytes.Buffer
	nc := dialTCP(t, addr)
	tc := tls.Client(nc, &tls.Config{RootCAs: pool(serverCert()), ServerName: "gateway", KeyLogWriter: &log})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if s := tc.ConnectionState(); s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("the cipher is %s", tls.CipherSuiteName(s.CipherSuite))
	}
	// crypto/tls holds nothing: the gateway sends no more before it has the client's Finished.
	r := &records{t: t, nc: nc, r: bufio.NewReader(nc)}
	for line := range strings.Lines(log.String()) {
		f := strings.Fields(line)
		secret, _ := hex.DecodeString(f[2])
		switch f[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			r.out.use(secret)
		case "SERVER_TRAFFIC_SECRET_0":
			r.in.use(secret)
		}
	}
	return r
}

func (r *records) seal(kind byte, content []byte) []byte {
	head := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(content)+1+r.out.aead.Overhead()))
	return r.out.aead.Seal(head, r.out.nonce(), append(bytes.Clone(content), kind), head)
}

func (r *records) write(kind byte, content []byte) {
	if _, err := r.nc.Write(r.seal(kind, content)); err != nil {
		r.t.Fatal(err)
	}
}

// next reads a record that is not a ticket.
func (r *records) next() (kind byte, content []byte, err error) {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(r.r, head); err != nil {
			return 0, nil, err
		}
		b := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(r.r, b); err != nil {
			return 0, nil, err
		}
		b, err := r.in.aead.Open(b[:0], r.in.nonce(), b, head)
		if err != nil {
			return 0, nil, err
		}
		kind, content = b[len(b)-1], b[:len(b)-1]
		if kind != recordHandshake || content[0] != 4 {
			return kind, content, nil
		}
	}
}

func (r *records) want(what string, kind byte, content []byte) {
	r.t.Helper()
	r.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	k, got, err := r.next()
	if err != nil || k != kind || !bytes.Equal(got, content) {
		r.t.Fatalf("%s: got kind %d, %d bytes % x, %v", what, k, len(got), got[:min(len(got), 16)], err)
	}
}

var updateRequested = []byte{24, 0, 0, 1, 1}

// Keys are renewed while there is input and output, as often as the peer asks for it.
func TestKeyUpdate(t *testing.T) {
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{receive: echo}), "tls"))
	for range 40 {
		r.write(recordData, []byte("before"))
		r.want("echo with the old keys", recordData, []byte("before"))
		both := r.seal(recordHandshake, updateRequested)
		r.out.renew()
		both = append(both, r.seal(recordData, []byte("after"))...)
		r.nc.Write(both)
		r.want("the answer", recordHandshake, []byte{24, 0, 0, 1, 0})
		r.in.renew()
		r.want("echo with the new keys", recordData, []byte("after"))
	}
}

// Who asks for new keys without end and reads no answer is a slow reader.
func TestKeyUpdateFlood(t *testing.T) {
	cause := make(chan error, 1)
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{
		closed: func(_ *Conn, err error) { cause <- err },
	}), "tls"))
	r.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	go func() {
		for {
			var b []byte
			for range 100 {
				b = append(b, r.seal(recordHandshake, updateRequested)...)
				r.out.renew()
				b = append(b, r.seal(recordData, []byte("x"))...)
			}
			if _, err := r.nc.Write(b); err != nil {
				return
			}
		}
	}()
	select {
	case err := <-cause:
		if err != ErrSlow {
			t.Errorf("cause is %v, not ErrSlow", err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("answers pile up")
	}
	r.nc.Close()
}

// The largest record, and one that comes byte by byte, are read like any other.
func TestRecords(t *testing.T) {
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{receive: packets}), "tls"))
	p := packet(noise(16<<10 - 4))
	for _, b := range r.seal(recordData, p[:5]) {
		r.nc.Write([]byte{b})
	}
	r.write(recordData, nil) // allowed, and says nothing
	r.write(recordData, p[5:])
	var got []byte
	for len(got) < len(p) {
		_, b, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, p) {
		t.Error("other bytes came than were sent")
	}
	p = packet(noise(16<<10 - 4))
	var all []byte
	for range 8 { // more than one read
		all = append(all, r.seal(recordData, p)...)
	}
	go r.nc.Write(all)
	for n := 0; n < 8*len(p); {
		_, b, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		n += len(b)
	}
}

// A record that was tampered with ends the connection, and the peer is told why.
// What came before it counts.
func TestBadRecord(t *testing.T) {
	got := make(chan string, 10)
	cause := make(chan error, 1)
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{
		receive: func(c *Conn, b []byte) (int, error) { got <- string(b); return len(b), nil },
		closed:  func(_ *Conn, err error) { cause <- err },
	}), "tls"))
	bad := r.seal(recordData, []byte("bad"))
	bad[len(bad)-1] ^= 1
	r.out.seq--
	r.nc.Write(append(r.seal(recordData, []byte("good")), bad...))
	r.want("an alert: bad record MAC", recordAlert, []byte{2, 20})
	if s := <-got; s != "good" {
		t.Errorf("got %q", s)
	}
	if err := <-cause; err == nil || err == io.EOF {
		t.Errorf("cause is %v", err)
	}
}

// A record cut short is not the end of a stream.
func TestTruncated(t *testing.T) {
	cause := make(chan error, 1)
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{
		closed: func(_ *Conn, err error) { cause <- err },
	}), "tls"))
	b := r.seal(recordData, []byte("cut"))
	r.nc.Write(b[:len(b)-1])
	r.nc.(*net.TCPConn).CloseWrite()
	if err := <-cause; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cause is %v", err)
	}
}

// A peer that says it will send no more still gets what is under way, and close_notify.
func TestHalfClose(t *testing.T) {
	r := dialRecords(t, listenTLS(t, start(t, Config{}, &recorder{receive: echo}), "tls"))
	r.nc.Write(append(r.seal(recordData, []byte("last")), r.seal(recordAlert, []byte{1, 0})...))
	r.want("the echo", recordData, []byte("last"))
	r.want("close_notify", recordAlert, []byte{1, 0})
	if _, _, err := r.next(); err != io.EOF {
		t.Errorf("after close_notify: %v", err)
	}
}

// What came together with the end of the handshake is not lost, though it is in no
// socket any more, and may be paused for.
func TestReadAhead(t *testing.T) {
	for _, paused := range []bool{false, true} {
		opened := make(chan *Conn, 1)
		tr := start(t, Config{}, &recorder{receive: echo, open: func(c *Conn) {
			if paused {
				c.Pause()
			}
			opened <- c
		}})
		held := &holding{Conn: dialTCP(t, listenTLS(t, tr, "tls"))}
		c := tls.Client(held, &tls.Config{RootCAs: pool(serverCert()), ServerName: "gateway"})
		held.hold = true
		held.first = true
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("early"))
		held.release()
		conn := <-opened
		if paused {
			time.Sleep(10 * time.Millisecond)
			conn.Resume()
		}
		want(t, "what came early", c, []byte("early"))
		c.Close()
	}
}

// holding lets the ClientHello go, and gathers what comes after it.
type holding struct {
	net.Conn
	first, hold bool
	held        []byte
}

func (c *holding) Write(b []byte) (int, error) {
	if c.first || !c.hold {
		c.first = false
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

func (c *holding) release() {
	c.hold = false
	c.Conn.Write(c.held)
}

func places(tr *Transport) (running, waiting int) {
	h := &tr.loops.handshakes
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running, len(h.waiting)
}

// More slow peers than places: those behind are served when their turn comes. Those
// that say nothing at all hold no place.
func TestHandshakesAreBounded(t *testing.T) {
	tr := start(t, Config{HandshakeTimeout: time.Second}, &recorder{receive: echo})
	addr := listenTLS(t, tr, "tls")
	for range maxHandshakes + 5 {
		defer dialTCP(t, addr).Close()
	}
	if !settles(func() bool { return tr.conns.Load() == maxHandshakes+5 }) {
		t.Fatal("not accepted")
	}
	if running, _ := places(tr); running != 0 {
		t.Errorf("%d places for silent peers", running)
	}
	for range maxHandshakes + 5 {
		nc := dialTCP(t, addr)
		defer nc.Close()
		nc.Write([]byte{recordHandshake})
	}
	if !settles(func() bool { running, waiting := places(tr); return running == maxHandshakes && waiting == 5 }) {
		t.Fatal(places(tr))
	}
	c := tlsClient(t, addr)
	defer c.Close()
	c.Write([]byte("x"))
	want(t, "echo", c, []byte("x"))
}

// The time of a handshake may be over before the loop has seen the connection.
func TestHandshakeOverAtOnce(t *testing.T) {
	tr := start(t, Config{HandshakeTimeout: 1}, &recorder{})
	addr := listenTLS(t, tr, "tls")
	for range 50 {
		nc := dialTCP(t, addr)
		nc.Write([]byte{22}) // silent, it would be accepted after a second
		wantGone(t, "a connection without time for a handshake", nc)
	}
	if !settles(func() bool { return tr.conns.Load() == 0 }) {
		t.Errorf("%d connections are left", tr.conns.Load())
	}
}

// Handshakes are broken off at every byte, by a close or a reset, and leave nothing.
func TestBrokenHandshakes(t *testing.T) {
	tr := start(t, Config{}, &recorder{receive: echo})
	addr := listenTLS(t, tr, "tls")
	first := &firstWrite{}
	tls.Client(first, &tls.Config{ServerName: "gateway"}).Handshake()
	hello := first.b
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := i; n < 2*len(hello); n += 8 + len(hello)/64 {
				nc := dialTCP(t, addr)
				nc.Write(hello[:min(n, len(hello))])
				if n%3 == 0 {
					nc.SetLinger(0) // reset
				}
				if n > len(hello) { // the server's part has come
					nc.Read(make([]byte, 1))
				}
				nc.Close()
			}
		})
	}
	clients.Wait()
	if !settles(func() bool {
		running, waiting := places(tr)
		return tr.conns.Load() == 0 && running == 0 && waiting == 0
	}) {
		t.Errorf("%d connections are left", tr.conns.Load())
	}
}

// firstWrite is a connection that takes one write.
type firstWrite struct {
	net.Conn
	b []byte
}

func (c *firstWrite) Write(b []byte) (int, error)      { c.b = bytes.Clone(b); return 0, io.ErrClosedPipe }
func (c *firstWrite) SetWriteDeadline(time.Time) error { return nil }

// The Transport closes while handshakes are at every stage.
func TestCloseWhileShaking(t *testing.T) {
	tr := New(Config{}, &recorder{t: t})
	addr := listenTLS(t, tr, "tls")
	for i := range 2*maxHandshakes + 10 {
		nc := dialTCP(t, addr)
		defer nc.Close()
		if i%2 == 0 {
			nc.Write([]byte{recordHandshake, 3, 1, 1, 0})
		}
	}
	if !settles(func() bool { return tr.conns.Load() == 2*maxHandshakes+10 }) {
		t.Fatal("not accepted")
	}
	began := time.Now()
	closeNow(tr)
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
	if n := tr.conns.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// A client of TLS 1.2 that wants to renegotiate is refused.
func TestNoRenegotiation(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not here")
	}
	addr := listenTLS(t, start(t, Config{}, &recorder{receive: echo}), "tls")
	cmd := exec.Command(openssl, "s_client", "-connect", addr, "-tls1_2", "-msg")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("R\n"))
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	if s := out.String(); !strings.Contains(s, "RENEGOTIATING") || !strings.Contains(s, "unexpected_message") {
		t.Errorf("openssl says:\n%s", s)
	}
}
