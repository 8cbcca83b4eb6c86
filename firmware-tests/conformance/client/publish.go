package client

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// publish is section 3.3.
var publish = []suite.Test{
	{V311: "2.3.1-5 RULE-3.3.1-A", V5: "2.2.1-2 RULE-3.3.1-A", Run: qos0HasNoIdentifier},
	{V311: "3.3.1-2 3.3.1-4 4.3.1-1", V5: "3.3.1-2 3.3.1-4 4.3.1-1 4.3.2-2 4.3.3-2", Run: firstSendHasNoDUP},
	{
		V311: "3.3.2-1 3.3.2-2 4.7.1-1 4.7.3-1 4.7.3-2 4.7.3-3",
		V5:   "3.3.2-1 3.3.2-2 4.7.0-1 4.7.3-1 4.7.3-2 4.7.3-3",
		Run:  topicNamesAreNames,
	},
	{V5: "3.3.2-13 3.3.2-14 3.3.2-19 1.5.7-1 3.3.4-6 RULE-3.3.2.3-p", Run: propertiesOfMessages},
	{V5: "3.3.2-7 3.3.2-10 RULE-3.3.2.3-q RULE-3.3.2-H", Run: aliasesOfTheServer},
	{V5: "RULE-3.3.2.3-r", Run: subscriptionIdentifiersOfTheServer},
	{V311: "3.3.4-1 4.3.2-2", V5: "3.3.4-1", Run: answersByQoS},
	{V311: "4.5.0-2", V5: "4.5.0-2 RULE-3.4.2-p", Run: acknowledgesWhatNobodyWanted},
}

// qos0HasNoIdentifier: a payload that looks like one arrives whole, both ways.
func qos0HasNoIdentifier(t *suite.T) {
	const payload = "\x00\x01x"
	for _, s := range senders(t, 0) {
		s.send(payload)
		s.conn.WantPublish("up/1", payload)
	}
	for _, r := range receivers(t) {
		r.publish(0, 0, payload)
		r.took(payload)
	}
}

func firstSendHasNoDUP(t *suite.T) {
	for qos := range byte(3) {
		for _, s := range senders(t, qos) {
			s.send("a", "b")
			for _, payload := range []string{"a", "b"} {
				if p := s.conn.WantPublish("up/1", payload); p.Dup || p.QoS != qos {
					t.Fatalf("%v, want QoS %d without DUP", p, qos)
				}
			}
		}
	}
}

// topicNamesAreNames: pub refuses what is none; a prefix that makes one too long does
// not get out.
func topicNamesAreNames(t *suite.T) {
	for _, topic := range append(wild, "a/+", "a/#", "", tooLong) {
		listen(t).refuses("pub", "-t", topic, "-m", "a")
	}
	prefix := tooLong[:65530] + "/"
	b := newBridge(t, "UP=up/#", "UP_PREFIX="+prefix)
	c := b.welcome(false)
	d := b.device()
	d.Publish(wire.Publish{Topic: "up/1234", Payload: "a", QoS: 1})
	d.Publish(wire.Publish{Topic: "up/1", Payload: "b", QoS: 1})
	c.WantPublish(prefix+"up/1", "b")
}

// propertiesOfMessages: they go through the bridge, both ways, as they are, with its
// count of hops behind, and no subscription identifier goes up.
func propertiesOfMessages(t *suite.T) {
	props := wire.Bytes(wire.PayloadFormat, byte(1), wire.ContentType, wire.Str("text"), wire.ResponseTopic, wire.Str("answers/1"),
		wire.CorrelationData, wire.Str("\xff\x00"), wire.UserProperty, wire.Str("k"), wire.Str("1"), wire.UserProperty, wire.Str("k"), wire.Str("2"))
	same := func(p *wire.Read) {
		content, _ := p.Props.Get(wire.ContentType)
		response, _ := p.Props.Get(wire.ResponseTopic)
		correlation, _ := p.Props.Get(wire.CorrelationData)
		users := p.Props.All(wire.UserProperty)
		if p.Props.Int(wire.PayloadFormat, 0) != 1 || content.Text != "text" || response.Text != "answers/1" || correlation.Text != "\xff\x00" ||
			len(users) != 3 || users[0].Text != "k" || users[0].Text2 != "1" || users[1].Text2 != "2" || users[2].Text != "sluice-hops" {
			t.Fatalf("%v, want the properties % x", p, props)
		}
	}
	b := newBridge(t, "UP=up/#", "DOWN=down/#")
	c := b.welcome(false)
	b.subscribed(c)
	d := b.watcher()
	d.Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1, Props: props})
	same(c.WantPublish("up/1", "a"))
	c.Send(wire.Publish{Topic: "down/1", Payload: "b", Props: append(props, wire.SubscriptionIdentifier, 7)}.Bytes(t.Version))
	same(d.WantPublish("down/1", "b"))
	for _, user := range append(wild, tooLong) {
		listen(t).refuses("pub", "-t", "a", "-m", "b", "-D", "name="+user)
		listen(t).refuses("pub", "-t", "a", "-m", "b", "-D", user+"=value")
	}
}

// aliasesOfTheServer: a client that granted none gets none; it does not take an alias
// for a topic, not even one of the connection before.
func aliasesOfTheServer(t *suite.T) {
	b := newBridge(t, "DOWN=down/#")
	c, p := b.connect()
	if most := p.Props.Int(wire.TopicAliasMaximum, 0); most > 0 {
		t.Fatalf("%v: grants %d aliases, and this test knows of none", p, most)
	}
	c.Send(b.connack(false, 0))
	b.subscribed(c)
	alias := wire.Bytes(wire.TopicAlias, uint16(1))
	c.Send(wire.Publish{Topic: "down/1", Payload: "a", Props: alias}.Bytes(t.Version))
	b.ends(c, 0x94)
	c = b.welcome(true)
	c.Send(wire.Publish{Payload: "b", Props: alias}.Bytes(t.Version))
	b.ends(c, 0x94, 0x82)

	for _, topic := range []string{"down/1", ""} {
		s := listen(t)
		s.command("sub", "-t", "down/#")
		c := s.welcome(false)
		s.subscribed(c)
		c.Send(wire.Publish{Topic: topic, Payload: "a", Props: alias}.Bytes(t.Version))
		s.ends(c, 0x94, 0x82)
	}
}

// subscriptionIdentifiersOfTheServer are allowed, several too.
func subscriptionIdentifiersOfTheServer(t *suite.T) {
	for _, r := range receivers(t) {
		r.conn.Send(wire.Publish{Topic: "down/1", Payload: "a", Props: wire.Bytes(wire.SubscriptionIdentifier, wire.VBI(1), wire.SubscriptionIdentifier, wire.VBI(268435455))}.Bytes(t.Version))
		r.took("a")
	}
}

// answersByQoS: nothing, PUBACK, PUBREC; and after PUBACK the identifier is free,
// whatever DUP says.
func answersByQoS(t *suite.T) {
	for _, r := range receivers(t) {
		r.publish(0, 0, "zero")
		r.took("zero")
		r.publish(1, 7, "one")
		r.conn.WantAck(wire.PUBACK, 7, 0)
		r.took("one")
		r.conn.Send(wire.Publish{Topic: "down/1", Payload: "one again", QoS: 1, ID: 7, Dup: true}.Bytes(t.Version))
		r.conn.WantAck(wire.PUBACK, 7, 0)
		r.took("one again")
		r.publish(2, 7, "two")
		r.conn.WantAck(wire.PUBREC, 7, 0)
		r.conn.Send(wire.Ack(wire.PUBREL, 7))
		r.conn.WantAck(wire.PUBCOMP, 7)
		r.took("two")
	}
}

// acknowledgesWhatNobodyWanted: messages that no subscription asked for. Codes that
// are of servers only are not used.
func acknowledgesWhatNobodyWanted(t *suite.T) {
	var conns []*suite.Conn
	for _, s := range senders(t, 1) {
		conns = append(conns, s.conn)
	}
	for _, r := range receivers(t) {
		conns = append(conns, r.conn)
	}
	for _, c := range conns {
		c.Send(wire.Publish{Topic: "elsewhere", Payload: "a"}.Bytes(t.Version))
		c.Send(wire.Publish{Topic: "elsewhere", Payload: "a", QoS: 1, ID: 7}.Bytes(t.Version))
		c.WantAck(wire.PUBACK, 7, 0)
		c.Send(wire.Publish{Topic: "elsewhere", Payload: "a", QoS: 2, ID: 8}.Bytes(t.Version))
		c.WantAck(wire.PUBREC, 8, 0)
		c.Send(wire.Ack(wire.PUBREL, 8))
		c.WantAck(wire.PUBCOMP, 8)
	}
}
