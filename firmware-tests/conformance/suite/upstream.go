package suite

import (
	"net"
	"time"

	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// Upstream starts a gateway with a bridge, and is the server that the bridge connects
// to: up. Both speak the version of the test. The bridge brings the topics down, rules
// as in SLUICE_BRIDGE_0_DOWN, and takes up/# up. The gateway's own clients connect to
// addr.
func (t *T) Upstream(down string) (addr string, up *Conn) {
	t.Need(t.Target.Gateway, "gateway to start")
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { ln.Close() })
	g, err := rig.NewGateway(t.Dir(), "SLUICE_BRIDGE_0_URL=mqtt://"+ln.Addr().String(), "SLUICE_BRIDGE_0_DOWN="+down, "SLUICE_BRIDGE_0_UP=up/# 1")
	if err == nil {
		err = g.Start()
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(g.Kill)
	props := []byte{}
	if t.V5() {
		props = wire.Props()
	}
	for {
		ln.SetDeadline(time.Now().Add(Patience))
		nc, err := ln.Accept()
		if err != nil {
			t.Fatalf("the bridge does not connect: %v", err)
		}
		up = t.Serve(nc)
		if up.WantConnect().Connect.Version == t.Version {
			break
		}
		up.Send(wire.Packet(wire.CONNACK<<4, byte(0), byte(1))) // it tries the older version
	}
	up.Send(wire.Packet(wire.CONNACK<<4, uint16(0), props))
	p := up.Want(wire.SUBSCRIBE)
	up.Send(wire.Packet(wire.SUBACK<<4, p.ID, props, make([]byte, len(p.Subscribes))))
	return g.Addr, up
}
