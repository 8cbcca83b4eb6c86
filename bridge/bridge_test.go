package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

func TestUp(t *testing.T) {
	play(t, Config{UpPrefix: "site7/"}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true, MaximumPacketSize: 1<<32 - 1})
		local.send(publish(0, 0, "sensors/1", "a"), publish(7, 1, "sensors/2", "b"), publish(8, 2, "sensors/3", "c"))
		up.want("messages go up in order, with the prefix, under their identifiers",
			publish(0, 0, "site7/sensors/1", "a"), publish(7, 1, "site7/sensors/2", "b"), publish(8, 2, "site7/sensors/3", "c"))
		local.wantIdle("the bridge does not acknowledge by itself")

		up.send(&codec.Puback{ID: 7, Code: codec.NoMatchingSubscribers}, &codec.Pubrec{ID: 8})
		local.want("acknowledgements come back", &codec.Puback{ID: 7, Code: codec.NoMatchingSubscribers}, &codec.Pubrec{ID: 8})
		local.send(&codec.Pubrel{ID: 8})
		up.want("the release goes up", &codec.Pubrel{ID: 8})
		up.send(&codec.Pubcomp{ID: 8})
		local.want("and is answered", &codec.Pubcomp{ID: 8})

		st := s.b.Status()
		if !st.Connected || st.Up != 3 || st.Version != codec.V5 || st.Connects != 1 {
			t.Errorf("Status() = %+v after three messages", st)
		}
	})
}

func TestDown(t *testing.T) {
	cfg := Config{Down: []Rule{{Filter: "cmd/#", QoS: 2}, {Filter: "$share/g/jobs/+", QoS: 1}}, DownPrefix: "cloud/"}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{})
		up.want("the upstream has no session: subscribe", &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{
			{Filter: []byte("cmd/#"), QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 1},
			{Filter: []byte("$share/g/jobs/+"), QoS: 1, RetainAsPublished: true, RetainHandling: 1},
		}})
		up.send(publish(0, 0, "cmd/1", "a"), publish(7, 1, "cmd/2", "b"), publish(8, 2, "cmd/3", "c"),
			&codec.Suback{ID: 65535, Codes: []codec.ReasonCode{2, codec.SharedSubscriptionsNotSupported}})
		local.want("messages come down in order, with the prefix, under their identifiers",
			publish(0, 0, "cloud/cmd/1", "a"), publish(7, 1, "cloud/cmd/2", "b"), publish(8, 2, "cloud/cmd/3", "c"))
		up.wantIdle("the bridge does not acknowledge by itself")
		if log := s.log.String(); !strings.Contains(log, "$share/g/jobs/+") {
			t.Errorf("the refused subscription is not logged: %s", log)
		}

		local.send(&codec.Puback{ID: 7}, &codec.Pubrec{ID: 8})
		up.want("acknowledgements go back", &codec.Puback{ID: 7}, &codec.Pubrec{ID: 8})
		up.send(&codec.Pubrel{ID: 8})
		local.want("the release comes down", &codec.Pubrel{ID: 8})
		local.send(&codec.Pubcomp{ID: 8})
		up.want("and is answered", &codec.Pubcomp{ID: 8})

		up.conn.Close()
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.wantIdle("an upstream that has kept its session is not asked again")
	})
}

func TestPropertiesAreRelayed(t *testing.T) {
	message := func(topic string) *codec.Publish {
		p := publish(9, 1, topic, "x")
		p.HasPayloadFormat, p.PayloadFormat = true, 1
		p.HasMessageExpiry, p.MessageExpiry = true, 17
		p.ContentType, p.ResponseTopic, p.CorrelationData = []byte("text"), []byte("answers/1"), []byte{1, 2}
		p.User = []codec.UserProperty{{Name: []byte("a"), Value: []byte("1")}, {Name: []byte("a"), Value: []byte("2")}}
		p.Retain, p.Dup = true, true
		return p
	}
	play(t, Config{Up: []Rule{{Filter: "s/#", QoS: 1}}, Down: []Rule{{Filter: "c/#", QoS: 1}}, UpPrefix: "u/", DownPrefix: "d/"}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(message("s/1"))
		up.want("up, all properties are carried", message("u/s/1"))
		down := message("c/1")
		down.SubscriptionIDs = []uint32{5}
		up.send(down)
		local.want("down as well, but for the subscription identifier, which is of one hop", message("d/c/1"))
	})
	play(t, Config{UpPrefix: "u/"}, func(t *testing.T, s *scene) {
		s.b.home[0].version = version{old: true, since: time.Now()}
		up := s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{})
		local.send(message("s/1"))
		p := publish(9, 1, "u/s/1", "x")
		p.Retain, p.Dup = true, true
		up.want("to an old upstream go none", p)
	})
}

func TestFallsBack(t *testing.T) {
	for name, refuse := range map[string]func(*peer){
		"reason 0x84":       func(p *peer) { p.send(&codec.Connack{Code: codec.UnsupportedProtocolVersion, MaximumQoS: 2}) },
		"return code 1":     func(p *peer) { p.conn.Write([]byte{0x20, 2, 0, 1}) },
		"accepts as 3.1.1":  func(p *peer) { p.conn.Write([]byte{0x20, 2, 0, 0}) },
		"hangs up":          func(*peer) {},
		"return code, late": func(p *peer) { time.Sleep(9 * time.Second); p.conn.Write([]byte{0x20, 2, 0, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{}, func(t *testing.T, s *scene) {
				old := func() (up, local *peer) {
					t.Helper()
					up = s.upstream(codec.V311)
					up.send(&codec.Connack{SessionPresent: true})
					return up, s.local(100, &codec.Connack{})
				}
				up := s.upstream(codec.V5)
				began := time.Now()
				refuse(up)
				up.conn.Close()
				up, _ = old()
				if waited := time.Since(began); waited > 9*time.Second {
					t.Errorf("asked for 3.1.1 after %v, want at once", waited)
				}
				synctest.Wait()
				if v := s.b.Status().Version; v != codec.V311 {
					t.Errorf("Status().Version = %v", v)
				}
				up.conn.Close()
				up, _ = old() // remembered

				s.unreachable(true)
				up.conn.Close()
				time.Sleep(30 * time.Minute)
				s.unreachable(false)
				up, _ = old() // still, after failures to connect
				s.unreachable(true)
				up.conn.Close()
				time.Sleep(31 * time.Minute)
				s.unreachable(false)
				up = s.upstream(codec.V5) // an hour later, asked for 5 again
				up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
				s.local(100, &codec.Connack{})
				up.conn.Close()
				s.connect(codec.Connack{SessionPresent: true})
			})
		})
	}
}

func TestAnswersNeither(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		for range 3 {
			up := s.upstream(codec.V5)
			up.conn.Close()
			up = s.upstream(codec.V311)
			up.conn.Close()
		}
		up := s.upstream(codec.V5)
		began := time.Now()
		up.wantClosed("a CONNECT that is not answered")
		if waited := time.Since(began); waited != patience {
			t.Errorf("waited %v for a CONNACK, want %v", waited, patience)
		}
		up = s.upstream(codec.V5) // silence is no sign of an old server
		up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
		s.local(100, &codec.Connack{})
	})
}

// An attempt that fails slowly is not a connection that was good for a while.
func TestSilenceIsAskedLessOften(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		longest, hungUp := time.Duration(0), time.Now()
		for range 100 {
			up := s.upstream(codec.V5)
			longest = max(longest, time.Since(hungUp))
			up.wantClosed("a CONNECT that is not answered")
			hungUp = time.Now()
		}
		if longest < 10*time.Second {
			t.Errorf("of 100 waits the longest is %v", longest)
		}
	})
}

func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		code codec.ReasonCode
		wait time.Duration // at least
		log  string
	}{
		{codec.BadUserNameOrPassword, 30 * time.Second, "check the bridge's user name and password"},
		{codec.ClientIdentifierNotValid, 30 * time.Second, "choose another"},
		{codec.ServerMoved, 30 * time.Second, "elsewhere.example.com"},
		{codec.ServerBusy, 500 * time.Millisecond, "server busy"},
	} {
		t.Run(test.code.String(), func(t *testing.T) {
			play(t, Config{}, func(t *testing.T, s *scene) {
				up := s.upstream(codec.V5)
				ack := codec.Connack{Code: test.code, MaximumQoS: 2}
				if test.code == codec.ServerMoved {
					ack.ServerReference = []byte("elsewhere.example.com")
				}
				refused := time.Now()
				up.send(&ack)
				s.upstream(codec.V5)
				if waited := time.Since(refused); waited < test.wait || waited > time.Minute {
					t.Errorf("tried again after %v, want %v to a minute", waited, test.wait)
				}
				if !strings.Contains(s.log.String(), test.log) {
					t.Errorf("log does not say %q: %s", test.log, s.log)
				}
				var r *refusal
				if err := s.b.Status().Err; !errors.As(err, &r) || r.code != test.code {
					t.Errorf("Status().Err = %v", err)
				}
			})
		})
	}
}

func TestGatewayIsConnectedLast(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		s.unreachable(true)
		s.start()
		time.Sleep(10 * time.Minute)
		if len(s.locals) != 0 {
			t.Error("connected to the gateway with the upstream out of reach")
		}
		s.unreachable(false)
		up := s.upstream(codec.V5)
		synctest.Wait()
		if len(s.locals) != 0 {
			t.Error("connected to the gateway before the upstream accepted")
		}
		up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2, ReceiveMaximum: 5})
		local := s.local(5, &codec.Connack{})
		up.conn.Close()
		local.want("the gateway is left when the upstream is gone", &codec.Disconnect{})
		local.wantClosed("and closed")
	})
}

func TestKeepAlive(t *testing.T) {
	for _, test := range []struct {
		name   string
		ack    codec.Connack
		period time.Duration
	}{
		{"own", codec.Connack{}, 60 * time.Second},
		{"server's", codec.Connack{HasServerKeepAlive: true, ServerKeepAlive: 20}, 20 * time.Second},
		{"server wants none", codec.Connack{HasServerKeepAlive: true}, 60 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			play(t, Config{}, func(t *testing.T, s *scene) {
				test.ack.SessionPresent = true
				up, local := s.connect(test.ack)
				for range 3 {
					began := time.Now()
					up.want("an idle bridge asks", &codec.Pingreq{})
					if took := time.Since(began); took != test.period*3/4 {
						t.Fatalf("PINGREQ after %v, want three quarters of %v", took, test.period)
					}
					up.send(&codec.Pingresp{})
				}
				// Messages up are proof enough towards the server, but prove nothing to us.
				began := time.Now()
				for range 3 {
					time.Sleep(test.period / 5)
					local.send(publish(0, 0, "sensors/1", ""))
					up.want("a message", publish(0, 0, "sensors/1", ""))
				}
				up.want("nothing came for a while: ask", &codec.Pingreq{})
				if took := time.Since(began); took != test.period*3/4 {
					t.Errorf("PINGREQ after %v of silence, want three quarters of %v", took, test.period)
				}
				up.want("take leave of a dead line", &codec.Disconnect{})
				want, why := test.period*3/2, errSilent
				if unanswered := test.period*3/4 + 30*time.Second; unanswered < want {
					want, why = unanswered, errNoAck
				}
				if took := time.Since(began); took != want {
					t.Errorf("gave up after %v of silence, want %v", took, want)
				}
				up.wantClosed("dead")
				synctest.Wait()
				if err := s.b.Status().Err; !errors.Is(err, why) {
					t.Errorf("Status().Err = %v, want %v", err, why)
				}
			})
		})
	}
}

func TestMissingPingresp(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 0}}}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, _ := s.connect(codec.Connack{SessionPresent: true})
		began := time.Now()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-time.After(time.Second):
					up.conn.Write(publish(0, 0, "a", "").Append(nil, codec.V5))
				case <-stop:
					return
				}
			}
		}()
		up.want("asks although messages come", &codec.Pingreq{})
		up.want("gives up", &codec.Disconnect{})
		if took := time.Since(began); took != 135*time.Second {
			t.Errorf("gave up after %v, want 45 s and one and a half minutes", took)
		}
		close(stop)
		up.wantClosed("dead")
		synctest.Wait()
		if err := s.b.Status().Err; !errors.Is(err, errNoPong) {
			t.Errorf("Status().Err = %v", err)
		}
	})
}

func TestQuotaExceededIsTriedAgain(t *testing.T) {
	for _, answer := range []codec.Packet{
		&codec.Puback{ID: 1, Code: codec.QuotaExceeded},
		&codec.Pubrec{ID: 1, Code: codec.QuotaExceeded},
	} {
		qos := byte(1)
		if answer.Type() == codec.TypePubrec {
			qos = 2
		}
		play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
			up, local := s.connect(codec.Connack{})
			local.send(publish(1, qos, "a", ""))
			up.want("goes up", publish(1, qos, "a", ""))
			up.send(answer)
			local.want("nothing is acknowledged", &codec.Disconnect{})
			local.wantClosed("the message stays with the gateway")
			synctest.Wait()
			if err := s.b.Status().Err; !errors.Is(err, errUpstreamFull) {
				t.Errorf("Status().Err = %v", err)
			}
		})
		play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
			up, local := s.connect(codec.Connack{})
			up.send(publish(1, qos, "cmd", ""))
			local.want("comes down", publish(1, qos, "cmd", ""))
			local.send(answer)
			up.want("nothing is acknowledged", &codec.Disconnect{})
			up.wantClosed("the message stays with the upstream")
			synctest.Wait()
			if err := s.b.Status().Err; !errors.Is(err, errGatewayFull) {
				t.Errorf("Status().Err = %v", err)
			}
		})
	}
}

func TestMaximumQoS(t *testing.T) {
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}, Down: []Rule{{Filter: "cmd", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connectQoS(codec.Connack{SessionPresent: true, MaximumQoS: 1})
		up.want("subscribes at what there is", &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{
			{Filter: []byte("cmd"), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1},
		}})
		local.send(publish(1, 1, "a", ""), publish(2, 2, "b", ""), publish(3, 2, "c", ""))
		up.want("QoS 2 goes as 1", publish(1, 1, "a", ""), publish(2, 1, "b", ""), publish(3, 1, "c", ""))
		up.send(&codec.Puback{ID: 1}, &codec.Puback{ID: 2}, &codec.Puback{ID: 3, Code: codec.NotAuthorized})
		local.want("each in its own steps", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2}, &codec.Pubrec{ID: 3, Code: codec.NotAuthorized})
		local.send(&codec.Pubrel{ID: 2})
		local.want("the last step has no counterpart", &codec.Pubcomp{ID: 2})
		up.wantIdle("and does not go up")

		local.send(publish(2, 1, "d", ""))
		up.want("the identifier is free", publish(2, 1, "d", ""))
		up.send(&codec.Puback{ID: 2})
		local.want("for QoS 1 as well", &codec.Puback{ID: 2})
		if st := s.b.Status(); st.Lowered != 2 || st.Refused != 1 {
			t.Errorf("Status() = %+v, want 2 lowered and 1 refused", st)
		}
	})
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		up, local := s.connectQoS(codec.Connack{SessionPresent: true, MaximumQoS: 0})
		local.send(publish(1, 1, "a", ""), publish(2, 2, "b", ""))
		up.want("all goes as QoS 0", publish(0, 0, "a", ""), publish(0, 0, "b", ""))
		local.want("answered here", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
		local.send(&codec.Pubrel{ID: 2})
		local.want("to the end", &codec.Pubcomp{ID: 2})
	})
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2, EndToEnd: true}}}, func(t *testing.T, s *scene) {
		up, local := s.connectQoS(codec.Connack{SessionPresent: true, MaximumQoS: 0})
		local.send(publish(1, 1, "a", ""), publish(2, 2, "b", ""), publish(0, 0, "c", ""))
		local.want("who waits for an acknowledgement that there will not be is told", &codec.Puback{ID: 1, Code: codec.ImplementationSpecificError}, &codec.Pubrec{ID: 2, Code: codec.ImplementationSpecificError})
		up.want("and the message does not go up; others do", publish(0, 0, "c", ""))
	})
}

func TestWhatUpstreamCannotTake(t *testing.T) {
	long := strings.Repeat("x", 65535)
	play(t, Config{Up: []Rule{{Filter: "#", QoS: 2}}, UpPrefix: "site7/"}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true, MaximumPacketSize: 100, NoRetain: true})
		large := strings.Repeat("y", 100)
		fits := strings.Repeat("y", 100-2-2-len("site7/a")-2-1)
		retained := publish(6, 1, "a", "")
		retained.Retain = true
		local.send(publish(1, 1, long, ""), publish(2, 2, "a", large), publish(0, 0, "a", large), publish(3, 1, "a", large),
			publish(4, 2, long, ""), publish(5, 1, "a", fits+"y"), publish(5, 1, "a", fits), retained)
		local.want("what can never go is refused, and the queue goes on",
			&codec.Puback{ID: 1, Code: codec.TopicNameInvalid}, &codec.Pubrec{ID: 2, Code: codec.ImplementationSpecificError},
			&codec.Puback{ID: 3, Code: codec.ImplementationSpecificError}, &codec.Pubrec{ID: 4, Code: codec.TopicNameInvalid},
			&codec.Puback{ID: 5, Code: codec.ImplementationSpecificError})
		up.want("the last that fits, and one without RETAIN", publish(5, 1, "site7/a", fits), publish(6, 1, "site7/a", ""))
		if st := s.b.Status(); st.Unnamed != 2 || st.TooLarge != 4 || st.Unretained != 1 || st.Up != 2 {
			t.Errorf("Status() = %+v", st)
		}
		if n := strings.Count(s.log.String(), "larger than upstream takes"); n != 1 {
			t.Errorf("logged %d times, want once for all of a kind", n)
		}
	})
}

func TestWhatTheGatewayCannotTake(t *testing.T) {
	long, large := strings.Repeat("x", 65535), strings.Repeat("y", 100)
	for _, v := range []codec.Version{codec.V5, codec.V311} {
		t.Run(v.String(), func(t *testing.T) {
			play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}, DownPrefix: "cloud/"}, func(t *testing.T, s *scene) {
				s.b.subscribed = true
				s.b.home[0].version = version{old: v != codec.V5, since: time.Now()}
				up := s.upstream(v)
				up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
				local := s.local(100, &codec.Connack{MaximumPacketSize: 100})
				up.send(publish(1, 1, long, ""), publish(2, 2, "a", large), publish(0, 0, "a", large), publish(3, 1, "a", "b"))
				local.want("what fits", publish(3, 1, "cloud/a", "b"))
				up.want("what can never be taken is refused",
					&codec.Puback{ID: 1, Code: codec.TopicNameInvalid}, &codec.Pubrec{ID: 2, Code: codec.ImplementationSpecificError})
				if v != codec.V5 {
					up.send(&codec.Pubrel{ID: 2})
					up.want("an old upstream did not see that", &codec.Pubcomp{ID: 2})
				}
				up.send(publish(2, 2, "a", "b"))
				local.want("the identifier is free", publish(2, 2, "cloud/a", "b"))
				local.send(&codec.Pubrec{ID: 2})
				up.want("as ever", &codec.Pubrec{ID: 2})
				up.send(&codec.Pubrel{ID: 2})
				local.want("as ever", &codec.Pubrel{ID: 2})
			})
		})
	}
}

func TestLostUpstreamSession(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		up.send(publish(3, 2, "a", "old"), publish(4, 2, "a", "old"), publish(5, 2, "a", "old"), publish(6, 2, "a", "old"))
		local.want("four", publish(3, 2, "a", "old"), publish(4, 2, "a", "old"), publish(5, 2, "a", "old"), publish(6, 2, "a", "old"))
		local.send(&codec.Pubcomp{ID: 6}, &codec.Pubrec{ID: 3}, &codec.Pubrec{ID: 4}, &codec.Pubrec{ID: 5, Code: codec.NotAuthorized})
		up.want("received", &codec.Pubcomp{ID: 6}, &codec.Pubrec{ID: 3}, &codec.Pubrec{ID: 4}, &codec.Pubrec{ID: 5, Code: codec.NotAuthorized})
		up.conn.Close()

		up, local = s.connect(codec.Connack{})
		subscribe := &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{
			{Filter: []byte("#"), QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 1},
		}}
		up.want("the new session has no subscription", subscribe)
		local.want("what the old session left is released", &codec.Pubrel{ID: 3}, &codec.Pubrel{ID: 4})
		go up.conn.Write(publish(3, 2, "a", "new").Append(nil, codec.V5))
		local.wantIdle("a new message waits for that")
		local.send(&codec.Pubcomp{ID: 3})
		up.conn.Close()
		<-local.got // DISCONNECT
		local.wantClosed("")

		up, local = s.connect(codec.Connack{SessionPresent: true})
		up.want("subscribing was not answered", subscribe)
		local.want("begun anew, when not finished", &codec.Pubrel{ID: 3}, &codec.Pubrel{ID: 4})
		go up.conn.Write(publish(3, 2, "a", "new").Append(nil, codec.V5))
		local.send(&codec.Pubcomp{ID: 3, Code: codec.PacketIdentifierNotFound}, &codec.Pubcomp{ID: 4})
		local.want("the new message", publish(3, 2, "a", "new"))
		up.wantIdle("the upstream hears nothing of all that")
		local.send(&codec.Pubrec{ID: 3})
		up.want("the new one", &codec.Pubrec{ID: 3})
		up.send(&codec.Pubrel{ID: 3})
		local.want("the new one", &codec.Pubrel{ID: 3})
		local.send(&codec.Pubcomp{ID: 3})
		up.want("the new one", &codec.Pubcomp{ID: 3})
	})
}

func TestHandshakeInDoubt(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 1}}}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up := s.upstream(codec.V5)
		up.wantClosed("the CONNACK is lost on the way, it may have said that the session is new")
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.want("subscribe to be sure", &codec.Subscribe{ID: 65535, Subscriptions: []codec.Subscription{
			{Filter: []byte("#"), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1},
		}})
	})
}

// The CONNACK that was lost may have been that of a new session, which gives the
// identifiers of the old one to new messages. What is sent again has DUP. [MQTT-3.3.1-1]
func TestReceivedInDoubt(t *testing.T) {
	for _, known := range []bool{true, false} {
		play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
			s.b.subscribed = true
			up, local := s.connect(codec.Connack{SessionPresent: true})
			old := []codec.Packet{publish(3, 2, "a", "old"), publish(4, 2, "a", "old"), publish(5, 2, "a", "old")}
			up.send(old...)
			local.want("three", old...)
			up.conn.Close()
			<-local.got // DISCONNECT
			local.wantClosed("")
			s.b.known = known
			s.upstream(codec.V5).conn.Close()
			s.upstream(codec.V311).conn.Close()

			up, local = s.connect(codec.Connack{SessionPresent: true})
			<-up.got // SUBSCRIBE
			again := publish(4, 2, "a", "old")
			again.Dup = true
			up.send(publish(3, 2, "a", "new"), again, &codec.Pubrel{ID: 5}, publish(3, 2, "a", "new"), publish(5, 2, "a", "new"))
			local.want("the new one is let in, once; the old ones go on", &codec.Pubrel{ID: 3}, publish(3, 2, "a", "new"),
				again, &codec.Pubrel{ID: 5}, publish(3, 2, "a", "new"), publish(5, 2, "a", "new"))
			local.send(&codec.Pubcomp{ID: 3}, &codec.Pubrec{ID: 3}, &codec.Pubrec{ID: 4}, &codec.Pubcomp{ID: 5})
			up.want("the upstream hears nothing of that", &codec.Pubrec{ID: 3}, &codec.Pubrec{ID: 4}, &codec.Pubcomp{ID: 5})
		})
	}
}

// So is what the last process had received: a session that was lost just before it ended
// may have a successor by now.
func TestReceivedByTheLastProcess(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		fresh, err := New(s.b.cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.b.doubtful, s.b.known, s.b.subscribed = fresh.doubtful, fresh.known, true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		again := publish(4, 2, "a", "old")
		again.Dup = true
		up.send(publish(3, 2, "a", "new"), again)
		local.want("the new one is let in, the old one goes on", &codec.Pubrel{ID: 3}, publish(3, 2, "a", "new"), again)
	})
}

func TestManyFilters(t *testing.T) {
	var cfg Config
	for i := range 10 {
		cfg.Down = append(cfg.Down, Rule{Filter: fmt.Sprint("cmd/", i), QoS: 1})
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, _ := s.connect(codec.Connack{SessionPresent: true})
		subscribe := func(id uint16, rules []Rule) *codec.Subscribe {
			p := &codec.Subscribe{ID: id}
			for _, r := range rules {
				p.Subscriptions = append(p.Subscriptions, codec.Subscription{Filter: []byte(r.Filter), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1})
			}
			return p
		}
		up.want("eight at a time", subscribe(65535, cfg.Down[:8]), subscribe(65534, cfg.Down[8:]))
		up.send(&codec.Suback{ID: 65535, Codes: make([]codec.ReasonCode, 8)}, &codec.Suback{ID: 65534, Codes: []codec.ReasonCode{1, codec.NotAuthorized}})
		synctest.Wait()
		if log := s.log.String(); !strings.Contains(log, "cmd/9") || strings.Contains(log, "cmd/8") {
			t.Errorf("the log does not name the refused filter alone: %s", log)
		}
		up.conn.Close()
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.wantIdle("all are subscribed")
	})
}

func TestLostUpstreamSessionAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}})
		s.b.known = false
		go s.b.Run(t.Context())
		_, local := s.connect(codec.Connack{})
		for id := 1; id <= 65535; id++ {
			local.want("nobody knows what is left: all are released", &codec.Pubrel{ID: uint16(id)})
			local.send(&codec.Pubcomp{ID: uint16(id), Code: codec.PacketIdentifierNotFound})
		}
		synctest.Wait()
		local.conn.Close()
		_, local = s.connect(codec.Connack{})
		local.wantIdle("from then on it is known")
	})
}

func TestOldUpstreamHasNoReceiveMaximum(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		s.b.home[0].version = version{old: true, since: time.Now()}
		up := s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true})
		local := s.local(100, &codec.Connack{ReceiveMaximum: 3})
		for id := uint16(1); id <= 9; id++ {
			up.send(publish(id, 1+byte(id%2), "a", fmt.Sprint(id)))
		}
		message := func(id uint16) *codec.Publish { return publish(id, 1+byte(id%2), "a", fmt.Sprint(id)) }
		local.want("as many as the gateway takes", message(1), message(2), message(3))
		local.wantIdle("the others wait")
		local.send(&codec.Pubrec{ID: 1})
		local.wantIdle("PUBREC is not the end")
		local.send(&codec.Puback{ID: 2})
		local.want("one more", message(4))
		up.send(&codec.Pubrel{ID: 1})
		local.want("steps of earlier ones overtake", &codec.Pubrel{ID: 1})
		local.send(&codec.Pubcomp{ID: 1}, &codec.Pubrec{ID: 3, Code: codec.NotAuthorized}, &codec.Puback{ID: 4})
		local.want("three more, in order", message(5), message(6), message(7))
		up.send(publish(0, 0, "a", "QoS 0"))
		local.want("QoS 0 need not wait", publish(0, 0, "a", "QoS 0"))
		local.send(&codec.Puback{ID: 6}, &codec.Puback{ID: 77}, &codec.Puback{ID: 6})
		local.want("an acknowledgement counts once", message(8))
		local.wantIdle("")
		if st := s.b.Status(); st.Declined != 1 {
			t.Errorf("Status() = %+v, want 1 declined", st)
		}
	})
}

func TestHeldMessagesDoNotOvertake(t *testing.T) {
	l := newLink(newScene(t, Config{}).b, &upstream{wire: newWire(nil, codec.V311)})
	l.local = newWire(nil, codec.V5)
	l.window.init(l.local, 3)
	l.relayDown(publish(1, 1, "a", ""))
	l.flushDown()
	for id := uint16(2); id <= 5; id++ { // of one batch, not yet at its end
		l.relayDown(publish(id, 1, "a", ""))
	}
	l.window.acked(1)
	l.flushDown()
	var want []byte
	for id := uint16(1); id <= 4; id++ {
		want = publish(id, 1, "a", "").Append(want, codec.V5)
	}
	if !bytes.Equal(l.local.out, want) {
		t.Errorf("sent % x, want % x", l.local.out, want)
	}
}

func TestLeave(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		synctest.Wait()
		s.leave()
		up.want("the upstream is left in order, so that it publishes no will", &codec.Disconnect{})
		local.want("and so is the gateway", &codec.Disconnect{})
		up.wantClosed("at once")
		local.wantClosed("at once")
	})
}

func TestMalformed(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, _ := s.connect(codec.Connack{SessionPresent: true})
		up.conn.Write([]byte{0x36, 3, 0, 1, 'a'}) // QoS 3
		up.want("the upstream is told", &codec.Disconnect{Code: codec.MalformedPacket})
		up.wantClosed("and left")
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.send(&codec.Disconnect{Code: codec.SessionTakenOver})
		synctest.Wait()
		if log := s.log.String(); !strings.Contains(log, "another client uses the same client identifier") {
			t.Errorf("log has no hint: %s", log)
		}
	})
}

// The bridge names no method, so no AUTH may come. [MQTT-4.12.0-6]
func TestAuthNobodyAskedFor(t *testing.T) {
	auth := &codec.Auth{Code: codec.ContinueAuthentication, AuthMethod: []byte("M")}
	play(t, Config{}, func(t *testing.T, s *scene) {
		up := s.upstream(codec.V5)
		up.send(auth)
		up.wantClosed("in place of CONNACK it is no answer")
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.send(auth)
		up.want("later the upstream is told", &codec.Disconnect{Code: codec.ProtocolError})
		up.wantClosed("and left")
	})
}

func TestUpstreamKeepsToMaximumPacketSize(t *testing.T) {
	play(t, Config{MaxPacketSize: 1000}, func(t *testing.T, s *scene) {
		up, _ := s.connect(codec.Connack{SessionPresent: true})
		up.conn.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}) // and 256 MB to come
		up.want("nothing is kept for what is too large", &codec.Disconnect{Code: codec.PacketTooLarge})
		up.wantClosed("and nothing more read")
	})
}

func TestBackoff(t *testing.T) {
	var b backoff
	last, most := time.Duration(0), time.Duration(0)
	for i := range 2000 {
		wait := b.next(0, false)
		if wait < 500*time.Millisecond || wait > time.Minute || wait > 3*max(500*time.Millisecond, last) {
			t.Fatalf("wait %d is %v after %v", i, wait, last)
		}
		last, most = wait, max(most, wait)
	}
	if most < 50*time.Second {
		t.Errorf("the longest of 2000 waits is %v", most)
	}
	for range 1000 {
		b.last = time.Minute
		if wait := b.next(5*time.Second, false); wait > 1500*time.Millisecond {
			t.Fatalf("waits %v after a good connection", wait)
		}
	}
	for range 1000 {
		if wait := b.next(0, true); wait < 30*time.Second || wait > time.Minute {
			t.Fatalf("waits %v after a refusal that stays", wait)
		}
	}
}

func TestBadConfig(t *testing.T) {
	u, _ := url.Parse("http://joe:secret@example.com")
	_, err := New(Config{
		URL: u, Up: []Rule{{Filter: "a/#/b", QoS: 1}, {Filter: "$share/g/a", QoS: 1}}, Down: []Rule{{Filter: "b", QoS: 3}}, UpPrefix: "a/+/", KeepAlive: time.Millisecond,
	})
	for _, want := range []string{"no name", `scheme "http"`, "no client identifier", "a/#/b", "$share", "QoS 3", "prefix", "keep alive", "gateway"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
	u, _ = url.Parse("mqtt://joe:secret@example.com")
	dial := func() io.ReadWriteCloser { return nil }
	if _, err := New(Config{Name: "n", ClientID: "c", URL: u, Up: []Rule{{Filter: "#", QoS: 1}}, Dial: dial}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("password in the URL: %v", err)
	}
}

// A session that the gateway does not know is another's past. [MQTT-3.2.2-4]
func TestStrangeUpstreamSession(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		fresh := func() *peer {
			conn := <-s.locals
			p := newPeer(t, "gateway", conn, codec.V5)
			<-p.got // CONNECT
			return p
		}
		up := s.upstream(codec.V5)
		up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
		local := fresh()
		local.send(&codec.Connack{MaximumQoS: 2})
		up.wantClosed("the bridge hangs up")
		local.wantClosed("without a word, which would make the gateway's session known")
		synctest.Wait() // the bridge pauses
		if !s.b.connectPacket(codec.V5).CleanStart || s.b.connectPacket(codec.V311).CleanStart {
			t.Error("CONNECT asks for the wrong kind of session")
		}
		up = s.upstream(codec.V5)
		up.send(&codec.Connack{MaximumQoS: 2})
		local = fresh()
		local.send(&codec.Connack{MaximumQoS: 2})
		local.wantAsked("the bridge stays, and asks for all that is retained", codec.Subscription{Filter: []byte("sensors/#"), QoS: 2, NoLocal: true, RetainAsPublished: true})
		up.conn.Close()
		<-local.got // DISCONNECT
		local.wantClosed("with the upstream")
		synctest.Wait()
		if s.b.connectPacket(codec.V5).CleanStart {
			t.Error("the new session is not gone on with")
		}
	})
}

// Before MQTT 5 a session is ended by a connection that has none, and then begun anew.
// [MQTT-3.1.2-6] of 3.1.1
func TestStrangeUpstreamSessionIsEnded(t *testing.T) {
	play(t, Config{Version: codec.V311}, func(t *testing.T, s *scene) {
		up := s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true})
		conn := <-s.locals
		local := newPeer(t, "gateway", conn, codec.V5)
		<-local.got // CONNECT
		local.send(&codec.Connack{MaximumQoS: 2})
		up.wantClosed("the bridge hangs up")
		local.wantClosed("without a word, which would make the gateway's session known")
		up = s.dialled(codec.V311)
		clean := s.b.connectPacket(codec.V311)
		clean.CleanStart = true
		up.want("it has the session ended", clean)
		up.send(&codec.Connack{})
		up.want("takes leave", &codec.Disconnect{})
		up.wantClosed("and hangs up")
		up = s.upstream(codec.V311)
		up.send(&codec.Connack{SessionPresent: true}) // as some say always
		s.local(100, &codec.Connack{})
		up.wantIdle("and goes on in a session that is new")
	})
}

// What had gone up in a session that the upstream has lost is new to the next one.
// [MQTT-3.2.2-5]
func TestNewUpstreamSessionKnowsNothing(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{})
		again := publish(7, 2, "sensors/1", "a")
		again.Dup = true
		local.send(&codec.Pubrel{ID: 5}, again)
		local.want("what was only to be released is done", &codec.Pubcomp{ID: 5})
		up.want("a message is a new one", publish(7, 2, "sensors/1", "a"))
		up.send(&codec.Pubrec{ID: 7}, &codec.Pubrec{ID: 9})
		local.want("its second step", &codec.Pubrec{ID: 7}, &codec.Pubrec{ID: 9})
		local.send(&codec.Pubrel{ID: 7}, &codec.Pubrel{ID: 9, Code: codec.PacketIdentifierNotFound})
		up.want("goes through, and so does what the gateway knows nothing of", &codec.Pubrel{ID: 7}, &codec.Pubrel{ID: 9, Code: codec.PacketIdentifierNotFound})
	})
}

func TestSubscribesToWhatUpstreamTakes(t *testing.T) {
	long := strings.Repeat("x", 60)
	cfg := Config{Down: []Rule{{Filter: "a/#", QoS: 1}, {Filter: "$share/g/b", QoS: 1}, {Filter: "c/" + long, QoS: 1}, {Filter: "d/" + long, QoS: 1}, {Filter: "e/" + long + long, QoS: 1}}}
	sub := func(id uint16, filters ...string) *codec.Subscribe {
		p := &codec.Subscribe{ID: id}
		for _, f := range filters {
			p.Subscriptions = append(p.Subscriptions, codec.Subscription{Filter: []byte(f), QoS: 1, NoLocal: !strings.HasPrefix(f, "$share"), RetainAsPublished: true, RetainHandling: 1})
		}
		return p
	}
	play(t, cfg, func(t *testing.T, s *scene) {
		up, _ := s.connect(codec.Connack{MaximumPacketSize: 100, NoWildcard: true})
		up.want("no wildcard, nothing too large", sub(65535, "$share/g/b", "c/"+long), sub(65534, "d/"+long))
		up.send(&codec.Suback{ID: 65535, Codes: make([]codec.ReasonCode, 2)}, &codec.Suback{ID: 65533, Codes: make([]codec.ReasonCode, 1)})
		up.conn.Close()
		up, _ = s.connect(codec.Connack{SessionPresent: true, MaximumPacketSize: 200, NoShared: true})
		up.want("not all was granted: once more, what there is now", sub(65535, "a/#", "c/"+long, "d/"+long), sub(65534, "e/"+long+long))
		up.send(&codec.Suback{ID: 65535, Codes: make([]codec.ReasonCode, 3)}, &codec.Suback{ID: 65534, Codes: make([]codec.ReasonCode, 1)})
		synctest.Wait()
		up.conn.Close()
		up, _ = s.connect(codec.Connack{SessionPresent: true})
		up.wantIdle("all are subscribed")
	})
}

// What an upstream may not send is the end, with the reason.
func TestUpstreamBreaksRules(t *testing.T) {
	aliased := publish(0, 0, "cmd/1", "a")
	aliased.TopicAlias = 1
	for name, c := range map[string]struct {
		packet codec.Packet
		code   codec.ReasonCode
	}{
		"second CONNACK":       {&codec.Connack{MaximumQoS: 2}, codec.ProtocolError},
		"alias":                {aliased, codec.TopicAliasInvalid},
		"one message too many": {publish(3, 1, "cmd/1", "a"), codec.ReceiveMaximumExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{Down: []Rule{{Filter: "cmd/#", QoS: 2}}, MaxInflight: 2}, func(t *testing.T, s *scene) {
				up := s.upstream(codec.V5)
				up.send(&codec.Connack{MaximumQoS: 2})
				local := s.local(2, &codec.Connack{})
				<-up.got // SUBSCRIBE
				up.send(publish(1, 2, "cmd/1", "a"), publish(2, 1, "cmd/1", "a"), publish(1, 2, "cmd/1", "a"))
				local.want("two, one of them twice", publish(1, 2, "cmd/1", "a"), publish(2, 1, "cmd/1", "a"), publish(1, 2, "cmd/1", "a"))
				up.send(c.packet)
				up.want("the upstream is told", &codec.Disconnect{Code: c.code})
				up.wantClosed("and left")
			})
		})
	}
}

// Mosquitto 2.0, when it resumes a session, sends more than Receive Maximum says.
// Were it hung up on, it would do so for ever.
func TestUpstreamSendsAgainTooMuch(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "#", QoS: 2}}, MaxInflight: 2}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up := s.upstream(codec.V5)
		up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
		local := s.local(2, &codec.Connack{ReceiveMaximum: 2})
		var sent []codec.Packet
		for id := uint16(1); id <= 4; id++ {
			p := publish(id, 1, "a", fmt.Sprint(id))
			p.Dup = id <= 3
			sent = append(sent, p)
		}
		up.send(sent...)
		local.want("as many as there is room for", sent[:2]...)
		local.wantIdle("the others wait")
		local.send(&codec.Puback{ID: 1}, &codec.Puback{ID: 2})
		local.want("for room", sent[2:]...)
		up.want("and the link goes on", &codec.Puback{ID: 1}, &codec.Puback{ID: 2})
	})
}

func TestCodesOfServersStayHere(t *testing.T) {
	play(t, Config{Down: []Rule{{Filter: "cmd/#", QoS: 2}}}, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		up.send(publish(1, 1, "cmd/1", "a"), publish(2, 2, "cmd/1", "a"))
		local.want("two", publish(1, 1, "cmd/1", "a"), publish(2, 2, "cmd/1", "a"))
		local.send(&codec.Puback{ID: 1, Code: codec.NoMatchingSubscribers}, &codec.Pubrec{ID: 2, Code: codec.NoMatchingSubscribers})
		up.want("a client does not say who subscribes", &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2})
	})
}

func TestLongPrefix(t *testing.T) {
	prefix := strings.Repeat("p", 65530) + "/"
	cfg := Config{Up: []Rule{{Filter: "#", QoS: 1}}, Down: []Rule{{Filter: "#", QoS: 1}}, UpPrefix: prefix, DownPrefix: prefix}
	play(t, cfg, func(t *testing.T, s *scene) {
		s.b.subscribed = true
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "12345", ""), publish(2, 1, "1234", ""))
		local.want("too long", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid})
		up.want("just fits", publish(2, 1, prefix+"1234", ""))
		up.send(publish(1, 1, "12345", ""), publish(2, 1, "1234", ""))
		up.want("too long", &codec.Puback{ID: 1, Code: codec.TopicNameInvalid})
		local.want("just fits", publish(2, 1, prefix+"1234", ""))
	})
}
