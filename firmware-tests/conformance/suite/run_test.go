package suite

import (
	"io"
	"net"
	"strings"
	"testing"

	"sluice/firmware-tests/wire"
)

// broker answers every connection with the same bytes and closes its half of it.
func broker(t *testing.T, answer []byte) *Target {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Write(answer)
			_ = nc.(*net.TCPConn).CloseWrite()
			go func() {
				_, _ = io.Copy(io.Discard, nc) // else what was not read makes a reset of the close
				nc.Close()
			}()
		}
	}()
	return &Target{Name: "fake", Addr: ln.Addr().String()}
}

func join(t *T) { t.Join() }

func TestOutcomes(t *testing.T) {
	accepted := []byte{0x20, 2, 0, 0}
	for name, c := range map[string]struct {
		answer []byte
		test   Test
		id     string
		want   Outcome
		detail string
	}{
		"holds":               {accepted, Test{V311: "3.1.4-4", Run: join}, "MQTT-3.1.4-4", Pass, ""},
		"refused":             {[]byte{0x20, 2, 0, 5}, Test{V311: "3.1.4-4", Run: join}, "MQTT-3.1.4-4", Fail, "code 0x5"},
		"closed":              {nil, Test{V311: "3.1.4-4", Run: join}, "MQTT-3.1.4-4", Fail, "closed"},
		"cut":                 {accepted[:3], Test{V311: "3.1.4-4", Run: join}, "MQTT-3.1.4-4", Fail, "middle of a packet"},
		"breaks another":      {[]byte{0x22, 2, 0, 0}, Test{V311: "3.1.4-4", Run: join}, "MQTT-2.2.2-1", Fail, "flags"},
		"lacks what it needs": {accepted, Test{V311: "3.1.4-4", Run: func(t *T) { t.Need(t.Target.Guarded, "accounts") }}, "MQTT-3.1.4-4", NotRun, "no accounts"},
		"not of its version":  {accepted, Test{V5: "3.1.4-4", Run: join}, "MQTT-3.1.4-4", NotRun, "5.0"},
		"cannot be seen":      {accepted, Test{V311: "3.1.4-4", Unseen: "inside"}, "MQTT-3.1.4-4", NotObservable, "inside"},
		"has no test":         {accepted, Test{V311: "3.1.4-4", Run: join}, "MQTT-3.1.4-5", Untested, ""},
		"panics":              {accepted, Test{V311: "3.1.4-4", Run: func(*T) { panic("oops") }}, "MQTT-3.1.4-4", Fail, "oops"},
	} {
		t.Run(name, func(t *testing.T) {
			results, err := Run(broker(t, c.answer), Server, []Test{c.test}, func(done, all int) {})
			if err != nil {
				t.Fatal(err)
			}
			version := "3.1.1"
			if c.test.V5 != "" {
				version = "5.0"
			}
			for _, r := range results {
				if r.ID == c.id && r.Version == version {
					if r.Outcome != c.want || !strings.Contains(r.Detail, c.detail) {
						t.Errorf("%s: %q, want %s: %q", r.Outcome, r.Detail, c.want, c.detail)
					}
					return
				}
			}
			t.Errorf("no result for %s", c.id)
		})
	}
}

func TestOneFailureDecides(t *testing.T) {
	tests := []Test{
		{V311: "3.1.4-4", Run: join},
		{V311: "3.1.4-4 3.1.4-5", Run: func(t *T) { t.Fatalf("no") }},
		{V311: "3.1.4-4", Unseen: "inside"},
	}
	results, err := Run(broker(t, []byte{0x20, 2, 0, 0}), Server, tests, func(done, all int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Version == "3.1.1" && (r.ID == "MQTT-3.1.4-4" || r.ID == "MQTT-3.1.4-5") && r.Outcome != Fail {
			t.Errorf("%s: %s", r.ID, r.Outcome)
		}
	}
}

func TestUnknownStatement(t *testing.T) {
	_, err := Run(&Target{}, Server, []Test{{V311: "3.1.4-99", Run: join}}, func(done, all int) {})
	if err == nil || !strings.Contains(err.Error(), "MQTT-3.1.4-99") {
		t.Errorf("%v", err)
	}
}

func TestOrder(t *testing.T) {
	for _, c := range [][2]string{{"MQTT-3.1.2-9", "MQTT-3.1.2-10"}, {"MQTT-3.1.2-10", "MQTT-3.10.1-1"}, {"MQTT-6.0.0-1", "RULE-2.2-a"}} {
		if order(c[0], c[1]) >= 0 || order(c[1], c[0]) <= 0 {
			t.Errorf("%s is not before %s", c[0], c[1])
		}
	}
}

// Every packet that the writer makes must be read without complaint.
func TestReadsWhatIsWritten(t *testing.T) {
	secret := "secret"
	for _, v := range []byte{wire.V31, wire.V311, wire.V5} {
		for _, b := range [][]byte{
			wire.Connect{Version: v, ID: "a", KeepAlive: 7, Will: &wire.Will{Topic: "w", QoS: 2, Retain: true}, Username: &secret, Password: &secret}.Bytes(),
			wire.Publish{Topic: "a", Payload: "b", QoS: 1, ID: 7}.Bytes(v),
			wire.Subscribe(v, 7, 1, "a", "b"), wire.Unsubscribe(v, 7, "a"), wire.Ack(wire.PUBREL, 7), wire.Pingreq(), wire.Disconnect(),
		} {
			if _, err := wire.Next(strings.NewReader(string(b)), v, false); err != nil {
				t.Errorf("version %d, % x: %v", v, b, err)
			}
		}
	}
}
