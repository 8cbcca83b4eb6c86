package bridge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

func TestAckTimeout(t *testing.T) {
	cfg := Config{Up: []Rule{{Filter: "#", QoS: 2}}, KeepAlive: time.Hour, AckTimeout: 20 * time.Second}
	for name, begin := range map[string]func(t *testing.T, up, local *peer){
		"QoS 1": func(t *testing.T, up, local *peer) {
			local.send(publish(1, 1, "a", ""))
			up.want("goes up", publish(1, 1, "a", ""))
		},
		"one of two": func(t *testing.T, up, local *peer) {
			local.send(publish(1, 1, "a", ""), publish(2, 1, "a", ""))
			up.want("both go up", publish(1, 1, "a", ""), publish(2, 1, "a", ""))
			time.Sleep(time.Minute / 10)
			up.send(&codec.Puback{ID: 2})
		},
		"PUBREL": func(t *testing.T, up, local *peer) {
			local.send(publish(1, 2, "a", ""))
			up.want("goes up", publish(1, 2, "a", ""))
			up.send(&codec.Pubrec{ID: 1})
			local.want("half of it", &codec.Pubrec{ID: 1})
			time.Sleep(time.Minute)
			local.send(&codec.Pubrel{ID: 1})
			up.want("is to be released", &codec.Pubrel{ID: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, cfg, func(t *testing.T, s *scene) {
				up, local := s.connect(codec.Connack{SessionPresent: true})
				time.Sleep(time.Minute) // the watch expects nothing for three quarters of an hour
				begin(t, up, local)
				began := time.Now()
				for range 5 {
					up.want("asks before it gives up", &codec.Pingreq{})
					if took := time.Since(began); took != 10*time.Second {
						t.Fatalf("PINGREQ after %v, want half the time-out", took)
					}
					up.send(&codec.Pingresp{}) // the upstream lives, and is slow
					began = time.Now()
				}
				up.want("asks", &codec.Pingreq{})
				up.want("gives up on an upstream that says nothing", &codec.Disconnect{})
				if took := time.Since(began); took != 20*time.Second {
					t.Errorf("gave up after %v, want the acknowledgement time-out", took)
				}
				up.wantClosed("dead")
				synctest.Wait()
				if err := s.b.Status().Err; !errors.Is(err, errNoAck) {
					t.Errorf("Status().Err = %v", err)
				}
			})
		})
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "a", ""), publish(2, 2, "a", ""), publish(0, 0, "a", ""))
		up.want("go up", publish(1, 1, "a", ""), publish(2, 2, "a", ""), publish(0, 0, "a", ""))
		up.send(&codec.Puback{ID: 1}, &codec.Pubrec{ID: 2, Code: codec.NotAuthorized})
		local.want("are answered", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2, Code: codec.NotAuthorized})
		began := time.Now()
		up.want("all is answered: asks when the keep alive says so", &codec.Pingreq{})
		if took := time.Since(began); took != 45*time.Minute {
			t.Errorf("PINGREQ after %v", took)
		}
	})
}

// A nat carries bytes both ways and forgets a connection over which nothing goes
// for longer than it remembers: then it swallows all of it.
type nat struct {
	remembers time.Duration

	mu             sync.Mutex // guards what follows
	bytes, packets int        // carried
}

// between returns an end for the bridge whose other end, behind the NAT, is conn.
func (n *nat) between(conn net.Conn) net.Conn {
	ours, theirs := net.Pipe()
	var mu sync.Mutex
	last, forgotten := time.Now(), false
	carry := func(to, from net.Conn) {
		defer to.Close()
		b := make([]byte, 4096)
		for {
			size, err := from.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			forgotten = forgotten || time.Since(last) > n.remembers
			last = time.Now()
			lost := forgotten
			mu.Unlock()
			n.mu.Lock()
			n.bytes += size
			n.packets++
			n.mu.Unlock()
			if !lost {
				to.Write(b[:size])
			}
		}
	}
	go carry(conn, theirs)
	go carry(theirs, conn)
	return ours
}

// cost is what a metered line is charged for: each packet has 40 bytes of header
// and is acknowledged, now and then, by one of 40.
func (n *nat) cost() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bytes + 80*n.packets
}

// answerAll plays an upstream that accepts, and answers PINGREQ.
func answerAll(conn net.Conn, ack *codec.Connack) {
	defer conn.Close()
	d, v, b, chunk := codec.Decoder{}, codec.Version(0), []byte(nil), make([]byte, 4096)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return
		}
		b = append(b, chunk[:n]...)
		for {
			p, n, err := d.Next(b, v, 0)
			if err != nil || n == 0 {
				break
			}
			b = b[n:]
			switch p := p.(type) {
			case *codec.Connect:
				v = p.Version
				conn.Write(ack.Append(nil, v))
			case *codec.Pingreq:
				conn.Write((&codec.Pingresp{}).Append(nil, v))
			case *codec.Disconnect:
				return
			}
		}
	}
}

// idle runs a bridge with nothing to carry, within a bubble, until until ends.
func idle(t *testing.T, cfg Config, behind *nat, ack codec.Connack, until func(b *Bridge)) {
	s := newScene(t, cfg)
	s.b.log = slog.New(slog.DiscardHandler)
	s.b.dial = func(context.Context, *url.URL) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go answerAll(theirs, &ack)
		return behind.between(ours), nil
	}
	s.b.cfg.Dial = func() io.ReadWriteCloser {
		ours, theirs := net.Pipe()
		go answerAll(theirs, &codec.Connack{SessionPresent: true, MaximumQoS: 2})
		return ours
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.b.Run(ctx) }()
	until(s.b)
	cancel()
	<-done
}

// TestIdleCost shows what an idle metered line costs a day, and how it comes about.
func TestIdleCost(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name    string
		path    time.Duration // how long it survives silence
		ack     codec.Connack
		least   time.Duration // silence that is settled on
		most    time.Duration
		saves   int // times, at least, of what a fixed minute costs, once settled
		attempt int // connections in all, at most
	}{
		{"NAT that remembers 5 minutes", 5 * time.Minute, codec.Connack{}, 3 * time.Minute, 5 * time.Minute, 3, 20},
		{"NAT that remembers 30 minutes", 30 * time.Minute, codec.Connack{}, 18 * time.Minute, 30 * time.Minute, 20, 20},
		{"NAT that remembers a minute", time.Minute, codec.Connack{}, 45 * time.Second, time.Minute, 0, 20},
		{"no NAT", 1000 * time.Hour, codec.Connack{}, 13 * time.Hour, 14 * time.Hour, 200, 1},
		{"Server Keep Alive", 1000 * time.Hour, codec.Connack{HasServerKeepAlive: true, ServerKeepAlive: 600}, 450 * time.Second, 450 * time.Second, 9, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.ack.SessionPresent, test.ack.MaximumQoS = true, 2
			perDay := func(b *Bridge, n *nat) int {
				before := n.cost()
				time.Sleep(7 * day)
				return (n.cost() - before) / 7
			}
			var fixed, auto int
			synctest.Test(t, func(t *testing.T) {
				n := &nat{remembers: test.path}
				ack := test.ack
				ack.HasServerKeepAlive = false
				idle(t, Config{}, n, ack, func(b *Bridge) { fixed = perDay(b, n) })
			})
			synctest.Test(t, func(t *testing.T) {
				n := &nat{remembers: test.path}
				idle(t, Config{AutoKeepAlive: true}, n, test.ack, func(b *Bridge) {
					time.Sleep(14 * day)
					auto = perDay(b, n)
					if got := b.Status().Connects; got > int64(test.attempt) {
						t.Errorf("%d connections in three weeks, want %d at most", got, test.attempt)
					}
				})
			})
			t.Logf("an idle day costs %d bytes with 60 s, %d bytes with auto", fixed, auto)
			if test.saves*auto > fixed {
				t.Errorf("an idle day costs %d bytes with 60 s, %d with auto: want a %dth", fixed, auto, test.saves)
			}
		})
	}
}

// A path survives silence for so long. walk plays idle links over it for a while
// and returns how many were lost.
func (q *quiet) walk(survives, limit, span time.Duration) (lost int) {
	for end := time.Now().Add(span); time.Now().Before(end); {
		silence := q.next(time.Now(), limit)
		time.Sleep(silence)
		if silence < survives {
			q.survived(silence)
		} else {
			q.lost(silence)
			lost++
		}
	}
	return lost
}

func TestQuiet(t *testing.T) {
	const limit, week = 13 * time.Hour, 7 * 24 * time.Hour
	settled := func(t *testing.T, q *quiet, survives time.Duration) {
		t.Helper()
		if good := q.good; good >= survives || good < survives*3/4 {
			t.Errorf("%v is good where %v is survived", good, survives)
		}
	}
	for _, survives := range []time.Duration{100 * time.Second, 4 * time.Minute, time.Hour, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			q := quiet{first: 45 * time.Second}
			if lost := q.walk(survives, limit, 2*week); lost > 20 {
				t.Errorf("%d connections lost where %v is survived", lost, survives)
			}
			settled(t, &q, survives)
			if lost := q.walk(survives, limit, 10*week); lost > 24 {
				t.Errorf("once settled, %d connections lost in ten weeks", lost)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // the path becomes worse, then better
		q := quiet{first: 45 * time.Second}
		q.walk(time.Hour, limit, 2*week)
		q.walk(10*time.Minute, limit, 2*week)
		settled(t, &q, 10*time.Minute)
		q.walk(2*time.Hour, limit, 6*week)
		settled(t, &q, 2*time.Hour)
	})
	synctest.Test(t, func(t *testing.T) { // a line that breaks for other reasons
		q := quiet{first: 45 * time.Second}
		for range 200 {
			q.walk(time.Hour, limit, 6*time.Hour)
			q.lost(10 * time.Second)
			q.lost(q.next(time.Now(), limit) / 3)
		}
		settled(t, &q, time.Hour)
	})
	synctest.Test(t, func(t *testing.T) { // never below what was known to do, never above the limit
		q := quiet{first: 45 * time.Second}
		for range 100 {
			q.lost(time.Minute)
		}
		if next := q.next(time.Now(), limit); next < 45*time.Second {
			t.Errorf("next is %v", next)
		}
		if next := q.next(time.Now(), 30*time.Second); next != 30*time.Second {
			t.Errorf("next is %v, the limit 30 s", next)
		}
	})
}
