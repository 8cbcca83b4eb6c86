package bridge

import (
	"path/filepath"
	"strings"
	"testing"

	"sluice/codec"
)

// What is none of Down any more is unsubscribed where the session has it, also by the next
// process, until the upstream has answered.
func TestUnsubscribes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bridge.json")
	with := func(filters ...string) (cfg Config, sub *codec.Subscribe) {
		cfg = Config{URL: hosts("a")[0], Others: hosts("b"), Failback: -1, File: file}
		sub = &codec.Subscribe{ID: 65535}
		for _, f := range filters {
			cfg.Down = append(cfg.Down, Rule{Filter: f, QoS: 1})
			sub.Subscriptions = append(sub.Subscriptions, codec.Subscription{Filter: []byte(f), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1})
		}
		return cfg, sub
	}
	granted := func(n int) *codec.Suback { return &codec.Suback{ID: 65535, Codes: make([]codec.ReasonCode, n)} }
	unsub := func(id uint16, filter string) *codec.Unsubscribe {
		return &codec.Unsubscribe{ID: id, Filters: [][]byte{[]byte(filter)}}
	}

	cfg, sub := with("cmd/#", "conf/#", "time")
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("new", "a", codec.Connack{})
		s.local(100, &codec.Connack{})
		up.want("all of Down, and nothing to end", sub)
		up.send(granted(3))
		up.wantIdle("that is all")
	})
	cfg, sub = with("conf/1")
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the session goes on", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{SessionPresent: true})
		up.want("what is new first", sub, unsub(65534, "cmd/#"), unsub(65533, "conf/#"), unsub(65532, "time"))
		up.send(granted(1), &codec.Unsuback{ID: 65534, Codes: []codec.ReasonCode{codec.Success}},
			&codec.Unsuback{ID: 65532, Codes: []codec.ReasonCode{codec.NotAuthorized}}, &codec.Unsuback{ID: 9, Codes: []codec.ReasonCode{codec.Success}})
		up.wantIdle("one is not answered, one refused")
		if log := s.log.String(); !strings.Contains(log, "not wanted any more") || !strings.Contains(log, "filter=time") {
			t.Errorf("the log does not tell of that: %s", log)
		}
		s.leaves("a")
		up.conn.Close()
		up = s.on("another server shares the session", "b", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{SessionPresent: true})
		up.want("so it has them too", unsub(65535, "conf/#"), unsub(65534, "time"))
		s.leaves("b")
		up.conn.Close()
		s.on("the first has lost it", "a", codec.Connack{})
		s.local(100, &codec.Connack{SessionPresent: true})
	})
	play(t, cfg, func(t *testing.T, s *scene) {
		up := s.on("the session goes on", "a", codec.Connack{SessionPresent: true})
		s.local(100, &codec.Connack{SessionPresent: true})
		up.want("and never had anything else", sub)
		up.wantIdle("so that is all")
	})
}
