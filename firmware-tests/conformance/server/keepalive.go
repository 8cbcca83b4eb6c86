package server

import (
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// keepAlive is section 3.1.2.10 and Server Keep Alive.
var keepAlive = []suite.Test{
	{V311: "3.1.2-24 3.1.2-8", V5: "3.1.2-22 3.1.2-8 3.2.2-22", Run: silentClientIsClosed},
	{V311: "3.1.2-24", V5: "3.1.2-22", Run: silentSubscriberIsClosed},
	{V311: "3.1.2-23 RULE-3.1.2.10-A", V5: "3.1.2-20 RULE-3.1.2.10-B", Run: anyPacketKeepsAlive},
	{V311: "RULE-3.1.2.10-C", V5: "RULE-3.1.2.10-D", Run: keepAliveOfZero},
	{V5: "3.1.2-21 3.2.2-21", Run: serverKeepAliveCounts},
	{V5: "3.1.2-21 3.2.2-21", Run: serverKeepAliveOfNone},
}

// How much earlier and later than one and a half times the Keep Alive the end of a
// silent connection may come. Servers look at clocks that tick in seconds, and some look
// only every five; three times a Keep Alive of 4 seconds is too late all the same.
const (
	early = 100 * time.Millisecond
	late  = 6 * time.Second
)

// longest is the longest Keep Alive that there is time for.
const longest = 4 * time.Second

// agreed is the Keep Alive that holds for a connection.
func agreed(c *suite.Conn, asked uint16) time.Duration {
	return time.Duration(c.Connack.Props.Int(wire.ServerKeepAlive, uint32(asked))) * time.Second
}

// wantSilenceToEnd wants the server to close c one and a half times the Keep Alive after
// since, a moment before the client sent its last packet.
func wantSilenceToEnd(t *suite.T, c *suite.Conn, keepAlive time.Duration, since time.Time) {
	if keepAlive > longest {
		t.Skip("Server Keep Alive is too long to wait for")
	}
	time.Sleep(keepAlive) // there is more to wait for than Patience
	c.WantClosed(0x8d)
	took := time.Since(since)
	if took < keepAlive*3/2-early {
		t.Fatalf("closed after %v of a keep-alive of %v", took, keepAlive)
	}
	if took > keepAlive*3/2+late {
		t.Fatalf("closed only after %v of a keep-alive of %v", took, keepAlive)
	}
}

// silentClientIsClosed says nothing after CONNECT, and its Will is published.
func silentClientIsClosed(t *suite.T) {
	watcher, p := mourner(t, 0)
	p.KeepAlive = 4
	since := time.Now()
	c := t.Connect(p)
	wantSilenceToEnd(t, c, agreed(c, 4), since)
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

// silentSubscriberIsClosed gets messages all the time: only what the client sends
// counts.
func silentSubscriberIsClosed(t *suite.T) {
	topic := t.Topic()
	p := t.CONNECT()
	p.KeepAlive = 1
	c := t.Connect(p)
	c.Subscribe(0, topic)
	if agreed(c, 1) > longest {
		t.Skip("Server Keep Alive is too long to wait for")
	}
	since := time.Now()
	publisher := t.Join()
	for {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "hello"})
		got := c.NextOrEnd()
		if got == nil || got.Type == wire.DISCONNECT && got.Code() == 0x8d {
			return
		}
		if got.Type != wire.PUBLISH || time.Since(since) > suite.Patience {
			t.Fatalf("%v, want the end of the connection", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// anyPacketKeepsAlive is heard of in time, for longer than two silences would last.
func anyPacketKeepsAlive(t *suite.T) {
	p := t.CONNECT()
	p.KeepAlive = 2
	c := t.Connect(p)
	topic := t.Topic()
	for _, heard := range []func(){
		c.Ping,
		func() { c.Send(wire.Publish{Topic: topic, Payload: "here"}.Bytes(t.Version)) },
		func() { c.Publish(wire.Publish{Topic: topic, Payload: "here", QoS: 1}) },
		func() { c.Subscribe(0, topic+"/x") },
		c.Ping,
	} {
		time.Sleep(1500 * time.Millisecond)
		heard()
	}
	c.Ping()
}

// keepAliveOfZero is silent for longer than a client that asked for something.
func keepAliveOfZero(t *suite.T) {
	c := t.Join()
	p := t.CONNECT()
	p.KeepAlive = 1
	other := t.Connect(p)
	if agreed(c, 0) != 0 || agreed(other, 1) > longest {
		t.Skip("the server sets the keep-alive")
	}
	other.WantClosed(0x8d)
	c.Ping()
}

// serverKeepAliveCounts asks for more than the server allows.
func serverKeepAliveCounts(t *suite.T) {
	t.Need(t.Target.Limited, "listener with low limits")
	p := t.CONNECT()
	p.KeepAlive = 60
	since := time.Now()
	c := t.Dial(t.Target.Limited).Accepted(p)
	wantSilenceToEnd(t, c, agreed(c, 60), since)
}

// serverKeepAliveOfNone asks for none.
func serverKeepAliveOfNone(t *suite.T) {
	t.Need(t.Target.Limited, "listener with low limits")
	since := time.Now()
	c := t.Dial(t.Target.Limited).Accepted(t.CONNECT())
	if agreed(c, 0) == 0 {
		t.Skip("the server sets no keep-alive")
	}
	wantSilenceToEnd(t, c, agreed(c, 0), since)
}
