package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/gateway/topic"
	"sluice/gateway/transport"
)

func predefined(t *testing.T, text string) *topic.Predefined {
	t.Helper()
	p, err := topic.ParsePredefined(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPredefinedAndShortTopics(t *testing.T) {
	inBubble(t, Config{SN: SN{Predefined: predefined(t, "7 plant/seven\n8=plant/eight")}}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "#")
		m := at.field().join("m")
		m.send(&sn.Publish{TopicIDType: sn.PredefinedTopic, TopicID: 7, Data: []byte("p")})
		sub.want("a predefined id", message("plant/seven", "p", 0, 0))
		m.send(&sn.Publish{TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | '1', Data: []byte("s")})
		sub.want("a short name", message("a1", "s", 0, 0))
		m.send(&sn.Publish{TopicIDType: sn.PredefinedTopic, TopicID: 9, Data: []byte("p")})
		m.want("an id that is none", &sn.Puback{TopicID: 9, Code: sn.InvalidTopicID})
		m.send(&sn.Publish{TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | '+', Data: []byte("s")})
		m.want("a name with a wildcard", &sn.Puback{TopicID: 'a'<<8 | '+', Code: sn.NotSupported})
		m.send(&sn.Publish{TopicIDType: 3, TopicID: 1})
		m.want("the type that is reserved", &sn.Puback{TopicID: 1, Code: sn.NotSupported})

		m.send(&sn.Subscribe{MessageID: 1, TopicIDType: sn.PredefinedTopic, TopicID: 8})
		m.want("granted under its id", &sn.Suback{MessageID: 1, TopicID: 8})
		m.send(&sn.Subscribe{MessageID: 2, TopicIDType: sn.ShortTopic, TopicID: 'b'<<8 | '2'})
		m.want("granted", &sn.Suback{MessageID: 2})
		m.send(&sn.Subscribe{MessageID: 3, TopicIDType: sn.PredefinedTopic, TopicID: 9})
		m.want("refused", &sn.Suback{MessageID: 3, Code: sn.InvalidTopicID})
		m.send(&sn.Subscribe{MessageID: 4, QoS: -1, Topic: []byte("x")})
		m.want("QoS -1 is none to subscribe at", &sn.Suback{MessageID: 4, Code: sn.NotSupported})
		m.send(&sn.Subscribe{MessageID: 5, Topic: []byte("x/#/y")})
		m.want("no filter", &sn.Suback{MessageID: 5, Code: sn.NotSupported})
		m.send(&sn.Register{MessageID: 6, Topic: []byte("x/#")})
		m.want("no topic", &sn.Regack{MessageID: 6, Code: sn.NotSupported})
		sub.send(message("plant/eight", "8", 0, 0), message("b2", "b", 0, 0))
		m.want("both come without REGISTER",
			&sn.Publish{TopicIDType: sn.PredefinedTopic, TopicID: 8, Data: []byte("8")},
			&sn.Publish{TopicIDType: sn.ShortTopic, TopicID: 'b'<<8 | '2', Data: []byte("b")})
		m.send(&sn.Unsubscribe{MessageID: 7, TopicIDType: sn.ShortTopic, TopicID: 'b'<<8 | '2'})
		m.want("unsubscribed", &sn.Unsuback{MessageID: 7})
		sub.send(message("b2", "b", 0, 0))
		m.wantIdle("no more comes")
	})
}

func TestPublishWithoutConnection(t *testing.T) {
	short := &sn.Publish{QoS: -1, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | 'b', Data: []byte("x")}
	for _, anonymous := range []bool{false, true} {
		inBubble(t, Config{SN: SN{Anonymous: anonymous}}, func(at *site) {
			sub := at.join("sub", codec.V5)
			sub.subscribe(1, "#")
			m := at.field().mote("m")
			m.send(short, &sn.Publish{QoS: -1, TopicID: 1, Data: []byte("no")})
			m.wantIdle("there is never an answer")
			if anonymous {
				sub.want("it arrives at QoS 0", message("ab", "x", 0, 0))
			}
			sub.wantIdle("that is all")
		})
	}
}

// Over DTLS it takes an account, not only a key or certificate.
func TestPublishWithoutConnectionOverDTLS(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali", "kasim", "  read #"), Anonymous: true}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "#")
		for _, user := range []string{"ali", "kasim", "nobody"} {
			m := at.secureField(transport.Identity{User: user, Name: user}).mote("m")
			m.send(&sn.Publish{QoS: -1, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | 'b', Data: []byte(user)})
			m.wantIdle("there is never an answer")
		}
		sub.want("who has an account that may", message("ab", "ali", 0, 0))
		sub.wantIdle("that is all")
	})
}

// What waits for a device that forgot its topic ids is registered anew; and not for ever.
func TestDeviceForgetsTopicIDs(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		id := m.subscribe(2, "cmd/m")
		pub.send(message("cmd/m", "x", 1, 1))
		for range maxInvalid {
			got := *m.next().(*sn.Publish)
			m.send(&sn.Puback{TopicID: id, MessageID: got.MessageID, Code: sn.InvalidTopicID})
			m.wantRegister("cmd/m")
		}
		got := *m.next().(*sn.Publish)
		m.send(&sn.Puback{TopicID: id, MessageID: got.MessageID, Code: sn.InvalidTopicID})
		m.wantIdle("enough")
		pub.send(message("cmd/m", "0", 0, 0))
		m.want("the device goes on", note(id, "0", 0, 0))
		m.send(&sn.Puback{TopicID: id, Code: sn.InvalidTopicID})
		pub.send(message("cmd/m", "00", 0, 0))
		m.wantRegister("cmd/m")
		m.want("registered anew at QoS 0 as well", note(id, "00", 0, 0))
		if n := at.srv.Stats().Dropped.Refused; n != 1 {
			t.Errorf("%d counted as refused, want 1", n)
		}
	})
}

func TestDeviceRefusesTopic(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 3600 })
		m.subscribe(2, "#")
		for qos := byte(0); qos <= 2; qos++ {
			pub.send(message("long/topic", "x", qos, 1+uint16(qos)))
			if qos == 0 {
				r := *m.next().(*sn.Register)
				m.send(&sn.Regack{TopicID: r.TopicID, MessageID: r.MessageID, Code: sn.NotSupported})
			}
			m.wantIdle("it does not want it")
		}
		pub.send(message("other", "x", 2, 9))
		r := *m.next().(*sn.Register)
		m.send(&sn.Regack{TopicID: r.TopicID, MessageID: r.MessageID, Code: sn.Congestion})
		time.Sleep(congestionWait - time.Minute/2)
		m.send(&sn.Pingreq{})
		m.want("it is left in peace", &sn.Pingresp{})
		m.wantIdle("for long")
	})
}

func TestCongestedDeviceIsLeftInPeace(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 3600 })
		id := m.subscribe(1, "cmd/m")
		pub.send(message("cmd/m", "x", 1, 1))
		got := *m.next().(*sn.Publish)
		m.send(&sn.Puback{TopicID: id, MessageID: got.MessageID, Code: sn.Congestion})
		time.Sleep(congestionWait - time.Second)
		m.wantIdle("not yet")
		time.Sleep(2 * time.Second)
		again := note(id, "x", 1, got.MessageID)
		again.Dup = true
		m.want("after T_WAIT", again)
	})
}

func TestForwarder(t *testing.T) {
	inside := netip.MustParsePrefix("10.0.0.0/24")
	for _, allowed := range []bool{true, false} {
		cfg := Config{}
		if allowed {
			cfg.SN.Forwarders = []netip.Prefix{inside}
		}
		onDisk(t, cfg, func(at *site) {
			f := at.field()
			m := f.mote("forwarder")
			connect := func(node, name string) {
				c := sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte(name)}
				m.sendRaw(sn.AppendForward(nil, []byte(node), c.Append(nil)))
			}
			connect("n1", "a")
			connect("n2", "b")
			if !allowed {
				m.wantIdle("nobody may forward")
				if n := at.srv.Stats().Datagrams.Bad; n != 2 {
					t.Errorf("%d counted, want 2", n)
				}
				return
			}
			for _, node := range []string{"n1", "n2"} {
				f.mu.Lock()
				got := f.got[m.addr][0]
				f.got[m.addr] = f.got[m.addr][1:]
				f.mu.Unlock()
				to, inner, err := sn.CutForward(got)
				if err != nil || string(to) != node || string(inner) != "\x03\x05\x00" {
					t.Errorf("got % x, want CONNACK for %s", got, node)
				}
			}
			if n := at.srv.Stats().Connected; n != 2 {
				t.Errorf("%d connected, want two nodes", n)
			}
		})
	}
}

func TestTopicsForDTLSOnly(t *testing.T) {
	inBubble(t, Config{SN: SN{DTLSOnly: [][]byte{[]byte("alarm/#")}}}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "alarm/#")
		f := at.field()
		m := f.join("m")
		id := m.register("alarm/1")
		m.send(note(id, "x", 1, 1))
		m.want("refused", &sn.Puback{TopicID: id, MessageID: 1, Code: sn.NotSupported})
		sub.wantIdle("it does not arrive")
		m.subscribe(1, "#")
		sub.send(message("alarm/1", "x", 1, 1))
		m.wantIdle("nor the other way")

		safe := at.secureField(transport.Identity{User: "u", Name: "key"}).join("safe")
		id = safe.register("alarm/1")
		safe.send(note(id, "x", 1, 1))
		safe.want("taken over DTLS", &sn.Puback{TopicID: id, MessageID: 1})
	})
}

func TestSleeperWakesElsewhere(t *testing.T) {
	for _, roaming := range []bool{false, true} {
		onDisk(t, Config{SN: SN{Roaming: roaming}}, func(at *site) {
			f := at.field()
			m := f.join("m")
			id := m.subscribe(1, "cmd/m")
			m.sleep(100)
			at.join("pub", codec.V5).send(message("cmd/m", "0", 0, 0))
			moved := f.mote("m")
			moved.wake()
			if !roaming {
				moved.want("anybody could say so", &sn.Disconnect{})
				moved.wantIdle("and gets nothing")
				return
			}
			moved.want("it is believed", note(id, "0", 0, 0), &sn.Pingresp{})
			m.wake()
			m.want("and so is the next one", &sn.Pingresp{})
		})
	}
}

// Over DTLS who wakes has proved to be the device, also after its session ended, and also
// after a crash.
func TestSleeperWakesInAnotherSession(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		key := transport.Identity{User: "u", Name: "key"}
		first := at.secureField(key)
		m := first.join("m")
		id := m.subscribe(1, "cmd/m")
		m.sleep(1000)
		at.srv.Ended(first)
		at.join("pub", codec.V5).send(message("cmd/m", "0", 0, 0))

		thief := at.secureField(transport.Identity{User: "u2", Name: "other"}).mote("m")
		thief.wake()
		thief.want("a thief is told to connect", &sn.Disconnect{})
		thief = at.field().mote("m")
		thief.wake()
		thief.want("over UDP as well", &sn.Disconnect{})

		m = at.secureField(key).mote("m")
		m.wake()
		m.want("the device is known", note(id, "0", 0, 0), &sn.Pingresp{})
		time.Sleep(2 * time.Second)
		at.crash(nil)
		at.join("pub", codec.V5).send(message("cmd/m", "1", 1, 1))
		m = at.secureField(key).mote("m")
		m.wake()
		if got, ok := m.next().(*sn.Publish); !ok || string(got.Data) != "1" {
			t.Errorf("got %s", showSN(got))
		}
	})
}

// A device that comes from another address takes its session over; what was here of it is
// told, and was not lost.
func TestDeviceTakesOver(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "will/#")
		f := at.field()
		m := f.mote("m")
		m.send(&sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")},
			&sn.WillTopic{Topic: []byte("will/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		id := m.subscribe(1, "cmd/m")
		moved := f.join("m", lasting)
		m.want("it is told", &sn.Disconnect{})
		sub.wantIdle("its will does not go out")
		sub.send(message("cmd/m", "0", 0, 0))
		moved.want("subscriptions and topic ids are there", note(id, "0", 0, 0))

		other := at.join("m", codec.V5)
		moved.want("an MQTT client may take over as well", &sn.Disconnect{})
		sub.want("then the will goes out", message("will/m", "gone", 0, 0))
		other.wantIdle("it has a session of its own")
	})
}

// Of what a device has that sleeps, the oldest messages at QoS 0 go when there is no room.
func TestSleepBuffer(t *testing.T) {
	inBubble(t, Config{SN: SN{SleepBuffer: 400}}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		id := m.subscribe(0, "cmd/m")
		m.sleep(100)
		for _, payload := range []string{"1", "2", "3", "4"} {
			pub.send(message("cmd/m", payload, 0, 0))
		}
		m.wake()
		m.want("the newest are there", note(id, "3", 0, 0), note(id, "4", 0, 0), &sn.Pingresp{})
		if n := at.srv.Stats().Dropped.Away; n != 2 {
			t.Errorf("%d counted as dropped, want 2", n)
		}
	})
}

// An address that has not shown that it hears us gets little, until it answers what only
// it can have heard.
func TestForgedAddressGetsLittle(t *testing.T) {
	inBubble(t, Config{SN: SN{Retries: 1}}, func(at *site) {
		pub := at.join("pub", codec.V5)
		f := at.field()
		m := f.join("m")
		m.subscribe(0, "a1")
		const sent = 8 + 7 // bytes of CONNECT and SUBSCRIBE
		came := 0
		for range 100 {
			pub.send(message("a1", strings.Repeat("x", 50), 0, 0))
		}
		f.mu.Lock()
		for _, b := range f.got[m.addr] {
			came += len(b)
		}
		f.got[m.addr] = nil
		f.mu.Unlock()
		if most := firstCredit + creditFactor*sent + 200; came > most {
			t.Errorf("%d bytes came for %d, want %d at most", came, sent, most)
		}
		time.Sleep(25 * time.Second)
		for got := m.next(); got != nil; got = m.next() {
			if t := got.Type(); t != sn.TypeRegister && t != sn.TypeDisconnect {
				at.t.Errorf("got %s", showSN(got))
			}
		}
		if n := at.srv.Stats().Connected; n != 1 {
			t.Errorf("%d connected, want pub only", n)
		}

		m = f.join("m2")
		m.subscribe(0, "a1")
		for range 100 {
			pub.send(message("a1", strings.Repeat("x", 50), 0, 0))
			got := m.next()
			if r, ok := got.(*sn.Register); ok {
				m.send(&sn.Regack{TopicID: r.TopicID, MessageID: r.MessageID})
				got = m.next()
			}
			if p, ok := got.(*sn.Publish); !ok || p.TopicIDType != sn.ShortTopic {
				t.Fatalf("got %s", showSN(got))
			}
		}
	})
}

func TestConnectRepeated(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		f := at.field()
		m := f.join("m")
		id := m.subscribe(0, "cmd/m")
		connect := sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte("m")}
		m.send(&connect)
		m.want("CONNACK was lost", &sn.Connack{})
		pub := at.join("pub", codec.V5)
		pub.send(message("cmd/m", "0", 0, 0))
		m.want("nothing is forgotten", note(id, "0", 0, 0))
		time.Sleep(20 * time.Second)
		m.send(&connect)
		m.want("later it begins anew", &sn.Connack{})
		pub.send(message("cmd/m", "0", 0, 0))
		m.wantIdle("with a clean session")
		connect.ClientID = []byte("other")
		m.send(&connect)
		m.want("another takes the address", &sn.Connack{})
		if n := at.srv.Stats().Sessions; n != 2 {
			t.Errorf("%d sessions, want pub's and other's", n)
		}
	})
}

func TestAdvertise(t *testing.T) {
	inBubble(t, Config{SN: SN{GatewayID: 5, Advertise: time.Minute}}, func(at *site) {
		f := &field{at: at, wire: "udp", got: make(map[netip.AddrPort][][]byte)}
		group := &mote{f: f, t: t, name: "group", addr: netip.MustParseAddrPort("225.1.1.1:1883")}
		at.srv.ServeUDP(f, group.addr)
		for range 3 {
			group.want("ADVERTISE", &sn.Advertise{GatewayID: 5, Duration: 60})
			group.wantIdle("once")
			time.Sleep(time.Minute)
		}
		group.want("ADVERTISE", &sn.Advertise{GatewayID: 5, Duration: 60})
		m := f.mote("m")
		m.send(&sn.SearchGateway{})
		m.want("who asks is answered", &sn.GatewayInfo{GatewayID: 5})
		group.want("and all hear it", &sn.GatewayInfo{GatewayID: 5})
	})
}

// For a topic more than a device may have ids of, the one that was used longest ago is
// forgotten, and nobody's id is another's, also after a restart.
func TestTopicIDIsForgotten(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "#")
		m := at.field().join("m", lasting)
		for i := range topic.MaxIDs {
			m.register(fmt.Sprint("t/", i))
		}
		m.send(&sn.Publish{TopicID: 1, Data: []byte("x")})
		sub.want("it is in use", message("t/0", "x", 0, 0))
		more := m.register("one/more")
		if more != topic.MaxIDs+1 {
			t.Errorf("one more is %d", more)
		}
		m.send(&sn.Publish{QoS: 1, TopicID: 2, MessageID: 7, Data: []byte("x")})
		m.want("it has to ask anew", &sn.Puback{TopicID: 2, MessageID: 7, Code: sn.InvalidTopicID})
		again := m.register("t/1")
		m.send(&sn.Publish{QoS: 1, TopicID: again, MessageID: 8, Data: []byte("x")})
		m.want("and goes on", &sn.Puback{TopicID: again, MessageID: 8})
		sub.want("under its name", message("t/1", "x", 1, 2))
		at.restart()
		if ids := &at.srv.sessions["m"].device.ids; ids.Known(2) || ids.Known(3) || !ids.Known(again) {
			t.Error("it is otherwise after a restart")
		}
	})
}

// What is to come to a device does not fail for want of topic ids.
func TestTopicIDsForAllThatComes(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m", lasting)
		m.subscribe(1, "t/#")
		for i := range topic.MaxIDs + 3 {
			name := fmt.Sprint("t/", i)
			pub.send(message(name, "x", 1, 1))
			n := m.wantRegister(name)
			got := *m.next().(*sn.Publish)
			if got.TopicID != n {
				t.Fatalf("%s comes as %d, which is %d", name, got.TopicID, n)
			}
			m.send(&sn.Puback{TopicID: n, MessageID: got.MessageID})
		}
		if n := at.srv.Stats().Dropped.Refused; n != 0 {
			t.Errorf("%d dropped", n)
		}
	})
}

// A device that has had all numbers there are is not asked for one more, and so can not
// answer for one that is none.
func TestAllTopicIDsTaken(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 3600 })
		at.srv.sessions["m"].device.ids.Set(0xFFFE, "the/last")
		m.send(&sn.Register{MessageID: 1, Topic: []byte("one/more")})
		m.want("there is no room", &sn.Regack{MessageID: 1, Code: sn.Congestion})
		m.send(&sn.Subscribe{MessageID: 2, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | '1'})
		m.want("granted", &sn.Suback{MessageID: 2})
		pub := at.join("pub", codec.V5)
		for range 100 {
			pub.send(message("a1", strings.Repeat("x", 1000), 0, 0))
		}
		for got := m.next(); got != nil; got = m.next() {
			if r, ok := got.(*sn.Register); ok && r.TopicID == 0 {
				m.send(&sn.Regack{MessageID: r.MessageID})
				t.Fatalf("got %s", showSN(got))
			}
		}
	})
}

// Only REGISTER has a MsgId that nobody can guess: other answers prove nothing.
func TestGuessedAnswerProvesNothing(t *testing.T) {
	onDisk(t, Config{SN: SN{Retry: time.Second}}, func(at *site) {
		pub := at.join("pub", codec.V5)
		f := at.field()
		m := f.join("m", func(c *sn.Connect) { c.Duration = 3600 })
		m.subscribe(1, "a1")
		sent := 8 + 7 + 7
		pub.send(message("a1", "x", 1, 1))
		m.send(&sn.Puback{TopicID: 'a'<<8 | '1', MessageID: packetID(1)})
		for i := range 100 {
			pub.send(message("a1", "", 0, 0), message("a1", strings.Repeat("x", 50), 1, uint16(2+i)))
		}
		time.Sleep(time.Minute)
		came := 0
		f.mu.Lock()
		for _, b := range f.got[m.addr] {
			came += len(b)
		}
		f.mu.Unlock()
		if most := firstCredit + creditFactor*sent + 100; came > most {
			t.Errorf("%d bytes came for %d, want %d at most", came, sent, most)
		}
	})
}

// A place that a device has moved to has to show anew that it hears us.
func TestMovedDeviceProvesItself(t *testing.T) {
	inBubble(t, Config{SN: SN{Roaming: true}}, func(at *site) {
		pub := at.join("pub", codec.V5)
		f := at.field()
		m := f.join("m", func(c *sn.Connect) { c.Duration = 3600 })
		m.subscribe(0, "cmd/#")
		pub.send(message("cmd/m", "x", 0, 0))
		id := m.wantRegister("cmd/m")
		m.want("it has shown that it hears us", note(id, "x", 0, 0))
		m.sleep(100)
		pub.send(message("cmd/m", strings.Repeat("x", 1000), 0, 0))
		victim := f.mote("m")
		victim.wake()
		if got := victim.next(); got == nil || got.Type() != sn.TypeRegister {
			t.Errorf("got %s, want REGISTER", showSN(got))
		}
	})
}

// Whoever asks for gateways, the group is not flooded with answers.
func TestGroupIsNotFlooded(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		f := &field{at: at, wire: "udp", got: make(map[netip.AddrPort][][]byte)}
		group := netip.MustParseAddrPort("225.1.1.1:1883")
		at.srv.ServeUDP(f, group)
		for i := range 1000 {
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 1)
			at.srv.Datagram(f, from, (&sn.SearchGateway{}).Append(nil))
		}
		if n := len(f.got[group]); n > 200 {
			t.Errorf("%d answers went to the group", n)
		}
	})
}

// PUBREC for a message that is not known is answered, and not waited for: nothing is left
// of a flood of them, and the device is not lost because it has nothing to say to that.
func TestUnknownPubrec(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		m := at.field().join("m", func(c *sn.Connect) { c.Duration = 3600 })
		for id := range uint16(100) {
			m.send(&sn.Pubrec{MessageID: 1000 + id})
			m.want("released", &sn.Pubrel{MessageID: 1000 + id})
		}
		time.Sleep(5 * time.Minute)
		m.wantIdle("it is not asked again, nor lost")
	})
}

// PUBREC for a message that is going to be sent again has no answer: with PUBREL the device
// would take it for another the second time.
func TestPubrecBeforeItsTurn(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		f := at.field()
		m := f.join("m", lasting)
		id := m.subscribe(2, "cmd/m")
		pub.send(message("cmd/m", "one", 2, 1), message("cmd/m", "two", 2, 2))
		one := *m.next().(*sn.Publish)
		m.send(&sn.Pubrec{MessageID: one.MessageID})
		m.want("released", &sn.Pubrel{MessageID: one.MessageID})
		m.send(&sn.Pubcomp{MessageID: one.MessageID})
		two := note(id, "two", 2, one.MessageID+1)
		m.want("the next one", two)
		at.crash(nil) // it is forgotten that PUBCOMP came
		f.again()
		m.want("PUBREL again", &sn.Pubrel{MessageID: one.MessageID})
		m.send(&sn.Pubrec{MessageID: two.MessageID})
		m.wantIdle("it is not its turn yet")
		m.send(&sn.Pubcomp{MessageID: one.MessageID})
		two.Dup = true
		m.want("now it is", two)
		m.send(&sn.Pubrec{MessageID: two.MessageID})
		m.want("and released", &sn.Pubrel{MessageID: two.MessageID})
	})
}

// A device may refuse to register what it knows by a predefined id: it has shown that it
// hears us.
func TestRegisterOfPredefinedTopicRefused(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		m := at.field().join("m")
		m.send(&sn.Subscribe{QoS: 1, MessageID: 2, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | '1'})
		m.want("granted", &sn.Suback{QoS: 1, MessageID: 2})
		large := strings.Repeat("x", 600)
		pub.send(message("a1", large, 1, 1))
		r, ok := m.next().(*sn.Register)
		if !ok {
			t.Fatal("no REGISTER")
		}
		m.send(&sn.Regack{TopicID: r.TopicID, MessageID: r.MessageID, Code: sn.NotSupported})
		m.want("the message comes", &sn.Publish{QoS: 1, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | '1', MessageID: packetID(1), Data: []byte(large)})
	})
}

// The Will that a device left over DTLS is not for whoever comes with its name over UDP.
func TestKeptWillForDTLSOnly(t *testing.T) {
	inBubble(t, Config{SN: SN{DTLSOnly: [][]byte{[]byte("alarm/#")}}}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "alarm/#")
		m := at.secureField(transport.Identity{User: "u", Name: "key"}).mote("m")
		connect := sn.Connect{Will: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}
		m.send(&connect, &sn.WillTopic{Topic: []byte("alarm/m")}, &sn.WillMessage{Message: []byte("gone")})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		m.send(&sn.Disconnect{})
		m.want("it goes", &sn.Disconnect{})
		thief := at.field().mote("m")
		connect.Will = false
		thief.send(&connect, &sn.WillMessageUpdate{Message: []byte("forged")})
		thief.want("it has no Will", &sn.Connack{}, &sn.WillMessageResponse{Code: sn.NotSupported})
		time.Sleep(20 * time.Second)
		sub.wantIdle("nothing goes out")
	})
}

// Before the socket is known, nobody can be answered, and what was under way to devices has
// not begun to be sent again.
func TestDatagramBeforeServeUDP(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		f := at.field()
		m := f.join("m", lasting)
		id := m.subscribe(2, "cmd/m")
		at.join("pub", codec.V5).send(message("cmd/m", "x", 2, 1))
		x := note(id, "x", 2, packetID(1))
		m.want("a message", x)
		at.crash(nil)
		m.send(&sn.Pingreq{})
		m.wantIdle("not yet")
		f.again()
		x.Dup = true
		m.want("the message again", x)
	})
}

// Who may not come in any more is not here after a restart.
func TestRestartEndsForbiddenDevices(t *testing.T) {
	onDisk(t, Config{Access: accounts(t, "ali"), Anonymous: true}, func(at *site) {
		f := at.field()
		m := f.join("m", lasting)
		time.Sleep(2 * time.Second)
		at.cfg.Anonymous = false
		at.restart()
		f.again()
		m.send(&sn.Pingreq{})
		m.want("it is to connect", &sn.Disconnect{})
		m.send(&sn.Connect{ProtocolID: 1, Duration: 60, ClientID: []byte("m")})
		m.want("and may not", &sn.Connack{Code: sn.NotSupported})
	})
}
