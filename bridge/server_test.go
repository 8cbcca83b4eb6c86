package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

func hosts(names ...string) (list []*url.URL) {
	for _, name := range names {
		list = append(list, &url.URL{Scheme: "mqtt", Host: name})
	}
	return list
}

// on is the next connection made, which has to be to host, accepted with ack.
func (s *scene) on(sentence, host string, ack codec.Connack) *peer {
	s.t.Helper()
	up := s.upstream(codec.V5)
	if up.host != host {
		s.t.Fatalf("%s: dialled %s, want %s", sentence, up.host, host)
	}
	ack.MaximumQoS = 2
	up.send(&ack)
	return up
}

func TestFailover(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b", "c"), Failback: time.Minute, KeepAlive: 10 * time.Hour, AckTimeout: 10 * time.Hour}
	play(t, cfg, func(t *testing.T, s *scene) {
		began := time.Now()
		s.leaves("a", "b")
		up := s.on("the first two are away", "c", codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		if took := time.Since(began); took != 0 {
			t.Errorf("reached after %v, want at once", took)
		}
		synctest.Wait()
		if server := s.b.Status().Server; server != "mqtt://c" {
			t.Errorf("Status().Server = %q", server)
		}

		// While something is under way the bridge stays a little.
		local.send(publish(1, 2, "sensors/1", "x"), publish(2, 1, "sensors/1", "y"))
		up.want("go up", publish(1, 2, "sensors/1", "x"), publish(2, 1, "sensors/1", "y"))
		s.leaves("a")
		look := s.dialled(codec.V5)
		if look.host != "b" {
			t.Fatalf("looked at %s", look.host)
		}
		c := s.b.connectPacket(codec.V5)
		c.ClientID, c.CleanStart, c.SessionExpiry = []byte("site7-look"), true, 0
		look.want("a look is another client", c)
		look.send(&codec.Connack{MaximumQoS: 2})
		look.want("that goes at once", &codec.Disconnect{})
		synctest.Wait()
		local.send(publish(3, 1, "sensors/1", "z"))
		up.wantIdle("nothing new is begun")
		up.send(&codec.Puback{ID: 2}, &codec.Pubrec{ID: 1})
		local.want("what is under way is finished", &codec.Puback{ID: 2}, &codec.Pubrec{ID: 1})
		local.send(&codec.Pubrel{ID: 1})
		up.want("to the end", &codec.Pubrel{ID: 1})
		up.send(&codec.Pubcomp{ID: 1})
		local.want("to the end", &codec.Pubcomp{ID: 1})
		up.want("then the bridge goes", &codec.Disconnect{})

		up = s.on("goes back to the first that is well", "b", codec.Connack{})
		local = s.local(100, &codec.Connack{})
		local.send(publish(3, 1, "sensors/1", "z"))
		up.want("and what came meanwhile goes up", publish(3, 1, "sensors/1", "z"))
		up.send(&codec.Puback{ID: 3})
		local.want("once", &codec.Puback{ID: 3})

		// A server that does not take clients is not well.
		s.leaves()
		look = s.dialled(codec.V5)
		if look.host != "a" {
			t.Fatalf("looked at %s", look.host)
		}
		look.send(&codec.Connack{Code: codec.ServerBusy, MaximumQoS: 2})
		<-look.got
		looked := time.Now()
		look = s.dialled(codec.V5)
		if took := time.Since(looked); took != time.Minute {
			t.Errorf("looked again after %v, want a minute", took)
		}
		look.send(&codec.Connack{Code: codec.NotAuthorized, MaximumQoS: 2}) // this other client
		s.on("goes back to the first", "a", codec.Connack{})
		s.local(100, &codec.Connack{})
		time.Sleep(time.Hour)
		if len(s.upstreams) != 0 {
			t.Error("looks on although there is no earlier one")
		}
	})
}

// A server that seems to be well and is not is gone back to less and less often.
func TestFailbackInVain(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), Failback: time.Minute, KeepAlive: 10 * time.Hour}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.leaves("a")
		s.on("the first is away", "b", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		s.leaves()
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
			began := time.Now()
			look := s.dialled(codec.V5)
			if took := time.Since(began); took < want*time.Minute || took > want*time.Minute+time.Second {
				t.Errorf("looked after %v, want %d minutes", took, want)
			}
			look.send(&codec.Connack{MaximumQoS: 2})
			up := s.upstream(codec.V5)
			up.send(&codec.Connack{Code: codec.ServerBusy, MaximumQoS: 2})
			s.on("refused", "b", codec.Connack{SessionPresent: true})
			s.local(100, &codec.Connack{})
		}
	})
}

// The session of a server that the bridge comes back to, after one that shares none
// with it, holds identifiers that now belong to other messages.
func TestSessionBehind(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), Failback: -1}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the first", "a", codec.Connack{})
		local := s.local(100, &codec.Connack{})
		local.send(publish(7, 2, "sensors/1", "old"), publish(8, 2, "sensors/1", "done"))
		up.want("go up", publish(7, 2, "sensors/1", "old"), publish(8, 2, "sensors/1", "done"))
		up.send(&codec.Pubrec{ID: 8})
		local.want("half", &codec.Pubrec{ID: 8})
		local.send(&codec.Pubrel{ID: 8})
		up.want("half", &codec.Pubrel{ID: 8})
		up.send(&codec.Pubcomp{ID: 8})
		local.want("whole", &codec.Pubcomp{ID: 8})

		s.leaves("a")
		up.conn.Close()
		up = s.on("another", "b", codec.Connack{})
		local = s.local(100, &codec.Connack{})
		again := publish(7, 2, "sensors/1", "old")
		again.Dup = true
		local.send(again)
		up.want("to a server that does not share the session it is new", publish(7, 2, "sensors/1", "old"))
		up.send(&codec.Pubrec{ID: 7})
		local.want("", &codec.Pubrec{ID: 7})
		local.send(&codec.Pubrel{ID: 7})
		up.want("", &codec.Pubrel{ID: 7})
		up.send(&codec.Pubcomp{ID: 7})
		local.want("", &codec.Pubcomp{ID: 7})

		s.leaves("b")
		up.conn.Close()
		for range 2 { // the first time the answer is lost
			up = s.on("back", "a", codec.Connack{SessionPresent: true})
			s.local(100, &codec.Connack{})
			up.want("the session is behind: what it may hold is released", &codec.Pubrel{ID: 7})
			up.conn.Close()
		}
		up = s.on("back", "a", codec.Connack{SessionPresent: true})
		local = s.local(100, &codec.Connack{})
		up.want("and again until that is answered", &codec.Pubrel{ID: 7})
		local.send(publish(7, 2, "sensors/1", "new"))
		up.want("the identifier is of another message now", publish(7, 2, "sensors/1", "new"))
		up.send(&codec.Pubcomp{ID: 7, Code: codec.PacketIdentifierNotFound}, &codec.Pubrec{ID: 7})
		local.want("of the release the gateway hears nothing", &codec.Pubrec{ID: 7})
		local.send(&codec.Pubrel{ID: 7})
		up.want("", &codec.Pubrel{ID: 7})
		up.conn.Close()
		up = s.on("the session goes on", "a", codec.Connack{SessionPresent: true})
		local = s.local(100, &codec.Connack{})
		local.send(&codec.Pubrel{ID: 7})
		up.want("and nothing is released without need", &codec.Pubrel{ID: 7})
	})
}

func TestSharedSession(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), Failback: -1}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		for range 2 {
			for _, host := range []string{"b", "a"} {
				local := s.local(100, &codec.Connack{})
				again := publish(7, 2, "sensors/1", "x")
				again.Dup = true
				local.send(again)
				up.want("the session goes on: it comes again", again)
				s.leaves(map[string]string{"a": "b", "b": "a"}[host])
				up.conn.Close()
				up = s.on("the other node of a cluster", host, codec.Connack{SessionPresent: true})
			}
		}
		s.local(100, &codec.Connack{})
	})
}

// Nodes that share a session may give its identifiers anew, as those of nats-server do.
func TestSharedSessionWithOtherIdentifiers(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), Failback: -1, Down: []Rule{{Filter: "cmd/#", QoS: 2}}}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		up.send(publish(5, 2, "cmd/1", "one"), publish(6, 2, "cmd/1", "two"))
		local.want("come down", publish(5, 2, "cmd/1", "one"), publish(6, 2, "cmd/1", "two"))
		local.send(&codec.Pubrec{ID: 5}, &codec.Pubrec{ID: 6})
		up.want("and are on disk", &codec.Pubrec{ID: 5}, &codec.Pubrec{ID: 6})
		s.leaves("a")
		up.conn.Close()
		up = s.on("another node", "b", codec.Connack{SessionPresent: true})
		local = s.local(100, &codec.Connack{})
		again := publish(6, 2, "cmd/1", "two")
		again.Dup = true
		up.send(publish(5, 2, "cmd/1", "three"), again)
		local.want("one is over, for another has its identifier; two comes again",
			&codec.Pubrel{ID: 5}, publish(5, 2, "cmd/1", "three"), again)
	})
}

// Where a session goes on at several nodes, each of them is behind once another server has
// begun a new one.
func TestSharedSessionBehind(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Others: hosts("b", "c"), Failback: -1, File: filepath.Join(t.TempDir(), "bridge.json")}
	moved := func(s *scene, from *peer, sentence, to string, present bool, away ...string) (up, local *peer) {
		s.leaves(away...)
		from.conn.Close()
		up = s.on(sentence, to, codec.Connack{SessionPresent: present})
		return up, s.local(100, &codec.Connack{})
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.servers["mqtt://a"].unreleased.known = true
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		local.send(publish(7, 2, "sensors/1", "old"))
		up.want("goes up", publish(7, 2, "sensors/1", "old"))
		up, local = moved(s, up, "another node of the cluster", "b", true, "a")
		local.send(publish(8, 2, "sensors/1", "old"))
		up.want("goes up", publish(8, 2, "sensors/1", "old"))
		up, _ = moved(s, up, "a server by itself", "c", false, "a", "b")
		up, local = moved(s, up, "back", "a", true, "c")
		up.want("what the cluster may hold is released", &codec.Pubrel{ID: 7}, &codec.Pubrel{ID: 8})
		local.send(publish(8, 2, "sensors/1", "new"))
		up.want("and the identifier is of another message", publish(8, 2, "sensors/1", "new"))
		up.send(&codec.Pubcomp{ID: 7}, &codec.Pubcomp{ID: 8}, &codec.Pubrec{ID: 8})
		local.want("", &codec.Pubrec{ID: 8})
		up, local = moved(s, up, "the other node", "b", true, "a", "c")
		again := publish(8, 2, "sensors/1", "new")
		again.Dup = true
		local.send(again)
		up.want("has the same session: it goes on", again)
		moved(s, up, "a server by itself", "c", false, "a", "b")
	})
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the next process", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		up.want("knows that as well: all is released", &codec.Pubrel{ID: 1})
	})
}

func TestLineageOutlivesTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bridge.json")
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), Failback: -1, File: file}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		s.leaves("a")
		up.conn.Close()
		s.on("another", "b", codec.Connack{})
		s.local(100, &codec.Connack{})
	})
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		for id := uint16(1); id != 0; id++ {
			up.want("nobody knows what it holds: all is released", &codec.Pubrel{ID: id})
		}
	})
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("a damaged file is none", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		up.wantIdle("nothing is known")
		if log := s.log.String(); !strings.Contains(log, file) {
			t.Errorf("the log does not say so: %s", log)
		}
	})
}

// A file that can not be written holds nothing up, and is written as soon as it can be.
func TestLineageIsWrittenLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	cfg := Config{URL: hosts("a")[0], Others: hosts("b"), File: filepath.Join(dir, "bridge.json")}
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the first", "a", codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		local.send(publish(1, 1, "sensors/1", "21"))
		up.want("goes up", publish(1, 1, "sensors/1", "21"))
		if log := s.log.String(); !strings.Contains(log, "is not written down") {
			t.Errorf("the log does not tell: %s", log)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeAgain)
		synctest.Wait()
		if text, err := os.ReadFile(cfg.File); err != nil || !strings.Contains(string(text), "mqtt://a") {
			t.Errorf("written: %q, %v", text, err)
		}
	})
}

// What stands behind the question mark of a WebSocket's URL may be a secret.
func TestQueryIsNotTold(t *testing.T) {
	u := &url.URL{Scheme: "wss", Host: "a", Path: "/mqtt", RawQuery: "token=secret"}
	play(t, Config{URL: u, Others: hosts("b")}, func(t *testing.T, s *scene) {
		s.leaves("a", "b")
		time.Sleep(time.Minute)
		s.leaves()
		up := s.on("connects", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{})
		synctest.Wait()
		if told := fmt.Sprint(s.b.Status()) + s.log.String(); strings.Contains(told, "secret") || !strings.Contains(told, "wss://a/mqtt?xxxxx") {
			t.Errorf("told: %s", told)
		}
		up.wantIdle("the end")
	})
}

func TestSilenceOutlivesTheProcess(t *testing.T) {
	cfg := Config{AutoKeepAlive: true, File: filepath.Join(t.TempDir(), "bridge.json")}
	synctest.Test(t, func(t *testing.T) {
		idle(t, cfg, &nat{remembers: 30 * time.Minute}, codec.Connack{SessionPresent: true, MaximumQoS: 2}, func(*Bridge) { time.Sleep(48 * time.Hour) })
	})
	play(t, cfg, func(t *testing.T, s *scene) {
		up, _ := s.connect(codec.Connack{SessionPresent: true})
		began := time.Now()
		up.want("what was found out holds", &codec.Pingreq{})
		if took := time.Since(began); took < 15*time.Minute || took > 30*time.Minute {
			t.Errorf("PINGREQ after %v", took)
		}
	})
}

func allowed(t *testing.T, text string) (h Hosts) {
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRedirect(t *testing.T) {
	ack := func(code codec.ReasonCode, to string) codec.Connack {
		return codec.Connack{Code: code, ServerReference: []byte(to)}
	}
	cfg := Config{URL: hosts("a")[0], Redirect: allowed(t, "*.example.com, 10.0.0.0/8,::1")}
	play(t, cfg, func(t *testing.T, s *scene) {
		began := time.Now()
		s.on("home", "a", ack(codec.UseAnotherServer, "evil.example.org b.example.com:1884"))
		up := s.on("the first that is allowed", "b.example.com:1884", codec.Connack{})
		s.local(100, &codec.Connack{})
		if took := time.Since(began); took != 0 {
			t.Errorf("sent on after %v, want at once", took)
		}
		time.Sleep(time.Minute / 2)
		up.conn.Close()
		up = s.on("for a time only: next is home", "a", codec.Connack{})
		s.local(100, &codec.Connack{})
		time.Sleep(time.Minute / 2)
		began = time.Now()
		up.send(&codec.Disconnect{Code: codec.UseAnotherServer, ServerReference: []byte("[::1]")})
		up = s.on("sent on while connected", "[::1]", codec.Connack{})
		s.local(100, &codec.Connack{})
		if took := time.Since(began); took != 0 {
			t.Errorf("sent on after %v, want at once", took)
		}
		up.send(&codec.Disconnect{Code: codec.ServerMoved, ServerReference: []byte("10.1.2.3")})
		up = s.on("for good", "10.1.2.3", codec.Connack{})
		s.local(100, &codec.Connack{})
		time.Sleep(time.Minute / 2)
		up.conn.Close()
		s.on("of home that is not so", "a", ack(codec.ServerMoved, "c.example.com"))
		up = s.on("now it is", "c.example.com", codec.Connack{})
		for range 2 {
			s.local(100, &codec.Connack{})
			up.conn.Close()
			up = s.on("it is remembered", "c.example.com", codec.Connack{})
		}
		s.local(100, &codec.Connack{})
		s.leaves("c.example.com")
		up.conn.Close()
		s.on("out of reach: the one in the settings", "a", ack(codec.ServerMoved, "d.example.com"))
		s.on("has moved further", "d.example.com", codec.Connack{})
		s.local(100, &codec.Connack{})
	})
	play(t, cfg, func(t *testing.T, s *scene) { // in circles
		for _, host := range []string{"a", "b.example.com", "c.example.com", "b.example.com"} {
			to := "b.example.com"
			if host == to {
				to = "c.example.com"
			}
			s.on("sent on", host, ack(codec.UseAnotherServer, to))
		}
		began := time.Now()
		s.on("not for ever: back to the one in the settings", "a", codec.Connack{})
		if took := time.Since(began); took < minWait {
			t.Errorf("tried again after %v", took)
		}
		s.local(100, &codec.Connack{})
	})
	for name, reference := range map[string]string{
		"not allowed": "example.com", "an address that is not": "11.0.0.1", "itself": "mqtt://a", "empty": " ",
		"rubbish": "b.example.com:port b.example.com/x me@b.example.com :1883 [::1 " + strings.Repeat("b.example.com.", 100),
		"scheme":  "ftp://b.example.com",
	} {
		t.Run(name, func(t *testing.T) {
			play(t, cfg, func(t *testing.T, s *scene) {
				began := time.Now()
				s.on("home", "a", ack(codec.UseAnotherServer, reference))
				s.on("stays", "a", codec.Connack{})
				s.local(100, &codec.Connack{})
				if took := time.Since(began); took < maxWait/2 {
					t.Errorf("tried again after %v, want at leisure", took)
				}
			})
		})
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.on("home", "a", ack(codec.UseAnotherServer, strings.Repeat("x ", 32000)))
		s.on("stays", "a", codec.Connack{})
		s.local(100, &codec.Connack{})
		if size := len(s.log.String()); size > 10000 {
			t.Errorf("a long reference makes a log of %d bytes", size)
		}
	})
	secureHome := cfg
	secureHome.URL = &url.URL{Scheme: "mqtts", Host: "a"}
	play(t, secureHome, func(t *testing.T, s *scene) {
		s.on("home", "a", ack(codec.UseAnotherServer, "tcp://b.example.com mqtt://b.example.com ws://b.example.com wss://c.example.com"))
		s.on("not without TLS", "c.example.com", codec.Connack{})
		s.local(100, &codec.Connack{})
	})
}

// What the upstream acknowledges in its last words does not go up again.
func TestLastWordsCount(t *testing.T) {
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "a", ""))
		up.want("goes up", publish(1, 1, "a", ""))
		up.send(&codec.Puback{ID: 1}, &codec.Disconnect{Code: codec.UseAnotherServer})
		local.want("is acknowledged", &codec.Puback{ID: 1})
		local.want("before the end", &codec.Disconnect{})
	})
}

func TestRedirectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScene(t, Config{Redirect: allowed(t, "*.example.com")}).b
		for i := range 2 * maxServers {
			b.hops = maxHops
			next := b.redirect(b.home[0], &refusal{code: codec.UseAnotherServer, server: fmt.Sprintf("%d.example.com", i), hops: maxHops})
			if (next != nil) != (i < maxServers-1) {
				t.Fatalf("after %d servers: %v", i, next)
			}
		}
	})
}

// A bridge that is told to end while it changes servers ends.
func TestReachEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newScene(t, Config{URL: hosts("a")[0], Others: hosts("b")}).b
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if up, err := b.reach(ctx); up != nil || err == nil {
			t.Errorf("reach returns %v, %v", up, err)
		}
	})
}

func TestAlternateServer(t *testing.T) {
	cfg := Config{URL: hosts("a")[0], Extensions: MarkedFlag, Redirect: allowed(t, "b,c")}
	play(t, cfg, func(t *testing.T, s *scene) {
		for _, host := range []string{"a", "b:1884", "c"} {
			u := hosts(host)[0]
			s.b.server(u).version = version{old: true, since: time.Now()}
		}
		alternate := func(url string, hops byte) []byte {
			b := append([]byte{0x20, byte(6 + len(url)), 0, 6, 0, byte(len(url))}, url...)
			return append(b, 0, hops)
		}
		next := func(host string, hops uint16) *peer {
			t.Helper()
			up := s.dialled(codec.V311)
			if up.host != host {
				t.Fatalf("dialled %s, want %s", up.host, host)
			}
			up.want("asks, with what it still takes", &codec.Connect{Version: codec.V311, KeepAlive: 60, ClientID: []byte("site7"), HasHops: true, Hops: hops})
			return up
		}
		next("a", 3).conn.Write(alternate("tcp://b:1884", 1))
		next("b:1884", 1).conn.Write(alternate("tcp://c", 0))
		next("c", 0).conn.Write(alternate("tcp://b:1884", 0)) // against the rules
		next("a", 3).conn.Write([]byte{0x20, 2, 1, 0})
		s.local(100, &codec.Connack{})
	})
}

// TestLedgerOfTwo breaks connections to two servers that share nothing, at random.
// Nothing is lost, whatever identifiers they still hold.
func TestLedgerOfTwo(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) { testLedgerOfTwo(t, seed) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func testLedgerOfTwo(t *testing.T, seed uint64) {
	const n = 60
	dice := &dice{r: rand.New(rand.NewPCG(seed, 2)), cutOf: 20, most: 60}
	gateway := newSide(codec.V5, 5, dice)
	gateway.subscribed, gateway.lost = true, false
	both := map[string]*side{}
	for i, host := range []string{"a", "b"} {
		both[host] = newSide(codec.V5, 5, dice)
		for j := range n / 2 {
			both[host].queue = append(both[host].queue, *publish(0, byte(2-j%2), "cmd/1", fmt.Sprint(i*n/2+j)))
		}
	}
	for i := range n {
		gateway.queue = append(gateway.queue, *publish(0, byte(2-i%2), "sensors/1", fmt.Sprint(i)))
	}
	last, moves := "", 0
	var gone atomic.Bool
	relay(t, Config{URL: hosts("a")[0], Others: hosts("b"), Failback: time.Minute}, gateway, func(u *url.URL) *side {
		if u.Host == "a" && (gone.Load() || dice.odds(2)) {
			return nil
		}
		if u.Host != last {
			last = u.Host
			moves++
		}
		return both[u.Host]
	}, func() {
		time.Sleep(24 * time.Hour)
		gone.Store(true) // what is left with b comes down when the bridge is there
		both["a"].mu.Lock()
		both["a"].conn.Close()
		both["a"].mu.Unlock()
		time.Sleep(time.Hour)
	})

	arrived := func(way string, ledgers ...[]string) {
		all := slices.Concat(ledgers...)
		for i := range n {
			if !slices.Contains(all, fmt.Sprint(i)) {
				t.Errorf("%s: message %d is lost", way, i)
			}
		}
	}
	arrived("up", both["a"].ledger, both["b"].ledger)
	arrived("down", gateway.ledger)
	if moves < 4 {
		t.Errorf("%d moves", moves)
	}
}

// Who leaves a server, perhaps for good, finishes there what it has begun.
func TestFinish(t *testing.T) {
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 2, "a", ""), publish(2, 1, "b", ""))
		up.want("both go up", publish(1, 2, "a", ""), publish(2, 1, "b", ""))
		s.b.Finish()
		synctest.Wait()
		up.send(&codec.Pubrec{ID: 1}, &codec.Puback{ID: 2})
		local.want("the steps go on", &codec.Pubrec{ID: 1}, &codec.Puback{ID: 2})
		local.send(publish(3, 1, "c", ""), &codec.Pubrel{ID: 1})
		up.want("nothing new is begun", &codec.Pubrel{ID: 1})
		up.wantIdle("and the bridge waits for the last step")
		up.send(&codec.Pubcomp{ID: 1})
		local.want("which it passes on", &codec.Pubcomp{ID: 1}, &codec.Disconnect{})
		up.want("before it goes", &codec.Disconnect{})
		time.Sleep(time.Hour)
		s.b.Finish()
	})
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 2, "a", ""))
		up.want("goes up", publish(1, 2, "a", ""))
		up.conn.Close()
		up, local = s.connect(codec.Connack{SessionPresent: true})
		again := publish(1, 2, "a", "")
		again.Dup = true
		local.send(again)
		up.want("comes again", again)
		up.send(&codec.Pubrec{ID: 1})
		local.want("half", &codec.Pubrec{ID: 1})
		local.send(&codec.Pubrel{ID: 1})
		up.want("half", &codec.Pubrel{ID: 1})
		up.send(&codec.Pubcomp{ID: 1})
		local.want("whole", &codec.Pubcomp{ID: 1})
		start := time.Now()
		s.b.Finish()
		up.want("what began on an earlier link is finished as well", &codec.Disconnect{})
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("waited %v", waited)
		}
	})
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 1}}}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "a", ""))
		up.want("goes up", publish(1, 1, "a", ""))
		up.send(&codec.Puback{ID: 1}, &codec.Puback{ID: 1})
		local.want("is acknowledged twice", &codec.Puback{ID: 1}, &codec.Puback{ID: 1})
		local.send(publish(2, 1, "b", ""))
		up.want("goes up", publish(2, 1, "b", ""))
		s.b.Finish()
		up.wantIdle("what was answered twice does not stand for another")
		up.send(&codec.Puback{ID: 2})
		local.want("which is waited for", &codec.Puback{ID: 2}, &codec.Disconnect{})
		up.want("before the bridge goes", &codec.Disconnect{})
	})
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 2, "a", ""))
		up.want("goes up", publish(1, 2, "a", ""))
		start := time.Now()
		s.b.Finish()
		up.want("who does not answer is not waited for long", &codec.Disconnect{})
		if waited := time.Since(start); waited > 6*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

// Another URL is another server, also where there is one at a time; and under another
// client identifier a server may have a session of long ago.
func TestMovesAreRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bridge.json")
	at := func(host, clientID string, present bool, released string) {
		t.Helper()
		cfg := Config{URL: hosts(host)[0], ClientID: clientID, File: file, Up: []Rule{{Filter: "#", QoS: 2}}}
		play(t, cfg, func(t *testing.T, s *scene) {
			up := s.on("connects", host, codec.Connack{SessionPresent: present})
			s.local(100, &codec.Connack{SessionPresent: true})
			if released == "" {
				up.wantIdle("no identifier is released")
				return
			}
			for id := uint16(1); id != 0; id++ {
				up.want(released, &codec.Pubrel{ID: id})
			}
		})
	}
	at("a", "x", false, "")
	at("a", "x", true, "")
	at("b", "x", false, "")
	at("a", "x", true, "the session there is behind")
	at("a", "y", false, "")
	at("a", "x", true, "and so is that of an earlier client identifier")
}
