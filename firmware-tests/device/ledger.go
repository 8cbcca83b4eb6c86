package device

import (
	"fmt"
	"sync"
)

// Ledger compares what sensors were promised with what a consumer got. The
// zero value works, from several goroutines.
type Ledger struct {
	mu       sync.Mutex
	accounts map[Source]*account
}

// Source is the origin of a series of messages numbered from 1.
type Source struct {
	Sensor int
	QoS    byte
}

// account holds one source's messages; index n is message n, index 0 unused.
type account struct {
	acknowledged []bool
	refused      []bool // once at least
	arrivals     []uint16
	latest       int // highest number that has arrived
	misordered   int
}

func (l *Ledger) account(s Source, n int) *account {
	if l.accounts == nil {
		l.accounts = map[Source]*account{}
	}
	a := l.accounts[s]
	if a == nil {
		a = &account{}
		l.accounts[s] = a
	}
	for len(a.acknowledged) <= n {
		a.acknowledged = append(a.acknowledged, false)
		a.refused = append(a.refused, false)
		a.arrivals = append(a.arrivals, 0)
	}
	return a
}

// Acknowledged notes that the gateway has promised to deliver message n.
func (l *Ledger) Acknowledged(s Source, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(s, n).acknowledged[n] = true
}

// Refused notes that the gateway did not take message n, and said so. Its place is lost:
// those that were under way behind it may have been taken.
func (l *Ledger) Refused(s Source, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(s, n).refused[n] = true
}

// Arrived notes that message n has reached the consumer. A message counts as
// out of order if a later one of its source came before its first arrival; a
// repetition does not, nor what was refused before.
func (l *Ledger) Arrived(s Source, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(s, n)
	a.arrivals[n]++
	if a.arrivals[n] == 1 && n < a.latest && !a.refused[n] {
		a.misordered++
	}
	a.latest = max(a.latest, n)
}

// Count is the state of a ledger, or of a part of it.
type Count struct {
	Acknowledged int `json:"acknowledged"`
	Arrived      int `json:"arrived"`      // different messages, acknowledged or not
	Lost         int `json:"lost"`         // acknowledged, not arrived
	Duplicated   int `json:"duplicated"`   // arrivals after the first
	Misordered   int `json:"out_of_order"` // first arrivals after a later message of their source
}

func (c Count) String() string {
	return fmt.Sprintf("%d acknowledged, %d arrived, %d lost, %d duplicated, %d out of order",
		c.Acknowledged, c.Arrived, c.Lost, c.Duplicated, c.Misordered)
}

// Broken tells which promises do not hold, nil if all do. Duplicates break one
// at QoS 2 only [MQTT-4.3.3].
func (c Count) Broken(qos byte) error {
	if c.Lost > 0 || c.Misordered > 0 || qos == 2 && c.Duplicated > 0 {
		return fmt.Errorf("QoS %d: %s", qos, c)
	}
	return nil
}

// Count sums up all sources of a QoS.
func (l *Ledger) Count(qos byte) Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	var c Count
	for s, a := range l.accounts {
		if s.QoS != qos {
			continue
		}
		c.Misordered += a.misordered
		for n, arrivals := range a.arrivals {
			if a.acknowledged[n] {
				c.Acknowledged++
			}
			switch {
			case arrivals > 0:
				c.Arrived++
				c.Duplicated += int(arrivals) - 1
			case a.acknowledged[n]:
				c.Lost++
			}
		}
	}
	return c
}

// Missing lists up to limit acknowledged messages that have not arrived, and
// says how many there are.
func (l *Ledger) Missing(limit int) (list []string, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, a := range l.accounts {
		for n, promised := range a.acknowledged {
			if !promised || a.arrivals[n] > 0 {
				continue
			}
			if total++; len(list) < limit {
				list = append(list, fmt.Sprintf("sensor %d QoS %d message %d", s.Sensor, s.QoS, n))
			}
		}
	}
	return list, total
}
