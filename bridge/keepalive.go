package bridge

import (
	"context"
	"errors"
	"time"

	"sluice/codec"
)

var (
	errSilent = errors.New("nothing heard for one and a half keep alives")
	errNoPong = errors.New("PINGREQ not answered for one and a half keep alives")
)

// watch keeps the connection to the upstream alive, and finds out when it is
// dead. It sends PINGREQ when nothing went for three quarters of the keep alive,
// which on a slow line is still in time [MQTT-3.1.2-20], and also when nothing
// came: a line that takes everything may lead nowhere.
func (l *link) watch(ctx context.Context) error {
	w := l.up.wire
	idle, dead := l.up.keepAlive*3/4, l.up.keepAlive*3/2
	var asked time.Duration // when PINGREQ was sent that is not yet answered; 0: none
	for {
		now := time.Since(w.start)
		heard, said := time.Duration(w.heard.Load()), time.Duration(w.said.Load())
		switch {
		case now-heard >= dead:
			return errSilent
		case asked != 0 && now-asked >= dead:
			return errNoPong
		case asked == 0 && now-min(heard, said) >= idle:
			w.send((&codec.Pingreq{}).Append(nil, w.version))
			asked = now
		}
		next := heard + dead
		if asked != 0 {
			next = min(next, asked+dead)
		} else {
			next = min(next, min(heard, said)+idle)
		}
		select {
		case <-time.After(next - now):
		case <-l.pong:
			asked = 0
		case <-ctx.Done():
			return nil
		}
	}
}
