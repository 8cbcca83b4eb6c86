package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sluice/codec"
)

// A link is a connection to each side, and the loops that relay between them.
//
// Who waits for whom: the up loop for room towards the upstream, the down loop
// for room towards the gateway, and that always drains. Neither loop waits to
// send an acknowledgement back.
type link struct {
	// Set once.
	*Bridge
	up      *upstream
	local   *wire
	window  window // of messages that came down
	inexact bool   // the upstream answers QoS 2 with PUBACK: no message at QoS 2 goes up
	alone   bool   // messages go up one at a time, until the upstream acknowledges them

	turn sync.Mutex // held by the up loop but while it waits; comes before mu

	// Guarded by turn.
	batches        batcher
	toUp, backDown []byte        // of this batch; backDown goes to the gateway
	upNow          time.Duration // since Bridge.start, when it was read
	upNames        *namer
	upHops         counter
	led            bool // there was a head
	begun          ids  // QoS 2 messages sent up on this link
	short          ids  // QoS 2 messages sent up at a lower QoS: their PUBREL is answered here

	// Owned by the down loop.
	toLocal, backUp []byte        // of this batch; backUp goes to the upstream
	downNow         time.Duration // since Bridge.start, when it was read
	told            int           // the window that the gateway has been told
	downNames       *namer
	downHops        counter
	localMaximum    uint32 // Maximum Packet Size of the gateway, 0: no limit
	declined        ids    // QoS 2 messages dropped: the upstream will release them

	owed owed // by the upstream

	pong    chan struct{} // the down loop to watch: a PINGRESP came
	cleared chan struct{} // closed when the gateway has answered all of clear
	ended   chan struct{} // closed when the link ends

	settling atomic.Bool // what goes up is to be finished, and nothing new begun

	mu         sync.Mutex // guards what follows, Bridge.received and unreleased.sent
	pace       pace
	head       head
	unfinished ids                 // QoS 2 messages that went up on this link
	releasing  ids                 // released by release, and not yet answered
	lowered    ids                 // QoS 2 messages that went up at QoS 1
	together   map[uint16][]uint16 // identifiers of the messages in a batch, 0 at QoS 0, by its own
	clearing   ids                 // released by clear or resolve, and not yet answered
	unclear    int                 // how many of them that the down loop waits for
	logged     map[*atomic.Int64]bool
}

var (
	errLeft    = errors.New("took leave")
	errStrange = errors.New("the upstream has a session of which this gateway knows nothing") // [MQTT-3.2.2-4]
)

func newLink(b *Bridge, up *upstream) *link {
	return &link{
		Bridge:    b,
		up:        up,
		owed:      owed{wake: make(chan struct{}, 1)},
		upNames:   newNamer(b.upNames, b.downNames),
		upHops:    counter{mark: b.mark},
		downNames: newNamer(b.downNames, b.upNames),
		pong:      make(chan struct{}, 1),
		cleared:   make(chan struct{}),
		ended:     make(chan struct{}),
		together:  map[uint16][]uint16{},
		logged:    map[*atomic.Int64]bool{},
	}
}

// connectLocal connects to the gateway's session, with the first window.
func (l *link) connectLocal(ctx context.Context) error {
	inexact := l.up.server.inexact
	l.inexact = time.Since(inexact) < askAgain
	l.alone = !inexact.IsZero() || l.suspect.times >= suspicious
	l.prepareBatches()
	l.pace = newPace(l.least(), int(l.up.receiveMaximum))
	if l.alone {
		l.pace.window = 1
	}
	l.told = l.pace.window
	rwc := l.cfg.Dial()
	stop := context.AfterFunc(ctx, func() { rwc.Close() })
	defer stop()
	l.local = newWire(rwc, codec.V5)
	ack, err := l.local.handshake(&codec.Connect{
		Version:        codec.V5,
		ClientID:       l.clientID,
		SessionExpiry:  never,
		ReceiveMaximum: uint16(l.told),
	})
	if err != nil {
		return err
	}
	if ack.Code >= 0x80 {
		return fmt.Errorf("refused: %v", ack.Code)
	}
	if l.strange = l.strange || !ack.SessionPresent; l.strange && l.up.sessionPresent {
		return errStrange
	}
	l.strange = false
	if !ack.SessionPresent {
		l.synchronised = false // and the gateway's is new no more when it has heard a word
	}
	l.synchronise()
	l.localMaximum = ack.MaximumPacketSize
	l.window.init(l.local, ack.ReceiveMaximum)
	l.clear()
	l.release()
	return nil
}

// release ends at the upstream, whose session is behind, the QoS 2 messages that
// it may wait to see released: it would take new ones with the same identifiers for
// these. If nobody knows which they are, it is all of them, once.
func (l *link) release() {
	s := l.up.server
	if !l.up.behind || l.up.maximumQoS < 2 {
		return
	}
	l.releasing = all()
	if s.unreleased.known {
		l.releasing = s.unreleased.sent
	}
	s.unreleased.sent, s.unreleased.known = ids{}, true
	var packets []byte
	for id := uint16(1); id != 0; id++ {
		if l.releasing.has(id) {
			l.owed.ask(l.up.wire)
			packets = (&codec.Pubrel{ID: id}).Append(packets, l.up.wire.version)
		}
	}
	l.up.wire.send(packets)
}

// isReleased reports whether the PUBCOMP answers a release by release.
func (l *link) isReleased(id uint16) bool {
	if !l.up.behind {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.releasing.has(id)
	l.releasing.remove(id)
	return was
}

// released notes, when the link has ended, what was not answered.
func (l *link) released() {
	if !l.up.behind {
		return
	}
	l.releasing.remove(0)
	if l.releasing == (ids{}) {
		l.lineage.caughtUp(l.up.server.name)
		for name, s := range l.servers { // the same session is there
			if s != l.up.server && s.unreleased == l.up.server.unreleased {
				l.lineage.shares(name)
			}
		}
	}
	for i := range l.releasing {
		l.up.server.unreleased.sent[i] |= l.releasing[i]
	}
}

// timed takes the first acknowledgement of a message at QoS 2.
func (l *link) timed(id uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ackedFirst(id)
}

// ackedFirst takes the first acknowledgement of a message. Called with mu held.
func (l *link) ackedFirst(id uint16) {
	l.pace.acked(id, l.downNow)
	if id == l.head.id {
		l.head = head{}
	}
}

// track notes that a QoS 2 message goes up, or is finished there.
func (l *link) track(id uint16, sent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !sent {
		l.pace.end(1)
	}
	l.up.server.unreleased.sent.set(id, sent)
	l.unfinished.set(id, sent)
}

// clear releases in the gateway the QoS 2 messages that an upstream session
// that is no more had brought down: the new one uses their identifiers for new
// messages, which the gateway would take for the old ones sent again. After a
// restart nobody knows which they are, so it is all of them, once. The down
// loop waits for the answers; if the link ends before, the next one begins anew.
func (l *link) clear() {
	if !l.stale || len(l.cfg.Down) == 0 {
		close(l.cleared)
		return
	}
	var packets []byte
	for id := uint16(1); id != 0; id++ {
		if !l.known || l.received.has(id) {
			l.clearing.add(id)
			l.unclear++
			packets = (&codec.Pubrel{ID: id}).Append(packets, l.local.version)
		}
	}
	if l.unclear == 0 {
		close(l.cleared)
	}
	l.local.send(packets)
}

// isCleared reports whether the PUBCOMP answers a release by clear or resolve.
func (l *link) isCleared(id uint16) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.clearing.has(id) {
		return false
	}
	l.clearing.remove(id)
	if l.unclear > 0 { // else it is of one that was in doubt
		if l.unclear--; l.unclear == 0 {
			close(l.cleared)
		}
	}
	return true
}

// waitCleared lets the down loop begin.
func (l *link) waitCleared() {
	select {
	case <-l.cleared:
		if l.stale {
			l.mu.Lock()
			l.received = ids{}
			l.mu.Unlock()
			l.doubtful, l.stale, l.known = ids{}, false, true
		}
	case <-l.ended:
	}
}

// run relays until either side ends, or ctx does.
func (l *link) run(ctx context.Context) error {
	const gateway, upstream = "gateway", "upstream"
	type end struct {
		side string
		err  error
	}
	ended := make(chan end, 9)
	var loops, writers sync.WaitGroup
	loops.Go(func() { ended <- end{gateway, l.upLoop()} })
	loops.Go(func() { ended <- end{upstream, l.downLoop()} })
	writers.Go(func() { ended <- end{gateway, l.local.write()} })
	writers.Go(func() { ended <- end{upstream, l.up.wire.write()} })
	watch, unwatch := context.WithCancel(ctx)
	loops.Go(func() { ended <- end{upstream, l.watch(watch)} })
	if l.up.rank > 0 && l.cfg.Failback > 0 {
		loops.Go(func() { ended <- end{upstream, l.failback(watch)} })
	}
	if l.cfg.Token != nil {
		loops.Go(func() { ended <- end{upstream, l.renew(watch)} })
	}
	loops.Go(func() { ended <- end{upstream, l.finish(watch)} })
	loops.Go(func() { l.write(watch) })
	first := <-ended
	err := from(first.side, first.err)
	fatal := l.up.wire.fatal()

	unwatch()
	close(l.ended)
	l.endBatches(err == errLeft || planned(err))
	l.window.close()
	l.local.leave(codec.NormalDisconnection)
	l.up.wire.leave(farewell(err))
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	select {
	case <-written:
	case <-time.After(time.Second):
	}
	l.close()
	<-written
	loops.Wait()
	l.released()
	if l.up.auto && first.side == upstream && err != errLeft && !planned(err) {
		l.learn(fatal)
	}
	return l.judge(first.side == upstream && mayReject(first.err), err)
}

// learn takes the silence before the connection was lost.
func (l *link) learn(fatal time.Duration) {
	q := &l.up.server.quiet
	q.survived(l.up.wire.survived())
	if q.lost(fatal) {
		l.log.Info("the line to the upstream does not survive silence for so long", "server", l.up.server.name,
			"silence", fatal.Round(time.Second), "survives", max(q.good, q.first).Round(time.Second), "longer_again_in", q.wait)
	}
}

// from says whose fault err is.
func from(side string, err error) error {
	switch {
	case err == nil || err == errLeft:
		return errLeft
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s closed the connection", side)
	case err == errInexact:
		return err
	}
	return fmt.Errorf("%s: %w", side, err)
}

// farewell returns the reason code with which to leave the upstream.
func farewell(err error) codec.ReasonCode {
	var broken *codec.Error
	if errors.As(err, &broken) {
		return broken.Code
	}
	return codec.NormalDisconnection
}

// count counts what should not happen, and logs the first of its kind on each
// link.
func (l *link) count(n *atomic.Int64, what string, attrs ...any) {
	n.Add(1)
	l.mu.Lock()
	first := !l.logged[n]
	l.logged[n] = true
	l.mu.Unlock()
	if first {
		l.log.Warn(what, append(attrs, "more", "counted only")...)
	}
}

// close closes both connections.
func (l *link) close() {
	l.up.wire.rwc.Close()
	if l.local != nil {
		l.local.rwc.Close()
	}
}
