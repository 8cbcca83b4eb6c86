package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"sluice/codec"
)

// pub publishes one message, or one for each line of the input, and waits until
// the server has acknowledged them all.
func (c *command) pub(ctx context.Context) error {
	var to target
	f := c.flags("pub")
	if err := to.flags(f, c.environ); err != nil {
		return err
	}
	m := codec.Message{}
	topic := f.String("t", "", "")
	f.Var((*qosFlag)(&m.QoS), "q", "")
	f.BoolVar(&m.Retain, "r", false, "")
	f.Var((*userFlag)(&m.User), "D", "")
	expiry := secondsFlag(0)
	f.Var(&expiry, "expiry", "")
	text := f.String("m", "", "")
	file := f.String("f", "", "")
	f.Bool("s", false, "")
	f.Bool("l", false, "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	m.Topic = []byte(*topic)
	if expiry > 0 {
		m.HasMessageExpiry = true
		m.MessageExpiry = uint32(min((time.Duration(expiry)+time.Second-1)/time.Second, math.MaxUint32))
	}
	if err := checkMessage(&m, codec.Version(to.version)); err != nil {
		return err
	}
	payloads, err := c.payloads(f, *text, *file)
	if err != nil {
		return err
	}
	return publishAll(ctx, &to, m, payloads)
}

func checkMessage(m *codec.Message, v codec.Version) error {
	if len(m.Topic) == 0 {
		return usage("name the topic: -t")
	}
	if err := codec.ValidTopic(m.Topic); err != nil {
		return usage("-t %s: %s", m.Topic, err.Text)
	}
	if v != codec.V5 && (m.HasMessageExpiry || m.User != nil) {
		return usage("-D and -expiry are of MQTT 5")
	}
	return nil
}

// payload is one message's, or why there is none.
type payload struct {
	bytes []byte
	err   error
}

// payloads finds out what to publish: exactly one flag has to say.
func (c *command) payloads(f *flag.FlagSet, text, file string) (iter.Seq[payload], error) {
	var sources []string
	f.Visit(func(set *flag.Flag) {
		if strings.Contains("m f s l", set.Name) {
			sources = append(sources, set.Name)
		}
	})
	if len(sources) != 1 {
		return nil, usage("say once what to publish: -m a message, -f a file, -s the input, or -l each line of the input")
	}
	one := payload{bytes: []byte(text)}
	switch sources[0] {
	case "l":
		return eachLine(c.stdin), nil
	case "f":
		one.bytes, one.err = os.ReadFile(file)
	case "s":
		one.bytes, one.err = io.ReadAll(c.stdin)
	}
	return func(yield func(payload) bool) { yield(one) }, one.err
}

func eachLine(r io.Reader) iter.Seq[payload] {
	return func(yield func(payload) bool) {
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if line != "" && !yield(payload{bytes: []byte(strings.TrimRight(line, "\r\n"))}) || err == io.EOF {
				return
			}
			if err != nil {
				yield(payload{err: err})
				return
			}
		}
	}
}

// partingTime is how long an interrupted pub waits for a server that does not read.
const partingTime = time.Second

var errInterrupted = errors.New("interrupted")

func publishAll(ctx context.Context, to *target, m codec.Message, payloads iter.Seq[payload]) error {
	c, err := to.connect(ctx, &codec.Connect{CleanStart: true})
	if err != nil {
		return err
	}
	defer c.disconnect()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(partingTime, c.close) })
	defer stop()
	p := newPublisher(c, time.Duration(to.timeout))
	go p.receive()
	next := readAhead(payloads, c.done)
	for {
		select {
		case one, more := <-next:
			if !more {
				return p.settle(ctx)
			}
			m.Payload = one.bytes
			if one.err != nil {
				return one.err
			}
			if err := p.publish(ctx, &m); err != nil {
				return err
			}
		case <-p.ended:
			return p.lost(p.err)
		case <-ctx.Done():
			return errInterrupted
		}
	}
}

// readAhead reads the input, so that waiting for it keeps nobody from seeing the end of
// the connection. It stops when done is closed, as far as the input lets it.
func readAhead(payloads iter.Seq[payload], done <-chan struct{}) <-chan payload {
	next := make(chan payload)
	go func() {
		defer close(next)
		for one := range payloads {
			select {
			case next <- one:
			case <-done:
				return
			}
		}
	}()
	return next
}

// window is how many messages pub has under way at most.
const window = 100

// publisher sends messages and sees their acknowledgements.
type publisher struct {
	// Set once.
	client  *client
	timeout time.Duration // to wait for an acknowledgement
	free    chan uint16   // packet identifiers
	inUse   []atomic.Bool // by packet identifier
	ponged  chan struct{}
	ended   chan struct{} // closed when receive returns

	// Owned by receive until ended is closed, or all identifiers are free.
	refused int
	first   error // why the first message was refused
	err     error // why receive ended
}

func newPublisher(c *client, timeout time.Duration) *publisher {
	p := &publisher{
		client:  c,
		timeout: timeout,
		free:    make(chan uint16, min(window, int(c.receiveMaximum))),
		ponged:  make(chan struct{}, 1),
		ended:   make(chan struct{}),
	}
	for id := range cap(p.free) {
		p.free <- uint16(id + 1)
	}
	p.inUse = make([]atomic.Bool, cap(p.free)+1)
	return p
}

// receive takes acknowledgements until the connection ends, and hangs up then.
func (p *publisher) receive() {
	defer close(p.ended)
	defer p.client.disconnect()
	for {
		packet, err := p.client.receive()
		if err != nil {
			p.err = err
			return
		}
		p.take(packet)
	}
}

func (p *publisher) take(packet codec.Packet) {
	switch a := packet.(type) {
	case *codec.Puback:
		p.done(a.ID, a.Code, a.ReasonString)
	case *codec.Pubrec:
		if a.Code >= 0x80 {
			p.done(a.ID, a.Code, a.ReasonString)
			return
		}
		release := codec.Pubrel{ID: a.ID}
		if !p.uses(a.ID) {
			release.Code = codec.PacketIdentifierNotFound
		}
		p.client.send(&release)
	case *codec.Pubcomp:
		p.done(a.ID, a.Code, a.ReasonString)
	case *codec.Pingresp:
		select {
		case p.ponged <- struct{}{}:
		default:
		}

	// Nobody asked for messages, but they have to be answered [MQTT-4.5.0-2].
	case *codec.Publish:
		switch a.QoS {
		case 1:
			p.client.send(&codec.Puback{ID: a.ID})
		case 2:
			p.client.send(&codec.Pubrec{ID: a.ID})
		}
	case *codec.Pubrel:
		p.client.send(&codec.Pubcomp{ID: a.ID})
	}
}

// uses reports whether a message is under way under this identifier.
func (p *publisher) uses(id uint16) bool { return int(id) < len(p.inUse) && p.inUse[id].Load() }

// done ends the message under an identifier. One that is not in use has been
// acknowledged before, or never was.
func (p *publisher) done(id uint16, code codec.ReasonCode, reason []byte) {
	if !p.uses(id) {
		return
	}
	if code >= 0x80 {
		if p.refused++; p.first == nil {
			p.first = refused("the message", code, reason)
		}
	}
	p.inUse[id].Store(false)
	p.free <- id
}

// publish sends m as soon as there is a packet identifier for it.
func (p *publisher) publish(ctx context.Context, m *codec.Message) error {
	if m.QoS > p.client.maximumQoS {
		return fmt.Errorf("the server takes QoS %d at most", p.client.maximumQoS)
	}
	if m.Retain && p.client.noRetain { // [MQTT-3.2.2-14]
		return errors.New("the server retains no messages")
	}
	packet := codec.Publish{Message: *m}
	if m.QoS > 0 {
		id, err := await(ctx, p, p.free)
		if err != nil {
			return err
		}
		packet.ID = id
		p.inUse[id].Store(true)
	}
	b := packet.Append(nil, p.client.version)
	if len(b) > int(p.client.maximumPacketSize) {
		return fmt.Errorf("the message makes a packet of %d bytes, and the server takes %d", len(b), p.client.maximumPacketSize)
	}
	switch err := p.client.sendBytes(b); {
	case err != nil && ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return p.lost(err)
	}
	return nil
}

// settle waits until everything is acknowledged: messages at QoS 0 in so far as
// the server answers a ping behind them.
func (p *publisher) settle(ctx context.Context) error {
	for range cap(p.free) {
		if _, err := await(ctx, p, p.free); err != nil {
			return err
		}
	}
	select { // a ping of the keep-alive's, answered before
	case <-p.ponged:
	default:
	}
	if err := p.client.send(&codec.Pingreq{}); err != nil {
		return p.lost(err)
	}
	if _, err := await(ctx, p, p.ponged); err != nil {
		return err
	}
	if p.refused > 1 {
		return fmt.Errorf("%d messages refused, the first: %w", p.refused, p.first)
	}
	return p.first
}

// lost is the error for a connection that broke: what the server said last tells
// more than err, which writing met.
func (p *publisher) lost(err error) error {
	select {
	case <-p.ended:
		err = p.err
	case <-time.After(time.Second):
	}
	return fmt.Errorf("connection lost: %w", err)
}

// await waits for something from receive.
func await[T any](ctx context.Context, p *publisher, from <-chan T) (v T, err error) {
	late := time.NewTimer(p.timeout)
	defer late.Stop()
	select {
	case v = <-from:
	case <-p.ended:
		err = p.lost(p.err)
	case <-late.C:
		err = &failure{exitTimeout, fmt.Errorf("not acknowledged within %v", p.timeout)}
	case <-ctx.Done():
		err = errInterrupted
	}
	return v, err
}

// qosFlag is a quality of service.
type qosFlag byte

func (q *qosFlag) Set(text string) error {
	if len(text) != 1 || text[0] < '0' || text[0] > '2' {
		return errors.New("a quality of service is 0, 1 or 2")
	}
	*q = qosFlag(text[0] - '0')
	return nil
}

func (q *qosFlag) String() string { return string('0' + rune(*q)) }

// userFlag collects user properties.
type userFlag []codec.UserProperty

func (u *userFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("a user property is written name=value")
	}
	for _, half := range []string{name, value} {
		if err := codec.ValidString([]byte(half)); err != nil {
			return errors.New(err.Text)
		}
	}
	*u = append(*u, codec.UserProperty{Name: []byte(name), Value: []byte(value)})
	return nil
}

func (u *userFlag) String() string { return "" }
