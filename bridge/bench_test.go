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
		Up: []Rule{{"sensors/#", 1}}, UpPrefix: "site7/", DownPrefix: "cloud/",
		Dial: func() io.ReadWriteCloser { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	l := newLink(bridge, &upstream{wire: newWire(nil, codec.V5), maximumQoS: 2, maximumPacketSize: 1 << 20})
	l.local = newWire(nil, codec.V5)
	l.window.init(l.local, 100)
	up, down, ack := publish(1, 1, "sensors/1", "21.5"), publish(1, 1, "cmd/1", "open"), &codec.Puback{ID: 1}
	topicUp, topicDown := up.Topic, down.Topic
	return func() {
		up.Topic, down.Topic = topicUp, topicDown
		l.fromGateway(up)
		l.fromUpstream(ack)
		l.fromUpstream(down)
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
