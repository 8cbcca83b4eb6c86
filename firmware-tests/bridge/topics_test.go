package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// in puts the test's own name in front of topics, so that tests share a server.
func in(s string, name string) string { return strings.ReplaceAll(s, "@", name) }

func TestTopicsAreRenamed(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t,
			in("UP=sensors/+/temp 1 -> @renamed/$1/t retain=off,sensors/# 1,alarms/# 1 -> @alarms/$1 retain=on", up.name),
			in("UP_PREFIX=@plain/", up.name), in("DOWN=@cmd/+/+ 1 -> cmd/$2/$1", up.name), "DOWN_PREFIX=down/")
		center, device := s.center("center"), s.device("device")
		center.subscribe(up.qos, in("@renamed/#", up.name), in("@plain/#", up.name), in("@alarms/#", up.name))
		device.subscribe(2, "#")

		for _, m := range []wire.Publish{
			{Topic: "sensors/3/temp", Payload: "a", QoS: 1, Retain: true},
			{Topic: "sensors/3/hum", Payload: "b", QoS: 1},
			{Topic: "alarms/fire/north", Payload: "c", QoS: 1},
		} {
			device.publish(m)
		}
		device.wantAll("devices see their own names", "sensors/3/temp a", "sensors/3/hum b", "alarms/fire/north c")
		center.wantAll("the cloud sees those that the rules make",
			in("@renamed/3/t a", up.name), in("@plain/sensors/3/hum b", up.name), in("@alarms/fire/north c", up.name))

		late := s.center("late")
		late.subscribe(up.qos, in("@renamed/#", up.name), in("@alarms/#", up.name))
		if up != rabbit { // finds no retained messages by wildcards
			if p := late.want("what the rule retains is retained", in("@alarms/fire/north", up.name), "c"); !p.Retain {
				t.Error("without RETAIN")
			}
		}
		late.wantNothing("what the rule does not retain is not, whatever the device says")

		center.publish(wire.Publish{Topic: in("@cmd/open/3", up.name), Payload: "d", QoS: 1})
		device.want("commands come down under theirs", "cmd/3/open", "d")
		device.wantNothing("once")
		center.wantNothing("and nothing goes back")
	})
}

// What goes up under names that come down as well is not seen twice.
func TestNothingComesBack(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("UP=@state/# 1", up.name), in("DOWN=@state/# 1", up.name))
		center, device := s.center("center"), s.device("device")
		center.subscribe(up.qos, in("@state/#", up.name))
		device.subscribe(1, in("@state/#", up.name))
		topic := in("@state/valve", up.name)
		for i := range 20 {
			device.publish(wire.Publish{Topic: topic, Payload: fmt.Sprint("up ", i%10), QoS: 1})
			device.want("the device's own copy", topic, fmt.Sprint("up ", i%10))
			center.want("the cloud's", topic, fmt.Sprint("up ", i%10))
		}
		for i := range 20 {
			center.publish(wire.Publish{Topic: topic, Payload: fmt.Sprint("down ", i%10), QoS: 1})
			center.want("the cloud's own copy", topic, fmt.Sprint("down ", i%10))
			device.want("the device's", topic, fmt.Sprint("down ", i%10))
		}
		device.wantNothing("no second copy here")
		center.wantNothing("nor there")
	})
}

// Two gateways that each take all of the other's, by addresses that do not show it.
func TestCirclesEnd(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		b := up.startSite(t)
		a := up.newSite(t)
		line, err := rig.NewProxy(a.Addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(line.Close)
		rules := "round/# 1"
		b.Set("SLUICE_BRIDGE_1_URL", "mqtt://"+line.Addr)
		b.Set("SLUICE_BRIDGE_1_CLIENT_ID", "b")
		b.Set("SLUICE_BRIDGE_1_VERSION", "5") // the line hangs up while a is not there, as old servers do
		b.Set("SLUICE_BRIDGE_1_UP", rules)
		b.Set("SLUICE_BRIDGE_1_DOWN", "ready/b")
		b.Kill()
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		a.Set("SLUICE_BRIDGE_0_CLIENT_ID", a.names+"-a") // b has the other at the same server
		a.Set("SLUICE_BRIDGE_1_URL", "mqtt://"+b.Addr)
		a.Set("SLUICE_BRIDGE_1_CLIENT_ID", "a")
		a.Set("SLUICE_BRIDGE_1_VERSION", "5")
		a.Set("SLUICE_BRIDGE_1_UP", rules)
		a.Set("SLUICE_BRIDGE_1_DOWN", "ready/a")
		a.Set("SLUICE_BRIDGE_1_MAX_HOPS", "6")
		a.Kill()
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[*site]*site{a: b, b: a} { // the bridges are there
			name := map[*site]string{a: "a", b: "b"}[from]
			publisher, watcher := to.device("publisher"), from.device("watcher")
			watcher.subscribe(0, "ready/"+name)
			for came := false; !came; {
				publisher.publish(wire.Publish{Topic: "ready/" + name})
				select {
				case <-watcher.came:
					came = true
				case <-time.After(10 * time.Millisecond):
				}
				watcher.ping()
			}
		}
		device, watcher := a.device("device"), a.device("watcher")
		watcher.subscribe(1, "round/#")
		device.publish(wire.Publish{Topic: "round/and/round", Payload: "x", QoS: 1})
		copies := 0
		for p := watcher.next(); p != nil && copies < 100; p = watcher.next() {
			copies++
		}
		// b passes on what has 3 hops and makes it 4, and takes no more; a is not there yet.
		if copies != 3 {
			t.Errorf("%d copies came round, want the first, that with 2 hops and that with 4", copies)
		}
	})
}

func TestBadRulesAreRefused(t *testing.T) {
	path, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings []string
		want     string
	}{
		{[]string{"0_UP=s/+/+ -> t/$1", "0_DOWN=u"}, "SLUICE_BRIDGE_0_UP: s/+/+ -> t/$1 leaves out $2"},
		{[]string{"0_UP=s/+ -> t/$2"}, "SLUICE_BRIDGE_0_UP: s/+ -> t/$2: there is no $2"},
		{[]string{"0_UP=s/#,s/1 -> t"}, "SLUICE_BRIDGE_0_UP: s/1 never gets its turn"},
		{[]string{"0_UP=s/#", "0_DOWN=$share/g/s/#"}, "SLUICE_BRIDGE_0_DOWN: $share/g/s/# brings down again what s/# sends up"},
		{[]string{"0_DOWN=s/#", "1_URL=mqtt://127.0.0.1:1", "1_UP=s/#"}, "SLUICE_BRIDGE_0_DOWN: s/# comes down to where bridge"},
	} {
		for _, args := range [][]string{{"config", "check"}, {"serve"}, {"topics", "explain", "a"}} {
			cmd := exec.Command(path, args...)
			cmd.Env = append(cmd.Environ(), "SLUICE_DATA_DIR="+t.TempDir(), "SLUICE_BRIDGE_0_URL=mqtt://127.0.0.1:1")
			for _, setting := range c.settings {
				cmd.Env = append(cmd.Env, "SLUICE_BRIDGE_"+setting)
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), c.want) {
				t.Errorf("%v with %v: %v\n%s", args, c.settings, err, out)
			}
		}
	}
}

// What explain says is what happens.
func TestExplained(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		rules := "UP=x/+/y 1 -> explained/$1,x/#"
		s := up.startSite(t, rules)
		path, _ := rig.Build()
		center, device := s.center("center"), s.device("device")
		center.subscribe(2, "x/#", "y", "explained/#")
		for _, topic := range []string{"x/1/y", "x/1/z", "x", "y"} {
			cmd := exec.Command(path, "topics", "explain", "-json", topic)
			cmd.Env = append(cmd.Environ(), "SLUICE_DATA_DIR="+t.TempDir(), "SLUICE_BRIDGE_0_URL=mqtt://127.0.0.1:1", "SLUICE_BRIDGE_0_"+rules)
			out, err := cmd.Output()
			var list []struct{ Up struct{ Topic string } }
			if err == nil {
				err = json.Unmarshal(out, &list)
			}
			if err != nil || len(list) != 1 {
				t.Fatalf("explain %s: %v\n%s", topic, err, out)
			}
			device.publish(wire.Publish{Topic: topic, Payload: topic, QoS: 1})
			if name := list[0].Up.Topic; name != "" {
				center.want("as explained", name, topic)
			} else {
				center.wantNothing("as explained")
			}
		}
	})
}
