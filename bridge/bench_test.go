package bridge

import (
	"io"
	"net/url"
	"testing"

	"sluice/codec"
)

// relayOnce takes a message of QoS 1 from the gateway up and its
// acknowledgement back, and one the other way, but for reading and writing.
func relayOnce(b testing.TB) func() {
	bridge, err := New(Config{
		Name: "cloud", ClientID: "site7", URL: &url.URL{Scheme: "mqtt", Host: "cloud.example.com"},
		Up:   []Rule{{Filter: "alarms/#", QoS: 2}, {Filter: "sensors/+/temp/#", QoS: 1, To: "site7/$1/t/$2"}},
		Down: []Rule{{Filter: "site7/+/cmd", QoS: 2, To: "cmd/$1"}, {Filter: "alarms/#"}}, UpPrefix: "site7/", MaxHops: 4,
		Dial: func() io.ReadWriteCloser { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	l := newLink(bridge, &upstream{wire: newWire(nil, codec.V5), maximumQoS: 2, maximumPacketSize: 1 << 20})
	l.local = newWire(nil, codec.V5)
	l.window.init(l.local, 100)
	ack := &codec.Puback{ID: 1}
	message := func(topic, response string) *codec.Publish {
		p := publish(1, 1, topic, "21.5")
		p.ResponseTopic = []byte(response)
		p.User = []codec.UserProperty{{Name: []byte("unit"), Value: []byte("C")}, {Name: []byte(hopsProperty), Value: []byte("2")}}
		return p
	}
	fromLocal, fromCloud := message("sensors/1/temp/a/b", "cmd/7"), message("site7/7/cmd", "site7/1/t/a/b")
	return func() {
		up, down := *fromLocal, *fromCloud
		l.fromGateway(&up)
		l.fromUpstream(ack)
		l.fromUpstream(&down)
		l.fromGateway(ack)
		l.toUp, l.toLocal = l.toUp[:0], l.toLocal[:0]
	}
}

func TestRelayAllocatesNothing(t *testing.T) {
	relay := relayOnce(t)
	relay()
	if n := testing.AllocsPerRun(100, relay); n != 0 {
		t.Errorf("a message each way allocates %v times", n)
	}
}

func BenchmarkRelay(b *testing.B) {
	relay := relayOnce(b)
	b.ReportAllocs()
	for b.Loop() {
		relay()
	}
}
