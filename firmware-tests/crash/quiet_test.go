package crash

import (
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
)

// When the last message has been published, nothing may wait for another to come:
// all is delivered and acknowledged. The delays of the consumer's line put its
// acknowledgements before, into and after the commit that they can make needless.
func TestQuietAfterLoad(t *testing.T) {
	gateway := plant.Gateway(t)
	line := plant.Line(t, gateway.Addr)
	players := plant.NewPlayers(t)
	consumer := players.Consumer("online", line.Addr, "plant/#", codec.V5)
	for _, delay := range []time.Duration{0, 200, 500, 500, 500, 1000, 2000, 5000} {
		delay *= time.Microsecond
		line.Slow(delay)
		fleet := players.Fleet(20, func(s *device.Sensor) {
			s.Addr, s.Topic, s.Interval, s.Window, s.Version = gateway.Addr, "plant", 20*time.Millisecond, window, codec.V5
		})
		time.Sleep(300 * time.Millisecond)
		if err := device.Drain(t.Context(), 5*time.Second, fleet, consumer.Ledger); err != nil {
			t.Errorf("with a line of %s: %v", delay, err)
		}
	}
	players.Judge(2)
}
