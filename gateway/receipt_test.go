package gateway

import (
	"net"
	"slices"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// provision makes the session of a bridge that carries everything, with filters for whose
// messages publishers wait.
func (at *site) provision(name string, endToEnd ...string) {
	subs := []codec.Subscription{{Filter: []byte("#"), QoS: 2, NoLocal: true}}
	for _, f := range endToEnd {
		subs = append(subs, codec.Subscription{Filter: []byte(f), QoS: 2, NoLocal: true})
	}
	at.srv.Provision(name, subs, endToEnd...)
}

// bridge connects one that has been provisioned.
func (at *site) bridge(name string) *peer {
	up := at.inside(name)
	up.send(&codec.Connect{Version: codec.V5, ClientID: []byte(name), SessionExpiry: never})
	if ack, ok := up.next().(*codec.Connack); !ok || ack.Code != codec.Success {
		at.t.Fatal("the bridge is not let in")
	}
	up.send(&codec.Pingreq{})
	time.Sleep(2 * time.Second) // it has said a word, and that is on disk
	return up
}

// take takes the messages that have come to a bridge, and returns their payloads.
func (p *peer) take() (ids []uint16, payloads []string) {
	for {
		switch m := p.next().(type) {
		case *codec.Publish:
			ids, payloads = append(ids, m.ID), append(payloads, string(m.Payload))
		case *codec.Pingresp:
		default:
			return ids, payloads
		}
	}
}

func (p *peer) wantPayloads(sentence string, want ...string) (ids []uint16) {
	p.t.Helper()
	ids, got := p.take()
	if !slices.Equal(got, want) {
		p.t.Fatalf("%s: got %q, want %q", sentence, got, want)
	}
	return ids
}

// waitingFor is how many messages somebody waits for, in the queue of a session.
func (at *site) waitingFor(name string) int {
	at.srv.mu.Lock()
	defer at.srv.mu.Unlock()
	if l := at.srv.sessions[name].receipts; l != nil {
		return len(l.due)
	}
	return 0
}

func (at *site) wantWaiting(sentence, name string, want int) {
	at.t.Helper()
	if n := at.waitingFor(name); n != want {
		at.t.Errorf("%s: %d messages are waited for, want %d", sentence, n, want)
	}
}

func again(p *codec.Publish) *codec.Publish {
	p.Dup = true
	return p
}

func TestPublisherWaitsForUpstream(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V5)
		pub.send(message("alarms/1", "away", 1, 1))
		pub.wantIdle("with the bridge away the disk does not do")
		pub.send(message("other", "o", 1, 2), message("other", "o", 2, 3))
		pub.want("others do not wait for it", &codec.Puback{ID: 2}, &codec.Pubrec{ID: 3})
		pub.subscribe(1, "down/#")

		up := at.bridge("$bridge/up")
		ids := up.wantPayloads("all go up in order", "away", "o", "o")
		pub.wantIdle("sent is not acknowledged")
		up.send(&codec.Puback{ID: ids[0]})
		pub.want("acknowledged is", &codec.Puback{ID: 1})

		pub.send(message("alarms/1", "here", 2, 4))
		ids = up.wantPayloads("with the bridge here", "here")
		pub.wantIdle("the disk does not do either")
		up.send(&codec.Pubrec{ID: ids[0]})
		up.want("as ever", &codec.Pubrel{ID: ids[0]})
		pub.wantIdle("the upstream may not have told anybody yet")
		up.send(&codec.Pubcomp{ID: ids[0]})
		pub.want("at QoS 2 the upstream's PUBCOMP lets our PUBREC go", &codec.Pubrec{ID: 4})

		pub.send(message("alarms/1", "no", 1, 5), message("alarms/1", "no", 2, 6))
		ids = up.wantPayloads("two that the upstream refuses", "no", "no")
		up.send(&codec.Puback{ID: ids[0], Code: codec.NotAuthorized, ReasonString: []byte("x")})
		up.send(&codec.Pubrec{ID: ids[1], Code: codec.TopicNameInvalid})
		pub.want("the reason is handed on", &codec.Puback{ID: 5, Code: codec.NotAuthorized, ReasonString: []byte(codec.NotAuthorized.String())},
			&codec.Pubrec{ID: 6, Code: codec.TopicNameInvalid, ReasonString: []byte(codec.TopicNameInvalid.String())})
		pub.send(message("alarms/1", "new", 2, 6))
		ids = up.wantPayloads("the identifier is free again", "new")
		up.send(&codec.Pubrec{ID: ids[0]}, &codec.Pubcomp{ID: ids[0]})
		pub.want("and received", &codec.Pubrec{ID: 6})
		at.wantWaiting("at the end", "$bridge/up", 0)
	})
}

func TestOldPublisherWaitsForUpstream(t *testing.T) {
	onDisk(t, Config{MaxInflight: 4}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V311, func(c *codec.Connect) { c.KeepAlive = 60 })
		pub.send(message("alarms/1", "a", 1, 1), message("other", "b", 1, 2), message("alarms/1", "c", 2, 3))
		pub.wantIdle("in 3.1.1 acknowledgements keep their order")
		pub.send(again(message("alarms/1", "a", 1, 1)), again(message("alarms/1", "c", 2, 3)))
		pub.subscribe(1, "down/#")

		up := at.bridge("$bridge/up")
		ids := up.wantPayloads("what is sent again on the same connection is known", "a", "b", "c")
		up.send(&codec.Puback{ID: ids[0], Code: codec.NotAuthorized})
		pub.want("3.1.1 has no word for a refusal", &codec.Puback{ID: 1}, &codec.Puback{ID: 2})
		up.send(&codec.Puback{ID: ids[1]}, &codec.Pubrec{ID: ids[2]}, &codec.Pubcomp{ID: ids[2]})
		pub.want("which the last one ends", &codec.Pubrec{ID: 3})
		up.cut()

		go func() {
			for id := uint16(10); id < 40; id++ {
				pub.nc.Write(message("alarms/1", "many", 1, id).Append(nil, pub.v))
			}
		}()
		at.settle()
		at.wantWaiting("reading stops at four times what may be in flight", "$bridge/up", 16)
		time.Sleep(time.Hour)
		pub.wantIdle("who is not read is not taken for dead")
		up = at.bridge("$bridge/up")
		count := 0
		for ids, _ := up.take(); len(ids) > 0; ids, _ = up.take() {
			count += len(ids)
			for _, id := range ids {
				up.send(&codec.Puback{ID: id}, &codec.Pubrec{ID: id}, &codec.Pubcomp{ID: id})
			}
		}
		got := 0
		for p := pub.next(); p != nil; p = pub.next() {
			got++
		}
		if got != 30 {
			t.Errorf("%d acknowledgements, want 30", got)
		}
	})
}

// What is sent again by a publisher that has lost its connection meanwhile, or by one of a
// gateway that was killed.
func TestPublisherAsksAgain(t *testing.T) {
	for _, restart := range []bool{false, true} {
		onDisk(t, Config{}, func(at *site) {
			at.provision("$bridge/up", "alarms/#")
			pub := at.join("pub", codec.V5, keep)
			pub.send(message("alarms/1", "one", 1, 1), message("alarms/2", "two", 2, 2), message("alarms/3", "gone", 2, 3), message("alarms/4", "no", 2, 4))
			pub.wantIdle("all wait")
			at.wantWaiting("here", "$bridge/up", 4)
			pub.cut()
			at.wantWaiting("away: at QoS 1 nobody waits any more", "$bridge/up", 3)
			up := at.bridge("$bridge/up")
			ids := up.wantPayloads("all go up", "one", "two", "gone", "no")
			up.send(&codec.Pubrec{ID: ids[2]})
			up.want("one goes on", &codec.Pubrel{ID: ids[2]})
			if restart {
				at.restart()
				at.provision("$bridge/up", "alarms/#")
				at.wantWaiting("after a restart", "$bridge/up", 3)
				up = at.bridge("$bridge/up")
				up.wantPayloads("what is not acknowledged goes up again", "one", "two")
				up.wantPayloads("behind PUBREL as well", "no")
			}
			up.send(&codec.Pubcomp{ID: ids[2]}, &codec.Pubrec{ID: ids[3], Code: codec.NotAuthorized})

			pub = at.join("pub", codec.V5, keep)
			pub.send(again(message("alarms/2", "two", 2, 2)), again(message("alarms/2", "two", 2, 2)))
			pub.wantIdle("the same word is waited for")
			pub.send(again(message("alarms/3", "gone", 2, 3)), again(message("alarms/4", "no", 2, 4)))
			pub.want("what has gone up meanwhile is acknowledged", &codec.Pubrec{ID: 3})
			ids = append(ids, up.wantPayloads("what was refused goes again", "no")...)
			up.send(&codec.Pubrec{ID: ids[1]}, &codec.Pubrec{ID: ids[4]})
			up.want("and no message more", &codec.Pubrel{ID: ids[1]}, &codec.Pubrel{ID: ids[4]})
			up.send(&codec.Pubcomp{ID: ids[1]}, &codec.Pubcomp{ID: ids[4]})
			pub.want("each once", &codec.Pubrec{ID: 2}, &codec.Pubrec{ID: 4})
			pub.send(&codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 3}, &codec.Pubrel{ID: 4})
			pub.want("identifiers are free", &codec.Pubcomp{ID: 2}, &codec.Pubcomp{ID: 3}, &codec.Pubcomp{ID: 4})
			at.wantWaiting("at the end", "$bridge/up", 0)
			at.restart()
			pub = at.join("pub", codec.V5, keep)
			pub.send(message("other", "x", 2, 2))
			pub.want("they are their next owners'", &codec.Pubrec{ID: 2})
		})
	}
}

func TestWaitingEndsWithoutUpstream(t *testing.T) {
	onDisk(t, Config{QueueMaxBytes: 1 << 12, QueuePolicy: DropOldest}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V5)
		pub.send(message("alarms/1", string(make([]byte, 1000)), 1, 1))
		expiring := message("alarms/2", "short", 1, 2)
		expiring.HasMessageExpiry, expiring.MessageExpiry = true, 5
		pub.send(expiring)
		old := at.join("old", codec.V311)
		old.send(message("alarms/3", "old", 1, 1))
		pub.wantIdle("all wait")
		for id := uint16(10); id < 13; id++ {
			pub.send(message("other", string(make([]byte, 1000)), 1, id))
			pub.want("the policy makes room", func() []codec.Packet {
				if id == 13-1 {
					return []codec.Packet{&codec.Puback{ID: 1, Code: codec.QuotaExceeded, ReasonString: []byte("queue full, or the disk: see the gateway's log")}, &codec.Puback{ID: id}}
				}
				return []codec.Packet{&codec.Puback{ID: id}}
			}()...)
		}
		pub.send(message("other", string(make([]byte, 2900)), 1, 20))
		pub.want("of the next two as well", &codec.Puback{ID: 2, Code: codec.QuotaExceeded, ReasonString: []byte("queue full, or the disk: see the gateway's log")}, &codec.Puback{ID: 20})
		old.wantClosed("who can not be told otherwise keeps its message")

		expiring.ID = 30
		pub.send(expiring)
		pub.wantIdle("it waits")
		time.Sleep(10 * time.Second)
		at.bridge("$bridge/up").take()
		pub.want("what expires is told", &codec.Puback{ID: 30, Code: codec.ImplementationSpecificError, ReasonString: []byte(codec.ImplementationSpecificError.String())})
	})
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/a", "alarms/#")
		at.provision("$bridge/b", "alarms/#")
		pub := at.join("pub", codec.V5)
		pub.send(message("alarms/1", "x", 1, 1))
		at.provision("$bridge/a")
		pub.wantIdle("one rule is gone, the other upstream is still waited for")
		at.provision("$bridge/b")
		at.settle()
		pub.want("with none the disk does", &codec.Puback{ID: 1})
	})
}

// Under a policy that drops, who waits for an upstream is refused what finds no room.
func TestNoRoomOnTheWayUp(t *testing.T) {
	onDisk(t, Config{QueueMaxBytes: 1 << 10, QueuePolicy: DropNewest}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V5)
		large := string(make([]byte, 600))
		pub.send(message("alarms/1", large, 2, 1), message("other", large, 1, 2), message("alarms/1", large, 1, 3), message("alarms/1", large, 2, 4))
		full := []byte("queue full, or the disk: see the gateway's log")
		pub.want("the disk's word is given, as the policy has it; the upstream's is not", &codec.Puback{ID: 2},
			&codec.Puback{ID: 3, Code: codec.QuotaExceeded, ReasonString: full}, &codec.Pubrec{ID: 4, Code: codec.QuotaExceeded, ReasonString: full})
		old := at.join("old", codec.V311)
		old.send(message("alarms/1", large, 1, 1))
		old.wantClosed("nor to a client that can not be told")
		at.wantWaiting("the first", "$bridge/up", 1)
	})
}

// Room is made for a message by dropping one for which its publisher waits: that ends the
// connection in the middle, and nothing of it may go on to the next.
func TestPublisherOverrunsItself(t *testing.T) {
	onDisk(t, Config{QueueMaxBytes: 1 << 12, QueuePolicy: DropOldest}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V311, keep)
		for id := uint16(1); id <= 5; id++ {
			pub.send(message("alarms/1", string(make([]byte, 1000)), 1, id))
		}
		pub.wantClosed("it is to send again what was dropped")
		at.wantWaiting("nobody waits", "$bridge/up", 0)
		pub = at.join("pub", codec.V311, keep)
		pub.send(message("other", "x", 1, 9))
		pub.want("nothing of the last connection goes before it", &codec.Puback{ID: 9})
	})
}

// A refusal at QoS 2 frees the identifier: a crash must not have it held again, when it is
// of another message.
func TestRefusalIsOnDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		pub := at.join("pub", codec.V5, keep)
		pub.send(message("alarms/1", "no", 2, 4))
		up := at.bridge("$bridge/up")
		ids := up.wantPayloads("goes up", "no")
		at.disk <- struct{}{}
		up.send(&codec.Pubrec{ID: ids[0], Code: codec.NotAuthorized})
		pub.wantIdle("it is not on disk yet that the message is over")
		<-at.disk
		at.settle()
		pub.want("now it is", &codec.Pubrec{ID: 4, Code: codec.NotAuthorized, ReasonString: []byte(codec.NotAuthorized.String())})
	})
}

// A message that one bridge brings is not held up by the upstream of another.
func TestBridgesDoNotWaitForEachOther(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		at.provision("$bridge/down")
		down := at.bridge("$bridge/down")
		down.want("here", &codec.Pingresp{})
		down.send(message("alarms/1", "x", 1, 1))
		down.want("on disk", &codec.Puback{ID: 1})
	})
}

func TestDeviceWaitsForUpstream(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/up", "alarms/#")
		m := at.field().join("pump")
		id := m.register("alarms/pump")
		m.send(note(id, "1", 1, 5), note(id, "2", 2, 6))
		m.wantIdle("both wait")
		one, two := note(id, "1", 1, 5), note(id, "2", 2, 6)
		one.Dup, two.Dup = true, true
		m.send(one, two, &sn.Pingreq{})
		m.want("asked again they wait on, and nothing else does", &sn.Pingresp{})
		up := at.bridge("$bridge/up")
		ids := up.wantPayloads("each goes up once", "1", "2")
		up.send(&codec.Pubrec{ID: ids[1]}, &codec.Pubcomp{ID: ids[1]})
		m.want("QoS 2 is received", &sn.Pubrec{MessageID: 6})
		up.send(&codec.Puback{ID: ids[0], Code: codec.NotAuthorized})
		m.want("QoS 1 is refused", &sn.Puback{TopicID: id, MessageID: 5, Code: sn.NotSupported})
	})
}

// What waits for a bridge that is no more stays, and nothing joins it, until it is forgotten.
func TestRetiredBridge(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.provision("$bridge/old", "alarms/#")
		at.join("device", codec.V5, keep)
		pub := at.join("pub", codec.V5)
		pub.send(message("alarms/1", "x", 1, 1), message("other", "y", 1, 2))
		pub.want("on disk", &codec.Puback{ID: 2})
		at.srv.Provision("$bridge/old", nil)
		at.settle()
		pub.want("nobody waits any more for who is not to come", &codec.Puback{ID: 1})
		pub.send(message("alarms/1", "z", 1, 3))
		pub.want("nobody asks for more", &codec.Puback{ID: 3, Code: codec.NoMatchingSubscribers})
		at.restart()
		if got := at.srv.Provisioned(); len(got) != 1 || got["$bridge/old"] != 2 {
			t.Errorf("sessions that were provisioned, with what waits: %v", got)
		}
		at.provision("$bridge/old", "alarms/#")
		pub = at.join("pub", codec.V5)
		pub.send(message("alarms/1", "v", 1, 4))
		pub.wantIdle("back again it is waited for")
		at.srv.Forget("$bridge/old")
		at.settle()
		pub.want("its end is no word of an upstream", &codec.Puback{ID: 4, Code: codec.QuotaExceeded, ReasonString: []byte("queue full, or the disk: see the gateway's log")})
		if got := at.srv.Provisioned(); len(got) != 0 {
			t.Errorf("forgotten, and still there: %v", got)
		}
		at.srv.Forget("$bridge/old")
	})
}

// A 3.1.1 client that has published so much that it is not read from is found to be gone
// all the same, though the upstream that it waits for is away.
func TestPublisherThatWaitsGoes(t *testing.T) {
	srv := New(Config{MaxInflight: 1})
	tr := transport.New(transport.Config{}, srv)
	defer func() {
		srv.Shutdown(t.Context())
		tr.Close(t.Context())
	}()
	srv.Provision("$bridge/up", []codec.Subscription{{Filter: []byte("#"), QoS: 1}}, "#")
	addr, err := tr.Listen("tcp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	const early, sent = 10, 100 // of which the first are more than enough
	publish := func(b []byte, from, to uint16) []byte {
		for id := from; id <= to; id++ {
			b = message("a", "x", 1, id).Append(b, codec.V311)
		}
		return b
	}
	hello := (&codec.Connect{Version: codec.V311, CleanStart: true, KeepAlive: 1, ClientID: []byte("pub")}).Append(nil, codec.V311)
	nc.Write(publish(hello, 1, early))
	if !settles(func() bool { return srv.Stats().MessagesIn == early }) {
		t.Fatal("nothing comes")
	}
	nc.Write((&codec.Disconnect{}).Append(publish(nil, early+1, sent), codec.V311))
	nc.Close()
	if !settles(func() bool { return srv.Stats().Connections == 1 && srv.Stats().Connected == 0 }) {
		t.Error("it is still there")
	}
	if n := srv.Stats().MessagesIn; n != sent {
		t.Errorf("%d messages came, want all %d that it had sent", n, sent)
	}
}
