package server

import (
	"fmt"
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// shared is section 4.8.2.
var shared = []suite.Test{
	{V5: "4.8.2-1", Run: shareWithoutName},
	{V5: "4.8.2-2", Run: shareNamesAndFilters},
	{V5: "4.8.2-2", Run: shareWithOddNames},
	{V5: "4.8.2-3", Run: sharedAtTheGrantedQoS},
	{V5: "4.8.2-4", Run: begunSharedDeliveryStays},
	{V5: "4.8.2-5", Run: begunSharedDeliveryEndsWithItsSession},
	{V5: "4.8.2-6", Run: refusedSharedMessageIsDiscarded},
	{V5: "RULE-4.8.2-a", Run: sharedMessageGoesToOne},
	{V5: "RULE-4.8.2-b", Run: groupsAreApart},
	{V5: "RULE-4.8.2-c", Run: sharedAndOwnAreApart},
	{V5: "RULE-4.8.2-d", Run: sharedGetsNoRetained},
	{V5: "RULE-4.8.2-e", Run: memberLeaves},
	{V5: "RULE-4.8.2-f", Run: memberSubscribesAgain},
	{V5: "RULE-4.8.2-g", Run: memberKeepsItsIdentifier},
}

// joinShared joins a client, or skips the test if the server has no shared
// subscriptions.
func joinShared(t *suite.T, p wire.Connect) *suite.Conn {
	c := t.Connect(p)
	if c.Connack.Props.Int(wire.SharedSubscriptionAvailable, 1) == 0 {
		t.Skip("no shared subscriptions")
	}
	return c
}

func shareWithoutName(t *suite.T) {
	topic := t.Topic()
	joinShared(t, t.CONNECT())
	wantFiltersRefused(t, func(string) []string { return []string{topic, "/" + topic} }, "$share//"+topic)
}

func shareWithOddNames(t *suite.T) {
	topic := t.Topic()
	joinShared(t, t.CONNECT())
	wantFiltersRefused(t, func(string) []string { return []string{topic} },
		"$share/g", "$share/g/", "$share/g+/"+topic, "$share/+/"+topic, "$share/#", "$share/#/"+topic, "$share/g#/"+topic, "$share/g/"+topic+"/a#")
}

// shareNamesAndFilters of all kinds work, and the name is no part of the filter.
func shareNamesAndFilters(t *suite.T) {
	c, pub := joinShared(t, t.CONNECT()), t.Join()
	for i, share := range []string{"g", "a group", "$g", "ß", "$share", "g.1"} {
		topic := t.Topic()
		for filter, name := range map[string]string{
			topic: topic, "/" + topic: "/" + topic, topic + "/+/x": topic + "/a/x", topic + "/y/#": topic + "/y", topic + "/ / ": topic + "/ / ",
		} {
			c.Subscribe(1, "$share/"+share+"/"+filter)
			pub.Publish(wire.Publish{Topic: name, Payload: fmt.Sprint(i), QoS: 1})
			c.Take(name, fmt.Sprint(i))
			leaveFilters(t, c, 1, []string{"$share/" + share + "/" + filter}, 0)
		}
	}
}

// members join a group, all with the same options; the filter is a topic's.
func members(t *suite.T, n int, options byte) (all []*suite.Conn, filter, topic string) {
	topic = t.Topic()
	filter = "$share/" + t.ID() + "/" + topic
	for range n {
		c := joinShared(t, t.CONNECT())
		c.Subscribe(options, filter)
		all = append(all, c)
	}
	return all, filter, topic
}

// arrivals reads what has come to each client, up to a message of its own that follows.
func arrivals(t *suite.T, all []*suite.Conn) (got [][]*wire.Read) {
	pub := t.Join()
	for _, c := range all {
		last := t.Topic()
		c.Send(wire.Subscribe(t.Version, 1, 0, last))
		var here []*wire.Read
		for p := c.Next(); p.Topic != last; p = c.Next() {
			switch {
			case p.Type == wire.SUBACK:
				pub.Publish(wire.Publish{Topic: last})
				continue
			case p.Type != wire.PUBLISH:
				t.Fatalf("%v, want PUBLISH", p)
			case p.QoS == 1:
				c.Send(wire.Ack(wire.PUBACK, p.ID))
			}
			here = append(here, p)
		}
		got = append(got, here)
	}
	return got
}

// sharedAtTheGrantedQoS has two members with different ones.
func sharedAtTheGrantedQoS(t *suite.T) {
	all, filter, topic := members(t, 1, 0)
	other := t.Join()
	other.Subscribe(1, filter)
	all = append(all, other)
	pub := t.Join()
	const n = 10
	for i := range n {
		pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 2})
	}
	count := 0
	for member, got := range arrivals(t, all) {
		for _, m := range got {
			count++
			if int(m.QoS) != member {
				t.Fatalf("%v to a member that was granted QoS %d", m, member)
			}
		}
	}
	if count != n {
		t.Fatalf("%d messages came, want %d", count, n)
	}
}

// begun is a message at QoS 2 that was sent to a member whose session lasts; another
// member has come since.
func begun(t *suite.T) (p wire.Connect, away, other *suite.Conn, message *wire.Read, filter string) {
	topic := t.Topic()
	filter = "$share/" + t.ID() + "/" + topic
	p = t.Lasting()
	away = joinShared(t, p)
	away.Subscribe(2, filter)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "begun", QoS: 2})
	message = away.WantPublish(topic, "begun")
	other = t.Join()
	other.Subscribe(2, filter)
	return p, away, other, message, filter
}

// begunSharedDeliveryStays with the member, before and after PUBREC.
func begunSharedDeliveryStays(t *suite.T) {
	for _, after := range []bool{false, true} {
		p, c, other, m, _ := begun(t)
		if after {
			c.Send(wire.Ack(wire.PUBREC, m.ID))
			c.WantAck(wire.PUBREL, m.ID)
		}
		c.Drop()
		other.Ping()
		c = t.Connect(p)
		if !after {
			if again := c.WantPublish(m.Topic, "begun"); again.ID != m.ID {
				t.Fatalf("%v, want packet identifier %d again", again, m.ID)
			}
			c.Send(wire.Ack(wire.PUBREC, m.ID))
		}
		c.WantAck(wire.PUBREL, m.ID)
		c.Send(wire.Ack(wire.PUBCOMP, m.ID))
		c.Ping()
		other.Ping()
	}
}

// begunSharedDeliveryEndsWithItsSession: nobody else gets it.
func begunSharedDeliveryEndsWithItsSession(t *suite.T) {
	p, c, other, m, _ := begun(t)
	c.Drop()
	p.Clean = true
	p.Props = nil
	t.Connect(p).Leave() // the session has ended
	t.Join().Publish(wire.Publish{Topic: m.Topic, Payload: "next", QoS: 1})
	other.Take(m.Topic, "next")
}

// refusedSharedMessageIsDiscarded, at QoS 1 and 2: no other member is tried.
func refusedSharedMessageIsDiscarded(t *suite.T) {
	for qos, ack := range []byte{1: wire.PUBACK, 2: wire.PUBREC} {
		if qos == 0 {
			continue
		}
		all, filter, topic := members(t, 1, 2)
		c, pub := all[0], t.Join()
		pub.Publish(wire.Publish{Topic: topic, Payload: "unwelcome", QoS: byte(qos)})
		m := c.WantPublish(topic, "unwelcome")
		other := t.Join()
		other.Subscribe(2, filter)
		c.Send(wire.AckReason(ack, m.ID, 0x83))
		c.Ping()
		c.Leave()
		pub.Publish(wire.Publish{Topic: topic, Payload: "next", QoS: 1})
		other.Take(topic, "next")
		other.Ping()
	}
}

// sharedMessageGoesToOne member each, and none is left out for good.
func sharedMessageGoesToOne(t *suite.T) {
	for qos := range byte(2) {
		all, _, topic := members(t, 3, 1)
		pub := t.Join()
		const n = 60
		for i := range n {
			pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: qos})
		}
		pub.Ping()
		seen := map[string]bool{}
		for member, got := range arrivals(t, all) {
			for _, m := range got {
				if seen[m.Payload] {
					t.Fatalf("message %s came to two members", m.Payload)
				}
				seen[m.Payload] = true
			}
			if len(got) == 0 {
				t.Fatalf("member %d of 3 got none of %d messages", member, n)
			}
		}
		if len(seen) != n {
			t.Fatalf("%d of %d messages came", len(seen), n)
		}
	}
}

// groupsAreApart: another name, or another filter that matches, is another group.
func groupsAreApart(t *suite.T) {
	all, _, topic := members(t, 1, 1)
	for _, filter := range []string{"$share/" + t.ID() + "/" + topic, "$share/" + t.ID() + "/" + topic + "/#"} {
		c := t.Join()
		c.Subscribe(1, filter)
		all = append(all, c)
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "m", QoS: 1})
	for _, c := range all {
		c.Take(topic, "m")
		c.Ping()
	}
}

// sharedAndOwnAreApart: a client with both kinds gets its own copy, and that of the
// group if it is chosen.
func sharedAndOwnAreApart(t *suite.T) {
	all, filter, topic := members(t, 1, 0)
	c := all[0]
	c.Subscribe(0, topic)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "m"})
	c.Take(topic, "m")
	c.Take(topic, "m")
	leaveFilters(t, c, 1, []string{topic}, 0)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "shared", QoS: 1})
	c.Take(topic, "shared")
	leaveFilters(t, c, 2, []string{filter}, 0)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "none", QoS: 1})
	c.Ping()
}

func sharedGetsNoRetained(t *suite.T) {
	topic := t.Topic()
	pub, c := t.Join(), joinShared(t, t.CONNECT())
	needRetain(t, pub)
	pub.Publish(wire.Publish{Topic: topic, Payload: "kept", Retain: true, QoS: 1})
	t.Cleanup(func() { pub.Send(wire.Publish{Topic: topic, Retain: true}.Bytes(t.Version)) })
	c.Subscribe(1, "$share/"+t.ID()+"/"+topic)
	c.Ping()
	pub.Publish(wire.Publish{Topic: topic, Payload: "live", QoS: 1})
	c.Take(topic, "live")
}

// memberLeaves by UNSUBSCRIBE, by the end of its session: the others get everything.
func memberLeaves(t *suite.T) {
	all, filter, topic := members(t, 3, 1)
	leaveFilters(t, all[0], 1, []string{topic}, 0x11) // without $share it is another one
	leaveFilters(t, all[0], 2, []string{filter}, 0)
	all[1].Leave()
	pub := t.Join()
	for i := range 6 {
		pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 1})
		all[2].Take(topic, fmt.Sprint(i))
	}
	all[0].Ping()
}

// memberSubscribesAgain replaces its subscription: it is no second member, and the
// others keep their share.
func memberSubscribesAgain(t *suite.T) {
	all, filter, topic := members(t, 1, 1)
	for range 3 {
		all[0].Subscribe(0, filter)
	}
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "m", QoS: 1})
	if m := all[0].Take(topic, "m"); m.QoS != 0 {
		t.Fatalf("%v, want QoS 0 as granted last", m)
	}
	all[0].Ping()
	leaveFilters(t, all[0], 1, []string{filter}, 0)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "none", QoS: 1})
	all[0].Ping()
}

// memberKeepsItsIdentifier: each delivery names the subscription of the member it goes
// to.
func memberKeepsItsIdentifier(t *suite.T) {
	topic := t.Topic()
	filter := "$share/" + t.ID() + "/" + topic
	var all []*suite.Conn
	for i := range uint32(2) {
		c := joinShared(t, t.CONNECT())
		needIdentifiers(t, c)
		subscribeWithID(t, c, filter, 10+i)
		all = append(all, c)
	}
	pub := t.Join()
	for i := range 10 {
		pub.Publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 1})
	}
	for member, got := range arrivals(t, all) {
		for _, m := range got {
			if !slices.Equal(identifiers(m), []uint32{10 + uint32(member)}) {
				t.Fatalf("%v, want the subscription identifier %d", m, 10+member)
			}
		}
	}
}
