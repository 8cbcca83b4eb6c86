package sn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice/firmware-tests/rig"
)

// gateway is the gateway under test.
type gateway struct {
	*rig.Gateway
	udp, dtls string // its addresses for MQTT-SN
}

// addr is where it listens for devices of a kit.
func (g *gateway) addr(k kit) string {
	if k.secure {
		return g.dtls
	}
	return g.udp
}

// startGateway runs a gateway for devices.
func startGateway(t *testing.T, settings ...string) *gateway {
	t.Helper()
	addrs, err := rig.FreeAddrs(2)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{udp: addrs[0], dtls: addrs[1]}
	dir := t.TempDir()
	keys := filepath.Join(dir, "psk")
	g.Gateway, err = rig.NewGateway(filepath.Join(dir, "data"), append([]string{
		"SLUICE_SN_ADDR=" + g.udp, "SLUICE_SN_DTLS_ADDR=" + g.dtls, "SLUICE_SN_PSK_FILE=" + keys,
	}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, err := sluice(t, key+"\n", "psk", "set", "-f", keys, "-stdin", identity); err != nil {
		t.Fatalf("sluice psk: %v\n%s", err, errs)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Terminate(); err != nil {
			t.Errorf("%v\n%s", err, g.Log.Tail(20))
		}
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", g.Log.Tail(40))
		}
	})
	return g
}

// sluice runs a command of the gateway's binary.
func sluice(t *testing.T, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// Start starts the gateway and waits until it answers devices.
func (g *gateway) Start() error {
	if err := g.Gateway.Start(); err != nil {
		return err
	}
	nc, err := net.Dial("udp4", g.udp)
	if err != nil {
		return err
	}
	defer nc.Close()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_, _ = nc.Write([]byte{3, 1, 0}) // SEARCHGW
		nc.SetReadDeadline(time.Now().Add(time.Second))
		if n, _ := nc.Read(make([]byte, 100)); n > 0 {
			return nil
		}
	}
	return errors.New("the gateway does not answer SEARCHGW")
}

// need skips the test if something is not installed, and ends it at any other error.
func need(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// centre is the other end of messages: a client of MQTT.
type centre struct {
	t    *testing.T
	mqtt mqtt.Client
	came chan string
}

// startCentre connects the other end, subscribed at QoS 2.
func (g *gateway) startCentre(t *testing.T, filters ...string) *centre {
	t.Helper()
	c := &centre{t: t, came: make(chan string, 10000)}
	c.mqtt = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + g.Addr).SetClientID("centre-" + t.Name()).
		SetUsername("centre").SetPassword("secret").SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(true))
	c.answered(c.mqtt.Connect())
	t.Cleanup(func() { c.mqtt.Disconnect(0) })
	for _, f := range filters {
		c.answered(c.mqtt.Subscribe(f, 2, func(_ mqtt.Client, m mqtt.Message) {
			c.came <- fmt.Sprintf("%s %d %v %s", m.Topic(), m.Qos(), m.Retained(), m.Payload())
		}))
	}
	return c
}

// answered waits for the answer to a request.
func (c *centre) answered(token mqtt.Token) {
	c.t.Helper()
	if !token.WaitTimeout(patience) {
		c.t.Fatal("the gateway does not answer the centre")
	}
	if err := token.Error(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *centre) publish(topic string, qos byte, retain bool, payload string) {
	c.t.Helper()
	c.answered(c.mqtt.Publish(topic, qos, retain, payload))
}

// want waits for what comes next: topic, QoS, retained, payload.
func (c *centre) want(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		select {
		case got := <-c.came:
			if got != want {
				c.t.Fatalf("the centre got %q, want %q", got, want)
			}
		case <-time.After(patience):
			c.t.Fatalf("%q did not come to the centre", want)
		}
	}
}
