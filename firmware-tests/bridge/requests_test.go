package bridge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/wire"
)

// Commands for a device that sleeps wait for it in the gateway, over a kill, and come
// once and in order when it wakes up.
func TestCommandsWaitForDevices(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("DOWN=@sleep/cmd/# 2 -> cmd/$1", up.name))
		device, _ := resume(t, s.Addr, wire.V311, "sleeper")
		device.subscribe(2, "cmd/#")
		device.leave()
		center := s.center("center")
		qos := func(i int) byte { return byte(min(1+i%2, int(up.qos))) }
		for i := range 20 {
			center.publish(wire.Publish{Topic: in("@sleep/cmd/1", up.name), Payload: fmt.Sprint(i), QoS: qos(i)})
		}
		watcher := s.device("watcher") // the last command is here when this one is
		watcher.subscribe(2, "cmd/last")
		center.publish(wire.Publish{Topic: in("@sleep/cmd/last", up.name), Payload: "last", QoS: qos(1)})
		watcher.want("all commands have come down", "cmd/last", "last")
		time.Sleep(quiet) // for their acknowledgements: at QoS 1 they would come again
		s.Kill()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		device, present := resume(t, s.Addr, wire.V311, "sleeper")
		if !present {
			t.Error("the device's session is lost")
		}
		for i := range 20 {
			p := device.want("in order", "cmd/1", fmt.Sprint(i))
			if p.QoS != qos(i) {
				t.Errorf("command %d comes at QoS %d, want %d", i, p.QoS, qos(i))
			}
		}
		device.want("and no more than these", "cmd/last", "last")
		device.wantNothing("once")
	})
}

// What was retained on a side before the bridge came goes over when it does, once, and
// neither side hears its own.
func TestRetainedStateGoesOverOnce(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		// RabbitMQ finds what it retains by names only. In MQTT 3.1.1 what changes comes
		// without RETAIN to those who have subscribed before.
		everything, down := []string{"rs/#"}, "rs/# 1"
		if up == rabbit {
			everything = []string{"rs/here/0", "rs/here/1", "rs/there/0", "rs/there/1"}
			down = strings.Join(everything, " 1,") + " 1"
		}
		if up.version < wire.V5 {
			down = strings.ReplaceAll(down, " 1", " 1 retain=on")
		}
		s := up.newSite(t, "UP=none", "URL=mqtt://127.0.0.1:1")
		before := s.device("before") // the same for both: the answer to the second is one to the first
		for i := range 2 {
			before.publish(wire.Publish{Topic: fmt.Sprint("rs/here/", i), Payload: "old", QoS: byte(i), Retain: true})
		}
		center := s.center("center")
		for i := range 2 {
			center.publish(wire.Publish{Topic: fmt.Sprint("rs/there/", i), Payload: "old", QoS: byte(i), Retain: true})
		}
		center.subscribe(1, "rs/here/#")
		s.restart("URL=mqtt://"+s.line.Addr, "UP=rs/# 1", "DOWN="+down+","+s.readyRule())
		center.wantAll("what the gateway retains goes up", "rs/here/0 old", "rs/here/1 old")
		s.ready()
		device := s.device("device")
		device.subscribe(1, "rs/#")
		device.wantAll("what the upstream retains has come down", "rs/here/0 old", "rs/here/1 old", "rs/there/0 old", "rs/there/1 old")

		// While the gateway is away the state there moves on.
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		center.publish(wire.Publish{Topic: "rs/there/1", Payload: "new", QoS: 1, Retain: true})
		s.restart()
		device = s.device("device")
		device.subscribe(1, "rs/there/1")
		for payload := ""; payload != "new"; {
			p := device.next()
			if p == nil {
				t.Fatal("the new state does not come down")
			}
			payload = p.Payload
		}
		s.ready()
		center.wantNothing("and nothing has gone up a second time")
		late := s.center("late")
		late.subscribe(1, everything...)
		late.wantAll("nor is it old again", "rs/here/0 old", "rs/here/1 old", "rs/there/0 old", "rs/there/1 new")

		// A filter that is added brings what it matches, and only that.
		device.publish(wire.Publish{Topic: "more/1", Payload: "x", QoS: 1, Retain: true})
		center.subscribe(1, "rs/more/#")
		s.restart("UP=rs/# 1,more/# 1 -> rs/more/$1")
		center.want("the new filter's", "rs/more/1", "x")
		center.wantNothing("and no other")
	})
}
