// Package cost measures what MQTT-SN devices cost the gateway, beside clients of MQTT over
// TCP that do the same: memory of devices that are connected or asleep, and CPU of a
// message.
package cost

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/sn"
	"sluice/firmware-tests/rig"
)

const (
	devices    = 10_000
	deviceGoal = 4 << 10 // bytes of RSS
	pairs      = 50
	each       = 1_000 // messages of a publisher
	patience   = 60 * time.Second
	asks       = 30
)

// TestMemory has devices connect and subscribe, and then sleep.
func TestMemory(t *testing.T) {
	g, addr := newGateway(t)
	before := rss(t, g.PID())
	all := make([]*device, devices)
	together(func(i int) { all[i] = connect(t, addr, fmt.Sprint("device", i), fmt.Sprint("cmd/", i)) })
	connected := rss(t, g.PID())
	together(func(i int) { all[i].ask(t, &sn.Disconnect{Duration: 3600, HasDuration: true}) })
	asleep := rss(t, g.PID())
	each := func(now int64) int64 { return (now - before) / devices }
	t.Logf("RSS for each of %d devices: %d bytes connected with a subscription, %d asleep; goal: %d", devices, each(connected), each(asleep), deviceGoal)
	if n := max(each(connected), each(asleep)); n > deviceGoal {
		t.Errorf("a device takes %d bytes", n)
	}
}

// together does something for all devices, for many at a time.
func together(do func(i int)) {
	const crowd = 100
	var all sync.WaitGroup
	for first := range crowd {
		all.Go(func() {
			for i := first; i < devices; i += crowd {
				do(i)
			}
		})
	}
	all.Wait()
}

// TestCPU has publishers send to a subscriber of their own at QoS 1, one message at a time,
// over MQTT-SN and over TCP in turns. The figures are for a person to read: machines are
// noisy.
func TestCPU(t *testing.T) {
	g, addr := newGateway(t)
	for range 3 {
		tcp := measure(t, g.PID(), func(i int) { overTCP(t, g.Addr, i) })
		udp := measure(t, g.PID(), func(i int) { overUDP(t, addr, i) })
		t.Logf("CPU of a message at QoS 1, one at a time, %d pairs: %.2f us over TCP, %.2f us over UDP, ratio %.2f; goal: 1.5", pairs, tcp, udp, udp/tcp)
	}
}

// newGateway starts a gateway that keeps all in memory, as the disk is not what is measured.
func newGateway(t *testing.T) (g *rig.Gateway, addr string) {
	t.Helper()
	addrs, err := rig.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	g, err = rig.NewGateway(filepath.Join(t.TempDir(), "data"), "SLUICE_LOG_LEVEL=warn", "SLUICE_STORE_SYNC=never", "SLUICE_SN_ADDR="+addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	return g, addrs[0]
}

// measure runs what every pair does, and returns the gateway's CPU time for a message.
func measure(t *testing.T, pid int, run func(i int)) (micros float64) {
	t.Helper()
	before := cpu(t, pid)
	var all sync.WaitGroup
	for i := range pairs {
		all.Go(func() { run(i) })
	}
	all.Wait()
	return float64((cpu(t, pid) - before).Microseconds()) / (pairs * each)
}

// device is an MQTT-SN device.
type device struct {
	nc  net.Conn
	dec sn.Decoder
	buf [2048]byte
}

// connect connects a device that subscribes to a filter.
func connect(t *testing.T, addr, name, filter string) *device {
	t.Helper()
	nc, err := net.Dial("udp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { nc.Close() })
	d := &device{nc: nc}
	d.ask(t, &sn.Connect{CleanSession: true, ProtocolID: 1, Duration: 600, ClientID: []byte(name)})
	d.ask(t, &sn.Subscribe{QoS: 1, MessageID: 1, Topic: []byte(filter)})
	return d
}

// ask sends a message until it is answered.
func (d *device) ask(t *testing.T, m sn.Message) sn.Message {
	for range asks {
		d.send(m)
		if answer, err := d.read(patience / asks); err == nil {
			return answer
		}
		time.Sleep(10 * time.Millisecond) // the socket may not be open yet
	}
	t.Errorf("%v is not answered", m.Type())
	return nil
}

func (d *device) send(m sn.Message) { d.nc.Write(m.Append(d.buf[:0])) }

func (d *device) next(t *testing.T) sn.Message {
	m, err := d.read(patience)
	if err != nil {
		t.Error(err)
	}
	return m
}

func (d *device) read(limit time.Duration) (sn.Message, error) {
	d.nc.SetReadDeadline(time.Now().Add(limit))
	n, err := d.nc.Read(d.buf[:])
	if err != nil {
		return nil, err
	}
	return d.dec.Decode(d.buf[:n])
}

// overUDP sends to itself over MQTT-SN: what comes is acknowledged.
func overUDP(t *testing.T, addr string, i int) {
	topic := fmt.Sprint("pair/", i)
	d := connect(t, addr, fmt.Sprint("sn", i), topic)
	ack := d.ask(t, &sn.Register{MessageID: 2, Topic: []byte(topic)}).(*sn.Regack)
	p := sn.Publish{QoS: 1, TopicID: ack.TopicID, Data: make([]byte, 64)}
	for n := range each {
		p.MessageID = uint16(n + 1)
		d.send(&p)
		for acked, came := false, false; !acked || !came; {
			switch m := d.next(t).(type) {
			case nil:
				return
			case *sn.Puback:
				acked = true
			case *sn.Publish:
				came = true
				d.send(&sn.Puback{TopicID: m.TopicID, MessageID: m.MessageID})
			}
		}
	}
}

// overTCP does the same over MQTT.
func overTCP(t *testing.T, addr string, i int) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	dec := codec.Decoder{FromServer: true}
	var out, in []byte
	buf := make([]byte, 4096)
	send := func(p codec.Packet) {
		out = p.Append(out[:0], codec.V311)
		nc.Write(out)
	}
	next := func() codec.Packet {
		for {
			p, n, err := dec.Next(in, codec.V311, 0)
			if err != nil {
				t.Error(err)
				return nil
			}
			if n > 0 {
				in = in[n:]
				return p
			}
			n, err = nc.Read(buf)
			if err != nil {
				t.Error(err)
				return nil
			}
			in = append(in[:0:0], append(in, buf[:n]...)...)
		}
	}
	topic := []byte(fmt.Sprint("pair/", i))
	send(&codec.Connect{Version: codec.V311, CleanStart: false, ClientID: []byte(fmt.Sprint("tcp", i))})
	next()
	send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: topic, QoS: 1}}})
	next()
	p := codec.Publish{}
	p.Topic, p.Payload, p.QoS = topic, make([]byte, 64), 1
	for n := range each {
		p.ID = uint16(n + 1)
		send(&p)
		for acked, came := false, false; !acked || !came; {
			switch m := next().(type) {
			case nil:
				return
			case *codec.Puback:
				acked = true
			case *codec.Publish:
				came = true
				send(&codec.Puback{ID: m.ID})
			}
		}
	}
	send(&codec.Unsubscribe{ID: 2, Filters: [][]byte{topic}})
	next()
}

// rss is the memory of a process, in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// cpu is the processor time that a process has had.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}
