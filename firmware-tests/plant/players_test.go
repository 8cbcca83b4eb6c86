package plant

import (
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
)

// Devices that tell of a broker's faults must not make any of their own: against
// a broker whose line is cut again and again, every figure is right.
func TestDevicesOverABrokenLine(t *testing.T) {
	line := Line(t, Mosquitto(t, "max_inflight_messages 0").Addr)
	players := NewPlayers(t)
	consumer := players.Consumer("consumer", line.Addr, "field/#", codec.V5)
	players.Fleet(4, func(s *device.Sensor) { s.Addr, s.Topic, s.Window = line.Addr, "field", 20 })
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		line.Cut()
		line.Heal()
	}
	players.Settle(patience)
	players.Judge(2)
	for qos := byte(1); qos <= 2; qos++ {
		if n := consumer.Ledger.Count(qos).Acknowledged; n < 1000 {
			t.Errorf("QoS %d: %d messages only", qos, n)
		}
	}
	if n := consumer.Connections.Load(); n < 6 {
		t.Errorf("%d connections of the consumer", n)
	}
}
