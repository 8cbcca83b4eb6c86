package gateway

import (
	"testing"
	"time"

	"sluice/codec"
)

// What an answer promises is on disk when it leaves, and not sooner.
func TestAnswersWaitForTheDisk(t *testing.T) {
	filter := func(f string, qos byte) []codec.Subscription {
		return []codec.Subscription{{Filter: []byte(f), QoS: qos}}
	}
	for name, c := range map[string]struct {
		say  []codec.Packet // by p, whose session lasts; another such, away, wants away/#
		want []codec.Packet
	}{
		"QoS 1 for one who is away":   {[]codec.Packet{message("away/1", "", 1, 1)}, []codec.Packet{&codec.Puback{ID: 1}}},
		"QoS 2 for one who is away":   {[]codec.Packet{message("away/1", "", 2, 1)}, []codec.Packet{&codec.Pubrec{ID: 1}}},
		"QoS 2 for nobody":            {[]codec.Packet{message("x", "", 2, 1)}, []codec.Packet{&codec.Pubrec{ID: 1, Code: codec.NoMatchingSubscribers}}},
		"QoS 2, repeated":             {[]codec.Packet{message("x", "", 2, 1), message("x", "", 2, 1)}, []codec.Packet{&codec.Pubrec{ID: 1, Code: codec.NoMatchingSubscribers}, &codec.Pubrec{ID: 1}}},
		"the release of an old QoS 2": {[]codec.Packet{&codec.Pubrel{ID: 9}}, []codec.Packet{&codec.Pubcomp{ID: 9}}},
		"a retained message":          {[]codec.Packet{retained("x", "y", 1, 1)}, []codec.Packet{&codec.Puback{ID: 1}}},
		"a retained message cleared":  {[]codec.Packet{retained("old", "", 1, 1)}, []codec.Packet{&codec.Puback{ID: 1}}},
		"SUBSCRIBE":                   {[]codec.Packet{&codec.Subscribe{ID: 1, Subscriptions: filter("x", 1)}}, []codec.Packet{&codec.Suback{ID: 1, Codes: []codec.ReasonCode{1}}}},
		"UNSUBSCRIBE":                 {[]codec.Packet{&codec.Unsubscribe{ID: 1, Filters: [][]byte{[]byte("own")}}}, []codec.Packet{&codec.Unsuback{ID: 1, Codes: []codec.ReasonCode{0}}}},
		"PUBREC of what p was sent":   {[]codec.Packet{&codec.Pubrec{ID: 2}}, []codec.Packet{&codec.Pubrel{ID: 2}}},
		"what came first is answered first": {[]codec.Packet{message("away/1", "", 1, 1), message("x", "", 1, 2)},
			[]codec.Packet{&codec.Puback{ID: 1}, &codec.Puback{ID: 2, Code: codec.NoMatchingSubscribers}}},
	} {
		onDisk(t, Config{}, func(at *site) {
			away := at.join("away", codec.V5, keep)
			away.subscribe(2, "away/#")
			away.cut()
			p := at.join("p", codec.V5, keep)
			p.subscribe(2, "own")
			p.send(message("own", "", 2, 9), retained("old", "x", 0, 0))
			for range 2 { // PUBREC 9 and PUBLISH 2; which comes first is the disk's to say
				if p.next() == nil {
					t.Fatal("not ready")
				}
			}
			time.Sleep(2 * time.Second)
			at.settle()

			at.disk <- struct{}{}
			p.send(c.say...)
			time.Sleep(5 * time.Second)
			p.wantIdle(name + " is not answered before it is on disk")
			<-at.disk
			at.settle()
			p.want(name+" is answered once it is", c.want...)
			p.wantIdle(name)
		})
	}
}

// Nothing is acknowledged for a session that lasts before that is on disk itself, though the
// message need not be: after a crash its client would be told that there is no session, and
// would forget what it has under way. [MQTT-3.2.2-5]
func TestNewSessionIsOnDiskBeforeItIsUsed(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		here := at.join("here", codec.V5)
		here.subscribe(1, "a")
		brief := at.join("brief", codec.V5)
		at.settle()
		at.disk <- struct{}{}
		lasting := at.join("lasting", codec.V5, keep)
		brief.send(message("a", "0", 1, 1))
		lasting.send(message("a", "1", 1, 1), message("x", "2", 1, 2),
			&codec.Subscribe{ID: 3, Subscriptions: []codec.Subscription{{Filter: []byte("b"), QoS: 1}}}, message("b", "3", 1, 4))
		here.want("what is sent on needs no disk", message("a", "0", 1, 2), message("a", "1", 1, 3))
		here.send(&codec.Puback{ID: 2}, &codec.Puback{ID: 3})
		brief.want("nor does who does not last", &codec.Puback{ID: 1})
		time.Sleep(5 * time.Second)
		lasting.wantIdle("its session is not on disk")
		<-at.disk
		at.settle()
		lasting.want("now it is", &codec.Puback{ID: 1}, &codec.Puback{ID: 2, Code: codec.NoMatchingSubscribers},
			message("b", "3", 1, 2), &codec.Suback{ID: 3, Codes: []codec.ReasonCode{1}}, &codec.Puback{ID: 4})
		at.crash(nil)
		pub := at.dial("lasting", codec.V5)
		pub.send(&codec.Connect{Version: codec.V5, ClientID: []byte("lasting"), SessionExpiry: never})
		if welcome, _ := pub.next().(*codec.Connack); welcome == nil || !welcome.SessionPresent {
			t.Errorf("after a crash: %s, want that there is a session", show(welcome))
		}
	})
}

// A client that comes for a moment and leaves in good order does not wear the disk, though
// its will would have to be there in a second.
func TestBriefVisitWithAWillIsNotWritten(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.settle()
		before := at.written()
		for range 3 {
			p := at.join("p", codec.V5, func(c *codec.Connect) { c.Will = &codec.Will{Message: codec.Message{Topic: []byte("w")}} })
			p.send(message("a", "1", 0, 0), &codec.Disconnect{})
			at.settle()
		}
		time.Sleep(2 * time.Second)
		if n := at.written() - before; n != 0 {
			t.Errorf("%d bytes are written", n)
		}
	})
}

// A QoS 2 message is not sent to a session that lasts before it is on disk: a crash would
// forget that its identifier was used.
func TestQoS2WaitsForTheDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		at.settle()
		at.disk <- struct{}{}
		pub.send(message("a", "1", 1, 1), message("a", "2", 2, 2), message("a", "3", 1, 3))
		sub.want("QoS 1 is sent", message("a", "1", 1, 2))
		time.Sleep(5 * time.Second)
		sub.wantIdle("QoS 2 is not, nor what is behind it")
		<-at.disk
		at.settle()
		sub.want("until the disk has it", message("a", "2", 2, 3), message("a", "3", 1, 4))
	})
}

// One recipient's acknowledgement does not stand for what another has only in memory.
func TestOneAcknowledgementIsNotEnough(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		for _, name := range []string{"away", "here", "there"} {
			at.join(name, codec.V5, keep).subscribe(1, "a")
			if name == "away" {
				at.join(name, codec.V5, keep).cut()
			}
		}
		here, there := at.join("here", codec.V5, keep), at.join("there", codec.V5, keep)
		pub := at.join("pub", codec.V5)
		at.settle()
		at.disk <- struct{}{}
		pub.send(message("a", "", 1, 1))
		here.send(&codec.Puback{ID: 2})
		there.send(&codec.Puback{ID: 2})
		pub.wantIdle("the copy of the one who is away is not on disk")
		<-at.disk
		at.settle()
		pub.want("now it is", &codec.Puback{ID: 1})

		at.join("away", codec.V5) // ends it
		at.settle()
		at.disk <- struct{}{}
		pub.send(message("a", "", 1, 2))
		here.send(&codec.Puback{ID: 3})
		pub.wantIdle("one of the two has it")
		there.send(&codec.Puback{ID: 3})
		pub.want("both have it", &codec.Puback{ID: 2})

		pub.send(retained("a", "", 1, 3), retained("a", "kept", 1, 4))
		for _, p := range []*peer{here, there} {
			p.send(&codec.Puback{ID: 4}, &codec.Puback{ID: 5})
		}
		pub.want("there was none to clear", &codec.Puback{ID: 3})
		pub.wantIdle("both have it, but the retained copy is not on disk")
		<-at.disk
		at.settle()
		pub.want("now it is", &codec.Puback{ID: 4})
	})
}

func TestKillKeepsWhatWasDone(t *testing.T) {
	for name, end := range map[string]func(*site){
		"killed":  func(at *site) { time.Sleep(3 * time.Second); at.settle(); at.crash(nil) },
		"stopped": (*site).restart,
		"cut, and killed a second later": func(at *site) {
			at.join("sub", codec.V5, keep).cut()
			time.Sleep(time.Second + 100*time.Millisecond)
			at.crash(nil)
		},
	} {
		onDisk(t, Config{}, func(at *site) {
			sub := at.join("sub", codec.V5, keep)
			sub.subscribe(2, "a")
			sub.cut()
			pub := at.join("pub", codec.V5)
			pub.send(message("a", "1", 1, 1), message("a", "2", 1, 2), message("a", "3", 2, 3), message("a", "4", 1, 4))
			sub = at.join("sub", codec.V5, keep, func(c *codec.Connect) { c.ReceiveMaximum = 3 })
			sub.want("three are sent", message("a", "1", 1, 2), message("a", "2", 1, 3), message("a", "3", 2, 4))
			sub.send(&codec.Puback{ID: 2})
			sub.want("and a fourth", message("a", "4", 1, 5))
			end(at)
			sub = at.join("sub", codec.V5, keep)
			two, three, four := message("a", "2", 1, 3), message("a", "3", 2, 4), message("a", "4", 1, 5)
			two.Dup, three.Dup, four.Dup = true, true, true
			sub.want(name+": what was acknowledged does not come again, what was sent is marked", two, three, four)
			sub.send(&codec.Puback{ID: 3}, &codec.Puback{ID: 5}, &codec.Pubrec{ID: 4})
			sub.want("released", &codec.Pubrel{ID: 4})
			at.crash(nil) // nothing waits in the queue, but 4 is in use
			sub = at.join("sub", codec.V5, keep)
			pub = at.join("pub", codec.V5)
			pub.send(message("a", "5", 2, 1))
			sub.want("the identifiers go on", &codec.Pubrel{ID: 4}, message("a", "5", 2, 6))
		})
	}
}

// What a client had been sent when the gateway was killed is not written each time.
func TestKillMarksWhatMayHaveBeenSent(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		one, two := message("a", "1", 1, 2), message("a", "2", 2, 3)
		two.HasMessageExpiry, two.MessageExpiry = true, 60
		at.join("pub", codec.V5).send(message("a", "1", 1, 1), two)
		sub.want("both are sent", one, two)
		at.settle()
		for range 2 {
			at.crash(nil)
			time.Sleep(time.Minute)
			sub = at.join("sub", codec.V5, keep)
			one.Dup, two.Dup, two.MessageExpiry = true, true, 0
			sub.want("they are marked, and the handshake goes on though its message has expired", one, two)
			at.settle()
		}
		sub.send(&codec.Puback{ID: 2}, &codec.Pubrec{ID: 3})
		sub.want("it can be ended", &codec.Pubrel{ID: 3})
		sub.send(&codec.Pubcomp{ID: 3})
		at.join("pub", codec.V5).send(message("a", "3", 1, 1))
		sub.want("the identifiers go on", message("a", "3", 1, 4))
	})
}

// A member of a shared subscription whose session ends may have had what waited when the
// gateway was killed, or not: it is not lost.
func TestKillLosesNoSharedMessage(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		first := at.join("first", codec.V5, keep, func(c *codec.Connect) { c.ReceiveMaximum = 1 })
		first.subscribe(2, "$share/g/a")
		at.join("pub", codec.V5).send(message("a", "1", 2, 1), message("a", "2", 2, 2))
		first.want("one is sent", message("a", "1", 2, 2))
		at.settle()
		at.crash(nil)
		second := at.join("second", codec.V5)
		second.subscribe(2, "$share/g/a")
		at.join("first", codec.V5)
		second.want("what nobody knows of goes to the other, as what was not sent does", message("a", "1", 2, 2), message("a", "2", 2, 3))
	})
}

// What is cleared at QoS 0 is on disk for a second more. Who clears it again is told that it has gone when it has.
func TestKillBringsNothingBackThatWasCleared(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(retained("a", "old", 1, 1))
		pub.want("it is on disk", &codec.Puback{ID: 1})
		at.settle()
		at.disk <- struct{}{}
		pub.send(retained("a", "", 0, 0), retained("a", "", 1, 2))
		pub.wantIdle("it is on disk still")
		<-at.disk
		at.settle()
		pub.want("cleared, and there was nothing any more", &codec.Puback{ID: 2, Code: codec.NoMatchingSubscribers})
		at.crash(nil)
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "a")
		sub.wantIdle("it is not there")
	})
}

func TestKillBringsTheWill(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "w")
		at.join("p", codec.V5, withWill(0))
		time.Sleep(2 * time.Second)
		at.crash(nil)
		sub = at.join("sub", codec.V5, keep)
		sub.want("the will of a client whose session does not last goes out too", message("w", "gone", 1, 2))
		if n := at.srv.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
	})
}

func TestWillIsNotSentWithoutItsGrant(t *testing.T) {
	before, after := accounts(t, "ali", "  readwrite #"), accounts(t, "ali", "  read #")
	onDisk(t, Config{Access: before}, func(at *site) {
		at.join("sub", codec.V5, keep, as("ali", "sesame")).subscribe(1, "w")
		at.join("p", codec.V5, keep, as("ali", "sesame"), withWill(30)).cut()
		at.cfg.Access = after
		at.restart()
		sub := at.join("sub", codec.V5, keep, as("ali", "sesame"))
		time.Sleep(time.Minute)
		sub.wantIdle("the grant is gone, so the will is not sent")
		if n := at.srv.Stats().Dropped.NotAuthorized; n != 1 {
			t.Errorf("%d counted as not authorized, want 1", n)
		}
	})
}

func TestExpiryInDisconnectIsLimited(t *testing.T) {
	inBubble(t, Config{MaxSessionExpiry: time.Minute}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		p.send(&codec.Disconnect{HasSessionExpiry: true, SessionExpiry: 3600})
		time.Sleep(61 * time.Second)
		if n := at.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions are left, want none", n)
		}
	})
}

func TestSentMessageDoesNotExpire(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(2, "a")
		m := message("a", "x", 2, 2)
		m.HasMessageExpiry, m.MessageExpiry = true, 10
		at.join("pub", codec.V5).send(m)
		sub.want("it comes", m)
		sub.cut()
		time.Sleep(time.Minute)
		sub = at.join("sub", codec.V5, keep)
		m.Dup, m.MessageExpiry = true, 0
		sub.want("a handshake that has begun is ended", m)
	})
}

func TestSentQoS2StaysWithItsMember(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		first := at.join("first", codec.V5, keep)
		first.subscribe(2, "$share/g/a")
		at.join("pub", codec.V5).send(message("a", "x", 2, 1))
		first.want("it has it", message("a", "x", 2, 2))
		second := at.join("second", codec.V5)
		second.subscribe(2, "$share/g/a")
		first.cut()
		at.join("first", codec.V5)
		second.wantIdle("a QoS 2 message that one member may have does not go to another")
	})
}
