//go:build linux

package bench

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
)

// scripted is a server that sends each subscriber what deliver makes of the messages
// that come, n counting them from 0, and acknowledges all but those that deaf names.
type scripted struct {
	deliver func(n int, packet []byte) [][]byte
	deaf    func(n int) bool // nil is none
	acked   func(n int)      // called when subscribers have acknowledged so many at QoS 1, if not nil

	mu   sync.Mutex
	subs []net.Conn
	n    int
	acks int
}

// serve answers one connection until it ends.
func (s *scripted) serve(c net.Conn) {
	defer c.Close()
	var dec codec.Decoder
	var in []byte
	var version codec.Version
	buf := make([]byte, 1<<16)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		in = append(in, buf[:n]...)
		for {
			p, n, err := dec.Next(in, version, 0)
			if err != nil {
				return
			}
			if p == nil {
				break
			}
			s.take(c, p)
			if connect, ok := p.(*codec.Connect); ok {
				version = connect.Version
			}
			in = in[n:]
		}
	}
}

func (s *scripted) take(c net.Conn, p codec.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := p.(type) {
	case *codec.Connect:
		c.Write((&codec.Connack{MaximumQoS: 2}).Append(nil, p.Version))
	case *codec.Subscribe:
		s.subs = append(s.subs, c)
		c.Write((&codec.Suback{ID: p.ID, Codes: []codec.ReasonCode{codec.ReasonCode(p.Subscriptions[0].QoS)}}).Append(nil, codec.V311))
	case *codec.Publish:
		s.acknowledge(c, p)
		if p.QoS > 0 {
			p.ID = uint16(s.n + 1) // one of the server's own
		}
		for _, one := range s.deliver(s.n, p.Append(nil, codec.V311)) {
			for _, sub := range s.subs {
				sub.Write(one)
			}
		}
		s.n++
	case *codec.Puback:
		if s.acks++; s.acked != nil {
			s.acked(s.acks)
		}
	case *codec.Pubrec:
		c.Write((&codec.Pubrel{ID: p.ID}).Append(nil, codec.V311))
	case *codec.Pubrel:
		c.Write((&codec.Pubcomp{ID: p.ID}).Append(nil, codec.V311))
	}
}

func (s *scripted) acknowledge(c net.Conn, p *codec.Publish) {
	switch {
	case s.deaf != nil && s.deaf(s.n):
	case p.QoS == 1:
		c.Write((&codec.Puback{ID: p.ID}).Append(nil, codec.V311))
	case p.QoS == 2:
		c.Write((&codec.Pubrec{ID: p.ID}).Append(nil, codec.V311))
	}
}

// listen runs the server and returns where.
func (s *scripted) listen(t *testing.T) *url.URL {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return &url.URL{Scheme: "mqtt", Host: ln.Addr().String()}
}

// config is a scenario with the flags in line, at u.
func config(t *testing.T, u *url.URL, scenario, line string) *Config {
	c := &Config{URL: u, Connect: codec.Connect{Version: codec.V311}}
	f := flag.NewFlagSet(scenario, flag.ContinueOnError)
	if err := c.Flags(f, scenario); err != nil {
		t.Fatal(err)
	}
	if err := f.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return c
}

// A server that loses, repeats and reorders messages is found out.
func TestFaultsAreSeen(t *testing.T) {
	var held []byte
	for _, c := range []struct {
		name    string
		deliver func(n int, packet []byte) [][]byte
		want    Report
	}{
		{"faithful", func(n int, p []byte) [][]byte { return [][]byte{p} }, Report{Received: 100}},
		{"loses", func(n int, p []byte) [][]byte {
			if n%10 == 3 {
				return nil
			}
			return [][]byte{p}
		}, Report{Received: 90, Lost: 10}},
		{"repeats", func(n int, p []byte) [][]byte {
			if n == 50 {
				return [][]byte{p, p, p}
			}
			return [][]byte{p}
		}, Report{Received: 100, Duplicated: 2}},
		{"reorders", func(n int, p []byte) [][]byte {
			switch n {
			case 20:
				held = p
				return nil
			case 25:
				return [][]byte{p, held}
			}
			return [][]byte{p}
		}, Report{Received: 100, Misordered: 1}},
		{"invents", func(n int, p []byte) [][]byte {
			if n == 7 {
				stranger := slices.Clone(p)
				stranger[len(p)-64+4] = 9 // a publisher that there is not
				return [][]byte{p, stranger, (&codec.Publish{Message: codec.Message{Topic: []byte("x"), Payload: make([]byte, 64)}}).Append(nil, codec.V311)}
			}
			return [][]byte{p}
		}, Report{Received: 100, Foreign: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scripted{deliver: c.deliver}
			// Only where a message is lost does the run have to wait until all is quiet.
			load := config(t, s.listen(t), "pairs", "-pairs 1 -n 100 -quiet 1500ms")
			got, err := Run(t.Context(), load)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Sent = 100
			for _, one := range []struct {
				name      string
				got, want any
			}{
				{"sent", got.Sent, c.want.Sent}, {"received", got.Received, c.want.Received}, {"lost", got.Lost, c.want.Lost},
				{"duplicated", got.Duplicated, c.want.Duplicated}, {"misordered", got.Misordered, c.want.Misordered},
				{"foreign", got.Foreign, c.want.Foreign},
			} {
				if one.got != one.want {
					t.Errorf("%v %s, want %v", one.got, one.name, one.want)
				}
			}
		})
	}
}

// A server that stops answering does not keep the generator for ever, and who looks
// on sees what goes on.
func TestRunEnds(t *testing.T) {
	s := &scripted{deliver: func(int, []byte) [][]byte { return nil }, deaf: func(int) bool { return true }}
	load := config(t, s.listen(t), "pairs", "-pairs 2 -n 100 -qos 1 -inflight 8 -quiet 1500ms")
	var live bytes.Buffer
	load.Live = &live
	got, err := Run(t.Context(), load)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent != 16 || got.Unacked != 16 || got.Lost != 16 || got.Missing() != 32 || len(got.Notes) != 1 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(live.String(), "publishing") || !strings.HasSuffix(live.String(), "\r\x1b[K") {
		t.Errorf("the display shows %q", live.String())
	}
}

// Who sends a QoS 2 message again before PUBREL does not duplicate it [MQTT-4.3.3-10],
// and what is not acknowledged is told.
func TestAcknowledgements(t *testing.T) {
	twice := func(n int, p []byte) [][]byte {
		if n == 30 {
			return [][]byte{p, p}
		}
		return [][]byte{p}
	}
	for _, c := range []struct {
		line            string
		deaf            func(n int) bool
		resent, unacked uint64
	}{
		{"-qos 2", nil, 1, 0},
		{"-qos 1 -inflight 200", func(n int) bool { return n%10 == 3 }, 0, 10},
	} {
		s := &scripted{deliver: twice, deaf: c.deaf}
		got, err := Run(t.Context(), config(t, s.listen(t), "pairs", "-pairs 1 -n 100 -quiet 1500ms "+c.line))
		if err != nil {
			t.Fatal(err)
		}
		if got.Received != 100 || got.Lost != 0 || got.Duplicated != 1-c.resent || got.Resent != c.resent || got.Unacked != c.unacked || got.BadAcks != 0 {
			t.Errorf("%s: %+v", c.line, got)
		}
	}
}

func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &scripted{
		deliver: func(_ int, p []byte) [][]byte { return [][]byte{p} },
		acked: func(n int) {
			if n == 10 { // they are counted by now
				cancel()
			}
		},
	}
	load := config(t, s.listen(t), "pairs", "-pairs 1 -n 1000000000 -rate 1000 -qos 1 -limit 1m")
	start := time.Now()
	got, err := Run(ctx, load)
	if err == nil || err.Error() != "interrupted" || got.Received < 10 || time.Since(start) > 30*time.Second {
		t.Errorf("after %v: %v, %+v", time.Since(start), err, got)
	}
}
