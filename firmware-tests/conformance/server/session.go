package server

import (
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// sessions are Clean Session, Clean Start and Session Expiry.
var sessions = []suite.Test{
	{V311: "3.1.2-4 3.1.4-3 3.2.2-2 3.1.3-2", V5: "3.1.2-5 3.1.2-23 3.1.4-4 3.2.2-3 3.1.3-2", Run: sessionIsResumed},
	{V311: "3.1.2-4 3.1.2-5", V5: "3.1.2-5 3.1.2-23", Run: messagesWaitForTheClient},
	{V311: "3.1.2-4", V5: "3.1.2-5", Run: sessionOutlastsLostConnection},
	{V311: "3.1.2-4", V5: "3.1.2-5", Run: unsubscribedStaysUnsubscribed},
	{V311: "3.1.2-4 3.2.2-3", V5: "3.1.2-6 3.2.2-3", Run: newLastingSession},
	{V311: "3.1.2-6 3.1.4-3 3.2.2-1", V5: "3.1.2-4 3.1.4-4 3.2.2-2", Run: cleanDiscardsTheSession},
	{V311: "3.1.2-6", V5: "RULE-3.1.2.11.2-A", Run: shortSessionEndsWithItsConnection},
	{V311: "3.1.2-6", V5: "3.1.2-4", Run: cleanTakeoverDiscardsTheSession},
	{V311: "3.1.2-7", V5: "RULE-4.1.0-A", Run: retainedOutlivesTheSession},
	{V311: "3.1.3-2", V5: "3.1.3-2", Run: identifiersNameSessions},
	{V5: "RULE-3.1.2.11.2-C", Run: expiryZeroOnReturn},
	{V5: "RULE-3.1.2.11.2-D", Run: expiryCountsFromTheEndOfTheConnection},
	{V5: "RULE-3.1.2.11.2-E", Run: sessionThatNeverExpires},
	{V5: "RULE-3.2.2.3.2-A", Run: serverShortensExpiry},
}

// present wants the session of a CONNACK to be present, or not.
func present(t *suite.T, c *suite.Conn, want bool) {
	if c.Connack.Present != want {
		t.Fatalf("session present is %t, want %t", c.Connack.Present, want)
	}
}

// sessionIsResumed comes back three times.
func sessionIsResumed(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	c := t.Connect(p)
	c.Subscribe(1, topic)
	c.Leave()
	for range 2 {
		c = t.Connect(p)
		present(t, c, true)
		t.Join().Publish(wire.Publish{Topic: topic, Payload: "still here", QoS: 1})
		if got := c.Take(topic, "still here"); got.QoS != 1 {
			t.Fatalf("%v, want QoS 1", got)
		}
		c.Leave()
	}
}

// messagesWaitForTheClient publishes while it is away.
func messagesWaitForTheClient(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	t.Away(p, 2, topic)
	publisher := t.Join()
	publisher.Publish(wire.Publish{Topic: topic, Payload: "one", QoS: 1})
	publisher.Publish(wire.Publish{Topic: topic, Payload: "two", QoS: 2})
	publisher.Publish(wire.Publish{Topic: topic, Payload: "three", QoS: 1})
	c := t.Connect(p)
	present(t, c, true)
	for i, payload := range []string{"one", "two", "three"} {
		got := c.WantPublish(topic, payload)
		if got.QoS != byte(1+i%2) {
			t.Fatalf("%v came at QoS %d", got, got.QoS)
		}
	}
}

func sessionOutlastsLostConnection(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	c := t.Connect(p)
	c.Subscribe(1, topic)
	lost(c)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "meanwhile", QoS: 1})
	c = t.Connect(p)
	present(t, c, true)
	c.Take(topic, "meanwhile")
}

func unsubscribedStaysUnsubscribed(t *suite.T) {
	left, kept := t.Topic(), t.Topic()
	p := t.Lasting()
	c := t.Connect(p)
	c.Subscribe(1, left, kept)
	c.Send(wire.Unsubscribe(t.Version, 7, left))
	c.WantAck(wire.UNSUBACK, 7)
	c.Leave()
	publisher := t.Join()
	publisher.Publish(wire.Publish{Topic: left, Payload: "no more", QoS: 1})
	publisher.Publish(wire.Publish{Topic: kept, Payload: "more", QoS: 1})
	t.Connect(p).Take(kept, "more")
}

func newLastingSession(t *suite.T) {
	p := t.Lasting()
	c := t.Connect(p)
	present(t, c, false)
	topic := t.Topic()
	c.Subscribe(1, topic)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "works", QoS: 1})
	c.Take(topic, "works")
}

// cleanDiscardsTheSession has a session with a subscription and a message waiting, and
// comes back clean.
func cleanDiscardsTheSession(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	t.Away(p, 1, topic)
	publisher := t.Join()
	publisher.Publish(wire.Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	p.Clean = true
	c := t.Connect(p)
	present(t, c, false)
	c.Ping()
	publisher.Publish(wire.Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	c.Ping()
	c.Subscribe(1, topic)
	publisher.Publish(wire.Publish{Topic: topic, Payload: "again", QoS: 1})
	c.Take(topic, "again")
	c.Leave()
	p.Clean = false
	present(t, t.Connect(p), t.V5()) // in 5.0 it was a new lasting session
}

// shortSessionEndsWithItsConnection looks for it afterwards.
func shortSessionEndsWithItsConnection(t *suite.T) {
	topic := t.Topic()
	p := t.CONNECT()
	t.Away(p, 1, topic)
	p.Clean = false
	c := t.Connect(p)
	present(t, c, false)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	c.Ping()
}

// cleanTakeoverDiscardsTheSession comes while the old connection stands.
func cleanTakeoverDiscardsTheSession(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	old := t.Connect(p)
	old.Subscribe(1, topic)
	p.Clean = true
	c := t.Connect(p)
	present(t, c, false)
	old.WantClosed(0x8e)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "for nobody", QoS: 1})
	c.Ping()
}

func retainedOutlivesTheSession(t *suite.T) {
	topic := t.Topic()
	c := t.Join()
	if !retains(c) {
		t.Skip("no retained messages")
	}
	c.Publish(wire.Publish{Topic: topic, Payload: "kept", QoS: 1, Retain: true})
	c.Leave()
	late := t.Join()
	late.Subscribe(1, topic)
	if got := late.Take(topic, "kept"); !got.Retain {
		t.Fatalf("%v, want RETAIN", got)
	}
	late.Publish(wire.Publish{Topic: topic, Retain: true}) // clean up
}

// identifiersNameSessions has two whose identifiers differ in the last letter only, and
// in its case.
func identifiersNameSessions(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	name := p.ID
	p.ID = name + "a"
	c := t.Connect(p)
	c.Subscribe(1, topic)
	c.Leave()
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "to the first", QoS: 1})
	for _, other := range []string{"b", "A", "", "aa"} {
		p.ID = name + other
		c := t.Connect(p)
		present(t, c, false)
		c.Ping()
	}
	p.ID = name + "a"
	c = t.Connect(p)
	present(t, c, true)
	c.Take(topic, "to the first")
}

// expiryZeroOnReturn takes the session up again, for this connection only.
func expiryZeroOnReturn(t *suite.T) {
	p := t.Lasting()
	t.Connect(p).Leave()
	p.Props = nil
	c := t.Connect(p)
	present(t, c, true)
	c.Leave()
	present(t, t.Connect(p), false)
}

// expiryCountsFromTheEndOfTheConnection holds a connection for longer than its session
// would last without. The Will of a client that came and went later tells the time.
func expiryCountsFromTheEndOfTheConnection(t *suite.T) {
	watcher, w := mourner(t, 0)
	p := t.Lasting()
	p.Props = wire.Bytes(wire.SessionExpiry, uint32(2))
	c := t.Connect(p)
	t.Connect(delayed(t, w.Will.Topic, "time", 3, 300)).Drop()
	watcher.Take(w.Will.Topic, "time")
	c.Ping()
	c.Leave()
	present(t, t.Connect(p), true)
}

func sessionThatNeverExpires(t *suite.T) {
	p := t.Lasting()
	p.Props = wire.Bytes(wire.SessionExpiry, uint32(1<<32-1))
	t.Connect(p).Leave()
	c := t.Connect(p)
	present(t, c, true)
	p.Clean, p.Props = true, nil
	t.Connect(p)
	c.WantClosed(0x8e)
}

// serverShortensExpiry wants the server to mean the interval that it told.
func serverShortensExpiry(t *suite.T) {
	t.Need(t.Target.Limited, "listener with low limits")
	p := t.Lasting()
	c := t.Dial(t.Target.Limited).Accepted(p)
	told := c.Connack.Props.Int(wire.SessionExpiry, 300)
	if told > 5 {
		t.Skip("no low limit of the session expiry interval")
	}
	c.Leave()
	c = t.Dial(t.Target.Limited).Accepted(p)
	present(t, c, true)
	c.Leave()
	time.Sleep(time.Duration(told)*time.Second + 1500*time.Millisecond)
	present(t, t.Dial(t.Target.Limited).Accepted(p), false)
}
