package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// A part of the program has the window that it asks for, whatever devices have, and
// another when the server is told. After a crash any of that may have been sent.
func TestReceiveMaximumInside(t *testing.T) {
	onDisk(t, Config{MaxInflight: 3}, func(at *site) {
		const n = 40
		at.limited(Limits{})
		keeper := at.join("keeper", codec.V5, keep)
		keeper.subscribe(1, "a/#")
		keeper.cut()
		pub := at.join("pub", codec.V5)
		for i := range n {
			pub.send(message("a/1", fmt.Sprint(i), 1, 1))
			pub.want("it is on disk", &codec.Puback{ID: 1})
		}
		up := at.inside("$bridge/up")
		up.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/up"), SessionExpiry: never, ReceiveMaximum: 5})
		up.next() // CONNACK
		up.send(&codec.Pingreq{})
		time.Sleep(2 * time.Second) // it has said a word, and that is on disk
		take := func(sentence string, want int) (ids []uint16) {
			t.Helper()
			at.settle()
			if ids, _ = up.take(); len(ids) != want {
				t.Fatalf("%s: %d messages come, want %d", sentence, len(ids), want)
			}
			return ids
		}
		ids := take("as CONNECT says", 5)
		at.srv.SetReceiveMaximum("$bridge/up", 12)
		take("more", 7)
		at.srv.SetReceiveMaximum("$bridge/up", 10)
		up.send(&codec.Puback{ID: ids[0]}, &codec.Puback{ID: ids[1]})
		take("less", 0)
		up.send(&codec.Puback{ID: ids[2]})
		take("one of those 10 is done", 1)
		at.srv.SetReceiveMaximum("pub", 1)    // decides for itself
		at.srv.SetReceiveMaximum("nobody", 1) // has gone
		if most := at.srv.sessions["pub"].conn.receiveMax; most != 3 {
			t.Errorf("a client of the network takes %d", most)
		}

		at.srv.mu.Lock()
		defer at.srv.mu.Unlock()
		for name, want := range map[string]uint64{"$bridge/up": n - 3, "keeper": 3} {
			w := &at.srv.sessions[name].window
			w.past = w.first
			at.srv.sessions[name].presume(&at.srv.sessions[name].lane)
			if got := w.past - w.first; got != want {
				t.Errorf("%s may have been sent %d, want %d", name, got, want)
			}
		}
	})
}

// When a message of a bridge is refused for want of room, those behind it are as well, until
// it comes anew: else it would bring the first one again after the others.
func TestRefusedInsideStaysInOrder(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		away := at.join("away", codec.V5, keep)
		away.subscribe(2, "a/#")
		away.cut()
		join := func() *peer {
			down := at.inside("$bridge/down")
			down.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/down")})
			down.next() // CONNACK
			return down
		}
		down := join()
		at.srv.Failed(errors.New("no space left on device"))
		down.send(message("a/1", "1", 1, 1))
		if ack, _ := down.next().(*codec.Puback); ack == nil || ack.Code != codec.QuotaExceeded {
			t.Fatalf("the first is answered by %s, want a refusal", show(ack))
		}
		at.srv.Failed(nil)
		down.send(message(strings.Repeat("/", 300), "", 1, 9))
		if ack, _ := down.next().(*codec.Puback); ack == nil || ack.Code != codec.TopicNameInvalid {
			t.Fatalf("what can not be taken is answered by %s", show(ack))
		}
		down.send(message("a/1", "2", 1, 2), message("a/1", "3", 2, 3))
		if ack, _ := down.next().(*codec.Puback); ack == nil || ack.Code != codec.QuotaExceeded {
			t.Errorf("one behind it is answered by %s, want a refusal", show(ack))
		}
		if ack, _ := down.next().(*codec.Pubrec); ack == nil || ack.Code != codec.QuotaExceeded {
			t.Errorf("one behind it is answered by %s, want a refusal", show(ack))
		}
		down.cut()
		down = join()
		down.send(message("a/1", "1", 1, 1))
		down.want("when it comes anew all is taken", &codec.Puback{ID: 1})
	})
}
