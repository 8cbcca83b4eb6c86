package server

import (
	"fmt"
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// aliases is topic aliases.
var aliases = []suite.Test{
	{V5: "3.3.2-7", Run: aliasEndsWithConnection},
	{V5: "3.3.2-8", Run: aliasZero},
	{V5: "3.3.2-9", Run: aliasAboveMaximum},
	{V5: "3.3.2-12 RULE-3.3.2-E", Run: aliasesUpToMaximum},
	{V5: "RULE-3.3.2-F", Run: aliasNeverSet},
	{V5: "RULE-3.3.2-G", Run: noTopicAndNoAlias},
	{V5: "3.3.2-11 3.3.2-8", Run: serversAliasesUpToMaximum},
	{V5: "3.3.2-11 3.3.2-7", Run: serversAliasesEndWithConnection},
	{V5: "RULE-3.3.2-H", Run: aliasesOfBothSidesApart},
}

// needAliases skips the test if the server takes no aliases, and returns its maximum.
func needAliases(t *suite.T, c *suite.Conn) uint16 {
	most := c.Connack.Props.Int(wire.TopicAliasMaximum, 0)
	if most == 0 {
		t.Skip("the server takes no topic aliases")
	}
	return uint16(most)
}

// aliased is a PUBLISH with an alias.
func aliased(topic, payload string, alias uint16) []byte {
	return wire.Publish{Topic: topic, Payload: payload, QoS: 1, ID: 9, Props: wire.Bytes(wire.TopicAlias, alias)}.Bytes(wire.V5)
}

func aliasEndsWithConnection(t *suite.T) {
	topic := t.Topic()
	sub := t.Join()
	sub.Subscribe(1, topic)
	p := t.Lasting()
	c := t.Connect(p)
	needAliases(t, c)
	c.Send(aliased(topic, "set", 1), aliased("", "used", 1))
	c.WantAck(wire.PUBACK, 9)
	c.WantAck(wire.PUBACK, 9)
	c.Drop()
	again, other := t.Connect(p), t.Join()
	for _, c := range []*suite.Conn{again, other} { // not in the session, and not for others
		c.Send(aliased("", "of another connection", 1))
		c.WantClosed(0x81, 0x82, 0x94)
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "end", QoS: 1})
	if got := payloads(collect(t, sub, "end")); !slices.Equal(got, []string{"set", "used", "end"}) {
		t.Fatalf("%q came", got)
	}
}

func aliasZero(t *suite.T) {
	topic := t.Topic()
	refusedPublish(t, topic, aliased(topic, "x", 0), 0x81, 0x82, 0x94)
	refusedPublish(t, topic, aliased("", "x", 0), 0x81, 0x82, 0x94)
}

func aliasAboveMaximum(t *suite.T) {
	most := t.Join().Connack.Props.Int(wire.TopicAliasMaximum, 0)
	if most == 65535 {
		t.Skip("all aliases are allowed")
	}
	topic := t.Topic()
	refusedPublish(t, topic, aliased(topic, "x", uint16(most+1)), 0x81, 0x82, 0x94)
	refusedPublish(t, topic, aliased(topic, "x", 65535), 0x81, 0x82, 0x94)
}

// aliasesUpToMaximum sets the first, the last and some between, uses them in another
// order, and gives one to another topic.
func aliasesUpToMaximum(t *suite.T) {
	pub, sub, base := t.Join(), t.Join(), t.Topic()
	most := needAliases(t, pub)
	sub.Subscribe(1, base+"/+")
	list := slices.Compact([]uint16{1, (most + 1) / 2, most})
	topicOf := func(alias uint16) string { return fmt.Sprintf("%s/%d", base, alias) }
	send := func(topic string, alias uint16, arrives string) {
		pub.Send(aliased(topic, "x", alias))
		pub.WantAck(wire.PUBACK, 9)
		if p := sub.Take(arrives, "x"); p.Topic == "" {
			t.Fatalf("%v has no topic", p)
		}
	}
	for _, alias := range list {
		send(topicOf(alias), alias, topicOf(alias))
	}
	for _, alias := range slices.Backward(list) {
		send("", alias, topicOf(alias))
	}
	send(base+"/new", most, base+"/new")
	send("", most, base+"/new")
	if most > 1 {
		send("", 1, topicOf(1))
	}
	pub.Publish(wire.Publish{Topic: base + "/none", Payload: "without alias", QoS: 1})
	sub.Take(base+"/none", "without alias")
}

func aliasNeverSet(t *suite.T) {
	c := t.Join()
	most := needAliases(t, c)
	c.Send(aliased("", "x", most))
	c.WantClosed(0x81, 0x82, 0x94)
	if most > 1 {
		c := t.Join()
		c.Send(aliased(t.Topic(), "x", 1), aliased("", "x", 2))
		c.WantClosed(0x81, 0x82, 0x94)
	}
}

func noTopicAndNoAlias(t *suite.T) {
	c := t.Join()
	c.Send(wire.Publish{Payload: "x"}.Bytes(t.Version))
	c.WantClosed(0x81, 0x82, 0x90)
}

// book is what a client knows of the server's aliases.
type book struct {
	most  uint16
	names map[uint16]string
}

// resolve gives the topic of a message.
func (b *book) resolve(t *suite.T, p *wire.Read) string {
	alias, has := p.Props.Get(wire.TopicAlias)
	switch {
	case !has:
		return p.Topic
	case alias.Value == 0 || alias.Value > uint32(b.most):
		t.Fatalf("alias %d, where at most %d are accepted", alias.Value, b.most)
	case p.Topic != "":
		b.names[uint16(alias.Value)] = p.Topic
	case b.names[uint16(alias.Value)] == "":
		t.Fatalf("alias %d was not set on this connection", alias.Value)
	}
	return b.names[uint16(alias.Value)]
}

// readAliased reads five messages, published to five topics in turn.
func readAliased(t *suite.T, sub *suite.Conn, base string, b *book) {
	pub := t.Join()
	for i := range 10 {
		topic := fmt.Sprintf("%s/%d", base, i%5)
		pub.Publish(wire.Publish{Topic: topic, Payload: topic, QoS: 1})
		p := sub.Want(wire.PUBLISH)
		sub.Send(wire.Ack(wire.PUBACK, p.ID))
		if got := b.resolve(t, p); got != topic || p.Payload != topic {
			t.Fatalf("PUBLISH of %q to %q, want it to %q", p.Payload, got, topic)
		}
	}
}

func serversAliasesUpToMaximum(t *suite.T) {
	for _, most := range []uint16{0, 1, 2, 65535} {
		t.Step("Topic Alias Maximum %d", most)
		p := t.CONNECT()
		p.Props = wire.Bytes(wire.TopicAliasMaximum, most)
		sub, base := t.Connect(p), t.Topic()
		sub.Subscribe(1, base+"/+")
		readAliased(t, sub, base, &book{most, map[uint16]string{}})
	}
	sub, base := t.Join(), t.Topic()
	sub.Subscribe(1, base+"/+")
	readAliased(t, sub, base, &book{0, nil})
}

// serversAliasesEndWithConnection resumes a session with fewer aliases.
func serversAliasesEndWithConnection(t *suite.T) {
	base := t.Topic()
	p := t.Lasting()
	lasting := p.Props
	for _, most := range []uint16{5, 2, 0} {
		p.Props = append(slices.Clone(lasting), wire.Bytes(wire.TopicAliasMaximum, most)...)
		sub := t.Connect(p)
		sub.Subscribe(1, base+"/+")
		readAliased(t, sub, base, &book{most, map[uint16]string{}})
		sub.Leave()
	}
}

// aliasesOfBothSidesApart has each side set alias 1 on one connection.
func aliasesOfBothSidesApart(t *suite.T) {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.TopicAliasMaximum, uint16(1))
	c, base := t.Connect(p), t.Topic()
	needAliases(t, c)
	c.Subscribe(1, base+"/down/+")
	b := &book{1, map[uint16]string{}}
	pub, sub := t.Join(), t.Join()
	sub.Subscribe(1, base+"/up")
	c.Send(aliased(base+"/up", "1", 1))
	c.WantAck(wire.PUBACK, 9)
	for range 2 {
		pub.Publish(wire.Publish{Topic: base + "/down/x", Payload: "down", QoS: 1})
		p := c.Want(wire.PUBLISH)
		c.Send(wire.Ack(wire.PUBACK, p.ID))
		if got := b.resolve(t, p); got != base+"/down/x" {
			t.Fatalf("%v came to %q", p, got)
		}
		c.Send(aliased("", "2", 1))
		c.WantAck(wire.PUBACK, 9)
	}
	sub.Take(base+"/up", "1")
	sub.Take(base+"/up", "2")
	sub.Take(base+"/up", "2")
}
