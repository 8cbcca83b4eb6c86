package batch

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
	"sluice/firmware-tests/plant"
)

const (
	readings = 1000
	devices  = 20
	prefix   = "site7/"
	header   = 80 // bytes of IP, TCP and the link for each packet
	patience = time.Minute
)

// reading is a typical one, of a device whose values wander.
func reading(random *rand.Rand, i int, values *[devices]float64) *codec.Publish {
	d := i % devices
	values[d] += random.Float64() - 0.5
	text := fmt.Appendf(nil, `{"device":"pump-%02d","ts":%d,"temperature":%.2f,"pressure":%.3f,"vibration":%.4f,"battery":%.2f,"status":"ok"}`,
		d, 1764300000000+int64(i)*503+random.Int64N(200), 21+values[d], 1.2+random.Float64()/10, random.Float64()/50, 3.6-random.Float64()/20)
	return &codec.Publish{ID: uint16(i + 1), Message: codec.Message{Topic: fmt.Appendf(nil, "sensors/pump-%02d/state", d), Payload: text, QoS: 1}}
}

// A thousand typical readings cost less of the line in batches, and arrive all, in order.
func TestBytesOnTheWire(t *testing.T) {
	dictionary := filepath.Join(t.TempDir(), "dictionary")
	if err := os.WriteFile(dictionary, messages(99, 2*devices), 0o600); err != nil { // of another day
		t.Fatal(err)
	}
	const rule = "sensors/# 1 batch=1m"
	with := "SLUICE_BRIDGE_0_BATCH_DICTIONARY=" + dictionary
	t.Logf("%d readings of %d devices; bytes both ways, and with %d bytes of headers a packet:", readings, devices, header)
	show := func(name string, bytes, packets int64) int64 {
		t.Logf("%-34s %7d %7d", name, bytes, bytes+header*packets)
		return bytes
	}
	carried := func(name string, together int, rule string, settings ...string) int64 {
		bytes, packets := carry(t, dictionary, together, rule, settings...)
		return show(name, bytes, packets)
	}
	single := carried("one by one", 1, "sensors/# 1")
	for _, together := range []int{20, 250} {
		batches := readings / together
		show(fmt.Sprintf("%3d in a batch, not compressed", together), unpacked(batches), int64(2*batches)) // which is not to be had: computed
		without := carried(fmt.Sprintf("%3d in a batch", together), together, rule)
		dictionary := carried(fmt.Sprintf("%3d in a batch, with a dictionary", together), together, rule, with)
		if without > single/3 || dictionary > without || together == 20 && dictionary > without*95/100 {
			t.Error("batches and dictionaries save too little")
		}
	}
}

// messages are readings as they stand in a batch.
func messages(seed uint64, n int) (b []byte) {
	random, values := rand.New(rand.NewPCG(seed, seed)), new([devices]float64)
	for i := range n {
		m := reading(random, i, values)
		m.Topic = append([]byte(prefix), m.Topic...)
		b = batch.Append(b, &m.Message)
	}
	return b
}

// unpacked is what batches have that are not compressed, with their acknowledgements.
func unpacked(batches int) int64 {
	p := codec.Publish{ID: 1, Message: codec.Message{Topic: []byte(prefix + "sluice-batch"), ContentType: []byte(batch.ContentType), QoS: 1}}
	each := len(p.Append(nil, codec.V5)) + batch.Overhead + len((&codec.Puback{ID: 1}).Append(nil, codec.V5))
	return int64(len(messages(1, readings)) + batches*each)
}

// carry publishes the readings at a gateway, some together and the next when those have
// come to another gateway, and returns what went over the line between the two.
func carry(t *testing.T, dictionary string, together int, rule string, settings ...string) (bytes, packets int64) {
	t.Helper()
	center := plant.Gateway(t, "SLUICE_BATCHES=true", "SLUICE_BATCH_DICTIONARIES="+dictionary)
	line := plant.Line(t, center.Addr)
	site := plant.Gateway(t, append(settings, "SLUICE_BRIDGE_0_URL=mqtt://"+line.Addr, "SLUICE_BRIDGE_0_UP="+rule, "SLUICE_BRIDGE_0_UP_PREFIX="+prefix,
		fmt.Sprint("SLUICE_BRIDGE_0_MAX_INFLIGHT=", 2*together))...) // with half of them a batch goes
	defer center.Kill()
	defer site.Kill()
	sub, pub := dial(t, center.Addr, "sub"), dial(t, site.Addr, "pub")
	sub.send((&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte(prefix + "#")}}}).Append(nil, codec.V5))
	sub.next()
	plant.AwaitLog(t, site, 1, plant.Connected)
	begun, first := line.Traffic()
	random, values := rand.New(rand.NewPCG(1, 1)), new([devices]float64)
	for i := 0; i < readings; i += together {
		var out []byte
		var sent []*codec.Publish
		for j := range together {
			sent = append(sent, reading(random, i+j, values))
			out = sent[j].Append(out, codec.V5)
		}
		pub.send(out)
		for _, want := range sent {
			got, ok := sub.next().(*codec.Publish)
			if !ok || string(got.Topic) != prefix+string(want.Topic) || string(got.Payload) != string(want.Payload) {
				t.Fatalf("got %+v, want %s", got, want.Payload)
			}
		}
		for range together {
			if ack, ok := pub.next().(*codec.Puback); !ok || ack.Code >= codec.UnspecifiedError {
				t.Fatalf("%+v instead of an acknowledgement", ack)
			}
		}
	}
	time.Sleep(100 * time.Millisecond) // for the last acknowledgement
	bytes, packets = line.Traffic()
	return bytes - begun, packets - first
}

// client is a connection of MQTT 5.
type client struct {
	t    *testing.T
	conn net.Conn
	dec  codec.Decoder
	in   []byte
}

func dial(t *testing.T, addr, id string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: t, conn: conn, dec: codec.Decoder{FromServer: true}}
	c.send((&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte(id)}).Append(nil, codec.V5))
	c.next()
	return c
}

func (c *client) send(b []byte) {
	if _, err := c.conn.Write(b); err != nil {
		c.t.Error(err)
	}
}

// next is the next packet, valid until the next call.
func (c *client) next() codec.Packet {
	c.t.Helper()
	var chunk [4096]byte
	for {
		p, n, err := c.dec.Next(c.in, codec.V5, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		c.in = c.in[n:]
		if n > 0 {
			return p
		}
		if n, err = c.conn.Read(chunk[:]); err != nil {
			c.t.Fatal(err)
		}
		c.in = append(c.in, chunk[:n]...)
	}
}
