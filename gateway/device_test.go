package gateway

import (
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
)

func TestDevicePublishes(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(2, "plant/#")
		m := at.field().join("pump")
		id := m.register("plant/pump")
		if again := m.register("plant/pump"); again != id {
			t.Errorf("registered twice: %d and %d", id, again)
		}

		m.send(note(id, "0", 0, 0))
		m.wantIdle("QoS 0 has no answer")
		sub.want("QoS 0 arrives", message("plant/pump", "0", 0, 0))

		m.send(note(id, "1", 1, 5))
		m.want("QoS 1 is acknowledged with its topic id", &sn.Puback{TopicID: id, MessageID: 5})
		sub.want("QoS 1 arrives", message("plant/pump", "1", 1, 2))
		sub.send(&codec.Puback{ID: 2})

		m.send(note(id, "2", 2, 6))
		m.want("QoS 2 is received", &sn.Pubrec{MessageID: 6})
		again := note(id, "2", 2, 6)
		again.Dup = true
		m.send(again)
		m.want("QoS 2 repeated is received again", &sn.Pubrec{MessageID: 6})
		m.send(&sn.Pubrel{MessageID: 6})
		m.want("and released", &sn.Pubcomp{MessageID: 6})
		sub.want("QoS 2 arrives once", message("plant/pump", "2", 2, 3))
		sub.wantIdle("that is all")

		m.send(note(99, "?", 1, 7))
		m.want("an unknown topic id is told", &sn.Puback{TopicID: 99, MessageID: 7, Code: sn.InvalidTopicID})
		m.send(note(99, "?", 0, 0))
		m.want("also at QoS 0", &sn.Puback{TopicID: 99, Code: sn.InvalidTopicID})
		m.send(note(id, "?", 1, 0))
		m.wantIdle("a message at QoS 1 without an identifier is dropped")
	})
}

func TestDeviceSubscribes(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(retained("cmd/old", "r", 0, 0))
		m := at.field().join("valve")
		id := m.subscribe(2, "cmd/valve")
		pub.send(message("cmd/valve", "0", 0, 0))
		m.want("QoS 0 comes under the id of SUBACK", note(id, "0", 0, 0))

		pub.send(message("cmd/valve", "1", 1, 1))
		got := m.next().(*sn.Publish)
		if got.QoS != 1 || got.TopicID != id || string(got.Data) != "1" {
			t.Errorf("got %s", showSN(got))
		}
		pub.send(message("cmd/valve", "2", 2, 2))
		m.wantIdle("one at a time")
		m.send(&sn.Puback{TopicID: id, MessageID: got.MessageID})
		two := *m.next().(*sn.Publish)
		if two.QoS != 2 || string(two.Data) != "2" {
			t.Errorf("got %s", showSN(&two))
		}
		m.send(&sn.Pubrec{MessageID: two.MessageID})
		m.want("PUBREL answers PUBREC", &sn.Pubrel{MessageID: two.MessageID})
		m.send(&sn.Pubcomp{MessageID: two.MessageID})

		if id := m.subscribe(0, "cmd/+"); id != 0 {
			t.Errorf("a filter with wildcards got the id %d", id)
		}
		old := m.wantRegister("cmd/old")
		m.want("what is retained follows", &sn.Publish{Retain: true, TopicID: old, Data: []byte("r")})
		m.send(&sn.Unsubscribe{MessageID: 9, Topic: []byte("cmd/+")}, &sn.Unsubscribe{MessageID: 10, Topic: []byte("cmd/valve")})
		m.want("unsubscribed", &sn.Unsuback{MessageID: 9}, &sn.Unsuback{MessageID: 10})
		pub.send(message("cmd/valve", "0", 0, 0))
		m.wantIdle("nothing comes any more")
	})
}

// What comes for a device that has not told that it knows the topic id waits, in order.
func TestMessagesWaitForRegack(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		m.subscribe(1, "a/#")
		pub.send(message("a/1", "first", 1, 1), message("a/1", "second", 1, 2), message("a/2", "0", 0, 0))
		register := *m.next().(*sn.Register)
		m.wantIdle("nothing goes before REGACK")
		m.send(&sn.Regack{TopicID: register.TopicID, MessageID: register.MessageID})
		first := *m.next().(*sn.Publish)
		if string(first.Data) != "first" {
			t.Errorf("got %s", showSN(&first))
		}
		m.send(&sn.Puback{MessageID: first.MessageID})
		m.wantRegister("a/2")
		m.want("QoS 0 was first in line", note(register.TopicID+1, "0", 0, 0))
		second := *m.next().(*sn.Publish)
		if string(second.Data) != "second" {
			t.Errorf("got %s", showSN(&second))
		}
	})
}

func TestDeviceIsAskedForItsWill(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "will/#")
		f := at.field()
		m := f.mote("m")
		m.send(&sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")})
		m.want("the topic comes first", &sn.WillTopicRequest{})
		m.send(&sn.WillTopic{QoS: 1, Topic: []byte("will/m")})
		m.want("then the message", &sn.WillMessageRequest{})
		m.send(&sn.WillMessage{Message: []byte("gone")})
		m.want("then it is connected", &sn.Connack{})

		m.send(&sn.WillMessageUpdate{Message: []byte("gone for good")})
		m.want("the message is changed", &sn.WillMessageResponse{})
		m.send(&sn.WillTopicUpdate{QoS: 1, Topic: []byte("will/other")})
		m.want("and the topic", &sn.WillTopicResponse{})
		time.Sleep(16 * time.Second)
		m.want("a silent device is lost", &sn.Disconnect{})
		sub.want("its will goes out", message("will/other", "gone for good", 1, 2))
	})
}

func TestDeviceKeepsItsWill(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		f := at.field()
		m := f.mote("m")
		connect := sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}
		m.send(&connect, &sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		m.send(&sn.Disconnect{})
		m.want("it goes", &sn.Disconnect{})
		time.Sleep(2 * time.Second)
		sub.wantIdle("its will does not go out")
		at.restart()
		f.again()
		sub = at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		connect.Will = false
		m.send(&connect)
		m.want("it comes without a will", &sn.Connack{})
		time.Sleep(16 * time.Second)
		sub.want("the one kept goes out", message("will/m", "gone", 0, 0))
	})
}

func TestSleepingDeviceGetsWhatWaited(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		id := m.subscribe(2, "cmd/m")
		m.sleep(600)
		pub.send(message("cmd/m", "zero", 0, 0), message("cmd/m", "one", 1, 1), message("cmd/m", "two", 2, 2))
		pub.want("acknowledged", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
		time.Sleep(9 * time.Minute)
		m.wantIdle("it sleeps")

		m.wake()
		m.want("QoS 0 waited as well", note(id, "zero", 0, 0))
		one := *m.next().(*sn.Publish)
		m.wake()
		m.wantIdle("a repeated PINGREQ begins nothing anew")
		m.send(&sn.Puback{MessageID: one.MessageID})
		two := *m.next().(*sn.Publish)
		if string(one.Data) != "one" || string(two.Data) != "two" {
			t.Errorf("got %s and %s", showSN(&one), showSN(&two))
		}
		m.wantIdle("PINGRESP waits for the end of QoS 2")
		m.send(&sn.Pubrec{MessageID: two.MessageID})
		m.want("released", &sn.Pubrel{MessageID: two.MessageID})
		m.send(&sn.Pubcomp{MessageID: two.MessageID})
		m.want("that was all", &sn.Pingresp{})
		m.wake()
		m.want("nothing waits", &sn.Pingresp{})
		pub.send(message("cmd/m", "later", 0, 0))
		m.wantIdle("it sleeps again")
		time.Sleep(16 * time.Minute)
		if n := at.srv.Stats().Connected; n != 1 {
			t.Errorf("%d clients are connected, want pub only", n)
		}
	})
}

// The network may bring a copy of what is over at QoS 2 when the device has connected anew.
func TestLatePublishAfterConnect(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(2, "plant/#")
		m := at.field().join("pump", lasting)
		id := m.register("plant/pump")
		m.send(note(id, "2", 2, 6), &sn.Pubrel{MessageID: 6})
		m.want("QoS 2 is over", &sn.Pubrec{MessageID: 6}, &sn.Pubcomp{MessageID: 6})
		sub.want("it arrives", message("plant/pump", "2", 2, 2))
		time.Sleep(5 * time.Second)
		m.send(&sn.Connect{ProtocolID: 1, Duration: 30, ClientID: []byte("pump")})
		m.want("connected anew", &sn.Connack{})
		m.send(note(id, "2", 2, 6), &sn.Pubrel{MessageID: 6})
		m.want("the copy is answered", &sn.Pubrec{MessageID: 6}, &sn.Pubcomp{MessageID: 6})
		sub.send(&codec.Pubrec{ID: 2})
		sub.want("QoS 2 arrives once", &codec.Pubrel{ID: 2})
		sub.wantIdle("that is all")
		time.Sleep(6 * time.Second)
		m.send(note(id, "2", 2, 6))
		m.want("after T_RETRY it is no copy", &sn.Pubrec{MessageID: 6})
		sub.want("it arrives", message("plant/pump", "2", 2, 3))
	})
}

// After a crash a sleeping device wakes where it fell asleep, and gets at QoS 2 once what
// it was in the middle of.
func TestSleepSurvivesCrash(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		f := at.field()
		m := f.join("m")
		id := m.subscribe(2, "cmd/#")
		if id != 0 {
			t.Fatal("a filter with wildcards got an id")
		}
		m.sleep(600)
		pub.send(message("cmd/m", "two", 2, 2), message("cmd/m", "one", 1, 1))
		pub.want("acknowledged", &codec.Pubrec{ID: 2}, &codec.Puback{ID: 1})
		at.crash(nil)
		f.again()
		m.wantIdle("it sleeps")
		m.wake()
		id = m.wantRegister("cmd/m")
		two := *m.next().(*sn.Publish)
		if string(two.Data) != "two" || two.TopicID != id {
			t.Fatalf("got %s", showSN(&two))
		}
		m.send(&sn.Pubrec{MessageID: two.MessageID})
		m.want("released", &sn.Pubrel{MessageID: two.MessageID})
		at.crash(nil)
		f.again()
		m.wake()
		m.want("it is not sent twice", &sn.Pubrel{MessageID: two.MessageID})
		m.send(&sn.Pubcomp{MessageID: two.MessageID})
		one := *m.next().(*sn.Publish)
		if string(one.Data) != "one" || one.TopicID != id {
			t.Fatalf("got %s", showSN(&one))
		}
		m.send(&sn.Puback{MessageID: one.MessageID})
		m.want("that was all", &sn.Pingresp{})
	})
}

// A device that is active goes on over a crash without noticing.
func TestActiveDeviceSurvivesCrash(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		f := at.field()
		m := f.join("m", lasting)
		in, out := m.subscribe(1, "cmd/m"), m.register("plant/m")
		time.Sleep(2 * time.Second)
		at.crash(nil)
		f.again()
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "plant/#")
		m.send(note(out, "x", 1, 3))
		m.want("acknowledged", &sn.Puback{TopicID: out, MessageID: 3})
		sub.want("arrives", message("plant/m", "x", 1, 2))
		sub.send(message("cmd/m", "y", 0, 0))
		m.want("and the other way", note(in, "y", 0, 0))
	})
}

func TestOversleptDeviceIsLost(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		m := at.field().mote("m")
		m.send(&sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")},
			&sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		m.sleep(100)
		time.Sleep(149 * time.Second)
		sub.wantIdle("it may be late by half")
		time.Sleep(2 * time.Second)
		sub.want("it is lost", message("will/m", "gone", 0, 0))
		m.wake()
		m.want("it is told to connect", &sn.Disconnect{})
	})
}

func TestDeviceIsAskedAgain(t *testing.T) {
	onDisk(t, Config{SN: SN{Retry: 5 * time.Second, Retries: 2}}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", lasting)
		id := m.subscribe(1, "cmd/m")
		pub.send(message("cmd/m", "x", 1, 1))
		first := *m.next().(*sn.Publish)
		again := first
		again.Data, again.Dup = []byte("x"), true
		for range 2 {
			m.wantIdle("not too soon")
			time.Sleep(5 * time.Second)
			m.want("sent again", &again)
		}
		time.Sleep(5 * time.Second)
		m.want("given up", &sn.Disconnect{})
		m.send(&sn.Connect{ProtocolID: 1, Duration: 60, ClientID: []byte("m")})
		m.want("it comes back", &sn.Connack{}, &again)
		m.send(&sn.Puback{TopicID: id, MessageID: first.MessageID})
		m.wantIdle("that was all")
	})
}

func TestStrangersAreTurnedAway(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		m := at.field().mote("m")
		for _, c := range []struct {
			say  sn.Message
			want sn.Message
		}{
			{note(1, "x", 1, 1), &sn.Disconnect{}},
			{&sn.Pingreq{}, &sn.Disconnect{}},
			{&sn.Pingreq{ClientID: []byte("m")}, &sn.Disconnect{}},
			{&sn.Disconnect{}, &sn.Disconnect{}},
			{&sn.SearchGateway{}, &sn.GatewayInfo{GatewayID: 1}},
			{&sn.Connect{ProtocolID: 2, ClientID: []byte("m")}, &sn.Connack{Code: sn.NotSupported}},
			{&sn.Connect{ProtocolID: 1, ClientID: []byte("$bridge/0")}, &sn.Connack{Code: sn.NotSupported}},
			{&sn.Advertise{}, nil},
			{&sn.Connack{}, nil},
			{&sn.Publish{QoS: -1, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | 'b'}, nil},
		} {
			m.send(c.say)
			if c.want != nil {
				m.want(showSN(c.say)+" is answered", c.want)
			}
			m.wantIdle("that was all")
		}
		if st := at.srv.Stats(); st.Connected != 0 || st.Sessions != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
}

// Only what is to be on disk keeps an answer waiting, and then not for what can wait.
func TestAnswersDoNotDawdle(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		m := at.field().join("m") // which stores things that can wait
		start := time.Now()
		m.send(&sn.Subscribe{MessageID: 1, Topic: []byte("a/#/b")})
		m.want("a refused subscription", &sn.Suback{MessageID: 1, Code: sn.NotSupported})
		m.send(&sn.Unsubscribe{MessageID: 2, Topic: []byte("a")})
		m.want("the end of no subscription", &sn.Unsuback{MessageID: 2})
		m.send(&sn.Register{MessageID: 3, Topic: []byte("#")})
		m.want("a refused topic", &sn.Regack{MessageID: 3, Code: sn.NotSupported})
		m.send(&sn.WillMessageUpdate{Message: []byte("x")})
		m.want("an update of no will", &sn.WillMessageResponse{Code: sn.NotSupported})
		m.send(&sn.WillTopicUpdate{Topic: []byte("w")})
		m.want("an update of the will", &sn.WillTopicResponse{})
		id := m.register("a")
		m.send(note(id, "x", 1, 4))
		m.want("a message for nobody", &sn.Puback{TopicID: id, MessageID: 4})
		if again := m.register("a"); again != id {
			t.Errorf("registered as %d, again as %d", id, again)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the answers took %v", took)
		}
	})
}

func TestWillMessageBeforeWillTopic(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		m := at.field().mote("m")
		m.send(&sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")})
		m.want("the topic comes first", &sn.WillTopicRequest{})
		m.send(&sn.WillMessage{Message: []byte("gone")})
		m.want("it is told that this will not do", &sn.Disconnect{})
	})
}

// An empty WILLTOPIC deletes the Will that was kept.
func TestDeviceDeletesItsWill(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		m := at.field().mote("m")
		connect := &sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}
		m.send(connect, &sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		m.send(&sn.Disconnect{})
		m.want("it goes", &sn.Disconnect{})
		m.send(connect, &sn.WillTopic{})
		m.want("it comes, and has none any more", &sn.WillTopicRequest{}, &sn.Connack{})
		time.Sleep(16 * time.Second)
		m.want("it is lost", &sn.Disconnect{})
		sub.wantIdle("nothing goes out")
	})
}

func TestWillMessageBeforeTopic(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		m := at.field().mote("m")
		m.send(&sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}, &sn.WillMessage{Message: []byte("x")})
		m.want("it is told", &sn.WillTopicRequest{}, &sn.Disconnect{})
	})
}

// CONNACK may be lost: what was answered by it is answered again, and nothing begins anew.
func TestWillDialogueRepeated(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		m := at.field().mote("m")
		connect := &sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte("m")}
		m.send(connect, &sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		id := m.subscribe(0, "cmd/m")
		m.send(&sn.WillMessage{Message: []byte("gone")})
		m.want("WILLMSG came again", &sn.Connack{})
		m.send(connect)
		m.want("a copy of CONNECT came late", &sn.Connack{})
		sub.send(message("cmd/m", "0", 0, 0))
		m.want("the session is there", note(id, "0", 0, 0))
		time.Sleep(2 * time.Minute)
		m.want("it is lost", &sn.Disconnect{})
		sub.want("its will is there", message("will/m", "gone", 0, 0))
	})
}

// Who is refused takes nothing away from the device whose name it gave.
func TestRefusedTakeoverLeavesTheWill(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "*", "  readwrite will/#"), Anonymous: true}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		f := at.field()
		m := f.mote("m")
		connect := &sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}
		m.send(connect, &sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		other := f.mote("m")
		other.send(connect, &sn.WillTopic{Topic: []byte("$SYS/x")})
		other.want("refused", &sn.WillTopicRequest{}, &sn.Connack{Code: sn.NotSupported})
		other.send(connect, &sn.WillTopic{Topic: []byte("forbidden/x")}, &sn.WillMessage{})
		other.want("refused later", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{Code: sn.NotSupported})
		time.Sleep(20 * time.Second)
		sub.want("the device is lost", message("will/m", "gone", 0, 0))
	})
}

// The network may bring a copy of the last CONNECT when the device sleeps already.
func TestLateConnectDoesNotLoseSleeper(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 10 })
		id := m.subscribe(1, "cmd/m")
		m.sleep(3600)
		m.send(&sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")})
		m.want("it seems to be awake", &sn.Connack{})
		time.Sleep(5 * time.Minute)
		pub.send(message("cmd/m", "one", 1, 1))
		time.Sleep(5 * time.Minute)
		for got := m.next(); got != nil; got = m.next() {
			if got.Type() != sn.TypePublish {
				t.Errorf("got %s", showSN(got))
			}
		}
		at.crash(nil)
		m.f.again()
		m.wantIdle("it sleeps")
		m.wake()
		one := note(id, "one", 1, packetID(1))
		one.Dup = true
		m.want("it was not lost", one)
	})
}

// CONNACK tells a sleeping device that it is active: a crash does not send it to sleep.
func TestWakingByConnectSurvivesCrash(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		f := at.field()
		m := f.join("m")
		id := m.subscribe(1, "cmd/m")
		m.sleep(3600)
		m.send(&sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte("m")})
		m.want("awake", &sn.Connack{})
		at.crash(nil)
		f.again()
		at.join("pub", codec.V5).send(message("cmd/m", "0", 0, 0))
		m.want("it gets what comes", note(id, "0", 0, 0))
	})
}

// SUBSCRIBE that is sent again for want of SUBACK is one SUBSCRIBE: what is retained comes
// once.
func TestSubscribeRepeated(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		pub.send(retained("cmd/m", "r", 2, 1))
		m := at.field().join("m")
		subscribe := &sn.Subscribe{QoS: 2, MessageID: 5, Topic: []byte("cmd/m")}
		m.send(subscribe)
		m.want("granted", &sn.Suback{QoS: 2, TopicID: 1, MessageID: 5})
		first := *m.next().(*sn.Publish)
		again := *subscribe
		again.Dup = true
		m.send(&again)
		m.want("granted again", &sn.Suback{QoS: 2, TopicID: 1, MessageID: 5})
		m.send(&sn.Pubrec{MessageID: first.MessageID})
		m.want("released", &sn.Pubrel{MessageID: first.MessageID})
		m.send(&sn.Pubcomp{MessageID: first.MessageID})
		m.wantIdle("it came once")
		subscribe.MessageID = 6
		m.send(subscribe)
		m.want("another SUBSCRIBE", &sn.Suback{QoS: 2, TopicID: 1, MessageID: 6})
		if got := m.next(); got == nil || got.Type() != sn.TypePublish {
			t.Errorf("got %s, want what is retained", showSN(got))
		}
	})
}

// What waits at QoS 0 expires as well.
func TestSleepBufferExpires(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		id := m.subscribe(0, "cmd/m")
		m.sleep(600)
		old := message("cmd/m", "old", 0, 0)
		old.HasMessageExpiry, old.MessageExpiry = true, 10
		pub.send(old, message("cmd/m", "new", 0, 0))
		time.Sleep(time.Minute)
		m.wake()
		m.want("the other is there", note(id, "new", 0, 0), &sn.Pingresp{})
		if n := at.srv.Stats().Dropped.Expired; n != 1 {
			t.Errorf("%d counted as expired, want 1", n)
		}
	})
}

// A message that is already taken is not refused when it comes again, however much is
// under way: the device would send it anew, as another.
func TestRepeatIsNotRefused(t *testing.T) {
	onDisk(t, Config{MaxInflight: 1}, func(at *site) {
		m := at.field().join("m", lasting)
		id := m.register("a/b")
		at.disk <- struct{}{}
		two := note(id, "x", 2, 7)
		m.send(two)
		two.Dup = true
		m.send(two)
		m.wantIdle("it is on its way to the disk")
		m.send(note(id, "y", 2, 8))
		m.want("another is too many", &sn.Puback{TopicID: id, MessageID: 8, Code: sn.Congestion})
		<-at.disk
		at.settle()
		m.want("taken", &sn.Pubrec{MessageID: 7})
	})
}

// A device that answers a message at QoS 1 as one at QoS 2 gets it again.
func TestWrongAnswer(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 3600 })
		id := m.subscribe(1, "cmd/m")
		pub.send(message("cmd/m", "x", 1, 1))
		one := note(id, "x", 1, packetID(1))
		m.want("a message", one)
		m.send(&sn.Pubrec{MessageID: one.MessageID})
		m.wantIdle("that is no answer")
		time.Sleep(11 * time.Second)
		one.Dup = true
		m.want("it comes again", one)
	})
}

// However short sessions outlast their connections, a device that sleeps is here.
func TestShortSessionsSleep(t *testing.T) {
	onDisk(t, Config{MaxSessionExpiry: time.Second / 2}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		id := m.subscribe(1, "cmd/m")
		pub.send(message("cmd/m", "x", 1, 1))
		x := note(id, "x", 1, packetID(1))
		m.want("it falls asleep in the middle of a message", x)
		m.sleep(600)
		time.Sleep(time.Minute)
		m.wake()
		x.Dup = true
		m.want("and gets it when it wakes", x)
	})
}
