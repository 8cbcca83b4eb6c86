package gateway

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/codec"
)

var (
	stormFor  = flag.Duration("storm", 2*time.Second, "how long TestStorm blows")
	stormSeed = flag.Uint64("storm.seed", rand.Uint64(), "what TestStorm makes its inputs of")
)

// mutate changes b as a broken client, a bad line or an enemy would; other is what a
// part may be taken from.
func mutate(r *rand.Rand, b, other []byte) []byte {
	b = append([]byte(nil), b...)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return other
		}
		at := r.IntN(len(b))
		to := at + r.IntN(min(len(b)-at, 8)+1)
		switch r.IntN(9) {
		case 0: // a bit flips
			b[at] ^= 1 << r.IntN(8)
		case 1: // a byte is another, often one at a bound
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(r.IntN(256))}[r.IntN(6)]
		case 2: // the end is missing
			b = b[:at]
		case 3: // a part is missing
			b = append(b[:at], b[to:]...)
		case 4: // a part comes twice
			b = append(b[:to:to], b[at:]...)
		case 5: // something is put in between
			part := binary.BigEndian.AppendUint64(nil, r.Uint64())
			b = append(b[:at:at], append(part[:1+r.IntN(8)], b[at:]...)...)
		case 6: // it goes on as another packet
			if len(other) > 0 {
				b = append(b[:at:at], other[r.IntN(len(other)):]...)
			}
		case 7: // its remaining length is another
			if len(b) > 1 && b[1] < 0x80 {
				length := binary.AppendUvarint(nil, []uint64{0, uint64(b[1]) + 1, uint64(b[1]) - 1&0x7f, 127, 128, 16384, 1 << 21, 1<<28 - 1, 1 << 30}[r.IntN(9)])
				b = append(append(b[:1:1], length...), b[2:]...)
			}
		case 8: // it comes again and again
			if n := 1 + r.IntN(20); len(b)*n < 16<<10 {
				b = []byte(strings.Repeat(string(b), n))
			}
		}
	}
	return b
}

// enemy makes visits of mutated vectors and conversations.
type enemy struct {
	r       *rand.Rand
	rows    []row
	pairs   map[codec.Version][][2][]byte
	vectors int // sent
}

func newEnemy(t testing.TB, seed, number uint64) *enemy {
	e := &enemy{r: rand.New(rand.NewPCG(seed, number)), rows: vectors(t), pairs: make(map[codec.Version][][2][]byte)}
	for _, v := range []codec.Version{codec.V31, codec.V311, codec.V5} {
		e.pairs[v] = conversations(v)
	}
	return e
}

// visit gives the next one.
func (e *enemy) visit() visit {
	v := visit{how: uint16(e.r.Uint32())}
	if v.how&7 >= 6 && e.r.IntN(4) > 0 { // TLS costs much and changes little
		v.how -= 4
	}
	if e.r.IntN(3) > 0 {
		v.first = e.rowsOf(e.rows[e.r.IntN(len(e.rows))].v)
	} else {
		pairs := e.pairs[e.rows[e.r.IntN(len(e.rows))].v]
		pair := pairs[e.r.IntN(len(pairs))]
		v.first, v.second = pair[0], pair[1]
		if e.r.IntN(2) == 0 {
			v.first = mutate(e.r, v.first, pair[1])
		}
		if v.second != nil && e.r.IntN(2) == 0 {
			v.second = mutate(e.r, v.second, pair[0])
		}
		e.vectors += 2
	}
	return v
}

// rowsOf is what a client of a version says that goes wrong sooner or later.
func (e *enemy) rowsOf(v codec.Version) []byte {
	// Few client identifiers, so that they meet.
	c := hello(v, fmt.Sprint("e", e.r.IntN(20)))
	if e.r.IntN(2) == 0 {
		keep(c)
	}
	b := script(v, c)
	if e.r.IntN(8) == 0 {
		b = nil
	}
	for {
		one, other := e.rows[e.r.IntN(len(e.rows))], e.rows[e.r.IntN(len(e.rows))]
		e.vectors++
		if one.v == v && one.b[0]>>4 != byte(codec.TypeConnect) && e.r.IntN(3) == 0 {
			b = append(b, one.b...)
			continue
		}
		if b = append(b, mutate(e.r, one.b, other.b)...); e.r.IntN(3) == 0 {
			return b
		}
	}
}

// live exchanges messages until stop is closed, and then until all its own are
// acknowledged.
func (n *neighbour) live(stop <-chan struct{}) error {
	for ended := 0; ; {
		if ended == 2*n.sent {
			select {
			case <-stop:
				return nil
			case <-time.After(time.Millisecond): // not to be the storm itself
			}
			n.round()
		}
		p, err := n.next()
		if err != nil {
			return err
		}
		done, err := n.take(p)
		if err != nil {
			return err
		}
		if done {
			ended++
		}
	}
}

// hear takes what comes until it has heard as many rounds as another has sent.
func (n *neighbour) hear(other *neighbour) error {
	for n.heard != [3]int{other.sent, other.sent, other.sent} {
		p, err := n.next()
		if err != nil {
			return fmt.Errorf("%w, having heard %v of %d", err, n.heard, other.sent)
		}
		if _, err := n.take(p); err != nil {
			return err
		}
	}
	return nil
}

// settleAll connects neighbours, over several wires, each of whom hears the one before.
func (h *harbour) settleAll(t testing.TB) (all []*neighbour) {
	name := func(i int) string { return fmt.Sprint("neighbour", i%4) }
	for i, wire := range []string{"tcp", "ws", "tls", "tcp"} {
		v := []codec.Version{codec.V5, codec.V311}[i%2]
		n, err := h.settle(name(i), name(i+3), wire, v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// quiet compares what the process holds with what it held before.
type quiet struct {
	goroutines, files int
	heap              int64
}

func now() quiet {
	files, _ := os.ReadDir("/proc/self/fd")
	return quiet{runtime.NumGoroutine(), len(files), heapInUse()}
}

// wantQuiet wants no more goroutines and files than before, and the same memory, about.
func wantQuiet(t *testing.T, before quiet) {
	t.Helper()
	const slack = 6 << 20 // of maps that stay as large as they were, and pools
	if !settles(func() bool {
		n := now()
		return n.goroutines <= before.goroutines && n.files <= before.files && n.heap <= before.heap+slack
	}) {
		var text strings.Builder
		pprof.Lookup("goroutine").WriteTo(&text, 1)
		t.Errorf("left %+v, were %+v\n%s", now(), before, text.String())
	}
}

// Thousands of broken, hostile and odd clients a second, over all wires: the gateway goes
// on, its neighbours lose nothing, and afterwards it is as it was before.
//
//	go test ./gateway -run TestStorm -v -storm 60s -storm.seed 1
func TestStorm(t *testing.T) {
	t.Logf("-storm.seed %d", *stormSeed)
	outside := now()
	dir := t.TempDir()
	h := openHarbour(t, dir)
	files := now().files // those of the listeners and the store stay open until close
	before := now()
	before.files = files
	neighbours := h.settleAll(t)

	var storm, living sync.WaitGroup
	var visits, sentVectors atomic.Int64
	calm := make(chan struct{})
	end := time.Now().Add(*stormFor)
	for i := range uint64(8) {
		e := newEnemy(t, *stormSeed, i)
		storm.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				v := e.visit()
				if err := h.pay(v); err != nil {
					t.Errorf("%v\n%v", err, v)
				}
				visits.Add(1)
			}
			sentVectors.Add(int64(e.vectors))
		})
	}
	storm.Go(func() {
		for time.Now().Before(end) && !t.Failed() {
			if err := audit(h.srv); err != nil {
				t.Error(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	for _, n := range neighbours {
		living.Go(func() {
			if err := n.live(calm); err != nil {
				t.Error(err)
			}
		})
	}
	storm.Wait()
	close(calm)
	living.Wait()
	for i, n := range neighbours {
		living.Go(func() {
			if err := n.hear(neighbours[(i+3)%4]); err != nil {
				t.Error(err)
			}
		})
	}
	living.Wait()
	t.Logf("%.0f connections and %.0f vectors a second, while neighbours exchanged %d messages",
		float64(visits.Load())/stormFor.Seconds(), float64(sentVectors.Load())/stormFor.Seconds(), 3*neighbours[0].sent)
	if d := h.srv.Stats().Dropped; d.QueueFull+d.Rejected+d.Damaged+d.SlowReader > 0 {
		t.Errorf("dropped %+v", d)
	}
	for _, n := range neighbours {
		n.say(&codec.Disconnect{})
		n.Close()
	}
	if err := h.rest(0); err != nil {
		t.Error(err)
	}
	tlsSessions.Put("gateway", nil)
	wantQuiet(t, before)
	if n := h.db.Bytes(); n > 4<<10 {
		t.Errorf("%d bytes are still in the store", n)
	}
	h.leaveSomething(t)
	h.close(t)
	wantSomething(t, dir)
	wantQuiet(t, outside)
}

// leaveSomething has a client keep its session, its subscription and a retained message.
func (h *harbour) leaveSomething(t *testing.T) {
	t.Helper()
	n, err := h.settle("keeper", "kept", "tcp", codec.V5)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	p := message("kept/1", "0", 1, 1)
	p.Retain = true
	n.say(p)
	for range 2 { // itself, and PUBACK: not acknowledged, it stays
		if _, err := n.next(); err != nil {
			t.Fatal(err)
		}
	}
}

// wantSomething opens the store anew and wants what leaveSomething left, and no more.
func wantSomething(t *testing.T, dir string) {
	t.Helper()
	h := openHarbour(t, dir)
	defer h.close(t)
	if err := audit(h.srv); err != nil {
		t.Error(err)
	}
	s := h.srv.Stats()
	if d := h.db.Report().Dropped; d != 0 || s.Sessions != 1 || s.Subscriptions != 1 || s.Retained != 1 || s.Dropped != (Dropped{}) {
		t.Errorf("in the store were %+v, %d damaged", s, d)
	}
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	if to := h.srv.sessions["keeper"]; to == nil || to.queue.Len() != 1 {
		t.Errorf("the keeper's session is %+v", to)
	}
	if old, _ := filepath.Glob(filepath.Join(dir, "*.bad-*")); len(old) > 0 {
		t.Error("the store was damaged: ", old)
	}
}

// Clients that begin and do not go on hold no memory for what they announce, and
// nobody up.
func TestHalfOpen(t *testing.T) {
	h := openHarbour(t, t.TempDir())
	defer h.close(t)
	n, err := h.settle("neighbour", "neighbour", "tcp", codec.V5)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	welcome := script(codec.V311, hello(codec.V311, ""))
	before := heapInUse()
	const clients = 400
	var lines []*line
	for i := range clients {
		l, err := h.dial([]string{"tcp", "ws"}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		lines = append(lines, l)
		b := [][]byte{
			{},
			{0x10},
			{0x10, 0x80, 0x80, 0x04, 0x00, 0x04, 'M'},                                                        // CONNECT of 64 KiB
			append(welcome[:len(welcome):len(welcome)], 0x30, 0xf0, 0xff, 0x3f, 0x00, 0x01, 'a', '.'),        // PUBLISH of 1 MiB
			append(welcome[:len(welcome):len(welcome)], 0x82, 0xf0, 0xff, 0x3f, 0x00, 0x01, 0xff, 0xff, 'a'), // SUBSCRIBE of 1 MiB
		}[i/2%5]
		if l.framed() {
			b = inFrames(b, 1<<30, true)
			b = append(b, 0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4) // and a frame of 8 EiB
		}
		l.Write(b)
	}
	want := int64(clients*2/5) + 1 // those who were welcomed
	if !settles(func() bool { return h.srv.Stats().Connected == want }) {
		t.Fatalf("%d connected, want %d", h.srv.Stats().Connected, want)
	}
	for range 20 {
		if err := n.check(); err != nil {
			t.Fatal(err)
		}
	}
	if held := (heapInUse() - before) / clients; held > 16<<10 {
		t.Errorf("%d bytes held for each client", held)
	}
	for _, l := range lines {
		l.Close()
	}
	left := func() int { // those who were never welcomed as well
		h.srv.mu.Lock()
		defer h.srv.mu.Unlock()
		return len(h.srv.conns)
	}
	if !settles(func() bool { return left() == 1 }) {
		t.Errorf("%d connections are left, want only the neighbour's", left())
	}
	if n := h.srv.Stats().Connected; n != 1 {
		t.Errorf("%d connected, want only the neighbour", n)
	}
}

// What is announced beyond all bounds is refused at once, not awaited.
func TestHugeLengthsAreRefused(t *testing.T) {
	h := openHarbour(t, t.TempDir())
	defer h.close(t)
	welcome := script(codec.V5, hello(codec.V5, ""))
	for what, b := range map[string][]byte{
		"CONNECT of 256 MiB":  {0x10, 0xff, 0xff, 0xff, 0x7f},
		"CONNECT of 129 KiB":  {0x10, 0x80, 0x88, 0x08},
		"PUBLISH of 256 MiB":  append(welcome[:len(welcome):len(welcome)], 0x30, 0xff, 0xff, 0xff, 0x7f),
		"PUBLISH of 1 MiB":    append(welcome[:len(welcome):len(welcome)], 0x30, 0x80, 0x80, 0x40),
		"a length of 5 bytes": append(welcome[:len(welcome):len(welcome)], 0x30, 0xff, 0xff, 0xff, 0xff),
	} {
		for _, wire := range []string{"tcp", "ws", "pipe", "tls", "wss"} {
			l, err := h.dial(wire)
			if err != nil {
				t.Fatal(err)
			}
			out := b
			if l.framed() {
				out = inFrames(b, 1<<30, true)
			}
			l.SetDeadline(time.Now().Add(patience))
			l.Write(out)
			if err := l.follow(answeredIn(b)); err != nil {
				t.Errorf("%s over %s: %v", what, wire, err)
			}
			l.Close()
		}
	}
}

// A client whose every byte comes alone, in a segment or a frame of its own, is served
// like others, and so is one who pings between the fragments.
func TestTinyPieces(t *testing.T) {
	h := openHarbour(t, t.TempDir())
	defer h.close(t)
	const messages = 1200
	b := script(codec.V5, hello(codec.V5, "slow"), sub1(codec.V5))
	for range messages {
		b = message("a/b", "x", 0, 0).Append(b, codec.V5)
	}
	b = (&codec.Pingreq{}).Append(b, codec.V5)
	if len(b) < 10_000 {
		t.Fatalf("only %d bytes", len(b))
	}
	for _, x := range []struct {
		what, wire string
		b          []byte
		n          int // bytes of a segment
	}{
		{"bytes", "tcp", b, 1},
		{"bytes", "pipe", b, 1},
		{"bytes", "tls", b, 1},
		{"frames", "ws", inFrames(b, 1, true), 1000},
		{"fragments", "ws", inFrames(b, 1, false), 1000},
		{"bytes of frames", "ws", inFrames(b, 1, true), 1},
		{"bytes of fragments", "wss", inFrames(b, 1, false), 5},
	} {
		l, err := h.dial(x.wire)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for b := x.b; len(b) > 0; b = b[min(x.n, len(b)):] {
				if _, err := l.Write(b[:min(x.n, len(b))]); err != nil {
					return
				}
			}
		}()
		n := neighbour{line: l, name: "slow", v: codec.V5, dec: codec.Decoder{FromServer: true}}
		var got [16]int
		for got[codec.TypePingresp] == 0 {
			p, err := n.next()
			if err != nil {
				t.Errorf("%s over %s: %v", x.what, x.wire, err)
				break
			}
			got[p.Type()]++
		}
		if got[codec.TypePublish] != messages {
			t.Errorf("%s over %s: %d messages, want %d", x.what, x.wire, got[codec.TypePublish], messages)
		}
		l.Close()
	}
}
