package crash

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

var kills = flag.Int("kills", 10, "how often the gateway is killed")

const (
	sensors    = 16
	interval   = 4 * time.Millisecond // between two messages of a sensor
	window     = 40                   // unfinished messages of a sensor
	longest    = 900 * time.Millisecond
	visitEvery = 5 // kills between two visits of the consumer that is mostly away
	drainLimit = 30 * time.Second
)

// at makes sensors of a gateway.
func at(gateway *rig.Gateway) func(*device.Sensor) {
	return func(s *device.Sensor) {
		s.Addr, s.Topic, s.Interval, s.Window = gateway.Addr, "plant", interval, window
	}
}

// Sessions of both versions survive, and of one that stays as of one that is mostly away.
func TestKilledUnderLoad(t *testing.T) {
	random := rand.New(rand.NewPCG(plant.Seed(t), 0))
	gateway := plant.Gateway(t)
	players := plant.NewPlayers(t)
	players.Consumer("online", gateway.Addr, "plant/#", codec.V5)
	offline := &device.Consumer{Name: "offline", Addr: gateway.Addr, Filter: "plant/#", Version: codec.V311, Ledger: &device.Ledger{}}
	players.Consumers = append(players.Consumers, offline)
	leave := players.Play(offline.Run)
	players.Subscribed(offline)
	leave()
	players.Fleet(sensors, at(gateway))
	for kill := range *kills {
		leave := func() {}
		if kill%visitEvery == visitEvery-1 {
			leave = players.Play(offline.Run)
		}
		if err := killOnce(gateway, leave, kill, random); err != nil {
			t.Fatalf("kill %d: %v", kill+1, err)
		}
	}
	players.Play(offline.Run)
	players.Settle(drainLimit)
	judge(t, players)
}

// killOnce lets the gateway work for a random time and kills it; then a visitor leaves.
// Every fourth time it is killed while it starts.
func killOnce(gateway *rig.Gateway, leave func(), kill int, random *rand.Rand) error {
	alive := time.Duration(random.Int64N(int64(longest)))
	early := time.Duration(random.Int64N(int64(30 * time.Millisecond)))
	time.Sleep(alive)
	gateway.Kill()
	leave()
	if kill%4 == 3 {
		if err := gateway.Launch(); err != nil {
			return err
		}
		time.Sleep(early)
		gateway.Kill()
	}
	return gateway.Start()
}

func judge(t *testing.T, players *plant.Players) {
	players.Judge(2)
	for _, c := range players.Consumers {
		for qos := byte(1); qos <= 2; qos++ {
			if c.Ledger.Count(qos).Acknowledged < *kills*sensors {
				t.Errorf("%s: too little load to show anything", c.Name)
			}
		}
	}
}
