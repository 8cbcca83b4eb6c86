package gateway

import (
	"fmt"
	"testing"

	"sluice/codec"
)

func TestSharedSubscription(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		var members []*peer
		for _, v := range []codec.Version{codec.V311, codec.V5} {
			m := at.join(fmt.Sprint("member", v), v, keep)
			m.subscribe(1, "$share/g/a/+")
			members = append(members, m)
		}
		other := at.join("other", codec.V5)
		other.subscribe(0, "$share/h/a/#")
		pub := at.join("pub", codec.V5)
		for i := range 4 {
			pub.send(message("a/b", fmt.Sprint(i), 1, uint16(i+1)))
			pub.want("taken", &codec.Puback{ID: uint16(i + 1)})
			other.want("each group gets each message", message("a/b", fmt.Sprint(i), 0, 0))
		}
		members[0].want("members take turns", message("a/b", "0", 1, 2), message("a/b", "2", 1, 3))
		members[1].want("members take turns", message("a/b", "1", 1, 2), message("a/b", "3", 1, 3))
		members[0].cut()
		pub.send(message("a/b", "4", 1, 5))
		members[1].want("who is here comes before who is away", message("a/b", "4", 1, 4))
		members[1].cut()
		pub.send(message("a/b", "5", 1, 6))
		pub.want("and with nobody here it is kept", &codec.Puback{ID: 5}, &codec.Puback{ID: 6})
		at.join("member5.0", codec.V5).send(&codec.Disconnect{})
		first := at.join("member3.1.1", codec.V311, keep)
		one, two := message("a/b", "0", 1, 2), message("a/b", "2", 1, 3)
		one.Dup, two.Dup = true, true
		first.want("the end of a session gives what it left to the others, after what they had", one, two)
		rest := ""
		for p := first.next(); p != nil; p = first.next() {
			rest += string(p.(*codec.Publish).Payload)
		}
		if rest != "5134" {
			t.Errorf("then %q came, want what was its own first", rest)
		}
	})
}
