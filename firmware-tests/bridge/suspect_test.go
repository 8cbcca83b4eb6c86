package bridge

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// saysWhat waits until the gateway tells why its bridge stands, and what to do about that.
func (s *site) saysWhat(fault, hint string) {
	s.t.Helper()
	r := s.tells("the bridge stands", "state", func(r report) bool { return strings.Contains(r.Error, fault) })
	if !strings.Contains(r.Hint, hint) {
		s.t.Errorf("what to do: %q, want %s", r.Hint, hint)
	}
	path, _ := rig.Build()
	out, err := exec.Command(path, "bridge", "-h", s.Addr).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "last error: "+r.Error) || !strings.Contains(string(out), "what to do: "+r.Hint) {
		s.t.Errorf("sluice bridge: %v\n%s", err, out)
	}
	if !strings.Contains(s.Log.Tail(1000), r.Hint) {
		s.t.Errorf("the log does not say %q", r.Hint)
	}
}

// RabbitMQ answers QoS 2 with PUBACK. The bridge says so, and nothing is lost until it is
// told that this will do.
func TestUpstreamWithoutQoS2(t *testing.T) {
	at(t, []*upstream{rabbit}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=exact/# 2")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, "exact/#")
		const n = 50
		for i := range n {
			device.publish(wire.Publish{Topic: "exact/1", Payload: fmt.Sprint(i), QoS: 2})
		}
		s.saysWhat("upstream answers a message at QoS 2 with PUBACK", "SLUICE_BRIDGE_n_PRESET=rabbitmq")
		s.tells("all of them wait", "state", func(r report) bool { return !r.Connected && r.Messages == n })
		for p := center.next(); p != nil; p = center.next() { // a window of them
		}
		s.restart("PRESET=rabbitmq")
		for i := range n {
			center.want("what waited arrives", "exact/1", fmt.Sprint(i))
		}
		s.tells("nothing waits any more", "state", func(r report) bool { return r.Connected && r.Messages == 0 })
	})
}

// In MQTT 3.1.1 Mosquitto hangs up on a packet that is too large for it. The bridge finds out
// which it is, and keeps it until it is told how much the upstream takes.
func TestUpstreamHangsUpOnMessage(t *testing.T) {
	narrow := *mosquitto
	narrow.start = once(func(dir string) (bridge, cloud string, kill func(), err error) {
		m, err := rig.StartMosquitto(dir, "max_packet_size 1000")
		if err != nil {
			return "", "", nil, err
		}
		return m.Addr, m.Addr, m.Kill, nil
	})
	at(t, []*upstream{&narrow}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=narrow/# 1", "VERSION=3.1.1")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, "narrow/#")
		const n, large = 50, 20
		for i := range n {
			payload := fmt.Sprint(i)
			if i == large {
				payload = strings.Repeat("x", 2000)
			}
			device.publish(wire.Publish{Topic: fmt.Sprint("narrow/", i), Payload: payload, QoS: 1})
		}
		s.saysWhat(fmt.Sprintf(`the message of topic "narrow/%d", a packet of 2016 bytes`, large), "SLUICE_BRIDGE_n_MAX_UP_SIZE")
		s.restart("MAX_UP_SIZE=1000")
		if r := s.tells("it is dropped", "losses", func(r report) bool { return r.Messages > 0 }); r.Messages != 1 || r.Causes["too_large"] != 1 || r.Topics[fmt.Sprint("narrow/", large)] != 1 {
			t.Errorf("losses: %+v", r)
		}
		came := map[string]bool{}
		for deadline := time.Now().Add(patience); len(came) < n-1 && time.Now().Before(deadline); {
			if p := center.next(); p != nil {
				came[p.Topic] = true
			}
		}
		if len(came) != n-1 {
			t.Errorf("%d messages arrive, want all %d others", len(came), n-1)
		}
	})
}
