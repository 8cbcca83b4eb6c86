package gateway

import (
	"strings"
	"testing"

	"sluice/codec"
	"sluice/codec/batch"
	"sluice/codec/sn"
	"sluice/gateway/topic"
)

// The deepest topic there may be, and one of a level more.
var (
	deepest = strings.Repeat("/", topic.MaxLevels-1)
	tooDeep = deepest + "/"
)

var nameInvalid = []byte(codec.TopicNameInvalid.String())

func TestPublishToTooManyLevels(t *testing.T) {
	for _, v := range versions {
		inBubble(t, Config{}, func(at *site) {
			sub, pub := at.join("sub", v), at.join("pub", v)
			sub.subscribe(1, "#")
			pub.send(message(deepest, "1", 1, 1), message(tooDeep, "2", 0, 0))
			pub.want("as many as there may be are taken", &codec.Puback{ID: 1})
			pub.wantIdle("where there is no answer there is none")
			pub.send(message(tooDeep, "3", 1, 2), message(tooDeep, "4", 2, 3))
			dropped := uint64(3)
			if v == codec.V5 {
				pub.want("who can be told is told",
					&codec.Puback{ID: 2, Code: codec.TopicNameInvalid, ReasonString: nameInvalid},
					&codec.Pubrec{ID: 3, Code: codec.TopicNameInvalid, ReasonString: nameInvalid})
				pub.wantIdle("and may go on")
			} else {
				dropped = 2
				pub.wantClosed("what is not taken is not acknowledged")
			}
			sub.want("a subscriber gets", message(deepest, "1", 1, 2))
			sub.wantIdle("no more")
			if n := at.srv.Stats().Dropped.InvalidTopic; n != dropped {
				t.Errorf("%v: %d counted, want %d", v, n, dropped)
			}
		})
	}
}

func TestAliasOfTooManyLevels(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(1, "#")
		set, used := message(tooDeep, "1", 0, 0), message("", "2", 1, 1)
		set.TopicAlias, used.TopicAlias = 1, 1
		pub.send(set, used)
		pub.want("the alias stands for the same topic", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid, ReasonString: nameInvalid})
		set.Topic = []byte("a")
		pub.send(set, used)
		pub.want("and then for another", &codec.Puback{ID: 1})
		sub.want("which comes", message("a", "1", 0, 0), message("a", "2", 1, 2))
	})
}

func TestBatchWithTooManyLevels(t *testing.T) {
	inBubble(t, unpacking, func(at *site) {
		sub, pub := at.join("sub", codec.V5), at.join("pub", codec.V5)
		sub.subscribe(1, "#")
		pub.send(batchOf(1, 1, message("a", "1", 1, 0), message(tooDeep, "2", 1, 0), message("a", "3", 1, 0)))
		pub.want("the second is refused", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid, ReasonString: nameInvalid,
			User: []codec.UserProperty{{Name: []byte(batch.Property), Value: batch.AppendRefused(nil, 1)}}})
		sub.want("the others come", message("a", "1", 1, 2), message("a", "3", 1, 3))
	})
}

// A bridge brings what its upstream has, and goes on.
func TestTooManyLevelsFromInside(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.inside("$bridge/up")
		p.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/up")})
		p.next() // CONNACK
		p.send(message(tooDeep, "1", 0, 0), message(tooDeep, "2", 1, 1))
		p.want("it is told of what has an answer", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid, ReasonString: nameInvalid})
		p.wantIdle("and no more")
	})
}

func TestSubscribeToTooManyLevels(t *testing.T) {
	filters := func(filters ...string) (list []codec.Subscription) {
		for _, f := range filters {
			list = append(list, codec.Subscription{Filter: []byte(f)})
		}
		return list
	}
	for _, v := range versions {
		inBubble(t, Config{}, func(at *site) {
			p := at.join("p", v)
			deep, long := strings.Repeat("+/", topic.MaxLevels)+"#", strings.Repeat("x", maxName+1)
			p.send(&codec.Subscribe{ID: 1, Subscriptions: filters(deepest, "$share/group/"+deepest, tooDeep, "$share/g/"+deep, deep, long)})
			no := codec.TopicFilterInvalid // in 3.1.1 it goes out as 0x80
			p.want("the gateway takes those of few levels", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0, 0, no, no, no, no}})
			p.send(&codec.Unsubscribe{ID: 2, Filters: [][]byte{[]byte(tooDeep), []byte(deepest)}})
			p.want("has no other", &codec.Unsuback{ID: 2, Codes: []codec.ReasonCode{codec.NoSubscriptionExisted, 0}})
			p.wantIdle("and goes on")
		})
	}
}

func TestWillOfTooManyLevels(t *testing.T) {
	for _, v := range versions {
		inBubble(t, Config{}, func(at *site) {
			p := at.dial("p", v)
			c := codec.Connect{Version: v, CleanStart: true, ClientID: []byte("p")}
			withWill(0)(&c)
			c.Will.Topic = []byte(tooDeep)
			p.send(&c)
			if ack, _ := p.next().(*codec.Connack); v == codec.V5 && (ack == nil || ack.Code != codec.TopicNameInvalid) {
				t.Errorf("answered by %s", show(ack))
			}
			p.wantClosed("it is refused")
			c.Will.Topic = []byte(deepest)
			at.join("q", v, func(q *codec.Connect) { q.Will = c.Will })
		})
	}
}

func TestDeviceWithTooManyLevels(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		f := at.field()
		m := f.join("m")
		m.send(&sn.Register{MessageID: 1, Topic: []byte(tooDeep)}, &sn.Register{MessageID: 2, Topic: []byte(deepest)})
		m.want("only what it may publish to has a number", &sn.Regack{MessageID: 1, Code: sn.NotSupported}, &sn.Regack{MessageID: 2, TopicID: 1})
		m.send(&sn.Subscribe{MessageID: 3, Topic: []byte(tooDeep)})
		m.want("it may not subscribe", &sn.Suback{MessageID: 3, Code: sn.NotSupported})
		m.send(&sn.WillTopicUpdate{Topic: []byte(tooDeep)})
		m.want("nor have it in its will", &sn.WillTopicResponse{Code: sn.NotSupported})
		d := f.mote("d")
		d.send(&sn.Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 10, ClientID: []byte("d")}, &sn.WillTopic{Topic: []byte(tooDeep)})
		d.want("from the beginning", &sn.WillTopicRequest{}, &sn.Connack{Code: sn.NotSupported})

		at.srv.mu.Lock() // as it was before there was such a bound
		n, _ := at.srv.sessions["m"].device.ids.Give([]byte(tooDeep))
		at.srv.mu.Unlock()
		m.send(&sn.Publish{MessageID: 4, QoS: 1, TopicID: n, Data: []byte("x")})
		m.want("an old number does not help", &sn.Puback{TopicID: n, MessageID: 4, Code: sn.NotSupported})
	})
}

// What is on disk from before there was a bound stays until somebody takes it away.
func TestTooManyLevelsOnDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		p.subscribe(1, "#")
		p.cut()
		at.srv.mu.Lock()
		at.srv.sessions["p"].subscribe(&codec.Subscription{Filter: []byte(tooDeep)}, 0)
		old := publication{Message: retained(tooDeep, "old", 1, 0).Message, live: true}
		at.srv.forward(&old)
		at.srv.mu.Unlock()
		at.restart()
		if st := at.srv.Stats(); st.Dropped.Damaged != 0 || st.Retained != 1 || st.Subscriptions != 2 {
			t.Errorf("%d damaged, %d retained, %d subscriptions after a restart", st.Dropped.Damaged, st.Retained, st.Subscriptions)
		}
		p = at.join("p", codec.V5, keep)
		p.want("what waited comes", message(tooDeep, "old", 1, 2))
		p.send(&codec.Puback{ID: 2}, &codec.Unsubscribe{ID: 3, Filters: [][]byte{[]byte(tooDeep)}})
		p.want("the subscription ends", &codec.Unsuback{ID: 3, Codes: []codec.ReasonCode{0}})
		late := at.join("late", codec.V5)
		late.subscribe(0, "#")
		late.want("what is retained is there", retained(tooDeep, "old", 0, 0))
	})
}
