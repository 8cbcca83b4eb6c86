package bridge

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
)

func retained(p *codec.Publish) *codec.Publish {
	p.Retain = true
	return p
}

func TestRenames(t *testing.T) {
	cfg := Config{
		Up:   mustRules(t, "sensors/+/temp 1 -> site7/$1/t retain=off", "sensors/debug/# 0", "sensors/# retain=on", "raw/# -> $1"),
		Down: mustRules(t, "site7/+/cmd/# -> at/$1/cmd/$2 retain=off", "news 1 retain=on"), UpPrefix: "p/",
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(retained(publish(1, 1, "sensors/3/temp", "a")), publish(2, 2, "sensors/4/temp", "b"), publish(3, 1, "sensors/debug/x", "c"),
			publish(4, 2, "sensors/debug/x", "d"), publish(5, 2, "sensors/hum", "e"), publish(6, 1, "raw", "f"), publish(7, 1, "gone", "g"))
		up.want("the first rule that matches names them, and says how",
			publish(1, 1, "site7/3/t", "a"), publish(2, 1, "site7/4/t", "b"), publish(0, 0, "p/sensors/debug/x", "c"),
			publish(0, 0, "p/sensors/debug/x", "d"), retained(publish(5, 2, "p/sensors/hum", "e")), publish(7, 1, "p/gone", "g"))
		local.want("what went without an acknowledgement is answered here, and what has no name",
			&codec.Puback{ID: 3}, &codec.Pubrec{ID: 4}, &codec.Puback{ID: 6, Code: codec.TopicNameInvalid})
		up.send(&codec.Puback{ID: 2}, &codec.Pubrec{ID: 5})
		local.want("each in its own steps", &codec.Pubrec{ID: 2}, &codec.Pubrec{ID: 5})
		local.send(&codec.Pubrel{ID: 2}, &codec.Pubrel{ID: 4}, &codec.Pubrel{ID: 5})
		local.want("the last step of what went at less has no counterpart", &codec.Pubcomp{ID: 2}, &codec.Pubcomp{ID: 4})
		up.want("that of the other has", &codec.Pubrel{ID: 5})
		local.send(publish(2, 2, "sensors/hum", "h"))
		up.want("the identifier is used again", retained(publish(2, 2, "p/sensors/hum", "h")))
		up.send(&codec.Pubrec{ID: 2})
		local.want("as ever", &codec.Pubrec{ID: 2})
		local.send(&codec.Pubrel{ID: 2})
		up.want("as ever", &codec.Pubrel{ID: 2})

		up.send(retained(publish(1, 2, "site7/3/cmd/open/now", "a")), retained(publish(2, 1, "site7/3/cmd", "b")), publish(0, 0, "news", "c"))
		local.want("down as well", publish(1, 2, "at/3/cmd/open/now", "a"), publish(2, 1, "at/3/cmd", "b"), retained(publish(0, 0, "news", "c")))
		if st := s.b.Status(); st.Unnamed != 1 || st.Lowered != 0 {
			t.Errorf("Status() = %+v, want one without a name, and none lowered by the upstream", st)
		}
	})
}

// A response topic is renamed so that the response comes back to it.
func TestResponseTopics(t *testing.T) {
	request := func(topic, response string) *codec.Publish {
		p := publish(1, 1, topic, "?")
		p.ResponseTopic, p.CorrelationData = []byte(response), []byte{7}
		return p
	}
	cfg := Config{
		Up:   mustRules(t, "ask/# -> site7/ask/$1", "answers/# -> site7/answers/$1", "plain/#"),
		Down: mustRules(t, "site7/+/for/+ -> in/$2/$1", "all/#"), UpPrefix: "p/", DownPrefix: "cloud/",
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		for response, there := range map[string]string{
			"in/dev1/reply": "site7/reply/for/dev1",
			"cloud/all/1":   "all/1",
			"elsewhere/1":   "elsewhere/1",
		} {
			local.send(request("ask/x", response))
			up.want("a response published there comes down here", request("site7/ask/x", there))
		}
		for response, here := range map[string]string{
			"site7/answers/1/2": "answers/1/2",
			"p/plain/x":         "plain/x",
			"plain/x":           "plain/x",
		} {
			up.send(request("all/x", response))
			local.want("a response published here goes up there", request("cloud/all/x", here))
		}
		if st := s.b.Status(); st.Unanswerable != 2 {
			t.Errorf("Status() = %+v, want 2 that have no way back", st)
		}
	})
}

func TestHops(t *testing.T) {
	message := func(id uint16, qos byte, topic string, hops ...string) *codec.Publish {
		p := publish(id, qos, topic, "x")
		p.User = append(p.User, codec.UserProperty{Name: []byte("unit"), Value: []byte("C")})
		for _, n := range hops {
			p.User = append(p.User, codec.UserProperty{Name: []byte("sluice-hops"), Value: []byte(n)})
		}
		return p
	}
	cfg := Config{Up: mustRules(t, "s/#"), Down: mustRules(t, "c/#"), MaxHops: 3}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(message(1, 1, "s"), message(2, 1, "s", "2"), message(3, 1, "s", "3"), message(4, 2, "s", "1", "200"), message(5, 1, "s", "1", "many"))
		up.want("counted, up to the bound", message(1, 1, "s", "1"), message(2, 1, "s", "3"), message(5, 1, "s", "2"))
		local.want("what has passed too many is done with",
			&codec.Puback{ID: 3, Code: codec.ImplementationSpecificError}, &codec.Pubrec{ID: 4, Code: codec.ImplementationSpecificError})
		up.send(message(1, 1, "c"), message(2, 1, "c", "3"), message(0, 0, "c", "2"))
		local.want("down as well", message(1, 1, "c", "1"), message(0, 0, "c", "3"))
		up.want("so that it ends", &codec.Puback{ID: 2, Code: codec.ImplementationSpecificError})
		if st := s.b.Status(); st.Circled != 3 {
			t.Errorf("Status() = %+v, want 3 that went in circles", st)
		}
	})
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		s.b.home[0].version = version{old: true, since: time.Now()}
		up := s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		local.send(message(1, 1, "s", "3"), message(2, 1, "s", "2"))
		up.want("an old upstream can not be told, but the bound holds", publish(2, 1, "s", "x"))
		local.want("and is told", &codec.Puback{ID: 1, Code: codec.ImplementationSpecificError})
		up.send(publish(1, 1, "c", "x"))
		counted := publish(1, 1, "c", "x")
		counted.User = message(1, 1, "c", "1").User[1:]
		local.want("what comes from it is counted from here", counted)
	})
}

// An upstream of MQTT 3.1.1 sends back what went up if a filter of Down matches it.
func TestEchoIsNotTaken(t *testing.T) {
	cfg := Config{Up: mustRules(t, "s/#", "other/#"), Down: mustRules(t, "site/s/+ -> in/$1"), UpPrefix: "site/"}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		s.b.home[0].version = version{old: true, since: time.Now()}
		old := func(ack codec.Connack) (up, local *peer) {
			up = s.upstream(codec.V311)
			up.send(&ack)
			return up, s.local(100, &codec.Connack{})
		}
		up, local := old(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "s/1", "a"), publish(2, 2, "s/2", "b"), publish(0, 0, "s/3", "c"))
		up.want("three go up", publish(1, 1, "site/s/1", "a"), publish(2, 2, "site/s/2", "b"), publish(0, 0, "site/s/3", "c"))
		up.send(publish(1, 1, "site/s/1", "a"), publish(2, 2, "site/s/2", "b"), publish(0, 0, "site/s/3", "c"), publish(3, 1, "site/s/1", "another's"))
		local.want("of what comes down, only what did not go up", publish(3, 1, "in/1", "another's"))
		up.want("the rest is done with", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
		up.send(&codec.Pubrel{ID: 2})
		up.want("to the end", &codec.Pubcomp{ID: 2})
		up.send(publish(4, 1, "site/s/1", "a"))
		local.want("the same once more is not ours", publish(4, 1, "in/1", "a"))

		local.send(publish(1, 1, "s/1", "d"), publish(2, 1, "s/1", "e"))
		up.want("two more", publish(1, 1, "site/s/1", "d"), publish(2, 1, "site/s/1", "e"))
		up.conn.Close()
		up, _ = old(codec.Connack{SessionPresent: true})
		up.send(publish(1, 1, "site/s/1", "d"))
		up.want("remembered over a reconnect", &codec.Puback{ID: 1})
		up.conn.Close()
		up, local = old(codec.Connack{})
		<-up.got // SUBSCRIBE
		up.send(publish(1, 1, "site/s/1", "e"))
		local.want("but nothing comes back to a new session", publish(1, 1, "in/1", "e"))
		if st := s.b.Status(); st.Echoed != 4 {
			t.Errorf("Status() = %+v, want 4 echoes", st)
		}
	})
	// What is retained of it a server of MQTT 5 gives back as well.
	cfg.MaxHops = 4
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		counted := func(topic, value string) *codec.Publish {
			p := retained(publish(1, 1, topic, "a"))
			p.User = []codec.UserProperty{{Name: []byte("sluice-hops"), Value: []byte(value)}}
			return p
		}
		mark := string(s.b.mark)
		local.send(retained(publish(1, 1, "s/1", "a")))
		up.want("goes up with the bridge's mark", counted("site/s/1", "1 "+mark))
		up.send(counted("site/s/1", "1 "+mark))
		up.want("and is known", &codec.Puback{ID: 1})
		up.send(counted("site/s/1", "1 01234567"))
		local.want("another's is not", counted("in/1", "2"))
		local.send(counted("s/1", "2 "+mark))
		up.want("a mark is of one bridge only", counted("site/s/1", "3 "+mark))
	})
	cfg.MaxHops = 0
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "s/1", "a"))
		up.want("goes up", publish(1, 1, "site/s/1", "a"))
		up.send(publish(1, 1, "site/s/1", "a"))
		local.want("MQTT 5 has No Local, so this is another's", publish(1, 1, "in/1", "a"))
	})
}

// What is retained in the gateway goes up once for each session of the upstream.
func TestSynchronises(t *testing.T) {
	cfg := Config{Up: mustRules(t, "a/#", "b/# retain=off", "c/# 1")}
	sub := func(filter string, qos, handling byte) codec.Subscription {
		return codec.Subscription{Filter: []byte(filter), QoS: qos, NoLocal: true, RetainAsPublished: true, RetainHandling: handling}
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.wantAsked("of a process the first: what is new to the gateway's session", sub("a/#", 2, 1), sub("c/#", 1, 1))
		up.conn.Close()
		up, local = s.connect(codec.Connack{SessionPresent: true})
		local.wantAsked("once")
		up.conn.Close()
		s.upstream(codec.V5).send(&codec.Connack{MaximumQoS: 2})
		local = newPeer(t, "gateway that hangs up", <-s.locals, codec.V5)
		<-local.got // CONNECT
		local.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
		local.want("for a new session all", &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{sub("a/#", 2, 0)}})
		local.conn.Close()
		up, local = s.connect(codec.Connack{SessionPresent: true})
		local.wantAsked("once more, as the gateway was not through", sub("a/#", 2, 0), sub("c/#", 1, 0))
		up.conn.Close()
		_, local = s.connect(codec.Connack{SessionPresent: true})
		local.wantAsked("once")
	})
}

func TestPause(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "sensors/1", "a"))
		up.want("goes up", publish(1, 1, "sensors/1", "a"))
		s.b.Pause("test")
		up.want("the upstream is left in order", &codec.Disconnect{})
		local.want("and so is the gateway", &codec.Disconnect{})
		time.Sleep(time.Hour)
		if len(s.upstreams) != 0 || !s.b.Status().Paused || s.b.Status().Connected {
			t.Errorf("%d connections while paused: %+v", len(s.upstreams), s.b.Status())
		}
		began := time.Now()
		s.b.Resume()
		s.connect(codec.Connack{SessionPresent: true})
		if took := time.Since(began); took > 0 {
			t.Errorf("resumed after %v", took)
		}
		s.b.Pause("test")
		s.b.Resume()
		s.connect(codec.Connack{SessionPresent: true})

		s.unreachable(true)
		s.b.Pause("test")
		s.b.Resume()
		time.Sleep(time.Hour)
		s.unreachable(false)
		began = time.Now()
		s.b.Resume()
		s.connect(codec.Connack{SessionPresent: true})
		if took := time.Since(began); took > 0 {
			t.Errorf("a wait for the next attempt goes on for %v", took)
		}
		s.b.Pause("test")
	})
}

// What can not go up is told with its cause, its topic as far as that is known, and its identifier.
func TestLossesAreTold(t *testing.T) {
	var mu sync.Mutex
	told := ""
	cfg := Config{Up: mustRules(t, "raw/# -> $1", "#"), MaxHops: 1, Lost: func(cause string, topic []byte, id uint16) {
		mu.Lock()
		defer mu.Unlock()
		told += fmt.Sprint(cause, " ", string(topic), id, ";")
	}}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true, MaximumPacketSize: 100})
		far := publish(2, 1, "b", "")
		far.User = []codec.UserProperty{{Name: []byte("sluice-hops"), Value: []byte("1")}}
		local.send(publish(1, 1, "raw", ""), far, publish(3, 1, "c", strings.Repeat("x", 100)), publish(4, 1, "d", ""))
		<-up.got
		up.send(&codec.Puback{ID: 4, Code: codec.NotAuthorized})
		local.want("all are done with", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid}, &codec.Puback{ID: 2, Code: codec.ImplementationSpecificError},
			&codec.Puback{ID: 3, Code: codec.ImplementationSpecificError}, &codec.Puback{ID: 4, Code: codec.NotAuthorized})
		mu.Lock()
		defer mu.Unlock()
		if told != "unnamed raw1;circled b2;too_large c3;refused 4;" {
			t.Errorf("told %q", told)
		}
	})
}
