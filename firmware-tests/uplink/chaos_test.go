package uplink

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

var schedules = flag.Int("schedules", 4, "how many random schedules of failures are played, each with the next seed")

// What a schedule is made of.
const (
	chaosSteps    = 7    // failures one after another, some two at a time
	chaosPause    = 400  // ms between two, at most
	chaosLength   = 2500 // ms that one lasts, at most
	chaosSensors  = 4    // each way
	chaosInterval = 10 * time.Millisecond
	chaosDrain    = 3 * time.Minute // the bridge may just have begun its longest pause
)

// TestChaos plays schedules of failures, at random by a seed: whatever fails, and when,
// everything acknowledged arrives, both ways, in order, and at QoS 2 once.
func TestChaos(t *testing.T) {
	seed := plant.Seed(t)
	var total [3]struct{ acknowledged, lost, duplicated, misordered atomic.Int64 } // by QoS
	t.Run("schedules", func(t *testing.T) {
		for i := range *schedules {
			one := seed + uint64(i)
			t.Run(fmt.Sprint(one), func(t *testing.T) {
				t.Parallel()
				consumers, story := playSchedule(t, one)
				for _, consumer := range consumers {
					for qos := byte(1); qos <= 2; qos++ {
						c := consumer.Ledger.Count(qos)
						total[qos].acknowledged.Add(int64(c.Acknowledged))
						total[qos].lost.Add(int64(c.Lost))
						total[qos].duplicated.Add(int64(c.Duplicated))
						total[qos].misordered.Add(int64(c.Misordered))
					}
				}
				t.Logf("%s\nplay it again: go test ./uplink -run Chaos -schedules=1 -seed=%d", story, one)
			})
		}
	})
	for qos := 1; qos <= 2; qos++ {
		n := &total[qos]
		t.Logf("QoS %d: %d acknowledged, %d lost, %d duplicated, %d out of order", qos,
			n.acknowledged.Load(), n.lost.Load(), n.duplicated.Load(), n.misordered.Load())
	}
}

// A stage is a gateway, its line, and its upstream, and all that may fail of them.
type stage struct {
	t       *testing.T
	gateway *rig.Gateway
	center  *center
	line    *rig.Proxy  // between the two
	front   *front      // in front of the line, with TLS; nil: none
	names   *nameServer // nil: none
	disk    string      // where the gateway's data are, which may be filled; empty: it may not
	busy    sync.Mutex  // held while the gateway is down
}

// A failure begins, and ends when what it returns is called.
type failure struct {
	name  string
	begin func(*stage, *rand.Rand) (end func())
	can   func(*stage) bool // nil: always
}

var failures = []failure{
	{"the line is cut", func(s *stage, _ *rand.Rand) func() {
		s.line.Cut()
		return s.line.Heal
	}, nil},
	{"the line breaks and is there again", func(s *stage, _ *rand.Rand) func() {
		s.line.Cut()
		s.line.Heal()
		return func() {}
	}, nil},
	{"the line carries nothing", func(s *stage, _ *rand.Rand) func() {
		s.line.Hold()
		return s.line.Release
	}, nil},
	{"the line is slow", func(s *stage, r *rand.Rand) func() {
		s.line.Slow(time.Duration(r.IntN(300)) * time.Millisecond)
		return func() { s.line.Slow(0) }
	}, nil},
	{"the upstream is frozen", func(s *stage, _ *rand.Rand) func() {
		s.center.signal(syscall.SIGSTOP)
		return func() { s.center.signal(syscall.SIGCONT) }
	}, nil},
	{"the upstream is killed", func(s *stage, _ *rand.Rand) func() {
		s.center.kill()
		return func() { s.must(s.center.start()) }
	}, func(s *stage) bool { return s.center.kill != nil }},
	{"the gateway is killed", func(s *stage, _ *rand.Rand) func() {
		s.busy.Lock()
		s.gateway.Kill()
		return func() {
			s.must(s.gateway.Start())
			s.busy.Unlock()
		}
	}, nil},
	{"the gateway is frozen", func(s *stage, _ *rand.Rand) func() {
		s.busy.Lock()
		syscall.Kill(s.gateway.PID(), syscall.SIGSTOP)
		return func() {
			syscall.Kill(s.gateway.PID(), syscall.SIGCONT)
			s.busy.Unlock()
		}
	}, nil},
	{"the name server says nothing", func(s *stage, _ *rand.Rand) func() {
		s.names.set(nameSilent)
		s.breakLine()
		return func() { s.names.set(nameAnswers) }
	}, func(s *stage) bool { return s.names != nil }},
	{"the name is not known", func(s *stage, _ *rand.Rand) func() {
		s.names.set(nameUnknown)
		s.breakLine()
		return func() { s.names.set(nameAnswers) }
	}, func(s *stage) bool { return s.names != nil }},
	{"the certificate has expired", func(s *stage, _ *rand.Rand) func() {
		s.front.expired.Store(true)
		s.breakLine()
		return func() { s.front.expired.Store(false) }
	}, func(s *stage) bool { return s.front != nil }},
	{"the disk is full", func(s *stage, _ *rand.Rand) func() {
		file := filepath.Join(s.disk, "fill")
		f, err := os.Create(file)
		if err != nil {
			return func() {}
		}
		for b := make([]byte, 64<<10); err == nil; {
			_, err = f.Write(b)
		}
		f.Close()
		return func() { os.Remove(file) }
	}, func(s *stage) bool { return s.disk != "" }},
}

// breakLine makes the bridge connect anew.
func (s *stage) breakLine() {
	s.line.Cut()
	s.line.Heal()
}

func (s *stage) must(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// playSchedule returns who got the messages, up and down, and what happened.
func playSchedule(t *testing.T, seed uint64) (consumers []*device.Consumer, story string) {
	r := rand.New(rand.NewPCG(seed, 3))
	s := newStage(t, r)
	players := plant.NewPlayers(t)
	flow := func(from, to, topic string) {
		consumer := players.Consumer(topic, to, topic+"/#", s.center.version)
		players.Fleet(chaosSensors, func(d *device.Sensor) {
			d.Addr, d.Topic, d.Interval, d.Window, d.Ledgers = from, topic, chaosInterval, 20, []*device.Ledger{consumer.Ledger}
			if s.center.version == codec.V311 {
				d.Version = codec.V311
			}
		})
	}
	plant.AwaitLog(t, s.gateway, 1, plant.Connected) // it has subscribed, or is about to
	flow(s.gateway.Addr, s.center.addr, "plant")
	flow(s.center.addr, s.gateway.Addr, "cmd")

	began := time.Now()
	story = s.center.name
	for range chaosSteps {
		time.Sleep(time.Duration(r.IntN(chaosPause)) * time.Millisecond)
		var both sync.WaitGroup
		story += fmt.Sprintf("\n%7.3f", time.Since(began).Seconds())
		for range 1 + r.IntN(4)/3 {
			f := failures[r.IntN(len(failures))]
			length := time.Duration(r.IntN(chaosLength)) * time.Millisecond
			own := rand.New(rand.NewPCG(r.Uint64(), 4))
			if f.can != nil && !f.can(s) {
				continue
			}
			story += fmt.Sprintf(" %s for %v.", f.name, length)
			both.Go(func() {
				end := f.begin(s, own)
				time.Sleep(length)
				end()
			})
		}
		both.Wait()
	}
	players.Settle(chaosDrain)
	players.Judge(2)
	return players.Consumers, story
}

// newStage builds what the seed says.
func newStage(t *testing.T, r *rand.Rand) *stage {
	s := &stage{t: t, center: newCenter(t, r)}
	s.line = plant.Line(t, s.center.addr)
	host, port, _ := net.SplitHostPort(s.line.Addr)
	scheme := "mqtt"
	settings := []string{"UP=plant/# 2", "DOWN=cmd/# 2", "CLIENT_ID=site7", "KEEPALIVE=2s", "ACK_TIMEOUT=1s"}
	if r.IntN(2) == 0 {
		settings = append(settings, "VERSION=3.1.1")
	}
	if r.IntN(2) == 0 {
		settings = append(settings, "LIVE_FIRST=true", fmt.Sprint("DRAIN_MESSAGES=", r.IntN(2)*1000))
	}
	if r.IntN(3) == 0 {
		ca := newAuthority(t)
		s.front = newFront(t, ca, s.line.Addr)
		scheme = "mqtts"
		host, port, _ = net.SplitHostPort(s.front.addr)
		settings = append(settings, "CA="+ca.file)
	}
	named, full := r.IntN(3) == 0, r.IntN(3) == 0
	if named {
		if s.names = newNameServer(t, r); s.names != nil {
			host = "cloud.example"
		}
	}
	s.gateway = newGateway(t, append(settings, "URL="+scheme+"://"+host+":"+port)...)
	if s.names != nil && namespace(t, s.names.addr, s.gateway) != nil {
		s.names = nil
		s.gateway = newGateway(t, append(settings, "URL="+scheme+"://127.0.0.1:"+port)...)
	}
	if full && mountSmall(t, s.gateway.Dir) {
		s.disk = s.gateway.Dir
	}
	if err := s.gateway.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// mountSmall makes dir a file system that is soon full, if this user may.
func mountSmall(t *testing.T, dir string) bool {
	if os.MkdirAll(dir, 0o700) != nil {
		return false
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		return false
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return true
}

// A front ends TLS in front of a line, with a certificate that may have expired.
type front struct {
	addr    string
	expired atomic.Bool
}

func newFront(t *testing.T, ca *authority, behind string) *front {
	f := new(front)
	names := []string{"cloud.example", "127.0.0.1"}
	good, old := make([]tls.Certificate, 2), make([]tls.Certificate, 2)
	for i, name := range names {
		good[i], old[i] = ca.certificate(name, time.Now().Add(time.Hour)), ca.certificate(name, time.Now().Add(-time.Minute))
	}
	conf := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		i := 1
		if hello.ServerName == names[0] {
			i = 0
		}
		if f.expired.Load() {
			return &old[i], nil
		}
		return &good[i], nil
	}}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	forward(t, ln, behind, func(to, from net.Conn) {
		for b := make([]byte, 64<<10); ; {
			n, err := from.Read(b)
			if _, werr := to.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	return f
}

// A center is an upstream that loses nothing when it is killed as it may be.
type center struct {
	name    string
	addr    string
	version codec.Version // of its clients, the highest
	kill    func()        // nil: it loses something
	start   func() error

	mu  sync.Mutex // held while it is down
	pid func() int
}

func (c *center) signal(sig syscall.Signal) {
	if sig == syscall.SIGSTOP {
		c.mu.Lock()
	} else {
		defer c.mu.Unlock()
	}
	syscall.Kill(c.pid(), sig)
}

func newCenter(t *testing.T, r *rand.Rand) *center {
	c := &center{version: codec.V5}
	if r.IntN(2) == 0 {
		// It keeps all in memory. What it writes down and reads again it may deliver
		// twice at QoS 2, to clients without any gateway as well.
		m := plant.Mosquitto(t, "max_inflight_messages 1000")
		c.name, c.addr, c.pid = "Mosquitto", m.Addr, func() int { return m.PID() }
		return c
	}
	g := plant.Gateway(t, "SLUICE_MAX_INFLIGHT=1000")
	c.name, c.addr, c.pid = "Sluice", g.Addr, func() int { return g.PID() }
	c.kill = func() {
		c.mu.Lock()
		g.Kill()
	}
	c.start = func() error {
		defer c.mu.Unlock()
		return g.Start()
	}
	return c
}

// What a name server may do.
const (
	nameAnswers = iota
	nameSilent
	nameUnknown
)

// A nameServer knows one host, or does not, on port 53 of an address of its own.
type nameServer struct {
	addr string
	mode atomic.Int32
}

func (n *nameServer) set(mode int32) { n.mode.Store(mode) }

// newNameServer returns nil if this user may not.
func newNameServer(t *testing.T, r *rand.Rand) *nameServer {
	n := &nameServer{addr: fmt.Sprintf("127.%d.%d.%d", 1+r.IntN(250), r.IntN(250), 1+r.IntN(250))}
	conn, err := net.ListenPacket("udp", n.addr+":53")
	if err != nil {
		return nil
	}
	t.Cleanup(func() { conn.Close() })
	go n.serve(conn)
	return n
}

// serve answers questions for A with 127.0.0.1, those for others with nothing.
func (n *nameServer) serve(conn net.PacketConn) {
	for b := make([]byte, 512); ; {
		size, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		mode := n.mode.Load()
		end := 12
		for end < size && b[end] != 0 {
			end += 1 + int(b[end])
		}
		if end += 5; mode == nameSilent || end > size {
			continue
		}
		answer := append([]byte(nil), b[:end]...)
		answer[2], answer[3] = answer[2]|0x80, 0x80
		clear(answer[6:12])
		switch {
		case mode == nameUnknown:
			answer[3] |= 3 // NXDOMAIN
		case b[end-3] == 1: // A
			answer[7] = 1
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
		}
		conn.WriteTo(answer, from)
	}
}

// A cluster of three nats-server nodes that share sessions, of which the bridge has a
// list: they are one upstream, and what fails of them one by one breaks no promise on
// the way up. On the way down nothing is lost; nats-server changes the order when the
// line of a subscriber breaks, of one without a gateway as well, and what is in flight
// when the subscriber moves to another node may come twice.
func TestChaosInACluster(t *testing.T) {
	if *schedules < 10 {
		t.Skip("takes a minute: played with -schedules=10 and more")
	}
	r := rand.New(rand.NewPCG(plant.Seed(t), 5))
	cluster, err := rig.StartCluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Kill)
	head := cluster.Nodes[0]
	var lines []*rig.Proxy
	urls := ""
	for _, node := range []*rig.Node{cluster.Nodes[1], cluster.Nodes[2], head} {
		line := plant.Line(t, node.MQTT)
		lines = append(lines, line)
		urls += ",mqtt://" + line.Addr
	}
	g := startGateway(t, "PRESET=nats", "URL="+urls[1:], "UP=plant/# 2", "DOWN=cmd/# 2", "CLIENT_ID=site7",
		"KEEPALIVE=4s", "ACK_TIMEOUT=8s", "FAILBACK=2s") // a node may answer nothing for five seconds
	plant.AwaitLog(t, g, 1, plant.Connected)

	players := plant.NewPlayers(t)
	consumers := map[string]*device.Consumer{}
	for topic, to := range map[string]string{"plant": head.MQTT, "cmd": g.Addr} {
		consumers[topic] = players.Consumer(topic, to, topic+"/#", codec.V311)
	}
	lead, done := context.WithTimeout(t.Context(), 30*time.Second)
	err = head.LeadAll(lead)
	done()
	if err != nil {
		t.Fatal(err)
	}
	for topic, from := range map[string]string{"plant": g.Addr, "cmd": head.MQTT} {
		players.Fleet(chaosSensors, func(d *device.Sensor) {
			d.Addr, d.Topic, d.Version, d.Interval, d.Window, d.Ledgers = from, topic, codec.V311, 50*time.Millisecond, 10, []*device.Ledger{consumers[topic].Ledger}
		})
	}
	story := ""
	for range 2 * chaosSteps {
		time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		i, length := r.IntN(2), time.Duration(r.IntN(4000))*time.Millisecond
		line, node := lines[i], cluster.Nodes[1+i]
		var what string
		switch r.IntN(4) {
		case 0:
			what = fmt.Sprintf("line %d is cut", 1+i)
			line.Cut()
			time.Sleep(length)
			line.Heal()
		case 1:
			what = fmt.Sprintf("line %d carries nothing", 1+i)
			line.Hold()
			time.Sleep(length)
			line.Release()
		case 2:
			what = fmt.Sprintf("node %d is frozen", 2+i)
			syscall.Kill(node.PID(), syscall.SIGSTOP)
			time.Sleep(length)
			syscall.Kill(node.PID(), syscall.SIGCONT)
		case 3:
			what = "the gateway is killed"
			g.Kill()
			time.Sleep(length / 4)
			if err := g.Start(); err != nil {
				t.Fatal(err)
			}
		}
		story += fmt.Sprintf("%s for %v\n", what, length)
	}
	cluster.Nodes[1].Kill()
	story += "node 2 is killed\n"
	players.Settle(chaosDrain)
	for topic, c := range consumers {
		for qos := byte(1); qos <= 2; qos++ {
			count := c.Ledger.Count(qos)
			t.Logf("%s: %v", topic, count)
			err := count.Broken(qos)
			if topic == "cmd" && count.Lost == 0 {
				err = nil
			}
			if err != nil {
				t.Errorf("%s: %v", topic, err)
			}
		}
	}
	t.Logf("the bridge connected %d times", strings.Count(g.Log.String(), plant.Connected))
	if t.Failed() {
		t.Log(story)
	}
}
