package device

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"sluice/codec"
)

// Consumer notes in its ledger what arrives, with a QoS 2 subscription and a
// session that outlives its connections.
type Consumer struct {
	// Set before Run.
	Name    string // client identifier
	Addr    string
	Filter  string
	Version codec.Version
	Ledger  *Ledger

	Arrivals, Connections, LostSessions atomic.Int64

	// Owned by Run.
	held map[uint16]bool // QoS 2 identifiers between PUBREC and PUBREL [MQTT-4.3.3-10]

	mu         sync.Mutex
	subscribed chan struct{} // closed at the first SUBACK; guarded by mu until made
}

// Subscribed is closed once the server has the subscription.
func (c *Consumer) Subscribed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribed == nil {
		c.subscribed = make(chan struct{})
	}
	return c.subscribed
}

// Run connects, receives and reconnects until ctx ends. It may be called again
// later: the session goes on.
func (c *Consumer) Run(ctx context.Context) {
	if c.held == nil {
		c.held = map[uint16]bool{}
	}
	for ctx.Err() == nil {
		if err := c.session(ctx); err != nil {
			pause(ctx, retryDelay)
		}
	}
}

// session is one connection from CONNECT to its end.
func (c *Consumer) session(ctx context.Context) error {
	l, connack, err := dial(c.Addr, c.Name, c.Version)
	if err != nil {
		return err
	}
	defer l.close()
	c.Connections.Add(1)
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	if !connack.SessionPresent {
		select {
		case <-c.Subscribed():
			c.LostSessions.Add(1)
		default:
		}
		clear(c.held)
		l.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte(c.Filter), QoS: 2}}})
	}
	for {
		if err := l.flush(); err != nil {
			return err
		}
		for more := true; more; more = l.more() {
			p, err := l.next()
			if err != nil {
				return err
			}
			if err := c.receive(l, p); err != nil {
				return err
			}
		}
	}
}

func (c *Consumer) receive(l *link, p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Publish:
		return c.arrived(l, p)
	case *codec.Pubrel:
		delete(c.held, p.ID)
		l.send(&codec.Pubcomp{ID: p.ID})
		return nil
	case *codec.Suback:
		if p.Codes[0] >= 0x80 {
			return fmt.Errorf("subscription refused: %v", p.Codes[0])
		}
		select {
		case <-c.Subscribed():
		default:
			close(c.subscribed)
		}
		return nil
	case *codec.Disconnect:
		return fmt.Errorf("the server disconnects: %v", p.Code)
	}
	return errUnexpected
}

// arrived notes a message once, and acknowledges it.
func (c *Consumer) arrived(l *link, p *codec.Publish) error {
	var s Source
	var n int
	if _, err := fmt.Sscanf(string(p.Payload), "%d %d %d", &s.Sensor, &s.QoS, &n); err != nil {
		return fmt.Errorf("payload %q: %w", p.Payload, err)
	}
	switch {
	case p.QoS == 2 && c.held[p.ID]:
		l.send(&codec.Pubrec{ID: p.ID})
		return nil
	case p.QoS == 2:
		c.held[p.ID] = true
		l.send(&codec.Pubrec{ID: p.ID})
	case p.QoS == 1:
		l.send(&codec.Puback{ID: p.ID})
	}
	c.Ledger.Arrived(s, n)
	c.Arrivals.Add(1)
	return nil
}
