package gateway

import (
	"fmt"
	"strings"
	"testing"

	"sluice/codec"
)

// turn has a client's bytes handled for one turn, and returns how many of them were.
func (p *peer) turn(b []byte) int {
	s := p.at.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[p.name].conn.receive(b)
}

func TestManyFiltersTakeTurns(t *testing.T) {
	for _, v := range versions {
		inBubble(t, Config{}, func(at *site) {
			const filters = 3*maxFilters + 1
			p := at.join("p", v)
			sub, unsub := codec.Subscribe{ID: 1}, codec.Unsubscribe{ID: 2}
			granted, ended := codec.Suback{ID: 1}, codec.Unsuback{ID: 2}
			for i := range filters {
				filter := fmt.Append(nil, i)
				sub.Subscriptions = append(sub.Subscriptions, codec.Subscription{Filter: filter, QoS: 1})
				unsub.Filters = append(unsub.Filters, filter)
				granted.Codes, ended.Codes = append(granted.Codes, 1), append(ended.Codes, 0)
			}
			b := sub.Append(nil, v)
			for i := range 3 {
				if n, has := p.turn(b), at.srv.Stats().Subscriptions; n != 0 || has != int64(i+1)*maxFilters {
					t.Fatalf("%d subscriptions after %d turns, %d bytes handled", has, i+1, n)
				}
				p.wantIdle("it is not answered yet")
			}
			p.sendRaw(b)
			p.want("all are granted", &granted)
			b = unsub.Append(nil, v)
			for i := range 3 {
				if n, has := p.turn(b), at.srv.Stats().Subscriptions; n != 0 || has != filters-int64(i+1)*maxFilters {
					t.Fatalf("%d subscriptions are left after %d turns, %d bytes handled", has, i+1, n)
				}
				p.wantIdle("it is not answered yet")
			}
			p.sendRaw(b)
			p.want("all have ended", &ended)
			if n := len(at.srv.unfinished); n != 0 {
				t.Errorf("%d packets are taken for unfinished", n)
			}
		})
	}
}

// What is left of a SUBSCRIBE goes with its connection.
func TestUnfinishedGoesWithItsConnection(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		req := codec.Subscribe{ID: 1}
		for i := range 2 * maxFilters {
			req.Subscriptions = append(req.Subscriptions, codec.Subscription{Filter: fmt.Append(nil, i)})
		}
		p.turn(req.Append(nil, codec.V5))
		p.cut()
		p = at.join("p", codec.V5, keep)
		p.subscribe(0, "a")
		if n, has := len(at.srv.unfinished), at.srv.Stats().Subscriptions; n != 0 || has != maxFilters+1 {
			t.Errorf("%d packets are taken for unfinished, %d subscriptions", n, has)
		}
	})
}

// Many packets that take long each are no better than one.
func TestWorkTakesTurns(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		pub := at.join("pub", codec.V5)
		for i := range 200 {
			m := message(fmt.Sprint("site/", i), ".", 0, 0)
			m.Retain = true
			pub.send(m)
		}
		sub := at.join("sub", codec.V5)
		const levels = 10
		for i := range 1 << levels {
			filter := make([]string, levels)
			for l := range filter {
				filter[l] = [2]string{"a", "+"}[i>>l&1]
			}
			sub.subscribe(0, strings.Join(filter, "/")+"/z")
		}
		for _, c := range []struct {
			what   string
			most   int // packets in a turn
			packet func(i int) codec.Packet
		}{
			{"subscriptions", maxFilters + 1, func(int) codec.Packet {
				return &codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a")}}}
			}},
			{"subscriptions that end", maxFilters + 1, func(int) codec.Packet {
				return &codec.Unsubscribe{ID: 1, Filters: [][]byte{[]byte("a")}}
			}},
			{"searches for what is retained", 70, func(int) codec.Packet {
				return &codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("+/x")}}}
			}},
			{"messages that nearly match many filters", 20, func(i int) codec.Packet {
				return message(strings.Repeat("a/", levels)+fmt.Sprint("x", 1000+i), "", 0, 0)
			}},
		} {
			var b []byte
			for i := range 1000 {
				b = c.packet(i).Append(b, codec.V5)
			}
			p := at.join("p", codec.V5)
			if n := p.turn(b) / (len(b) / 1000); n < 1 || n > c.most {
				t.Errorf("%s: %d in a turn, want %d at most", c.what, n, c.most)
			}
		}
	})
}

func TestTooManyFilters(t *testing.T) {
	for _, v := range versions {
		inBubble(t, Config{}, func(at *site) {
			sub, unsub := codec.Subscribe{ID: 1}, codec.Unsubscribe{ID: 1}
			for range maxList + 1 {
				sub.Subscriptions = append(sub.Subscriptions, codec.Subscription{Filter: []byte("a")})
				unsub.Filters = append(unsub.Filters, []byte("a"))
			}
			for _, packet := range []codec.Packet{&sub, &unsub} {
				p := at.join("p", v)
				p.send(packet)
				if v == codec.V5 {
					p.wantRefused("it is told why", codec.QuotaExceeded)
				} else {
					p.wantClosed("it is closed")
				}
			}
			p := at.join("p", v)
			sub.Subscriptions, unsub.Filters = sub.Subscriptions[1:], unsub.Filters[1:]
			p.send(&sub, &unsub)
			at.settle()
			for _, packet := range []codec.PacketType{codec.TypeSuback, codec.TypeUnsuback} {
				if got := p.next(); got == nil || got.Type() != packet {
					t.Fatalf("%v is answered by %s", packet, show(got))
				}
			}
		})
	}
}

func TestTooManyUserProperties(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(1, "#")
		crowded := func(n int, qos byte, id uint16) *codec.Publish {
			m := message("a", "x", qos, id)
			for range n {
				m.User = append(m.User, codec.UserProperty{Name: []byte("n")})
			}
			return m
		}
		pub.send(crowded(maxList+1, 0, 0), crowded(maxList+1, 1, 1), batchOf(1, 2, crowded(maxList+9, 1, 0)), crowded(maxList, 1, 3))
		no := codec.ImplementationSpecificError
		pub.want("who can be told is told", &codec.Puback{ID: 1, Code: no, ReasonString: []byte(no.String())})
		if ack, ok := pub.next().(*codec.Puback); !ok || ack.ID != 2 || ack.Code != no {
			t.Errorf("a batch with such a message is answered by %s", show(ack))
		}
		pub.want("as many as there may be are taken", &codec.Puback{ID: 3})
		sub.want("with all of them", crowded(maxList, 1, 2))
		sub.wantIdle("and no more comes")
		if n := at.srv.Stats().Dropped.TooLarge; n != 3 {
			t.Errorf("%d are counted, want 3", n)
		}
		p := at.dial("p", codec.V5)
		p.send(&codec.Connect{Version: codec.V5, ClientID: []byte("p"), Will: &codec.Will{Message: crowded(maxList+1, 1, 0).Message}})
		if ack, _ := p.next().(*codec.Connack); ack == nil || ack.Code != no {
			t.Errorf("a will with as many is answered by %s", show(ack))
		}
	})
}
