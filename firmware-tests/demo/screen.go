package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"sluice/firmware-tests/device"
)

// plainEvery is the time between two lines of figures where nobody can see one
// line change.
const plainEvery = 5 * time.Second

// screen shows progress: what happens, each on a line of its own, and under it
// one line of figures that changes in place on a terminal.
type screen struct {
	// Set once by newScreen.
	out   *os.File
	live  bool
	begun time.Time

	// Guarded by mu.
	mu      sync.Mutex
	figures string
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, live: err == nil && info.Mode()&os.ModeCharDevice != 0, begun: time.Now()}
}

// say prints an event.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.stamp() + fmt.Sprintf(format, args...)
	if s.live {
		fmt.Fprintf(s.out, "\r\x1b[K%s\n%s", line, s.figures)
	} else {
		fmt.Fprintln(s.out, line)
	}
}

// follow shows the ledger's figures until ctx ends.
func (s *screen) follow(ctx context.Context, ledger *device.Ledger) {
	every := plainEvery
	if s.live {
		every = 200 * time.Millisecond
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.show("")
			return
		case <-t.C:
			one, two := ledger.Count(1), ledger.Count(2)
			s.show(fmt.Sprintf("%sacknowledged %6d   arrived %6d   under way %5d", s.stamp(),
				one.Acknowledged+two.Acknowledged, one.Arrived+two.Arrived, one.Lost+two.Lost))
		}
	}
}

func (s *screen) show(figures string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures = figures
	switch {
	case s.live:
		fmt.Fprintf(s.out, "\r\x1b[K%s", figures)
	case figures != "":
		fmt.Fprintln(s.out, figures)
	}
}

func (s *screen) stamp() string {
	d := time.Since(s.begun)
	return fmt.Sprintf("%02d:%04.1f  ", int(d.Minutes()), (d % time.Minute).Seconds())
}
