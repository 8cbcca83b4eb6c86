package gateway

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

// A subscriber that is here and behind slows its publishers down, and nobody else.
func TestSubscriberBehindSlowsPublishers(t *testing.T) {
	inBubble(t, Config{QueueMaxBytes: 400 << 10}, func(at *site) {
		sub := at.join("sub", codec.V5, func(c *codec.Connect) { c.ReceiveMaximum = 1 })
		sub.subscribe(1, "a")
		pub, other := at.join("pub", codec.V5), at.join("other", codec.V5)
		id := uint16(0)
		next := func() codec.Packet {
			id++
			return message("a", strings.Repeat("x", 20<<10), 1, id)
		}
		for range 7 { // more than a quarter of what may wait
			pub.send(next())
			pub.want("acknowledged", &codec.Puback{ID: id})
		}
		at.settle()
		at.settle()

		say := func(p *peer, packet codec.Packet) {
			go p.nc.Write(packet.Append(nil, p.v)) // is taken when the gateway reads
			synctest.Wait()
		}
		say(pub, next())
		pub.want("one is taken", &codec.Puback{ID: id})
		say(pub, next())
		pub.wantIdle("the next is not read at once")
		say(other, message("b", "", 1, 1))
		other.want("who publishes elsewhere goes on", &codec.Puback{ID: 1, Code: codec.NoMatchingSubscribers})
		time.Sleep(brakeTime)
		pub.want("a moment later it is", &codec.Puback{ID: id})

		for p := sub.next(); p != nil; p = sub.next() { // it catches up
			sub.send(&codec.Puback{ID: p.(*codec.Publish).ID})
		}
		for range 3 {
			say(pub, next())
			pub.want("at once again", &codec.Puback{ID: id})
		}
	})
}
