package crash

import (
	"context"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

// When the last message has been published, nothing may wait for another to come:
// all is delivered and acknowledged. The delays of the consumer's line put its
// acknowledgements before, into and after the commit that they can make needless.
func TestQuietAfterLoad(t *testing.T) {
	gateway := startGateway(t)
	line, err := rig.NewProxy(gateway.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var players sync.WaitGroup
	defer players.Wait()
	defer cancel()
	consumer, _ := consumers(line.Addr)
	players.Go(func() { consumer.Run(ctx) })
	<-consumer.Subscribed()

	for round, delay := range []time.Duration{0, 200, 500, 500, 500, 1000, 2000, 5000} {
		delay *= time.Microsecond
		line.Slow(delay)
		fleet := device.Fleet(20, func(s *device.Sensor) {
			s.Source.Sensor += 100 * round
			s.Addr, s.Topic, s.Interval, s.Window = gateway.Addr, "plant", 20*time.Millisecond, window
			s.Version, s.Ledgers = codec.V5, []*device.Ledger{consumer.Ledger}
		})
		round, leave := context.WithCancel(ctx)
		for _, s := range fleet {
			players.Go(func() { s.Run(round) })
		}
		time.Sleep(300 * time.Millisecond)
		if err := device.Drain(ctx, 5*time.Second, fleet, consumer.Ledger); err != nil {
			t.Errorf("with a line of %s: %v", delay, err)
		}
		leave()
	}
	for qos := byte(1); qos <= 2; qos++ {
		count := consumer.Ledger.Count(qos)
		t.Logf("QoS %d: %s", qos, count)
		if err := count.Broken(qos); err != nil {
			t.Error(err)
		}
	}
}
