package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

// A side is a server with one session that outlives connections: the gateway or
// the upstream. It has messages to send to the bridge and writes down what it
// gets from it. Its conduct is section 4.3 and 4.4 of the specification.
type side struct {
	version    codec.Version // the latest it takes
	receiveMax int           // of the bridge
	dice       *dice         // break its connections

	mu         sync.Mutex // guards what follows
	conn       net.Conn
	lost       bool // the session, with the next connection
	subscribed bool
	queue      []codec.Publish
	inFlight   []flight        // in the order sent
	nextID     uint16          // the last one given
	received   map[uint16]bool // QoS 2 identifiers not yet released
	ledger     []string        // payloads that have arrived, in order
}

type flight struct {
	p        codec.Publish
	released bool // PUBREC came
}

// newSide has lost a session that it never had.
func newSide(v codec.Version, receiveMax int, d *dice) *side {
	return &side{version: v, receiveMax: receiveMax, dice: d, received: map[uint16]bool{}, lost: true}
}

// dice fall as their seed says.
type dice struct {
	mu    sync.Mutex // guards what follows
	r     *rand.Rand
	cutOf int // one in so many steps breaks a connection
	most  int // breaks
	cuts  int // so far
}

// odds is true once in so many times.
func (d *dice) odds(of int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(of) == 0
}

// cut says whether to break a connection now.
func (d *dice) cut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cuts < d.most && d.r.IntN(d.cutOf) == 0 {
		d.cuts++
		return true
	}
	return false
}

// serve plays one connection.
func (s *side) serve(conn net.Conn) {
	s.mu.Lock()
	if s.conn != nil {
		s.conn.Close() // take-over
	}
	s.conn = conn
	s.mu.Unlock()

	d, v, out := codec.Decoder{}, codec.Version(0), make(chan []byte, 100)
	go func() {
		defer conn.Close()
		for b := range out {
			if _, err := conn.Write(b); err != nil {
				conn.Close()
				for range out {
				}
			}
		}
	}()
	defer close(out) // what is in it is still written
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return
		}
		buf = append(buf, chunk[:n]...)
		for {
			p, n, err := d.Next(buf, v, 0)
			if err != nil {
				panic(err)
			}
			if p == nil {
				break
			}
			buf = buf[n:]
			if s.dice.cut() {
				conn.Close() // before it took effect
				return
			}
			if c, ok := p.(*codec.Connect); ok {
				v = c.Version
				if v > s.version {
					out <- []byte{0x20, 2, 0, 1}
					return
				}
			}
			s.mu.Lock()
			if s.conn != conn {
				s.mu.Unlock()
				return
			}
			_, connect := p.(*codec.Connect)
			begins := connect && s.lost // were its CONNACK cut off, nobody could tell that the session is new
			answer := s.handle(p, v)
			s.mu.Unlock()
			if !begins && s.dice.cut() {
				conn.Close() // after it took effect, before it is answered
				return
			}
			if len(answer) > 0 {
				out <- answer
			}
		}
	}
}

func (s *side) handle(p codec.Packet, v codec.Version) (answer []byte) {
	add := func(p codec.Packet) { answer = p.Append(answer, v) }
	switch p := p.(type) {
	case *codec.Connect:
		present := !s.lost
		if s.lost { // a careful server sends what was in flight to the new session
			var queue []codec.Publish
			for _, f := range s.inFlight {
				queue = append(queue, f.p)
			}
			s.queue, s.inFlight, s.nextID = append(queue, s.queue...), nil, 0
			s.subscribed = false
			clear(s.received)
			s.lost = false
		}
		ack := &codec.Connack{SessionPresent: present, MaximumQoS: 2}
		if v == codec.V5 {
			ack.ReceiveMaximum = uint16(s.receiveMax)
			s.receiveMax = min(s.receiveMax, int(p.ReceiveMaximum))
		}
		add(ack)
		for _, f := range s.inFlight {
			if f.released {
				add(&codec.Pubrel{ID: f.p.ID})
			} else {
				f.p.Dup = true
				add(&f.p)
			}
		}
	case *codec.Subscribe:
		s.subscribed = true
		add(&codec.Suback{ID: p.ID, Codes: []codec.ReasonCode{2}})
	case *codec.Pingreq:
		add(&codec.Pingresp{})
	case *codec.Publish:
		if p.QoS < 2 || !s.received[p.ID] {
			s.ledger = append(s.ledger, string(p.Payload))
		}
		if p.QoS == 2 {
			s.received[p.ID] = true
			add(&codec.Pubrec{ID: p.ID})
		} else {
			add(&codec.Puback{ID: p.ID})
		}
	case *codec.Pubrel:
		delete(s.received, p.ID)
		add(&codec.Pubcomp{ID: p.ID})
	case *codec.Pubrec:
		if i := s.flight(p.ID); i >= 0 {
			s.inFlight[i].released = true
		}
		add(&codec.Pubrel{ID: p.ID})
	case *codec.Puback:
		s.done(p.ID)
	case *codec.Pubcomp:
		s.done(p.ID)
	}
	for s.subscribed && len(s.queue) > 0 && len(s.inFlight) < s.receiveMax {
		next := s.queue[0]
		s.queue = s.queue[1:]
		for next.ID = s.nextID%20 + 1; s.flight(next.ID) >= 0; next.ID = next.ID%20 + 1 {
		}
		s.nextID = next.ID
		s.inFlight = append(s.inFlight, flight{p: next})
		add(&next)
	}
	return answer
}

func (s *side) flight(id uint16) int {
	return slices.IndexFunc(s.inFlight, func(f flight) bool { return f.p.ID == id })
}

func (s *side) done(id uint16) {
	if i := s.flight(id); i >= 0 {
		s.inFlight = slices.Delete(s.inFlight, i, i+1)
	}
}

// check compares the ledger with n messages sent. Even ones were sent at QoS 2.
func (s *side) check(t *testing.T, name string, n int, exactlyOnce bool) {
	t.Helper()
	times := make([]int, n)
	highest := [3]int{1: -1, 2: -1}
	for _, payload := range s.ledger {
		i, _ := strconv.Atoi(payload)
		qos := 2 - i%2
		if times[i]++; times[i] == 1 {
			if i < highest[qos] {
				t.Errorf("%s: message %d at QoS %d first came after %d", name, i, qos, highest[qos])
			}
			highest[qos] = i
		}
	}
	for i, n := range times {
		switch {
		case n == 0:
			t.Errorf("%s: message %d is lost", name, i)
		case n > 1 && i%2 == 0 && exactlyOnce:
			t.Errorf("%s: message %d at QoS 2 came %d times", name, i, n)
		}
	}
}

// TestLedger relays messages at QoS 1 and 2 in both directions while
// connections break between any two steps, and counts what arrives.
func TestLedger(t *testing.T) {
	for _, test := range []struct {
		name    string
		version codec.Version
		forgets bool // the upstream loses its session now and then
	}{
		{"MQTT 5", codec.V5, false},
		{"MQTT 3.1.1", codec.V311, false},
		{"MQTT 5, session lost", codec.V5, true},
		{"MQTT 3.1.1, session lost", codec.V311, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(20) {
				synctest.Test(t, func(t *testing.T) { testLedger(t, seed, test.version, test.forgets) })
				if t.Failed() {
					t.Fatalf("with seed %d", seed)
				}
			}
		})
	}
}

func testLedger(t *testing.T, seed uint64, v codec.Version, forgets bool) {
	const n = 60
	dice := &dice{r: rand.New(rand.NewPCG(seed, 1)), cutOf: 25, most: 40}
	gateway := newSide(codec.V5, 10, dice)
	gateway.subscribed, gateway.lost = true, false
	upstream := newSide(v, 10, dice)
	for i := range n {
		gateway.queue = append(gateway.queue, *publish(0, byte(2-i%2), "sensors/1", fmt.Sprint(i)))
		upstream.queue = append(upstream.queue, *publish(0, byte(2-i%2), "cmd/1", fmt.Sprint(i)))
	}
	relay(t, Config{}, gateway, func(*url.URL) *side {
		if forgets && dice.odds(4) {
			upstream.mu.Lock()
			upstream.lost = true
			upstream.mu.Unlock()
		}
		return upstream
	}, func() { time.Sleep(time.Hour) }) // of fake time: forty reconnects take less than half of it

	upstream.check(t, "up", n, !forgets)
	gateway.check(t, "down", n, !forgets)
	for name, side := range map[string]*side{"gateway": gateway, "upstream": upstream} {
		if len(side.queue) > 0 || len(side.inFlight) > 0 || len(side.received) > 0 {
			t.Errorf("%s still has %d queued, %d in flight, %d to be released", name, len(side.queue), len(side.inFlight), len(side.received))
		}
	}
	if dice.cuts < 10 {
		t.Errorf("only %d cuts", dice.cuts)
	}
}

// relay runs a bridge between a gateway and whatever side upstream returns for each
// attempt to connect, nil for none, until during is over.
func relay(t *testing.T, cfg Config, gateway *side, upstream func(*url.URL) *side, during func()) {
	cfg.Up, cfg.Down = []Rule{{Filter: "sensors/#", QoS: 2}}, []Rule{{Filter: "cmd/#", QoS: 2}}
	s := newScene(t, cfg)
	s.b.log = slog.New(slog.DiscardHandler)
	s.b.cfg.Dial = func() io.ReadWriteCloser {
		ours, theirs := net.Pipe()
		go gateway.serve(theirs)
		return ours
	}
	s.b.dial = func(_ context.Context, u *url.URL) (io.ReadWriteCloser, error) {
		side := upstream(u)
		if side == nil {
			return nil, errors.New("away")
		}
		ours, theirs := net.Pipe()
		go side.serve(theirs)
		return ours, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.b.Run(ctx) }()
	during()
	cancel()
	<-done
	synctest.Wait()
}
