package server

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// mqtt31 is MQTT 3.1 (MQIsdp, level 3), as far as it differs. It stands with 3.1.1,
// and a server need not speak it.
var mqtt31 = []suite.Test{
	{V311: "RULE-MQIsdp-A", Run: oldClientIsServed},
	{V311: "RULE-MQIsdp-B", Run: oldClientReturns},
	{V311: "RULE-MQIsdp-C", Run: oldWill},
	{V311: "RULE-MQIsdp-D", Run: oldDupFlags},
	{V311: "RULE-MQIsdp-E", Run: oldEmptyIdentifier},
	{V311: "RULE-MQIsdp-F", Run: oldAndNewTogether},
	{V311: "RULE-MQIsdp-G", Run: oldUserNameMissing},
}

// old has the test go on in 3.1, if the server speaks it.
func old(t *suite.T) *suite.Conn {
	t.Version = wire.V31
	p := t.CONNECT()
	c := t.Dial(t.Target.Addr)
	c.Send(p.Bytes())
	answer := c.NextOrEnd()
	if answer == nil || answer.Code() == 1 {
		t.Skip("no MQTT 3.1")
	}
	if answer.Code() != 0 {
		t.Fatalf("%v, want to be accepted", answer)
	}
	return c
}

func oldClientIsServed(t *suite.T) {
	c := old(t)
	topic := t.Topic()
	c.Subscribe(2, topic)
	publisher := t.Join()
	for qos := range byte(3) {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "to all", QoS: qos})
		if got := c.Take(topic, "to all"); got.QoS != qos {
			t.Fatalf("%v came at QoS %d", got, got.QoS)
		}
	}
	c.Send(wire.Unsubscribe(t.Version, 7, topic))
	c.WantAck(wire.UNSUBACK, 7)
	publisher.Publish(wire.Publish{Topic: topic, Payload: "to nobody", QoS: 1})
	c.Ping()
	c.Leave()
}

func oldClientReturns(t *suite.T) {
	old(t)
	topic := t.Topic()
	p := t.Lasting()
	t.Away(p, 1, topic)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "meanwhile", QoS: 1})
	c := t.Connect(p)
	c.Take(topic, "meanwhile")
	p.Clean = true
	c.Leave()
	t.Connect(p).Leave()
	p.Clean = false
	c = t.Connect(p)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	c.Ping()
}

func oldWill(t *suite.T) {
	old(t)
	watcher, p := mourner(t, 0)
	t.Connect(p).Drop()
	watcher.Take(p.Will.Topic, p.Will.Payload)
	t.Connect(p).Leave()
	wantOnly(t, watcher, p.Will.Topic)
}

// oldDupFlags sends SUBSCRIBE, UNSUBSCRIBE and PUBREL once more, with DUP, as 3.1 has
// it.
func oldDupFlags(t *suite.T) {
	c := old(t)
	topic := t.Topic()
	again := func(b []byte) []byte {
		b[0] |= 8
		return b
	}
	c.Send(wire.Subscribe(t.Version, 1, 1, topic))
	c.WantAck(wire.SUBACK, 1)
	c.Send(again(wire.Subscribe(t.Version, 1, 1, topic)))
	c.WantAck(wire.SUBACK, 1)
	publisher := t.Join()
	publisher.Send(wire.Publish{Topic: topic, Payload: "once", QoS: 2, ID: 5}.Bytes(t.Version))
	publisher.WantAck(wire.PUBREC, 5)
	publisher.Send(wire.Ack(wire.PUBREL, 5))
	publisher.WantAck(wire.PUBCOMP, 5)
	publisher.Send(again(wire.Ack(wire.PUBREL, 5)))
	publisher.WantAck(wire.PUBCOMP, 5)
	c.Take(topic, "once")
	c.Send(again(wire.Unsubscribe(t.Version, 2, topic)))
	c.WantAck(wire.UNSUBACK, 2)
}

func oldEmptyIdentifier(t *suite.T) {
	old(t)
	p := t.CONNECT()
	p.ID = ""
	t.Dial(t.Target.Addr).Refused(p.Bytes(), 2)
}

// oldAndNewTogether has clients of both versions hear each other.
func oldAndNewTogether(t *suite.T) {
	c := old(t)
	topic := t.Topic()
	c.Subscribe(1, topic)
	t.Version = wire.V311
	other := t.Join()
	other.Subscribe(1, topic+"/back")
	other.Publish(wire.Publish{Topic: topic, Payload: "hello", QoS: 1})
	c.Take(topic, "hello")
	c.Publish(wire.Publish{Topic: topic + "/back", Payload: "hello yourself", QoS: 1})
	other.Take(topic+"/back", "hello yourself")
}

// oldUserNameMissing announces a user name and ends the packet: 3.1 takes it for
// missing.
func oldUserNameMissing(t *suite.T) {
	old(t)
	c := t.Dial(t.Target.Addr)
	c.Send(wire.Packet(wire.CONNECT<<4, wire.Str("MQIsdp"), wire.V31, byte(0xc2), uint16(0), ident(t)))
	if code := c.Want(wire.CONNACK).Code(); code != 0 && code != 4 && code != 5 {
		t.Fatalf("CONNACK with code %d", code)
	}
}
