package bridge

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// report is what is retained on $SYS/bridge/0/state and losses.
type report struct {
	Connected   bool
	Paused      bool
	PausedBy    string `json:"paused_by"`
	Messages    int    // of losses: lost, of state: waiting
	Bytes       int64
	Error       string
	Hint        string
	Causes      map[string]int
	Topics      map[string]int
	OtherTopics int `json:"other_topics"`
	First, Last time.Time
}

// tells waits until what is retained on a topic is as wanted.
func (s *site) tells(sentence, topic string, wanted func(report) bool) (r report) {
	s.t.Helper()
	watcher := s.device("watcher of " + topic)
	defer watcher.leave()
	watcher.subscribe(0, "$SYS/bridge/0/"+topic)
	for deadline := time.After(patience); ; {
		select {
		case p := <-watcher.came:
			r = report{}
			if err := json.Unmarshal([]byte(p.Payload), &r); err != nil {
				s.t.Fatalf("%s: %v: %s", sentence, err, p.Payload)
			}
			if wanted(r) {
				return r
			}
		case <-deadline:
			s.t.Fatalf("%s: %s tells %+v", sentence, topic, r)
		}
	}
}

// What may wait has a bound, and what is dropped is told.
func TestBacklogIsBounded(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("UP=@bound/# 1", up.name), "QUEUE_MAX_MESSAGES=10", "QUEUE_POLICY=drop-oldest")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, in("@bound/#", up.name))
		s.tells("there is a connection", "state", func(r report) bool { return r.Connected && r.Error == "" })
		began := time.Now()
		s.line.Cut()
		s.tells("there is none", "state", func(r report) bool { return !r.Connected && r.Error != "" })
		for i := range 30 {
			device.publish(wire.Publish{Topic: in(fmt.Sprint("@bound/", i%5), up.name), Payload: fmt.Sprint(i), QoS: 1})
		}
		device.publish(wire.Publish{Topic: in("@bound/zero", up.name), Payload: "zero"})
		r := s.tells("all that is lost", "losses", func(r report) bool { return r.Messages == 21 })
		if r.Causes["queue_full"] != 20 || r.Causes["qos0_away"] != 1 || r.OtherTopics != 0 || r.First.Before(began) || r.Last.After(time.Now()) {
			t.Errorf("losses: %+v", r)
		}
		for i := range 5 {
			if n := r.Topics[in(fmt.Sprint("@bound/", i), up.name)]; n != 4 {
				t.Errorf("losses of topic %d: %d, want 4", i, n)
			}
		}
		path, _ := rig.Build()
		out, err := exec.Command(path, "bridge", "-h", s.Addr).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "0: not connected") || !strings.Contains(string(out), "lost: 21 messages") {
			t.Errorf("sluice bridge: %v\n%s", err, out)
		}
		s.line.Heal()
		for i := 20; i < 30; i++ {
			center.want("the newest arrive, in order", in(fmt.Sprint("@bound/", i%5), up.name), fmt.Sprint(i))
		}
		center.wantNothing("and no other")
		s.tells("nothing waits any more", "state", func(r report) bool { return r.Connected && r.Messages == 0 })
	})
}

func TestBacklogRefusesOrAges(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=refuse/# 1", "QUEUE_MAX_MESSAGES=3", "QUEUE_MAX_AGE=5s", "QUEUE_POLICY=reject")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, "refuse/#")
		s.line.Cut()
		s.tells("there is no connection", "state", func(r report) bool { return !r.Connected })
		offer := func(topic string) byte {
			device.id++
			device.send(wire.Publish{Topic: topic, Payload: "x", QoS: 1, ID: device.id}.Bytes(wire.V5))
			return device.ack(wire.PUBACK).Code()
		}
		for range 3 {
			if code := offer("refuse/1"); code >= 0x80 {
				t.Errorf("refused with %#x while there is room", code)
			}
		}
		if code := offer("refuse/1"); code != 0x97 {
			t.Errorf("answered with %#x, want 0x97", code)
		}
		if code := offer("other/1"); code >= 0x80 {
			t.Errorf("what the bridge does not want is refused with %#x", code)
		}
		r := s.tells("three are too old", "losses", func(r report) bool { return r.Messages == 3 })
		if r.Causes["too_old"] != 3 || r.Topics["refuse/1"] != 3 {
			t.Errorf("losses: %+v", r)
		}
		s.line.Heal()
		for came := false; !came; { // the bridge may come back later than a message is too old
			if code := offer("refuse/2"); code >= 0x80 && code != 0x97 {
				t.Fatalf("answered with %#x although there is room again", code)
			}
			if p := center.next(); p != nil {
				came = p.Topic == "refuse/2"
				if !came {
					t.Fatalf("%s came, which was too old", p.Topic)
				}
			}
		}
		for p := center.next(); p != nil; p = center.next() {
			if p.Topic != "refuse/2" {
				t.Errorf("%s came, which was too old", p.Topic)
			}
		}
	})
}

// What waited goes up by the budget, in order, and then what came later.
func TestBacklogDrainsByBudget(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("UP=@drain/# 1", up.name), "DRAIN_MESSAGES=20")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, in("@drain/#", up.name))
		s.line.Cut()
		s.tells("there is no connection", "state", func(r report) bool { return !r.Connected })
		topic := in("@drain/1", up.name)
		const n = 30
		for i := range n {
			device.publish(wire.Publish{Topic: topic, Payload: fmt.Sprint(i), QoS: 1})
		}
		s.line.Heal()
		center.want("in order", topic, "0")
		began := time.Now()
		device.publish(wire.Publish{Topic: topic, Payload: "live", QoS: 1})
		for i := 1; i < n; i++ {
			center.want("in order", topic, fmt.Sprint(i))
		}
		if took := time.Since(began); took < (n-1)*time.Second/20-200*time.Millisecond {
			t.Errorf("%d messages in %v, at 20 a second", n-1, took)
		}
		center.want("then what came later", topic, "live")
	})
}

// What comes while the backlog goes up is before it if nothing of its topic waits, else behind.
func TestLiveGoesBeforeTheBacklog(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("UP=@live/# 1", up.name), "DRAIN_MESSAGES=20", "LIVE_FIRST=true")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, in("@live/#", up.name))
		s.line.Cut()
		s.tells("there is no connection", "state", func(r report) bool { return !r.Connected })
		log, alarm := in("@live/log", up.name), in("@live/alarm", up.name)
		const n = 100
		for i := range n {
			device.publish(wire.Publish{Topic: log, Payload: fmt.Sprint(i), QoS: 1})
		}
		s.line.Heal()
		s.tells("the backlog goes up", "state", func(r report) bool { return r.Connected })
		began := time.Now()
		device.publish(wire.Publish{Topic: alarm, Payload: "fire", QoS: 1})
		device.publish(wire.Publish{Topic: log, Payload: fmt.Sprint(n), QoS: 1})
		next, alarmed := 0, false
		for next <= n || !alarmed {
			var p *wire.Read
			select {
			case p = <-center.came:
			case <-time.After(patience):
				t.Fatalf("nothing comes after %d, alarmed %v", next-1, alarmed)
			}
			switch {
			case p.Topic == alarm && !alarmed:
				t.Logf("the alarm is there after %v, behind %d of %d that waited", time.Since(began), next, n)
				if next > n*9/10 { // of 5 seconds
					t.Errorf("the alarm is behind %d of %d that waited", next, n)
				}
				alarmed = true
			case p.Topic == log && p.Payload == fmt.Sprint(next):
				next++
			default:
				t.Fatalf("%s %s came, want %d", p.Topic, p.Payload, next)
			}
		}
	})
}

// Who stands beside the gateway keeps a bridge off the line, and lets it on again.
func TestPauseAndDrain(t *testing.T) {
	at(t, all, func(t *testing.T, up *upstream) {
		s := up.startSite(t, in("UP=@pause/# 1", up.name), "DRAIN_MESSAGES=1")
		center, device := s.center("center"), s.device("device")
		center.subscribe(1, in("@pause/#", up.name))
		tell := func(what string) {
			device.publish(wire.Publish{Topic: "$CONTROL/bridge/0", Payload: what, QoS: 1})
		}
		tell("pause")
		s.tells("it is paused", "state", func(r report) bool { return r.Paused && !r.Connected })
		const n = 200
		for i := range n {
			device.publish(wire.Publish{Topic: in("@pause/1", up.name), Payload: fmt.Sprint(i), QoS: 1})
		}
		center.wantNothing("nothing goes up")
		resumed := time.Now()
		tell("resume")
		s.tells("it goes on", "state", func(r report) bool { return !r.Paused && r.Connected })
		center.want("by the budget", in("@pause/1", up.name), "0")
		tell("drain")
		for i := 1; i < n; i++ {
			center.want("all, in order", in("@pause/1", up.name), fmt.Sprint(i))
		}
		if took := time.Since(resumed); took > n*time.Second/2 {
			t.Errorf("drained by the budget, in %v", took)
		}
		device.id++
		device.send(wire.Publish{Topic: "$CONTROL/bridge/1", Payload: "pause", QoS: 1, ID: device.id}.Bytes(wire.V5))
		if code := device.ack(wire.PUBACK).Code(); code != 0x90 {
			t.Errorf("a bridge that is not there answers with %#x", code)
		}
	})
}

// A client's pause is on disk when it is acknowledged, and so is its end; what the settings
// pause no client resumes.
func TestPauseLasts(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=last/# 1")
		for i, what := range []string{"pause", "resume", "pause"} {
			s.device("boss").publish(wire.Publish{Topic: "$CONTROL/bridge/0", Payload: what, QoS: 1})
			before := strings.Count(s.Log.String(), plant.Connected)
			plant.Restart(t, s.Gateway)
			if what == "resume" {
				plant.AwaitLog(t, s.Gateway, before+1, plant.Connected)
			} else {
				plant.AwaitLog(t, s.Gateway, i/2+1, "by=client") // at the start: what is retained may be older
			}
			s.tells(what+" lasts", "state", func(r report) bool { return r.Paused == (what == "pause") && r.Connected != r.Paused })
		}
		s.restart("PAUSED=true")
		s.tells("the settings go first", "state", func(r report) bool { return r.PausedBy == "settings" })
		boss := s.device("boss")
		boss.id++
		boss.send(wire.Publish{Topic: "$CONTROL/bridge/0", Payload: "resume", QoS: 1, ID: boss.id}.Bytes(wire.V5))
		if code := boss.ack(wire.PUBACK).Code(); code != 0x83 {
			t.Errorf("to resume what the settings have paused is answered %#x", code)
		}
		s.restart("PAUSED=false")
		s.tells("the client's pause is still there", "state", func(r report) bool { return r.PausedBy == "client" && !r.Connected })
		s.device("boss").publish(wire.Publish{Topic: "$CONTROL/bridge/0", Payload: "resume", QoS: 1})
		s.tells("it goes on", "state", func(r report) bool { return r.Connected && r.PausedBy == "" })
	})
}

// However much comes while the upstream is away, memory and disk have their bounds.
func TestOutageTakesBoundedMemory(t *testing.T) {
	at(t, []*upstream{mosquitto}, func(t *testing.T, up *upstream) {
		s := up.startSite(t, "UP=flood/# 1", "QUEUE_MAX_BYTES=4MiB", "QUEUE_POLICY=drop-oldest")
		device := s.device("device")
		s.line.Cut()
		s.tells("there is no connection", "state", func(r report) bool { return !r.Connected })
		const n, window = 64 << 10, 256
		payload := strings.Repeat("x", 1000)
		flood := func(from, to int) {
			under := 0
			for i := from; i < to || under > 0; {
				for ; i < to && under < window; i++ {
					device.send(wire.Publish{Topic: "flood/1", Payload: payload, QoS: 1, ID: uint16(i%65535 + 1)}.Bytes(wire.V5))
					under++
				}
				device.accepted(device.ack(wire.PUBACK))
				under--
			}
		}
		flood(0, n/8) // twice what may wait
		before := rss(t, s.PID())
		flood(n/8, n)
		after := rss(t, s.PID())
		t.Logf("resident: %d KiB with the queue full, %d KiB after %d MB more", before, after, n/8*7/1000)
		if after > before+24<<10 {
			t.Errorf("memory grows with the outage: %d KiB, then %d KiB", before, after)
		}
		r := s.tells("what waits", "state", func(r report) bool { return r.Messages > 3000 })
		if r.Bytes > 4<<20 {
			t.Errorf("%d bytes wait, more than 4 MiB", r.Bytes)
		}
		s.tells("what is lost", "losses", func(l report) bool { return l.Messages == n-r.Messages })
	})
}

// rss is the resident memory of a process, in KiB.
func rss(t *testing.T, pid int) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(line, &kib)
	return kib
}
