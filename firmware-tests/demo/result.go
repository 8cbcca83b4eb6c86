package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sluice/firmware-tests/device"
)

// result is the count at the end.
type result struct {
	Seconds      float64      `json:"seconds"`
	QoS1         device.Count `json:"qos1"`
	QoS2         device.Count `json:"qos2"`
	Reconnects   int64        `json:"sensor_reconnects"`
	LostSessions int64        `json:"sensor_sessions_lost"`
	Consumer     int64        `json:"consumer_reconnects"` // at the cluster
}

func (s *stage) count(d time.Duration) *result {
	r := &result{Seconds: d.Seconds(), QoS1: s.ledger.Count(1), QoS2: s.ledger.Count(2)}
	for _, d := range s.fleet {
		r.Reconnects += d.Connections.Load() - 1
		r.LostSessions += d.LostSessions.Load()
	}
	r.Consumer = s.consumer.Connections.Load() - 1
	return r
}

// broken says which promises do not hold.
func (r *result) broken() error {
	var lost error
	if r.LostSessions > 0 {
		lost = fmt.Errorf("the gateway has forgotten %d sessions", r.LostSessions)
	}
	return errors.Join(r.QoS1.Broken(1), r.QoS2.Broken(2), lost)
}

func (r *result) print(w io.Writer) error {
	row := func(name string, one, two int, promise string) {
		fmt.Fprintf(w, "  %-14s %8d %8d   %s\n", name, one, two, promise)
	}
	fmt.Fprintf(w, "\nafter %.0f s:       QoS 1    QoS 2\n", r.Seconds)
	row("acknowledged", r.QoS1.Acknowledged, r.QoS2.Acknowledged, "")
	row("arrived", r.QoS1.Arrived, r.QoS2.Arrived, "")
	row("lost", r.QoS1.Lost, r.QoS2.Lost, "promised: 0")
	row("duplicated", r.QoS1.Duplicated, r.QoS2.Duplicated, "promised at QoS 2: 0")
	row("out of order", r.QoS1.Misordered, r.QoS2.Misordered, "promised: 0")
	verdict := "all promises held"
	if r.broken() != nil {
		verdict = "PROMISES WERE BROKEN"
	}
	_, err := fmt.Fprintf(w, "%s\n", verdict)
	return err
}

func (r *result) printJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		*result
		Held bool `json:"promises_held"`
	}{r, r.broken() == nil})
}
