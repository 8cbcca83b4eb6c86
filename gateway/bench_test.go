package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"sluice/codec"
	"sluice/gateway/transport"
	"sluice/store"
)

// bench is a server in real time. Its devices are played by the goroutine of the
// benchmark, and what they send is answered in it too, so that a message takes the same
// steps each time: firmware-tests/instructions counts them.
type bench struct {
	srv *Server
	tr  *transport.Transport
}

// newBench makes a server, on disk if linger, which is that of the store, is not 0.
func newBench(tb testing.TB, linger time.Duration) *bench {
	b := &bench{srv: New(Config{})}
	b.tr = transport.New(transport.Config{Loops: 1}, b.srv)
	if linger != 0 {
		dir := tb.TempDir()
		reserve := filepath.Join(dir, "sluice.db.reserve") // it would be written meanwhile
		if err := errors.Join(os.WriteFile(reserve, nil, 0o600), os.Truncate(reserve, 4<<20)); err != nil {
			tb.Fatal(err)
		}
		db, err := store.Open(store.Config{Dir: dir, Sync: store.Never, Linger: linger, Together: b.srv.Together(), Committed: b.srv.Committed, Failed: b.srv.Failed})
		if err != nil {
			tb.Fatal(err)
		}
		b.srv.Start(db)
		tb.Cleanup(func() { db.Close() })
	}
	tb.Cleanup(func() { b.tr.Close(context.Background()) })
	return b
}

// listen opens a listener, and returns what connects to it.
func (b *bench) listen(tb testing.TB) (dial func() io.ReadWriter) {
	addr, err := b.tr.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return func() io.ReadWriter {
		nc, err := net.Dial("tcp", addr.String())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { nc.Close() })
		return nc
	}
}

// endpoint is a device of a bench. Its methods panic if the connection is lost.
type endpoint struct {
	from    io.Reader // both ends of the line, as they are needed: a conversion would be
	to      io.Writer // looked up, which costs at times this and at times that
	version codec.Version
	in, out []byte
	ack     codec.Puback // what is sent last of its kind
	rec     codec.Pubrec
	rel     codec.Pubrel
	comp    codec.Pubcomp
}

// join connects a device. Its session is kept when it goes if it shall be durable.
func (b *bench) join(line io.ReadWriter, id string, v codec.Version, durable bool) *endpoint {
	e := &endpoint{from: line, to: line, version: v, in: make([]byte, 16<<10)}
	c := codec.Connect{Version: v, CleanStart: !durable, ClientID: []byte(id), TopicAliasMaximum: 8}
	if durable {
		c.SessionExpiry = never
	}
	e.send(&c)
	e.read(4)
	b.srv.mu.Lock()
	b.srv.sessions[id].conn.trusted = false // as if it came over a network
	b.srv.mu.Unlock()
	return e
}

func (e *endpoint) subscribe(filter string, qos byte) {
	e.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte(filter), QoS: qos}}})
	e.read(5)
}

// put appends p to what the next send sends.
func (e *endpoint) put(p codec.Packet) { e.out = p.Append(e.out, e.version) }

func (e *endpoint) send(p codec.Packet) {
	e.put(p)
	if _, err := e.to.Write(e.out); err != nil {
		panic(err)
	}
	e.out = e.out[:0]
}

// leave disconnects, and no error says so.
func (e *endpoint) leave() {
	e.put(&codec.Disconnect{})
	e.to.Write(e.out)
}

// read takes what has come, n bytes at least.
func (e *endpoint) read(n int) []byte {
	n, err := io.ReadAtLeast(e.from, e.in, n)
	if err != nil {
		panic(err)
	}
	return e.in[:n]
}

// identifier is that of a PUBLISH above QoS 0.
func identifier(b []byte) uint16 {
	at := 2
	if b[1] >= 0x80 {
		at++
	}
	at += 2 + int(binary.BigEndian.Uint16(b[at:]))
	return binary.BigEndian.Uint16(b[at:])
}

// smallAck is the length of PUBACK, PUBREC, PUBREL and PUBCOMP.
const smallAck = 4

// publish sends one message and ends what its QoS asks for.
func (e *endpoint) publish(m *codec.Publish) {
	e.send(m)
	switch m.QoS {
	case 1:
		e.read(smallAck)
	case 2:
		e.read(smallAck)
		e.rel.ID = m.ID
		e.send(&e.rel)
		e.read(smallAck)
	}
}

// take receives one message and ends what its QoS asks for.
func (e *endpoint) take(qos byte) {
	b := e.read(2)
	switch qos {
	case 1:
		e.ack.ID = identifier(b)
		e.send(&e.ack)
	case 2:
		e.rec.ID = identifier(b)
		e.comp.ID = e.rec.ID
		e.send(&e.rec)
		e.read(smallAck)
		e.send(&e.comp)
	}
}

// load is a kind of messages, from one publisher.
type load struct {
	name    string
	version codec.Version
	qos     byte
	to      int  // subscribers
	durable bool // their sessions are
	rich    bool // with properties and topic aliases
}

var loads = []load{
	{name: "qos=0", version: codec.V311, qos: 0, to: 1},
	{name: "qos=1", version: codec.V311, qos: 1, to: 1},
	{name: "qos=2", version: codec.V311, qos: 2, to: 1},
	{name: "qos=1/durable", version: codec.V311, qos: 1, to: 1, durable: true},
	{name: "qos=0/to=50", version: codec.V311, qos: 0, to: 50},
	{name: "qos=1/to=50", version: codec.V311, qos: 1, to: 50},
	{name: "qos=0/v5", version: codec.V5, qos: 0, to: 1, rich: true},
	{name: "qos=1/v5", version: codec.V5, qos: 1, to: 1, rich: true},
	{name: "qos=2/v5", version: codec.V5, qos: 2, to: 1, rich: true},
}

// on makes the devices of l, inside the process or over an event loop's TCP, and returns
// what lets one message through.
func (l *load) on(tb testing.TB, network string) (one func()) {
	linger := time.Duration(0)
	if l.durable {
		linger = time.Hour // all are acknowledged before anything is written
	}
	b := newBench(tb, linger)
	dial := func() io.ReadWriter { return b.tr.Dial() }
	if network == "tcp" {
		dial = b.listen(tb)
	}
	pub := b.join(dial(), "pub", l.version, false)
	subs := make([]*endpoint, l.to)
	for i := range subs {
		subs[i] = b.join(dial(), fmt.Sprint("sub", i), l.version, l.durable)
		subs[i].subscribe("plant/+/pump/#", l.qos)
	}
	m := message("plant/7/pump/temperature", string(make([]byte, 64)), l.qos, 0)
	if l.rich {
		m.User = []codec.UserProperty{{Name: []byte("unit"), Value: []byte("Celsius")}}
		m.ContentType = []byte("text/plain")
		m.HasMessageExpiry, m.MessageExpiry = true, 3600
		m.TopicAlias = 1
	}
	one = func() {
		m.ID = m.ID%1000 + 1
		if l.durable {
			pub.send(m)
			for _, sub := range subs {
				sub.take(l.qos)
			}
			pub.read(smallAck)
			return
		}
		pub.publish(m)
		for _, sub := range subs {
			sub.take(l.qos)
		}
	}
	one()
	if l.rich {
		m.Topic = nil // the alias is known now
	}
	return one
}

func BenchmarkRoute(b *testing.B) {
	for _, l := range loads {
		b.Run(l.name, func(b *testing.B) {
			one := l.on(b, "inside")
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}

// BenchmarkAway is messages to a durable session whose client is gone, published 64 at a
// time: they are on disk before they are acknowledged.
func BenchmarkAway(b *testing.B) {
	const burst = 64
	for _, qos := range []byte{1, 2} {
		b.Run(fmt.Sprint("qos=", qos), func(b *testing.B) {
			at := newBench(b, time.Millisecond)
			at.srv.cfg.QueuePolicy = DropOldest // there is no end to it
			sub := at.join(at.tr.Dial(), "sub", codec.V311, true)
			sub.subscribe("plant/+/pump/#", qos)
			sub.leave()
			pub := at.join(at.tr.Dial(), "pub", codec.V311, false)
			m := message("plant/7/pump/temperature", string(make([]byte, 64)), qos, 0)
			b.ReportAllocs()
			for b.Loop() {
				if m.ID++; m.ID < burst {
					pub.put(m)
					continue
				}
				pub.send(m)
				pub.read(burst * smallAck)
				if qos == 2 {
					for pub.rel.ID = 1; pub.rel.ID < burst; pub.rel.ID++ {
						pub.put(&pub.rel)
					}
					pub.send(&pub.rel)
					pub.read(burst * smallAck)
				}
				m.ID = 0
			}
		})
	}
}

// BenchmarkConnect is CONNECT, SUBSCRIBE and DISCONNECT.
func BenchmarkConnect(b *testing.B) {
	at := newBench(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		e := at.join(at.tr.Dial(), "device", codec.V311, false)
		e.subscribe("device/command", 1)
		e.leave()
		runtime.Gosched() // the transport ends it
	}
}

// BenchmarkTCP is messages at QoS 0 through an event loop, 16 at a time.
func BenchmarkTCP(b *testing.B) {
	const burst = 16
	at := newBench(b, 0)
	dial := at.listen(b)
	pub := at.join(dial(), "pub", codec.V311, false)
	sub := at.join(dial(), "sub", codec.V311, false)
	sub.subscribe("plant/+/pump/#", 0)
	m := message("plant/7/pump/temperature", string(make([]byte, 64)), 0, 0)
	size := len(m.Append(nil, codec.V311))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if n++; n < burst {
			pub.put(m)
			continue
		}
		pub.send(m)
		sub.read(burst * size)
		n = 0
	}
}

// Routing allocates nothing, at any QoS. Not to be counted with the race detector, which
// drops buffers from their pools to find misuse.
func TestRoutingAllocatesNothing(t *testing.T) {
	if raced() {
		t.Skip("built with the race detector")
	}
	for _, network := range []string{"inside", "tcp"} {
		for _, l := range loads {
			t.Run(network+"/"+l.name, func(t *testing.T) {
				one := l.on(t, network)
				if n := testing.AllocsPerRun(500, one); n != 0 {
					t.Errorf("a message allocates %v times", n)
				}
			})
		}
	}
}

// raced says whether this is built with the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// BenchmarkRetained is retained messages at QoS 0 on 10,000 topics, stored and delivered
// to one new subscription. Both are per message.
func BenchmarkRetained(b *testing.B) {
	const topics, burst = 10_000, 100
	begin := func(b *testing.B) (at *bench, store func(n int)) {
		at = newBench(b, time.Millisecond)
		pub := at.join(at.tr.Dial(), "pub", codec.V311, false)
		m := message("", string(make([]byte, 64)), 0, 0)
		m.Retain = true
		i := 0
		return at, func(n int) {
			for range n {
				m.Topic = fmt.Appendf(m.Topic[:0], "plant/%d/temperature", i%topics)
				pub.put(m)
				if i++; i%burst == 0 {
					pub.send(&codec.Pingreq{})
					pub.read(2)
				}
			}
		}
	}
	b.Run("store", func(b *testing.B) {
		_, store := begin(b)
		b.ReportAllocs()
		for b.Loop() {
			store(1)
		}
	})
	b.Run("deliver", func(b *testing.B) {
		at, store := begin(b)
		store(topics)
		sub := at.join(at.tr.Dial(), "sub", codec.V311, false)
		size := len((&codec.Publish{Message: codec.Message{Topic: []byte("plant//temperature"), Payload: make([]byte, 64)}}).Append(nil, codec.V311))
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if n%topics == 0 {
				b.StopTimer()
				sub.leave()
				sub = at.join(at.tr.Dial(), "sub", codec.V311, false)
				b.StartTimer()
				sub.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("plant/#")}}})
				for left := topics * size; left > 0; {
					left -= len(sub.read(1))
				}
			}
		}
	})
}
