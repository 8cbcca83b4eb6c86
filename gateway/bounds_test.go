package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// waiting tells which messages, by the first bytes of their payloads, wait for a client.
func (at *site) waiting(name string) (got []string) {
	p := at.join(name, codec.V5, keep)
	for {
		m, ok := p.next().(*codec.Publish)
		if !ok {
			return got
		}
		got = append(got, string(m.Payload[:3]))
	}
}

// A store that is full gives back what is dropped only later. One message must not
// cost the whole queue meanwhile.
func TestDropOldestInAFullStoreDropsOneForOne(t *testing.T) {
	onDisk(t, Config{QueuePolicy: DropOldest}, func(at *site) {
		at.max = 100 << 10
		at.restart()
		at.join("sub", codec.V5, keep).subscribe(1, "a")
		at.join("sub", codec.V5, keep).cut()
		pub := at.join("pub", codec.V5)
		const sent = 200
		for i := range sent {
			payload := fmt.Sprintf("%03d%s", i, strings.Repeat(".", 1000))
			pub.send(message("a", payload, 1, uint16(i+1)))
			pub.want("it is taken", &codec.Puback{ID: uint16(i + 1)})
		}
		got := at.waiting("sub")
		if len(got) < 30 {
			t.Fatalf("%d messages of 1 kB are left in a store of 100 KiB", len(got))
		}
		for i, s := range got {
			if want := fmt.Sprintf("%03d", sent-len(got)+i); s != want {
				t.Fatalf("message %d left is %s, want %s", i, s, want)
			}
		}
		if d := at.srv.Stats().Dropped.QueueFull; int(d) != sent-len(got) {
			t.Errorf("%d counted as dropped, %d were", d, sent-len(got))
		}
	})
}

// By the policy reject, what is acknowledged is there for each of many recipients, up
// to the last byte of the store.
func TestRejectRefusesForAllOrNone(t *testing.T) {
	onDisk(t, Config{QueuePolicy: Reject}, func(at *site) {
		at.max = 60 << 10
		at.restart()
		const subscribers = 10
		for i := range subscribers {
			p := at.join(fmt.Sprint("sub", i), codec.V5, keep)
			p.subscribe(1, "a")
			p.cut()
		}
		pub := at.join("pub", codec.V5)
		taken := 0
		for i := range 100 {
			pub.send(message("a", fmt.Sprintf("%03d%s", i, strings.Repeat(".", 100)), 1, uint16(i+1)))
			if ack, _ := pub.next().(*codec.Puback); ack != nil && ack.Code == codec.Success {
				taken++
			}
		}
		if d := at.srv.Stats().Dropped; taken < 10 || taken == 100 || d.QueueFull != 0 || int(d.Rejected) != 100-taken {
			t.Errorf("%d taken, dropped %+v", taken, d)
		}
		for i := range subscribers {
			if got := at.waiting(fmt.Sprint("sub", i)); len(got) != taken {
				t.Errorf("%d messages wait for subscriber %d, %d were acknowledged", len(got), i, taken)
			}
		}
	})
}

func TestRejectLooksAtThoseWhoGetIt(t *testing.T) {
	onDisk(t, Config{QueueMaxBytes: 2000}, func(at *site) {
		p := at.join("p", codec.V5, keep, func(c *codec.Connect) { c.ReceiveMaximum = 1 })
		p.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a"), QoS: 1, NoLocal: true}}})
		p.next()
		pub := at.join("pub", codec.V5)
		big := strings.Repeat(".", 1500)
		pub.send(message("a", big, 1, 1), message("a", big, 1, 2))
		pub.want("the second finds no room", &codec.Puback{ID: 1})
		if ack, _ := pub.next().(*codec.Puback); ack == nil || ack.Code != codec.QuotaExceeded {
			t.Errorf("got %s, want Quota exceeded", show(ack))
		}
		p.next()
		p.send(message("a", big, 1, 7))
		p.want("its own message is not for itself", &codec.Puback{ID: 7, Code: codec.NoMatchingSubscribers})
	})
}

func TestRejectClosesOldClients(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		inBubble(t, Config{QueueMaxBytes: 100}, func(at *site) {
			at.join("sub", codec.V5, keep).subscribe(2, "a")
			at.join("sub", codec.V5, keep).cut()
			pub := at.join("pub", codec.V311)
			pub.send(message("a", strings.Repeat(".", 200), qos, 1))
			pub.wantClosed("without an acknowledgement, so that it comes again")
		})
	}
}

func TestSlowReaderIsClosed(t *testing.T) {
	inBubble(t, Config{QueueMaxBytes: 1 << 20, MaxInflight: 10}, func(at *site) {
		slow := at.join("slow", codec.V5, withWill(0))
		slow.subscribe(1, "a", "w") // acknowledges nothing
		other := at.join("other", codec.V5)
		other.subscribe(0, "#")
		pub := at.join("pub", codec.V5)
		payload := strings.Repeat(".", 100_000)
		for i := range 25 {
			pub.send(message("a", payload, 1, uint16(i+1)))
			if ack, _ := pub.next().(*codec.Puback); ack == nil || ack.Code != codec.Success {
				t.Fatalf("message %d answered by %s", i, show(ack))
			}
			if got := other.next(); got == nil {
				t.Fatal("the other does not get it")
			}
			if slow.closed() {
				other.want("its will goes out", message("w", "gone", 0, 0))
				return
			}
		}
		t.Error("it is still here")
	})
}

// A client that asks and does not read the answers costs bounded memory.
func TestAnswersNotReadStopTheQuestions(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.send(&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p")})
		p.next()
		p.deaf <- struct{}{}
		ping := bytes.Repeat((&codec.Pingreq{}).Append(nil, codec.V5), 1<<20)
		const rounds = 4
		done := make(chan struct{})
		go func() {
			for range rounds {
				p.nc.Write(ping)
			}
			close(done)
		}()
		time.Sleep(time.Second)
		at.settle()
		for c := range at.srv.conns {
			if n := c.tc.Pending(); n < deafOutput || n > deafOutput+64<<10 {
				t.Errorf("%d bytes wait for a client that does not read", n)
			}
		}
		<-p.deaf
		at.settle()
		<-done
		at.settle()
		p.mu.Lock()
		n := len(p.got)
		p.mu.Unlock()
		if n != 2*rounds<<20 {
			t.Errorf("%d bytes of answers came once it read, want %d", n, 2*rounds<<20)
		}
	})
}

func TestSubscriptionsAreBounded(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5)
		granted, refused := 0, 0
		for i := range 100 {
			s := codec.Subscribe{ID: uint16(i + 1)}
			for j := range 10 {
				s.Subscriptions = append(s.Subscriptions, codec.Subscription{Filter: fmt.Appendf(nil, "%d/%d/%s", i, j, strings.Repeat("x", 10_000))})
			}
			p.send(&s)
			for _, code := range p.next().(*codec.Suback).Codes {
				switch code {
				case codec.Success:
					granted++
				case codec.QuotaExceeded:
					refused++
				}
			}
		}
		if granted+refused != 1000 || granted > 420 || granted < 380 {
			t.Errorf("%d granted, %d refused", granted, refused)
		}
		for i := range 10 {
			p.send(&codec.Unsubscribe{ID: 1, Filters: [][]byte{fmt.Appendf(nil, "0/%d/%s", i, strings.Repeat("x", 10_000))}})
			p.want("it is taken back", &codec.Unsuback{ID: 1, Codes: []codec.ReasonCode{0}})
		}
		p.subscribe(0, "there/is/room/again")
	})
}

func TestAFullStoreTakesNoMoreSessions(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.max = 50 << 10
		at.restart()
		n := 0
		var p *peer
		for ; n < 1000; n++ {
			p = at.dial("p", codec.V5)
			c := codec.Connect{Version: codec.V5, ClientID: fmt.Append(nil, n), SessionExpiry: 100}
			p.send(&c)
			if ack := p.next().(*codec.Connack); ack.Code != codec.Success {
				if ack.Code != codec.QuotaExceeded {
					t.Fatal(show(ack))
				}
				break
			}
			p.cut()
		}
		if n < 50 || n == 1000 {
			t.Errorf("%d sessions in a store of 50 KiB", n)
		}
		p.wantClosed("it is told why")
		at.join("0", codec.V5, keep) // who has a session is let in
		at.join("clean", codec.V5)   // and who needs none on disk
	})
}

// Names longer than the store's keys would be taken for damage at the next start.
func TestLongNames(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		longest, tooLong := strings.Repeat("t", maxName), strings.Repeat("t", maxName+1)
		p := at.join("p", codec.V5, keep)
		p.subscribe(1, longest)
		p.send(retained(longest, "x", 1, 1))
		p.want("a name of the greatest length is taken", message(longest, "x", 1, 2), &codec.Puback{ID: 1})
		p.send(&codec.Puback{ID: 2})
		p.send(retained(tooLong, "x", 1, 2), retained(tooLong, "x", 2, 3))
		p.want("a longer one is not: a bridge has to get over it, as its upstream would send it again and again",
			&codec.Puback{ID: 2, Code: codec.TopicNameInvalid, ReasonString: []byte("topic name invalid")},
			&codec.Pubrec{ID: 3, Code: codec.TopicNameInvalid, ReasonString: []byte("topic name invalid")})
		p.send(retained(tooLong, "x", 0, 0))
		p.wantIdle("where there is no answer")
		if n := at.srv.stats.Dropped.InvalidTopic; n != 3 {
			t.Errorf("%d counted, want 3", n)
		}
		at.restart()
		if r := at.db.Report(); r.Dropped != 0 || at.srv.retained.Len() != 1 || at.srv.stats.Subscriptions != 1 {
			t.Errorf("%+v dropped at the next start, %d retained, %d subscriptions", r, at.srv.retained.Len(), at.srv.stats.Subscriptions)
		}
		p = at.dial("will", codec.V5)
		c := codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("will")}
		withWill(0)(&c)
		c.Will.Topic = []byte(tooLong)
		p.send(&c)
		if ack, _ := p.next().(*codec.Connack); ack == nil || ack.Code != codec.TopicNameInvalid {
			t.Errorf("a will to it answered by %s", show(ack))
		}
	})
}

func TestRoutesAreForgotten(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		s := at.srv
		recipients := func(topic []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.recipients(topic)
		}
		recipients([]byte("a"))
		if len(s.routes) != 0 {
			t.Error("a topic that nobody wants is remembered")
		}
		at.join("sub", codec.V5).subscribe(0, "#")
		for i := range 1000 {
			recipients(fmt.Appendf(nil, "%d%s", i, strings.Repeat("x", 50_000)))
			if n := len(s.routes); n > maxRoutes/50_000+1 {
				t.Fatalf("%d topics of 50 kB are remembered", n)
			}
		}
		if len(s.routes) == 0 {
			t.Error("nothing is remembered")
		}
	})
}

// The turn of a group that nobody answers for goes on forever, also in 32 bits.
func TestTurnsDoNotOverflow(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		at.join("a", codec.V5, keep).subscribe(1, "$share/g/t")
		at.join("b", codec.V5, keep).subscribe(1, "$share/g/t")
		at.join("a", codec.V5, keep).cut()
		at.join("b", codec.V5, keep).cut()
		pub := at.join("pub", codec.V5)
		g := at.srv.groups["$share/g/t"]
		for i := range 10 {
			pub.send(message("t", "", 1, uint16(i+1)))
			if g.next < 0 || g.next >= 2 {
				t.Fatalf("after %d messages it is the turn of %d of 2", i+1, g.next)
			}
		}
		if a, b := at.srv.sessions["a"].queue.Len(), at.srv.sessions["b"].queue.Len(); a != 5 || b != 5 {
			t.Errorf("%d and %d wait, want 5 each", a, b)
		}
	})
}

// What was dropped in weeks of absence is not gone through one by one.
func TestLongGapIsSkipped(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a")
		sub.cut()
		to := at.srv.sessions["sub"]
		at.srv.mu.Lock()
		const gap = 1 << 40 // would take hours
		to.queue.SetNext(gap)
		at.srv.mu.Unlock()
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 1, 1))
		pub.want("it is kept", &codec.Puback{ID: 1})
		sub = at.join("sub", codec.V5, keep)
		sub.want("it comes at once", message("a", "x", 1, packetID(gap)))
	})
}

// A keep-alive does not run while it is the gateway that does not listen.
func TestKeepAliveWaitsForTheDisk(t *testing.T) {
	onDisk(t, Config{MaxInflight: 1}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a")
		sub.cut()
		p := at.join("p", codec.V311, func(c *codec.Connect) { c.KeepAlive = 10 })
		at.settle()
		at.disk <- struct{}{}
		for i := range 4 { // as many as the gateway takes before it stops listening
			p.send(message("a", "", 1, uint16(i+1)))
		}
		time.Sleep(time.Hour + 10*time.Second)
		p.wantIdle("nothing is acknowledged that is not on disk")
		<-at.disk
		at.settle()
		p.want("all are once it is", &codec.Puback{ID: 1}, &codec.Puback{ID: 2}, &codec.Puback{ID: 3}, &codec.Puback{ID: 4})
		time.Sleep(14 * time.Second)
		p.wantIdle("the clock begins anew")
		time.Sleep(2 * time.Second)
		p.wantClosed("and runs")
	})
}

// What waits for clients that end with their connections has one bound for all of them,
// and those who fall a little behind find room while others take all they can.
func TestQueuesInMemoryShareTheirRoom(t *testing.T) {
	const room = 1 << 20
	onDisk(t, Config{QueueMaxBytes: room, MaxInflight: 10}, func(at *site) {
		const crowd = 10
		join := func(name, filter string) *peer {
			p := at.join(name, codec.V5)
			p.subscribe(1, filter) // and acknowledges nothing
			return p
		}
		for i := range crowd {
			join(fmt.Sprint("greedy", i), "flood")
		}
		modest := join("modest", "rare")
		pub := at.join("pub", codec.V5)
		send := func(name string) {
			pub.send(message(name, strings.Repeat(".", 10_000), 1, 1))
			if ack, _ := pub.next().(*codec.Puback); ack == nil || ack.Code == codec.QuotaExceeded {
				t.Fatalf("answered by %s", show(ack))
			}
			at.srv.mu.Lock()
			defer at.srv.mu.Unlock()
			sum := int64(0)
			for _, to := range at.srv.sessions {
				sum += to.queue.Bytes()
			}
			if sum != at.srv.unstored || sum > room {
				t.Fatalf("%d bytes wait, counted as %d, want %d at most", sum, at.srv.unstored, room)
			}
		}
		for range 15 {
			send("rare")
		}
		for range 30 {
			send("flood")
		}
		if modest.closed() {
			t.Error("who has little that waits is closed")
		}
		if at.srv.Stats().Ended[codec.QuotaExceeded] == 0 {
			t.Error("none of the greedy clients is closed")
		}
	})
}

// Slow readers at QoS 0 share a bound, and it is another's when they have gone.
func TestSlowReadersShareTheirOutput(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pending := func(crowd []*peer) (sum int) {
			payload := strings.Repeat(".", 100_000)
			for range deafOutput / len(payload) * 2 {
				pub.send(message("flood", payload, 0, 0))
			}
			at.settle()
			at.srv.mu.Lock()
			defer at.srv.mu.Unlock()
			for _, p := range crowd {
				sum += at.srv.sessions[p.name].conn.tc.Pending()
			}
			return sum
		}
		join := func(n int) (crowd []*peer) {
			for i := range n {
				p := at.join(fmt.Sprint("slow", i), codec.V5)
				p.subscribe(0, "flood")
				p.deaf <- struct{}{}
				crowd = append(crowd, p)
			}
			return crowd
		}
		crowd := join(16)
		if n := pending(crowd); n < slowOutput/2 || n > slowOutput+slowOutput/4 {
			t.Errorf("%d clients have %d bytes to read, want about %d", len(crowd), n, slowOutput)
		}
		for _, p := range crowd {
			<-p.deaf
			p.cut()
		}
		at.settle()
		alone := join(1)
		if n := pending(alone); n < deafOutput {
			t.Errorf("one alone has %d bytes to read, want %d", n, deafOutput)
		}
		if at.srv.slow != 1 {
			t.Errorf("%d clients are counted as slow, one is", at.srv.slow)
		}
		<-alone[0].deaf
	})
}

// A client that asks much at a time is answered to the last, but not in one go.
func TestMuchAtOnceTakesTurns(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		const questions = 5*maxTurn + 7
		b := bytes.Repeat((&codec.Pingreq{}).Append(nil, codec.V5), questions)
		p := at.join("p", codec.V5)
		at.srv.mu.Lock()
		n := at.srv.sessions["p"].conn.receive(b)
		at.srv.mu.Unlock()
		if n != len(b)/questions*maxTurn {
			t.Errorf("%d bytes of %d taken in one turn", n, len(b))
		}
		p.sendRaw(b[n:])
		for i := range questions {
			if got := p.next(); got == nil || got.Type() != codec.TypePingresp {
				t.Fatalf("question %d is answered by %s", i, show(got))
			}
		}
	})
}

// Large messages for many are handed on in turns as well.
func TestMuchCopiedTakesTurns(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		const readers, messages, size = 40, 20, 8 << 10
		var subs []*peer
		for i := range readers {
			sub := at.join(fmt.Sprint("s", i), codec.V5)
			sub.subscribe(0, "x")
			subs = append(subs, sub)
		}
		one := (&codec.Publish{Message: codec.Message{Topic: []byte("x"), Payload: make([]byte, size)}}).Append(nil, codec.V5)
		b := bytes.Repeat(one, messages)
		p := at.join("p", codec.V5)
		at.srv.mu.Lock()
		n := at.srv.sessions["p"].conn.receive(b)
		at.srv.mu.Unlock()
		if want := maxCopied/(readers*len(one)) + 1; n != want*len(one) {
			t.Errorf("%d messages taken in one turn, want %d", n/len(one), want)
		}
		p.sendRaw(b[n:])
		for _, sub := range subs {
			for i := range messages {
				if got := sub.next(); got == nil || got.Type() != codec.TypePublish {
					t.Fatalf("message %d is %s", i, show(got))
				}
			}
		}
	})
}
