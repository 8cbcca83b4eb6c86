package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"sluice/codec"
	"sluice/gateway/transport"
	"sluice/store"
)

// bench is a server in real time, on disk if durable, with one publisher whose packets
// are handed over as a transport does.
type bench struct {
	srv *Server
	tr  *transport.Transport
	pub *conn
}

func newBench(tb testing.TB, durable bool) *bench {
	b := &bench{srv: New(Config{})}
	b.tr = transport.New(transport.Config{Loops: 1}, b.srv)
	if durable {
		db, err := store.Open(store.Config{Dir: tb.TempDir(), Sync: store.Never, Together: b.srv.Together(), Committed: b.srv.Committed, Failed: b.srv.Failed})
		if err != nil {
			tb.Fatal(err)
		}
		if err := b.srv.Start(db); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { db.Close() })
	}
	tb.Cleanup(func() { b.tr.Close(context.Background()) })
	b.pub = b.join(tb, "pub", 0)
	return b
}

// join connects a client whose output nobody looks at.
func (b *bench) join(tb testing.TB, id string, expiry uint32) *conn {
	ours, theirs := net.Pipe()
	b.tr.Serve(theirs)
	c := codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte(id), SessionExpiry: expiry}
	if _, err := ours.Write(c.Append(nil, codec.V5)); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(ours, make([]byte, 2)); err != nil { // CONNACK is there
		tb.Fatal(err)
	}
	go io.Copy(io.Discard, ours)
	b.srv.mu.Lock()
	defer b.srv.mu.Unlock()
	return b.srv.sessions[id].conn
}

func (b *bench) subscribe(c *conn, filter string, qos byte) {
	b.srv.mu.Lock()
	defer b.srv.mu.Unlock()
	c.session.subscribe(&codec.Subscription{Filter: []byte(filter), QoS: qos}, 0)
}

// receive hands packets of c's to the server.
func (b *bench) receive(c *conn, packets []byte) {
	if n, err := b.srv.Receive(c.tc, packets); n != len(packets) || err != nil {
		panic(fmt.Sprint(n, err))
	}
}

// drained says whether the subscriber has taken what was sent.
func drained(c *conn) bool { return c.tc.Pending() < transport.HighWater/2 }

func wait(cond func() bool) {
	for !cond() {
		runtime.Gosched()
	}
}

func BenchmarkRoute(b *testing.B) {
	payload := string(make([]byte, 100))
	for _, c := range []struct {
		name    string
		qos     byte
		durable bool
		expiry  uint32
		away    bool
	}{
		{"qos=0", 0, false, 0, false},
		{"qos=1/memory", 1, false, 0, false},
		{"qos=1/durable", 1, true, never, false},
		{"qos=1/durable,away", 1, true, never, true},
		{"qos=2/durable,away", 2, true, never, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			at := newBench(b, c.durable)
			at.srv.cfg.QueuePolicy = DropOldest
			sub := at.join(b, "sub", c.expiry)
			to := sub.session
			at.subscribe(sub, "site/+/value", c.qos)
			if c.away {
				at.srv.mu.Lock()
				sub.end("away")
				at.srv.mu.Unlock()
			}
			var in, ack []byte
			m := message("site/one/value", payload, c.qos, 0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.ID = uint16(i%1000 + 1)
				in = m.Append(in[:0], codec.V5)
				at.receive(at.pub, in)
				switch {
				case c.qos == 2:
					in = (&codec.Pubrel{ID: uint16(i%1000 + 1)}).Append(in[:0], codec.V5)
					at.receive(at.pub, in)
				case c.qos == 1 && !c.away:
					ack = (&codec.Puback{ID: packetID(to.window.first)}).Append(ack[:0], codec.V5)
					at.receive(sub, ack)
				}
				if i%64 == 0 {
					wait(func() bool { return drained(sub) && drained(at.pub) })
				}
				if c.away && i%256 == 255 { // the disk keeps the pace
					wait(func() bool {
						at.srv.mu.Lock()
						defer at.srv.mu.Unlock()
						return at.pub.unacked == 0
					})
				}
			}
		})
	}
}

func BenchmarkConnectAndSubscribe(b *testing.B) {
	at := newBench(b, false)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := at.join(b, fmt.Sprint("client", i), 0)
		at.subscribe(c, fmt.Sprint("device/", i), 1)
	}
}

// Routing allocates nothing. What is counted here is the goroutine that a pipe's
// transport starts for each flush, one for each connection in fifty messages.
func TestRoutingAllocates(t *testing.T) {
	const burst = 50
	for _, qos := range []byte{0, 1, 2} {
		at := newBench(t, false)
		sub := at.join(t, "sub", 0)
		at.subscribe(sub, "site/#", qos)
		m := message("site/one/value", "21.5", qos, 0)
		var in, out []byte
		got := testing.AllocsPerRun(200, func() {
			in, out = in[:0], out[:0]
			for i := range burst {
				id := packetID(sub.session.queue.Next() + uint64(i))
				m.ID = uint16(i + 1)
				in = m.Append(in, codec.V5)
				switch qos {
				case 1:
					out = (&codec.Puback{ID: id}).Append(out, codec.V5)
				case 2:
					in = (&codec.Pubrel{ID: m.ID}).Append(in, codec.V5)
					out = (&codec.Pubrec{ID: id}).Append(out, codec.V5)
					out = (&codec.Pubcomp{ID: id}).Append(out, codec.V5)
				}
			}
			at.receive(at.pub, in)
			at.receive(sub, out)
			wait(func() bool { return sub.tc.Pending() == 0 && at.pub.tc.Pending() == 0 })
		})
		if got > 10 { // one for each message would be 50
			t.Errorf("QoS %d: %v allocations for %d messages", qos, got, burst)
		}
		if n := sub.session.window.sent - sub.session.window.first; n != 0 {
			t.Errorf("QoS %d: %d messages are in flight still", qos, n)
		}
	}
}
