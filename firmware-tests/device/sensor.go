package device

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/codec"
)

// retryDelay is the pause between two attempts to connect.
const retryDelay = 20 * time.Millisecond

// Sensor publishes numbered messages at QoS 1 or 2 to TOPIC/qosQ/NN.
type Sensor struct {
	// Set before Run.
	Source   Source
	Addr     string // the gateway's
	Topic    string // prefix
	Version  codec.Version
	Window   int           // unfinished messages at a time
	Interval time.Duration // between two messages; 0 for as many as the window lets through
	Ledgers  []*Ledger     // one for each consumer

	Acked, Connections, LostSessions atomic.Int64

	// Guarded by mu.
	mu       sync.Mutex
	link     *link // nil while disconnected
	stopped  bool
	due      int // messages that may be published by now, if Interval is set
	numbered int
	flying   []flight // in the order of their numbers
}

// flight is a message whose handshake is unfinished.
type flight struct {
	n        int
	received bool // PUBREC came: what is resent is PUBREL
}

// id is the packet identifier of message n: never in use twice, as the window
// is far smaller than their number.
func (f flight) id() uint16 { return uint16((f.n-1)%65535) + 1 }

// Run connects, publishes and reconnects until ctx ends.
func (s *Sensor) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.hangUp)
	defer stop()
	if s.Interval > 0 {
		go s.tick(ctx)
	}
	for ctx.Err() == nil {
		if err := s.session(ctx); err != nil {
			pause(ctx, retryDelay)
		}
	}
}

// Stop ends numbering new messages. What is unfinished goes on.
func (s *Sensor) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// Unfinished lists the messages sent and not acknowledged to the end.
func (s *Sensor) Unfinished() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, f := range s.flying {
		waits := "PUBACK"
		if f.received {
			waits = "PUBCOMP"
		} else if s.Source.QoS == 2 {
			waits = "PUBREC"
		}
		list = append(list, fmt.Sprintf("sensor %d (%v) waits for %s of message %d", s.Source.Sensor, s.Version, waits, f.n))
	}
	return list
}

func (s *Sensor) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		s.link.close()
	}
}

func (s *Sensor) tick(ctx context.Context) {
	t := time.NewTicker(s.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.mu.Lock()
			s.due++
			if s.link != nil {
				s.publish()
				_ = s.link.flush() // the reader notices a broken connection
			}
			s.mu.Unlock()
		}
	}
}

// session is one connection from CONNECT to its end.
func (s *Sensor) session(ctx context.Context) error {
	l, connack, err := dial(s.Addr, s.clientID(), s.Version)
	if err != nil {
		return err
	}
	defer l.close()
	s.Connections.Add(1)
	s.begin(l, connack.SessionPresent)
	defer func() {
		s.mu.Lock()
		s.link = nil
		s.mu.Unlock()
	}()
	if ctx.Err() != nil {
		return ctx.Err() // hangUp may have come before begin
	}
	for {
		p, err := l.next()
		if err != nil {
			return err
		}
		if err := s.receive(p, !l.more()); err != nil {
			return err
		}
	}
}

// begin takes a connection into use and resends what is unfinished
// [MQTT-4.4.0-1]. Without a session at the server, a PUBREL has lost its
// meaning, but what was acknowledged stays so.
func (s *Sensor) begin(l *link, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = l
	if !present && s.Acked.Load() > 0 {
		s.LostSessions.Add(1)
	}
	for _, f := range s.flying {
		if f.received {
			l.send(&codec.Pubrel{ID: f.id()})
		} else {
			l.send(s.message(f, true))
		}
	}
	s.publish()
	_ = l.flush() // the reader notices a broken connection
}

// publish sends new messages while there is room. The caller holds mu and
// flushes.
func (s *Sensor) publish() {
	for !s.stopped && len(s.flying) < s.Window && (s.Interval == 0 || s.due > 0) {
		s.due = max(0, s.due-1)
		s.numbered++
		f := flight{n: s.numbered}
		s.flying = append(s.flying, f)
		s.link.send(s.message(f, false))
	}
}

func (s *Sensor) message(f flight, dup bool) *codec.Publish {
	return &codec.Publish{
		Dup: dup,
		ID:  f.id(),
		Message: codec.Message{
			Topic:   fmt.Appendf(nil, "%s/qos%d/%02d", s.Topic, s.Source.QoS, s.Source.Sensor),
			Payload: fmt.Appendf(nil, "%d %d %d", s.Source.Sensor, s.Source.QoS, f.n),
			QoS:     s.Source.QoS,
		},
	}
}

// receive takes one packet of the gateway's; last if no other has come yet.
func (s *Sensor) receive(p codec.Packet, last bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch p := p.(type) {
	case *codec.Puback:
		err = s.acknowledged(p.ID, p.Code, true)
	case *codec.Pubrec:
		if err = s.acknowledged(p.ID, p.Code, false); err == nil {
			s.link.send(&codec.Pubrel{ID: p.ID})
		}
	case *codec.Pubcomp:
		s.finish(p.ID)
	case *codec.Disconnect:
		err = fmt.Errorf("the gateway disconnects: %v", p.Code)
	default:
		err = errUnexpected
	}
	if err != nil || !last {
		return err
	}
	s.publish()
	return s.link.flush()
}

// acknowledged notes the promise. One that is refused stays in flight: it is
// sent again on the next connection.
func (s *Sensor) acknowledged(id uint16, code codec.ReasonCode, finished bool) error {
	i := s.find(id)
	if code >= 0x80 {
		if i >= 0 {
			for _, l := range s.Ledgers {
				l.Refused(s.Source, s.flying[i].n)
			}
		}
		return fmt.Errorf("message refused: %v", code)
	}
	if i < 0 {
		return nil // a repetition of what is finished
	}
	f := &s.flying[i]
	if !f.received {
		for _, l := range s.Ledgers {
			l.Acknowledged(s.Source, f.n)
		}
		s.Acked.Add(1)
	}
	f.received = true
	if finished {
		s.finish(id)
	}
	return nil
}

func (s *Sensor) finish(id uint16) {
	if i := s.find(id); i >= 0 {
		s.flying = slices.Delete(s.flying, i, i+1)
	}
}

// find is the place of a message in flying, negative if it is not there.
func (s *Sensor) find(id uint16) int {
	return slices.IndexFunc(s.flying, func(f flight) bool { return f.id() == id })
}

func (s *Sensor) clientID() string {
	return fmt.Sprintf("sensor-%d-%02d", s.Source.QoS, s.Source.Sensor)
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
