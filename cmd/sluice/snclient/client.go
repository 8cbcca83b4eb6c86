package snclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"sluice/codec/sn"
)

// Errors that tell why there is no going on.
var (
	// ErrRefused is the network's word that nobody listens there.
	ErrRefused = errors.New("nobody listens there")

	// ErrSilent is the end of all repeats.
	ErrSilent = errors.New("no answer")

	// ErrDisconnected is the gateway's DISCONNECT.
	ErrDisconnected = errors.New("the gateway ended the connection, or does not know of it: connect again")
)

// Config is what a Client does not find out by itself.
type Config struct {
	ClientID     string
	CleanSession bool
	KeepAlive    time.Duration // up to 65535 s, 0 = off
	Will         *Will         // nil = none

	Retry   time.Duration // T_RETRY
	Retries int           // N_RETRY

	// Take gets each message, which is acknowledged when it returns nil. The
	// Data is valid until then. Nil: messages are acknowledged unseen.
	Take func(*Message) error
}

// Will is the message that the gateway publishes for a client that is lost.
type Will struct {
	Topic  string
	Data   []byte
	QoS    byte
	Retain bool
}

// Client is one client at one gateway. Its methods are for one goroutine at a
// time, and end early, with the cause, when their context ends.
type Client struct {
	config Config
	conn   net.Conn
	in     chan received
	done   chan struct{} // closed by Close
	close  func()

	dec       sn.Decoder
	out       []byte
	sent      time.Time // the last datagram
	accepted  bool      // by a CONNACK, at least once
	asleep    bool
	messageID uint16 // of the last request

	names   map[uint16]string // of topics, by the id that the gateway uses
	ids     map[string]uint16 // of topics, by name
	refused error             // the first refusal of a message at QoS 0

	// QoS 2 messages that are taken, and when they were released, zero if they are not. A
	// network that delays datagrams may bring a copy after that; within T_RETRY, no other
	// message has its id.
	held map[uint16]time.Time
	left time.Time // when the gateway last answered DISCONNECT, perhaps more than once
}

// received is a datagram, or why there is none.
type received struct {
	b   []byte
	err error
}

// New makes a client whose datagrams go over conn, which it owns from now on.
func New(conn net.Conn, config Config) *Client {
	c := &Client{
		config: config,
		conn:   conn,
		in:     make(chan received, 64),
		done:   make(chan struct{}),
		sent:   time.Now(),
		names:  make(map[uint16]string),
		ids:    make(map[string]uint16),
		held:   make(map[uint16]time.Time),
	}
	c.close = sync.OnceFunc(func() {
		close(c.done)
		conn.Close()
	})
	go c.read()
	return c
}

// Close ends the client without a word to the gateway.
func (c *Client) Close() { c.close() }

// read hands over what comes, until the connection is closed.
func (c *Client) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := c.conn.Read(buf)
		one := received{bytes.Clone(buf[:n]), err}
		if errors.Is(err, syscall.ECONNREFUSED) {
			one.err = ErrRefused // by this datagram's receiver, perhaps not by the next one's
		}
		select {
		case c.in <- one:
		case <-c.done:
			return
		}
		if one.err != nil && one.err != ErrRefused {
			return
		}
	}
}

// send sends m. That nobody listens shows in read.
func (c *Client) send(m sn.Message) error {
	c.out = m.Append(c.out[:0])
	c.sent = time.Now()
	_, err := c.conn.Write(c.out)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}

// decode gives the message of a datagram, nil if there is none. Nobody listening is
// an error only before anybody did: gateways start again.
func (c *Client) decode(one received) (sn.Message, error) {
	switch {
	case one.err == ErrRefused && c.accepted:
		return nil, nil
	case one.err != nil:
		return nil, one.err
	}
	m, err := c.dec.Decode(one.b)
	if err != nil {
		return nil, nil // dropped: it has no answer
	}
	return m, nil
}

// ask sends what request gives, again and again, until answers says that a
// message is the answer, which is valid until the next call. Other messages
// are taken; each shows that the gateway is there, so that the count of repeats
// begins anew.
func (c *Client) ask(ctx context.Context, request func(again bool) sn.Message, answers func(sn.Message) bool) (sn.Message, error) {
	late := time.NewTimer(c.config.Retry)
	defer late.Stop()
	repeats := 0
	err := c.send(request(false))
	for err == nil {
		select {
		case one := <-c.in:
			var m sn.Message
			switch m, err = c.decode(one); {
			case m == nil:
			case answers(m):
				return m, nil
			default:
				repeats = 0
				err = c.take(m)
			}
		case <-late.C:
			if repeats++; repeats > c.config.Retries {
				return nil, ErrSilent
			}
			late.Reset(c.config.Retry)
			err = c.send(request(true))
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return nil, err
}

// same is a request that looks the same each time.
func same(m sn.Message) func(bool) sn.Message { return func(bool) sn.Message { return m } }

// nextID is a message id for a new request.
func (c *Client) nextID() uint16 {
	if c.messageID++; c.messageID == 0 {
		c.messageID = 1
	}
	return c.messageID
}

// Connect connects, with the Will if there is one.
func (c *Client) Connect(ctx context.Context) error {
	var request sn.Message = &sn.Connect{
		Will:         c.config.Will != nil,
		CleanSession: c.config.CleanSession,
		ProtocolID:   1,
		Duration:     seconds(c.config.KeepAlive),
		ClientID:     []byte(c.config.ClientID),
	}
	// The gateway leads: it may ask for the Will from the start again, when it
	// got a CONNECT twice.
	for {
		answer, err := c.ask(ctx, same(request), func(m sn.Message) bool {
			switch m.(type) {
			case *sn.Connack, *sn.WillTopicRequest, *sn.WillMessageRequest:
				return true
			}
			return false
		})
		if err != nil {
			return err
		}
		switch m := answer.(type) {
		case *sn.WillTopicRequest:
			request = c.config.Will.topic()
		case *sn.WillMessageRequest:
			request = c.config.Will.message()
		case *sn.Connack:
			if m.Code != sn.Accepted {
				return refusal("the connection", m.Code)
			}
			c.accepted = true
			return nil
		}
	}
}

// topic is the answer to a WILLTOPICREQ: that there is no Will, if w is nil.
func (w *Will) topic() *sn.WillTopic {
	if w == nil {
		return &sn.WillTopic{}
	}
	return &sn.WillTopic{QoS: w.QoS, Retain: w.Retain, Topic: []byte(w.Topic)}
}

func (w *Will) message() *sn.WillMessage {
	if w == nil {
		return &sn.WillMessage{}
	}
	return &sn.WillMessage{Message: w.Data}
}

// seconds is a duration as the protocol has it, rounded up.
func seconds(d time.Duration) uint16 {
	return uint16(min((d+time.Second-1)/time.Second, 1<<16-1))
}

// Ping asks the gateway for a sign of life.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.ask(ctx, same(&sn.Pingreq{}), isPingresp)
	return err
}

func isPingresp(m sn.Message) bool {
	_, ok := m.(*sn.Pingresp)
	return ok
}

func isDisconnect(m sn.Message) bool {
	_, ok := m.(*sn.Disconnect)
	return ok
}

// Sleep tells the gateway that the client sleeps for up to d, from a second to
// 65535 s. From then on, what comes is not heard until Wake.
func (c *Client) Sleep(ctx context.Context, d time.Duration) error {
	_, err := c.ask(ctx, same(&sn.Disconnect{Duration: seconds(d), HasDuration: true}), isDisconnect)
	c.asleep, c.left = err == nil, time.Now()
	return err
}

// Wake takes all that waits for a client that sleeps, which sleeps on then.
func (c *Client) Wake(ctx context.Context) error {
	c.asleep = false // it hears
	_, err := c.ask(ctx, same(&sn.Pingreq{ClientID: []byte(c.config.ClientID)}), isPingresp)
	c.asleep = err == nil
	return err
}

// Disconnect takes leave, and waits for the answer for as long as one repeat
// takes, but no longer than a second. It closes the connection.
func (c *Client) Disconnect() {
	defer c.close()
	ctx, cancel := context.WithTimeout(context.Background(), min(c.config.Retry, time.Second))
	defer cancel()
	c.ask(ctx, same(&sn.Disconnect{}), isDisconnect)
}

// Refused is the first refusal of a message at QoS 0, which the gateway may tell at
// any time. An answered Ping behind a message shows that there is none.
func (c *Client) Refused() error { return c.refused }

// Await deals with what comes and keeps the connection alive until something
// comes from another channel. More is false when that one is closed.
func Await[T any](ctx context.Context, c *Client, from <-chan T) (v T, more bool, err error) {
	for {
		ping := c.pingTimer()
		select {
		case v, more = <-from:
			ping.Stop()
			return v, more, nil
		case one := <-c.in:
			err = c.hear(one)
		case <-ping.C:
			err = c.Ping(ctx)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		ping.Stop()
		if err != nil {
			return v, false, err
		}
	}
}

// pingTimer rings when it is time to show that the client is there. One that sleeps
// need not.
func (c *Client) pingTimer() *time.Timer {
	if c.config.KeepAlive == 0 || c.asleep {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(time.Until(c.sent.Add(c.config.KeepAlive * 3 / 4)))
}

// hear takes what came without being asked for.
func (c *Client) hear(one received) error {
	m, err := c.decode(one)
	if m == nil || err != nil || c.asleep {
		return err
	}
	return c.take(m)
}

// take deals with a message that is no answer.
func (c *Client) take(m sn.Message) error {
	switch m := m.(type) {
	case *sn.Publish:
		return c.takePublish(m)
	case *sn.Pubrel:
		c.release(m.MessageID)
		return c.send(&sn.Pubcomp{MessageID: m.MessageID})
	case *sn.Register:
		c.name(m.TopicID, string(m.Topic))
		return c.send(&sn.Regack{TopicID: m.TopicID, MessageID: m.MessageID})
	case *sn.Pingreq:
		return c.send(&sn.Pingresp{})
	case *sn.Puback:
		if m.MessageID == 0 && m.Code != sn.Accepted && c.refused == nil {
			c.refused = refusal("the message", m.Code)
		}
	case *sn.Disconnect:
		if time.Since(c.left) >= c.config.Retry {
			return ErrDisconnected
		}
	}
	return nil // the answer to a repeat
}

// refusal is the error for a return code, with what to do about it.
func refusal(what string, code sn.ReturnCode) error {
	hint := ""
	switch code {
	case sn.Congestion:
		hint = ": it is busy, try again later"
	case sn.InvalidTopicID:
		hint = ": predefined topics have to be set at the gateway"
	case sn.NotSupported:
		hint = ": it says so too of what it does not allow, and its log tells why"
	}
	return fmt.Errorf("the gateway refuses %s: %v%s", what, code, hint)
}
