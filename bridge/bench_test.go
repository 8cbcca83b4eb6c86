package bridge

import (
	"io"
	"net/url"
	"testing"

	"sluice/codec"
)

// relayOnce takes a message of QoS 1 from the gateway up and its
// acknowledgement back, and one the other way, but for reading and writing.
func relayOnce(b testing.TB, cfg Config, fromLocal, fromCloud *codec.Publish) func() {
	cfg.Name, cfg.ClientID, cfg.URL = "cloud", "site7", &url.URL{Scheme: "mqtt", Host: "cloud.example.com"}
	cfg.MaxHops = 4
	cfg.Dial = func() io.ReadWriteCloser { return nil }
	bridge, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	l := newLink(bridge, &upstream{wire: newWire(nil, codec.V5), maximumQoS: 2, maximumPacketSize: 1 << 20})
	l.local = newWire(nil, codec.V5)
	l.window.init(l.local, 100)
	ack := &codec.Puback{ID: 1}
	return func() {
		up, down := *fromLocal, *fromCloud
		l.fromGateway(&up)
		l.fromUpstream(ack)
		l.fromUpstream(&down)
		l.fromGateway(ack)
		l.toUp, l.toLocal = l.toUp[:0], l.toLocal[:0]
	}
}

// relayPlain has a prefix only.
func relayPlain(b testing.TB) func() {
	cfg := Config{Up: []Rule{{Filter: "sensors/#", QoS: 1}}, Down: []Rule{{Filter: "cmd/#", QoS: 1}}, UpPrefix: "site7/", DownPrefix: "cloud/"}
	return relayOnce(b, cfg, publish(1, 1, "sensors/1", "21.5"), publish(1, 1, "cmd/1", "open"))
}

// relayRenamed has all that the rules can do: several, captures, response topics, user
// properties, and the mark of a bridge that might hear itself.
func relayRenamed(b testing.TB) func() {
	message := func(topic, response string) *codec.Publish {
		p := publish(1, 1, topic, "21.5")
		p.ResponseTopic = []byte(response)
		p.User = []codec.UserProperty{{Name: []byte("unit"), Value: []byte("C")}, {Name: []byte(hopsProperty), Value: []byte("2")}}
		return p
	}
	cfg := Config{
		Up:   []Rule{{Filter: "alarms/#", QoS: 2}, {Filter: "sensors/+/temp/#", QoS: 1, To: "site7/$1/t/$2"}},
		Down: []Rule{{Filter: "site7/+/cmd", QoS: 2, To: "cmd/$1"}, {Filter: "site7/alarms/#"}}, UpPrefix: "site7/",
	}
	return relayOnce(b, cfg, message("sensors/1/temp/a/b", "cmd/7"), message("site7/7/cmd", "site7/1/t/a/b"))
}

func TestRelayAllocatesNothing(t *testing.T) {
	for name, make := range map[string]func(testing.TB) func(){"plain": relayPlain, "renamed": relayRenamed} {
		relay := make(t)
		relay()
		if n := testing.AllocsPerRun(100, relay); n != 0 {
			t.Errorf("%s: a message each way allocates %v times", name, n)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	relay := relayPlain(b)
	b.ReportAllocs()
	for b.Loop() {
		relay()
	}
}

func BenchmarkRename(b *testing.B) {
	relay := relayRenamed(b)
	b.ReportAllocs()
	for b.Loop() {
		relay()
	}
}
