package gateway

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
)

// weatherRetry is T_RETRY here, and as long as a datagram may be on its way.
const weatherRetry = 2 * time.Second

// weather is what happens to datagrams on their way: some are lost, some come twice or
// late.
type weather struct {
	*mote
	rand *rand.Rand
	late []late // to the gateway
}

// late is a datagram on a long way.
type late struct {
	datagram []byte
	since    time.Time
}

// bad says whether a datagram is lost.
func (w *weather) bad() bool { return w.rand.IntN(4) == 0 }

// say sends a message as the weather has it.
func (w *weather) say(m sn.Message) {
	b := m.Append(nil)
	for range 1 + w.rand.IntN(5)/4 {
		switch {
		case w.bad():
		case w.rand.IntN(6) == 0:
			w.late = append(w.late, late{b, time.Now()})
		default:
			w.sendRaw(b)
		}
	}
	if len(w.late) > 0 && w.rand.IntN(2) == 0 {
		i := w.rand.IntN(len(w.late))
		l := w.late[i]
		w.late = append(w.late[:i], w.late[i+1:]...)
		if time.Since(l.since) < weatherRetry { // else it is lost
			w.sendRaw(l.datagram)
		}
	}
}

// hear returns the messages that came through, one of them perhaps twice.
func (w *weather) hear() (heard []sn.Message) {
	f := w.f
	f.mu.Lock()
	got := f.got[w.addr]
	f.got[w.addr] = nil
	f.mu.Unlock()
	for _, b := range got {
		if w.bad() {
			continue
		}
		for range 1 + w.rand.IntN(5)/4 {
			var dec sn.Decoder
			m, err := dec.Decode(bytes.Clone(b))
			if err != nil {
				w.t.Fatal(err)
			}
			heard = append(heard, m)
		}
	}
	return heard
}

// meter is a device as the specification has it, in bad weather: it sends again what is
// not answered, and takes at QoS 2 once what comes twice.
type meter struct {
	weather
	asks    sn.Message // not answered
	id      uint16     // its MsgId
	topicID uint16     // of what it publishes
	next    uint16
	held    map[uint16]bool   // QoS 2, not released
	names   map[uint16]string // by topic id
	got     map[string]int
	asleep  bool
}

func (d *meter) ask(m sn.Message, id uint16) {
	d.asks, d.id = m, id
	d.say(m)
}

// until has the device ask again, a second after the other, until it is answered.
func (d *meter) until(what string) {
	d.t.Helper()
	for range 500 {
		d.round()
		if d.asks == nil {
			return
		}
		time.Sleep(time.Second)
		if p, ok := d.asks.(*sn.Publish); ok {
			p.Dup = true
		}
		d.say(d.asks)
	}
	d.t.Fatalf("%s: no answer to %s", what, showSN(d.asks))
}

// round takes what came.
func (d *meter) round() {
	for _, m := range d.hear() {
		d.take(m)
	}
}

func (d *meter) take(m sn.Message) {
	answers := func(kind sn.MessageType, id uint16) bool { return d.asks != nil && d.asks.Type() == kind && d.id == id }
	switch m := m.(type) {
	case *sn.Connack:
		if answers(sn.TypeConnect, 0) {
			d.asks = nil
		}
	case *sn.WillTopicRequest:
		d.say(&sn.WillTopic{QoS: 1, Topic: []byte("will")})
	case *sn.WillMessageRequest:
		d.say(&sn.WillMessage{Message: []byte("gone")})
	case *sn.Regack:
		if answers(sn.TypeRegister, m.MessageID) {
			d.topicID, d.asks = m.TopicID, nil
		}
	case *sn.Suback:
		if answers(sn.TypeSubscribe, m.MessageID) {
			d.asks = nil
		}
	case *sn.Puback:
		if m.Code != sn.Accepted {
			d.t.Fatalf("got %s for %s", showSN(m), showSN(d.asks))
		}
		if answers(sn.TypePublish, m.MessageID) {
			d.asks = nil
		}
	case *sn.Pubrec:
		if answers(sn.TypePublish, m.MessageID) {
			d.ask(&sn.Pubrel{MessageID: m.MessageID}, m.MessageID)
		}
	case *sn.Pubcomp:
		if answers(sn.TypePubrel, m.MessageID) {
			d.asks = nil
		}
	case *sn.Register:
		d.names[m.TopicID] = string(m.Topic)
		d.say(&sn.Regack{TopicID: m.TopicID, MessageID: m.MessageID})
	case *sn.Publish:
		d.receive(m)
	case *sn.Pubrel:
		delete(d.held, m.MessageID)
		d.say(&sn.Pubcomp{MessageID: m.MessageID})
	case *sn.Pingresp:
		if answers(sn.TypePingreq, 0) {
			d.asks = nil
		}
	case *sn.Disconnect:
		if answers(sn.TypeDisconnect, 0) {
			d.asks = nil
		} else if !answers(sn.TypeConnect, 0) { // a late copy has put an end to its connection
			d.say(&sn.Connect{ProtocolID: 1, Duration: 3600, ClientID: []byte("meter")})
		}
	}
}

func (d *meter) receive(m *sn.Publish) {
	if d.names[m.TopicID] == "" {
		d.say(&sn.Puback{TopicID: m.TopicID, MessageID: m.MessageID, Code: sn.InvalidTopicID})
		return
	}
	switch m.QoS {
	case 1:
		d.got[string(m.Data)]++
		d.say(&sn.Puback{TopicID: m.TopicID, MessageID: m.MessageID})
	case 2:
		if !d.held[m.MessageID] {
			d.held[m.MessageID] = true
			d.got[string(m.Data)]++
		}
		d.say(&sn.Pubrec{MessageID: m.MessageID})
	}
}

// TestWeather has a device publish, receive, sleep and move in bad weather, beside a gateway
// that is killed now and then: at QoS 1 nothing is lost, at QoS 2 it comes once.
func TestWeather(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			onDisk(t, Config{SN: SN{Retry: weatherRetry, Retries: 100}}, func(at *site) {
				inWeather(at, rand.New(rand.NewPCG(seed, 0)))
			})
		})
	}
}

func inWeather(at *site, random *rand.Rand) {
	f := at.field()
	d := &meter{
		weather: weather{mote: f.mote("meter"), rand: random},
		held:    make(map[uint16]bool), names: make(map[uint16]string), got: make(map[string]int),
	}
	ask := func(what string, m sn.Message, id uint16) { d.ask(m, id); d.until(what) }
	ask("connect", &sn.Connect{ProtocolID: 1, Duration: 3600, ClientID: []byte("meter")}, 0)
	ask("register", &sn.Register{MessageID: 1, Topic: []byte("up/meter")}, 1)
	ask("subscribe", &sn.Subscribe{QoS: 2, MessageID: 2, Topic: []byte("down/#")}, 2)
	d.next = 3

	centre := at.join("centre", codec.V5, keep)
	centre.subscribe(2, "up/#")
	arrived := make(map[string]int)
	listen := func() {
		for p := centre.next(); p != nil; p = centre.next() {
			switch p := p.(type) {
			case *codec.Publish:
				if !p.Dup || arrived[string(p.Payload)] == 0 || p.QoS == 1 {
					arrived[string(p.Payload)]++
				}
				if p.QoS == 2 {
					centre.send(&codec.Pubrec{ID: p.ID})
				} else {
					centre.send(&codec.Puback{ID: p.ID})
				}
			case *codec.Pubrel:
				centre.send(&codec.Pubcomp{ID: p.ID})
			case *codec.Pubrec:
				centre.send(&codec.Pubrel{ID: p.ID})
			}
		}
	}
	const messages = 60
	for i := range messages {
		qos := int8(1 + i%2)
		down := message("down/"+fmt.Sprint(i%3), fmt.Sprint("down", qos, "-", i), byte(qos), uint16(i+1))
		centre.send(down)
		listen()
		switch {
		case random.IntN(8) == 0:
			time.Sleep(3 * time.Second) // so that what centre has is on disk: it is not what is tested
			at.crash(nil)
			f.again()
			centre = at.join("centre", codec.V5, keep)
		case random.IntN(8) == 0:
			d.addr = f.mote("meter").addr
			d.late = nil // they come from where it is no more
			ask("move", &sn.Connect{Will: random.IntN(2) == 0, ProtocolID: 1, Duration: 3600, ClientID: []byte("meter")}, 0)
			d.asleep = false
		case random.IntN(5) == 0 && !d.asleep:
			ask("sleep", &sn.Disconnect{Duration: 3600, HasDuration: true}, 0)
			d.asleep = true
		case random.IntN(3) == 0 && d.asleep:
			ask("wake", &sn.Pingreq{ClientID: []byte("meter")}, 0)
		case random.IntN(3) == 0 && d.asleep:
			ask("connect", &sn.Connect{ProtocolID: 1, Duration: 3600, ClientID: []byte("meter")}, 0)
			d.asleep = false
		}
		ask("publish", &sn.Publish{QoS: qos, TopicID: d.topicID, MessageID: d.next, Data: []byte(fmt.Sprint("up", qos, "-", i))}, d.next)
		d.next++
		listen()
	}
	if d.asleep {
		ask("wake", &sn.Pingreq{ClientID: []byte("meter")}, 0)
	}
	for range 300 {
		time.Sleep(2 * time.Second)
		d.round()
		listen()
	}
	if err := audit(at.srv); err != nil {
		at.t.Error(err)
	}
	for i := range messages {
		for way, got := range map[string]map[string]int{"up": arrived, "down": d.got} {
			qos := 1 + i%2
			name := fmt.Sprint(way, qos, "-", i)
			if n := got[name]; n == 0 || qos == 2 && n != 1 {
				at.t.Errorf("%s came %d times", name, n)
			}
		}
	}
}

// FuzzDatagram sends datagrams from a few addresses and sees that the books agree.
func FuzzDatagram(f *testing.F) {
	join := func(messages ...sn.Message) (b []byte) {
		for _, m := range messages {
			d := m.Append(nil)
			b = append(append(b, 0, byte(len(d))), d...)
		}
		return b
	}
	connect := &sn.Connect{ProtocolID: 1, Duration: 10, ClientID: []byte("d")}
	f.Add(join(connect, &sn.Register{MessageID: 1, Topic: []byte("a/b")}, note(1, "x", 2, 1), &sn.Pubrel{MessageID: 1}))
	f.Add(join(&sn.Connect{Will: true, ProtocolID: 1, ClientID: []byte("d")}, &sn.WillTopic{QoS: 1, Topic: []byte("w")}, &sn.WillMessage{Message: []byte("m")}, &sn.WillTopicUpdate{}))
	f.Add(join(connect, &sn.Subscribe{QoS: 2, MessageID: 1, Topic: []byte("a/+")}, &sn.Register{MessageID: 2, Topic: []byte("a/b")},
		note(1, "x", 1, 3), &sn.Regack{TopicID: 1, MessageID: 4}, &sn.Disconnect{Duration: 9, HasDuration: true}, &sn.Pingreq{ClientID: []byte("d")}))
	f.Add(join(connect, &sn.Register{MessageID: 1, Topic: []byte("$CONTROL/a")}, note(1, "x", 1, 1), note(1, "x", 0, 0)))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(Config{MaxSessionExpiry: time.Hour, Control: obey, Batches: unpacking.Batches, SN: SN{Anonymous: true, Roaming: true, Retry: time.Hour}})
		s.Provision("$bridge/up", []codec.Subscription{{Filter: []byte("a/#"), QoS: 2}}, "a/#")
		s.Limit("$bridge/up", Limits{MaxMessages: 2, Policy: DropOldest})
		socket := &field{wire: "udp", got: make(map[netip.AddrPort][][]byte)}
		s.ServeUDP(socket, netip.AddrPort{})
		for len(in) >= 2 {
			from, n := in[0]%4, min(int(in[1]), len(in)-2)
			s.Datagram(socket, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, from}), 1), in[2:2+n])
			in = in[2+n:]
		}
		if err := audit(s); err != nil {
			t.Error(err)
		}
		s.Shutdown(context.Background())
	})
}
