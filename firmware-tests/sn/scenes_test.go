package sn

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// scene is played by a device on every board and link. prefix begins topics and client
// identifiers that are nobody else's; it has six characters.
type scene struct {
	name string
	play func(t *testing.T, g *gateway, start func() *device, prefix string)
}

var scenes = []scene{
	{"publish", publishes},
	{"receive", receives},
	{"common topics", commonTopics},
	{"retained", retained},
	{"will", will},
	{"will update", willUpdate},
	{"will deleted", willDeleted},
	{"leave", leaves},
	{"sleep", sleeps},
	{"oversleep", oversleeps},
	{"session", session},
	{"forgetful", forgetful},
	{"long messages", longMessages},
}

// quick is T_RETRY of devices where nothing is lost, but the machine may be busy.
const quick = time.Second

func TestScenes(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_PREDEFINED=7=plant/pump,8=plant/valve", "SLUICE_SN_ANONYMOUS=true", "SLUICE_SN_RETRY=1s")
	each(t, func(t *testing.T, k kit) {
		for s, scene := range scenes {
			t.Run(scene.name, func(t *testing.T) {
				t.Parallel()
				start := func() *device { return k.start(t, g.addr(k), quick) }
				scene.play(t, g, start, fmt.Sprintf("%d-%03d-", k.number, s))
			})
		}
	})
}

// At each QoS, by a topic it registers.
func publishes(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/#")
	d := start()
	d.refused("gone", "ping") // who is not connected is told so
	d.want("gone")
	d.do("connect", prefix, 1, 60)
	id := d.do("register", prefix+"/a")
	if again := d.do("register", prefix+"/a"); again != id || id == "0" {
		t.Errorf("registered as %s, again as %s", id, again)
	}
	for qos := range 3 {
		d.do("publish", "name", prefix+"/a", qos, 0, fmt.Sprint("at ", qos))
		c.want(fmt.Sprintf("%s/a %d false at %d", prefix, qos, qos))
	}
	d.do("ping")
	d.refused("3", "register", prefix+"/#")
	d.do("disconnect")
}

// By name and by wildcards, at the QoS asked for.
func receives(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t)
	d := start()
	d.do("connect", prefix, 1, 60)
	for qos := range 3 {
		if granted := d.do("subscribe", "name", fmt.Sprint(prefix, "/", qos), qos); granted != fmt.Sprint(qos) {
			t.Errorf("QoS %d subscribed, %s granted", qos, granted)
		}
	}
	d.do("subscribe", "name", prefix+"/+/plus", 2)
	d.do("subscribe", "name", prefix+"/hash/#", 1)
	for _, topic := range []string{"0", "1", "2", "x/plus", "y/plus", "hash", "hash/a/b"} {
		for qos := range byte(3) {
			c.publish(prefix+"/"+topic, qos, false, fmt.Sprint("at ", qos))
			got := min(qos, map[string]byte{"0": 0, "1": 1, "hash": 1, "hash/a/b": 1, "2": 2, "x/plus": 2, "y/plus": 2}[topic])
			d.want(fmt.Sprintf("message %s/%s %d 0 at %d", prefix, topic, got, qos))
		}
	}
	d.do("unsubscribe", "name", prefix+"/hash/#")
	c.publish(prefix+"/hash", 1, false, "not wanted")
	c.publish(prefix+"/0", 1, false, "last")
	d.want("message " + prefix + "/0 0 0 last")
	d.refused("3", "subscribe", "name", prefix+"/#/wrong", 0)
}

// Topics that need no registration, connected and not.
func commonTopics(t *testing.T, g *gateway, start func() *device, prefix string) {
	short := fmt.Sprintf("%c%c", 'a'+prefix[0]-'0', prefix[4])
	c := g.startCentre(t, "plant/pump", short)
	stranger := start()
	mine := func(what string) string { return prefix + what }
	next := func() string { // others play at plant/pump at the same time
		for {
			select {
			case got := <-c.came:
				if strings.Contains(got, mine("")) {
					return got
				}
			case <-time.After(patience):
				t.Fatal("nothing came to the centre")
			}
		}
	}
	for _, topic := range [][2]string{{"predefined", "7"}, {"short", short}} {
		name := map[string]string{"7": "plant/pump"}[topic[1]]
		if name == "" {
			name = short
		}
		stranger.do("publish", topic[0], topic[1], -1, 0, mine("stranger"))
		if got, want := next(), name+" 0 false "+mine("stranger"); got != want {
			t.Fatalf("the centre got %q, want %q", got, want)
		}
		d := start()
		d.do("connect", prefix+topic[0], 1, 60)
		for qos := range 3 {
			d.do("publish", topic[0], topic[1], qos, 0, mine("x"))
			if got, want := next(), fmt.Sprintf("%s %d false %s", name, qos, mine("x")); got != want {
				t.Fatalf("the centre got %q, want %q", got, want)
			}
		}
		d.do("publish", topic[0], topic[1], -1, 0, mine("connected"))
		if got, want := next(), name+" 0 false "+mine("connected"); got != want {
			t.Fatalf("the centre got %q, want %q", got, want)
		}
		if topic[0] == "short" { // the other is everybody's
			d.do("subscribe", topic[0], topic[1], 2)
			c.publish(name, 2, false, mine("back"))
			d.want(fmt.Sprintf("message %s 2 0 %s", short, mine("back")))
			d.do("unsubscribe", topic[0], topic[1])
		}
		d.do("disconnect")
	}
	d := start()
	d.do("connect", prefix+"8", 1, 60)
	d.do("subscribe", "predefined", 8, 1)
	d.do("unsubscribe", "predefined", 8)
	d.refused("2", "publish", "predefined", 99, 1, 0, "x")
	d.refused("2", "subscribe", "predefined", 99, 1)
	d.do("publish", "predefined", 99, 0, 0, "x")
	d.want("refused 2")
	d.refused("3", "publish", "short", "a+", 1, 0, "x")
}

func retained(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t)
	d := start()
	d.do("connect", prefix, 1, 60)
	d.do("register", prefix+"/kept")
	d.do("publish", "name", prefix+"/kept", 1, 1, "state")
	d.do("subscribe", "name", prefix+"/#", 1)
	d.want("message " + prefix + "/kept 1 1 state")
	c.publish(prefix+"/kept", 1, true, "live")
	d.want("message " + prefix + "/kept 1 0 live") // as in MQTT 3.1.1, to who has subscribed before
	d.do("publish", "name", prefix+"/kept", 1, 1, "")
	d.want("message " + prefix + "/kept 1 0 ")
	d.do("unsubscribe", "name", prefix+"/#")
	d.do("subscribe", "name", prefix+"/#", 1)
	c.publish(prefix+"/x", 1, false, "nothing was kept")
	d.want("message " + prefix + "/x 1 0 nothing was kept")
}

// A device that is lost leaves its Will; the next one does not, and one that
// disconnects does not.
func will(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/#")
	d := start()
	d.do("connect", prefix, 1, 1, prefix+"/will", 1, 0, "lost")
	d.kill()
	c.want(prefix + "/will 1 false lost")
	d = start()
	d.do("connect", prefix, 1, 60, prefix+"/will", 1, 0, "not lost")
	d.do("disconnect")
	d.do("connect", prefix, 1, 60)
	d.do("register", prefix+"/a")
	d.do("publish", "name", prefix+"/a", 1, 0, "the first thing since")
	c.want(prefix + "/a 1 false the first thing since")
}

func willUpdate(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/#")
	d := start()
	d.do("connect", prefix, 0, 2, prefix+"/will", 0, 0, "old")
	d.do("willtopic", prefix+"/new", 2, 1)
	d.do("willmessage", "new")
	d.kill()
	c.want(prefix + "/new 2 false new")
	// It is kept for the session's next connection.
	d = start()
	d.do("connect", prefix, 0, 1)
	d.kill()
	c.want(prefix + "/new 2 false new")
	c.publish(prefix+"/new", 1, true, "") // for the next run
	c.want(prefix + "/new 1 false ")
}

func willDeleted(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/#")
	d := start()
	d.do("connect", prefix, 1, 2, prefix+"/will", 1, 0, "lost")
	d.do("willtopic")
	d.kill()
	d = start()
	d.do("connect", prefix+"other", 1, 2, prefix+"/will", 1, 0, "the other is lost")
	d.kill()
	c.want(prefix + "/will 1 false the other is lost") // after the first one
}

// A device that leaves is told so, and then a stranger.
func leaves(t *testing.T, g *gateway, start func() *device, prefix string) {
	d := start()
	d.do("connect", prefix, 1, 60)
	d.do("disconnect")
	d.refused("gone", "register", prefix)
	d.want("gone")
	d.do("disconnect") // is answered all the same
}

// What comes while the device sleeps waits for it, and PINGRESP comes last.
func sleeps(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t)
	d := start()
	d.do("connect", prefix, 1, 60)
	d.do("subscribe", "name", prefix+"/#", 2)
	for round := range 3 {
		if round < 2 { // and once it does not say again that it sleeps
			d.do("sleep", 60)
		}
		d.do("wake", prefix) // nothing waits
		var want []string
		for i := range 20 {
			topic := fmt.Sprintf("%s/%d/%d", prefix, round, i%4)
			c.publish(topic, byte(i%3), false, fmt.Sprint("number ", i))
			want = append(want, fmt.Sprintf("message %s %d 0 number %d", topic, i%3, i))
		}
		d.do("wake", prefix)
		if len(d.came) != len(want) {
			t.Fatalf("round %d: %d of %d came before PINGRESP", round, len(d.came), len(want))
		}
		got := make(map[string]int)
		for range want {
			got[<-d.came]++
		}
		for _, line := range want {
			if got[line] != 1 {
				t.Errorf("round %d: %q came %d times", round, line, got[line])
			}
		}
	}
	d.do("connect", prefix, 0, 60) // awake for good
	c.publish(prefix+"/x", 1, false, "at once")
	d.want("message " + prefix + "/x 1 0 at once")
}

func oversleeps(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/#")
	d := start()
	d.do("connect", prefix, 1, 60, prefix+"/will", 1, 0, "overslept")
	d.do("sleep", 1)
	c.want(prefix + "/will 1 false overslept")
	d.refused("gone", "wake", prefix)
	d.want("gone")
}

// A session outlives the connection, with subscriptions and what waits for it, if it is
// not a clean one.
func session(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t)
	d := start()
	d.do("connect", prefix, 0, 60)
	d.do("subscribe", "name", prefix+"/a", 1)
	d.do("disconnect")
	c.publish(prefix+"/a", 1, false, "kept")
	d.do("connect", prefix, 0, 60)
	d.want("message " + prefix + "/a 1 0 kept")
	d.do("disconnect")
	d.do("connect", prefix, 1, 60)
	d.do("subscribe", "name", prefix+"/b", 1)
	c.publish(prefix+"/a", 1, false, "forgotten")
	c.publish(prefix+"/b", 1, false, "known")
	d.want("message " + prefix + "/b 1 0 known")
}

// A device that has lost its topic ids says so, and is told again.
func forgetful(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t)
	d := start()
	d.do("connect", prefix, 1, 60)
	d.do("subscribe", "name", prefix+"/a", 2)
	for qos := byte(1); qos < 3; qos++ {
		d.do("forget")
		c.publish(prefix+"/a", qos, false, "again")
		d.want(fmt.Sprintf("message %s/a %d 0 again", prefix, qos))
	}
}

// Around 255 bytes the length changes its form.
func longMessages(t *testing.T, g *gateway, start func() *device, prefix string) {
	c := g.startCentre(t, prefix+"/up")
	d := start()
	d.do("connect", prefix, 1, 60)
	d.do("register", prefix+"/up")
	d.do("subscribe", "name", prefix+"/down", 1)
	for _, n := range []int{245, 246, 247, 248, 249, 250, 1000, 1190} {
		data := strings.Repeat("x", n)
		d.do("publish", "name", prefix+"/up", 1, 0, data)
		c.want(prefix + "/up 1 false " + data)
		c.publish(prefix+"/down", 1, false, data)
		d.want("message " + prefix + "/down 1 0 " + data)
	}
	c.publish(prefix+"/down", 1, false, strings.Repeat("x", 1300)) // more than a datagram may have
	c.publish(prefix+"/down", 1, false, "next")
	d.want("message " + prefix + "/down 1 0 next")
}
