package device

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/rig"
)

func TestLedgerCounts(t *testing.T) {
	s := Source{Sensor: 3, QoS: 2}
	tests := []struct {
		name     string
		acked    []int
		arrivals []int
		want     Count
	}{
		{"all in order", []int{1, 2, 3}, []int{1, 2, 3}, Count{Acknowledged: 3, Arrived: 3}},
		{"one lost", []int{1, 2, 3}, []int{1, 3}, Count{Acknowledged: 3, Arrived: 2, Lost: 1}},
		{"not promised, not lost", []int{1}, []int{1}, Count{Acknowledged: 1, Arrived: 1}},
		{"arrived before its acknowledgement", nil, []int{1}, Count{Arrived: 1}},
		{"twice", []int{1, 2}, []int{1, 2, 1, 2}, Count{Acknowledged: 2, Arrived: 2, Duplicated: 2}},
		{"late", []int{1, 2, 3}, []int{1, 3, 2}, Count{Acknowledged: 3, Arrived: 3, Misordered: 1}},
		{"late and twice", []int{1, 2}, []int{2, 1, 1}, Count{Acknowledged: 2, Arrived: 2, Duplicated: 1, Misordered: 1}},
	}
	for _, test := range tests {
		var l Ledger
		for _, n := range test.acked {
			l.Acknowledged(s, n)
		}
		for _, n := range test.arrivals {
			l.Arrived(s, n)
		}
		if got := l.Count(2); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if got := l.Count(1); got != (Count{}) {
			t.Errorf("%s: counted at another QoS: %s", test.name, got)
		}
	}
}

// Devices that tell of a broker's faults must not make any of their own: against
// a broker whose line is cut again and again, every figure is right.
func TestDevicesOverABrokenLine(t *testing.T) {
	broker, err := rig.StartMosquitto(t.TempDir(), "max_inflight_messages 0")
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer broker.Kill()
	line, err := rig.NewProxy(broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()

	var ledger Ledger
	consumer := &Consumer{Name: "consumer", Addr: line.Addr, Filter: "field/#", Version: codec.V5, Ledger: &ledger}
	fleet := Fleet(4, func(s *Sensor) {
		s.Addr, s.Topic, s.Window, s.Ledgers = line.Addr, "field", 20, []*Ledger{&ledger}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { consumer.Run(ctx) })
	<-consumer.Subscribed()
	for _, s := range fleet {
		wg.Go(func() { s.Run(ctx) })
	}
	for range 10 {
		time.Sleep(100 * time.Millisecond)
		line.Cut()
		line.Heal()
	}
	if err := Drain(ctx, 20*time.Second, fleet, &ledger); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	for qos := byte(1); qos <= 2; qos++ {
		count := ledger.Count(qos)
		t.Logf("QoS %d: %s", qos, count)
		if err := count.Broken(qos); err != nil {
			t.Error(err)
		}
		if count.Acknowledged < 1000 {
			t.Errorf("QoS %d: %d messages only", qos, count.Acknowledged)
		}
	}
	if consumer.Connections.Load() < 6 || consumer.LostSessions.Load() > 0 {
		t.Errorf("consumer: %d connections, %d sessions lost", consumer.Connections.Load(), consumer.LostSessions.Load())
	}
}
