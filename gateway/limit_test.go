package gateway

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// limited makes the session of a bridge that is away and wants all of a/#.
func (at *site) limited(l Limits) {
	at.srv.Provision("$bridge/up", []codec.Subscription{{Filter: []byte("a/#"), QoS: 2}})
	at.srv.Limit("$bridge/up", l)
}

// arrived is what comes to the bridge, each acknowledged.
func (p *peer) arrived() (payloads string) {
	for {
		switch q := p.next().(type) {
		case *codec.Publish:
			payloads += string(q.Payload)
			p.send(&codec.Puback{ID: max(q.ID, 1)})
		case *codec.Pingresp:
		default:
			return payloads
		}
	}
}

func (at *site) wantLosses(sentence string, causes, topics map[string]uint64) {
	at.t.Helper()
	l, ok := at.srv.Losses("$bridge/up")
	var n, m uint64
	for _, count := range causes {
		n += count
	}
	for _, count := range topics {
		m += count
	}
	if !ok || l.Messages != n || !maps.Equal(l.Causes, causes) || !maps.Equal(l.Topics, topics) || l.OtherTopics != n-m {
		at.t.Errorf("%s: %+v, want %v of %v", sentence, l, causes, topics)
	}
	if n > 0 && (l.First.IsZero() || l.Last.Before(l.First)) {
		at.t.Errorf("%s: from %v to %v", sentence, l.First, l.Last)
	}
}

func TestLimitsOfASession(t *testing.T) {
	type counts = map[string]uint64
	for _, c := range []struct {
		name           string
		general        Policy
		limits         Limits
		refused        bool
		waiting        string
		causes, topics counts
	}{
		{"messages, oldest", Reject, Limits{MaxMessages: 3, Policy: DropOldest}, false, "234", counts{lossFull: 2}, counts{"a/0": 1, "a/1": 1}},
		{"messages, newest", Reject, Limits{MaxMessages: 3, Policy: DropNewest}, false, "012", counts{lossFull: 2}, counts{"a/3": 1, "a/4": 1}},
		{"messages, reject", DropOldest, Limits{MaxMessages: 3, Policy: Reject}, true, "012", counts{}, counts{}},
		{"bytes, oldest", Reject, Limits{MaxBytes: 130, Policy: DropOldest}, false, "1234", counts{lossFull: 1}, counts{"a/0": 1}},
		{"bytes, reject", DropNewest, Limits{MaxBytes: 130, Policy: Reject}, true, "0123", counts{}, counts{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onDisk(t, Config{QueuePolicy: c.general}, func(at *site) {
				told := 0
				c.limits.Lost = func() { told++ }
				at.limited(c.limits)
				device := at.join("device", codec.V5, keep)
				device.subscribe(2, "b") // which has the general limits
				pub := at.join("pub", codec.V5)
				codes := ""
				for i := range 5 {
					pub.send(message(fmt.Sprint("a/", i), fmt.Sprint(i), 1, uint16(i+1)))
					ack, _ := pub.next().(*codec.Puback)
					if ack != nil && ack.Code == codec.QuotaExceeded {
						codes += "x"
					}
				}
				if (codes != "") != c.refused {
					t.Errorf("refused: %q", codes)
				}
				at.wantLosses("while it is away", c.causes, c.topics)
				n := 0
				for _, count := range c.causes {
					n += int(count)
				}
				if told != n {
					t.Errorf("told %d times of %d losses", told, n)
				}
				if got := at.bridge("$bridge/up").arrived(); got != c.waiting {
					t.Errorf("%q waited, want %q", got, c.waiting)
				}
			})
		})
	}
}

func TestMaxAge(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		limits := Limits{MaxAge: time.Minute, Policy: DropOldest}
		at.limited(limits)
		pub := at.join("pub", codec.V5)
		expiring := func(payload string, id uint16, seconds uint32) *codec.Publish {
			p := message("a/x", payload, 1, id)
			p.HasMessageExpiry, p.MessageExpiry = true, seconds
			return p
		}
		pub.send(message("a/1", "1", 1, 1), expiring("2", 2, 1000), expiring("3", 3, 10))
		time.Sleep(30 * time.Second)
		pub.send(message("a/4", "4", 1, 4), expiring("5", 5, 1000))
		time.Sleep(29 * time.Second)
		if n := at.srv.sessions["$bridge/up"].queue.Len(); n != 5 {
			t.Errorf("%d wait within the minute", n)
		}
		time.Sleep(2 * time.Second)
		at.settle()
		if n := at.srv.sessions["$bridge/up"].queue.Len(); n != 2 {
			t.Errorf("%d wait after a minute, want those of the second half", n)
		}
		at.wantLosses("after a minute", map[string]uint64{lossOld: 3}, map[string]uint64{"a/1": 1, "a/x": 2})
		at.restart()
		at.limited(limits)
		pub = at.join("pub", codec.V5)
		pub.send(message("a/6", "6", 1, 6))
		bridge := at.bridge("$bridge/up")
		for _, want := range []string{"4", "5", "6"} {
			p, ok := bridge.next().(*codec.Publish)
			if !ok { // PINGRESP
				p, ok = bridge.next().(*codec.Publish)
			}
			if !ok || string(p.Payload) != want {
				t.Fatalf("got %v, want %s", p, want)
			}
			if want == "5" && (p.MessageExpiry > 970 || p.MessageExpiry < 960) {
				t.Errorf("%d s are left of 1000", p.MessageExpiry)
			}
			if want != "5" && p.HasMessageExpiry {
				t.Error("the limit of age shows as an expiry")
			}
		}
		before, _ := at.srv.Losses("$bridge/up") // what was dropped may be found on disk once more
		time.Sleep(time.Hour)
		at.settle()
		if after, _ := at.srv.Losses("$bridge/up"); after.Messages != before.Messages {
			t.Errorf("what is in flight is too old: %+v", after)
		}
	})
}

func TestLossesAreBounded(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.limited(Limits{Policy: DropOldest})
		pub := at.join("pub", codec.V5)
		topics := map[string]uint64{}
		for i := range 100 {
			topic := fmt.Sprint("a/", i)
			if i < maxLossTopics {
				topics[topic] = 1
			}
			pub.send(message(topic, "", 0, 0))
		}
		pub.send(message("a/"+strings.Repeat("x", maxLossTopic), "", 0, 0), message("a/5", "", 0, 0))
		topics["a/5"] = 2
		at.srv.Lost("$bridge/up", "refused", nil, 0)
		at.srv.Lost("nobody", "refused", nil, 0)
		at.wantLosses("at QoS 0 while it is away", map[string]uint64{lossAway: 102, "refused": 1}, topics)
		if _, ok := at.srv.Losses("pub"); ok {
			t.Error("there are losses of a session without limits")
		}
	})
}

// What the other end of a bridge refuses has a topic while it is in flight.
func TestLossInFlightHasTopic(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.limited(Limits{})
		at.join("pub", codec.V5).send(message("a/1", "", 1, 1), message("a/2", "", 2, 2))
		at.settle()
		bridge := at.bridge("$bridge/up")
		for {
			if p, ok := bridge.next().(*codec.Publish); ok && string(p.Topic) == "a/2" {
				at.srv.Lost("$bridge/up", "refused", nil, p.ID)
				bridge.send(&codec.Pubrec{ID: p.ID, Code: codec.NotAuthorized})
				break
			}
		}
		at.wantLosses("as the bridge says", map[string]uint64{"refused": 1}, map[string]uint64{"a/2": 1})
	})
}

// Limits may be set anew, and go with the session.
func TestLimitsAreReplaced(t *testing.T) {
	onDisk(t, Config{QueuePolicy: DropOldest}, func(at *site) {
		at.limited(Limits{MaxMessages: 1, MaxAge: time.Minute, Policy: Reject})
		pub := at.join("pub", codec.V5)
		offer := func(sentence string, code codec.ReasonCode) {
			t.Helper()
			pub.send(message("a/1", "x", 1, 1))
			if ack, ok := pub.next().(*codec.Puback); !ok || ack.Code != code {
				t.Errorf("%s: answered with %v, want %v", sentence, ack, code)
			}
		}
		offer("there is room", codec.Success)
		offer("there is none", codec.QuotaExceeded)
		at.limited(Limits{MaxMessages: 1, Policy: DropNewest})
		offer("by the new policy", codec.Success)
		time.Sleep(time.Hour)
		at.settle()
		at.wantLosses("of the new limits", map[string]uint64{lossFull: 1}, map[string]uint64{"a/1": 1})
		at.limited(Limits{MaxMessages: 1, Policy: Reject})
		at.wantLosses("are known yet", map[string]uint64{lossFull: 1}, map[string]uint64{"a/1": 1})
		offer("as before", codec.QuotaExceeded)
		if n := at.srv.rejecting; n != 1 {
			t.Errorf("%d sessions reject, want 1", n)
		}
		at.srv.Forget("$bridge/up")
		offer("nobody is there who wants it", codec.NoMatchingSubscribers)
		if n := at.srv.rejecting; n != 0 {
			t.Errorf("%d sessions reject, want none", n)
		}
	})
}

// How long the oldest message has waited is known about, in little memory.
func TestOldestWaits(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.limited(Limits{})
		pub := at.join("pub", codec.V5)
		oldest := func(sentence string, messages int, least, most time.Duration) {
			t.Helper()
			if b := at.srv.Backlog("$bridge/up"); b.Messages != messages || (b.Bytes > 0) != (messages > 0) || b.Oldest < least || b.Oldest > most {
				t.Errorf("%s: %+v; want %d, the oldest for %v to %v", sentence, b, messages, least, most)
			}
		}
		time.Sleep(time.Hour)
		oldest("nothing waits", 0, 0, 0)
		for range 1000 {
			pub.send(message("a/1", "x", 1, 1))
			pub.next()
			time.Sleep(5 * time.Second)
		}
		oldest("since the first", 1000, 5000*time.Second, 5100*time.Second)
		if n := len(at.srv.sessions["$bridge/up"].limit.marks); n > maxMarks {
			t.Errorf("%d marks", n)
		}
		bridge := at.bridge("$bridge/up")
		for came := 0; came < 900; {
			switch p := bridge.next().(type) {
			case *codec.Publish:
				came++
				bridge.send(&codec.Puback{ID: p.ID})
			case nil:
				t.Fatalf("only %d came", came)
			}
		}
		oldest("of the last hundred", 100, 500*time.Second, 600*time.Second)
		bridge.arrived()
		oldest("nothing waits", 0, 0, 0)
		bridge.cut()
		pub.send(message("a/1", "x", 1, 1))
		time.Sleep(time.Minute)
		oldest("a new one", 1, time.Minute, time.Minute+2*time.Second)
	})
}

// A retained message for which others have to go is what was retained.
func TestRoomForWhatIsRetained(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.limited(Limits{MaxMessages: 2, Policy: DropOldest})
		named := func(topic, payload, name string, id uint16) *codec.Publish {
			m := message(topic, payload, 1, id)
			m.User = []codec.UserProperty{{Name: []byte("name"), Value: []byte(name)}}
			return m
		}
		kept := named("b/1", "kept", "kept", 1)
		kept.Retain = true
		pub := at.join("pub", codec.V5)
		pub.send(kept, named("a/1", "1", "first", 2), named("a/1", "2", "second", 3))
		up := at.upstream(1)
		up.next() // PINGRESP
		up.want("one is in flight", named("a/1", "1", "first", packetID(1)))
		up.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("b/#"), QoS: 1, RetainAsPublished: true}}})
		at.settle()
		up.next() // SUBACK
		up.send(&codec.Puback{ID: packetID(1)})
		kept.ID = packetID(3)
		up.want("the second had to go", kept)
	})
}
