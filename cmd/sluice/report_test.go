package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sluice/gateway"
)

// What a report tells of a bridge whose upstream is not there, and of what it loses.
func TestReport(t *testing.T) {
	g := startGateway(t, map[string]string{
		"SLUICE_BRIDGE_0_URL": "mqtt://127.0.0.1:1", "SLUICE_BRIDGE_0_NAME": "to/the+cloud", "SLUICE_BRIDGE_0_UP": "plant/#",
		"SLUICE_BRIDGE_0_QUEUE_MAX_MESSAGES": "1", "SLUICE_BRIDGE_0_QUEUE_POLICY": "drop-newest",
		"SLUICE_BRIDGE_0_USERNAME": "me", "SLUICE_BRIDGE_0_PASSWORD": "s3cret",
	})
	environ := map[string]string{"SLUICE_CLIENT_URL": g.url("MQTT")}
	for range 3 {
		if code, _, stderr := runCommand(t, environ, "", "pub", "-t", "plant/1", "-m", "x", "-q", "1"); code != exitOK {
			t.Fatalf("pub ends with %d: %s", code, stderr)
		}
	}
	topic := "$SYS/bridge/to%2Fthe%2Bcloud/"
	read := func(name string, into any, enough func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			code, stdout, stderr := runCommand(t, environ, "", "sub", "-t", topic+name, "-C", "1", "-W", "20")
			if code != exitOK {
				t.Fatalf("sub ends with %d: %s", code, stderr)
			}
			if strings.Contains(stdout, "s3cret") {
				t.Errorf("a report tells the password: %s", stdout)
			}
			if err := json.Unmarshal([]byte(stdout), into); err != nil {
				t.Fatalf("%v: %s", err, stdout)
			}
			if enough() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s tells %s", name, stdout)
			}
		}
	}
	var l gateway.Losses
	read("losses", &l, func() bool { return l.Messages == 2 })
	if l.Causes["queue_full"] != 2 || l.Topics["plant/1"] != 2 || l.First.After(l.Last) || time.Since(l.First) > time.Minute {
		t.Errorf("losses: %+v", l)
	}
	var s bridgeState
	read("state", &s, func() bool { return s.Messages == 1 && s.Error != "" })
	if s.Name != "to/the+cloud" || s.Connected || s.Bytes == 0 || !strings.Contains(s.Error, "refused") {
		t.Errorf("state: %+v", s)
	}

	code, stdout, stderr := runCommand(t, environ, "", "bridge")
	for _, want := range []string{"to/the+cloud: not connected\n", "waiting to go up: 1 messages", "last error: connect to upstream", "lost: 2 messages", "why queue_full: 2", "of plant/1: 2"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("bridge ends with %d and does not say %q: %s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, _ = runCommand(t, environ, "", "bridge", "-json", "to/the+cloud")
	var list []bridgeReport
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != exitOK || len(list) != 1 || list[0].Messages != 1 || list[0].Losses.Messages != 2 {
		t.Errorf("bridge -json ends with %d, %v: %s", code, err, stdout)
	}
	if code, _, stderr := runCommand(t, environ, "", "bridge", "other"); code != exitFailed || !strings.Contains(stderr, `nothing of a bridge "other", but of these: to/the+cloud`) {
		t.Errorf("bridge other ends with %d: %s", code, stderr)
	}

	for _, c := range []struct{ what, state string }{
		{"pause", "paused by a client"}, {"drain", "paused by a client"}, {"resume", "not connected"}, {"pause", "paused by a client"},
	} {
		if code, _, stderr := runCommand(t, environ, "", "bridge", "to/the+cloud", c.what); code != exitOK {
			t.Errorf("bridge %s ends with %d: %s", c.what, code, stderr)
		}
		if code, stdout, _ := runCommand(t, environ, "", "bridge"); code != exitOK || !strings.Contains(stdout, "to/the+cloud: "+c.state) {
			t.Errorf("after %s bridge ends with %d: %s", c.what, code, stdout)
		}
	}
	if code, _, stderr := runCommand(t, environ, "", "pub", "-t", "$CONTROL/bridge/to%2Fthe%2Bcloud", "-m", "resume", "-q", "2"); code != exitOK {
		t.Errorf("pub ends with %d: %s", code, stderr)
	}
	read("state", &s, func() bool { return !s.Paused })
	code, _, stderr = runCommand(t, environ, "", "pub", "-t", "$CONTROL/bridge/to%2Fthe%2Bcloud", "-m", "fly", "-q", "1")
	if code != exitFailed || !strings.Contains(stderr, "a bridge understands pause, resume and drain") {
		t.Errorf("pub of a word that is none ends with %d: %s", code, stderr)
	}
	for _, c := range []struct{ name, what, stderr string }{
		{"other", "pause", `the gateway has no bridge "other"`},
		{"other", "fly", `"fly" is none of pause, resume, drain`},
	} {
		if code, _, stderr := runCommand(t, environ, "", "bridge", c.name, c.what); code == exitOK || !strings.Contains(stderr, c.stderr) {
			t.Errorf("bridge %s %s ends with %d: %s", c.name, c.what, code, stderr)
		}
	}
}

// While a backlog goes up, its state tells each second what is left of it.
func TestReportOfBacklog(t *testing.T) {
	cloud := startGateway(t, nil)
	g := startGateway(t, map[string]string{
		"SLUICE_BRIDGE_0_URL": cloud.url("MQTT"), "SLUICE_BRIDGE_0_NAME": "cloud", "SLUICE_BRIDGE_0_UP": "plant/#", "SLUICE_BRIDGE_0_DRAIN_MESSAGES": "2",
	})
	environ := map[string]string{"SLUICE_CLIENT_URL": g.url("MQTT")}
	tell := func(what string) {
		t.Helper()
		if code, _, stderr := runCommand(t, environ, "", "bridge", "cloud", what); code != exitOK {
			t.Fatalf("bridge %s ends with %d: %s", what, code, stderr)
		}
	}
	tell("pause")
	for range 40 { // twenty seconds' worth
		publish(t, g, "plant/1", "x")
	}
	got := subscribe(t, g, environ, "-t", "$SYS/bridge/cloud/state", "-C", "7", "-W", "30")
	tell("resume")
	code, stdout, stderr := got()
	if code != exitOK {
		t.Fatalf("sub ends with %d: %s", code, stderr)
	}
	counts := map[int]bool{}
	for line := range strings.Lines(stdout) {
		var s bridgeState
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		counts[s.Messages] = true
	}
	if len(counts) < 5 {
		t.Errorf("of a backlog that goes up too little is told: %s", stdout)
	}
}

// A bridge stays as a client left it when its settings change, and when it is called
// otherwise; what the settings pause is theirs.
func TestPauseOutlivesReload(t *testing.T) {
	dir := t.TempDir()
	cloud := startGateway(t, nil)
	base := "SLUICE_BRIDGE_0_URL=" + cloud.url("MQTT") + "\nSLUICE_BRIDGE_0_UP='n/# 1'\nSLUICE_BRIDGE_0_CLIENT_ID=site7\n"
	north := base + "SLUICE_BRIDGE_0_NAME=north\n"
	g := startGateway(t, map[string]string{"SLUICE_ENV_FILE": write(t, dir, "env", north)})
	environ := map[string]string{"SLUICE_CLIENT_URL": g.url("MQTT")}
	tell := func(name, what string, want int, text string) {
		t.Helper()
		if code, _, stderr := runCommand(t, environ, "", "bridge", name, what); code != want || !strings.Contains(stderr, text) {
			t.Errorf("bridge %s %s ends with %d: %s", name, what, code, stderr)
		}
	}
	want := func(state string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			code, stdout, _ := runCommand(t, environ, "", "bridge")
			if code == exitOK && strings.HasPrefix(stdout, state) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("bridge does not say %q: %s", state, stdout)
			}
		}
	}
	want("north: connected")
	tell("north", "pause", exitOK, "")
	g.wantLog(t, "bridge is paused", "bridge=north", "by=client")
	g.reload(t, dir, north+"SLUICE_BRIDGE_0_KEEPALIVE=30s\n")
	want("north: paused by a client")
	g.reload(t, dir, north+"SLUICE_BRIDGE_0_PAUSED=true\n")
	want("north: paused by its settings")
	tell("north", "resume", exitFailed, `its settings have bridge "north" paused`)
	g.reload(t, dir, north)
	want("north: paused by a client")
	g.reload(t, dir, base+"SLUICE_BRIDGE_0_NAME=south\n")
	want("south: paused by a client")
	tell("south", "resume", exitOK, "")
	want("south: connected")
}
