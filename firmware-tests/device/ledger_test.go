package device

import "testing"

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

func TestRefusedHasNoPlace(t *testing.T) {
	s := Source{Sensor: 3, QoS: 2}
	var l Ledger
	l.Refused(s, 1)
	for n := 4; n > 0; n-- { // 4, 3, 2, 1
		l.Acknowledged(s, n)
		l.Arrived(s, n)
	}
	if got, want := l.Count(2), (Count{Acknowledged: 4, Arrived: 4, Misordered: 2}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
