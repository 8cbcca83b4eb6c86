package bridge

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// An upstream is a server that all tests share. It is started when the first needs it.
type upstream struct {
	name    string
	version byte          // the latest that it speaks
	qos     byte          // the highest that it grants
	pace    time.Duration // between two messages of each of eight sensors that it keeps up with
	start   func() (bridge, cloud string, err error)
}

var (
	mosquitto = &upstream{"Mosquitto", wire.V5, 2, 5 * time.Millisecond, once(func(dir string) (bridge, cloud string, kill func(), err error) {
		m, err := rig.StartMosquitto(dir, "max_inflight_messages 0")
		if err != nil {
			return "", "", nil, err
		}
		return m.Addr, m.Addr, m.Kill, nil
	})}
	nats = &upstream{"nats-server", wire.V311, 2, 20 * time.Millisecond, once(func(dir string) (bridge, cloud string, kill func(), err error) {
		c, err := rig.StartCluster(dir)
		if err != nil {
			return "", "", nil, err
		}
		for _, n := range c.Nodes {
			if err := letsIn(n.MQTT); err != nil {
				return "", "", c.Kill, err
			}
		}
		return c.Nodes[0].MQTT, c.Nodes[1].MQTT, c.Kill, nil // what goes up on one node is on the others
	})}
	rabbit = &upstream{"RabbitMQ", wire.V311, 1, 10 * time.Millisecond, once(func(dir string) (bridge, cloud string, kill func(), err error) {
		r, err := rig.StartRabbitMQ(dir)
		if err != nil {
			return "", "", nil, err
		}
		return r.MQTT, r.MQTT, r.Kill, nil
	})}
)

// codec is the latest version that it speaks, as devices have it.
func (up *upstream) codec() codec.Version { return codec.Version(up.version) }

var running struct {
	sync.Mutex
	end []func()
}

// once starts a server at the first call.
func once(start func(dir string) (bridge, cloud string, kill func(), err error)) func() (bridge, cloud string, err error) {
	type addresses struct{ bridge, cloud string }
	started := sync.OnceValues(func() (addresses, error) {
		dir, err := os.MkdirTemp("", "sluice-bridge-")
		if err != nil {
			return addresses{}, err
		}
		bridge, cloud, kill, err := start(dir)
		running.Lock()
		defer running.Unlock()
		running.end = append(running.end, func() { os.RemoveAll(dir) })
		if kill != nil {
			running.end = append(running.end, kill)
		}
		return addresses{bridge, cloud}, err
	})
	return func() (string, string, error) {
		a, err := started()
		return a.bridge, a.cloud, err
	}
}

// letsIn waits until a server accepts clients: nats-server listens before it can.
func letsIn(addr string) error {
	connack := func() error {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(patience))
		if _, err := nc.Write(wire.Connect{Version: wire.V311, ID: "first", Clean: true}.Bytes()); err != nil {
			return err
		}
		p, err := wire.Next(nc, wire.V311, true)
		if err == nil && p.Code() != 0 {
			err = fmt.Errorf("refused: %v", p)
		}
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if err := connack(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6") // they wait more than they work
	code := m.Run()
	for i := len(running.end) - 1; i >= 0; i-- {
		running.end[i]()
	}
	os.Exit(code)
}

// A site is a gateway with one bridge to an upstream.
type site struct {
	*rig.Gateway
	t     *testing.T
	line  *rig.Proxy // to the upstream
	cloud string     // address of the upstream for others
	up    *upstream
	names string // of this test, in topics and client identifiers
}

// at runs a test at each upstream.
func at(t *testing.T, all []*upstream, test func(t *testing.T, up *upstream)) {
	t.Parallel()
	for _, up := range all {
		t.Run(up.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := up.start(); errors.Is(err, rig.ErrMissing) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			test(t, up)
		})
	}
}

// start starts a gateway with a bridge, whose settings are as in "UP=plant/#", and
// waits until the bridge brings down what is published under the test's name.
func (up *upstream) startSite(t *testing.T, settings ...string) *site {
	t.Helper()
	s := up.newSite(t, settings...)
	s.ready()
	return s
}

func (up *upstream) newSite(t *testing.T, settings ...string) *site {
	t.Helper()
	bridge, cloud, err := up.start()
	if err != nil {
		t.Fatal(err)
	}
	line, err := rig.NewProxy(bridge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	s := &site{t: t, up: up, line: line, cloud: cloud, names: nameOf(t)}
	env := []string{"SLUICE_WS_ADDR=off", "SLUICE_BRIDGE_0_URL=mqtt://" + line.Addr, "SLUICE_BRIDGE_0_CLIENT_ID=" + s.names}
	down := s.readyRule()
	for _, setting := range settings {
		if rules, ok := strings.CutPrefix(setting, "DOWN="); ok {
			down = rules + "," + down
			continue
		}
		env = append(env, "SLUICE_BRIDGE_0_"+setting)
	}
	s.Gateway, err = rig.NewGateway(filepath.Join(t.TempDir(), "data"), append(env, "SLUICE_BRIDGE_0_DOWN="+down)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", s.Log.Tail(40))
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// nameOf is a test's name as a level of a topic, and as a client identifier.
func nameOf(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", "-") }

// device connects a client to the gateway, center one to the upstream.
func (s *site) device(name string) *client { return join(s.t, s.Addr, wire.V5, name) }
func (s *site) center(name string) *client {
	return join(s.t, s.cloud, s.up.version, s.names+"-"+name)
}

// readyRule brings down what ready publishes, without a prefix. It goes last: a server
// may need its time for each subscription.
func (s *site) readyRule() string { return fmt.Sprintf("ready/%s -> ready/%[1]s", s.names) }

// restart ends the gateway, if it runs, and starts it with settings changed. It ends in
// good order: after a kill, what had been acknowledged at QoS 1 may come again.
func (s *site) restart(settings ...string) {
	s.t.Helper()
	if err := s.Terminate(); err != nil {
		s.t.Fatal(err)
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		s.Set("SLUICE_BRIDGE_0_"+name, value)
	}
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
}

var ready int // guarded by running

// ready waits until the bridge brings down what is published upstream.
func (s *site) ready() {
	s.t.Helper()
	running.Lock()
	ready++
	n := ready
	running.Unlock()
	device, center := s.device("ready"), s.center("ready")
	device.subscribe(0, "ready/"+s.names)
	for deadline := time.Now().Add(patience); ; {
		center.publish(wire.Publish{Topic: "ready/" + s.names, Payload: fmt.Sprint(n)})
		select {
		case p := <-device.came:
			if p.Payload == fmt.Sprint(n) {
				device.leave()
				center.leave()
				return
			}
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatal("nothing comes down from the upstream")
		}
	}
}

// all are the upstreams there are.
var all = []*upstream{mosquitto, nats, rabbit}
