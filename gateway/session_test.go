package gateway

import (
	"testing"
	"time"

	"sluice/codec"
)

func TestPublishReachesSubscriberAtEachQoS(t *testing.T) {
	for _, v := range []codec.Version{codec.V31, codec.V311, codec.V5} {
		inBubble(t, Config{}, func(at *site) {
			sub := at.join("sub", v)
			sub.subscribe(2, "a/+")
			pub := at.join("pub", v)

			pub.send(message("a/b", "0", 0, 0))
			sub.want("QoS 0 arrives as it is", message("a/b", "0", 0, 0))

			pub.send(message("a/b", "1", 1, 7))
			pub.want("QoS 1 is acknowledged", &codec.Puback{ID: 7})
			sub.want("QoS 1 arrives under an identifier of the server's", message("a/b", "1", 1, 2))
			sub.send(&codec.Puback{ID: 2})

			pub.send(message("a/b", "2", 2, 9))
			pub.want("QoS 2 is received", &codec.Pubrec{ID: 9})
			pub.send(message("a/b", "2", 2, 9))
			pub.want("QoS 2 repeated is received again", &codec.Pubrec{ID: 9})
			pub.send(&codec.Pubrel{ID: 9})
			pub.want("and released", &codec.Pubcomp{ID: 9})
			sub.want("QoS 2 arrives once", message("a/b", "2", 2, 3))
			sub.send(&codec.Pubrec{ID: 3})
			sub.want("PUBREL answers PUBREC", &codec.Pubrel{ID: 3})
			sub.send(&codec.Pubcomp{ID: 3})
			sub.wantIdle("that is all")
			pub.wantIdle("that is all")
		})
	}
}

func TestNobodyWantsIt(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 1, 1))
		pub.want("MQTT 5 is told that nobody subscribes", &codec.Puback{ID: 1, Code: codec.NoMatchingSubscribers})
	})
}

func TestQoSIsTheLowerOfTheTwo(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 2, 1))
		sub.want("a grant of QoS 1 lowers QoS 2", message("a", "x", 1, 2))
	})
}

func TestOverlappingSubscriptionsGetOneCopy(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.send(&codec.Subscribe{ID: 1, SubscriptionID: 11, Subscriptions: []codec.Subscription{{Filter: []byte("a/#"), QoS: 0}}})
		sub.want("granted", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0}})
		sub.send(&codec.Subscribe{ID: 2, SubscriptionID: 22, Subscriptions: []codec.Subscription{{Filter: []byte("a/+"), QoS: 1}}})
		sub.want("granted", &codec.Suback{ID: 2, Codes: []codec.ReasonCode{1}})
		pub := at.join("pub", codec.V5)
		pub.send(message("a/b", "x", 1, 1))
		got, ok := sub.next().(*codec.Publish)
		if !ok || got.QoS != 1 || len(got.SubscriptionIDs) != 2 || got.SubscriptionIDs[0]+got.SubscriptionIDs[1] != 33 {
			t.Errorf("got %v, want one copy at QoS 1 with both identifiers", show(got))
		}
		sub.wantIdle("there is no second copy")
	})
}

func TestNoLocal(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5)
		p.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a"), QoS: 1, NoLocal: true}}})
		p.want("granted", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{1}})
		p.send(message("a", "x", 0, 0))
		p.wantIdle("its own message does not come back")
		p.subscribe(0, "+")
		p.send(message("a", "y", 1, 1))
		p.want("but it does by a subscription without No Local, and only by that one",
			message("a", "y", 0, 0), &codec.Puback{ID: 1})
	})
}

func TestSessionWaitsForItsClient(t *testing.T) {
	for _, v := range []codec.Version{codec.V311, codec.V5} {
		inBubble(t, Config{}, func(at *site) {
			sub := at.join("sub", v, keep)
			sub.subscribe(2, "a")
			pub := at.join("pub", v)
			pub.send(message("a", "sent, not acknowledged", 1, 1))
			sub.want("the first comes", message("a", "sent, not acknowledged", 1, 2))
			sub.cut()
			pub.send(message("a", "away", 1, 2), message("a", "away, not kept", 0, 0), message("a", "away at 2", 2, 3))

			sub = at.dial("sub", v)
			c := codec.Connect{Version: v, ClientID: []byte("sub")}
			keep(&c)
			sub.send(&c)
			ack, _ := sub.next().(*codec.Connack)
			if ack == nil || !ack.SessionPresent {
				t.Fatalf("got %v, want the session present", show(ack))
			}
			again := message("a", "sent, not acknowledged", 1, 2)
			again.Dup = true
			sub.want("the unacknowledged comes again, then the others in order",
				again, message("a", "away", 1, 3), message("a", "away at 2", 2, 4))
			sub.send(&codec.Puback{ID: 2}, &codec.Puback{ID: 3}, &codec.Pubrec{ID: 4})
			sub.want("PUBREL", &codec.Pubrel{ID: 4})
			sub.cut()

			sub = at.dial("sub", v)
			sub.send(&c)
			sub.next()
			sub.want("after PUBREC only PUBREL comes again", &codec.Pubrel{ID: 4})
			sub.send(&codec.Pubcomp{ID: 4})
			sub.wantIdle("nothing is left")
		})
	}
}

func TestCleanStartForgets(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a")
		sub.cut()
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 1, 1))
		pub.want("it is kept", &codec.Puback{ID: 1})
		sub = at.join("sub", codec.V5)
		sub.wantIdle("clean start brings nothing of the old session")
		pub.send(message("a", "x", 1, 2))
		pub.want("the subscription is gone as well", &codec.Puback{ID: 2, Code: codec.NoMatchingSubscribers})
		if n := at.srv.Stats().Dropped.SessionEnded; n != 1 {
			t.Errorf("%d messages counted as dropped with their session, want 1", n)
		}
	})
}

func TestSessionExpires(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		expire := func(c *codec.Connect) { c.CleanStart, c.SessionExpiry = false, 60 }
		sub := at.join("sub", codec.V5, expire)
		sub.subscribe(1, "a")
		sub.cut()
		time.Sleep(59 * time.Second)
		sub = at.dial("sub", codec.V5)
		c := codec.Connect{Version: codec.V5, ClientID: []byte("sub"), SessionExpiry: 60}
		sub.send(&c)
		if ack, _ := sub.next().(*codec.Connack); ack == nil || !ack.SessionPresent {
			t.Error("after 59 s the session is gone")
		}
		sub.cut()
		time.Sleep(61 * time.Second)
		if n := at.srv.Stats().Sessions; n != 0 {
			t.Errorf("after 61 s there are %d sessions", n)
		}
	})
}

func TestDisconnectChangesExpiry(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		p.send(&codec.Disconnect{HasSessionExpiry: true, SessionExpiry: 0})
		p.wantClosed("the client is gone")
		if n := at.srv.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions are left, want none", n)
		}
		p = at.join("p", codec.V5)
		p.send(&codec.Disconnect{HasSessionExpiry: true, SessionExpiry: 10})
		p.wantRefused("a session that was to end can not be prolonged", codec.ProtocolError)
	})
}

func TestTakeOver(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		first := at.join("p", codec.V5, keep)
		first.subscribe(1, "a")
		second := at.join("p", codec.V5, keep)
		first.wantRefused("the first connection is told", codec.SessionTakenOver)
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 1, 1))
		second.want("the session goes on with the second", message("a", "x", 1, 2))
	})
}

func TestKeepAlive(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5, func(c *codec.Connect) { c.KeepAlive = 40 })
		start := time.Now()
		time.Sleep(59 * time.Second)
		p.send(&codec.Pingreq{})
		p.want("a ping within one and a half times Keep Alive is answered", &codec.Pingresp{})
		p.wantClosedAt(start.Add(119 * time.Second))
		p.wantRefused("the client is told why", codec.KeepAliveTimeout)
	})
}

func TestServerKeepAlive(t *testing.T) {
	inBubble(t, Config{MaxKeepAlive: 30 * time.Second}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.send(&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p"), KeepAlive: 600})
		if a, _ := p.next().(*codec.Connack); a == nil || a.ServerKeepAlive != 30 {
			t.Errorf("got %v, want Server Keep Alive 30", show(a))
		}
		start := time.Now()
		p.wantClosedAt(start.Add(45 * time.Second))
	})
}

func TestNoConnectInTime(t *testing.T) {
	inBubble(t, Config{ConnectTimeout: 5 * time.Second}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.sendRaw([]byte{0x10})
		time.Sleep(4 * time.Second)
		p.wantIdle("half a CONNECT may take a while")
		time.Sleep(time.Second)
		p.wantClosed("but no longer than the time for it")
	})
}

func TestReceiveMaximumOfTheClient(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, func(c *codec.Connect) { c.ReceiveMaximum = 2 })
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "1", 1, 1), message("a", "2", 2, 2), message("a", "3", 1, 3), message("a", "4", 0, 0))
		sub.want("two are in flight, QoS 0 needs no quota",
			message("a", "1", 1, 2), message("a", "2", 2, 3), message("a", "4", 0, 0))
		sub.wantIdle("the third waits")
		sub.send(&codec.Pubrec{ID: 3})
		sub.want("PUBREC returns no quota", &codec.Pubrel{ID: 3})
		sub.wantIdle("so the third still waits")
		sub.send(&codec.Pubcomp{ID: 3})
		sub.want("PUBCOMP does", message("a", "3", 1, 4))
		sub.send(&codec.Puback{ID: 2}, &codec.Puback{ID: 4})
		sub.wantIdle("nothing is left")
	})
}

// What was released before a reconnect is still open at the client, and counts.
func TestReleasedMessagesTakeQuota(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		two := func(c *codec.Connect) { keep(c); c.ReceiveMaximum = 2 }
		sub := at.join("sub", codec.V5, two)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "1", 2, 1), message("a", "2", 2, 2), message("a", "3", 2, 3), message("a", "4", 1, 4))
		sub.want("two come", message("a", "1", 2, 2), message("a", "2", 2, 3))
		sub.send(&codec.Pubrec{ID: 2}, &codec.Pubrec{ID: 3})
		sub.want("and are released", &codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3})
		sub.cut()

		sub = at.join("sub", codec.V5, two)
		sub.want("they are released again", &codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3})
		sub.wantIdle("and fill the quota")
		sub.send(&codec.Pubcomp{ID: 2})
		sub.want("one is over, one comes", message("a", "3", 2, 4))
		sub.wantIdle("not two")
		sub.send(&codec.Pubcomp{ID: 3})
		sub.want("then the other", message("a", "4", 1, 5))
	})
}

func TestReceiveMaximumOfTheServer(t *testing.T) {
	inBubble(t, Config{MaxInflight: 2}, func(at *site) {
		p := at.join("p", codec.V5)
		p.send(message("a", "", 2, 1), message("a", "", 2, 2))
		p.want("two are taken", &codec.Pubrec{ID: 1, Code: codec.NoMatchingSubscribers}, &codec.Pubrec{ID: 2, Code: codec.NoMatchingSubscribers})
		p.send(&codec.Pubrel{ID: 1})
		p.want("one is over", &codec.Pubcomp{ID: 1})
		p.send(message("a", "", 2, 3))
		p.want("there is room for one more", &codec.Pubrec{ID: 3, Code: codec.NoMatchingSubscribers})
		p.send(message("a", "", 1, 4))
		p.wantRefused("and not for a third", codec.ReceiveMaximumExceeded)
	})
}

func TestRefusedMessageEndsItsFlow(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(2, "a")
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 2, 1))
		sub.want("it comes", message("a", "x", 2, 2))
		sub.send(&codec.Pubrec{ID: 2, Code: codec.UnspecifiedError})
		sub.wantIdle("a refused message gets no PUBREL")
		sub.send(&codec.Pubrec{ID: 2})
		sub.want("its identifier is free", &codec.Pubrel{ID: 2, Code: codec.PacketIdentifierNotFound})
	})
}

func TestMaximumPacketSizeOfTheClient(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, func(c *codec.Connect) { c.MaximumPacketSize = 30; c.TopicAliasMaximum = 5 })
		sub.subscribe(1, "long/topic")
		pub := at.join("pub", codec.V5)
		pub.send(message("long/topic", "0123456789012345", 1, 1), message("long/topic", "short", 1, 2))
		small := message("long/topic", "short", 1, 3)
		small.TopicAlias = 1
		sub.want("what is too large does not come, what is not does", small)
		if n := at.srv.Stats().Dropped.TooLarge; n != 1 {
			t.Errorf("%d counted as too large, want 1", n)
		}
	})
}

func TestTopicAliases(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, func(c *codec.Connect) { c.TopicAliasMaximum = 1 })
		sub.subscribe(0, "#")
		pub := at.join("pub", codec.V5)
		set := message("long/topic", "1", 0, 0)
		set.TopicAlias = 3
		use := message("", "2", 0, 0)
		use.TopicAlias = 3
		pub.send(set, use, message("other/topic", "3", 0, 0))
		one, two := message("long/topic", "1", 0, 0), message("", "2", 0, 0)
		one.TopicAlias, two.TopicAlias = 1, 1
		sub.want("aliases of the two connections have nothing to do with each other",
			one, two, message("other/topic", "3", 0, 0))
		use.TopicAlias = 4
		pub.send(use)
		pub.wantRefused("an alias must have been set", codec.ProtocolError)

		pub = at.join("pub", codec.V5)
		set.TopicAlias = maxAliases + 1
		pub.send(set)
		pub.wantRefused("and within the maximum", codec.TopicAliasInvalid)
	})
}

func TestForbiddenPackets(t *testing.T) {
	for name, packet := range map[string]codec.Packet{
		"second CONNECT": &codec.Connect{Version: codec.V5, ClientID: []byte("p")},
		"a bad one":      &codec.Connect{Version: 6, ClientID: []byte("p")}, // its own code is for CONNACK only
		"CONNACK":        &codec.Connack{MaximumQoS: 2},
		"SUBACK":         &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0}},
		"PINGRESP":       &codec.Pingresp{},
		"AUTH":           &codec.Auth{Code: codec.Reauthenticate, AuthMethod: []byte("M")},
	} {
		inBubble(t, Config{}, func(at *site) {
			neighbour := at.join("neighbour", codec.V5)
			p := at.join("p", codec.V5)
			p.send(packet)
			p.wantRefused(name+" ends the connection", codec.ProtocolError)
			neighbour.send(&codec.Pingreq{})
			neighbour.want("and no other", &codec.Pingresp{})
		})
	}
}

func TestFirstPacketIsConnect(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.send(&codec.Pingreq{})
		p.wantClosed("without a word")
	})
}
