package gateway

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// air is where the datagrams of a benchmark go: it keeps the last of each type.
type air struct{ last [256][]byte }

func (a *air) Send(b []byte, _ netip.AddrPort) {
	if t := b[1]; b[0] != 1 {
		a.last[t] = append(a.last[t][:0], b...)
	}
}

func (a *air) Wire() string             { return "udp" }
func (a *air) Peer() transport.Identity { return transport.Identity{} }
func (a *air) Close()                   {}

// pairOnAir is a device that publishes to another at a QoS; one has a message go all the
// way.
func pairOnAir(tb testing.TB, qos int8) (one func()) {
	s := newBench(tb, 0).srv
	a := &air{}
	s.ServeUDP(a, netip.AddrPort{})
	sensor := netip.MustParseAddrPort("10.0.0.1:1")
	valve := netip.MustParseAddrPort("10.0.0.1:2")
	say := func(from netip.AddrPort, m sn.Message) { s.Datagram(a, from, m.Append(nil)) }
	for i, addr := range []netip.AddrPort{sensor, valve} {
		say(addr, &sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 3600, ClientID: []byte(fmt.Sprint(i))})
	}
	say(valve, &sn.Subscribe{QoS: 2, MessageID: 1, Topic: []byte("a/b/c")})
	say(sensor, &sn.Register{MessageID: 1, Topic: []byte("a/b/c")})
	s.devices[deviceKey{addr: valve}].verified = true
	publish := (&sn.Publish{QoS: qos, TopicID: 1, MessageID: 7, Data: make([]byte, 64)}).Append(nil)
	if qos == 0 {
		publish = (&sn.Publish{TopicID: 1, Data: make([]byte, 64)}).Append(nil)
	}
	answer := make([]byte, 16)
	ends := func(from netip.AddrPort, id []byte, types ...sn.MessageType) {
		for _, t := range types {
			b := append(answer[:0], 4, byte(t), id[0], id[1])
			s.Datagram(a, from, b)
		}
	}
	n := uint16(0)
	return func() {
		n++
		if qos > 0 {
			binary.BigEndian.PutUint16(publish[5:], n|1)
		}
		s.Datagram(a, sensor, publish)
		came := a.last[sn.TypePublish]
		if len(came) != len(publish) {
			tb.Fatalf("got % x", came)
		}
		switch qos {
		case 1:
			s.Datagram(a, valve, append(answer[:0], 7, byte(sn.TypePuback), 0, 1, came[5], came[6], 0))
		case 2:
			ends(sensor, publish[5:7], sn.TypePubrel)
			ends(valve, came[5:7], sn.TypePubrec, sn.TypePubcomp)
		}
	}
}

func TestDevicesAllocateNothing(t *testing.T) {
	for qos := int8(0); qos <= 2; qos++ {
		one := pairOnAir(t, qos)
		for range 100 {
			one()
		}
		if n := testing.AllocsPerRun(500, one); n != 0 {
			t.Errorf("QoS %d: %v allocations for a message", qos, n)
		}
	}
}

func BenchmarkDevice(b *testing.B) {
	for qos := int8(0); qos <= 2; qos++ {
		b.Run(fmt.Sprint("QoS", qos), func(b *testing.B) {
			one := pairOnAir(b, qos)
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
	}
}
