package bridge

import (
	"cmp"
	"context"
	"errors"
	"time"

	"sluice/codec"
)

var errFailback = errors.New("an earlier server of the list is well again")

// planned reports whether the link ended because the bridge wanted to.
func planned(err error) bool {
	return errors.Is(err, errFailback) || errors.Is(err, errRenew) || errors.Is(err, errFinished)
}

// maxFailbacks is how many times longer than at first the bridge waits after it
// has gone back to servers that then did not accept.
const maxFailbacks = 64

// failback looks now and then, aside, whether a server before this one in the list
// is well, and then ends the link when nothing is under way.
func (l *link) failback(ctx context.Context) error {
	for {
		select {
		case <-time.After(l.cfg.Failback * time.Duration(max(1, l.failbacks))):
		case <-ctx.Done():
			return nil
		}
		for _, s := range l.home[:l.up.rank] {
			if err := l.well(ctx, s); err != nil {
				l.log.Debug("not well yet", "server", s.name, "error", err)
				continue
			}
			l.settle(ctx, l.cfg.AckTimeout)
			return errFailback
		}
	}
}

// well asks a server whether it takes clients, as another client than the bridge:
// as the same it would lose its connection, or its session.
func (b *Bridge) well(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	rwc, err := b.dial(ctx, s.url)
	if err != nil {
		return err
	}
	defer rwc.Close()
	stop := context.AfterFunc(ctx, func() { rwc.Close() })
	defer stop()
	w := newWire(rwc, cmp.Or(b.cfg.Version, s.version.ask(time.Now())))
	w.dec.Extended = b.extended(w.version)
	c := b.connectPacket(w.version)
	if c.Password, err = b.password(time.Now()); err != nil {
		return err
	}
	c.ClientID, c.CleanStart, c.SessionExpiry = append(c.ClientID, "-look"...), true, 0
	ack, err := w.handshake(c)
	if err != nil {
		return err
	}
	switch ack.Code {
	case codec.Success:
		rwc.Write((&codec.Disconnect{}).Append(nil, w.version))
	case codec.NotAuthorized, codec.ClientIdentifierNotValid, codec.BadUserNameOrPassword: // may be about that other client
	default:
		return &refusal{code: ack.Code}
	}
	return nil
}

// Finish has Run end once what is under way upwards is finished, or after some seconds:
// it is for who leaves an upstream, perhaps for good. What that has not seen released at
// QoS 2 it may keep for itself.
func (b *Bridge) Finish() { b.finishing.once.Do(func() { close(b.finishing.asked) }) }

// finished reports whether Finish was called.
func (b *Bridge) finished() bool {
	select {
	case <-b.finishing.asked:
		return true
	default:
		return false
	}
}

var errFinished = errors.New("the upstream is left")

// finish ends the link when that is asked for.
func (l *link) finish(ctx context.Context) error {
	select {
	case <-l.finishing.asked:
		l.settle(ctx, min(l.cfg.AckTimeout, 5*time.Second))
		return errFinished
	case <-ctx.Done():
		return nil
	}
}

// settle lets what is under way upwards be finished, as far as that is possible
// within limit: where the other server does not share the session, it would go up
// twice. New messages wait for the next link meanwhile.
func (l *link) settle(ctx context.Context, limit time.Duration) {
	l.settling.Store(true)
	l.hurry()
	for end := time.Now().Add(limit); time.Now().Before(end) && ctx.Err() == nil; {
		l.mu.Lock()
		finished := l.unfinished == ids{}
		l.mu.Unlock()
		if owes, _ := l.owed.pending(); !owes && finished {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
