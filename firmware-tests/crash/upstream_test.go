package crash

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// One node of a cluster of three is killed again and again, under load, and comes back: what
// the cluster has acknowledged is on the other two, and nothing is lost or late, at QoS 1 or 2.
// The bridge goes to the next node meanwhile. That may not have its session, and then what was
// in flight may come twice at QoS 2 as well. The node that leads is spared; the README says
// why, and why this is nats-server and neither Mosquitto nor RabbitMQ.
func TestUpstreamKilled(t *testing.T) {
	random := rand.New(rand.NewPCG(plant.Seed(t), 6))
	cluster, err := rig.StartCluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Kill)
	for _, n := range cluster.Nodes { // they listen before they serve
		plant.Await(t, func() string {
			if _, err := device.Visit(n.MQTT, "visitor", codec.V311); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	head, others := cluster.Nodes[0], cluster.Nodes[1:]
	gateway := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+others[0].MQTT+",mqtt://"+others[1].MQTT,
		"SLUICE_BRIDGE_0_PRESET=nats", "SLUICE_BRIDGE_0_UP=plant/# 2", "SLUICE_BRIDGE_0_FAILBACK=2s")
	plant.AwaitLog(t, gateway, 1, plant.Connected)
	players := plant.NewPlayers(t)
	players.Consumer("center", head.MQTT, "plant/#", codec.V311)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := head.LeadAll(ctx); err != nil {
		t.Fatal(err)
	}
	players.Fleet(8, func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = gateway.Addr, "plant", 5*time.Millisecond, window
	})
	for kill := range max(2, *kills/5) {
		time.Sleep(time.Second + time.Duration(random.Int64N(int64(2*time.Second))))
		node := others[kill%2] // first the one that the bridge prefers
		node.Kill()
		time.Sleep(time.Duration(random.Int64N(int64(longest))))
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	players.Settle(4 * drainLimit)
	if n := strings.Count(gateway.Log.String(), plant.Connected); n < 2 {
		t.Errorf("the bridge connected %d times: it was not at a node that was killed", n)
	}
	promised := byte(2)
	if strings.Count(gateway.Log.String(), "session_present=false") > 1 { // the first is new anyway
		promised = 1
	}
	players.Judge(promised)
}
