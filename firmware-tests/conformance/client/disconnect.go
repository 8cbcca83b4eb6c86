package client

import (
	"os"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// disconnect is sections 3.12 to 3.14 and 4.8, 4.13 of the latter version: how a
// connection ends.
var disconnect = []suite.Test{
	{V311: "3.14.4-1 3.14.4-2 RULE-3.14.1-a", V5: "3.14.1-1 3.14.2-1 3.14.4-1 3.14.4-2 RULE-3.14.1-a RULE-3.14.2-b RULE-3.14.2-d", Run: disconnectIsTheLast},
	{V5: "4.13.2-1 RULE-3.14.4-p", Run: leavesWhenServerDoes},
	{V311: "4.8.0-2", V5: "RULE-4.13.1-q", Run: fullDisk},
	{V311: "RULE-3.1.2.10-p", V5: "RULE-3.1.2.10-p", Run: silentServer},
	{
		V5:  "3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3 3.14.2-3 3.14.2-4",
		Run: noReasonStringBeyondTheMaximum,
	},
}

// disconnectIsTheLast: the clients are done, or told to end.
func disconnectIsTheLast(t *suite.T) {
	last := func(c *suite.Conn) {
		if p := c.Want(wire.DISCONNECT); p.Code() != 0 {
			t.Fatalf("%v, want code 0", p)
		}
		c.WantEnd()
	}
	b := newBridge(t, "UP=up/#")
	c := b.welcome(false)
	b.device().Publish(wire.Publish{Topic: "up/1", Payload: "a", QoS: 1})
	c.Take("up/1", "a") // it is connected on both sides
	done := make(chan error)
	go func() { done <- b.gateway.Terminate() }()
	last(c)
	if err := <-done; err != nil {
		t.Fatalf("%v", err)
	}

	s := listen(t)
	pub := s.command("pub", "-t", "up/1", "-m", "a")
	c = s.welcome(false)
	c.WantPublish("up/1", "a")
	c.Want(wire.PINGREQ)
	c.Send(wire.Packet(wire.PINGRESP << 4))
	last(c)
	pub.wantExit(0)

	for _, end := range []func(*server, *suite.Conn, *command){
		func(s *server, c *suite.Conn, _ *command) {
			c.Send(wire.Publish{Topic: "down/1", Payload: "a", QoS: 1, ID: 7}.Bytes(t.Version))
			c.WantAck(wire.PUBACK, 7, 0)
		},
		func(_ *server, _ *suite.Conn, sub *command) { _ = sub.cmd.Process.Signal(os.Interrupt) },
	} {
		s := listen(t)
		sub := s.command("sub", "-t", "down/#", "-q", "1", "-C", "1")
		c := s.welcome(false)
		s.subscribed(c)
		end(s, c, sub)
		last(c)
	}
}

// leavesWhenServerDoes: a DISCONNECT of the server is the end, whatever its reason,
// and is not answered with an error.
func leavesWhenServerDoes(t *suite.T) {
	for _, v := range vectors(t, func(v vector) bool { return !v.bad() && v.kind() == wire.DISCONNECT }) {
		for _, r := range receivers(t) {
			t.Step("%s", v.name)
			r.conn.Send(v.packet)
			r.conn.WantClosed(0)
		}
	}
}

// fullDisk: what cannot be written is not acknowledged, and the connection ends.
func fullDisk(t *suite.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full")
	}
	defer full.Close()
	s := listen(t)
	sub := s.commandTo(full, "mqtt", "sub", "-t", "down/#", "-q", "1")
	c := s.welcome(false)
	s.subscribed(c)
	c.Send(wire.Publish{Topic: "down/1", Payload: "a", QoS: 1, ID: 7}.Bytes(t.Version))
	if p := c.NextOrEnd(); p != nil && p.Type != wire.DISCONNECT {
		t.Fatalf("%v for what is on no disk", p)
	}
	sub.wantExit(exitRefused)
}

// silentServer: who answers no PINGREQ is left.
func silentServer(t *suite.T) {
	each(t, []string{"KEEPALIVE=1s"}, []string{"-k", "1"}, func(s *server, c *suite.Conn, _ *wire.Read) {
		c.Send(s.connack(false, 0))
		began := time.Now()
		for p := c.NextOrEnd(); p != nil && p.Type != wire.DISCONNECT; p = c.NextOrEnd() {
			if time.Since(began) > suite.Patience {
				t.Fatalf("%v: still here after %v without an answer", p, suite.Patience)
			}
		}
	})
}

// noReasonStringBeyondTheMaximum: a server that takes no more than ten bytes, and gives
// reasons to complain.
func noReasonStringBeyondTheMaximum(t *suite.T) {
	const most = 10
	short := func(p *wire.Read) {
		if p != nil && len(p.Raw) > most {
			t.Fatalf("%v: more than %d bytes", p, most)
		}
	}
	b := newBridge(t, "UP=u", "DOWN=d", "DOWN_PREFIX="+tooLong[:60000]+"/")
	c := b.welcome(false, wire.MaximumPacketSize, uint32(most))
	short(b.subscribed(c))
	for qos := byte(1); qos <= 2; qos++ {
		c.Send(wire.Publish{Topic: tooLong[:10000], QoS: qos, ID: 7}.Bytes(t.Version))
		p := c.Want(wire.PUBACK + qos - 1)
		short(p)
		if p.Code() < 0x80 {
			t.Fatalf("%v, want a refusal", p)
		}
	}
	c.Send(wire.Ack(wire.PUBREC, 99))
	short(c.WantAck(wire.PUBREL, 99, 0x92))
	c.Send(wire.Ack(wire.PUBREL, 98))
	short(c.WantAck(wire.PUBCOMP, 98, 0x92))
	c.Send([]byte{0, 0})
	short(c.Want(wire.DISCONNECT))

	for _, args := range [][]string{{"pub", "-t", "u", "-l"}, {"sub", "-t", "d"}} {
		s := listen(t)
		s.command(args...)
		c := s.welcome(false, wire.MaximumPacketSize, uint32(most))
		c.Send([]byte{0, 0})
		for p := c.NextOrEnd(); p != nil; p = c.NextOrEnd() {
			short(p)
		}
	}
}
