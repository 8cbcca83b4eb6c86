package sn

import (
	"fmt"
	"testing"
	"time"
)

// A device sleeps, messages come for it, the gateway is killed and started again, and
// the device wakes: what was acknowledged to the sender arrives, at QoS 2 once, and in
// order. Both sides have a T_RETRY that the gateway's absence does not outlast.
func TestKillWhileAsleep(t *testing.T) {
	each(t, func(t *testing.T, k kit) {
		g := startGateway(t, "SLUICE_SN_RETRY=1s")
		d := k.start(t, g.addr(k), quick)
		d.do("connect", "sleeper", 0, 60, "will", 1, 0, "lost")
		d.do("subscribe", "name", "cmd/#", 2)
		d.do("sleep", 600)
		const messages = 30
		for round := range 3 {
			c := g.startCentre(t, "will")
			for i := range messages {
				c.publish(fmt.Sprint("cmd/", round, "/", i%3), byte(1+i%2), false, fmt.Sprint(i))
			}
			kill(t, g)
			d.do("open") // a session of DTLS is over with the gateway
			c = g.startCentre(t, "will", "up")
			d.do("wake", "sleeper")
			for i := range messages {
				d.want(fmt.Sprintf("message cmd/%d/%d %d 0 %d", round, i%3, 1+i%2, i))
			}
			// It is known as before, and its Will has not gone out.
			c.publish("cmd/late", 2, false, "late")
			d.do("wake", "sleeper")
			d.want("message cmd/late 2 0 late")
			c.publish("up", 1, false, "no will before")
			c.want("up 1 false no will before")
		}
		// What the device was registered before the kill counts after it.
		d.do("connect", "sleeper", 0, 60)
		d.do("register", "up")
		d.do("sleep", 600)
		kill(t, g)
		d.do("open")
		c := g.startCentre(t, "up")
		d.do("connect", "sleeper", 0, 60)
		d.do("publish", "name", "up", 2, 0, "by the old id")
		c.want("up 2 false by the old id")
	})
}

// The same in the middle of a flush: the device has had some of what waited, and the
// gateway knows of some of that.
func TestKillWhileAwake(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_RETRY=300ms")
	d := kits[0].start(t, g.udp, 300*time.Millisecond)
	d.do("connect", "sleeper", 0, 60)
	d.do("subscribe", "name", "cmd/#", 2)
	for round := range 4 {
		d.do("sleep", 600)
		c := g.startCentre(t)
		const messages = 400
		for i := range messages {
			c.publish("cmd/x", 2, false, fmt.Sprint(round, " ", i))
		}
		killed := make(chan error)
		go func() {
			for len(d.came) <= messages/10*round {
				time.Sleep(100 * time.Microsecond)
			}
			g.Kill()
			killed <- g.Start()
		}()
		d.do("wake", "sleeper")
		if err := <-killed; err != nil {
			t.Fatal(err)
		}
		for i := range messages {
			d.want(fmt.Sprintf("message cmd/x 2 0 %d %d", round, i))
		}
		d.do("connect", "sleeper", 0, 60)
	}
}

// kill ends the gateway with SIGKILL and starts it again.
func kill(t *testing.T, g *gateway) {
	t.Helper()
	g.Kill()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
}
