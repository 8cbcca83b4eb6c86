package uplink

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/plant"
)

// A server is an upstream of the tests' own, with sessions, that does what a test
// tells it. It takes MQTT 3.1.1 and 5.
type server struct {
	// Set before start.
	tls    *tls.Config                           // nil: plain
	answer func(c *codec.Connect) []byte         // CONNACK of bytes; nil, or what returns nil: accept
	refuse func(p *codec.Publish) (hangUp bool)  // nil: take every message
	queue  func(clientID string) []codec.Publish // to send to a client when it connects

	addr string
	t    *testing.T
	stop func() // listening, and all connections

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]codec.Version
	sessions map[string]*session
	connects []codec.Connect
	got      []codec.Message // each message of QoS 2 once
	pings    int
	from     string // the last that connected
}

type session struct {
	received map[uint16]bool // QoS 2 identifiers not yet released
	filters  []string
}

// start listens on addr, "" for a free port.
func (s *server) start(t *testing.T, addr string) *server {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if s.sessions == nil {
		s.sessions = map[string]*session{}
	}
	s.t, s.addr, s.conns = t, ln.Addr().String(), map[net.Conn]codec.Version{}
	var serving sync.WaitGroup
	s.stop = sync.OnceFunc(func() {
		ln.Close()
		s.hangUp()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if s.tls != nil {
				conn = tls.Server(conn, s.tls)
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

// hangUp breaks all connections.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// send sends a packet to every client.
func (s *server) send(p codec.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, v := range s.conns {
		conn.Write(p.Append(nil, v))
	}
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	d, v, in, chunk := codec.Decoder{}, codec.Version(0), []byte(nil), make([]byte, 64<<10)
	clientID := ""
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			return
		}
		in = append(in, chunk[:n]...)
		for {
			p, n, err := d.Next(in, v, 0)
			if err != nil || n == 0 {
				if err != nil {
					s.t.Logf("%s hangs up on %v", s.addr, err)
					return
				}
				break
			}
			var out []byte
			hangUp := false
			s.mu.Lock()
			if c, ok := p.(*codec.Connect); ok {
				v, clientID = c.Version, string(c.ClientID)
				s.conns[conn] = v
				s.from, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
				out, hangUp = s.connect(c)
			} else {
				out, hangUp = s.handle(p, v, s.sessions[clientID])
			}
			s.mu.Unlock()
			in = in[n:]
			if _, err := conn.Write(out); err != nil || hangUp {
				return
			}
		}
	}
}

func (s *server) connect(c *codec.Connect) (out []byte, hangUp bool) {
	kept := *c
	kept.ClientID, kept.Username, kept.Password = bytes.Clone(c.ClientID), bytes.Clone(c.Username), bytes.Clone(c.Password)
	s.connects = append(s.connects, kept)
	if s.answer != nil {
		if out = s.answer(c); out != nil {
			return out, out[3] != 0 || len(out) < 4
		}
	}
	_, present := s.sessions[string(c.ClientID)]
	if present && c.CleanStart {
		present = false
	}
	if !present {
		s.sessions[string(c.ClientID)] = &session{received: map[uint16]bool{}}
	}
	out = (&codec.Connack{SessionPresent: present, MaximumQoS: 2}).Append(nil, c.Version)
	if s.queue != nil {
		for _, p := range s.queue(string(c.ClientID)) {
			out = p.Append(out, c.Version)
		}
	}
	return out, false
}

func (s *server) handle(p codec.Packet, v codec.Version, of *session) (out []byte, hangUp bool) {
	switch p := p.(type) {
	case *codec.Publish:
		if s.refuse != nil && s.refuse(p) {
			return nil, true
		}
		if p.QoS < 2 || !of.received[p.ID] {
			m := p.Message
			m.Topic, m.Payload = bytes.Clone(m.Topic), bytes.Clone(m.Payload)
			s.got = append(s.got, m)
		}
		switch p.QoS {
		case 1:
			out = (&codec.Puback{ID: p.ID}).Append(nil, v)
		case 2:
			of.received[p.ID] = true
			out = (&codec.Pubrec{ID: p.ID}).Append(nil, v)
		}
	case *codec.Pubrel:
		delete(of.received, p.ID)
		out = (&codec.Pubcomp{ID: p.ID}).Append(nil, v)
	case *codec.Pubrec:
		out = (&codec.Pubrel{ID: p.ID}).Append(nil, v)
	case *codec.Subscribe:
		ack := &codec.Suback{ID: p.ID}
		for _, sub := range p.Subscriptions {
			of.filters = append(of.filters, string(sub.Filter))
			ack.Codes = append(ack.Codes, codec.ReasonCode(sub.QoS))
		}
		out = ack.Append(nil, v)
	case *codec.Pingreq:
		s.pings++
		out = (&codec.Pingresp{}).Append(nil, v)
	case *codec.Disconnect:
		return nil, true
	}
	return out, false
}

// payloads are what has arrived.
func (s *server) payloads() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		list = append(list, string(m.Payload))
	}
	return list
}

// lastFrom is the address that the last connection came from.
func (s *server) lastFrom() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from
}

func (s *server) lastConnect() (c codec.Connect, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = len(s.connects); n > 0 {
		c = s.connects[n-1]
	}
	return c, n
}

// wantPayloads waits until exactly these have arrived, in order.
func (s *server) wantPayloads(sentence string, want ...string) {
	s.t.Helper()
	plant.Await(s.t, func() string {
		if got := s.payloads(); !slices.Equal(got, want) {
			return fmt.Sprintf("%s: %q have arrived, want %q", sentence, got, want)
		}
		return ""
	})
}

// patience is how long anything may take that happens at once on a machine that is
// not loaded.
const patience = 20 * time.Second
