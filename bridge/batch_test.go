package bridge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

var batching = Config{Up: []Rule{{Filter: "alarms/#", QoS: 2}, {Filter: "sensors/#", QoS: 2, Batch: 10 * time.Second}}, UpPrefix: "site7/"}

// offer is a CONNACK of an upstream that takes batches.
func offer(change ...func(*codec.Connack)) codec.Connack {
	ack := codec.Connack{SessionPresent: true, User: []codec.UserProperty{{Name: []byte(batch.Property), Value: []byte("1")}}}
	for _, c := range change {
		c(&ack)
	}
	return ack
}

// wantBatch wants a publish of these messages, and returns its packet identifier.
func (p *peer) wantBatch(sentence string, d *batch.Dictionary, messages ...*codec.Publish) uint16 {
	p.t.Helper()
	var dec codec.Decoder
	var got []byte
	select {
	case got = <-p.got:
	case <-time.After(time.Hour):
		p.t.Fatalf("%s: no batch", sentence)
	}
	packet, _, err := dec.Next(got, codec.V5, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	b, ok := packet.(*codec.Publish)
	if !ok || string(b.ContentType) != batch.ContentType || string(b.Topic) != "site7/"+BatchTopic {
		p.t.Fatalf("%s: got %s, want a batch", sentence, p.show(got))
	}
	qos := byte(0)
	err = batch.NewUnpacker(dictionaries(d)).Unpack(b.Payload, func(m *codec.Message) {
		if len(messages) == 0 {
			p.t.Fatalf("%s: one more message, %s", sentence, m.Topic)
		}
		if got, want := batch.Append(nil, m), batch.Append(nil, &messages[0].Message); !bytes.Equal(got, want) {
			p.t.Fatalf("%s: %s\nwant %s", sentence, p.show(got), p.show(want))
		}
		qos = max(qos, m.QoS)
		messages = messages[1:]
	})
	if err != nil || len(messages) != 0 || b.QoS != qos {
		p.t.Fatalf("%s: %d messages are missing, QoS %d instead of %d, error %v", sentence, len(messages), b.QoS, qos, err)
	}
	return b.ID
}

func dictionaries(d *batch.Dictionary) []*batch.Dictionary {
	if d == nil {
		return nil
	}
	return []*batch.Dictionary{d}
}

func reading(id uint16, qos byte, payload string) *codec.Publish {
	return publish(id, qos, "sensors/1", payload)
}

// raised is a message as it is there.
func raised(p *codec.Publish) *codec.Publish {
	q := *p
	q.Topic = append([]byte("site7/"), p.Topic...)
	return &q
}

func TestBatch(t *testing.T) {
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		local.send(reading(1, 0, "20"))
		time.Sleep(4 * time.Second)
		local.send(reading(7, 1, "21"))
		alarm := publish(8, 2, "alarms/1", "fire")
		local.send(alarm)
		up.want("what is not batched does not wait", raised(alarm))
		local.send(reading(9, 1, "22"))
		time.Sleep(6*time.Second - time.Millisecond)
		up.wantIdle("the first has not waited for ten seconds")
		time.Sleep(time.Millisecond)
		id := up.wantBatch("now it has", nil, raised(reading(1, 0, "20")), raised(reading(7, 1, "21")), raised(reading(9, 1, "22")))
		if id != 7 {
			t.Errorf("its packet identifier is %d, want that of the first message that has one", id)
		}
		local.wantIdle("nothing is acknowledged yet")
		up.send(&codec.Puback{ID: id})
		local.want("all are", &codec.Puback{ID: 7}, &codec.Puback{ID: 9})

		local.send(reading(0, 0, "23"))
		time.Sleep(10 * time.Second)
		up.wantBatch("one message at QoS 0", nil, raised(reading(0, 0, "23")))
		if got := s.b.Status(); got.Batches != 2 || got.Up != 5 || !got.Connected {
			t.Errorf("status %+v", got)
		}
	})
}

// A batch is sent before its time when it is large, or when what must not pass it comes.
func TestBatchBounds(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(offer(func(a *codec.Connack) { a.ReceiveMaximum = 8 }))
		var four []*codec.Publish
		for id := uint16(1); id <= 4; id++ {
			local.send(reading(id, 1, fmt.Sprint(id)))
			four = append(four, raised(reading(id, 1, fmt.Sprint(id))))
		}
		up.wantBatch("half the window waits", nil, four...)
		up.send(&codec.Puback{ID: 1})
		for id := uint16(1); id <= 4; id++ {
			local.want("it was taken", &codec.Puback{ID: id})
		}
		local.send(reading(5, 1, big), reading(6, 1, big), reading(7, 1, big))
		up.wantBatch("256 KiB", nil, raised(reading(5, 1, big)), raised(reading(6, 1, big)))
		local.send(reading(8, 2, "once"))
		up.wantBatch("what goes by itself does not pass the others", nil, raised(reading(7, 1, big)))
		up.want("QoS 2 is never batched", raised(reading(8, 2, "once")))
		larger := reading(9, 1, strings.Repeat(big, 3))
		local.send(reading(10, 1, "before"), larger)
		up.wantBatch("nor what is larger", nil, raised(reading(10, 1, "before")))
		up.want("goes by itself", raised(larger))
	})
}

func TestBatchFitsUpstream(t *testing.T) {
	play(t, batching, func(t *testing.T, s *scene) {
		const most = 2000
		up, local := s.connect(offer(func(a *codec.Connack) { a.MaximumPacketSize = most }))
		noise := make([]byte, 900)
		for i := range noise {
			noise[i] = byte(i * i >> 3)
		}
		for id := uint16(1); id <= 3; id++ {
			local.send(reading(id, 1, string(noise)))
		}
		up.wantBatch("no more fits", nil, raised(reading(1, 1, string(noise))), raised(reading(2, 1, string(noise))))
		time.Sleep(10 * time.Second)
		up.wantBatch("the rest", nil, raised(reading(3, 1, string(noise))))
	})
}

// Messages are there before they expire, and tell what is left.
func TestBatchCountsExpiryDown(t *testing.T) {
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		expiring := func(id uint16, seconds uint32) *codec.Publish {
			p := reading(id, 1, "21")
			p.HasMessageExpiry, p.MessageExpiry = true, seconds
			return p
		}
		local.send(reading(1, 1, "first"), expiring(2, 100), reading(3, 1, "between"))
		time.Sleep(3 * time.Second)
		local.send(expiring(4, 50))
		time.Sleep(7 * time.Second)
		up.wantBatch("they have waited for 10 and 7 seconds", nil,
			raised(reading(1, 1, "first")), raised(expiring(2, 90)), raised(reading(3, 1, "between")), raised(expiring(4, 43)))
		local.send(expiring(5, 4))
		time.Sleep(2 * time.Second)
		up.wantBatch("half of the expiry is no longer", nil, raised(expiring(5, 2)))
	})
}

// Only who understands batches gets them.
func TestBatchIsNotUnderstood(t *testing.T) {
	one := reading(1, 1, "21")
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(one)
		up.want("the upstream does not say that it takes batches", raised(one))
		if !strings.Contains(s.log.String(), "takes batches") {
			t.Error("the log does not tell")
		}
	})
	unasked := batching
	unasked.BatchUnasked = true
	play(t, unasked, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(one)
		up.wantBatch("it gets them all the same", nil, raised(one))
	})
	play(t, unasked, func(t *testing.T, s *scene) {
		up := s.upstream(codec.V5)
		up.send(&codec.Connack{Code: codec.UnsupportedProtocolVersion, MaximumQoS: 2})
		up = s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{}).send(one)
		up.want("but not one of 3.1.1, which has no content type", raised(one))
	})
}

func TestBatchWithDictionary(t *testing.T) {
	d, err := batch.NewDictionary([]byte("site7/sensors/1 21.5 22.5 23.5"))
	if err != nil {
		t.Fatal(err)
	}
	with := batching
	with.BatchDictionary = d
	for _, has := range []bool{true, false} {
		play(t, with, func(t *testing.T, s *scene) {
			ack := offer()
			known := (*batch.Dictionary)(nil)
			if has {
				known = d
				ack.User[0].Value = []byte(batch.Offer(dictionaries(d)))
			}
			up, local := s.connect(ack)
			local.send(reading(1, 1, "21.5"), reading(2, 1, "22.5"))
			up.wantBatch("packed so that the upstream can read it", known, raised(reading(1, 1, "21.5")), raised(reading(2, 1, "22.5")))
		})
	}
}

// A batch that is refused is not lost: its messages come again, by themselves.
func TestBatchIsRefused(t *testing.T) {
	cfg, lost := batching, 0
	cfg.Lost = func(string, []byte, uint16) { lost++ }
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		local.send(reading(1, 1, "21"), reading(2, 1, "22"))
		id := up.wantBatch("two", nil, raised(reading(1, 1, "21")), raised(reading(2, 1, "22")))
		up.send(&codec.Puback{ID: id, Code: codec.PayloadFormatInvalid})
		local.want("the gateway is told nothing but good-bye", &codec.Disconnect{})
		up.want("as is the upstream", &codec.Disconnect{})
		if n := s.b.Status().Refused; n != 0 || lost != 0 {
			t.Errorf("%d are counted as refused and %d as lost, none of which is", n, lost)
		}
		up, local = s.connect(offer())
		again := reading(1, 1, "21")
		again.Dup = true
		local.send(again)
		up.want("it goes up by itself", raised(again))
		up.send(&codec.Puback{ID: 1, Code: codec.PayloadFormatInvalid})
		local.want("and has an answer of its own", &codec.Puback{ID: 1, Code: codec.PayloadFormatInvalid})
	})
}

// Of a batch that is refused in part the rest is taken. What is refused is lost, each for
// itself.
func TestBatchIsRefusedInPart(t *testing.T) {
	cfg, lost := batching, ""
	cfg.Lost = func(cause string, topic []byte, id uint16) { lost += fmt.Sprint(cause, " ", string(topic), id, ";") }
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		said := func(places string) []codec.UserProperty {
			return []codec.UserProperty{{Name: []byte(batch.Property), Value: []byte(places)}}
		}
		messages := []*codec.Publish{reading(0, 0, "20"), reading(1, 1, "21"), reading(2, 1, "22"), reading(3, 1, "23"), reading(0, 0, "24")}
		for i, m := range messages {
			local.send(m)
			messages[i] = raised(m)
		}
		time.Sleep(10 * time.Second)
		id := up.wantBatch("five", nil, messages...)
		up.send(&codec.Puback{ID: id, Code: codec.NotAuthorized, User: said("0 2")})
		local.want("each has its own answer", &codec.Puback{ID: 1}, &codec.Puback{ID: 2, Code: codec.NotAuthorized}, &codec.Puback{ID: 3})
		if got := s.b.Status(); got.Refused != 2 || !got.Connected || lost != "refused 0;refused 2;" {
			t.Errorf("lost %q, status %+v", lost, got)
		}
		local.send(reading(4, 1, "25"))
		time.Sleep(10 * time.Second)
		id = up.wantBatch("batches go on", nil, raised(reading(4, 1, "25")))
		up.send(&codec.Puback{ID: id, Code: codec.NotAuthorized, User: said("1")})
		local.want("who says what can not be is not believed", &codec.Disconnect{})
	})
}

// What waits when the link ends comes again from the gateway; at QoS 0 it is sent if the
// bridge leaves.
func TestBatchAtTheEnd(t *testing.T) {
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		local.send(reading(1, 1, "21"))
		local.send(reading(2, 1, "22"))
		up.wantIdle("they wait")
		up.conn.Close()
		local.want("the link ends", &codec.Disconnect{})
		up, local = s.connect(offer())
		time.Sleep(20 * time.Second)
		up.wantIdle("nothing is left of the last link")
		local.send(reading(0, 0, "23"))
		up.wantIdle("it waits")
		s.leave()
		up.wantBatch("its last chance", nil, raised(reading(0, 0, "23")))
	})
	play(t, batching, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		alarm := publish(1, 1, "alarms/1", "fire")
		local.send(alarm)
		up.want("goes up", raised(alarm))
		s.b.Finish()
		synctest.Wait()
		local.send(reading(0, 0, "24"))
		up.wantIdle("it waits while what is under way is finished")
		up.send(&codec.Puback{ID: 1})
		up.wantBatch("its last chance", nil, raised(reading(0, 0, "24")))
	})
}

// A message at QoS 2 that a rule lowers is acknowledged as one at QoS 2.
func TestBatchLowersQoS(t *testing.T) {
	cfg := batching
	cfg.Up = []Rule{{Filter: "sensors/1", QoS: 1, Batch: time.Second}, {Filter: "sensors/#", QoS: 2}}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(offer())
		local.send(reading(1, 2, "21"))
		id := up.wantBatch("at the rule's QoS", nil, raised(reading(1, 1, "21")))
		up.send(&codec.Puback{ID: id})
		local.want("the gateway expects PUBREC", &codec.Pubrec{ID: 1})
		local.send(&codec.Pubrel{ID: 1})
		local.want("and PUBCOMP", &codec.Pubcomp{ID: 1})
	})
}

// What a batch has at QoS 0 takes no place in the window, and gives none back.
func TestBatchAndWindow(t *testing.T) {
	l := newLink(newScene(t, batching).b, &upstream{wire: newWire(nil, codec.V5), batches: true, maximumQoS: 2, sessionPresent: true})
	l.local = newWire(nil, codec.V5)
	l.pace = newPace(200, 200)
	l.prepareBatches()
	defer l.batches.timer.Stop()
	for _, p := range []*codec.Publish{publish(1, 1, "alarms/1", "fire"), reading(0, 0, "20"), reading(2, 1, "21"), reading(0, 0, "22")} {
		l.fromGateway(p)
	}
	l.hurry()
	if l.pace.flying != 2 {
		t.Errorf("%d are under way, want 2", l.pace.flying)
	}
	l.fromUpstream(&codec.Puback{ID: 2})
	if l.pace.flying != 1 {
		t.Errorf("%d are under way, want that by itself", l.pace.flying)
	}
	l.fromUpstream(&codec.Puback{ID: 1})
	if l.pace.flying != 0 {
		t.Errorf("%d are under way, want none", l.pace.flying)
	}
}

func TestBatchAllocatesLittle(t *testing.T) {
	l := newLink(newScene(t, batching).b, &upstream{wire: newWire(nil, codec.V5), batches: true, maximumQoS: 2, sessionPresent: true})
	l.local = newWire(nil, codec.V5)
	l.prepareBatches()
	l.pace = newPace(200, 200)
	defer l.batches.timer.Stop()
	const n = 100
	many := func() {
		for id := uint16(1); id <= n; id++ {
			p := *reading(id, 1, "21.5")
			l.fromGateway(&p)
		}
		l.toUp = l.toUp[:0]
		l.fromUpstream(&codec.Puback{ID: 1})
		l.toLocal = l.toLocal[:0]
	}
	many()
	if allocs := testing.AllocsPerRun(20, many) / n; allocs > 4.5 { // of which the test makes 4
		t.Errorf("%v allocations a message", allocs)
	}
}
