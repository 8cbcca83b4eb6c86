package bridge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

// A peer is the other end of a connection of the bridge: the gateway or the
// upstream, played by the test.
type peer struct {
	t       *testing.T
	name    string
	conn    net.Conn
	version codec.Version
	got     chan []byte // packets, closed with the connection
	asked   chan []byte // SUBSCRIBE of a gateway, which retains nothing
	host    string      // of an upstream: the one that was dialled
}

func newPeer(t *testing.T, name string, conn net.Conn, v codec.Version) *peer {
	p := &peer{t: t, name: name, conn: conn, version: v, got: make(chan []byte, 1<<17)}
	if name == "gateway" {
		p.asked = make(chan []byte, 100)
	}
	go func() {
		defer close(p.got)
		var buf []byte
		chunk := make([]byte, 64<<10)
		for {
			n, err := conn.Read(chunk)
			buf = append(buf, chunk[:n]...)
			for {
				n, err := codec.PacketLen(buf)
				if err != nil || n == 0 || n > len(buf) {
					break
				}
				packet := bytes.Clone(buf[:n])
				buf = buf[n:]
				switch kind := codec.PacketType(packet[0] >> 4); {
				case p.asked != nil && kind == codec.TypeSubscribe:
					p.asked <- packet
				case p.asked != nil && kind == codec.TypePingreq: // it is through with them
					go conn.Write((&codec.Pingresp{}).Append(nil, v))
				default:
					p.got <- packet
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *peer) send(packets ...codec.Packet) {
	p.t.Helper()
	var b []byte
	for _, packet := range packets {
		b = packet.Append(b, p.version)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("%s cannot send: %v", p.name, err)
	}
}

// want fails unless the next packets are these.
func (p *peer) want(sentence string, packets ...codec.Packet) {
	p.t.Helper()
	for _, packet := range packets {
		want := packet.Append(nil, p.version)
		select {
		case got, ok := <-p.got:
			if !ok {
				p.t.Fatalf("%s: %s is closed, want %s", sentence, p.name, p.show(want))
			}
			if !bytes.Equal(got, want) {
				p.t.Fatalf("%s:\n%s got  %s\n%s want %s", sentence, p.name, p.show(got), p.name, p.show(want))
			}
		case <-time.After(time.Hour):
			p.t.Fatalf("%s: nothing for an hour at %s, want %s", sentence, p.name, p.show(want))
		}
	}
}

// wantAsked fails unless a gateway was asked for what it retains under these filters.
func (p *peer) wantAsked(sentence string, subs ...codec.Subscription) {
	p.t.Helper()
	synctest.Wait()
	for i, sub := range subs {
		want := (&codec.Subscribe{ID: subscribeID(i), Subscriptions: []codec.Subscription{sub}}).Append(nil, p.version)
		select {
		case got := <-p.asked:
			if !bytes.Equal(got, want) {
				p.t.Fatalf("%s: got %s, want %s", sentence, p.show(got), p.show(want))
			}
		default:
			p.t.Fatalf("%s: not asked for %s", sentence, p.show(want))
		}
	}
	if len(p.asked) > 0 {
		p.t.Fatalf("%s: asked for %s as well", sentence, p.show(<-p.asked))
	}
}

func (p *peer) wantClosed(sentence string) {
	p.t.Helper()
	select {
	case got, ok := <-p.got:
		if ok {
			p.t.Fatalf("%s: %s got %s, want it closed", sentence, p.name, p.show(got))
		}
	case <-time.After(time.Hour):
		p.t.Fatalf("%s: %s still open after an hour", sentence, p.name)
	}
}

// wantIdle fails if a packet is there, or comes while all that runs comes to rest.
func (p *peer) wantIdle(sentence string) {
	p.t.Helper()
	synctest.Wait()
	select {
	case got, ok := <-p.got:
		if ok {
			p.t.Fatalf("%s: %s got %s, want nothing", sentence, p.name, p.show(got))
		}
		p.t.Fatalf("%s: %s is closed", sentence, p.name)
	default:
	}
}

func (p *peer) show(b []byte) string {
	d := codec.Decoder{}
	packet, _, err := d.Next(b, p.version, 0)
	if err != nil {
		return fmt.Sprintf("% x (%v)", b, err)
	}
	s := fmt.Sprintf("%v %+v", packet.Type(), packet)
	return s[:min(len(s), 300)]
}

// A scene is a bridge between two peers.
type scene struct {
	t         *testing.T
	b         *Bridge
	upstreams chan dialled // by the bridge
	locals    chan net.Conn
	log       *syncBuffer
	leave     context.CancelFunc
	start     func() // lets Run begin; upstream does it too

	mu   sync.Mutex
	down error           // guarded by mu: what dialling the upstream gives
	away map[string]bool // guarded by mu: hosts that can not be dialled
}

type dialled struct {
	host string
	conn net.Conn
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// play runs fn in a bubble of fake time with a bridge that runs there, from the
// moment that fn looks at the upstream.
func play(t *testing.T, cfg Config, fn func(t *testing.T, s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done, started := make(chan error), make(chan struct{})
		s.start = sync.OnceFunc(func() { close(started) })
		go func() {
			<-started
			done <- s.b.Run(ctx)
		}()
		defer func() {
			s.start()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run returns %v", err)
			}
		}()
		s.leave = cancel
		fn(t, s)
	})
}

func newScene(t *testing.T, cfg Config) *scene {
	s := &scene{t: t, upstreams: make(chan dialled, 16), locals: make(chan net.Conn, 16), log: new(syncBuffer), start: func() {}}
	if cfg.Up == nil && cfg.Down == nil {
		cfg.Up = []Rule{{Filter: "sensors/#", QoS: 2}}
	}
	if cfg.MaxInflight == 0 {
		cfg.MaxInflight = 100
	}
	cfg.Name, cfg.ClientID = "cloud", cmp.Or(cfg.ClientID, "site7")
	if cfg.URL == nil {
		cfg.URL = &url.URL{Scheme: "mqtt", Host: "cloud.example.com"}
	}
	cfg.Log = slog.New(slog.NewTextHandler(s.log, nil))
	cfg.Dial = func() io.ReadWriteCloser {
		ours, theirs := net.Pipe()
		s.locals <- theirs
		return ours
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.known, b.doubtful = true, ids{} // nothing is left over, so that not all identifiers are released
	b.dial = func(_ context.Context, u *url.URL) (io.ReadWriteCloser, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.down != nil {
			return nil, s.down
		}
		if s.away[u.Host] {
			return nil, errors.New("no route to " + u.Host)
		}
		ours, theirs := net.Pipe()
		s.upstreams <- dialled{u.Host, theirs}
		return ours, nil
	}
	s.b = b
	return s
}

func (s *scene) unreachable(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = nil
	if yes {
		s.down = errors.New("no route")
	}
}

// leaves sets the hosts that can not be dialled.
func (s *scene) leaves(hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = make(map[string]bool)
	for _, host := range hosts {
		s.away[host] = true
	}
}

// upstream is the next connection made to the upstream, asked for version v.
func (s *scene) upstream(v codec.Version) *peer {
	s.t.Helper()
	p := s.dialled(v)
	p.want("the bridge connects to its own session", s.b.connectPacket(v))
	return p
}

// dialled is the next connection made to the upstream, without a look at CONNECT.
func (s *scene) dialled(v codec.Version) *peer {
	s.t.Helper()
	s.start()
	select {
	case d := <-s.upstreams:
		p := newPeer(s.t, "upstream", d.conn, v)
		p.host = d.host
		return p
	case <-time.After(2 * time.Hour):
		s.t.Fatal("the bridge does not connect to the upstream")
		return nil
	}
}

// local is the next connection made to the gateway, with this window.
func (s *scene) local(window uint16, ack *codec.Connack) *peer {
	s.t.Helper()
	select {
	case conn := <-s.locals:
		p := newPeer(s.t, "gateway", conn, codec.V5)
		p.want("the bridge connects to its session in the gateway, with the upstream's window", &codec.Connect{
			Version: codec.V5, ClientID: []byte("$bridge/cloud"), SessionExpiry: 1<<32 - 1, ReceiveMaximum: window,
		})
		ack.SessionPresent, ack.MaximumQoS = true, 2
		p.send(ack)
		return p
	case <-time.After(time.Minute):
		s.t.Fatal("the bridge does not connect to the gateway")
		return nil
	}
}

// connect plays both handshakes, with an upstream of MQTT 5 that has kept its
// session but for what ack says.
func (s *scene) connect(ack codec.Connack) (up, local *peer) {
	s.t.Helper()
	if ack.MaximumQoS == 0 {
		ack.MaximumQoS = 2
	}
	return s.connectQoS(ack)
}

func (s *scene) connectQoS(ack codec.Connack) (up, local *peer) {
	s.t.Helper()
	up = s.upstream(codec.V5)
	up.send(&ack)
	window := uint16(100)
	if ack.ReceiveMaximum != 0 {
		window = min(window, ack.ReceiveMaximum)
	}
	return up, s.local(window, &codec.Connack{})
}

func publish(id uint16, qos byte, topic, payload string) *codec.Publish {
	return &codec.Publish{ID: id, Message: codec.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}}
}
