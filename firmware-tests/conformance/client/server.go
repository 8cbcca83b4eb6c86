package client

import (
	"bufio"
	"net"
	"slices"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// A server is the scripted one that a client is told to use. It says what the test
// says.
type server struct {
	t  *suite.T
	ln *net.TCPListener
}

func listen(t *suite.T) *server {
	ports.Lock()
	defer ports.Unlock()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { ln.Close() })
	return &server{t, ln}
}

func (s *server) addr() string { return s.ln.Addr().String() }

// accept is the next connection that the client makes.
func (s *server) accept() *suite.Conn { return s.t.Serve(s.take()) }

// take is the next connection on which something is said. Others are of programs that
// look for a port.
func (s *server) take() net.Conn {
	deadline := time.Now().Add(suite.Patience)
	s.ln.SetDeadline(deadline)
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			s.t.Fatalf("the client does not connect: %v", err)
		}
		c := &spoken{nc, bufio.NewReader(nc)}
		nc.SetReadDeadline(deadline)
		if _, err := c.in.Peek(1); err == nil {
			return c
		}
		nc.Close()
	}
}

// spoken is a connection of which something has been read ahead.
type spoken struct {
	net.Conn
	in *bufio.Reader
}

func (c *spoken) Read(b []byte) (int, error) { return c.in.Read(b) }

// connect is the next connection with its CONNECT, in the version of the test: a
// bridge that asks for 5.0 is told that only 3.1.1 is spoken here.
func (s *server) connect() (*suite.Conn, *wire.Read) {
	for {
		c := s.accept()
		p := c.WantConnect()
		switch v := p.Connect.Version; {
		case v == s.t.Version:
			return c, p
		case v < s.t.Version:
			s.t.Fatalf("%v, want version %d", p, s.t.Version)
		}
		c.Send(wire.Packet(wire.CONNACK<<4, byte(0), byte(1)))
		c.WantEnd()
	}
}

// welcome accepts the next CONNECT, with properties of 5.0.
func (s *server) welcome(present bool, props ...any) *suite.Conn {
	c, _ := s.connect()
	c.Send(s.connack(present, 0, props...))
	return c
}

func (s *server) connack(present bool, code byte, props ...any) []byte {
	flags := byte(0)
	if present {
		flags = 1
	}
	return wire.Packet(wire.CONNACK<<4, flags, code, s.props(props...))
}

// props are properties with their length in 5.0, and nothing before.
func (s *server) props(parts ...any) []byte {
	if !s.t.V5() {
		return nil
	}
	return wire.Props(parts...)
}

// subscribed takes a SUBSCRIBE and grants all that it asks for.
func (s *server) subscribed(c *suite.Conn) *wire.Read {
	p := c.Want(wire.SUBSCRIBE)
	var codes []byte
	for _, sub := range p.Subscribes {
		codes = append(codes, sub.Options&3)
	}
	c.Send(s.suback(p.ID, codes...))
	return p
}

func (s *server) suback(id uint16, codes ...byte) []byte {
	return wire.Packet(wire.SUBACK<<4, id, s.props(), codes)
}

// quiet wants no client to be waiting.
func (s *server) quiet() {
	s.ln.SetDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			return
		}
		if p := s.t.Serve(nc).NextOrEnd(); p != nil {
			s.t.Fatalf("the client connects: %v", p)
		}
	}
}

// beyondPings is the next packet that is no PINGREQ. Those are answered.
func beyondPings(c *suite.Conn) *wire.Read {
	for {
		p := c.Next()
		if p.Type != wire.PINGREQ {
			return p
		}
		c.Send(wire.Packet(wire.PINGRESP << 4))
	}
}

// ends wants the client to end the connection; in 5.0 with a DISCONNECT that has one of
// the codes. What was on its way may come first.
func (s *server) ends(c *suite.Conn, codes ...byte) {
	for {
		p := c.NextOrEnd()
		switch {
		case p == nil && s.t.V5():
			s.t.Fatalf("the client closed without DISCONNECT, want one with a code of % x", codes)
		case p == nil:
			return
		case p.Type == wire.DISCONNECT:
			if s.t.V5() && !slices.Contains(codes, p.Code()) {
				s.t.Fatalf("%v, want one of the codes % x", p, codes)
			}
			c.WantEnd()
			return
		}
	}
}
