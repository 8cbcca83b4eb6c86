package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMain checks that nothing is left behind by the tests.
func TestMain(m *testing.M) {
	fds := openFiles()
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(code) // fuzzing leaves a goroutine of its own, for signals
	}
	if code == 0 && !settles(func() bool { return runtime.NumGoroutine() <= 1 }) {
		fmt.Println("goroutines are left:")
		pprof.Lookup("goroutine").WriteTo(os.Stdout, 1)
		code = 1
	}
	// The runtime keeps a few of its own once they were needed.
	if code == 0 && !settles(func() bool { return openFiles() <= fds+4 }) {
		fmt.Println("descriptors are left:", openFiles(), "were", fds)
		code = 1
	}
	os.Exit(code)
}

func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}

// settles waits until cond holds, for what other threads do in their own time.
func settles(cond func() bool) bool {
	for range 500 {
		if cond() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return cond()
}

// recorder is a Handler that checks what a Transport promises to one. What is
// nil is not interesting.
type recorder struct {
	t        testing.TB
	open     func(c *Conn)
	receive  func(c *Conn, b []byte) (int, error)
	writable func(c *Conn)
	closed   func(c *Conn, err error)
	round    func(begins bool)

	live atomic.Int64 // opened and not closed
}

// record is the recorder's knowledge of one Conn.
type record struct {
	busy   atomic.Bool
	closed bool // guarded by busy
}

func (r *recorder) enter(c *Conn, what string) (leave func()) {
	rec, ok := c.User.(*record)
	if !ok {
		r.t.Errorf("%s before Open", what)
		return func() {}
	}
	if !rec.busy.CompareAndSwap(false, true) {
		r.t.Errorf("%s while another callback of the same Conn runs", what)
	}
	if rec.closed {
		r.t.Errorf("%s after Closed", what)
	}
	return func() { rec.busy.Store(false) }
}

func (r *recorder) Open(c *Conn) {
	if c.User != nil {
		r.t.Errorf("Open twice")
	}
	c.User = new(record)
	r.live.Add(1)
	defer r.enter(c, "Open")()
	if r.open != nil {
		r.open(c)
	}
}

func (r *recorder) Receive(c *Conn, b []byte) (int, error) {
	defer r.enter(c, "Receive")()
	if r.receive == nil {
		return len(b), nil
	}
	return r.receive(c, b)
}

func (r *recorder) BeginRound() { r.rounds(true) }
func (r *recorder) EndRound()   { r.rounds(false) }

func (r *recorder) rounds(begins bool) {
	if r.round != nil {
		r.round(begins)
	}
}

func (r *recorder) Writable(c *Conn) {
	defer r.enter(c, "Writable")()
	if r.writable != nil {
		r.writable(c)
	}
}

func (r *recorder) Closed(c *Conn, err error) {
	defer r.live.Add(-1)
	defer r.enter(c, "Closed")()
	c.User.(*record).closed = true
	if n := c.Pending(); n != 0 && c.Wire() != "inside" {
		r.t.Errorf("%d bytes pending when closed", n)
	}
	if r.closed != nil {
		r.closed(c, err)
	}
}

func send(c *Conn, b []byte) { c.End(append(c.Begin(0), b...)) }

func echo(c *Conn, b []byte) (int, error) {
	send(c, b)
	return len(b), nil
}

// packets echoes what begins with its length in four bytes, once it is whole.
func packets(c *Conn, b []byte) (int, error) {
	n := 0
	for len(b)-n >= 4 {
		size := 4 + int(binary.BigEndian.Uint32(b[n:]))
		if len(b)-n < size {
			break
		}
		send(c, b[n:n+size])
		n += size
	}
	return n, nil
}

func packet(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

// mqttPacket is a packet of MQTT, for what has to know its end.
func mqttPacket(rest []byte) []byte {
	return append(binary.AppendUvarint([]byte{0x30}, uint64(len(rest))), rest...)
}

func noise(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	rand.NewChaCha8(seed).Read(b)
	return b
}

// start runs a Transport for the test.
func start(t testing.TB, cfg Config, r *recorder) *Transport {
	r.t = t
	tr := New(cfg, r)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := tr.conns.Load(); n != 0 {
			t.Errorf("%d connections counted after close", n)
		}
		if n := r.live.Load(); n != 0 {
			t.Errorf("%d connections without Closed", n)
		}
	})
	return tr
}

// A way is one kind of connection, with a client's end that carries plain bytes.
type way struct {
	name string
	dial func(t testing.TB, tr *Transport) io.ReadWriteCloser
}

var ways = []way{
	{"tcp", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		return dialTCP(t, listen(t, tr, "tcp"))
	}},
	{"unix", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		path := filepath.Join(t.TempDir(), "s")
		if _, err := tr.Listen("unix", path, nil); err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}},
	{"stream", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		client, server := tcpPair(t)
		tr.Serve(server)
		return client
	}},
	{"tls", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		return dialTLS(t, tr, "tls")
	}},
	{"stream, tls", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		client, server := tcpPair(t)
		tr.Serve(tls.Server(server, &tls.Config{Certificates: []tls.Certificate{serverCert()}}))
		return tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	}},
	{"ws", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		return dialWebSocket(t, dialTCP(t, listen(t, tr, "ws")))
	}},
	{"wss", func(t testing.TB, tr *Transport) io.ReadWriteCloser {
		return dialWebSocket(t, dialTLS(t, tr, "wss"))
	}},
	{"inside", func(t testing.TB, tr *Transport) io.ReadWriteCloser { return tr.Dial() }},
}

func everyWay(t *testing.T, f func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			f(t, w)
		})
	}
}

func listen(t testing.TB, tr *Transport, network string) string {
	a, err := tr.Listen(network, "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func tcpPair(t testing.TB) (client, server *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client = dialTCP(t, ln.Addr().String())
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, nc.(*net.TCPConn)
}

// want reads as much as is wanted, and compares.
func want(t testing.TB, what string, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		t.Fatalf("%s: %d of %d bytes came: %v", what, n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: other bytes came than were sent", what)
	}
}

// wantEnd reads what is left, which should be nothing.
func wantEnd(t testing.TB, what string, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Fatalf("%s: got %d bytes and %v, not the end", what, len(b), err)
	}
}

func TestEcho(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		c := w.dial(t, start(t, Config{}, &recorder{receive: packets}))
		defer c.Close()
		small := packet([]byte("hello"))
		for i := range small {
			c.Write(small[i : i+1])
		}
		want(t, "a packet sent byte by byte comes back", c, small)

		var all []byte
		for _, n := range []int{0, 1, 125, 126, 1000, 65535, 65536, 5 << 20, 3, 200_000} {
			all = append(all, packet(noise(n))...)
		}
		go func() {
			for b := all; len(b) > 0; {
				n := min(len(b), 1+rand.IntN(200_000))
				c.Write(b[:n])
				b = b[n:]
			}
		}()
		want(t, "packets of all sizes come back", c, all)
	})
}

func TestPeerCloses(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		cause := make(chan error, 1)
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: echo,
			closed:  func(_ *Conn, err error) { cause <- err },
		}))
		c.Write([]byte("x"))
		want(t, "echo", c, []byte("x"))
		c.Close()
		if err := <-cause; err != io.EOF {
			t.Errorf("cause is %v, not io.EOF", err)
		}
	})
}

// What was sent before Close arrives, although the peer has sent more than was
// read: the reason for a refusal must not be lost in a reset.
func TestClose(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		cause := make(chan error, 1)
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				send(c, []byte("go away"))
				c.Close()
				c.Close()
				send(c, []byte("too late"))
				return 0, nil
			},
			closed: func(_ *Conn, err error) { cause <- err },
		}))
		if w.name == "inside" {
			c.Write([]byte("hello"))
		} else {
			c.Write(noise(3 << 20))
		}
		want(t, "the last words", c, []byte("go away"))
		wantEnd(t, "after the last words", c)
		if err := <-cause; err != net.ErrClosed {
			t.Errorf("cause is %v, not net.ErrClosed", err)
		}
		c.Close()
	})
}

func TestReceiveFails(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		bad := errors.New("bad packet")
		cause := make(chan error, 1)
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				send(c, []byte("bad"))
				return 0, bad
			},
			closed: func(_ *Conn, err error) { cause <- err },
		}))
		defer c.Close()
		c.Write([]byte("x"))
		want(t, "the reason", c, []byte("bad"))
		wantEnd(t, "after the reason", c)
		if err := <-cause; err != bad {
			t.Errorf("cause is %v, not that of Receive", err)
		}
	})
}

// A peer that resets its connection has often said goodbye before: a client
// that sends DISCONNECT and closes with messages unread. Its bytes count.
func TestBytesBeforeReset(t *testing.T) {
	for _, name := range []string{"tcp", "stream"} {
		t.Run(name, func(t *testing.T) {
			opened := make(chan *Conn, 1)
			got := make(chan string, 10)
			cause := make(chan error, 1)
			tr := start(t, Config{}, &recorder{
				open:    func(c *Conn) { c.Pause(); opened <- c },
				receive: func(c *Conn, b []byte) (int, error) { got <- string(b); return len(b), nil },
				closed:  func(_ *Conn, err error) { cause <- err },
			})
			i := slices.IndexFunc(ways, func(w way) bool { return w.name == name })
			client := ways[i].dial(t, tr).(*net.TCPConn)
			c := <-opened
			client.Write([]byte("goodbye"))
			send(c, []byte("never read"))
			if !settles(func() bool { return c.Pending() == 0 }) {
				t.Fatal("output does not leave")
			}
			client.Close() // with bytes unread: a reset
			for range 5 {  // fails, and must not end it
				send(c, []byte("x"))
				time.Sleep(5 * time.Millisecond)
			}
			c.Resume()
			select {
			case b := <-got:
				if b != "goodbye" {
					t.Errorf("got %q", b)
				}
			case err := <-cause:
				t.Fatalf("closed by %v before what was sent came", err)
			}
			<-cause
		})
	}
}

// A reader that does not read stops the handler, and not the memory.
func TestBackpressure(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		chunk := noise(32 << 10)
		const total = 16 << 20
		var sent atomic.Int64
		writables := 0
		fill := func(c *Conn) {
			for sent.Load() < total && c.Pending() <= HighWater {
				send(c, chunk)
				sent.Add(int64(len(chunk)))
			}
		}
		c := w.dial(t, start(t, Config{}, &recorder{
			receive:  func(c *Conn, b []byte) (int, error) { fill(c); return len(b), nil },
			writable: func(c *Conn) { writables++; fill(c) },
		}))
		defer c.Close()
		c.Write([]byte("x"))
		stuck := int64(-1)
		settles(func() bool { // until it does not go on
			last := stuck
			stuck = sent.Load()
			time.Sleep(50 * time.Millisecond)
			return stuck == last && stuck > 0
		})
		if stuck == total {
			t.Fatal("the handler was not held back")
		}
		for n := 0; n < total; n += len(chunk) {
			want(t, "the output", c, chunk)
		}
	})
}

// Much output lies in several buffers: it comes whole and in order, what is large as well,
// what was said to be large and is not, and what came to nothing.
func TestOutputOfAllSizes(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		var all []byte
		filled := make(chan struct{})
		c := w.dial(t, start(t, Config{}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
			defer close(filled)
			for i := range 200 {
				p := mqttPacket(noise([]int{10, 1000, 60_000, 200_000, 40}[i%5]))
				c.End(append(c.Begin([]int{0, len(p), pieceSize + 1}[i%3]), p...))
				c.End(c.Begin([]int{0, 2 * pieceSize}[i%2]))
				all = append(all, p...)
				if more := c.Pending() - len(all); more < 0 || more > 200*frameRoom {
					t.Errorf("%d bytes more are pending than were sent", more)
				}
			}
			return len(b), nil
		}}))
		defer c.Close()
		c.Write([]byte("x"))
		<-filled
		want(t, "the output", c, all)
	})
}

// Output that piles up is not copied from one piece into a larger one, and fills them by half.
func TestPieces(t *testing.T) {
	c := new(Conn)
	c.driver = new(inside)
	packet := make([]byte, 100)
	for range 20 * pieceSize / len(packet) {
		c.End(append(c.Begin(len(packet)), packet...))
	}
	for b, n := c.takeOutput(), 0; b != nil; b, n = c.takeOutput(), n+1 {
		if last := c.out == nil; cap(b.b) > pieceSize || len(b.b) <= pieceSize/2 && !last {
			t.Fatalf("piece %d has %d bytes in %d", n, len(b.b), cap(b.b))
		}
	}
}

func TestTooSlow(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		if w.name != "tcp" && w.name != "tls" && w.name != "inside" {
			t.Skip("one of each driver will do, they take much memory")
		}
		cause := make(chan error, 1)
		chunk := make([]byte, 1<<20)
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				for range 80 {
					send(c, chunk)
					if c.Pending() > MaxPending {
						t.Errorf("%d bytes pending", c.Pending())
					}
				}
				return len(b), nil
			},
			closed: func(_ *Conn, err error) { cause <- err },
		}))
		defer c.Close()
		c.Write([]byte("x"))
		if err := <-cause; err != ErrSlow {
			t.Errorf("cause is %v, not ErrSlow", err)
		}
	})
}

// Close does not wait long for a peer that does not read.
func TestCloseIsBounded(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		var before time.Time
		closed := make(chan bool)
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				send(c, mqttPacket(make([]byte, 16<<20)))
				c.Close()
				before = time.Now()
				return len(b), nil
			},
			closed: func(*Conn, error) { close(closed) },
		}))
		defer c.Close()
		c.Write([]byte("x"))
		<-closed
		if d := time.Since(before); d > closeWait+2*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestPause(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		var got []byte
		paused := make(chan *Conn, 1)
		var held atomic.Bool
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				if held.Load() {
					t.Error("Receive while paused")
				}
				if len(got) < 20 { // one byte at a time, the others wait
					got = append(got, b[0])
					held.Store(true)
					c.Pause()
					paused <- c
					return 1, nil
				}
				got = append(got, b...)
				if len(got) == 1000 {
					send(c, got)
				}
				return len(b), nil
			},
		}))
		defer c.Close()
		all := noise(1000)
		go func() {
			for range 20 {
				c := <-paused
				time.Sleep(time.Millisecond)
				held.Store(false)
				c.Resume()
			}
		}()
		c.Write(all[:500])
		c.Write(all[500:])
		want(t, "all that was sent while paused", c, all)
	})
}

// Who is paused and looks learns that the peer has closed, behind all that it sent.
func TestEndWhilePaused(t *testing.T) {
	for _, w := range ways {
		if strings.Contains(w.name, "stream") || strings.Contains(w.name, "inside") {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			var got []byte
			first, over := make(chan *Conn, 1), make(chan struct{})
			client := w.dial(t, start(t, Config{}, &recorder{
				receive: func(c *Conn, b []byte) (int, error) {
					if len(got) == 0 {
						c.Pause()
						c.ResumeIfOver() // it may not have a loop yet
						first <- c
					}
					got = append(got, b...)
					return len(b), nil
				},
				closed: func(*Conn, error) { close(over) },
			}))
			all := noise(100000)
			client.Write(all[:1])
			c := <-first
			client.Write(all[1:])
			c.ResumeIfOver()
			select {
			case <-over:
				t.Fatal("it is over before the peer is")
			case <-time.After(20 * time.Millisecond):
			}
			client.Close()
			for {
				c.ResumeIfOver()
				select {
				case <-over:
				case <-time.After(time.Millisecond):
					continue
				}
				break
			}
			if !bytes.Equal(got, all) {
				t.Errorf("%d of %d bytes came before the end", len(got), len(all))
			}
		})
	}
}

// A pause may be over before the driver has seen it.
func TestShortPause(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		calls := 0
		c := w.dial(t, start(t, Config{}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				if calls++; calls == 1 {
					c.Pause()
					resumed := make(chan bool)
					go func() { c.Resume(); close(resumed) }()
					<-resumed
					return 1, nil
				}
				return echo(c, b)
			},
		}))
		defer c.Close()
		c.Write([]byte("xy"))
		want(t, "what was not taken at first", c, []byte("y"))
	})
}

// Who reads on only once the output has drained learns that nobody takes it
// any more.
func TestWritableAfterReset(t *testing.T) {
	for _, w := range ways {
		if w.name != "tcp" && w.name != "tls" {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			deaf := make(chan bool, 1)
			cause := make(chan error, 1)
			client := w.dial(t, start(t, Config{}, &recorder{
				receive: func(c *Conn, b []byte) (int, error) {
					c.Pause()
					send(c, make([]byte, 32<<20))
					deaf <- true
					return len(b), nil
				},
				writable: func(c *Conn) { c.Resume() },
				closed:   func(_ *Conn, err error) { cause <- err },
			}))
			client.Write([]byte("x"))
			<-deaf
			want(t, "the beginning", client, make([]byte, 1))
			client.Close() // with bytes unread: a reset
			select {
			case <-cause:
			case <-time.After(5 * time.Second):
				t.Error("not closed")
			}
		})
	}
}

// Many connections, each answered by another and closed at any time, by any
// side, from any goroutine.
func TestStress(t *testing.T) {
	var mu sync.Mutex // as the engine's: held around Begin and End
	all := make(map[*Conn]bool)
	r := &recorder{
		open: func(c *Conn) { mu.Lock(); all[c] = true; mu.Unlock() },
		receive: func(c *Conn, b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for other := range all {
				send(other, b[:min(len(b), 100)])
				switch rand.IntN(200) {
				case 0:
					other.Close()
				case 1:
					other.Pause()
				}
				other.Resume()
				if n++; n == 5 {
					break
				}
			}
			return rand.IntN(len(b) + 1), nil
		},
		closed: func(c *Conn, err error) { mu.Lock(); delete(all, c); mu.Unlock() },
	}
	tr := start(t, Config{Loops: 3}, r)
	addr := map[string]string{"tcp": listen(t, tr, "tcp"), "ws": listen(t, tr, "ws")}
	secure := listenTLS(t, tr, "tls")
	dial := []func() io.ReadWriteCloser{
		func() io.ReadWriteCloser { return dialTCP(t, addr["tcp"]) },
		func() io.ReadWriteCloser { return dialTCP(t, addr["tcp"]) },
		func() io.ReadWriteCloser {
			nc := dialTCP(t, addr["ws"])
			if c, err := upgradeWebSocket(nc); err == nil {
				return c
			}
			return nc // closed by one of the others already
		},
		func() io.ReadWriteCloser { return tlsClient(t, secure) },
		func() io.ReadWriteCloser { return tr.Dial() },
	}
	stop := make(chan bool)
	var others, clients sync.WaitGroup
	for range 2 {
		others.Go(func() { // other goroutines that send, as timers do
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				mu.Lock()
				for c := range all {
					send(c, []byte("tick"))
				}
				mu.Unlock()
			}
		})
	}
	const rounds = 40
	for i := range 25 {
		clients.Go(func() {
			for range rounds {
				c := dial[i%len(dial)]()
				done := make(chan bool)
				go func() {
					io.Copy(io.Discard, c)
					close(done)
				}()
				for range rand.IntN(20) {
					if _, err := c.Write(make([]byte, 1+rand.IntN(3000))); err != nil {
						break
					}
				}
				if nc, ok := c.(*net.TCPConn); ok && rand.IntN(2) == 0 {
					nc.SetLinger(0) // reset
				}
				c.Close()
				<-done
			}
		})
	}
	clients.Wait()
	close(stop)
	others.Wait()
}

func TestMaxConns(t *testing.T) {
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			tr := start(t, Config{MaxConns: 2}, &recorder{receive: echo})
			var addr string
			if network == "tcp" {
				addr = listen(t, tr, "tcp")
			} else {
				addr = listenTLS(t, tr, "tls")
			}
			// With TLS these never begin the handshake; they count.
			dial := func() io.ReadWriteCloser { return dialTCP(t, addr) }
			a, b := dial(), dial()
			defer b.Close()
			if !settles(func() bool { return tr.conns.Load() == 2 }) {
				t.Fatal("not two connections")
			}
			wantGone(t, "the third", dial())
			a.Close()
			if !settles(func() bool { return tr.conns.Load() == 1 }) {
				t.Fatal("the first is still counted")
			}
			c := dial()
			defer c.Close()
			if !settles(func() bool { return tr.conns.Load() == 2 }) {
				t.Fatal("no place after one has left")
			}
		})
	}
}

// wantGone waits until the other side has closed, whichever way.
func wantGone(t testing.TB, what string, c io.ReadWriteCloser) {
	t.Helper()
	if nc, ok := c.(net.Conn); ok {
		nc.SetDeadline(time.Now().Add(5 * time.Second))
	}
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s is still open", what)
	}
	c.Close()
}

func TestStopAccepting(t *testing.T) {
	tr := start(t, Config{}, &recorder{receive: echo})
	addr := listen(t, tr, "tcp")
	c := dialTCP(t, addr)
	c.Write([]byte("x"))
	want(t, "echo", c, []byte("x"))
	tr.StopAccepting()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a connection after StopAccepting")
	}
	if _, err := tr.Listen("tcp", "127.0.0.1:0", nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen after StopAccepting: %v", err)
	}
	c.Write([]byte("y"))
	want(t, "echo on the connection that was there", c, []byte("y"))
}

// When the context ends, Close does not wait for peers any more.
func TestCloseCuts(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		received := make(chan struct{})
		r := &recorder{t: t, receive: func(c *Conn, b []byte) (int, error) {
			send(c, mqttPacket(make([]byte, 16<<20)))
			close(received)
			return len(b), nil
		}}
		tr := New(Config{}, r)
		c := w.dial(t, tr)
		defer c.Close()
		c.Write([]byte("x"))
		if w.name == "inside" {
			return // has no peer to wait for
		}
		<-received
		before := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := tr.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("close: %v", err)
		}
		if d := time.Since(before); d > closeWait {
			t.Errorf("took %v", d)
		}
		if n := r.live.Load(); n != 0 {
			t.Errorf("%d connections without Closed", n)
		}
		wantGone(t, "the connection", c)
	})
}

func TestListenRefuses(t *testing.T) {
	tr := start(t, Config{}, &recorder{})
	for _, x := range []struct{ network, addr string }{
		{"quic", ":0"}, {"tls", ":0"}, {"wss", ":0"}, {"tcp", "nonsense"}, {"unix", "/no/such/place"},
	} {
		if a, err := tr.Listen(x.network, x.addr, nil); err == nil {
			t.Errorf("listen %s %s: got %v", x.network, x.addr, a)
		}
	}
}

// What a handler leaves when it yields comes again after others had their turn, and before
// anything more is read: all of it, in order, even if the peer has gone.
func TestYield(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		sent := noise(200 << 10)
		const most = 4 << 10 // of one turn
		var got []byte
		largest := 0
		ended := make(chan struct{})
		c := w.dial(t, start(t, Config{Loops: 1}, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				largest = max(largest, len(b))
				n := min(most, len(b))
				got = append(got, b[:n]...)
				if n < len(b) {
					c.Yield()
				}
				if len(got) == len(sent) {
					close(ended)
				}
				return n, nil
			},
		}))
		for rest := sent; len(rest) > 0; {
			n := min(100<<10, len(rest))
			c.Write(rest[:n])
			rest = rest[n:]
		}
		c.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("what was left does not come")
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, and not those that were sent", len(got))
		}
		if largest > 100<<10+most {
			t.Errorf("%d bytes piled up", largest)
		}
	})
}
