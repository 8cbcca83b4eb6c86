package gateway

import (
	"testing"
	"time"

	"sluice/codec"
)

// retained is a message as a new subscriber gets it.
func retained(topic, payload string, qos byte, id uint16) *codec.Publish {
	p := message(topic, payload, qos, id)
	p.Retain = true
	return p
}

func TestRetained(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(retained("a/b", "old", 0, 0), retained("a/b", "new", 1, 1), retained("a/c", "c", 0, 0))
		pub.want("a retained message at QoS 1 is on disk", &codec.Puback{ID: 1})
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "a/b")
		sub.want("the last one is kept", retained("a/b", "new", 1, 2))
		pub.send(retained("a/b", "live", 0, 0))
		sub.want("live, it comes without the flag", message("a/b", "live", 0, 0))

		pub.send(retained("a/c", "", 0, 0))
		at.restart()
		sub = at.join("sub", codec.V311)
		sub.subscribe(0, "#")
		sub.want("it is there after a restart", retained("a/b", "live", 0, 0))
		sub.wantIdle("what was cleared is not")
	})
}

func TestRetainHandling(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(retained("a", "x", 0, 0))
		sub := at.join("sub", codec.V5)
		for i, c := range []struct {
			handling byte
			filter   string
			want     bool
			sentence string
		}{
			{2, "a", false, "handling 2 brings nothing"},
			{1, "a", false, "handling 1 brings nothing to a subscription that is there"},
			{0, "a", true, "handling 0 does"},
			{1, "+", true, "handling 1 does for a new one"},
			{0, "$share/g/a", false, "a shared subscription gets nothing"},
		} {
			id := uint16(i + 1)
			sub.send(&codec.Subscribe{ID: id, Subscriptions: []codec.Subscription{{Filter: []byte(c.filter), RetainHandling: c.handling}}})
			sub.want("granted", &codec.Suback{ID: id, Codes: []codec.ReasonCode{0}})
			if c.want {
				sub.want(c.sentence, retained("a", "x", 0, 0))
			}
			sub.wantIdle(c.sentence)
		}
	})
}

func TestRetainAsPublished(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a"), RetainAsPublished: true}}})
		sub.want("granted", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0}})
		pub := at.join("pub", codec.V5)
		pub.send(retained("a", "x", 0, 0), message("a", "y", 0, 0))
		sub.want("the flag is as it was published", retained("a", "x", 0, 0), message("a", "y", 0, 0))
	})
}

func TestMessageExpiry(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a")
		sub.cut()
		pub := at.join("pub", codec.V5)
		for i, seconds := range []uint32{10, 100} {
			p := retained("a", "x", 1, uint16(i+1))
			p.HasMessageExpiry, p.MessageExpiry = true, seconds
			pub.send(p)
		}
		time.Sleep(20 * time.Second)
		sub = at.join("sub", codec.V5, keep)
		left := message("a", "x", 1, 3)
		left.HasMessageExpiry, left.MessageExpiry = true, 79
		sub.want("what expired while it waited does not come; the other tells what is left", left)
		time.Sleep(90 * time.Second)
		late := at.join("late", codec.V5)
		late.subscribe(0, "a")
		late.wantIdle("an expired retained message is gone")
		if d := at.srv.Stats().Dropped.Expired; d != 2 {
			t.Errorf("%d counted as expired, want 2", d)
		}
	})
}
