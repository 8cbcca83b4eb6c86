package abuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/firmware-tests/wire"
)

// patience is how long an answer that must come may take.
const patience = 30 * time.Second

// client is a connection in MQTT, over TCP or whatever else carries bytes.
type client struct {
	net.Conn
	version byte
}

// join connects a client with a clean session.
func join(addr, id string, version byte) (*client, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	c := &client{nc, version}
	if err := c.greet(id); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// greet sends CONNECT and wants to be accepted.
func (c *client) greet(id string) error {
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	if _, err := c.Write(wire.Connect{Version: c.version, ID: id, Clean: true}.Bytes()); err != nil {
		return err
	}
	p, err := c.next()
	if err == nil && (p.Type != wire.CONNACK || p.Code() != 0) {
		err = fmt.Errorf("%v for CONNECT", p)
	}
	return err
}

// subscribe wants the subscriptions granted.
func (c *client) subscribe(qos byte, filters ...string) error {
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	if _, err := c.Write(wire.Subscribe(c.version, 1, qos, filters...)); err != nil {
		return err
	}
	for { // messages may come before, as others publish
		p, err := c.next()
		switch {
		case err != nil:
			return err
		case p.Type != wire.SUBACK:
		case slices.Max(p.Codes) > 2:
			return fmt.Errorf("%v for SUBSCRIBE", p)
		default:
			return nil
		}
	}
}

func (c *client) next() (*wire.Read, error) { return wire.Next(c.Conn, c.version, true) }

// The steady load: a pair is a publisher and its subscriber.
const (
	pairs = 10
	every = 20 * time.Millisecond // a message of each
)

// site is the clients that behave. They publish numbered messages at a steady rate,
// half of them at QoS 1, and note when each arrives.
type site struct {
	stop    chan struct{}
	working sync.WaitGroup
	pairs   []*pair

	mu        sync.Mutex
	latencies []time.Duration // from when a message was due to its arrival
	faults    []error
}

type pair struct {
	*site
	name     string
	qos      byte
	pub, sub *client
	sent     atomic.Uint32
	acked    atomic.Uint32
	arrived  atomic.Uint32
	ends     sync.WaitGroup // of those who read
}

// open lets the site begin.
func open(addr string) (*site, error) {
	s := &site{stop: make(chan struct{})}
	for i := range pairs {
		p := &pair{site: s, name: fmt.Sprintf("well-behaved/%d", i), qos: byte(i % 2)}
		version := wire.V311 + byte(i/2%2)
		var err [3]error
		p.pub, err[0] = join(addr, fmt.Sprintf("pub%d", i), version)
		p.sub, err[1] = join(addr, fmt.Sprintf("sub%d", i), version)
		if err[0] == nil && err[1] == nil {
			err[2] = p.sub.subscribe(p.qos, p.name)
		}
		if err := errors.Join(err[:]...); err != nil {
			s.close()
			return nil, err
		}
		s.pairs = append(s.pairs, p)
		p.ends.Go(p.receive)
		p.ends.Go(p.acknowledged)
		s.working.Go(p.publish)
	}
	return s, nil
}

// publish sends a message whenever one is due.
func (p *pair) publish() {
	for due := time.Now(); ; due = due.Add(every) {
		select {
		case <-p.stop:
			return
		case <-time.After(time.Until(due)):
		}
		n := p.sent.Add(1)
		payload := binary.BigEndian.AppendUint64(nil, uint64(due.UnixNano()))
		payload = binary.BigEndian.AppendUint32(payload, n)
		m := wire.Publish{Topic: p.name, QoS: p.qos, ID: uint16(n%60_000) + 1, Payload: string(payload)}
		p.pub.SetWriteDeadline(time.Now().Add(patience))
		if _, err := p.pub.Write(m.Bytes(p.pub.version)); err != nil {
			p.fault("publishing: %v", err)
			return
		}
	}
}

// acknowledged reads what the publisher gets.
func (p *pair) acknowledged() {
	for {
		r, err := p.pub.next()
		if err != nil {
			p.ended("publisher", err)
			return
		}
		n := p.acked.Add(1)
		if r.Type != wire.PUBACK || r.ID != uint16(n%60_000)+1 || r.Code() != 0 {
			p.fault("acknowledgement %d is %v", n, r)
		}
	}
}

// receive reads what the subscriber gets: every message once, in order.
func (p *pair) receive() {
	for {
		r, err := p.sub.next()
		if err != nil {
			p.ended("subscriber", err)
			return
		}
		n := p.arrived.Add(1)
		if r.Type != wire.PUBLISH || r.Topic != p.name || r.QoS != p.qos || r.Dup || len(r.Payload) != 12 ||
			binary.BigEndian.Uint32([]byte(r.Payload[8:])) != n {
			p.fault("arrival %d is %v", n, r)
			continue
		}
		due := time.Unix(0, int64(binary.BigEndian.Uint64([]byte(r.Payload))))
		p.mu.Lock()
		p.latencies = append(p.latencies, time.Since(due))
		p.mu.Unlock()
		if r.QoS == 1 {
			p.sub.Write(wire.Ack(wire.PUBACK, r.ID)) // the next read tells if it failed
		}
	}
}

// ended notes the end of a connection, unless the site ended it.
func (p *pair) ended(who string, err error) {
	if !errors.Is(err, net.ErrClosed) {
		p.fault("the %s lost its connection: %v", who, err)
	}
}

func (p *pair) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) < 10 {
		p.faults = append(p.faults, fmt.Errorf("%s, QoS %d: %w", p.name, p.qos, fmt.Errorf(format, args...)))
	}
}

// take returns the latencies since it was called last, the shortest first.
func (s *site) take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.latencies
	s.latencies = nil
	slices.Sort(l)
	return l
}

// close ends the site once all that was sent has come, and tells what went wrong.
func (s *site) close() error {
	close(s.stop)
	s.working.Wait()
	for deadline := time.Now().Add(patience); !s.complete() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for _, p := range s.pairs {
		if sent, acked, arrived := p.sent.Load(), p.acked.Load(), p.arrived.Load(); !p.complete() {
			p.fault("%d sent, %d acknowledged, %d arrived", sent, acked, arrived)
		}
		p.pub.Close()
		p.sub.Close()
		p.ends.Wait()
	}
	return errors.Join(s.faults...)
}

func (s *site) complete() bool {
	return !slices.ContainsFunc(s.pairs, func(p *pair) bool { return !p.complete() })
}

func (p *pair) complete() bool {
	n := p.sent.Load()
	return p.arrived.Load() == n && p.acked.Load() == n*uint32(p.qos)
}

// percentile of sorted latencies.
func percentile(l []time.Duration, percent int) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[(len(l)-1)*percent/100]
}

// swallow reads all that comes, and gives it away.
func swallow(c io.Reader) { io.Copy(io.Discard, c) }
