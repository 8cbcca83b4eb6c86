package clients

import (
	"fmt"
	"testing"
	"time"
)

// scenes are what every library plays. Each has topics and client identifiers of
// its own, named after prefix.
var scenes = []struct {
	name string
	v5   bool // MQTT 5 only
	play func(t *testing.T, newClient func(*testing.T) client, o options, prefix string)
}{
	{"round trip", false, roundTrip},
	{"retained", false, retained},
	{"will", false, will},
	{"session present", false, sessionPresent},
	{"offline queue", false, offlineQueue},
	{"properties", true, properties},
	{"expired", true, expired},
}

func roundTrip(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	o.id = prefix
	c, _ := connect(t, newClient, o)
	subscribe(t, c, prefix+"/+/reading", 2)
	for qos := byte(0); qos <= 2; qos++ {
		for i := range 20 {
			m := message{Topic: prefix + "/pump/reading", Payload: fmt.Sprintf("%d at QoS %d", i, qos), QoS: qos}
			publish(t, c, m)
			want(t, c, m)
		}
	}
	publish(t, c, message{Topic: prefix + "/elsewhere", Payload: "not subscribed", QoS: 1})
	publish(t, c, message{Topic: prefix + "/pump/reading", Payload: "", QoS: 1})
	want(t, c, message{Topic: prefix + "/pump/reading", QoS: 1})
	c.disconnect()
}

func retained(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	o.id = prefix + "-publisher"
	p, _ := connect(t, newClient, o)
	kept := message{Topic: prefix + "/kept", Payload: "42", QoS: 1, Retain: true}
	publish(t, p, kept)
	publish(t, p, message{Topic: prefix + "/removed", Payload: "43", QoS: 1, Retain: true})
	publish(t, p, message{Topic: prefix + "/removed", QoS: 1, Retain: true})

	o.id = prefix + "-subscriber"
	s, _ := connect(t, newClient, o)
	subscribe(t, s, prefix+"/#", 1)
	want(t, s, kept)
	fresh := message{Topic: prefix + "/kept", Payload: "44", QoS: 1, Retain: true}
	publish(t, p, fresh)
	fresh.Retain = false // to those who were subscribed before [MQTT-3.3.1-12]
	want(t, s, fresh)
	publish(t, p, message{Topic: prefix + "/kept", QoS: 1, Retain: true})
	want(t, s, message{Topic: prefix + "/kept", QoS: 1})
	s.disconnect()
	p.disconnect()
}

func will(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	o.id = prefix + "-watcher"
	w, _ := connect(t, newClient, o)
	subscribe(t, w, prefix+"/#", 1)

	o.id = prefix + "-polite"
	o.will = &message{Topic: prefix + "/polite", Payload: "never", QoS: 1}
	polite, _ := connect(t, newClient, o)
	polite.disconnect()

	o.id = prefix + "-mortal"
	o.will = &message{Topic: prefix + "/mortal", Payload: "gone", QoS: 1}
	mortal, _ := connect(t, newClient, o)
	mortal.drop()
	want(t, w, *o.will)
	w.disconnect()
}

func sessionPresent(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	o.id = prefix
	for _, step := range []struct {
		what             string
		persist, present bool
	}{
		{"the first", true, false},
		{"the second", true, true},
		{"one that wants none", false, false},
	} {
		o.persist = step.persist
		c, present := connect(t, newClient, o)
		if present != step.present {
			t.Errorf("%s: session present is %v", step.what, present)
		}
		c.disconnect()
	}
}

func offlineQueue(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	sleeper := o
	sleeper.id, sleeper.persist = prefix+"-sleeper", true
	s, _ := connect(t, newClient, sleeper)
	subscribe(t, s, prefix+"/#", 2)
	s.disconnect()

	o.id = prefix + "-publisher"
	p, _ := connect(t, newClient, o)
	var sent []message
	for i := range 50 { // one QoS after the other: order holds within each [MQTT-4.6.0-5]
		m := message{Topic: prefix + "/reading", Payload: fmt.Sprint(i), QoS: byte(i/25) + 1}
		publish(t, p, m)
		sent = append(sent, m)
	}
	s, _ = connect(t, newClient, sleeper)
	for _, m := range sent {
		want(t, s, m)
	}
	s.disconnect()
	p.disconnect()
}

func properties(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	o.id = prefix
	c, _ := connect(t, newClient, o)
	subscribe(t, c, prefix+"/#", 1)
	m := message{
		Topic: prefix + "/reading", Payload: "21.5", QoS: 1, Expiry: 60, ContentType: "text/plain",
		User: []string{"unit", "°C", "unit", "again", "empty", ""},
	}
	publish(t, c, m)
	want(t, c, m)
	c.disconnect()
}

func expired(t *testing.T, newClient func(*testing.T) client, o options, prefix string) {
	sleeper := o
	sleeper.id, sleeper.persist = prefix+"-sleeper", true
	s, _ := connect(t, newClient, sleeper)
	subscribe(t, s, prefix+"/#", 1)
	s.disconnect()
	o.id = prefix + "-publisher"
	p, _ := connect(t, newClient, o)
	publish(t, p, message{Topic: prefix + "/old", Payload: "of a second ago", QoS: 1, Expiry: 1})
	lasting := message{Topic: prefix + "/lasting", Payload: "of a second ago", QoS: 1, Expiry: 60}
	publish(t, p, lasting)
	time.Sleep(1500 * time.Millisecond) // the expiry runs in the gateway's process
	s, _ = connect(t, newClient, sleeper)
	lasting.Expiry-- // at least [MQTT-3.3.2-6]
	want(t, s, lasting)
	s.disconnect()
	p.disconnect()
}
