package server

import (
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connack is section 3.2, and what CONNECT and CONNACK tell of limits.
var connack = []suite.Test{
	{V311: "3.2.0-1", V5: "3.2.0-1 3.2.0-2", Run: connackBeforeWaitingMessages},
	{V5: "3.2.0-2", Run: oneConnack},
	{V311: "3.2.2-4 3.2.2-5", V5: "3.2.2-6 3.2.2-7", Run: refusalOfStoredSession},
	{V5: "3.2.2-6 3.2.2-7 3.2.2-8", Run: refusalByMethodOfStoredSession},
	{V5: "3.2.2-8", Run: codesOfRefusals},
	{V5: "3.2.2-9 3.2.2-10 3.2.2-11 3.2.2-12", Run: maximumQoS},
	{V5: "3.2.2-13 3.2.2-14", Run: retainAvailable},
	{V5: "3.2.2-15", Run: packetLargerThanAnnounced},
	{V5: "3.2.2-17 3.2.2-18", Run: topicAliasBeyondAnnounced},
	{V5: "3.2.2-19 3.2.2-20", Run: refusalFitsTheClient},
	{V5: "3.1.2-24 3.2.2-19 3.2.2-20", Run: connackFitsTheClient},
	{V5: "3.1.2-24", Run: noConnackFitsTheClient},
	{V5: "3.1.2-24 3.1.2-25", Run: packetTooLargeForTheClient},
	{V5: "3.1.2-25", Run: tooLargeLeavesTheWindowOpen},
	{V5: "3.1.2-24 RULE-3.1.2.11.4-A", Run: largestPacketForTheClient},
	{V5: "3.1.2-26", Run: aliasesForTheClient},
	{V5: "3.1.2-27", Run: noAliasesForTheClient},
	{V5: "3.1.2-28", Run: responseInformation},
	{V5: "3.1.2-29", Run: noProblemInformation},
}

// connackBeforeWaitingMessages has some wait for the client. Every connection of the
// suite wants CONNACK first, and once.
func connackBeforeWaitingMessages(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	t.Away(p, 1, topic)
	publisher := t.Join()
	for range 20 {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "waiting", QoS: 1})
	}
	c := t.Connect(p)
	for range 20 {
		c.Take(topic, "waiting")
	}
	c.Ping()
}

// oneConnack looks for a second one behind everything else, up to the end.
func oneConnack(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	c.Subscribe(2, topic)
	publisher := t.Join()
	for qos := range byte(3) {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "x", QoS: qos})
		c.Take(topic, "x")
	}
	c.Ping()
	c.Leave()
}

// refusalOfStoredSession comes with a wrong password for a session that there is.
func refusalOfStoredSession(t *suite.T) {
	t.Need(t.Target.Guarded, "listener with accounts")
	p, wrong := t.Lasting(), "not this"
	p.Username, p.Password = &t.Target.User, &t.Target.Password
	t.Dial(t.Target.Guarded).Accepted(p).Leave()
	p.Password = &wrong
	c := t.Dial(t.Target.Guarded)
	c.Send(p.Bytes())
	if answer := c.NextOrEnd(); answer != nil {
		if answer.Code() == 0 || answer.Present {
			t.Fatalf("%v, want a refusal without session present", answer)
		}
		c.WantEnd()
	}
	p.Password = &t.Target.Password
	present(t, t.Dial(t.Target.Guarded).Accepted(p), true) // the refusal did no harm
}

func refusalByMethodOfStoredSession(t *suite.T) {
	p := t.Lasting()
	t.Connect(p).Leave()
	known := p.Props
	p.Props = append(slices.Clone(known), wire.Bytes(wire.AuthenticationMethod, wire.Str("no such method"))...)
	t.Dial(t.Target.Addr).Refused(p.Bytes(), 0x8c, 0x87) // the reader wants session present to be 0
	p.Props = known
	present(t, t.Connect(p), true)
}

// codesOfRefusals gathers refusals of many kinds; the reader wants listed codes.
func codesOfRefusals(t *suite.T) {
	topic := strings.Repeat("/", 65535)
	for _, b := range [][]byte{
		wire.Packet(wire.CONNECT<<4|3, whole(t)),
		flagged(t, 0x03, ident(t)),
		flagged(t, 0x1e, ident(t), wire.Props(), wire.Str("will"), wire.Str("gone")),
		flagged(t, 0x06, ident(t), wire.Props(), wire.Str("a/#"), wire.Str("gone")),
		flagged(t, 0x06, ident(t), wire.Props(), wire.Str(""), wire.Str("gone")),
		flagged(t, 0x06, ident(t), wire.Props(), wire.Str(topic), wire.Str("gone")),
		flagged(t, 0x06, ident(t), wire.Props(), wire.Str("$SYS/broker"), wire.Str("gone")),
		flagged(t, 0x02, wire.Str(topic)),
		withProps(t, wire.ReceiveMaximum, uint16(0)),
		withProps(t, wire.AuthenticationMethod, wire.Str("")),
		withProps(t, wire.AuthenticationMethod, wire.Str("SCRAM-SHA-1"), wire.AuthenticationData, wire.Str("n,,n=user,r=nonce")),
	} {
		c := t.Dial(t.Target.Addr)
		c.Send(b)
		if answer := c.NextOrEnd(); answer != nil && answer.Code() >= 0x80 {
			c.WantEnd()
		}
	}
}

// maximumQoS holds the server to the one it told, or to QoS 2.
func maximumQoS(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	max := c.Connack.Props.Int(wire.MaximumQoS, 2)
	for qos := range byte(3) {
		c.Send(wire.Subscribe(t.Version, 1+uint16(qos), qos, topic))
		if got := c.WantAck(wire.SUBACK, 1+uint16(qos), 0, 1, 2); got.Code() > qos {
			t.Fatalf("%v grants more than QoS %d", got, qos)
		}
	}
	p := t.CONNECT()
	p.Will = &wire.Will{Topic: topic, Payload: "gone", QoS: 2}
	publisher := t.Join()
	if max == 2 {
		t.Connect(p).Leave()
		publisher.Publish(wire.Publish{Topic: topic, Payload: "twice", QoS: 2})
		publisher.Ping()
		return
	}
	t.Dial(t.Target.Addr).Refused(p.Bytes(), 0x9b)
	publisher.Send(wire.Publish{Topic: topic, Payload: "too high", QoS: 2, ID: 1}.Bytes(t.Version))
	publisher.WantClosed(0x9b, 0x82)
}

// retainAvailable holds the server to what it told.
func retainAvailable(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	p := t.CONNECT()
	p.Will = &wire.Will{Topic: topic, Payload: "gone", Retain: true}
	if retains(c) {
		t.Connect(p).Leave()
		c.Publish(wire.Publish{Topic: topic, Payload: "kept", QoS: 1, Retain: true})
		late := t.Join()
		late.Subscribe(0, topic)
		late.Take(topic, "kept")
		c.Publish(wire.Publish{Topic: topic, QoS: 1, Retain: true}) // clean up
		return
	}
	t.Dial(t.Target.Addr).Refused(p.Bytes(), 0x9a)
	c.Send(wire.Publish{Topic: topic, Payload: "kept", Retain: true}.Bytes(t.Version))
	c.WantClosed(0x9a, 0x82)
}

// sized is a PUBLISH at QoS 0 that is n bytes as a whole, with its payload.
func sized(t *suite.T, topic string, n int) (packet []byte, payload string) {
	for length := n; ; length-- {
		payload = strings.Repeat("x", length)
		if packet = (wire.Publish{Topic: topic, Payload: payload}).Bytes(t.Version); len(packet) <= n {
			return packet, payload
		}
	}
}

func packetLargerThanAnnounced(t *suite.T) {
	addr := t.Target.Addr
	if t.Target.Limited != "" {
		addr = t.Target.Limited
	}
	c := t.Dial(addr).Accepted(t.CONNECT())
	max := int(c.Connack.Props.Int(wire.MaximumPacketSize, 0))
	if max == 0 || max > 1<<20 {
		t.Skip("no low limit of the packet size")
	}
	topic := t.Topic()
	c.Subscribe(0, topic)
	largest, payload := sized(t, topic, max)
	c.Send(largest)
	c.Take(topic, payload)
	larger, _ := sized(t, topic, max+1)
	c.Send(larger)
	c.WantClosed(0x95)
}

// topicAliasBeyondAnnounced is any if the server told of none.
func topicAliasBeyondAnnounced(t *suite.T) {
	c := t.Join()
	max := c.Connack.Props.Int(wire.TopicAliasMaximum, 0)
	if max == 65535 {
		t.Skip("the server takes all topic aliases")
	}
	c.Send(wire.Publish{Topic: t.Topic(), Payload: "x", Props: wire.Bytes(wire.TopicAlias, uint16(max+1))}.Bytes(t.Version))
	c.WantClosed(0x94, 0x82)
}

// fits sends a CONNECT with a Maximum Packet Size and wants the answer to be no larger.
func fits(t *suite.T, p wire.Connect, size int) {
	p.Props = append(slices.Clone(p.Props), wire.Bytes(wire.MaximumPacketSize, uint32(size))...)
	c := t.Dial(t.Target.Addr)
	c.Send(p.Bytes())
	answer := c.NextOrEnd()
	if answer != nil && len(answer.Raw) > size {
		t.Fatalf("%v is %d bytes, the client accepts %d", answer, len(answer.Raw), size)
	}
	if answer == nil || answer.Code() >= 0x80 {
		return
	}
	c.Ping()
}

func refusalFitsTheClient(t *suite.T) {
	for _, size := range []int{5, 6, 10, 20, 40} { // 5 is the least for a CONNACK
		p := t.CONNECT()
		p.Props = wire.Bytes(wire.AuthenticationMethod, wire.Str("no such method"))
		fits(t, p, size)
	}
}

func connackFitsTheClient(t *suite.T) {
	for size := 5; size < 100; size += 3 {
		fits(t, t.CONNECT(), size)
		p := t.CONNECT()
		p.ID = ""
		p.Props = wire.Bytes(wire.RequestResponseInformation, byte(1))
		fits(t, p, size)
	}
}

// noConnackFitsTheClient accepts no packet as large as the least CONNACK.
func noConnackFitsTheClient(t *suite.T) {
	for size := 1; size < 5; size++ {
		fits(t, t.CONNECT(), size)
		p := t.CONNECT()
		p.Props = wire.Bytes(wire.AuthenticationMethod, wire.Str("no such method"))
		fits(t, p, size)
	}
}

// small is a CONNECT that accepts packets of up to size bytes.
func small(t *suite.T, size uint32) wire.Connect {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.MaximumPacketSize, size)
	return p
}

// packetTooLargeForTheClient goes to others, and the small ones around it to all.
func packetTooLargeForTheClient(t *suite.T) {
	topic := t.Topic()
	c, other, publisher := t.Connect(small(t, 150)), t.Join(), t.Join()
	c.Subscribe(2, topic)
	other.Subscribe(2, topic)
	long := strings.Repeat("long", 100)
	for qos := range byte(3) {
		for _, payload := range []string{"before", long, "after"} {
			publisher.Publish(wire.Publish{Topic: topic, Payload: payload, QoS: qos})
			other.Take(topic, payload)
			if payload != long {
				c.Take(topic, payload)
			}
		}
	}
	c.Ping()
}

// tooLargeLeavesTheWindowOpen has what is dropped count as delivered.
func tooLargeLeavesTheWindowOpen(t *suite.T) {
	topic := t.Topic()
	p := small(t, 150)
	p.Props = append(p.Props, wire.Bytes(wire.ReceiveMaximum, uint16(1))...)
	c, publisher := t.Connect(p), t.Join()
	c.Subscribe(2, topic)
	for qos := byte(1); qos < 3; qos++ {
		for range 3 {
			publisher.Publish(wire.Publish{Topic: topic, Payload: strings.Repeat("long", 100), QoS: qos})
		}
		publisher.Publish(wire.Publish{Topic: topic, Payload: "short", QoS: qos})
		c.Take(topic, "short")
	}
}

// largestPacketForTheClient is as large as the client accepts, the next a byte more.
func largestPacketForTheClient(t *suite.T) {
	topic := t.Topic()
	c, publisher := t.Connect(small(t, 120)), t.Join()
	c.Subscribe(0, topic)
	largest, payload := sized(t, topic, 120)
	larger, _ := sized(t, topic, 121)
	publisher.Send(larger, largest, larger)
	c.Take(topic, payload)
	publisher.Publish(wire.Publish{Topic: topic, Payload: "the end"})
	c.Take(topic, "the end")
}

// aliasesForTheClient allows two, and wants what comes by them to be the right topics.
func aliasesForTheClient(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.TopicAliasMaximum, uint16(2))
	c, publisher := t.Connect(p), t.Join()
	topic := t.Topic()
	c.Subscribe(0, topic+"/#")
	aliases := map[uint32]string{}
	for i := range 30 {
		want := topic + "/" + string(rune('a'+i%5))
		publisher.Publish(wire.Publish{Topic: want, Payload: want})
		got := c.Want(wire.PUBLISH)
		alias := got.Props.Int(wire.TopicAlias, 0)
		if alias > 2 {
			t.Fatalf("%v has topic alias %d, the maximum is 2", got, alias)
		}
		if got.Topic == "" {
			got.Topic = aliases[alias]
		} else if alias > 0 {
			aliases[alias] = got.Topic
		}
		if got.Topic != want || got.Payload != want {
			t.Fatalf("%q to %q, want %q", got.Payload, got.Topic, want)
		}
	}
}

// noAliasesForTheClient neither when it said nothing of them, nor when it said none.
func noAliasesForTheClient(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.TopicAliasMaximum, uint16(0))
	topic := t.Topic()
	clients := []*suite.Conn{t.Join(), t.Connect(p)}
	for _, c := range clients {
		c.Subscribe(0, topic)
	}
	publisher := t.Join()
	for range 5 {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "again"})
		for _, c := range clients {
			if got := c.Take(topic, "again"); got.Props.Has(wire.TopicAlias) {
				t.Fatalf("%v has a topic alias", got)
			}
		}
	}
}

// responseInformation comes only if it was asked for.
func responseInformation(t *suite.T) {
	p := t.CONNECT()
	for _, asked := range []byte{0, 1} {
		for _, props := range [][]byte{nil, wire.Bytes(wire.RequestResponseInformation, asked)} {
			p.Props = props
			c := t.Connect(p)
			if c.Connack.Props.Has(wire.ResponseInformation) && (props == nil || asked == 0) {
				t.Fatalf("%v has response information, which was not asked for", c.Connack)
			}
			c.Leave()
		}
	}
}

// noProblemInformation has acknowledgements tell of trouble by code alone.
func noProblemInformation(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.RequestProblemInformation, byte(0))
	topic := t.Topic()
	for _, trouble := range [][]byte{
		wire.Subscribe(t.Version, 1, 1, topic, "a/#/b"),
		wire.Subscribe(t.Version, 1, 1, "$share//a"),
		wire.Unsubscribe(t.Version, 1, topic, "#/b"),
		wire.Ack(wire.PUBREL, 77),
		wire.Ack(wire.PUBREC, 78),
		wire.Publish{Topic: topic, Payload: "to nobody", QoS: 1, ID: 1}.Bytes(t.Version),
		wire.Publish{Topic: topic, Payload: "to nobody", QoS: 2, ID: 1}.Bytes(t.Version),
		wire.Publish{Topic: "$SYS/broker/version", Payload: "forged", QoS: 1, ID: 1}.Bytes(t.Version),
	} {
		c := t.Connect(p)
		c.Send(trouble, wire.Pingreq())
		for {
			got := c.NextOrEnd()
			if got == nil || got.Type == wire.PINGRESP || got.Type == wire.DISCONNECT {
				break
			}
			if got.Props.Has(wire.ReasonString) || got.Props.Has(wire.UserProperty) {
				t.Fatalf("%v tells more than its code", got)
			}
		}
	}
}
