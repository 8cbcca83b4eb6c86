package bridge

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/firmware-tests/wire"
)

// patience bounds every wait for something that should come, quiet every wait for
// something that should not.
const (
	patience = 40 * time.Second
	quiet    = 500 * time.Millisecond
)

// A client is one connection to a server. It acknowledges what comes at once.
type client struct {
	t       *testing.T
	version byte
	nc      net.Conn
	came    chan *wire.Read // PUBLISH
	acks    chan *wire.Read // all else
	id      uint16          // the last one given

	mu sync.Mutex // of writing
}

// join connects a client whose session ends with it.
func join(t *testing.T, addr string, version byte, id string) *client {
	t.Helper()
	c, _ := connect(t, addr, wire.Connect{Version: version, ID: id, Clean: true})
	return c
}

// resume connects a client whose session lasts, and says whether there was one.
func resume(t *testing.T, addr string, version byte, id string) (c *client, present bool) {
	t.Helper()
	p := wire.Connect{Version: version, ID: id}
	if version == wire.V5 {
		p.Props = wire.Bytes(wire.SessionExpiry, uint32(3600))
	}
	return connect(t, addr, p)
}

func connect(t *testing.T, addr string, p wire.Connect) (c *client, present bool) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c = &client{t: t, version: p.Version, nc: nc, came: make(chan *wire.Read, 1000), acks: make(chan *wire.Read, 1000)}
	go c.read()
	c.send(p.Bytes())
	ack := c.ack(wire.CONNACK)
	if ack.Code() != 0 {
		t.Fatalf("%s is not let in: %v", p.ID, ack)
	}
	return c, ack.Present
}

// read ends with the connection.
func (c *client) read() {
	in := bufio.NewReader(c.nc)
	held := map[uint16]bool{} // QoS 2 messages not yet released
	for {
		p, err := wire.Next(in, c.version, true)
		if err != nil {
			close(c.acks)
			return
		}
		switch p.Type {
		case wire.PUBLISH:
			if p.QoS == 1 {
				c.send(wire.Ack(wire.PUBACK, p.ID))
			}
			again := p.QoS == 2 && held[p.ID]
			if p.QoS == 2 {
				held[p.ID] = true
				c.send(wire.Ack(wire.PUBREC, p.ID))
			}
			if !again {
				c.came <- p
			}
		case wire.PUBREL:
			delete(held, p.ID)
			c.send(wire.Ack(wire.PUBCOMP, p.ID))
		default:
			c.acks <- p
		}
	}
}

func (c *client) send(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc.Write(b) // what fails is missed by who waits for the answer
}

// ack is the next packet that is no message.
func (c *client) ack(kind byte) *wire.Read {
	c.t.Helper()
	select {
	case p, ok := <-c.acks:
		if !ok {
			c.t.Fatal("the server closed the connection")
		}
		if p.Type != kind {
			c.t.Fatalf("the server sends %v, want type %d", p, kind)
		}
		return p
	case <-time.After(patience):
		c.t.Fatalf("the server does not answer: want type %d", kind)
		return nil
	}
}

func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	c.id++
	c.send(wire.Subscribe(c.version, c.id, qos, filters...))
	for _, code := range c.ack(wire.SUBACK).Codes {
		if code >= 0x80 {
			c.t.Fatalf("subscription to %v refused: %#x", filters, code)
		}
	}
}

// publish returns when the server has it.
func (c *client) publish(p wire.Publish) {
	c.t.Helper()
	if p.QoS > 0 {
		c.id++
		p.ID = c.id
	}
	c.send(p.Bytes(c.version))
	switch p.QoS {
	case 1:
		c.accepted(c.ack(wire.PUBACK))
	case 2:
		c.accepted(c.ack(wire.PUBREC))
		c.send(wire.Ack(wire.PUBREL, p.ID))
		c.ack(wire.PUBCOMP)
	}
}

func (c *client) accepted(ack *wire.Read) {
	c.t.Helper()
	if ack.Code() >= 0x80 {
		c.t.Fatalf("message refused: %v", ack)
	}
}

// want waits for the next message.
func (c *client) want(sentence, topic, payload string) *wire.Read {
	c.t.Helper()
	select {
	case p := <-c.came:
		if p.Topic != topic || p.Payload != payload {
			c.t.Fatalf("%s: got %s %q, want %s %q", sentence, p.Topic, p.Payload, topic, payload)
		}
		return p
	case <-time.After(patience):
		c.t.Fatalf("%s: %s %q does not come", sentence, topic, payload)
		return nil
	}
}

// wantAll waits for messages in any order, each "topic payload".
func (c *client) wantAll(sentence string, messages ...string) {
	c.t.Helper()
	for len(messages) > 0 {
		select {
		case p := <-c.came:
			i := slices.Index(messages, p.Topic+" "+p.Payload)
			if i < 0 {
				c.t.Fatalf("%s: got %s %q, want %v", sentence, p.Topic, p.Payload, messages)
			}
			messages = slices.Delete(messages, i, i+1)
		case <-time.After(patience):
			c.t.Fatalf("%s: %v do not come", sentence, messages)
		}
	}
}

// wantNothing fails if a message comes.
func (c *client) wantNothing(sentence string) {
	c.t.Helper()
	select {
	case p := <-c.came:
		c.t.Fatalf("%s: got %s %q", sentence, p.Topic, p.Payload)
	case <-time.After(quiet):
	}
}

// leave takes leave.
func (c *client) leave() {
	c.send(wire.Disconnect())
	for range c.acks { // until the server has closed
	}
}

// next is the next message, nil if none comes for a while.
func (c *client) next() *wire.Read {
	select {
	case p := <-c.came:
		return p
	case <-time.After(quiet):
		return nil
	}
}

// ping returns when the server has handled all that was sent.
func (c *client) ping() {
	c.t.Helper()
	c.send(wire.Pingreq())
	c.ack(wire.PINGRESP)
}
