package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
	"sluice/gateway/transport"
	"sluice/store"
)

// site is a server with its transport and, if it has one, its store, in a bubble of
// fake time.
type site struct {
	t   *testing.T
	srv *Server
	tr  *transport.Transport
	db  *store.DB
	dir string
	cfg Config
	max int64 // bytes in the store; 0: its default

	disk chan struct{} // full: commits are not told of, as if the disk took long
}

// inBubble runs a test of a server that keeps everything in memory.
func inBubble(t *testing.T, cfg Config, test func(*site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		at := &site{t: t, cfg: cfg}
		at.start()
		defer at.stop()
		test(at)
	})
}

// onDisk runs a test of a server with a store.
func onDisk(t *testing.T, cfg Config, test func(*site)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		at := &site{t: t, cfg: cfg, dir: dir}
		at.start()
		defer at.stop()
		test(at)
	})
}

func (at *site) start() {
	at.srv = New(at.cfg)
	at.tr = transport.New(transport.Config{Loops: 1}, at.srv)
	if at.dir == "" {
		return
	}
	srv := at.srv
	at.disk = make(chan struct{}, 1)
	committed := func(epoch uint64) {
		at.disk <- struct{}{}
		srv.Committed(epoch)
		at.letGo()
	}
	db, err := store.Open(store.Config{Dir: at.dir, MaxBytes: at.max, Together: at.srv.Together(), Sync: store.Never, Committed: committed, Failed: at.srv.Failed})
	if err != nil {
		at.t.Fatal(err)
	}
	at.db = db
	at.srv.Start(db)
}

// letGo ends what fills at.disk.
func (at *site) letGo() {
	select {
	case <-at.disk:
	default:
	}
}

func (at *site) stop() {
	at.letGo() // by a test that failed
	at.srv.Shutdown(context.Background())
	at.tr.Close(context.Background())
	if at.db != nil {
		if err := at.db.Close(); err != nil {
			at.t.Error(err)
		}
		time.Sleep(2 * time.Second) // buntdb looks once a second whether it is closed
	}
}

// restart stops the server in good order and starts it again on the same store.
func (at *site) restart() {
	at.stop()
	at.start()
}

// written is how many bytes the store's files have.
func (at *site) written() (n int64) {
	files, err := filepath.Glob(filepath.Join(at.dir, "*.db"))
	if err != nil || len(files) == 0 {
		at.t.Fatal("no store in ", at.dir)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			n += info.Size()
		}
	}
	return n
}

// settle lets everything happen that is under way, lingering commits included.
func (at *site) settle() {
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

// peer is a client of the test's own: what it sends and gets is packets.
type peer struct {
	at   *site
	t    *testing.T
	nc   io.ReadWriteCloser
	v    codec.Version
	dec  codec.Decoder
	name string

	deaf chan struct{} // full: it does not read

	mu    sync.Mutex
	got   []byte    // came and was not looked at
	ended time.Time // when the server closed
}

// dial connects a client that has not said anything yet.
func (at *site) dial(name string, v codec.Version) *peer {
	at.t.Helper()
	ours, theirs := net.Pipe()
	at.tr.Serve(theirs)
	return at.over(ours, name, v)
}

// inside connects a client that is a part of the gateway's program, and has not said
// anything yet.
func (at *site) inside(name string) *peer { return at.over(at.tr.Dial(), name, codec.V5) }

func (at *site) over(ours io.ReadWriteCloser, name string, v codec.Version) *peer {
	p := &peer{at: at, t: at.t, nc: ours, v: v, name: name, dec: codec.Decoder{FromServer: true}, deaf: make(chan struct{}, 1)}
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := ours.Read(b)
			p.deaf <- struct{}{}
			<-p.deaf
			p.mu.Lock()
			p.got = append(p.got, b[:n]...)
			if err != nil {
				p.ended = time.Now()
			}
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	at.t.Cleanup(func() { ours.Close() })
	return p
}

// join connects a client with a session that ends with it, changed by options.
func (at *site) join(name string, v codec.Version, options ...func(*codec.Connect)) *peer {
	at.t.Helper()
	p := at.dial(name, v)
	c := codec.Connect{Version: v, CleanStart: true, ClientID: []byte(name)}
	for _, o := range options {
		o(&c)
	}
	p.send(&c)
	got := p.next()
	if ack, ok := got.(*codec.Connack); !ok || ack.Code != codec.Success {
		at.t.Fatalf("%s: connect answered by %s", name, show(got))
	}
	return p
}

// keep asks for a session that outlives the connection, and for the one there is.
func keep(c *codec.Connect) {
	c.CleanStart = false
	if c.Version == codec.V5 {
		c.SessionExpiry = 3600
	}
}

func (p *peer) send(packets ...codec.Packet) {
	p.t.Helper()
	for _, packet := range packets {
		p.sendRaw(packet.Append(nil, p.v))
	}
}

func (p *peer) sendRaw(b []byte) {
	p.nc.Write(b) // fails when the server has closed, which want tells
	p.at.settle()
}

// next takes the next packet that came; nil if there is none. It stays valid until the
// next call.
func (p *peer) next() codec.Packet {
	p.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	packet, n, err := p.dec.Next(p.got, p.v, 0)
	if err != nil {
		p.t.Fatalf("%s got % x: %v", p.name, p.got, err)
	}
	p.got = p.got[n:]
	if n == 0 {
		return nil
	}
	return packet
}

// want takes the next packets and compares them.
func (p *peer) want(sentence string, packets ...codec.Packet) {
	p.t.Helper()
	for _, want := range packets {
		got := p.next()
		if got == nil || !bytes.Equal(got.Append(nil, p.v), want.Append(nil, p.v)) {
			p.t.Fatalf("%s: %s\n got %s\nwant %s", p.name, sentence, show(got), show(want))
		}
	}
}

// wantIdle wants nothing to have come.
func (p *peer) wantIdle(sentence string) {
	p.t.Helper()
	if got := p.next(); got != nil {
		p.t.Fatalf("%s: %s\n got %s", p.name, sentence, show(got))
	}
	if p.closed() {
		p.t.Fatalf("%s: %s\nbut the connection was closed", p.name, sentence)
	}
}

// wantClosed wants the connection closed, with nothing more having come.
func (p *peer) wantClosed(sentence string) {
	p.t.Helper()
	if got := p.next(); got != nil {
		p.t.Fatalf("%s: %s\n got %s", p.name, sentence, show(got))
	}
	if !p.closed() {
		p.t.Fatalf("%s: %s\nbut the connection is open", p.name, sentence)
	}
}

func (p *peer) closed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.ended.IsZero()
}

// wantClosedAt wants the server to close at that time, to the second, and waits for it.
func (p *peer) wantClosedAt(at time.Time) {
	p.t.Helper()
	time.Sleep(time.Until(at) + time.Second)
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.ended.Sub(at).Round(time.Second); p.ended.IsZero() || got != 0 {
		p.t.Fatalf("%s: closed %v after it should have been (zero time: %v)", p.name, got, p.ended.IsZero())
	}
}

// wantRefused wants DISCONNECT with a reason, and the end.
func (p *peer) wantRefused(sentence string, code codec.ReasonCode) {
	p.t.Helper()
	got := p.next()
	if d, ok := got.(*codec.Disconnect); !ok || d.Code != code {
		p.t.Fatalf("%s: %s\n got %s\nwant DISCONNECT %v", p.name, sentence, show(got), code)
	}
	p.wantClosed(sentence)
}

// cut ends the connection without a word.
func (p *peer) cut() {
	p.nc.Close()
	p.at.settle()
}

// subscribe subscribes to filters at a QoS, in one packet.
func (p *peer) subscribe(qos byte, filters ...string) {
	p.t.Helper()
	s := codec.Subscribe{ID: 1}
	a := codec.Suback{ID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, codec.Subscription{Filter: []byte(f), QoS: qos})
		a.Codes = append(a.Codes, codec.ReasonCode(qos))
	}
	p.send(&s)
	p.want("subscriptions are granted", &a)
}

// message makes a PUBLISH.
func message(topic, payload string, qos byte, id uint16) *codec.Publish {
	p := &codec.Publish{ID: id}
	p.Topic, p.Payload, p.QoS = []byte(topic), []byte(payload), qos
	return p
}

// show prints a packet for people.
func show(p codec.Packet) string {
	if p == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%+v", reflect.Indirect(reflect.ValueOf(p)))
	return fmt.Sprintf("%v %.500s", p.Type(), text)
}

func TestMain(m *testing.M) {
	code := m.Run()
	left := ""
	for range 1000 { // the last test's own may be about to end
		buf := make([]byte, 1<<20)
		left = string(buf[:runtime.Stack(buf, true)])
		if strings.Count(left, "sluice/") <= 1 {
			os.Exit(code)
		}
		time.Sleep(time.Millisecond)
	}
	if code == 0 {
		fmt.Fprint(os.Stderr, "goroutines are left:\n"+left)
		code = 1
	}
	os.Exit(code)
}
