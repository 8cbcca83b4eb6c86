package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// TestEndsAreReported ends connections for all kinds of reasons: the counters and the log
// say which, and a neighbour notices nothing.
func TestEndsAreReported(t *testing.T) {
	log := &journal{}
	inBubble(t, Config{Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, func(at *site) {
		neighbour := at.join("neighbour", codec.V5)
		neighbour.subscribe(1, "#")
		text := func() string {
			at.settle()
			return log.String()
		}
		wantLine := func(words ...string) {
			t.Helper()
			for _, line := range strings.Split(text(), "\n") {
				missing := false
				for _, w := range words {
					missing = missing || !strings.Contains(line, w)
				}
				if !missing {
					return
				}
			}
			t.Errorf("no line with %q in\n%s", words, text())
		}

		at.dial("a", codec.V5).sendRaw([]byte("GET / HTTP/1.1\r\n\r\n"))
		wantLine("bad packet", "version=unknown", `code="protocol error"`, "clause=MQTT-3.1.0-1")
		at.dial("b", codec.V311).sendRaw([]byte("\x10\x0d\x00\x04MQTT\x03\x02\x00\x3c\x00\x01a"))
		at.join("c", codec.V5).sendRaw([]byte{0x82, 0x04, 0x00, 0x0a, 0x00, 0x00})
		at.join("d", codec.V311).sendRaw([]byte{0x82, 0x02, 0x00, 0x0a})
		wantLine("bad packet", "version=5.0", `code="malformed packet"`, "clause=4.13.1")
		wantLine("bad packet", "version=3.1.1", `code="protocol error"`, "clause=MQTT-3.8.3-2")
		at.join("e", codec.V5).send(&codec.Connect{Version: codec.V5, ClientID: []byte("e")})
		at.join("f", codec.V5)
		at.join("f", codec.V5).send(&codec.Disconnect{})
		at.join("g", codec.V311).cut()

		ended := at.srv.Stats().Ended
		want := Reasons{codec.MalformedPacket: 1, codec.ProtocolError: 3, codec.UnsupportedProtocolVersion: 1, codec.SessionTakenOver: 1}
		if ended != want {
			t.Errorf("ended by reason: %v", ended.LogValue())
		}
		time.Sleep(time.Minute)
		const line = "connections ended since the start"
		wantLine(line, "ended.malformed_packet=1", "ended.protocol_error=3", "ended.session_taken_over=1")
		time.Sleep(10 * time.Minute)
		if n := strings.Count(text(), line); n != 1 {
			t.Errorf("told %d times, with news once", n)
		}
		neighbour.wantIdle("nothing was published")
	})
}

// What anybody may try, as often and with as long topics as they like, does not fill the log.
func TestLogIsNotFilled(t *testing.T) {
	log := &journal{}
	cfg := unpacking
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	cfg.Control = obey
	inBubble(t, cfg, func(at *site) {
		pub := at.join("pub", codec.V5)
		before := len(log.String())
		c := at.dial("long", codec.V5)
		long := []byte(strings.Repeat("x", 10000))
		c.send(&codec.Connect{Version: codec.V5, ClientID: long, Username: long})
		c.cut()
		for range 100 {
			pub.send(message("$CONTROL/"+strings.Repeat("x", 10000), "pause", 0, 0))
			bad := batchOf(0, 0, message("a", "1", 0, 0))
			bad.Topic, bad.Payload = []byte(strings.Repeat("x", 10000)), nil
			pub.send(bad)
		}
		at.settle()
		if told := log.String()[before:]; len(told) > 1500 || strings.Count(told, "batch refused") != 1 {
			t.Errorf("the log has %d bytes more: %.1000s", len(told), told)
		}
	})
}
