package crash

import (
	"math/rand/v2"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/plant"
)

// Through a bridge, too, everything acknowledged arrives, in order, and at QoS 2
// once: the gateway is killed while its bridge is in the middle of handshakes, and
// the line is cut now and then. The upstream keeps its sessions.
func TestKilledBehindBridge(t *testing.T) {
	random := rand.New(rand.NewPCG(plant.Seed(t), 1))
	upstream := plant.Mosquitto(t, "max_inflight_messages 0")
	line := plant.Line(t, upstream.Addr)
	gateway := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP=plant/# 2")
	players := plant.NewPlayers(t)
	players.Consumer("center", upstream.Addr, "plant/#", codec.V5)
	players.Fleet(sensors, at(gateway))
	for kill := range *kills {
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		if kill%3 == 2 {
			line.Cut()
			line.Heal()
			time.Sleep(time.Duration(random.Int64N(int64(longest))))
		}
		plant.Restart(t, gateway)
	}
	players.Settle(drainLimit)
	judge(t, players)
}
