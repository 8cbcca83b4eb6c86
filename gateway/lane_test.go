package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/store"
)

// Devices that publish on many topics, a bridge with two lanes that comes and goes, a gateway
// that is restarted and killed, the live lane switched off and on: nothing is lost, each
// topic keeps its order, and what was published at QoS 2 comes once. The upstream never gets
// more than its Receive Maximum, with what it has kept of QoS 2; but where QoS 1 is among it,
// whose acknowledgements a crash may forget.
func TestLanesSoak(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	waited := 0
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			onDisk(t, Config{MaxInflight: 16}, func(at *site) { waited += soakLanes(at, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
	if waited == 0 && !testing.Short() {
		t.Error("nothing ever waited in the live lane")
	}
}

// soakLanes tells how often it saw something wait in the live lane.
func soakLanes(at *site, r *rand.Rand) (waited int) {
	limits := Limits{LiveFirst: true}
	provide := func() {
		at.srv.Provision("up", []codec.Subscription{{Filter: []byte("+/+/+"), QoS: 2}})
		at.srv.Limit("up", limits)
	}
	restart := func(kill bool, all []*machine) {
		if kill {
			at.crash(all)
		} else {
			for _, d := range all {
				d.leave()
			}
			at.restart()
		}
		provide()
	}
	provide()
	up := newMachine(at, "up", codec.V5)
	all := []*machine{up}
	for i := range 3 {
		all = append(all, newMachine(at, fmt.Sprint("pub", i), versions[i]))
	}
	up.connect()
	up.peer.subscribe(2, "+/+/+")
	topics, levels := 1+r.IntN(8), [][]byte{{1}, {2}, {1, 2}}[r.IntN(3)]
	up.counts = len(levels) == 1
	for range 3000 {
		d := all[max(0, r.IntN(6)-2)]
		switch x := r.IntN(100); {
		case x == 0 && r.IntN(3) == 0:
			restart(r.IntN(2) == 0, all)
		case x == 0 && r.IntN(4) == 0:
			limits.LiveFirst = r.IntN(3) > 0
			limits.DrainMessages = r.IntN(3) * 10
			at.srv.Limit("up", limits)
		case x < 3:
			select {
			case at.disk <- struct{}{}: // the disk takes long
			default:
			}
		case x < 6:
			at.letGo()
		case d.peer == nil:
			if x < 20 {
				d.connect()
			}
		case x < 9:
			d.leave()
		case x < 10:
			time.Sleep(3 * time.Second) // windows are stored meanwhile
		case d != up:
			if len(d.flows) < 10 {
				qos := levels[r.IntN(len(levels))]
				d.publishOn(fmt.Sprintf("%s/%d/%d", d.name, r.IntN(topics), qos), qos)
			}
			d.listen()
			d.answer(r.IntN(3))
		case x < 35:
			d.listen()
		case x < 60:
			d.answer(r.IntN(8))
		}
		at.srv.mu.Lock()
		if v := at.srv.sessions["up"].live; v != nil && v.unsent() > 0 {
			waited++
		}
		at.srv.mu.Unlock()
	}
	at.letGo()
	for range 400 { // all come back and end what they began
		for _, d := range all {
			if d.peer == nil {
				d.connect()
			}
			d.listen()
			d.answer(1000)
		}
		time.Sleep(time.Second)
	}
	for _, d := range all {
		if d.fault != "" || len(d.flows) > 0 || d.closed() {
			at.t.Errorf("%s: %s, %d messages without an end, closed %v", d.name, d.fault, len(d.flows), d.closed())
		}
		for topic, sent := range d.next {
			if what := wrong(up.got[topic], sent, strings.HasSuffix(topic, "/2")); what != "" {
				at.t.Errorf("%s: %s", topic, what)
			}
		}
	}
	if n := at.srv.Stats().Dropped; n != (Dropped{}) {
		at.t.Errorf("dropped %+v", n)
	}
	to := at.srv.sessions["up"]
	for l := range to.lanes {
		if !l.empty() {
			at.t.Errorf("%d messages are left, %+v", l.queue.Len(), l.window)
		}
	}
	return waited
}

// lanes makes the session of a bridge that is away, with a live lane.
func (at *site) lanes(l Limits) {
	l.LiveFirst = true
	at.limited(l)
}

// upstream connects the bridge, with a Receive Maximum, and returns it with what it is sent.
func (at *site) upstream(maximum uint16) *peer {
	up := at.inside("$bridge/up")
	up.send(&codec.Connect{Version: codec.V5, ClientID: []byte("$bridge/up"), SessionExpiry: never, ReceiveMaximum: maximum})
	if _, ok := up.next().(*codec.Connack); !ok {
		at.t.Fatal("the bridge is not let in")
	}
	up.send(&codec.Pingreq{})
	time.Sleep(2 * time.Second)
	return up
}

func dup(topic, payload string, qos byte, id uint16) *codec.Publish {
	return again(message(topic, payload, qos, id))
}

func TestLiveGoesFirst(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{DrainMessages: 1})
		pub := at.join("pub", codec.V5)
		for i := range 9 {
			pub.send(message("a/1", fmt.Sprint(i), 1, uint16(i+1)))
		}
		up := at.bridge("$bridge/up")
		first := up.arrived()
		pub.send(message("a/2", "alarm", 1, 20))
		up.want("a topic of which nothing waits goes first", message("a/2", "alarm", 1, liveID+packetID(1)))
		pub.send(message("a/2", "more", 2, 21), message("a/1", "9", 1, 22))
		up.want("and more of it", message("a/2", "more", 2, liveID+packetID(2)))
		time.Sleep(time.Minute)
		up.send(&codec.Puback{ID: liveID + packetID(1)}, &codec.Pubrec{ID: liveID + packetID(2)})
		rest := ""
		for range 20 {
			rest += up.arrived()
			time.Sleep(time.Second)
		}
		if first+rest != "0123456789" {
			t.Errorf("got %s and then %s of the topic that waits", first, rest)
		}
		pub.send(message("a/1", "now", 1, 23))
		up.want("once nothing waits all are live", message("a/1", "now", 1, liveID+packetID(3)))
	})
}

// What is sent again goes in the order in which it went first, and what is new after it.
func TestLanesSendAgainInOrder(t *testing.T) {
	for _, restart := range []bool{false, true} {
		onDisk(t, Config{}, func(at *site) {
			at.lanes(Limits{})
			pub := at.join("pub", codec.V5, keep)
			pub.send(message("a/1", "1", 1, 1), message("a/2", "2", 1, 2))
			up := at.upstream(3)
			pub.send(message("a/3", "3", 1, 3), message("a/3", "4", 1, 4), message("a/1", "5", 1, 5), message("a/4", "6", 1, 6))
			up.wantPayloads("as many as it takes", "1", "2", "3")
			up.cut()
			if restart {
				at.restart()
				at.lanes(Limits{})
				pub = at.join("pub", codec.V5)
			}
			pub.send(message("a/3", "7", 1, 7))
			up = at.upstream(1)
			pub.send(message("a/5", "8", 1, 8))
			for _, want := range []*codec.Publish{
				dup("a/1", "1", 1, packetID(1)), dup("a/2", "2", 1, packetID(2)), dup("a/3", "3", 1, liveID+packetID(1)),
				message("a/3", "4", 1, liveID+packetID(2)), message("a/4", "6", 1, liveID+packetID(3)), message("a/5", "8", 1, liveID+packetID(4)),
				message("a/1", "5", 1, packetID(3)), message("a/3", "7", 1, packetID(4)),
			} {
				up.want("one by one", want)
				if want.ID == packetID(1) {
					up.want("as it asked", &codec.Pingresp{})
				}
				up.send(&codec.Puback{ID: want.ID})
			}
			up.wantIdle("that is all")
		})
	}
}

// An empty backlog begins at its first number again. What comes into it then is behind what
// is in the live lane all the same.
func TestLiveLaneOutlivesTheBacklog(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{})
		pub := at.join("pub", codec.V5)
		pub.send(message("a/1", "1", 1, 1), message("a/1", "2", 1, 1), message("a/1", "3", 1, 1))
		up := at.upstream(9)
		for _, id := range up.wantPayloads("the backlog", "1", "2", "3") {
			up.send(&codec.Puback{ID: id})
		}
		pub.send(message("a/2", "4", 1, 1))
		up.wantPayloads("is live", "4")
		time.Sleep(3 * time.Second)
		at.restart()
		at.lanes(Limits{})
		pub = at.join("pub", codec.V5)
		pub.send(message("a/2", "5", 1, 1))
		at.upstream(9).wantPayloads("in order", "4", "5")
	})
}

// After a crash much of the backlog may have been sent. What is live waits for no more of it
// than the upstream can have.
func TestLiveGoesFirstAfterACrash(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{DrainMessages: 1})
		pub := at.join("pub", codec.V5)
		for i := range 30 {
			pub.send(message("a/1", string(rune('A'+i)), 1, 1))
		}
		up := at.upstream(4)
		pub.send(message("a/2", "1", 1, 1))
		up.wantPayloads("within the budget, and what is live", "A", "B", "C", "1")
		at.crash(nil)
		at.lanes(Limits{DrainMessages: 1})
		pub = at.join("pub", codec.V5)
		up = at.upstream(4)
		ids, got := up.take()
		for range 3 {
			pub.send(message("a/3", "2", 1, 1))
			for _, id := range ids {
				up.send(&codec.Puback{ID: id})
			}
			time.Sleep(time.Second)
			var more []string
			ids, more = up.take()
			got = append(got, more...)
		}
		if n := strings.Index(strings.Join(got, ""), "2"); n < 0 || n > 5 {
			t.Errorf("got %q after a crash", got)
		}
	})
}

// A crash may forget that a message is completed, after which another one was sent. What is
// live goes behind that one too, even if the live lane is opened only then: with what the
// upstream has kept it would be too much for it.
func TestLiveGoesBehindWhatTheUpstreamKept(t *testing.T) {
	for _, late := range []bool{false, true} {
		onDisk(t, Config{}, func(at *site) {
			before := Limits{LiveFirst: !late}
			at.limited(before)
			pub := at.join("pub", codec.V5)
			for i := range 9 {
				pub.send(message("a/1", fmt.Sprint(i+1), 2, uint16(i+1)))
			}
			up := at.upstream(3)
			ids := up.wantPayloads("as many as it takes", "1", "2", "3")
			up.send(&codec.Pubrec{ID: ids[0]}, &codec.Pubrec{ID: ids[1]})
			up.want("two are released", &codec.Pubrel{ID: ids[0]}, &codec.Pubrel{ID: ids[1]})
			up.send(&codec.Pubcomp{ID: ids[0]}, &codec.Pubcomp{ID: ids[1]})
			up.wantPayloads("there is room for others", "4", "5")
			at.crash(nil)
			at.limited(before)
			at.settle() // what is released is on disk
			up = at.upstream(3)
			up.want("it has kept three, but that is not known", &codec.Pubrel{ID: ids[0]}, &codec.Pubrel{ID: ids[1]}, dup("a/1", "3", 2, ids[2]))
			at.lanes(Limits{})
			at.join("pub", codec.V5).send(message("a/2", "live", 2, 1))
			up.want("as it asked", &codec.Pingresp{})
			up.wantIdle("there is no room, as far as is known")
			up.send(&codec.Pubcomp{ID: ids[0]}, &codec.Pubcomp{ID: ids[1]})
			up.want("what it has kept goes first", dup("a/1", "4", 2, packetID(4)), dup("a/1", "5", 2, packetID(5)))
			up.wantIdle("no more than three")
			up.send(&codec.Pubrec{ID: ids[2]}, &codec.Pubcomp{ID: ids[2]})
			up.want("and what it may have kept besides that which is known", &codec.Pubrel{ID: ids[2]}, dup("a/1", "6", 2, packetID(6)))
			up.send(&codec.Pubrec{ID: packetID(4)}, &codec.Pubcomp{ID: packetID(4)})
			up.want("then what is live", &codec.Pubrel{ID: packetID(4)}, message("a/2", "live", 2, liveID+packetID(1)))
		})
	}
}

// A bridge's window begins small again on each connection. When it grows, what is live takes
// no room that the upstream's own count does not have.
func TestLiveWaitsForTheWindowToBeWhatItWas(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{})
		pub := at.join("pub", codec.V5)
		for i := range 6 {
			pub.send(message("a/1", fmt.Sprint(i+1), 2, uint16(i+1)))
		}
		at.upstream(6).wantPayloads("as many as it takes", "1", "2", "3", "4", "5", "6")
		at.crash(nil)
		at.lanes(Limits{})
		up := at.upstream(2)
		pub = at.join("pub", codec.V5)
		for i := range 3 {
			pub.send(message("a/2", fmt.Sprint("live", i+1), 2, uint16(i+1)))
		}
		ids := up.wantPayloads("fewer, for now", "1", "2")
		at.srv.SetReceiveMaximum("$bridge/up", 6)
		up.wantIdle("it has kept six")
		for _, next := range []string{"live1", "live2", "live3", "3", "4", "5", "6"} {
			up.send(&codec.Pubrec{ID: ids[0]})
			up.want("one is released", &codec.Pubrel{ID: ids[0]})
			up.send(&codec.Pubcomp{ID: ids[0]})
			ids = append(ids[1:], up.wantPayloads("one for another", next)...)
		}
		for i := range 5 {
			pub.send(message("a/3", fmt.Sprint("new", i+1), 2, uint16(i+4)))
		}
		up.wantPayloads("all that it has kept was sent again", "new1", "new2", "new3", "new4")
	})
}

// What waits for the disk in the live lane is left the room that it will take, and what is
// behind it since an outage waits too.
func TestLanesWaitForTheDisk(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{})
		pub := at.join("pub", codec.V5)
		hold := func() { // the disk is not done with what is put there
			at.settle()
			at.disk <- struct{}{}
			kept := message("kept", "", 1, 100)
			kept.Retain, kept.Payload = true, []byte(time.Now().String())
			pub.send(kept)
		}
		pub.send(message("a/1", "1", 1, 1))
		up := at.upstream(2)
		up.wantPayloads("what waited", "1")
		hold()
		pub.send(message("a/2", "2", 2, 2), message("a/1", "3", 1, 3))
		up.wantIdle("one waits for the disk, the other for room")
		at.letGo()
		up.wantPayloads("it is on disk", "2")
		up.send(&codec.Puback{ID: packetID(1)}, &codec.Pubrec{ID: liveID + packetID(1)})
		up.wantPayloads("there is room for the other", "3")
		up.send(&codec.Pubcomp{ID: liveID + packetID(1)}, &codec.Puback{ID: packetID(2)})

		hold()
		pub.send(message("a/4", "4", 2, 4))
		up.cut()
		pub.send(message("a/4", "5", 1, 5))
		up = at.upstream(9)
		up.want("as it asked", &codec.Pingresp{})
		up.wantIdle("what came later does not overtake what waits for the disk")
		at.letGo()
		up.wantPayloads("but goes behind it", "4", "5")

		hold()
		pub.send(message("a/6", "6", 2, 6))
		at.limited(Limits{})
		pub.send(message("a/6", "7", 1, 7))
		up.wantIdle("nor does what comes after the live lane is closed")
		at.letGo()
		up.wantPayloads("that goes behind it too", "6", "7")
	})
}

// The bounds are those of both lanes together.
func TestLanesHaveTheBoundsOfOne(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{MaxMessages: 4, MaxAge: time.Hour, Policy: DropOldest})
		pub := at.join("pub", codec.V5)
		pub.send(message("a/1", "1", 1, 1))
		up := at.upstream(1)
		up.wantPayloads("is in flight", "1")
		pub.send(message("a/1", "2", 1, 2), message("a/2", "3", 1, 3), message("a/2", "4", 1, 4), message("a/3", "5", 1, 5))
		if b := at.srv.Backlog("$bridge/up"); b.Messages != 4 || b.Bytes < 100 || b.InFlight != 1 {
			t.Errorf("%+v waits", b)
		}
		at.wantLosses("the backlog's oldest goes first", map[string]uint64{lossFull: 1}, map[string]uint64{"a/1": 1})
		pub.send(message("a/4", "6", 1, 6))
		at.wantLosses("then the live lane's", map[string]uint64{lossFull: 2}, map[string]uint64{"a/1": 1, "a/2": 1})
		if n := at.srv.Provisioned()["$bridge/up"]; n != 4 {
			t.Errorf("%d wait", n)
		}
		time.Sleep(30 * time.Minute)
		if oldest := at.srv.Backlog("$bridge/up").Oldest; oldest < 30*time.Minute || oldest > 31*time.Minute {
			t.Errorf("the oldest has waited for %v", oldest)
		}
		time.Sleep(31 * time.Minute)
		at.wantLosses("all but what is in flight is too old", map[string]uint64{lossFull: 2, lossOld: 3}, map[string]uint64{"a/1": 1, "a/2": 2, "a/3": 1, "a/4": 1})
		up.send(&codec.Puback{ID: packetID(1)})
		up.wantIdle("nothing is left")
	})
}

// A live lane is there only as long as it is wanted, or something is in it.
func TestLiveLaneComesAndGoes(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.limited(Limits{})
		pub := at.join("pub", codec.V5)
		pub.send(message("a/1", "1", 2, 1), message("a/2", "2", 2, 2))
		up := at.upstream(1)
		up.wantPayloads("the oldest", "1")
		at.lanes(Limits{})
		pub.send(message("a/3", "3", 2, 3), message("a/2", "4", 2, 4))
		at.limited(Limits{})
		pub.send(message("a/3", "5", 2, 5), message("a/4", "6", 2, 6))
		at.restart()
		at.limited(Limits{})
		up = at.upstream(1)
		for _, want := range []struct {
			payload string
			id      uint16
		}{{"1", packetID(1)}, {"3", liveID + packetID(1)}, {"2", packetID(2)}, {"4", packetID(3)}, {"5", packetID(4)}, {"6", packetID(5)}} {
			ids := up.wantPayloads("in order", want.payload)
			if ids[0] != want.id {
				t.Fatalf("%s has the identifier %d, want %d", want.payload, ids[0], want.id)
			}
			up.send(&codec.Pubrec{ID: ids[0]})
			up.want("QoS 2", &codec.Pubrel{ID: ids[0]})
			up.send(&codec.Pubcomp{ID: ids[0]})
		}
		at.limited(Limits{})
		if at.srv.sessions["$bridge/up"].live != nil {
			t.Error("an empty live lane is there still")
		}
		at.restart()
		if at.srv.sessions["$bridge/up"].live != nil {
			t.Error("an empty live lane is on disk still")
		}
		at.lanes(Limits{})
		at.restart()
		if at.srv.sessions["$bridge/up"].live == nil {
			t.Error("a new live lane is not on disk")
		}
	})
}

// What is in a live lane is there also if the record is lost that says so.
func TestLiveLaneWithoutAWindow(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.lanes(Limits{})
		pub := at.join("pub", codec.V5)
		up := at.upstream(1)
		pub.send(message("a/1", "1", 1, 1), message("a/2", "2", 1, 2))
		up.wantPayloads("the first", "1")
		up.cut()
		pub.cut()
		at.settle()
		to := at.srv.sessions["$bridge/up"]
		at.srv.db.Delete(to.windowKey(&to.live.lane), store.Now)
		at.restart()
		at.lanes(Limits{})
		up = at.upstream(2)
		up.wantPayloads("both", "1", "2")
	})
}

// Who waits for an upstream waits for what is live too, over a restart.
func TestPublisherWaitsForTheLiveLane(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		provide := func() {
			at.provision("$bridge/up", "alarms/#")
			at.srv.Limit("$bridge/up", Limits{LiveFirst: true})
		}
		provide()
		pub := at.join("pub", codec.V5, keep)
		pub.send(message("alarms/1", "1", 2, 1))
		up := at.upstream(9)
		pub.send(message("alarms/2", "2", 2, 2), message("alarms/3", "3", 1, 3))
		up.wantPayloads("all", "1", "2", "3")
		up.send(&codec.Puback{ID: liveID + packetID(2)})
		pub.want("at QoS 1", &codec.Puback{ID: 3})
		at.restart()
		provide()
		at.wantWaiting("over a restart", "$bridge/up", 2)
		pub = at.join("pub", codec.V5, keep)
		pub.send(dup("alarms/1", "1", 2, 1), dup("alarms/2", "2", 2, 2))
		pub.wantIdle("the same word is waited for")
		up = at.upstream(9)
		ids := up.wantPayloads("in the same order", "1", "2")
		for i, id := range ids {
			up.send(&codec.Pubrec{ID: id})
			up.want("QoS 2", &codec.Pubrel{ID: id})
			up.send(&codec.Pubcomp{ID: id})
			pub.want("is the word", &codec.Pubrec{ID: uint16(i + 1)})
		}
	})
}

// What a table of topics says, against one that forgets nothing.
func TestTopicsAgainstAMap(t *testing.T) {
	for _, names := range []int{10, maxTopics, 2 * maxTopics} {
		r := rand.New(rand.NewPCG(uint64(names), 0))
		table, all := newTopics(), make(map[int]uint64)
		first, missed := uint64(1), 0
		for seq := uint64(1); seq < 400_000; seq++ {
			n := r.IntN(names)
			name := []byte(fmt.Sprint(n))
			if got, want := table.have(name, first), all[n] >= first; got != want {
				if want {
					t.Fatalf("of %d topics, %d has a message at %d, and is said to have none from %d on", names, n, all[n], first)
				}
				missed++
			}
			table.add(name, seq, first)
			all[n] = seq
			if r.IntN(max(1000, 2*names)) == 0 {
				first += uint64(r.IntN(int(seq-first) + 2))
			}
		}
		if missed > 0 && names <= maxTopics {
			t.Errorf("of %d topics, one was taken for there %d times", names, missed)
		}
		if len(table.last) > maxTopics {
			t.Errorf("%d topics are remembered", len(table.last))
		}
	}
}

// After a crash live data waits for what the upstream may have been sent, but not for the
// pace at which the rest of the backlog is drained.
func TestLiveDoesNotWaitForTheBudget(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		onDisk(t, Config{}, func(at *site) {
			at.lanes(Limits{DrainMessages: 1})
			pub := at.join("pub", codec.V5)
			for i := range 30 {
				pub.send(message("a/1", "old;", 1, uint16(i+1)))
			}
			at.upstream(10)
			at.crash(nil)
			at.lanes(Limits{DrainMessages: 1})
			pub = at.join("pub", codec.V5)
			up := at.upstream(10)
			got := up.arrived()
			pub.send(message("a/2", "alarm", qos, 1))
			for range 20 {
				got += up.arrived()
				time.Sleep(time.Second / 10)
			}
			if want := strings.Repeat("old;", 10) + "alarm"; !strings.HasPrefix(got, want) {
				t.Errorf("at QoS %d come %s, want %s first", qos, got, want)
			}
		})
	}
}
