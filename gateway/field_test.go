package gateway

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"

	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// field is where MQTT-SN devices are: the UDP socket of a server, as it sees it, or the
// DTLS session of one device.
type field struct {
	at   *site
	wire string
	who  transport.Identity

	mu  sync.Mutex
	got map[netip.AddrPort][][]byte // sent to each, and not looked at
}

func (at *site) field() *field {
	f := &field{at: at, wire: "udp", got: make(map[netip.AddrPort][][]byte)}
	at.srv.ServeUDP(f, netip.AddrPort{})
	return f
}

// secureField is where a device is that has shaken hands over DTLS.
func (at *site) secureField(who transport.Identity) *field {
	return &field{at: at, wire: "dtls", who: who, got: make(map[netip.AddrPort][][]byte)}
}

// again is the field after the server was started anew: devices have not noticed.
func (f *field) again() {
	f.at.srv.ServeUDP(f, netip.AddrPort{})
	f.at.settle()
}

func (f *field) Send(b []byte, to netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[to] = append(f.got[to], bytes.Clone(b))
}

func (f *field) Wire() string             { return f.wire }
func (f *field) Peer() transport.Identity { return f.who }
func (f *field) Close()                   {}

// mote is an MQTT-SN device of the test's own: what it sends and gets is messages.
type mote struct {
	f    *field
	t    *testing.T
	name string
	addr netip.AddrPort
	dec  sn.Decoder
}

// mote makes a device that has not said anything yet. Each has an address of its own.
func (f *field) mote(name string) *mote {
	if f.wire == "dtls" {
		return &mote{f: f, t: f.at.t, name: name}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(1000+len(f.got)))
	f.got[addr] = nil
	return &mote{f: f, t: f.at.t, name: name, addr: addr}
}

// join connects a device, changed by options, without a Will.
func (f *field) join(name string, options ...func(*sn.Connect)) *mote {
	f.at.t.Helper()
	m := f.mote(name)
	c := sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte(name)}
	for _, o := range options {
		o(&c)
	}
	m.send(&c)
	m.want("connected", &sn.Connack{})
	return m
}

// lasting asks for the session there is.
func lasting(c *sn.Connect) { c.CleanSession = false }

func (m *mote) send(messages ...sn.Message) {
	m.t.Helper()
	for _, one := range messages {
		m.sendRaw(one.Append(nil))
	}
}

func (m *mote) sendRaw(b []byte) {
	m.f.at.srv.Datagram(m.f, m.addr, b)
	m.f.at.settle()
}

// next takes the next message that came; nil if there is none. It stays valid until the
// next call.
func (m *mote) next() sn.Message {
	m.t.Helper()
	synctest.Wait()
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	got := m.f.got[m.addr]
	if len(got) == 0 {
		return nil
	}
	m.f.got[m.addr] = got[1:]
	msg, err := m.dec.Decode(got[0])
	if err != nil {
		m.t.Fatalf("%s got % x: %v", m.name, got[0], err)
	}
	return msg
}

// want takes the next messages and compares them.
func (m *mote) want(sentence string, messages ...sn.Message) {
	m.t.Helper()
	for _, want := range messages {
		got := m.next()
		if got == nil || !bytes.Equal(got.Append(nil), want.Append(nil)) {
			m.t.Fatalf("%s: %s\n got %s\nwant %s", m.name, sentence, showSN(got), showSN(want))
		}
	}
}

// wantIdle wants nothing to have come.
func (m *mote) wantIdle(sentence string) {
	m.t.Helper()
	if got := m.next(); got != nil {
		m.t.Fatalf("%s: %s\n got %s", m.name, sentence, showSN(got))
	}
}

// wantRegister takes a REGISTER of a topic and acknowledges it.
func (m *mote) wantRegister(topic string) (id uint16) {
	m.t.Helper()
	got := m.next()
	r, ok := got.(*sn.Register)
	if !ok || string(r.Topic) != topic {
		m.t.Fatalf("%s: got %s, want REGISTER of %s", m.name, showSN(got), topic)
	}
	id = r.TopicID
	m.send(&sn.Regack{TopicID: id, MessageID: r.MessageID})
	return id
}

// register registers a topic.
func (m *mote) register(topic string) (id uint16) {
	m.t.Helper()
	m.send(&sn.Register{MessageID: 77, Topic: []byte(topic)})
	got := m.next()
	a, ok := got.(*sn.Regack)
	if !ok || a.MessageID != 77 || a.Code != sn.Accepted {
		m.t.Fatalf("%s: got %s, want REGACK of %s", m.name, showSN(got), topic)
	}
	return a.TopicID
}

// subscribe subscribes to a filter and returns the topic id of SUBACK.
func (m *mote) subscribe(qos int8, filter string) (id uint16) {
	m.t.Helper()
	m.send(&sn.Subscribe{QoS: qos, MessageID: 78, Topic: []byte(filter)})
	got := m.next()
	a, ok := got.(*sn.Suback)
	if !ok || a.MessageID != 78 || a.Code != sn.Accepted || a.QoS != byte(qos) {
		m.t.Fatalf("%s: got %s, want SUBACK of %s", m.name, showSN(got), filter)
	}
	return a.TopicID
}

// sleep sends the device to sleep.
func (m *mote) sleep(seconds uint16) {
	m.t.Helper()
	m.send(&sn.Disconnect{Duration: seconds, HasDuration: true})
	m.want("may sleep", &sn.Disconnect{})
}

// wake asks for what waits.
func (m *mote) wake() { m.send(&sn.Pingreq{ClientID: []byte(m.name)}) }

// note makes a PUBLISH with a normal topic id.
func note(id uint16, payload string, qos int8, msgID uint16) *sn.Publish {
	return &sn.Publish{QoS: qos, TopicID: id, MessageID: msgID, Data: []byte(payload)}
}

// showSN prints a message for people.
func showSN(m sn.Message) string {
	if m == nil {
		return "nothing"
	}
	return fmt.Sprintf("%v %+v", m.Type(), reflect.Indirect(reflect.ValueOf(m)))
}
