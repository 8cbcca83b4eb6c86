package bridge

import (
	"fmt"
	"testing"
	"time"
)

func TestEchoes(t *testing.T) {
	e := newEchoes()
	topic := []byte("a")
	sent := func(payload string, again bool, at time.Duration) { e.sent(topic, []byte(payload), again, at) }
	back := func(payload string, at time.Duration) bool { return e.cameBack(topic, []byte(payload), at) }

	sent("x", false, 0)
	sent("x", false, time.Second)
	sent("x", true, time.Second)
	for i, want := range []bool{true, true, false} {
		if got := back("x", 2*time.Second); got != want {
			t.Errorf("of two sent, number %d has come back: %v", i+1, got)
		}
	}
	if back("y", 0) || e.cameBack([]byte("ax"), nil, 0) {
		t.Error("another message is taken for one that went up")
	}
	sent("x", true, 3*time.Second)
	if !back("x", 3*time.Second+echoTime) {
		t.Error("sent again after it had come back, it does not come back again")
	}
	sent("z", false, 10*time.Second)
	if back("z", 11*time.Second+echoTime) {
		t.Error("remembered longer than it should be")
	}
	if e.n != 0 || len(e.out) != 0 {
		t.Errorf("%d and %d left over", e.n, len(e.out))
	}

	for i := range 3 * maxEchoes {
		sent(fmt.Sprint(i), false, 0)
	}
	if len(e.ring) != maxEchoes || len(e.out) != maxEchoes {
		t.Errorf("%d and %d remembered, want %d", len(e.ring), len(e.out), maxEchoes)
	}
	if back(fmt.Sprint(2*maxEchoes-1), 0) || !back(fmt.Sprint(2*maxEchoes), 0) {
		t.Error("it is not the oldest that were forgotten")
	}
	e.forget()
	if back(fmt.Sprint(3*maxEchoes-1), 0) || e.n != 0 {
		t.Error("not forgotten")
	}
	if n := testing.AllocsPerRun(1000, func() { e.sent(topic, topic, false, 0); e.cameBack(topic, topic, 0) }); n != 0 {
		t.Errorf("a message that goes up and comes back allocates %v times", n)
	}
}
