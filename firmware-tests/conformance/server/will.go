package server

import (
	"slices"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// wills are sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2 to 3.1.3.4, the Will.
var wills = []suite.Test{
	{V311: "3.1.2-8", V5: "3.1.2-7 3.1.2-8", Run: willOfLostClient},
	{V311: "3.1.2-8", V5: "3.1.2-7 3.1.2-8", Run: willOfLastingSession},
	{V311: "3.1.2-8 4.8.0-1", V5: "3.1.2-8", Run: willOfMalformedClient},
	{V311: "3.1.2-8", V5: "3.1.2-8", Run: willOfSecondConnect},
	{V311: "3.1.2-8", V5: "3.1.2-7 3.1.2-8", Run: willOfReplacedClient},
	{V311: "3.1.2-10", V5: "3.1.2-10", Run: noWillAfterDisconnect},
	{V311: "3.1.2-10", V5: "3.1.2-10", Run: willComesOnce},
	{V311: "3.1.2-12", V5: "RULE-3.1.2.5-A", Run: noWillOfEarlierConnection},
	{V311: "3.1.2-16", V5: "3.1.2-14", Run: willIsNotRetained},
	{V311: "3.1.2-17", V5: "3.1.2-15", Run: willIsRetained},
	{V311: "RULE-3.1.2.6-A", V5: "RULE-3.1.2.6-B", Run: willAtItsQoS},
	{V311: "RULE-3.1.3.3-A", V5: "RULE-3.1.3.4-B", Run: emptyWillPayload},
	{V311: "RULE-3.1.2.5-B", V5: "RULE-3.1.2.5-C", Run: lastWillCounts},
	{V5: "3.1.2-8 RULE-3.1.3.2.2-A", Run: willWaitsForItsDelay},
	{V5: "3.1.2-8 RULE-3.1.2.11.2-B", Run: willComesWhenTheSessionEnds},
	{V5: "3.1.2-8 RULE-3.1.3.2.2-B", Run: delayedWillOfShortSession},
	{V5: "3.1.2-8 3.1.2-10 3.1.3-9", Run: noWillAfterReturn},
	{V5: "RULE-3.1.4-A", Run: willOfDiscardedSession},
	{V5: "3.1.3-10", Run: willKeepsOrderOfUserProperties},
	{V5: "RULE-3.1.3.2-C", Run: willKeepsItsProperties},
	{V5: "RULE-3.1.3.2-D", Run: willDelayIsNotPublished},
}

// mourner subscribes to a new topic and returns that with a CONNECT whose Will goes
// there.
func mourner(t *suite.T, qos byte) (watcher *suite.Conn, p wire.Connect) {
	topic := t.Topic()
	watcher = t.Join()
	watcher.Subscribe(qos, topic)
	p = t.CONNECT()
	p.Will = &wire.Will{Topic: topic, Payload: "gone " + p.ID}
	return watcher, p
}

// wantOnly wants the next that comes to a topic to be what is published now.
func wantOnly(t *suite.T, watcher *suite.Conn, topic string) {
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "nothing before"})
	watcher.Take(topic, "nothing before")
}

// lost has the server see the end of the connection, and waits until it has.
func lost(c *suite.Conn) {
	c.Half()
	c.WantEnd()
}

func willOfLostClient(t *suite.T) {
	watcher, p := mourner(t, 0)
	c := t.Connect(p)
	c.Ping()
	wantOnly(t, watcher, p.Will.Topic)
	c.Drop()
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

func willOfLastingSession(t *suite.T) {
	watcher, p := mourner(t, 0)
	lasting := t.Lasting()
	lasting.Will = p.Will
	t.Connect(lasting).Drop()
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

// willOfMalformedClient has the server close the connection.
func willOfMalformedClient(t *suite.T) {
	watcher, p := mourner(t, 0)
	c := t.Connect(p)
	c.Send(wire.Packet(0xf7))
	c.WantClosed(0x81, 0x82)
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

// willOfSecondConnect is the Will of the first.
func willOfSecondConnect(t *suite.T) {
	watcher, p := mourner(t, 0)
	c := t.Connect(p)
	c.Send(p.Bytes())
	c.WantClosed(0x82)
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

// willOfReplacedClient comes when another connection with its identifier takes over.
func willOfReplacedClient(t *suite.T) {
	watcher, p := mourner(t, 0)
	first := t.Connect(p)
	will := p.Will
	p.Will = nil
	second := t.Connect(p)
	first.WantClosed(0x8e)
	watcher.Take(will.Topic, will.Payload)
	second.Ping()
}

func noWillAfterDisconnect(t *suite.T) {
	watcher, p := mourner(t, 0)
	t.Connect(p).Leave()
	lasting := t.Lasting()
	lasting.Will = p.Will
	t.Connect(lasting).Leave()
	lasting.Will = nil
	lost(t.Connect(lasting)) // nor is it kept for another end
	wantOnly(t, watcher, p.Will.Topic)
}

// willComesOnce has it published, and the session lost again without a Will.
func willComesOnce(t *suite.T) {
	watcher, p := mourner(t, 2)
	lasting := t.Lasting()
	lasting.Will = &wire.Will{Topic: p.Will.Topic, Payload: "gone", QoS: 2}
	t.Connect(lasting).Drop()
	watcher.Take(p.Will.Topic, "gone")
	lasting.Will = nil
	lost(t.Connect(lasting))
	wantOnly(t, watcher, p.Will.Topic)
}

// noWillOfEarlierConnection is a client that had a Will once.
func noWillOfEarlierConnection(t *suite.T) {
	watcher, p := mourner(t, 0)
	t.Connect(p).Leave()
	will := p.Will
	p.Will = nil
	lost(t.Connect(p))
	wantOnly(t, watcher, will.Topic)
}

func willIsNotRetained(t *suite.T) {
	watcher, p := mourner(t, 0)
	t.Connect(p).Drop()
	if got := watcher.Take(p.Will.Topic, p.Will.Payload); got.Retain {
		t.Fatalf("%v has RETAIN", got)
	}
	late := t.Join()
	late.Subscribe(0, p.Will.Topic)
	wantOnly(t, late, p.Will.Topic)
}

func willIsRetained(t *suite.T) {
	watcher, p := mourner(t, 0)
	p.Will.Retain = true
	if !retains(watcher) {
		t.Dial(t.Target.Addr).Refused(p.Bytes(), 0x9a)
		return
	}
	t.Connect(p).Drop()
	if got := watcher.Take(p.Will.Topic, p.Will.Payload); got.Retain {
		t.Fatalf("%v has RETAIN for who was subscribed before", got)
	}
	late := t.Join()
	late.Subscribe(0, p.Will.Topic)
	if got := late.Take(p.Will.Topic, p.Will.Payload); !got.Retain {
		t.Fatalf("%v has no RETAIN", got)
	}
	late.Publish(wire.Publish{Topic: p.Will.Topic, Retain: true}) // clean up
}

// retains says whether the server keeps retained messages.
func retains(c *suite.Conn) bool { return c.Connack.Props.Int(wire.RetainAvailable, 1) == 1 }

func willAtItsQoS(t *suite.T) {
	for qos := range byte(3) {
		watcher, p := mourner(t, 2)
		if uint32(qos) > watcher.Connack.Props.Int(wire.MaximumQoS, 2) {
			return
		}
		p.Will.QoS = qos
		t.Connect(p).Drop()
		if got := watcher.Take(p.Will.Topic, p.Will.Payload); got.QoS != qos {
			t.Fatalf("a Will of QoS %d came at QoS %d", qos, got.QoS)
		}
	}
}

func emptyWillPayload(t *suite.T) {
	watcher, p := mourner(t, 0)
	p.Will.Payload = ""
	t.Connect(p).Drop()
	watcher.Take(p.Will.Topic, "")
}

// lastWillCounts connects a lasting session with one Will and later with another.
func lastWillCounts(t *suite.T) {
	watcher, p := mourner(t, 0)
	lasting := t.Lasting()
	lasting.Will = p.Will
	t.Connect(lasting).Leave()
	lasting.Will = &wire.Will{Topic: p.Will.Topic, Payload: "the second"}
	t.Connect(lasting).Drop()
	watcher.Take(p.Will.Topic, "the second")
	wantOnly(t, watcher, p.Will.Topic)
}

// delayed is a CONNECT with a Will after delay and a session that ends after expiry,
// in seconds.
func delayed(t *suite.T, topic, payload string, delay, expiry uint32) wire.Connect {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.SessionExpiry, expiry)
	p.Will = &wire.Will{Topic: topic, Payload: payload, Props: wire.Bytes(wire.WillDelay, delay)}
	return p
}

// willWaitsForItsDelay has a later client lost first; its Will must not come before
// one that is due earlier.
func willWaitsForItsDelay(t *suite.T) {
	watcher, p := mourner(t, 0)
	topic := p.Will.Topic
	t.Connect(delayed(t, topic, "late", 3, 300)).Drop()
	t.Connect(delayed(t, topic, "early", 1, 300)).Drop()
	wantOnly(t, watcher, topic)
	watcher.Take(topic, "early")
	watcher.Take(topic, "late")
}

// willComesWhenTheSessionEnds is due long after that.
func willComesWhenTheSessionEnds(t *suite.T) {
	watcher, p := mourner(t, 0)
	c := delayed(t, p.Will.Topic, "ended", 300, 1)
	t.Connect(c).Drop()
	wantOnly(t, watcher, p.Will.Topic)
	watcher.Take(p.Will.Topic, "ended")
	c.Clean = false
	if back := t.Connect(c); back.Connack.Present {
		t.Fatalf("the session is still there")
	}
}

// delayedWillOfShortSession ends with its connection, and so the delay does.
func delayedWillOfShortSession(t *suite.T) {
	watcher, p := mourner(t, 0)
	t.Connect(delayed(t, p.Will.Topic, "at once", 300, 0)).Drop()
	watcher.Take(p.Will.Topic, "at once")
}

// noWillAfterReturn comes back in time and stays. The Will of another client, due
// later, tells that the time is over.
func noWillAfterReturn(t *suite.T) {
	watcher, p := mourner(t, 0)
	topic := p.Will.Topic
	c := delayed(t, topic, "too late", 1, 300)
	lost(t.Connect(c))
	c.Clean, c.Will = false, nil
	back := t.Connect(c)
	t.Connect(delayed(t, topic, "the other", 3, 300)).Drop()
	watcher.Take(topic, "the other")
	lost(back) // the Will is gone for good
	wantOnly(t, watcher, topic)
}

// willOfDiscardedSession is that of a session which Clean Start ends: while the client
// is connected, and while it is away.
func willOfDiscardedSession(t *suite.T) {
	watcher, p := mourner(t, 0)
	c := delayed(t, p.Will.Topic, "discarded", 300, 300)
	old := t.Connect(c)
	lost(t.Connect(wire.Connect{Version: t.Version, ID: c.ID, Clean: true, Props: c.Props, Will: c.Will}))
	old.WantClosed(0x8e)
	watcher.Take(p.Will.Topic, "discarded")
	c.Will = nil
	t.Connect(c)
	watcher.Take(p.Will.Topic, "discarded")
}

func willKeepsOrderOfUserProperties(t *suite.T) {
	watcher, p := mourner(t, 0)
	want := []string{"b=1", "a=2", "b=1", "=", "a=\u4e2d"}
	p.Will.Props = wire.Bytes(wire.UserProperty, wire.Str("b"), wire.Str("1"), wire.UserProperty, wire.Str("a"), wire.Str("2"),
		wire.UserProperty, wire.Str("b"), wire.Str("1"), wire.UserProperty, wire.Str(""), wire.Str(""),
		wire.UserProperty, wire.Str("a"), wire.Str("\u4e2d"))
	t.Connect(p).Drop()
	var got []string
	for _, u := range watcher.Take(p.Will.Topic, p.Will.Payload).Props.All(wire.UserProperty) {
		got = append(got, u.Text+"="+u.Text2)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the user properties are %q, want %q", got, want)
	}
}

func willKeepsItsProperties(t *suite.T) {
	watcher, p := mourner(t, 0)
	p.Will.Props = wire.Bytes(wire.PayloadFormat, byte(1), wire.MessageExpiry, uint32(5000), wire.ContentType, wire.Str("text/plain"),
		wire.ResponseTopic, wire.Str("answer/here"), wire.CorrelationData, wire.Str("\x00\xff"))
	t.Connect(p).Drop()
	got := watcher.Take(p.Will.Topic, p.Will.Payload).Props
	for _, want := range []wire.Property{
		{ID: wire.PayloadFormat, Value: 1}, {ID: wire.ContentType, Text: "text/plain"},
		{ID: wire.ResponseTopic, Text: "answer/here"}, {ID: wire.CorrelationData, Text: "\x00\xff"},
	} {
		if p, _ := got.Get(want.ID); p != want {
			t.Fatalf("property %#x is %v, want %v", want.ID, p, want)
		}
	}
	if left := got.Int(wire.MessageExpiry, 0); left > 5000 || left < 4900 {
		t.Fatalf("the message expiry interval is %d, want 5000 or a little less", left)
	}
}

// willDelayIsNotPublished has the delay not go out with the message, where its
// identifier is forbidden; the reader sees to that.
func willDelayIsNotPublished(t *suite.T) {
	watcher, p := mourner(t, 0)
	t.Connect(delayed(t, p.Will.Topic, "gone", 1, 300)).Drop()
	if got := watcher.Take(p.Will.Topic, "gone"); len(got.Props) > 0 {
		t.Fatalf("%v has properties", got)
	}
}
