package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// Whoever comes under however many names leaves no more sessions than there may be devices,
// and does not keep those away that are known.
func TestRememberedDevicesAreBounded(t *testing.T) {
	onDisk(t, Config{SN: SN{MaxDevices: 5}}, func(at *site) {
		f := at.field()
		known := f.join("known", lasting)
		stranger := f.mote("stranger")
		for i := range 20 {
			stranger.send(&sn.Connect{ProtocolID: 1, Duration: 10, ClientID: []byte(fmt.Sprint("name", i))})
		}
		if n := at.srv.Stats().Sessions; n != 5 {
			t.Errorf("%d sessions, want 5", n)
		}
		known.send(&sn.Disconnect{})
		known.want("it goes", &sn.Disconnect{})
		time.Sleep(2 * time.Second)
		at.restart()
		f.again()
		known.send(&sn.Connect{ProtocolID: 1, Duration: 10, ClientID: []byte("known")})
		known.want("and comes back", &sn.Connack{})
		f.mote("new").send(&sn.Connect{ProtocolID: 1, Duration: 10, ClientID: []byte("new")})
		at.join("known", codec.V5)
		f.join("new") // in its place
	})
}

// Devices whose DTLS sessions have ended count as well.
func TestDevicesWithoutPathAreBounded(t *testing.T) {
	inBubble(t, Config{SN: SN{MaxDevices: 3}}, func(at *site) {
		for i := range 10 {
			name := fmt.Sprint("m", i)
			session := at.secureField(transport.Identity{User: "u", Name: name})
			session.mote(name).send(&sn.Connect{ProtocolID: 1, CleanSession: true, Duration: 0, ClientID: []byte(name)})
			at.srv.Ended(session)
		}
		if n := at.srv.Stats().Connected; n != 3 {
			t.Errorf("%d devices, want 3", n)
		}
	})
}

// Topic ids take room in the store, and are refused when there is none.
func TestTopicIDsNeedRoom(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.stop()
		at.max = 20000
		at.start()
		m := at.field().join("m", lasting)
		long := strings.Repeat("x", 100)
		for i := range 200 {
			m.send(&sn.Register{MessageID: 1, Topic: []byte(fmt.Sprint(long, i))})
		}
		if n := at.db.Bytes(); n > at.max {
			t.Errorf("%d bytes are stored, want %d at most", n, at.max)
		}
		var last sn.Regack
		for got := m.next(); got != nil; got = m.next() {
			last = *got.(*sn.Regack)
		}
		if last.Code != sn.Congestion {
			t.Errorf("the last answer is %s", showSN(&last))
		}
		m.send(&sn.WillTopicUpdate{Topic: []byte(strings.Repeat("w", 1000))})
		m.want("there is no room for a will", &sn.WillTopicResponse{Code: sn.Congestion})
		m.send(&sn.Connect{ProtocolID: 1, Duration: 10, ClientID: []byte("new")})
		m.want("nor for a session", &sn.Connack{Code: sn.Congestion})
	})
}

// While the disk takes long, what a device asks for does not pile up.
func TestAnswersAreBounded(t *testing.T) {
	onDisk(t, Config{MaxInflight: 4}, func(at *site) {
		f := at.field()
		m := f.join("m", lasting)
		time.Sleep(2 * time.Second)
		at.disk <- struct{}{}
		for i := range uint16(100) {
			m.send(&sn.Register{MessageID: 1 + i, Topic: []byte("a/b")}, &sn.Subscribe{MessageID: 1 + i, Topic: []byte("a/b")},
				&sn.Disconnect{Duration: 9, HasDuration: true}, &sn.WillTopicUpdate{})
		}
		waiting := len(at.srv.devices[deviceKey{addr: netip.AddrPortFrom(m.addr.Addr(), m.addr.Port())}].conn.acks)
		<-at.disk
		if waiting > 4*4 {
			t.Errorf("%d answers wait", waiting)
		}
		at.settle()
		for got := m.next(); got != nil; got = m.next() {
		}
		m.wake()
		m.want("it goes on", &sn.Pingresp{})
	})
}

// A Will is no longer than a message to a device may be.
func TestWillsAreBounded(t *testing.T) {
	onDisk(t, Config{SN: SN{MaxDatagram: 100}}, func(at *site) {
		f := at.field()
		long := []byte(strings.Repeat("w", 101))
		connect := &sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("m")}
		m := f.mote("m")
		m.send(connect, &sn.WillTopic{Topic: long})
		m.want("its topic is too long", &sn.WillTopicRequest{}, &sn.Connack{Code: sn.NotSupported})
		m.send(connect, &sn.WillTopic{Topic: []byte("w")}, &sn.WillMessage{Message: long})
		m.want("its message is too long", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{Code: sn.NotSupported})
		m.send(connect, &sn.WillTopic{Topic: []byte("w")}, &sn.WillMessage{})
		m.want("connected", &sn.WillTopicRequest{}, &sn.WillMessageRequest{}, &sn.Connack{})
		m.send(&sn.WillTopicUpdate{Topic: long}, &sn.WillMessageUpdate{Message: long})
		m.want("nor may it become so", &sn.WillTopicResponse{Code: sn.NotSupported}, &sn.WillMessageResponse{Code: sn.NotSupported})
	})
}

// The account of a key counts also for who does not connect.
func TestPublishWithoutConnectionNeedsAccount(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali", "  readwrite #", "*", "  readwrite #")}, func(at *site) {
		short := &sn.Publish{QoS: -1, TopicIDType: sn.ShortTopic, TopicID: 'a'<<8 | 'b', Retain: true, Data: []byte("x")}
		at.secureField(transport.Identity{User: "gone", Name: "key"}).mote("m").send(short)
		if n := at.srv.Stats().Dropped.NotAuthorized; n != 1 {
			t.Errorf("%d refused, want 1", n)
		}
		at.secureField(transport.Identity{User: "ali", Name: "key"}).mote("m").send(short)
		if n := at.srv.Stats().Retained; n != 1 {
			t.Errorf("%d retained, want 1", n)
		}
	})
}
