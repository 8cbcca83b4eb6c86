package bridge

import (
	"context"
	"errors"
)

var errPaused = errors.New("paused")

// Pause has the bridge take leave of its upstream and stay away until Resume. What is to go
// up waits in the gateway, what is to come down with the upstream. When the bridge has
// left, Config.Changed is called. by is who wants that, for the log.
func (b *Bridge) Pause(by string) {
	b.mu.Lock()
	b.status.Paused, b.pausedBy = true, by
	if b.interrupt != nil {
		b.interrupt()
	}
	b.mu.Unlock()
}

// Resume ends a pause. The bridge connects at once, also if it was not paused but
// waited for its next attempt.
func (b *Bridge) Resume() {
	b.mu.Lock()
	b.status.Paused = false
	b.mu.Unlock()
	select {
	case b.resumed <- struct{}{}:
	default:
	}
	b.cfg.Changed()
}

// unpaused waits until the bridge is not paused, and returns a context for connecting
// once, and the wait after it, which ends with a pause. It is nil if ctx has ended.
func (b *Bridge) unpaused(ctx context.Context) (context.Context, context.CancelFunc) {
	for {
		b.mu.Lock()
		if !b.status.Paused {
			defer b.mu.Unlock()
			ctx, b.interrupt = context.WithCancel(ctx)
			return ctx, b.interrupt
		}
		b.mu.Unlock()
		b.cfg.Changed()
		select {
		case <-b.resumed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}
