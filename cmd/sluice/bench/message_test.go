package bench

import (
	"testing"

	"sluice/codec"
)

// What a publisher sends is what a subscriber reads, in every version and QoS.
func TestMessage(t *testing.T) {
	for _, v := range []codec.Version{codec.V311, codec.V5} {
		for qos := range byte(3) {
			c := &Config{QoS: qos, Connect: codec.Connect{Version: v}}
			if v == codec.V5 {
				c.User = 2
			}
			m := newMessage(c, "bench/1", 200)
			sent := stamp{run: 1, pub: 2, seq: 1 << 40, nano: 123456789}
			var id uint16
			if qos > 0 {
				id = 77
			}
			b := m.append(nil, v, id, sent)
			if len(b) != m.size {
				t.Errorf("%v QoS %d: %d bytes, not %d as said", v, qos, len(b), m.size)
			}
			dec := codec.Decoder{FromServer: true}
			p, n, err := dec.Next(b, v, 0)
			if err != nil || n != len(b) {
				t.Fatalf("%v QoS %d: %d bytes of %d, %v", v, qos, n, len(b), err)
			}
			got := p.(*codec.Publish)
			if got.QoS != qos || got.ID != id || len(got.User) != c.User || string(got.Topic) != "bench/1" || getStamp(got.Payload) != sent {
				t.Errorf("%v QoS %d: %+v", v, qos, got)
			}
		}
	}
}

func TestRetainedTopic(t *testing.T) {
	c := &Config{Connect: codec.Connect{Version: codec.V311}}
	m := newRetained(c, "a", 0)
	for _, want := range []string{"a/00001234", "a/00000007"} {
		m.append(nil, codec.V311, 0, stamp{seq: map[string]uint64{"a/00001234": 1234, "a/00000007": 7}[want]})
		if string(m.Topic) != want || !m.Retain {
			t.Errorf("topic %s, retain %v; want %s", m.Topic, m.Retain, want)
		}
	}
}

// The topic is sent once, with its alias.
func TestAlias(t *testing.T) {
	c := &Config{Connect: codec.Connect{Version: codec.V5}}
	m := newMessage(c, "bench/1", stampSize)
	m.TopicAlias = 1
	var dec codec.Decoder
	for _, want := range []string{"bench/1", "", ""} {
		p, _, err := dec.Next(m.append(nil, codec.V5, 0, stamp{}), codec.V5, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.(*codec.Publish); string(got.Topic) != want || got.TopicAlias != 1 {
			t.Errorf("topic %q with alias %d, want %q with 1", got.Topic, got.TopicAlias, want)
		}
	}
}

// Nothing is allocated for a message.
func TestMessageAllocations(t *testing.T) {
	c := &Config{QoS: 1, User: 2, Connect: codec.Connect{Version: codec.V5}}
	m := newMessage(c, "bench/1", 64)
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = m.append(b[:0], codec.V5, 1, stamp{}) }); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}
