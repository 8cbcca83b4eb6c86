package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"sluice/codec"
)

func TestRestartKeepsSessions(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.send(&codec.Subscribe{ID: 1, SubscriptionID: 5, Subscriptions: []codec.Subscription{{Filter: []byte("a/#"), QoS: 2, NoLocal: true, RetainAsPublished: true}}})
		sub.want("granted once it is on disk", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{2}})
		sub.cut()
		pub := at.join("pub", codec.V311, keep)
		pub.send(retained("a/1", "one", 1, 1), message("a/2", "two", 2, 2))
		pub.want("both are on disk", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
		at.restart()

		pub = at.join("pub", codec.V311, keep)
		again := message("a/2", "two", 2, 2)
		again.Dup = true
		pub.send(again)
		pub.want("a QoS 2 message repeated over a restart is known", &codec.Pubrec{ID: 2})
		pub.send(&codec.Pubrel{ID: 2})
		pub.want("and released", &codec.Pubcomp{ID: 2})

		sub = at.join("sub", codec.V5, keep)
		one, two := retained("a/1", "one", 1, 2), message("a/2", "two", 2, 3)
		one.SubscriptionIDs, two.SubscriptionIDs = []uint32{5}, []uint32{5}
		sub.want("what waited comes in order, as it was subscribed", one, two)
		sub.send(message("a/3", "own", 0, 0))
		sub.wantIdle("nothing comes twice, and nothing of its own")
	})
}

func TestReleaseSurvivesARestart(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "1", 2, 1), message("a", "2", 2, 2), message("a", "3", 1, 3))
		sub.want("all come", message("a", "1", 2, 2), message("a", "2", 2, 3), message("a", "3", 1, 4))
		sub.send(&codec.Pubrec{ID: 3}, &codec.Puback{ID: 4})
		sub.want("PUBREL once PUBREC is on disk", &codec.Pubrel{ID: 3})
		at.restart()

		sub = at.join("sub", codec.V5, keep)
		one := message("a", "1", 2, 2)
		one.Dup = true
		sub.want("what was released is not published again, what was not keeps its identifier", one, &codec.Pubrel{ID: 3})
		sub.send(&codec.Pubcomp{ID: 3}, &codec.Pubrec{ID: 2})
		sub.want("and can be ended", &codec.Pubrel{ID: 2})
	})
}

func TestReleaseOfManySurvivesACrash(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "1", 2, 1), message("a", "2", 2, 2), message("a", "3", 2, 3), message("a", "4", 2, 4))
		sub.want("all come", message("a", "1", 2, 2), message("a", "2", 2, 3), message("a", "3", 2, 4), message("a", "4", 2, 5))
		var b []byte
		for id := uint16(2); id <= 4; id++ {
			b = (&codec.Pubrec{ID: id}).Append(b, codec.V5)
		}
		sub.sendRaw(b) // which is one read
		sub.want("PUBREL for each", &codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3}, &codec.Pubrel{ID: 4})
		at.crash(nil)

		sub = at.join("sub", codec.V5, keep)
		var releases, published []uint16 // which of the two come first depends on the disk
		for p := sub.next(); p != nil; p = sub.next() {
			switch p := p.(type) {
			case *codec.Pubrel:
				releases = append(releases, p.ID)
			case *codec.Publish:
				published = append(published, p.ID)
			}
		}
		if !slices.Equal(releases, []uint16{2, 3, 4}) || !slices.Equal(published, []uint16{5}) {
			t.Errorf("released again are %d, and published %d", releases, published)
		}
	})
}

// That messages are completed may not be on disk, and as many more were sent: again is again.
func TestSentAfterThoseReleasedIsSentAgain(t *testing.T) {
	onDisk(t, Config{MaxInflight: 2}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		for id := uint16(1); id <= 4; id++ {
			pub.send(message("a", fmt.Sprint(id), 2, id), &codec.Pubrel{ID: id})
		}
		sub.want("two", message("a", "1", 2, 2), message("a", "2", 2, 3))
		sub.send(&codec.Pubrec{ID: 2}, &codec.Pubrec{ID: 3}, &codec.Pubcomp{ID: 2}, &codec.Pubcomp{ID: 3})
		sub.want("and two more", &codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3}, message("a", "3", 2, 4), message("a", "4", 2, 5))
		at.crash(nil)
		at.settle() // what is released is on disk

		sub = at.join("sub", codec.V5, keep)
		sub.want("what is known", &codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3})
		sub.send(&codec.Pubcomp{ID: 2}, &codec.Pubcomp{ID: 3})
		sub.want("and again", again(message("a", "3", 2, 4)), again(message("a", "4", 2, 5)))
	})
}

func TestAcknowledgedByAllNeedsNoDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a")
		time.Sleep(2 * time.Second)
		before := at.written()
		pub := at.join("pub", codec.V5)
		pub.nc.Write(message("a", "x", 1, 1).Append(nil, codec.V5))
		sub.want("it comes at once", message("a", "x", 1, 2))
		pub.wantIdle("but is not acknowledged yet: it is neither on disk nor acknowledged")
		sub.nc.Write((&codec.Puback{ID: 2}).Append(nil, codec.V5))
		pub.want("once the subscriber has it, it is", &codec.Puback{ID: 1})
		at.settle()
		if n := at.written() - before; n != 0 {
			t.Errorf("%d bytes were written for it", n)
		}
		pub.nc.Write(message("a", "y", 1, 2).Append(nil, codec.V5))
		sub.want("the next comes as well", message("a", "y", 1, 3))
		at.settle()
		pub.want("a subscriber that is slow is not waited for: the disk has it", &codec.Puback{ID: 2})
		if at.written() == before {
			t.Error("nothing was written for it")
		}
	})
}

func TestSessionEndLeavesNothingOnDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		time.Sleep(2 * time.Second)
		before := at.db.Bytes()
		sub := at.join("sub", codec.V5, keep, withWill(0))
		sub.subscribe(2, "a", "b/#", "$share/g/c")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "own", 2, 1))
		pub.want("kept", &codec.Pubrec{ID: 1})
		sub.cut()
		pub.cut()
		at.join("sub", codec.V5).send(&codec.Disconnect{})
		time.Sleep(2 * time.Second)
		at.settle()
		if after := at.db.Bytes(); after != before {
			t.Errorf("%d bytes are stored, before the session there were %d", after, before)
		}
	})
}

func TestExpiryStandsStillWhileDown(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.join("p", codec.V5, func(c *codec.Connect) { c.CleanStart, c.SessionExpiry = false, 60 }).cut()
		time.Sleep(30 * time.Second)
		at.stop()
		time.Sleep(time.Hour)
		at.start()
		time.Sleep(29 * time.Second)
		if n := at.srv.Stats().Sessions; n != 1 {
			t.Fatalf("%d sessions after 59 s of running, want 1", n)
		}
		time.Sleep(2 * time.Second)
		if n := at.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions after 61 s of running, want none", n)
		}
	})
}

func TestProvisionedSessionHasExactlyItsSubscriptions(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		filters := func(names ...string) (subs []codec.Subscription) {
			for _, n := range names {
				subs = append(subs, codec.Subscription{Filter: []byte(n), QoS: 1})
			}
			return subs
		}
		at.srv.Provision("$bridge/up", filters("a", "b"))
		at.srv.Provision("$bridge/up", filters("b", "c"))
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "", 1, 1), message("b", "", 1, 2), message("c", "", 1, 3))
		pub.want("a is not wanted any more", &codec.Puback{ID: 1, Code: codec.NoMatchingSubscribers},
			&codec.Puback{ID: 2}, &codec.Puback{ID: 3})
		at.restart()
		if n := at.srv.sessions["$bridge/up"].queue.Len(); n != 2 {
			t.Errorf("%d messages wait for the bridge, want 2", n)
		}
	})
}

func TestProvisionedSessionIsRenamed(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.srv.Provision("$bridge/up", []codec.Subscription{{Filter: []byte("a"), QoS: 1}})
		up := at.bridge("$bridge/up")
		up.next() // PINGRESP
		at.srv.Rename("$bridge/up", "$bridge/cloud")
		at.srv.Rename("$bridge/up", "$bridge/other")
		at.srv.Provision("$bridge/taken", nil)
		at.srv.Rename("$bridge/cloud", "$bridge/taken")
		up.want("whose session it was goes", &codec.Disconnect{Code: codec.AdministrativeAction, ReasonString: []byte("the session is another client's")})
		at.join("pub", codec.V5).send(message("a", "1", 1, 1))
		at.settle()
		at.restart()
		if got := at.srv.Provisioned(); !maps.Equal(got, map[string]int{"$bridge/cloud": 1, "$bridge/taken": 0}) {
			t.Errorf("there are %v", got)
		}
	})
}

func TestProvisionedSessionIsNewToItsClient(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		comes := func(sentence string, want bool, word codec.Packet) {
			t.Helper()
			p := at.dial("up", codec.V311)
			p.send(&codec.Connect{Version: codec.V311, ClientID: []byte("up")})
			p.want(sentence, &codec.Connack{SessionPresent: want})
			if word != nil {
				p.send(word)
			}
			p.cut()
		}
		at.srv.Provision("up", nil)
		at.restart()
		at.srv.Provision("up", nil)
		comes("it has no state of a session", false, nil)
		at.restart()
		comes("and hung up without a word, as one does who has to begin anew", false, &codec.Pingreq{})
		comes("now it has", true, nil)
		at.restart()
		comes("and after a restart", true, nil)
	})
}

// Nothing is sent at QoS 1 and 2 to the client of a provisioned session before it is on
// disk that it has come: after a crash it would be told once more that it has had none,
// make a new session of its own, and get what it has once more.
func TestProvisionedSessionBeginsOnDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.srv.Provision("up", []codec.Subscription{{Filter: []byte("a"), QoS: 2}})
		at.join("pub", codec.V5).send(message("a", "x", 2, 1))
		time.Sleep(2 * time.Second)
		up := at.dial("up", codec.V311)
		up.send(&codec.Connect{Version: codec.V311, ClientID: []byte("up")})
		up.want("it is new", &codec.Connack{})
		time.Sleep(2 * time.Second)
		up.wantIdle("it may hang up")
		at.disk <- struct{}{}
		up.send(&codec.Pingreq{})
		up.want("it stays", &codec.Pingresp{})
		time.Sleep(2 * time.Second)
		up.wantIdle("a crash would forget that")
		<-at.disk
		at.settle()
		up.want("now it is known", message("a", "x", 2, 2))
	})
}

// The sessions of the gateway's own clients wait for as long as an upstream is out of
// reach: nobody would make them again.
func TestSessionOfABridgeIsNotLimited(t *testing.T) {
	onDisk(t, Config{MaxSessionExpiry: time.Minute}, func(at *site) {
		at.srv.Provision("$bridge/up", []codec.Subscription{{Filter: []byte("a"), QoS: 1}})
		bridge := at.tr.Dial()
		bridge.Write((&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/up"), SessionExpiry: never}).Append(nil, codec.V5))
		at.settle()
		bridge.Close()
		time.Sleep(time.Hour)
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "", 1, 1))
		pub.want("the session is there, and wants it", &codec.Puback{ID: 1})
	})
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[Policy]struct {
		code    codec.ReasonCode
		waiting string
	}{
		Reject:     {codec.QuotaExceeded, "01234"},
		DropOldest: {codec.Success, "56789"},
		DropNewest: {codec.Success, "01234"},
	} {
		onDisk(t, Config{QueuePolicy: policy, QueueMaxBytes: 5 * 1100}, func(at *site) {
			sub := at.join("sub", codec.V5, keep)
			sub.subscribe(2, "a")
			sub.cut()
			pub := at.join("pub", codec.V5)
			payload := make([]byte, 1000)
			for i := range 10 {
				payload[0] = '0' + byte(i)
				pub.send(message("a", string(payload), 1, uint16(i+1)))
				ack, _ := pub.next().(*codec.Puback)
				if ack == nil || i < 5 && ack.Code != codec.Success || i >= 5 && ack.Code != want.code {
					t.Fatalf("policy %d: message %d answered by %s", policy, i, show(ack))
				}
			}
			sub = at.join("sub", codec.V5, keep)
			got := ""
			for p := sub.next(); p != nil; p = sub.next() {
				got += string(p.(*codec.Publish).Payload[:1])
			}
			if got != want.waiting {
				t.Errorf("policy %d: %q waited, want %q", policy, got, want.waiting)
			}
			d := at.srv.Stats().Dropped
			if d.Rejected+d.QueueFull != 5 {
				t.Errorf("policy %d: dropped %+v, want 5", policy, d)
			}
		})
	}
}

func TestFailingDiskRefusesWhatNeedsIt(t *testing.T) {
	onDisk(t, Config{QueuePolicy: DropOldest}, func(at *site) {
		at.join("away", codec.V5, keep).subscribe(1, "durable/#")
		here := at.join("here", codec.V5)
		here.subscribe(1, "memory/#")
		at.srv.Failed(errors.New("no space left on device"))
		pub, old := at.join("pub", codec.V5), at.join("old", codec.V311)
		pub.send(message("durable/a", "", 1, 1))
		if ack, _ := pub.next().(*codec.Puback); ack == nil || ack.Code != codec.QuotaExceeded {
			t.Errorf("MQTT 5 is answered by %s, want a refusal", show(ack))
		}
		pub.send(message("memory/a", "", 1, 2))
		pub.want("what needs no disk is taken", &codec.Puback{ID: 2})
		old.send(message("durable/a", "", 1, 1))
		old.wantClosed("MQTT 3.1.1 has no refusal, so it keeps its message")
		at.srv.Failed(nil)
		pub.send(message("durable/a", "", 1, 3))
		pub.want("when it is well again, all is", &codec.Puback{ID: 3})
	})
}

// A bridge gets what is retained once for each filter that it was provisioned with,
// also one that was added later, when it subscribes itself.
func TestProvisionedSubscriptionIsNewOnce(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		subs := func(filters ...string) (subs []codec.Subscription) {
			for _, f := range filters {
				subs = append(subs, codec.Subscription{Filter: []byte(f), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1})
			}
			return subs
		}
		comes := func(sentence string, filters []codec.Subscription, want ...string) {
			t.Helper()
			at.restart()
			at.srv.Provision("$bridge/up", filters)
			up := at.inside("$bridge/up")
			up.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/up"), SessionExpiry: never})
			up.next() // CONNACK
			up.send(&codec.Subscribe{ID: 9, Subscriptions: filters}, &codec.Pingreq{})
			var got []string
			for over := false; !over; {
				switch p := up.next().(type) {
				case *codec.Publish:
					got = append(got, fmt.Sprintf("%s %s %v", p.Topic, p.Payload, p.Retain))
					up.send(&codec.Puback{ID: max(p.ID, 1)})
				case *codec.Pingresp, nil:
					over = true
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", sentence, got, want)
			}
			up.send(retained("a/own", "came down", 1, 1))
			up.want("what it brings is on disk", &codec.Puback{ID: 1})
			up.cut()
		}
		pub := at.join("pub", codec.V5)
		pub.send(retained("a/1", "one", 1, 1), retained("b/1", "two", 0, 0))
		pub.want("on disk", &codec.Puback{ID: 1})
		time.Sleep(2 * time.Second) // and the other as well
		comes("a new filter brings what is retained", subs("a/#"), "a/1 one true")
		comes("once", subs("a/#"))
		comes("the second filter brings its own", subs("a/#", "b/#"), "b/1 two true")
		comes("once", subs("a/#", "b/#"))
		all := subs("a/#", "b/#")
		all[0].RetainHandling, all[1].RetainHandling = 0, 0
		comes("and all if it asks for it, but for what it brought itself", all, "a/1 one true", "b/1 two true")
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "a/own")
		sub.want("which others get", retained("a/own", "came down", 1, 2))
	})
}
