package bridge

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec"
)

// again plays both handshakes of a link on which messages go up one at a time.
func (s *scene) again() (up, local *peer) {
	s.t.Helper()
	up = s.upstream(codec.V5)
	up.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
	return up, s.local(1, &codec.Connack{})
}

// An upstream that answers QoS 2 as QoS 1 is not sent the same messages again and again, and
// nothing that it has so acknowledged is taken for delivered.
func TestUpstreamAnswersQoS2WithPuback(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		local.send(publish(1, 1, "sensors/1", "a"), publish(2, 2, "sensors/2", "b"), publish(3, 2, "sensors/3", "c"))
		up.want("all go up", publish(1, 1, "sensors/1", "a"), publish(2, 2, "sensors/2", "b"), publish(3, 2, "sensors/3", "c"))
		up.send(&codec.Puback{ID: 1}, &codec.Puback{ID: 2}, &codec.Puback{ID: 3})
		up.want("the bridge leaves", &codec.Disconnect{})
		local.want("what was at QoS 1 is acknowledged, and no more", &codec.Puback{ID: 1}, &codec.Disconnect{})
		ended := time.Now()
		for range 3 {
			up, local = s.again()
			if waited := time.Since(ended); waited < 30*time.Second || waited > time.Minute {
				t.Errorf("connects again after %v, want half a minute to a minute", waited)
			}
			st := s.b.Status()
			if !errors.Is(st.Err, errInexact) || !strings.Contains(st.Hint, "SLUICE_BRIDGE_n_MAX_QOS=1") || !strings.Contains(s.log.String(), st.Hint) {
				t.Errorf("Status() = %+v, and the log says %s", st, s.log)
			}
			up.send(publish(0, 0, "cmd", ""))
			local.want("what is there comes down", publish(0, 0, "cmd", ""))
			local.send(publish(0, 0, "sensors/1", "d"), publish(2, 2, "sensors/2", "b"))
			up.want("what is not at QoS 2 goes up", publish(0, 0, "sensors/1", "d"), &codec.Disconnect{})
			local.want("nothing more is acknowledged", &codec.Disconnect{})
			ended = time.Now()
		}
		s.unreachable(true)
		time.Sleep(time.Hour)
		s.unreachable(false)
		up, local = s.again()
		local.send(publish(2, 2, "sensors/2", "b"))
		up.want("an hour later one is tried again", publish(2, 2, "sensors/2", "b"))
		up.send(&codec.Pubrec{ID: 2})
		local.want("as it should be", &codec.Pubrec{ID: 2})
	})
}

// A message on which the upstream hangs up is found, also if it is not the first of its
// window, and stays.
func TestMessageOnWhichUpstreamHangsUp(t *testing.T) {
	for name, hangUp := range map[string]func(*peer){
		"closes":      func(*peer) {},
		"says why":    func(up *peer) { up.send(&codec.Disconnect{Code: codec.PacketTooLarge}) },
		"has to mend": func(up *peer) { up.send(&codec.Disconnect{Code: codec.NotAuthorized}) },
	} {
		t.Run(name, func(t *testing.T) { play(t, Config{}, func(t *testing.T, s *scene) { testHangsUp(t, s, hangUp) }) })
	}
}

func testHangsUp(t *testing.T, s *scene, hangUp func(*peer)) {
	var up, local *peer
	end := func() {
		t.Helper()
		hangUp(up)
		up.conn.Close()
		local.want("the bridge leaves", &codec.Disconnect{})
		synctest.Wait()
	}
	accused := func() bool {
		var u *unwanted
		return errors.As(s.b.Status().Err, &u)
	}
	ok, bad := publish(7, 1, "sensors/1", "ok"), publish(8, 2, "sensors/2", strings.Repeat("x", 1000))
	for range suspicious { // the acknowledgements of what goes before are lost
		up, local = s.connect(codec.Connack{SessionPresent: true})
		local.send(ok, bad)
		up.want("both go up", ok, bad)
		end()
	}
	up, local = s.again()
	local.send(ok)
	up.want("goes up alone", ok)
	up.send(&codec.Puback{ID: 7})
	local.want("it was not that one", &codec.Puback{ID: 7})
	local.send(bad)
	up.want("the next goes up", bad)
	end()
	for range suspicious {
		if accused() {
			t.Fatalf("a message is accused too early: %v", s.b.Status().Err)
		}
		up, local = s.connect(codec.Connack{SessionPresent: true})
		local.send(bad)
		up.want("goes up", bad)
		end()
	}
	for range 3 {
		up, local = s.again()
		local.send(bad)
		up.want("goes up alone", bad)
		end()
		st := s.b.Status()
		for _, part := range []string{`topic "sensors/2"`, "packet of 1017 bytes"} {
			if !accused() || !strings.Contains(st.Err.Error(), part) || !strings.Contains(st.Hint, "MAX_UP_SIZE") || !strings.Contains(s.log.String(), st.Hint) {
				t.Errorf("Status() = %+v does not say %s, or the log does not: %s", st, part, s.log)
			}
		}
		if st.TooLarge+st.Refused > 0 {
			t.Errorf("Status() = %+v: it is dropped", st)
		}
	}
	up, local = s.again()
	local.send(bad)
	up.want("it is tried again", bad)
	up.send(&codec.Pubrec{ID: 8})
	local.want("and goes through when the upstream takes it", &codec.Pubrec{ID: 8})
	end()
	s.connect(codec.Connack{SessionPresent: true})
}

// An upstream that goes away for other reasons accuses no message.
func TestNoMessageIsAccused(t *testing.T) {
	for name, test := range map[string]struct {
		cfg Config
		end func(*peer)
	}{
		"another has the session":     {Config{}, func(up *peer) { up.send(&codec.Disconnect{Code: codec.SessionTakenOver}) }},
		"the upstream shuts down":     {Config{}, func(up *peer) { up.send(&codec.Disconnect{Code: codec.ServerShuttingDown}) }},
		"perhaps of the subscription": {Config{Up: mustRules(t, "sensors/# 1"), Down: mustRules(t, "cmd 1")}, func(*peer) {}},
		"silence":                     {Config{}, func(*peer) { time.Sleep(30*time.Second + minWait/2) }},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, test.cfg, func(t *testing.T, s *scene) {
				for range 2 * suspicious {
					up, local := s.connect(codec.Connack{SessionPresent: true})
					local.send(publish(7, 1, "sensors/1", "x"))
					synctest.Wait()
					test.end(up)
					up.conn.Close()
					local.want("the bridge leaves", &codec.Disconnect{})
				}
				var u *unwanted
				synctest.Wait()
				if err := s.b.Status().Err; err == nil || errors.As(err, &u) {
					t.Errorf("Status().Err = %v", err)
				}
			})
		})
	}
}
