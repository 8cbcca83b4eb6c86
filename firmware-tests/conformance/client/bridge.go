package client

import (
	"slices"
	"sync"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// A bridge is that of a gateway whose upstream is a scripted server.
type bridge struct {
	*server
	gateway *rig.Gateway
}

// newBridge starts a gateway. Settings are those of the bridge, without the beginning
// of their names: "UP=up/# 1".
func newBridge(t *suite.T, settings ...string) *bridge {
	return bridgeTo(t, listen(t), "mqtt", settings...)
}

func bridgeTo(t *suite.T, s *server, scheme string, settings ...string) *bridge {
	env := []string{"SLUICE_LOG_LEVEL=debug"}
	for _, setting := range slices.Concat([]string{"URL=" + scheme + "://" + s.addr(), "CLIENT_ID=" + t.ID()}, settings) {
		env = append(env, "SLUICE_BRIDGE_0_"+setting)
	}
	return &bridge{s, startGateway(t, env...)}
}

// ports is held while addresses are chosen: a gateway's are free until it has
// started, and no other may take them.
var ports sync.Mutex

func startGateway(t *suite.T, env ...string) *rig.Gateway {
	t.Need(t.Target.Gateway, "gateway to start")
	ports.Lock()
	defer ports.Unlock()
	for tries := 1; ; tries++ {
		g, err := rig.NewGateway(t.Dir(), env...)
		if err == nil {
			err = g.Start()
		}
		switch {
		case err == nil:
			t.Cleanup(func() { g.Kill() })
			return g
		case tries == 3: // else another program had its ports
			t.Fatalf("%v", err)
		}
	}
}

// restart kills the gateway and starts it again with what is on its disk.
func (b *bridge) restart() {
	ports.Lock()
	defer ports.Unlock()
	b.gateway.Kill()
	if err := b.gateway.Start(); err != nil {
		b.t.Fatalf("%v", err)
	}
}

// device is one of the gateway's own clients.
func (b *bridge) device() *suite.Conn {
	return b.t.Dial(b.gateway.Addr).Accepted(b.t.CONNECT())
}

// watcher is a device that gets what comes down.
func (b *bridge) watcher() *suite.Conn {
	d := b.device()
	d.Subscribe(2, "down/#")
	return d
}
