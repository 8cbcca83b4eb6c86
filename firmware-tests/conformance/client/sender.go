package client

import (
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// A sender is a client that publishes to up/1, connected.
type sender struct {
	*server
	conn *suite.Conn
	send func(payloads ...string)
}

// senders are the bridge and sluice pub, which publish at a QoS to a server that says
// of itself what the properties say.
func senders(t *suite.T, qos byte, props ...any) []*sender {
	b := newBridge(t, "UP=up/#", "MAX_INFLIGHT=100") // in MQTT 3.1.1 it would be fewer
	up := &sender{server: b.server, conn: b.welcome(false, props...)}
	d := b.device()
	up.send = func(payloads ...string) {
		for _, payload := range payloads {
			d.Publish(wire.Publish{Topic: "up/1", Payload: payload, QoS: qos})
		}
	}
	s := listen(t)
	pub := s.command("pub", "-t", "up/1", "-q", string('0'+rune(qos)), "-l")
	return []*sender{up, {s, s.welcome(false, props...), pub.say}}
}
