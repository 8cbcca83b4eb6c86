package gateway

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/gateway/access"
	"sluice/gateway/transport"
	"sluice/store"
)

// patience is how long tests on real sockets wait for what must come.
const patience = time.Minute

// harbour is a gateway on real sockets and in real time. It has accounts, and takes
// clients without a user name as well. Sessions end a second after their connection.
type harbour struct {
	srv  *Server
	tr   *transport.Transport
	db   *store.DB
	addr map[string]string // by wire; none for pipe
}

// wires are the ways into a harbour, plain ones more often: TLS takes long.
var wires = []string{"tcp", "ws", "pipe", "tcp", "ws", "tcp", "tls", "wss"}

// obey does what a client says by $CONTROL/.
func obey(*Command) codec.ReasonCode { return codec.Success }

// openHarbour begins on what the store in dir has.
func openHarbour(t testing.TB, dir string) *harbour {
	t.Helper()
	h := &harbour{addr: make(map[string]string)}
	h.srv = New(Config{Access: harbourAccounts(t), Anonymous: true, MaxInflight: 20, MaxSessionExpiry: time.Second, Control: obey, Batches: unpacking.Batches})
	db, err := store.Open(store.Config{Dir: dir, Sync: store.Never, Together: h.srv.Together(), Committed: h.srv.Committed, Failed: h.srv.Failed})
	if err != nil {
		t.Fatal(err)
	}
	h.db = db
	h.srv.Start(db)
	h.tr = transport.New(transport.Config{Loops: 2}, h.srv)
	for _, wire := range []string{"tcp", "ws", "tls", "wss"} {
		addr, err := h.tr.Listen(wire, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate()}})
		if err != nil {
			t.Fatal(err)
		}
		h.addr[wire] = addr.String()
	}
	return h
}

// certificate is one that nobody vouches for.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func (h *harbour) close(t testing.TB) {
	t.Helper()
	h.srv.Shutdown(context.Background())
	h.tr.Close(context.Background())
	if err := h.db.Close(); err != nil {
		t.Error(err)
	}
}

// harbourAccounts are those of the CONNECTs in the vectors, and one for neighbours.
func harbourAccounts(t testing.TB) *access.List {
	t.Helper()
	file := ""
	for _, a := range []struct{ user, password, grants string }{
		{"user", "pass", ""}, {"u", "p", "\treadwrite a/#\n\twrite w\n"}, {"neighbour", "n", ""},
	} {
		hash, err := access.Hash([]byte(a.password))
		if err != nil {
			t.Fatal(err)
		}
		file += a.user + ":" + hash + "\n" + a.grants
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := access.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// settles waits until cond holds, for what happens in its own time.
func settles(cond func() bool) bool {
	pause := 50 * time.Microsecond
	for end := time.Now().Add(patience); !cond(); pause = min(2*pause, 20*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// line is a client's end of a connection over any wire. Read gives the bytes of MQTT;
// Write takes those of the wire, which inFrames makes for a WebSocket.
type line struct {
	net.Conn
	wire string
	in   *bufio.Reader
	left int // bytes of the frame being read
}

var tlsSessions = tls.NewLRUClientSessionCache(8)

// dial connects, and does what the wire wants before MQTT.
func (h *harbour) dial(wire string) (*line, error) {
	if wire == "pipe" {
		ours, theirs := net.Pipe()
		h.tr.Serve(theirs)
		return &line{Conn: ours, wire: wire, in: bufio.NewReader(ours)}, nil
	}
	nc, err := net.Dial("tcp", h.addr[wire])
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience))
	if wire == "tls" || wire == "wss" {
		tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tlsSessions, ServerName: "gateway"})
		if err := tc.Handshake(); err != nil {
			nc.Close()
			return nil, err
		}
		nc = tc
	}
	l := &line{Conn: nc, wire: wire, in: bufio.NewReader(nc)}
	if l.framed() {
		fmt.Fprint(nc, "GET /mqtt HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
		for first := true; ; first = false {
			text, err := l.in.ReadString('\n')
			if err != nil || first && !strings.HasPrefix(text, "HTTP/1.1 101 ") {
				nc.Close()
				return nil, fmt.Errorf("upgrade answered by %q: %w", text, err)
			}
			if text == "\r\n" {
				break
			}
		}
	}
	return l, nil
}

func (l *line) framed() bool { return l.wire == "ws" || l.wire == "wss" }

var errFrame = errors.New("a frame that a server does not send")

func (l *line) Read(p []byte) (int, error) {
	for l.framed() && l.left == 0 {
		var head [8]byte
		if _, err := io.ReadFull(l.in, head[:2]); err != nil {
			return 0, err
		}
		kind, n := head[0], uint64(head[1])
		switch n {
		case 126:
			io.ReadFull(l.in, head[6:])
			n = binary.BigEndian.Uint64(head[:]) & 0xffff
		case 127:
			io.ReadFull(l.in, head[:])
			n = binary.BigEndian.Uint64(head[:])
		}
		switch {
		case kind == 0x82 && n < 8<<20:
			l.left = int(n)
		case (kind == 0x8a || kind == 0x88) && n <= 125:
			l.in.Discard(int(n))
		default:
			return 0, fmt.Errorf("%w: % x", errFrame, head)
		}
	}
	if l.framed() {
		p = p[:min(len(p), l.left)]
	}
	n, err := l.in.Read(p)
	l.left -= n
	return n, err
}

// inFrames puts b into frames of at most n bytes; those are the fragments of one
// message if whole is false, with a ping before each.
func inFrames(b []byte, n int, whole bool) (out []byte) {
	mask := [4]byte{1, 2, 3, 4}
	for first := true; first || len(b) > 0; first = false {
		p := b[:min(n, len(b))]
		b = b[len(p):]
		head := byte(0x82)
		if !whole {
			out = append(out, 0x89, 0x81, 0, 0, 0, 0, '!')
			head = 0x00
			if first {
				head |= 0x02
			}
			if len(b) == 0 {
				head |= 0x80
			}
		}
		switch {
		case len(p) < 126:
			out = append(out, head, 0x80|byte(len(p)))
		case len(p) < 1<<16:
			out = binary.BigEndian.AppendUint16(append(out, head, 0x80|126), uint16(len(p)))
		default:
			out = binary.BigEndian.AppendUint64(append(out, head, 0x80|127), uint64(len(p)))
		}
		out = append(out, mask[:]...)
		for i, c := range p {
			out = append(out, c^mask[i%4])
		}
	}
	return out
}

// visit is two clients who say what they like, one after the other.
type visit struct {
	first, second []byte // MQTT, or something like it; there is no second client if it is nil
	how           uint16 // see below
}

// What the bits of visit.how mean, from the lowest on: 3 for the wire, 3 for the size
// of the segments, 2 for the frames, 2 for the end, 3 for the second client's wire.
var (
	segments = []int{1 << 20, 1, 2, 3, 7, 30, 100, 1000}
	frames   = []string{"one", "tiny", "fragments", "none"}
	ends     = []string{"half-close", "close", "half-close", "reset"}
)

func (v visit) String() string {
	how := func(wire uint16) string {
		return fmt.Sprintf("%s, segments of %d, frames: %s, end: %s", wires[wire&7], segments[v.how>>3&7], frames[v.how>>6&3], ends[v.how>>8&3])
	}
	text := fmt.Sprintf("%x\n(%s)", v.first, how(v.how))
	if v.second != nil {
		text += fmt.Sprintf("\n%x\n(%s)", v.second, how(v.how>>10))
	}
	return text
}

// pay makes the visit; the error is what the server did wrong.
func (h *harbour) pay(v visit) error {
	a, err := h.enter(v.first, wires[v.how&7], v.how)
	if err != nil {
		return err
	}
	b := &caller{} // nobody
	if v.second != nil {
		b, err = h.enter(v.second, wires[v.how>>10&7], v.how)
	}
	return errors.Join(err, a.leave(v.how), b.leave(v.how))
}

// caller is one client of a visit.
type caller struct {
	*line
	heard chan error // what was wrong with what the server said
}

// enter connects and says b, in segments, while what comes is looked at.
func (h *harbour) enter(b []byte, wire string, how uint16) (*caller, error) {
	l, err := h.dial(wire)
	if err != nil {
		return &caller{}, err
	}
	c := &caller{l, make(chan error, 1)}
	v, size := answeredIn(b), segments[how>>3&7]
	if l.framed() {
		switch frames[how>>6&3] {
		case "one":
			b = inFrames(b, 1<<30, true)
		case "tiny":
			b = inFrames(b, 1+len(b)/500, true)
		case "fragments":
			b = inFrames(b, 1+len(b)/50, false)
		case "none":
			v = anything
		}
	}
	go func() { c.heard <- l.follow(v) }()
	for i := 0; len(b) > 0; i++ {
		n := min(size, len(b))
		if i == 200 { // it is known by now
			n = len(b)
		}
		if _, err := l.Write(b[:n]); err != nil {
			break // the server may close whenever it likes
		}
		b = b[n:]
	}
	return c, nil
}

// leave ends the connection and waits until the server has done so too.
func (c *caller) leave(how uint16) error {
	if c.line == nil {
		return nil
	}
	defer c.Close()
	raw := c.Conn
	if tc, ok := raw.(*tls.Conn); ok {
		raw = tc.NetConn()
	}
	tcp, ok := raw.(*net.TCPConn)
	switch end := ends[how>>8&3]; {
	case !ok || end == "close":
		c.Close()
	case end == "half-close":
		c.SetDeadline(time.Now().Add(patience)) // not for pipes, which keep their clock when they are closed
		if tc, ok := c.Conn.(*tls.Conn); ok {
			tc.CloseWrite()
		}
		tcp.CloseWrite()
	case end == "reset":
		tcp.SetLinger(0)
		tcp.Close()
	}
	return <-c.heard
}

// anything stands for the version of an answer that can not be known.
const anything codec.Version = 255

// answeredIn is the version in which the gateway answers a client whose first bytes
// are b; 0 if it says nothing.
func answeredIn(b []byte) codec.Version {
	var d codec.Decoder
	p, _, _ := d.Next(b, 0, maxConnect)
	c, ok := p.(*codec.Connect)
	switch {
	case !ok:
		return 0
	case c.Version == 0:
		return codec.V311
	}
	return c.Version
}

// follow reads until the end and says what a server would not say.
func (l *line) follow(v codec.Version) error {
	d := codec.Decoder{FromServer: true}
	var got []byte
	var last codec.Packet
	b := make([]byte, 4<<10)
	for {
		n, err := l.Read(b)
		if v == anything {
			n = 0
		}
		got = append(got, b[:n]...)
		for len(got) > 0 {
			if v == 0 {
				return fmt.Errorf("an answer to no CONNECT: % x", got)
			}
			p, n, err := d.Next(got, v, 0)
			if err != nil {
				return fmt.Errorf("the server sent % .100x: %w", got, err)
			}
			if n == 0 {
				break
			}
			if err := follows(last, p); err != nil {
				return err
			}
			last = kind(p)
			got = got[n:]
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("the server does not close")
		case errors.Is(err, errFrame) && v != anything:
			return err
		case err == io.EOF && len(got) > 0:
			return fmt.Errorf("the server's last packet is cut: % x", got)
		case err != nil:
			return nil
		}
	}
}

// kind is as much of a packet as follows looks at.
func kind(p codec.Packet) codec.Packet {
	switch p := p.(type) {
	case *codec.Connack:
		return &codec.Connack{Code: p.Code}
	case *codec.Disconnect:
		return &codec.Disconnect{}
	}
	return &codec.Pingresp{}
}

// follows says whether a server may send p after last, nil for the first packet. AUTH
// may come before CONNACK.
func follows(last, p codec.Packet) error {
	ack, welcomed := last.(*codec.Connack)
	_, ended := last.(*codec.Disconnect)
	switch {
	case last == nil && p.Type() != codec.TypeConnack && p.Type() != codec.TypeAuth:
		return fmt.Errorf("the server began with %s", show(p))
	case welcomed && ack.Code != codec.Success || ended:
		return fmt.Errorf("the server went on after %s with %s", show(last), show(p))
	}
	return nil
}

// neighbour is a well-behaved client that notices when something is wrong with its
// messages. It publishes to name/0, name/1 and name/2, each at that QoS, and hears
// what another publishes so; messages are numbered.
type neighbour struct {
	*line
	name string
	v    codec.Version
	dec  codec.Decoder
	got  []byte
	used int // of got, by the packet looked at

	sent  int    // rounds of a message at each QoS
	recs  int    // PUBRECs that came
	heard [3]int // by QoS
}

// settle connects a neighbour to a harbour. It hears what to publishes.
func (h *harbour) settle(name, to, wire string, v codec.Version) (*neighbour, error) {
	l, err := h.dial(wire)
	if err != nil {
		return nil, err
	}
	n := &neighbour{line: l, name: name, v: v, dec: codec.Decoder{FromServer: true}}
	c := codec.Connect{Version: v, ClientID: []byte(name), Username: []byte("neighbour"), Password: []byte("n")}
	keep(&c)
	n.say(&c)
	n.say(&codec.Subscribe{ID: 9, Subscriptions: []codec.Subscription{{Filter: []byte(to + "/+"), QoS: 2}}})
	p, err := n.next()
	if ack, ok := p.(*codec.Connack); !ok || ack.Code != codec.Success {
		return nil, fmt.Errorf("%s: CONNECT answered by %s, %w", name, show(p), err)
	}
	if p, err = n.next(); err != nil || p.Type() != codec.TypeSuback {
		return nil, fmt.Errorf("%s: SUBSCRIBE answered by %s, %w", name, show(p), err)
	}
	return n, nil
}

func (n *neighbour) say(p codec.Packet) {
	b := p.Append(nil, n.v)
	if n.framed() {
		b = inFrames(b, 1<<30, true)
	}
	n.SetDeadline(time.Now().Add(patience))
	n.Write(b) // next tells if it failed
}

// next waits for a packet, which is valid until the next call.
func (n *neighbour) next() (codec.Packet, error) {
	n.got = n.got[n.used:]
	n.used = 0
	n.SetDeadline(time.Now().Add(patience))
	for {
		p, used, err := n.dec.Next(n.got, n.v, 0)
		if n.used = used; err != nil || p != nil {
			return p, err
		}
		b := make([]byte, 4<<10)
		more, err := n.Read(b)
		n.got = append(n.got, b[:more]...)
		if err != nil && more == 0 {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
	}
}

// round publishes one message at each QoS, and that at QoS 2 again, as if its PUBREC
// had been lost.
func (n *neighbour) round() {
	for i, qos := range []byte{0, 1, 2, 2} {
		p := message(fmt.Sprint(n.name, "/", qos), fmt.Sprint(n.sent), qos, uint16(qos))
		p.Dup = i == 3
		n.say(p)
	}
	n.sent++
}

// take acts on a packet. ended says that it was the last of a delivery of the neighbour's own.
func (n *neighbour) take(p codec.Packet) (ended bool, err error) {
	switch p := p.(type) {
	case *codec.Publish:
		want := fmt.Sprint(n.heard[p.QoS])
		if got := string(p.Payload); got != want || p.Dup || !strings.HasSuffix(string(p.Topic), fmt.Sprint("/", p.QoS)) {
			return false, fmt.Errorf("%s: message %.100q at QoS %d, DUP %v on %q, want %s", n.name, got, p.QoS, p.Dup, p.Topic, want)
		}
		n.heard[p.QoS]++
		switch p.QoS {
		case 1:
			n.say(&codec.Puback{ID: p.ID})
		case 2:
			n.say(&codec.Pubrec{ID: p.ID})
		}
	case *codec.Pubrel:
		n.say(&codec.Pubcomp{ID: p.ID})
		return false, wrongCode(n, p, p.Code)
	case *codec.Puback:
		return true, wrongCode(n, p, p.Code)
	case *codec.Pubrec:
		if n.recs++; n.recs%2 == 0 { // both times
			n.say(&codec.Pubrel{ID: p.ID})
		}
		return false, wrongCode(n, p, p.Code)
	case *codec.Pubcomp:
		return true, wrongCode(n, p, p.Code)
	default:
		return false, fmt.Errorf("%s got %s", n.name, show(p))
	}
	return false, nil
}

func wrongCode(n *neighbour, p codec.Packet, code codec.ReasonCode) error {
	if code != codec.Success {
		return fmt.Errorf("%s got %s", n.name, show(p))
	}
	return nil
}

// check publishes a round and waits until it is back, for a neighbour that hears itself.
func (n *neighbour) check() error {
	n.round()
	for ended := 0; ended < 2 || n.heard != [3]int{n.sent, n.sent, n.sent}; {
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
	return nil
}

// audit says where the books of the server do not agree.
func audit(s *Server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	clocks := map[*timer]bool{}
	add := func(t *timer) {
		if t.index != 0 {
			clocks[t] = true
		}
	}
	add(&s.saver)
	add(&s.reporter)
	add(&s.advertiser)
	add(&s.brakes)
	for key, d := range s.devices {
		_, listed := s.conns[&d.conn]
		want(listed && d.at.deviceKey == key, "%v: a device that is not there", key.addr)
	}
	remembered := 0
	for _, to := range s.sessions {
		if to.device != nil {
			remembered++
		}
	}
	want(remembered == s.remembered, "%d sessions of devices, %d counted", remembered, s.remembered)
	unsettled, here, subs, members := 0, 0, 0, 0
	for c := range s.conns {
		add(&c.timer)
		want(c.state != closed, "a closed connection is listed")
		if d := c.dev; d != nil {
			add(&d.request.timer)
			want((d.request.kind == none) == (d.request.timer.index == 0), "%s: request %d and its clock", d.remote(), d.request.kind)
			want((d.state == connecting) == (c.state == fresh), "%s: device %d, connection %d", d.remote(), d.state, c.state)
			if d.state == connecting {
				want(d.request.kind != none, "nothing ends a device that does not tell its Will")
				unsettled++
			}
		} else {
			want(c.state == connected || c.timer.index != 0, "nothing ends a connection whose client is not known")
		}
		if c.state != connected {
			continue
		}
		here++
		to := c.session
		want(to.conn == c && s.sessions[to.id] == to, "%q: connection and session do not know each other", to.id)
		want(int(c.unacked) <= c.unanswered()+len(to.held), "%q: %d unacknowledged, with %d held and %d answers due", to.id, c.unacked, len(to.held), c.unanswered())
		want(len(c.acks) == 0 || c.waits, "%q: answers wait for nothing", to.id)
		inflight := 0
		for seq := to.window.first; seq < to.window.sent; seq++ {
			if p := to.window.phaseOf(seq); p == sent || p == released {
				inflight++
			}
		}
		want(int(c.inflight) == inflight, "%q: %d counted in flight, are %d", to.id, c.inflight, inflight)
	}
	for id, to := range s.sessions {
		add(&to.timer)
		want(to.id == id && !to.ended, "%q: session is over", id)
		if to.conn == nil {
			want(to.expiry > 0 && to.timer.index != 0 || id[0] == '$', "%q: session never ends", id)
		} else {
			want(to.conn.session == to && to.conn.state == connected, "%q: session of a connection that is over", id)
			want(to.timer.index == 0 && to.will == nil, "%q: the clock of an absent client runs", id)
		}
		for _, sub := range to.subs.list {
			subs++
			want(sub.session == to, "%q: a stranger's subscription", id)
			if sub.group != nil {
				members++
				want(s.groups[sub.filter] == sub.group, "%q: member of a group that is not", id)
			}
		}
	}
	for filter, g := range s.groups {
		members -= len(g.members)
		want(len(g.members) > 0, "%q: group without members", filter)
		for _, sub := range g.members {
			want(!sub.session.ended, "%q: member whose session is over", filter)
		}
	}
	want(unsettled == s.connecting, "%d devices counted as connecting, are %d", s.connecting, unsettled)
	want(members == 0, "%d more members of groups than groups have", members)
	want(s.stats.Connected == int64(here), "%d counted connected, are %d", s.stats.Connected, here)
	want(s.stats.Sessions == int64(len(s.sessions)), "%d sessions counted, are %d", s.stats.Sessions, len(s.sessions))
	want(s.stats.Subscriptions == int64(subs), "%d subscriptions counted, are %d", s.stats.Subscriptions, subs)
	for i, t := range s.timers {
		want(clocks[t], "a clock runs for %T that is gone", t.owner)
		want(int(t.index) == i+1 && t.at >= s.timers[max(i-1, 0)/2].at, "the clocks are out of order at %d of %d", i, len(s.timers))
	}
	want(len(s.timers) == len(clocks), "%d clocks run, %d are listed", len(clocks), len(s.timers))
	if s.routesGen == s.subs.Generation() {
		for topic, r := range s.routes {
			for _, h := range r.hops {
				want(!h.to.ended, "%.100q goes to a session that is over", topic)
			}
			for _, g := range r.groups {
				want(s.groups[g.filter] == g, "%.100q goes to a group that is over", topic)
			}
		}
	}
	for _, c := range s.waiting {
		want(c.waits, "a connection waits that does not know of it")
	}
	return errors.Join(faults...)
}

// sweep makes the server forget all that is retained, as a client would, which is all
// that clients leave behind once their sessions are over.
func (h *harbour) sweep() error {
	if h.srv.Stats().Retained == 0 {
		return nil
	}
	n, err := h.settle("sweeper", "nowhere", "tcp", codec.V5)
	if err != nil {
		return err
	}
	defer n.Close()
	n.say(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("#")}}})
	n.say(&codec.Pingreq{})
	var names []string
	for {
		p, err := n.next()
		if err != nil {
			return err
		}
		if p, ok := p.(*codec.Publish); ok {
			names = append(names, string(p.Topic))
		}
		if p.Type() == codec.TypePingresp {
			break
		}
	}
	n.say(&codec.Unsubscribe{ID: 1, Filters: [][]byte{[]byte("#")}})
	for _, name := range names {
		p := message(name, "", 0, 0)
		p.Retain = true
		n.say(p)
	}
	n.say(&codec.Pingreq{})
	for {
		p, err := n.next()
		if err != nil {
			return err
		}
		if p.Type() == codec.TypePingresp {
			break
		}
	}
	n.say(&codec.Disconnect{HasSessionExpiry: true})
	return nil
}

// rest waits until nobody but n neighbours is left of all clients, nor anything of them.
func (h *harbour) rest(neighbours int) error {
	left := func() (text string) {
		h.srv.mu.Lock()
		defer h.srv.mu.Unlock()
		s := h.srv
		clocks := len(s.timers)
		for _, t := range []*timer{&s.saver, &s.reporter} {
			if t.index != 0 {
				clocks--
			}
		}
		if len(s.conns)+len(s.sessions)+len(s.groups)+clocks+len(s.waiting)+len(s.blocked) != 2*neighbours {
			text = fmt.Sprintf("left: %d connections, %d sessions, %d groups, %d clocks, %d waiting, %d blocked",
				len(s.conns), len(s.sessions), len(s.groups), clocks, len(s.waiting), len(s.blocked))
		}
		return text
	}
	if !settles(func() bool { return left() == "" }) {
		return errors.New(left())
	}
	if err := h.sweep(); err != nil {
		return err
	}
	if !settles(func() bool { return left() == "" && h.srv.Stats().Retained == 0 }) {
		return fmt.Errorf("%s, %d retained", left(), h.srv.Stats().Retained)
	}
	return audit(h.srv)
}

// row is a vector of the codec.
type row struct {
	name string
	v    codec.Version
	b    []byte
}

// vectors gives those for the versions that the codec speaks.
func vectors(t testing.TB) (rows []row) {
	t.Helper()
	text, err := os.ReadFile("../codec/testdata/vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]codec.Version{"3.1": codec.V31, "3.1.1": codec.V311, "5.0": codec.V5}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		col := strings.Split(line, "\t")
		b, err := hex.DecodeString(strings.ReplaceAll(col[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if v := known[col[1]]; v != 0 {
			rows = append(rows, row{col[0], v, b})
		}
	}
	if len(rows) < 200 {
		t.Fatalf("%d vectors", len(rows))
	}
	return rows
}

// hello is a CONNECT.
func hello(v codec.Version, id string, options ...func(*codec.Connect)) *codec.Connect {
	c := &codec.Connect{Version: v, CleanStart: true, ClientID: []byte(id)}
	for _, o := range options {
		o(c)
	}
	return c
}

// script is what a client says in a version.
func script(v codec.Version, packets ...codec.Packet) (b []byte) {
	for _, p := range packets {
		b = p.Append(b, v)
	}
	return b
}

// conversations are what clients say who mean it, in pairs of a first and a second.
func conversations(v codec.Version) (pairs [][2][]byte) {
	sub := func(qos byte, filters ...string) *codec.Subscribe {
		s := &codec.Subscribe{ID: 1}
		for _, f := range filters {
			s.Subscriptions = append(s.Subscriptions, codec.Subscription{Filter: []byte(f), QoS: qos, NoLocal: v == codec.V5 && qos == 0})
		}
		if v == codec.V5 {
			s.SubscriptionID = uint32(qos)
		}
		return s
	}
	retained := func(p *codec.Publish) *codec.Publish { p.Retain = true; return p }
	account := func(c *codec.Connect) { c.Username, c.Password = []byte("user"), []byte("pass") }
	dies := func(c *codec.Connect) {
		c.Will = &codec.Will{Message: codec.Message{Topic: []byte("a/will"), Payload: []byte("gone"), QoS: 1, Retain: true}}
		if v == codec.V5 {
			c.Will.Delay = 1
		}
	}
	say := func(p ...codec.Packet) []byte { return script(v, p...) }
	both := func(first, second []byte) { pairs = append(pairs, [2][]byte{first, second}) }
	exchange := []codec.Packet{
		sub(2, "a/#", "+/b"), message("a/b", "zero", 0, 0), message("a/b", "one", 1, 1), message("a/b", "two", 2, 2),
		&codec.Puback{ID: 1}, &codec.Pubrec{ID: 2}, &codec.Pubcomp{ID: 2}, &codec.Pubrel{ID: 2},
		&codec.Unsubscribe{ID: 3, Filters: [][]byte{[]byte("a/#")}}, &codec.Pingreq{}, &codec.Disconnect{},
	}
	both(say(append([]codec.Packet{hello(v, "a")}, exchange...)...), nil)
	both(say(append([]codec.Packet{hello(v, "a", account)}, exchange...)...), nil)
	both(say(append([]codec.Packet{hello(v, "a", keep)}, exchange...)...), say(hello(v, "a", keep), &codec.Pubrec{ID: 2}, &codec.Pubcomp{ID: 2}))
	both(say(hello(v, "a", keep, dies), sub(2, "a/#")), say(hello(v, "b"), message("a/x", "1", 1, 1), message("a/x", "2", 2, 2), &codec.Pubrel{ID: 2}, hello(v, "b")))
	both(say(hello(v, "a", keep, dies), sub(2, "a/#"), message("a/1", "", 2, 7)), say(hello(v, "a", keep), message("a/1", "", 2, 7), &codec.Pubrel{ID: 7}, &codec.Pubrel{ID: 7}))
	both(say(hello(v, "a", keep), sub(1, "$share/g/a/#")), say(hello(v, "b", keep), sub(2, "$share/g/a/#"), message("a/1", "x", 1, 1), message("a/2", "y", 2, 2), message("a/3", "z", 0, 0)))
	both(say(hello(v, "a", dies), retained(message("a/r", "kept", 1, 1)), retained(message("a/s", "kept", 2, 2))), say(hello(v, "b"), sub(1, "#"), sub(2, "a/+"), retained(message("a/r", "", 0, 0))))
	if v != codec.V5 {
		return pairs
	}
	alias := func(topic string, alias uint16) *codec.Publish {
		p := message(topic, "x", 0, 0)
		p.TopicAlias = alias
		return p
	}
	small := func(c *codec.Connect) { c.MaximumPacketSize, c.ReceiveMaximum, c.TopicAliasMaximum = 60, 1, 2 }
	scram := func(c *codec.Connect) {
		c.AuthMethod, c.AuthData = []byte("SCRAM-SHA-256"), []byte("n,,n=user,r=abcdefgh")
	}
	auth := func(code codec.ReasonCode, data string) *codec.Auth {
		return &codec.Auth{Code: code, AuthMethod: []byte("SCRAM-SHA-256"), AuthData: []byte(data)}
	}
	expiring := message("a/b", "soon", 1, 3)
	expiring.HasMessageExpiry, expiring.MessageExpiry = true, 1
	full := message("a/b/c/d", "all", 1, 4)
	full.ContentType, full.ResponseTopic, full.CorrelationData = []byte("t"), []byte("re"), []byte{0}
	full.User = []codec.UserProperty{{Name: []byte("k"), Value: []byte("v")}}
	both(say(hello(v, "a", small, keep), sub(2, "a/#"), alias("a/long/topic", 1), alias("", 1), alias("a/other", 32), alias("", 32), full, expiring,
		&codec.Puback{ID: 1}, &codec.Disconnect{HasSessionExpiry: true, SessionExpiry: 1}), say(hello(v, "a", small, keep), &codec.Puback{ID: 1, Code: 0x80}, alias("", 1)))
	both(say(hello(v, "a", keep), sub(2, "$share/g/a/b"), sub(0, "a/b"), full), say(hello(v, "", small), sub(2, "$share/g/a/b"), message("a/b", "", 2, 1), expiring, &codec.Pubrec{ID: 1, Code: 0x80}))
	both(say(hello(v, "a", scram), auth(codec.ContinueAuthentication, "c=biws,r=abcdefgh,p=AAAA")), say(hello(v, "a", scram), &codec.Disconnect{}))
	both(say(hello(v, "a", scram), message("a/b", "", 1, 1)), say(hello(v, "a"), auth(codec.Reauthenticate, "n,,n=user,r=abcdefgh")))
	return pairs
}

// FuzzSocket sends whatever comes to mind to a gateway over real connections: it may
// refuse, but goes on, answers in MQTT, and a neighbour notices nothing.
func FuzzSocket(f *testing.F) {
	versions := []codec.Version{codec.V31, codec.V311, codec.V5}
	for i, r := range vectors(f) {
		b := r.b
		if b[0]>>4 != byte(codec.TypeConnect) && r.name != "311-first-not-connect" {
			b = script(r.v, hello(r.v, "a"), sub1(r.v))
			b = append(b, r.b...)
		}
		f.Add(b, []byte(nil), uint16(i&^7|i&1)) // half over TCP, half in WebSockets
	}
	for _, v := range versions {
		for i, pair := range conversations(v) {
			f.Add(pair[0], pair[1], uint16(i))
			f.Add(pair[0], pair[1], uint16(1+i*0x249)) // other segments, frames, ends
		}
	}
	h := openHarbour(f, f.TempDir())
	f.Cleanup(func() { h.close(f) })
	n, err := h.settle("neighbour", "neighbour", "tcp", codec.V5)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { n.Close() })
	goroutines, inputs := 0, 0
	f.Fuzz(func(t *testing.T, first, second []byte, how uint16) {
		if len(first)+len(second) > 64<<10 {
			t.Skip("long")
		}
		if len(second) == 0 {
			second = nil
		}
		if err := h.pay(visit{first, second, how}); err != nil {
			t.Fatal(err)
		}
		if err := n.check(); err != nil {
			t.Fatal(err)
		}
		if !settles(func() bool { return h.srv.Stats().Connected == 1 }) {
			t.Fatal("the server did not notice that its clients are gone")
		}
		inputs++
		if goroutines == 0 { // fuzzing has some of its own
			goroutines = runtime.NumGoroutine()
		}
		if inputs%16 == 0 {
			if err := audit(h.srv); err != nil {
				t.Fatal(err)
			}
		}
		if inputs%4096 == 0 {
			if err := h.rest(1); err != nil {
				t.Fatal(err)
			}
			if !settles(func() bool { return runtime.NumGoroutine() <= goroutines+2 }) {
				t.Fatalf("%d goroutines, were %d", runtime.NumGoroutine(), goroutines)
			}
			if heap := heapInUse(); heap > 64<<20 {
				t.Fatalf("%d bytes in use", heap)
			}
		}
	})
}

func sub1(v codec.Version) *codec.Subscribe {
	return &codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a/#"), QoS: 2}}}
}

// heapInUse is what is reachable, in bytes.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held at the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
