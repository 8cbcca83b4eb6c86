package drain

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/codec"
)

// A sink is an upstream that costs next to nothing: it acknowledges all that comes, and
// counts it.
type sink struct {
	addr     string
	ln       net.Listener
	each     time.Duration // that it takes for a message before it acknowledges it
	messages atomic.Int64
	acked    atomic.Int64
	alarmed  atomic.Int64 // which message the alarm was; 0: it has not come

	mu       sync.Mutex
	arrivals []arrival // guarded by mu
}

// An arrival is a read in which messages came.
type arrival struct {
	at  time.Time
	sum int64 // of messages with it
}

func startSink(t *testing.T, addr string) *sink {
	t.Helper()
	return startSlowSink(t, addr, 0)
}

func startSlowSink(t *testing.T, addr string, each time.Duration) *sink {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: ln.Addr().String(), ln: ln, each: each}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := s.serve(conn); err != nil {
					t.Error(err)
				}
			}()
		}
	}()
	return s
}

// serve answers one client until that leaves.
func (s *sink) serve(conn net.Conn) error {
	var dec codec.Decoder
	var in, out []byte
	chunk := make([]byte, 64<<10)
	slow := make(chan uint16, 65535)
	defer close(slow)
	go s.ackSlowly(conn, slow)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return nil
		}
		in = append(in, chunk[:n]...)
		at, came := 0, int64(0)
		for {
			p, n, err := dec.Next(in[at:], codec.V5, 0)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			at += n
			switch p := p.(type) {
			case *codec.Connect:
				out = (&codec.Connack{MaximumQoS: 2}).Append(out, codec.V5)
			case *codec.Publish:
				came++
				if string(p.Topic) == alarm {
					s.alarmed.Store(s.messages.Load() + came)
				}
				if s.each > 0 {
					slow <- p.ID
				} else {
					out = (&codec.Puback{ID: p.ID}).Append(out, codec.V5)
				}
			case *codec.Pingreq:
				out = (&codec.Pingresp{}).Append(out, codec.V5)
			case *codec.Disconnect:
				return nil
			default:
				return errors.New("the bridge sends a " + p.Type().String())
			}
		}
		if came > 0 {
			s.mu.Lock()
			s.arrivals = append(s.arrivals, arrival{time.Now(), s.messages.Add(came)})
			s.mu.Unlock()
		}
		in = append(in[:0], in[at:]...)
		if _, err := conn.Write(out); err != nil {
			return nil
		}
		out = out[:0]
	}
}

func (s *sink) ackSlowly(conn net.Conn, slow <-chan uint16) {
	for id := range slow {
		time.Sleep(s.each)
		s.acked.Add(1)
		if _, err := conn.Write((&codec.Puback{ID: id}).Append(nil, codec.V5)); err != nil {
			return
		}
	}
}

// await waits until n messages have come, and returns how long that took from the first.
func (s *sink) await(t *testing.T, n int) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(patience); s.messages.Load() < int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages have come", s.messages.Load(), n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals[len(s.arrivals)-1].at.Sub(s.arrivals[0].at)
}

// rounds returns how long each n messages took after the first n.
func (s *sink) rounds(n int64) (each []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var begun time.Time
	next := n
	for _, a := range s.arrivals {
		switch {
		case a.sum < next:
			continue
		case !begun.IsZero():
			each = append(each, a.at.Sub(begun))
		}
		begun, next = a.at, next+n
	}
	return each
}
