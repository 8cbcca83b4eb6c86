package device

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sluice/codec"
)

// Fleet makes n sensors, half at QoS 1 and half at QoS 2, every other one
// speaking MQTT 5 and the rest 3.1.1. setup completes each.
func Fleet(n int, setup func(*Sensor)) []*Sensor {
	fleet := make([]*Sensor, n)
	for i := range fleet {
		s := &Sensor{Source: Source{Sensor: i + 1, QoS: byte(i%2) + 1}, Version: codec.V311}
		if i/2%2 == 1 {
			s.Version = codec.V5
		}
		setup(s)
		fleet[i] = s
	}
	return fleet
}

// Drain stops the fleet from numbering new messages, and waits until all its
// handshakes are finished and all that was acknowledged has arrived.
func Drain(ctx context.Context, limit time.Duration, fleet []*Sensor, ledgers ...*Ledger) error {
	for _, s := range fleet {
		s.Stop()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		unfinished, missing := 0, 0
		var examples []string
		for _, s := range fleet {
			list := s.Unfinished()
			unfinished += len(list)
			examples = append(examples, list...)
		}
		for _, l := range ledgers {
			list, total := l.Missing(5)
			missing += total
			examples = append(examples, list...)
		}
		if unfinished == 0 && missing == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %s: %d handshakes unfinished, %d acknowledged messages not arrived:\n\t%s",
				limit, unfinished, missing, strings.Join(examples[:min(10, len(examples))], "\n\t"))
		}
		pause(ctx, 20*time.Millisecond)
	}
}
