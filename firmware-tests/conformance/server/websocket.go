package server

import (
	"slices"
	"strings"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// webSocket is chapter 6. What the server sends is held against its rules in
// webSocketConn.
var webSocket = []suite.Test{
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: binaryFramesBothWays},
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: connectInTextFrame},
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: textFrameLater},
	{V311: "6.0.0-1", V5: "6.0.0-1", Run: fragmentedTextFrame},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: byteInEachFrame},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: manyPacketsInFrame},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: fragmentsOfPackets},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: longFrames},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: emptyFrames},
	{V311: "6.0.0-2", V5: "6.0.0-2", Run: frameInPieces},
	{V311: "6.0.0-3", V5: "6.0.0-3", Run: noSubprotocol},
	{V311: "6.0.0-4", V5: "6.0.0-4", Run: subprotocolAmongOthers},
	{V311: "RULE-6.0.0-A", V5: "RULE-6.0.0-B", Run: unmaskedFrame},
	{V311: "RULE-6.0.0-C", V5: "RULE-6.0.0-D", Run: pingFrames},
	{V311: "RULE-6.0.0-E", V5: "RULE-6.0.0-F", Run: closeFrameEndsTheConnection},
	{V311: "RULE-6.0.0-G", V5: "RULE-6.0.0-H", Run: pingFramesKeepNothingAlive},
	{V311: "RULE-6.0.0-I", V5: "RULE-6.0.0-J", Run: sessionMovesToWebSocket},
}

// greeting is all that a short visit sends, and heard wants the answers to it.
func greeting(t *suite.T) (packets []byte, heard func(*suite.Conn)) {
	topic := t.Topic()
	packets = slices.Concat(t.CONNECT().Bytes(), wire.Subscribe(t.Version, 1, 0, topic),
		wire.Publish{Topic: topic, Payload: "hello"}.Bytes(t.Version))
	return packets, func(c *suite.Conn) {
		if got := c.Want(wire.CONNACK); got.Code() != 0 {
			t.Fatalf("%v, want to be accepted", got)
		}
		c.WantAck(wire.SUBACK, 1)
		c.Take(topic, "hello")
		c.Ping()
	}
}

func binaryFramesBothWays(t *suite.T) {
	_, c := webSocketTo(t)
	topic := t.Topic()
	c.Accepted(t.CONNECT())
	c.Subscribe(2, topic)
	publisher := t.Join()
	for qos := range byte(3) {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "\x00\xff", QoS: qos})
		c.Take(topic, "\x00\xff")
	}
	c.Leave()
}

func connectInTextFrame(t *suite.T) {
	w, c := webSocketTo(t)
	w.raw(frame(final|textFrame, t.CONNECT().Bytes()))
	c.WantEnd()
}

// textFrameLater closes a connection that stands, as a fault.
func textFrameLater(t *suite.T) {
	watcher, p := mourner(t, 0)
	w, c := webSocketTo(t)
	c.Accepted(p)
	w.raw(frame(final|textFrame, wire.Pingreq()))
	c.WantClosed(0x81, 0x82)
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

func fragmentedTextFrame(t *suite.T) {
	b := t.CONNECT().Bytes()
	w, c := webSocketTo(t)
	w.raw(frame(textFrame, b[:5]), frame(final|continuation, b[5:]))
	c.WantEnd()
}

func byteInEachFrame(t *suite.T) {
	packets, heard := greeting(t)
	w, c := webSocketTo(t)
	for i := range packets {
		w.raw(frame(final|binaryFrame, packets[i:i+1]))
	}
	heard(c)
}

func manyPacketsInFrame(t *suite.T) {
	packets, heard := greeting(t)
	w, c := webSocketTo(t)
	w.raw(frame(final|binaryFrame, packets))
	heard(c)
}

// fragmentsOfPackets has messages of several frames, with a ping between, that neither
// begin nor end where packets do.
func fragmentsOfPackets(t *suite.T) {
	packets, heard := greeting(t)
	w, c := webSocketTo(t)
	w.raw(frame(binaryFrame, packets[:3]), frame(continuation, packets[3:7]), frame(final|pingFrame, []byte("still here?")),
		frame(final|continuation, packets[7:11]), frame(binaryFrame, packets[11:11]), frame(final|continuation, packets[11:]))
	heard(c)
	if !slices.Contains(w.pongs, "still here?") {
		t.Fatalf("the pongs are %q", w.pongs)
	}
}

// longFrames need lengths of 16 and of 64 bits, both ways.
func longFrames(t *suite.T) {
	_, c := webSocketTo(t)
	topic := t.Topic()
	c.Accepted(t.CONNECT())
	c.Subscribe(0, topic)
	for _, n := range []int{60, 125, 126, 127, 1000, 65535, 65536, 70000} {
		if max := c.Connack.Props.Int(wire.MaximumPacketSize, 1<<20); n > int(max) {
			return
		}
		b, payload := sized(t, topic, n)
		c.Send(b)
		c.Take(topic, payload)
	}
}

func emptyFrames(t *suite.T) {
	packets, heard := greeting(t)
	w, c := webSocketTo(t)
	empty := frame(final|binaryFrame, nil)
	w.raw(empty, frame(final|binaryFrame, packets[:9]), empty, empty, frame(final|binaryFrame, packets[9:]), empty)
	heard(c)
}

// frameInPieces has the network cut frames where it likes.
func frameInPieces(t *suite.T) {
	packets, heard := greeting(t)
	w, c := webSocketTo(t)
	b := frame(final|binaryFrame, packets)
	for i := range b {
		w.raw(b[i : i+1])
		time.Sleep(time.Millisecond) // so that they are not one piece again
	}
	heard(c)
}

// noSubprotocol may be refused or borne; none that was not offered may be chosen.
func noSubprotocol(t *suite.T) {
	for _, offered := range [][]string{nil, {"soap"}} {
		_, response := upgrade(t, offered...)
		if got := response.Header.Get("Sec-WebSocket-Protocol"); response.StatusCode == 101 && !slices.Contains(append(offered, ""), got) {
			t.Fatalf("sub-protocol %q to a client that offers %q", got, offered)
		}
	}
}

func subprotocolAmongOthers(t *suite.T) {
	for _, offered := range [][]string{{"mqtt"}, {"soap", "mqtt"}, {"mqtt", "soap"}} {
		w, response := upgrade(t, offered...)
		if got := response.Header.Values("Sec-WebSocket-Protocol"); response.StatusCode != 101 || strings.Join(got, " ") != "mqtt" {
			t.Fatalf("%q with sub-protocol %q to a client that offers %q", response.Status, got, offered)
		}
		t.Over(w).Accepted(t.CONNECT())
	}
}

// unmaskedFrame must not be served. [RFC 6455, 5.1]
func unmaskedFrame(t *suite.T) {
	w, c := webSocketTo(t)
	b := t.CONNECT().Bytes()
	w.raw(append([]byte{final | binaryFrame, byte(len(b))}, b...))
	c.WantEnd()
}

func pingFrames(t *suite.T) {
	w, c := webSocketTo(t)
	c.Accepted(t.CONNECT())
	w.raw(frame(final|pingFrame, []byte("one")))
	c.Ping()
	w.raw(frame(final|pingFrame, nil), frame(final|pongFrame, []byte("unasked")))
	c.Ping()
	if len(w.pongs) == 0 || w.pongs[0] != "one" {
		t.Fatalf("the pongs are %q", w.pongs)
	}
}

// closeFrameEndsTheConnection is answered, and is no DISCONNECT.
func closeFrameEndsTheConnection(t *suite.T) {
	watcher, p := mourner(t, 0)
	w, c := webSocketTo(t)
	c.Accepted(p)
	w.raw(frame(final|closeFrame, []byte{1000 >> 8, 1000 & 0xff}))
	c.WantEnd()
	if w.closeCode == 0 {
		t.Fatalf("no close frame in answer")
	}
	watcher.Take(p.Will.Topic, p.Will.Payload)
}

// pingFramesKeepNothingAlive are no packets of MQTT.
func pingFramesKeepNothingAlive(t *suite.T) {
	p := t.CONNECT()
	p.KeepAlive = 1
	w, c := webSocketTo(t)
	c.Accepted(p)
	if agreed(c, 1) > longest {
		t.Skip("Server Keep Alive is too long to wait for")
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(300 * time.Millisecond):
				w.raw(frame(final|pingFrame, nil))
			}
		}
	}()
	defer func() {
		close(done)
		<-stopped
	}()
	c.WantClosed(0x8d)
}

// sessionMovesToWebSocket and back again.
func sessionMovesToWebSocket(t *suite.T) {
	topic := t.Topic()
	p := t.Lasting()
	over := t.Connect(p)
	over.Subscribe(1, topic)
	_, c := webSocketTo(t)
	c.Accepted(p)
	over.WantClosed(0x8e)
	present(t, c, true)
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "one", QoS: 1})
	c.Take(topic, "one")
	c.Leave()
	t.Join().Publish(wire.Publish{Topic: topic, Payload: "two", QoS: 1})
	t.Connect(p).Take(topic, "two")
}
