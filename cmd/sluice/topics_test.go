package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplainTopic(t *testing.T) {
	environ := map[string]string{
		"SLUICE_DATA_DIR":          t.TempDir(),
		"SLUICE_BRIDGE_0_URL":      "mqtt://cloud.example",
		"SLUICE_BRIDGE_0_NAME":     "cloud",
		"SLUICE_BRIDGE_0_UP":       "sensors/+/temp 1 -> site7/$1/t retain=off,sensors/#",
		"SLUICE_BRIDGE_0_DOWN":     "cmd/#",
		"SLUICE_BRIDGE_1_URL":      "mqtt://audit.example",
		"SLUICE_BRIDGE_1_NAME":     "audit",
		"SLUICE_BRIDGE_1_UP":       "# 0 -> all/$1",
		"SLUICE_BRIDGE_0_MAX_HOPS": "2",
	}
	for _, c := range []struct{ topic, want string }{
		{"sensors/3/temp", `bridge cloud, mqtt://cloud.example
  published here:     site7/3/t, QoS 1 at most, retain off, by sensors/+/temp 1 -> site7/$1/t retain=off: the first rule that matches
  published upstream: not carried: no rule matches
bridge audit, mqtt://audit.example
  published here:     all/sensors/3/temp, QoS 0 at most, retain as published, by # 0 -> all/$1: the first rule that matches
  published upstream: not carried: the bridge carries nothing down
`},
		{"cmd/open", `bridge cloud, mqtt://cloud.example
  published here:     not carried: no rule matches
  published upstream: cmd/open, QoS 2 at most, retain as published, by cmd/# 2: the first rule that matches
      and on through bridge audit: all/cmd/open, QoS 0 at most, retain as published, by # 0 -> all/$1: the first rule that matches
bridge audit, mqtt://audit.example
  published here:     all/cmd/open, QoS 0 at most, retain as published, by # 0 -> all/$1: the first rule that matches
  published upstream: not carried: the bridge carries nothing down
`},
	} {
		code, stdout, stderr := runCommand(t, environ, "", "topics", "explain", c.topic)
		if code != exitOK || stdout != c.want {
			t.Errorf("%s: ends with %d, %s\ngot:\n%s\nwant:\n%s", c.topic, code, stderr, stdout, c.want)
		}
	}

	code, stdout, _ := runCommand(t, environ, "", "topics", "explain", "-json", "cmd/open")
	var list []struct {
		Bridge   string
		Up, Down struct {
			Topic, Rule, Retain, Why string
			QoS                      int
			On                       []struct{ Bridge, Topic string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != exitOK || len(list) != 2 {
		t.Fatalf("%v, ends with %d: %s", err, code, stdout)
	}
	if d := list[0].Down; list[0].Bridge != "cloud" || d.Topic != "cmd/open" || d.QoS != 2 || len(d.On) != 1 || d.On[0].Bridge != "audit" || d.On[0].Topic != "all/cmd/open" {
		t.Errorf("down: %+v", d)
	}
	if u := list[0].Up; u.Topic != "" || u.Why != "no rule matches" {
		t.Errorf("up: %+v", u)
	}

	for _, c := range []struct {
		args   []string
		stderr string
	}{
		{[]string{"topics"}, "sluice topics explain TOPIC"},
		{[]string{"topics", "explain"}, "the topic is missing"},
		{[]string{"topics", "explain", "a/#"}, "is not a topic: wildcard"},
		{[]string{"topics", "explain", "a", "-json"}, `-json goes before "a"`},
	} {
		if code, _, stderr := runCommand(t, environ, "", c.args...); code != exitUsage || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v ends with %d: %s", c.args, code, stderr)
		}
	}
	environ["SLUICE_BRIDGE_0_UP"] = "a/+ -> b/$2"
	if code, _, stderr := runCommand(t, environ, "", "topics", "explain", "a"); code != exitUsage || !strings.Contains(stderr, "SLUICE_BRIDGE_0_UP") {
		t.Errorf("with a fault it ends with %d: %s", code, stderr)
	}
	if code, stdout, _ := runCommand(t, nil, "", "topics", "explain", "a"); code != exitOK || !strings.Contains(stdout, "there is no bridge") {
		t.Errorf("without bridges it ends with %d: %s", code, stdout)
	}
}
