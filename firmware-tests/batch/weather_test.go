package batch

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
)

var breaks = flag.Int("breaks", 9, "how often something is cut or killed")

// Everything acknowledged arrives, in order, and at QoS 2 once, while the line is cut
// and both gateways are killed with batches half made and under way.
func TestNothingIsLost(t *testing.T) {
	const longest = 600 * time.Millisecond
	random := rand.New(rand.NewPCG(plant.Seed(t), 0))
	center := plant.Gateway(t, "SLUICE_BATCHES=true")
	line := plant.Line(t, center.Addr)
	site := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2 batch=50ms")
	players := plant.NewPlayers(t)
	players.Consumer("center", center.Addr, "plant/#", codec.V5)
	players.Fleet(16, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = site.Addr, "plant", 3*time.Millisecond, 100
	})
	for n := range *breaks {
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		switch n % 3 {
		case 0:
			line.Cut()
			line.Heal()
		case 1:
			plant.Restart(t, site)
		case 2:
			plant.Restart(t, center)
		}
	}
	players.Settle(time.Minute)
	players.Judge(2)
}

// A server that knows nothing of batches carries them to a gateway that does.
func TestThroughAnotherServer(t *testing.T) {
	between := plant.Mosquitto(t)
	center := plant.Gateway(t, "SLUICE_BATCHES=true", "SLUICE_BRIDGE_0_URL=mqtt://"+between.Addr, "SLUICE_BRIDGE_0_CLIENT_ID=center", "SLUICE_BRIDGE_0_DOWN=site7/# 1")
	site := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+between.Addr, "SLUICE_BRIDGE_0_CLIENT_ID=site",
		"SLUICE_BRIDGE_0_UP=sensors/# 1 batch=20ms", "SLUICE_BRIDGE_0_UP_PREFIX=site7/", "SLUICE_BRIDGE_0_BATCH_UNASKED=true")
	plant.AwaitLog(t, center, 1, plant.Connected)
	plant.AwaitLog(t, site, 1, plant.Connected)
	sub, pub := dial(t, center.Addr, "sub"), dial(t, site.Addr, "pub")
	sub.send((&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("#")}}}).Append(nil, codec.V5))
	sub.next()
	random, values := rand.New(rand.NewPCG(1, 1)), new([devices]float64)
	for i := range 100 {
		want := reading(random, i, values)
		pub.send(want.Append(nil, codec.V5))
		got, ok := sub.next().(*codec.Publish)
		if !ok || string(got.Topic) != "site7/"+string(want.Topic) || string(got.Payload) != string(want.Payload) {
			t.Fatalf("message %d is %+v, want %s", i, got, want.Payload)
		}
	}
}
