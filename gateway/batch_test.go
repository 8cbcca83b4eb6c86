package gateway

import (
	"fmt"
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

// batchOf is a PUBLISH that brings messages.
func batchOf(qos byte, id uint16, messages ...*codec.Publish) *codec.Publish {
	var b []byte
	for _, m := range messages {
		b = batch.Append(b, &m.Message)
	}
	p := message("site7/batch", string(batch.NewPacker(nil).Pack(nil, b)), qos, id)
	p.ContentType = []byte(batch.ContentType)
	return p
}

var unpacking = Config{Batches: Batches{Unpack: true}}

func TestBatchIsTakenApart(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(2, "site7/#")
		expiring := message("site7/b", "2", 1, 0)
		expiring.HasMessageExpiry, expiring.MessageExpiry = true, 60
		pub.send(batchOf(1, 9, message("site7/a", "1", 1, 0), expiring, message("site7/a", "3", 0, 0), message("site7/c", "4", 2, 0)))
		expiring.ID = 3
		sub.want("each message comes by itself, in order, at QoS 1 at most",
			message("site7/a", "1", 1, 2), expiring, message("site7/a", "3", 0, 0), message("site7/c", "4", 1, 4))
		sub.wantIdle("and no batch")
		pub.want("there is one acknowledgement", &codec.Puback{ID: 9})

		pub.send(batchOf(0, 0, message("site7/a", "5", 1, 0)))
		sub.want("no message is above the batch's QoS", message("site7/a", "5", 0, 0))
		pub.send(batchOf(1, 10, message("elsewhere", "6", 1, 0)))
		pub.want("nobody wants any", &codec.Puback{ID: 10, Code: codec.NoMatchingSubscribers})
		if n := at.srv.Stats().MessagesIn; n != 6 {
			t.Errorf("%d messages are counted, want 6", n)
		}
	})
}

func TestBatchesAreOffered(t *testing.T) {
	d, err := batch.NewDictionary([]byte("messages as they usually are"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		batches Batches
		want    bool
	}{{Batches{}, false}, {Batches{Unpack: true, Dictionaries: []*batch.Dictionary{d}}, true}} {
		inBubble(t, Config{Batches: c.batches}, func(at *site) {
			p := at.dial("p", codec.V5)
			p.send(&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p")})
			ack := p.next().(*codec.Connack)
			if batches, dictionary := batch.Understood(ack.User, d); batches != c.want || dictionary != c.want {
				t.Errorf("CONNACK offers %s", ack.User)
			}
		})
	}
}

// Where batches are not unpacked they are messages like others.
func TestBatchIsCarried(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(1, "#")
		pub.send(batchOf(1, 1, message("a", "1", 1, 0)))
		sub.want("it comes as it is", batchOf(1, 2, message("a", "1", 1, 0)))
	})
}

// A batch at QoS 2 is taken, but its messages may come twice if there was no room for all.
func TestBatchAtQoS2(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(2, "#")
		for range 2 {
			pub.send(batchOf(2, 1, message("a", "1", 2, 0)))
			pub.want("it is received", &codec.Pubrec{ID: 1})
		}
		sub.want("its message is at QoS 1", message("a", "1", 1, 2))
		sub.wantIdle("and came once")
		pub.send(&codec.Pubrel{ID: 1})
		pub.want("it is over", &codec.Pubcomp{ID: 1})
	})
}

func TestBatchExpires(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		pub := at.join("pub", codec.V5)
		expiring, lasting := message("a/1", "1", 1, 0), message("a/2", "2", 1, 0)
		expiring.HasMessageExpiry, expiring.MessageExpiry = true, 60
		expiring.Retain, lasting.Retain = true, true
		pub.send(batchOf(1, 1, expiring, lasting))
		pub.cut()
		time.Sleep(2 * time.Minute)
		sub := at.join("sub", codec.V5)
		sub.subscribe(1, "a/#")
		lasting.ID = 2
		sub.want("only the first has expired", lasting)
		sub.wantIdle("nothing else")
	})
}

// The acknowledgement waits for all messages to be on disk.
func TestBatchIsKept(t *testing.T) {
	onDisk(t, unpacking, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a/#")
		sub.cut()
		pub := at.join("pub", codec.V5)
		at.disk <- struct{}{}
		pub.send(batchOf(1, 1, message("a/1", "1", 1, 0), message("b", "2", 1, 0), message("a/2", "3", 1, 0)))
		pub.wantIdle("they are not on disk yet")
		<-at.disk
		at.settle()
		pub.want("now they are", &codec.Puback{ID: 1})
		pub.cut()
		at.restart()
		sub = at.join("sub", codec.V5, keep)
		sub.want("they have waited", message("a/1", "1", 1, 2), message("a/2", "3", 1, 3))
	})
}

// A batch gives nobody more rights than single messages have.
func TestBatchAndAccess(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali", "  write site7/#", "  read #"), Batches: unpacking.Batches}, func(at *site) {
		sub, pub := at.join("sub", codec.V5, as("ali", "sesame")), at.join("pub", codec.V5, as("ali", "sesame"))
		sub.subscribe(1, "#")
		pub.send(batchOf(1, 1, message("site8/a", "1", 1, 0), message("site7/a", "2", 1, 0), message("$SYS/a", "3", 1, 0)))
		sub.want("only what may be published comes", message("site7/a", "2", 1, 2))
		sub.wantIdle("the rest is dropped")
		pub.want("which it is told", refusing("0 2", 1))
		pub.send(batchOf(2, 1, message("site8/a", "1", 1, 0)))
		pub.want("at QoS 2 as well, and then it is over", (*codec.Pubrec)(refusing("0", 1)))
		pub.send(message("site7/b", "1", 2, 1))
		sub.want("and its identifier free", message("site7/b", "1", 1, 3))
		pub.want("for another", &codec.Pubrec{ID: 1})
		elsewhere := batchOf(1, 2, message("site7/a", "4", 1, 0))
		elsewhere.Topic = []byte("site8/batch")
		pub.send(elsewhere)
		pub.want("the batch itself may not be published there", &codec.Puback{ID: 2, Code: codec.NotAuthorized, ReasonString: []byte(codec.NotAuthorized.String())})

		bridge := at.inside("$bridge/cloud")
		bridge.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/cloud")})
		bridge.next()
		bridge.send(batchOf(1, 1, message("$SYS/a", "5", 1, 0), message("site8/a", "6", 1, 0)))
		sub.want("a bridge's batch is from outside as well", message("site8/a", "6", 1, 4))
		if n := at.srv.Stats().Dropped.NotAuthorized; n != 5 {
			t.Errorf("%d messages counted as not authorized, want 5", n)
		}
	})
}

// refusing is the acknowledgement of a batch of which some messages are not allowed.
func refusing(places string, id uint16) *codec.Puback {
	return &codec.Puback{ID: id, Code: codec.NotAuthorized, ReasonString: []byte(codec.NotAuthorized.String()),
		User: []codec.UserProperty{{Name: []byte(batch.Property), Value: []byte(places)}}}
}

// What is taken of a batch is on disk before the publisher is told what is not.
func TestBatchIsKeptInPart(t *testing.T) {
	onDisk(t, Config{Access: accounts(t, "ali", "  write site7/#", "  read #"), Batches: unpacking.Batches}, func(at *site) {
		sub := at.join("sub", codec.V5, keep, as("ali", "sesame"))
		sub.subscribe(1, "#")
		sub.cut()
		pub := at.join("pub", codec.V5, as("ali", "sesame"))
		at.disk <- struct{}{}
		pub.send(batchOf(1, 1, message("site8/a", "1", 1, 0), message("site7/a", "2", 1, 0)))
		pub.wantIdle("it is not on disk yet")
		<-at.disk
		at.settle()
		pub.want("now it is", refusing("0", 1))
		pub.cut()
		at.restart()
		sub = at.join("sub", codec.V5, keep, as("ali", "sesame"))
		sub.want("it has waited", message("site7/a", "2", 1, 2))
	})
}

// Who can not be told which messages are refused takes it that all are.
func TestBatchRefusedInPartWithoutWords(t *testing.T) {
	for name, change := range map[string]func(*codec.Connect){
		"does not want to know": func(c *codec.Connect) { c.NoProblemInfo = true },
		"takes no such packets": func(c *codec.Connect) { c.MaximumPacketSize = 127 },
	} {
		inBubble(t, Config{Access: accounts(t, "ali", "  write site7/#"), Batches: unpacking.Batches}, func(at *site) {
			pub := at.join("pub", codec.V5, as("ali", "sesame"), change)
			pub.send(batchOf(1, 1, message("site8/a", "1", 1, 0), message("site7/a", "2", 1, 0)))
			pub.want(name, &codec.Puback{ID: 1, Code: codec.NotAuthorized})
		})
	}
}

func TestBadBatchIsRefused(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(1, "#")
		for i := range 3 {
			bad := batchOf(byte(i), uint16(i), message("a", "1", 1, 0), message("b", "2", 1, 0))
			bad.Payload = bad.Payload[:len(bad.Payload)-1]
			pub.send(bad)
		}
		reason := []byte(codec.PayloadFormatInvalid.String())
		pub.want("each is refused", &codec.Puback{ID: 1, Code: codec.PayloadFormatInvalid, ReasonString: reason},
			&codec.Pubrec{ID: 2, Code: codec.PayloadFormatInvalid, ReasonString: reason})
		sub.wantIdle("nothing of it comes")
		pub.send(batchOf(1, 3, message("a", "3", 1, 0)))
		sub.want("the next is taken", message("a", "3", 1, 2))
		if n := at.srv.Stats().Dropped.Unreadable; n != 3 {
			t.Errorf("%d batches counted, want 3", n)
		}
	})
}

// What does not fit is refused as a whole, to come again.
func TestBatchWithoutRoom(t *testing.T) {
	onDisk(t, Config{Batches: unpacking.Batches, QueueMaxBytes: 2000}, func(at *site) {
		sub := at.join("sub", codec.V5, keep)
		sub.subscribe(1, "a/#")
		sub.cut()
		pub := at.join("pub", codec.V5)
		var many []*codec.Publish
		for i := range 100 {
			many = append(many, message(fmt.Sprint("a/", i), "0123456789", 1, 0))
		}
		pub.send(batchOf(1, 1, many...))
		full, ok := pub.next().(*codec.Puback)
		if !ok || full.Code != codec.QuotaExceeded {
			t.Errorf("it is answered by %s", show(full))
		}
		pub.send(batchOf(1, 2, message("b", "1", 1, 0)))
		pub.want("others are taken", &codec.Puback{ID: 2, Code: codec.NoMatchingSubscribers})
	})
}
