package uplink

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
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
	accept *codec.Connack                        // how, and with which limits, that are enforced; nil: none
	acked  codec.ReasonCode                      // in PUBACK and PUBREC
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
	flying   int    // most messages at QoS 1 and 2 that a client had not had acknowledged to the end
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
	var w flights
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	for {
		if w.held != nil {
			conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		}
		n, err := conn.Read(chunk)
		conn.SetReadDeadline(time.Time{})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if _, err := conn.Write(w.land()); err != nil {
				return
			}
			continue
		}
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
			if s.accept != nil && !hangUp {
				if out, err = w.take(s.accept, p, n, out); err != nil {
					s.t.Errorf("%s hangs up: %v", s.addr, err)
					hangUp = true
				}
				s.flying = max(s.flying, w.n)
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
	ack := codec.Connack{MaximumQoS: 2}
	if s.accept != nil {
		ack = *s.accept
	}
	ack.SessionPresent = present
	out = ack.Append(nil, c.Version)
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
			out = (&codec.Puback{ID: p.ID, Code: s.acked}).Append(nil, v)
		case 2:
			of.received[p.ID] = true
			out = (&codec.Pubrec{ID: p.ID, Code: s.acked}).Append(nil, v)
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

// flights are the messages of a connection to a server with limits. What acknowledges them
// is held back as long as more comes, so that a client which sends too much is seen to.
type flights struct {
	n      int // neither acknowledged to the end nor about to be
	ending int // of these, by what is held
	held   []byte
}

// take takes a packet of size bytes and the answer to it, and returns what to send now, or
// which limit the packet breaks.
func (w *flights) take(limits *codec.Connack, p codec.Packet, size int, answer []byte) (now []byte, broken error) {
	switch p := p.(type) {
	case *codec.Connect:
		return answer, nil // from the client that has yet to hear of the limits
	case *codec.Publish:
		if p.QoS > 0 && !p.Dup {
			w.n++
		}
		if p.QoS == 1 {
			w.ending++
		}
		if w.n > int(limits.ReceiveMaximum) {
			return nil, fmt.Errorf("%d messages in flight", w.n)
		}
	case *codec.Pubrel:
		w.ending++
	}
	if size > int(limits.MaximumPacketSize) {
		return nil, fmt.Errorf("a packet of %d bytes", size)
	}
	w.held = append(w.held, answer...)
	return nil, nil
}

// land returns what was held.
func (w *flights) land() []byte {
	held := w.held
	w.n, w.ending, w.held = w.n-w.ending, 0, nil
	return held
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
const patience = 40 * time.Second
