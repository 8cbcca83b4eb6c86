package gateway

import (
	"testing"
	"time"

	"sluice/codec"
)

// withWill leaves a will at w, QoS 1, after a delay in seconds.
func withWill(delay uint32) func(*codec.Connect) {
	return func(c *codec.Connect) {
		c.Will = &codec.Will{Delay: delay}
		c.Will.Topic, c.Will.Payload, c.Will.QoS = []byte("w"), []byte("gone"), 1
	}
}

func TestWill(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*peer)
		want bool
	}{
		{"a cut connection", (*peer).cut, true},
		{"DISCONNECT", func(p *peer) { p.send(&codec.Disconnect{}) }, false},
		{"DISCONNECT with will", func(p *peer) { p.send(&codec.Disconnect{Code: codec.DisconnectWithWill}) }, true},
		{"a forbidden packet", func(p *peer) { p.send(&codec.Pingresp{}) }, true},
		{"take-over", func(p *peer) { p.at.join(p.name, codec.V5) }, true},
		{"a silent client", func(p *peer) { time.Sleep(16 * time.Second); p.at.settle() }, true},
	} {
		inBubble(t, Config{}, func(at *site) {
			sub := at.join("sub", codec.V5)
			sub.subscribe(1, "w")
			p := at.join("p", codec.V5, withWill(0), func(c *codec.Connect) { c.KeepAlive = 10 })
			c.end(p)
			if c.want {
				sub.want(c.name+" brings the will", message("w", "gone", 1, 2))
			}
			sub.wantIdle(c.name + " brings no more")
		})
	}
}

func TestWillDelay(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "w")
		p := at.join("p", codec.V5, keep, withWill(30))
		p.cut()
		time.Sleep(29 * time.Second)
		sub.wantIdle("the will waits")
		p = at.join("p", codec.V5, keep, withWill(30))
		time.Sleep(60 * time.Second)
		sub.wantIdle("a client that is back in time takes it back")
		p.cut()
		time.Sleep(31 * time.Second)
		sub.want("one that is not does not", message("w", "gone", 0, 0))
	})
}

func TestWillGoesOutWithItsSession(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5)
		sub.subscribe(0, "w")
		p := at.join("p", codec.V5, withWill(600), func(c *codec.Connect) { c.CleanStart, c.SessionExpiry = false, 20 })
		p.cut()
		time.Sleep(21 * time.Second)
		sub.want("the end of the session does not wait for the delay", message("w", "gone", 0, 0))
		at.join("p", codec.V5, keep, withWill(600)).cut()
		at.join("p", codec.V5)
		at.settle()
		sub.want("nor does clean start", message("w", "gone", 0, 0))
	})
}

func TestWillOutlivesTheGateway(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "w")
		at.join("p", codec.V5, keep, withWill(30)).cut()
		time.Sleep(10 * time.Second)
		at.restart()
		time.Sleep(15 * time.Second)
		sub = at.join("sub", codec.V5, keep)
		sub.wantIdle("the delay goes on where it was")
		time.Sleep(6 * time.Second)
		sub.want("and ends", message("w", "gone", 1, 2))
	})
}
