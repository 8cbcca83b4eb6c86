package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/gateway/transport"
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

// What the gateway tells of itself wears no disk.
func TestToldIsInMemoryOnly(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		state := func(payload string) codec.Message {
			return codec.Message{Topic: []byte("$SYS/state"), Payload: []byte(payload), Retain: true}
		}
		before := at.written()
		for i := range 100 {
			at.srv.Tell(state(fmt.Sprint(i)))
			time.Sleep(time.Second)
		}
		if n := at.written() - before; n != 0 {
			t.Errorf("%d bytes are written", n)
		}
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "$SYS/#")
		sub.want("the last one is kept", retained("$SYS/state", "99", 0, 0))
		at.srv.Publish(state(""))
		sub.want("its end is told", message("$SYS/state", "", 0, 0))
		at.srv.Publish(state("on disk"))
		at.srv.Tell(state("in memory"))
		at.restart()
		sub = at.join("sub", codec.V5)
		sub.subscribe(0, "$SYS/#")
		sub.want("it is told anew after a restart", retained("$SYS/state", "on disk", 0, 0))
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

// A SUBSCRIBE whose filters match much is answered at once, and its retained messages come
// in turns: all of them, if the client reads, and no more than it has room for meanwhile.
func TestRetainedOfManyFiltersTakeTurns(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		const names, filters = 50, 30
		pub := at.join("pub", codec.V5)
		for i := range names {
			m := message(fmt.Sprint("site/", i), strings.Repeat(".", 10_000), 0, 0)
			m.Retain = true
			pub.send(m)
		}
		pub.send(&codec.Pingreq{})
		pub.want("all are retained", &codec.Pingresp{})
		sub := at.join("sub", codec.V5)
		sub.deaf <- struct{}{}
		req := codec.Subscribe{ID: 7}
		for range filters {
			req.Subscriptions = append(req.Subscriptions, codec.Subscription{Filter: []byte("site/+")})
		}
		sub.sendRaw((&codec.Pingreq{}).Append(req.Append(nil, codec.V5), codec.V5)) // in one go: the second is not read meanwhile
		at.settle()
		at.srv.mu.Lock()
		pending := at.srv.sessions["sub"].conn.tc.Pending()
		at.srv.mu.Unlock()
		if pending < transport.HighWater || pending > transport.HighWater+names*11_000 {
			t.Errorf("%d bytes wait for a client that does not read, of %d", pending, names*filters*10_000)
		}
		<-sub.deaf
		if ack, ok := sub.next().(*codec.Suback); !ok || ack.ID != 7 || len(ack.Codes) != filters {
			t.Fatalf("answered by %s", show(ack))
		}
		for i := range names * filters {
			if m, ok := sub.next().(*codec.Publish); !ok || !m.Retain {
				t.Fatalf("message %d is %s", i, show(m))
			}
		}
		sub.want("and then what was asked next", &codec.Pingresp{})
		if n := at.srv.Stats().Dropped.SlowReader; n != 0 {
			t.Errorf("%d retained messages dropped", n)
		}
		if len(at.srv.unfinished) != 0 {
			t.Error("a SUBSCRIBE is taken for unfinished")
		}
	})
}

// Filters that match nothing have to be looked for all the same.
func TestSubscribingTakesTurns(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		for i := range maxTurn {
			m := message(fmt.Sprint("site/", i), ".", 0, 0)
			m.Retain = true
			pub.send(m)
		}
		pub.send(&codec.Pingreq{})
		pub.want("all are retained", &codec.Pingresp{})
		sub := at.join("sub", codec.V5)
		req := codec.Subscribe{ID: 7, Subscriptions: []codec.Subscription{{Filter: []byte("+/x")}, {Filter: []byte("+/y")}}}
		b := req.Append(nil, codec.V5)
		at.srv.mu.Lock()
		n := at.srv.sessions["sub"].conn.receive(b)
		at.srv.mu.Unlock()
		if n != 0 {
			t.Error("two filters are looked for in one turn")
		}
		sub.sendRaw(b) // comes as what was left
		sub.want("both are granted", &codec.Suback{ID: 7, Codes: []codec.ReasonCode{0, 0}})
		at.settle()
		if len(at.srv.unfinished) != 0 {
			t.Error("a SUBSCRIBE is taken for unfinished")
		}
	})
}
