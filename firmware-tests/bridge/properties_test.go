package bridge

import (
	"fmt"
	"testing"
	"time"

	"sluice/firmware-tests/wire"
)

func text(p *wire.Read, id byte) string {
	property, _ := p.Props.Get(id)
	return property.Text
}

// A device asks, a service in the cloud answers where it is told to; and the other way
// round. Nobody but the bridge knows the names of both sides.
func TestRequestAndResponse(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=ask/# 1 -> rr/ask/$1,answer/# 1 -> rr/from/site7/$1", "DOWN=rr/to/site7/# 1 -> inbox/$1,rr/do/# 1 -> do/$1")
		device, center := s.device("device"), s.center("center")
		device.subscribe(1, "inbox/#", "do/#")
		center.subscribe(1, "rr/ask/#", "rr/from/#")

		request := func(topic, response string) wire.Publish {
			return wire.Publish{Topic: topic, Payload: "?", QoS: 1,
				Props: wire.Bytes(wire.ResponseTopic, wire.Str(response), wire.CorrelationData, wire.Str("\x00\xff7"))}
		}
		answer := func(asked *wire.Read) wire.Publish {
			return wire.Publish{Topic: text(asked, wire.ResponseTopic), Payload: "!", QoS: 1,
				Props: wire.Bytes(wire.CorrelationData, wire.Str(text(asked, wire.CorrelationData)))}
		}
		device.publish(request("ask/time", "inbox/device/1"))
		center.publish(answer(center.want("the question goes up", "rr/ask/time", "?")))
		if p := device.want("the answer comes where the device waits", "inbox/device/1", "!"); text(p, wire.CorrelationData) != "\x00\xff7" {
			t.Errorf("with correlation data %q", text(p, wire.CorrelationData))
		}
		center.publish(request("rr/do/open", "rr/from/site7/valve"))
		device.publish(answer(device.want("the command comes down", "do/open", "?")))
		if p := center.want("the answer comes where the center waits", "rr/from/site7/valve", "!"); text(p, wire.CorrelationData) != "\x00\xff7" {
			t.Errorf("with correlation data %q", text(p, wire.CorrelationData))
		}
	})
}

// An upstream of MQTT 5 gets all properties and gives them back. One of 3.1.1 gets the
// message without, and brings none down.
func TestPropertiesPass(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, fmt.Sprintf("UP=props/up/# %d", up.qos), fmt.Sprintf("DOWN=props/down/# %d", up.qos))
		device, center := s.device("device"), s.center("center")
		device.subscribe(2, "props/down/#")
		center.subscribe(2, "props/up/#")
		props := wire.Bytes(wire.PayloadFormat, byte(1), wire.ContentType, wire.Str("text/plain"), wire.MessageExpiry, uint32(1000),
			wire.ResponseTopic, wire.Str("props/up/answer"), wire.CorrelationData, wire.Str("7"),
			wire.UserProperty, wire.Str("b"), wire.Str("1"), wire.UserProperty, wire.Str("a"), wire.Str("2"), wire.UserProperty, wire.Str("b"), wire.Str("3"))
		check := func(p *wire.Read) {
			t.Helper()
			if up.version < wire.V5 { // the hop count is the bridge's own
				if len(p.Props) > 1 || len(p.Props) == 1 && text(p, wire.UserProperty) != "sluice-hops" {
					t.Errorf("it has %v", p.Props)
				}
				return
			}
			var users string
			for _, u := range p.Props.All(wire.UserProperty) {
				users += u.Text + "=" + u.Text2 + " "
			}
			if p.Props.Int(wire.PayloadFormat, 0) != 1 || text(p, wire.ContentType) != "text/plain" || text(p, wire.CorrelationData) != "7" ||
				text(p, wire.ResponseTopic) != "props/up/answer" || users != "b=1 a=2 b=3 sluice-hops=1 " {
				t.Errorf("it has %v", p.Props)
			}
			if left := p.Props.Int(wire.MessageExpiry, 0); left > 1000 || left < 900 {
				t.Errorf("%d s are left of 1000", left)
			}
		}
		for qos := byte(0); qos <= 2; qos++ {
			device.publish(wire.Publish{Topic: "props/up/1", Payload: "x", QoS: qos, Props: props})
			check(center.want("up", "props/up/1", "x"))
			m := wire.Publish{Topic: "props/down/1", Payload: "x", QoS: min(qos, up.qos)}
			if up.version == wire.V5 {
				m.Props = props
			}
			center.publish(m)
			check(device.want("down", "props/down/1", "x"))
		}
	})
}

// While a message waits its expiry runs, over a restart too, and what has expired does
// not go.
func TestExpiryCountsDown(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=expiry/# 1", "KEEPALIVE=1s")
		center := s.center("center")
		center.subscribe(1, "expiry/#")
		s.line.Cut()
		s.tells("there is no connection", "state", func(r report) bool { return !r.Connected }) // what was sent is sent again
		device := s.device("device")
		expiring := func(topic string, seconds uint32) {
			device.publish(wire.Publish{Topic: topic, Payload: "x", QoS: 1, Props: wire.Bytes(wire.MessageExpiry, seconds)})
		}
		expiring("expiry/soon", 1)
		expiring("expiry/late", 1000)
		published := time.Now()
		time.Sleep(1500 * time.Millisecond)
		s.Kill()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.line.Heal()
		p := center.want("the one that has not expired", "expiry/late", "x")
		waited := uint32(time.Since(published) / time.Second)
		if left := p.Props.Int(wire.MessageExpiry, 0); up.version == wire.V5 && (left > 998 || left < 1000-waited-1) {
			t.Errorf("%d s are left of 1000 after %d s", left, waited)
		}
		center.wantNothing("the other does not come")
	})
}
