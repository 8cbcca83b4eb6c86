package drain

import (
	"fmt"
	"net"
	"testing"
	"time"

	"sluice/codec"
)

// patience is how long anything that is not measured may take.
const patience = 5 * time.Minute

// The topics of a backlog.
const (
	first = "backlog/first"
	body  = "backlog/plant/temp"
	last  = "backlog/last"
)

// client is a connection to a server, used by one goroutine at a time.
type client struct {
	conn    net.Conn
	version codec.Version
	dec     codec.Decoder
	in      []byte
	at      int // in in
	connack codec.Connack
}

func connect(t *testing.T, addr, id string) *client {
	t.Helper()
	return connectAs(t, addr, id, codec.V5)
}

func connectAs(t *testing.T, addr, id string, v codec.Version) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{conn: conn, version: v, dec: codec.Decoder{FromServer: true}}
	t.Cleanup(c.close)
	c.write(t, (&codec.Connect{Version: v, CleanStart: true, ClientID: []byte(id), ReceiveMaximum: 65535}).Append(nil, v))
	ack, ok := c.next(t).(*codec.Connack)
	if !ok || ack.Code != codec.Success {
		t.Fatalf("%s answers CONNECT with %v", addr, ack)
	}
	c.connack = *ack
	return c
}

func (c *client) close() { c.conn.Close() }

func (c *client) write(t *testing.T, b []byte) {
	t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

// next is the next packet, valid until the next call.
func (c *client) next(t *testing.T) codec.Packet {
	t.Helper()
	for {
		p, n, err := c.dec.Next(c.in[c.at:], c.version, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			c.at += n
			return p
		}
		c.in = append(c.in[:0], c.in[c.at:]...)
		c.at = 0
		if cap(c.in)-len(c.in) < 32<<10 {
			c.in = append(make([]byte, 0, 2*cap(c.in)+64<<10), c.in...)
		}
		n, err = c.conn.Read(c.in[len(c.in):cap(c.in)])
		if err != nil {
			t.Fatal(err)
		}
		c.in = c.in[:len(c.in)+n]
	}
}

// has reports whether a packet has come already.
func (c *client) has() bool {
	n, err := codec.PacketLen(c.in[c.at:])
	return err == nil && n > 0 && n <= len(c.in)-c.at
}

// together is how many messages of a backlog are under way at a time when it is made.
const together = 500

// fill publishes n messages at QoS 1, window at a time, and waits until all are
// acknowledged.
func fill(t *testing.T, addr string, n, size, window int) {
	t.Helper()
	c := connect(t, addr, "filler")
	defer c.close()
	if most := int(c.connack.ReceiveMaximum); most > 0 {
		window = min(window, most)
	}
	var out []byte
	for sent, acked := 0, 0; acked < n; {
		for ; sent < n && sent-acked < window; sent++ {
			out = appendMessage(out, 1, sent, n, size)
		}
		if len(out) > 0 {
			c.write(t, out)
			out = out[:0]
		}
		for first := true; first || c.has(); first = false {
			ack, ok := c.next(t).(*codec.Puback)
			if !ok || ack.Code >= codec.UnspecifiedError {
				t.Fatalf("%s does not take message %d: %+v", addr, acked, ack)
			}
			acked++
		}
	}
}

// appendMessage appends the PUBLISH of message i of n.
func appendMessage(b []byte, qos byte, i, n, size int) []byte {
	topic := body
	switch i {
	case 0:
		topic = first
	case n - 1:
		topic = last
	}
	payload := fmt.Appendf(nil, "%0*d", size, i)
	p := codec.Publish{ID: uint16(i%65535 + 1), Message: codec.Message{Topic: []byte(topic), Payload: payload, QoS: qos}}
	return p.Append(b, codec.V5)
}

// watch subscribes at an upstream to the first and the last message. The function
// that it returns waits for both, and tells the time between them.
func watch(t *testing.T, addr string, v codec.Version) (drained func() time.Duration) {
	t.Helper()
	c := connectAs(t, addr, "watcher", v)
	subs := []codec.Subscription{{Filter: []byte(first)}, {Filter: []byte(last)}}
	c.write(t, (&codec.Subscribe{ID: 1, Subscriptions: subs}).Append(nil, v))
	if _, ok := c.next(t).(*codec.Suback); !ok {
		t.Fatalf("%s does not answer SUBSCRIBE", addr)
	}
	return func() time.Duration {
		var begun time.Time
		for {
			p, ok := c.next(t).(*codec.Publish)
			switch {
			case ok && string(p.Topic) == first && begun.IsZero():
				begun = time.Now()
			case ok && string(p.Topic) == last && !begun.IsZero():
				return time.Since(begun)
			}
		}
	}
}
