package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reload has the gateway read text as its file of settings, and waits until it has.
func (g *gatewayProcess) reload(t *testing.T, dir, text string) {
	t.Helper()
	write(t, dir, "env", text)
	count := func() int {
		log := g.log.String()
		return strings.Count(log, `msg=reloaded`) + strings.Count(log, `msg="not reloaded`) + strings.Count(log, `msg="needs a restart`)
	}
	before := count()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); count() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("SIGHUP has no effect:\n%s", g.log)
		}
	}
}

// wantLog waits until the last line of the log with some text has more of it.
func (g *gatewayProcess) wantLog(t *testing.T, text string, more ...string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		log := g.log.String()
		line := ""
		if i := strings.LastIndex(log, text); i >= 0 {
			line, _, _ = strings.Cut(log[i:], "\n")
		}
		if line != "" && !slices.ContainsFunc(more, func(want string) bool { return !strings.Contains(line, want) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the last line with %q does not have %q:\n%s", text, more, log)
		}
	}
}

func publish(t *testing.T, g *gatewayProcess, topic, payload string) {
	t.Helper()
	if code, _, errs := runCommand(t, nil, "", "pub", "-url", g.url("MQTT"), "-t", topic, "-m", payload, "-q", "1"); code != exitOK {
		t.Fatal(errs)
	}
}

func TestReloadBridges(t *testing.T) {
	dir := t.TempDir()
	cloud, other := startGateway(t, nil), startGateway(t, nil)
	text := func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	north := text("SLUICE_BRIDGE_0_NAME=north", "SLUICE_BRIDGE_0_URL="+cloud.url("MQTT"), "SLUICE_BRIDGE_0_UP='n/# 1'")
	south := text("SLUICE_BRIDGE_1_NAME=south", "SLUICE_BRIDGE_1_URL="+other.url("MQTT"), "SLUICE_BRIDGE_1_UP='s/# 1'")
	paused := south + "SLUICE_BRIDGE_1_PAUSED=true\n"
	path := write(t, dir, "env", north)
	g := startGateway(t, map[string]string{"SLUICE_ENV_FILE": path})
	got := subscribe(t, cloud, nil, "-url", cloud.url("MQTT"), "-t", "n/#", "-C", "4", "-q", "1")
	publish(t, g, "n/1", "one")

	g.reload(t, dir, north+south)
	g.wantLog(t, "bridges set", "count=2", "added=[south]", "changed=[]", "removed=[]")
	far := subscribe(t, other, nil, "-url", other.url("MQTT"), "-t", "s/#", "-C", "4", "-q", "1")
	publish(t, g, "s/1", "two")

	g.reload(t, dir, north+paused)
	g.wantLog(t, "bridges set", "added=[]", "changed=[south]", "removed=[]")
	publish(t, g, "s/1", "kept")

	g.reload(t, dir, north)
	g.wantLog(t, "messages wait for a bridge that is no more", "bridge=south", "waiting=") // "two" too, if that was quicker than the bridge
	publish(t, g, "s/1", "nobody asks for this")
	publish(t, g, "n/1", "three")

	// Under another number it is the same bridge.
	g.reload(t, dir, strings.ReplaceAll(south, "BRIDGE_1", "BRIDGE_0")+strings.ReplaceAll(north, "BRIDGE_0", "BRIDGE_7"))
	g.wantLog(t, "bridges set", "added=[south]", "changed=[]", "removed=[]")
	publish(t, g, "s/1", "four")
	if code, out, errs := far(); code != exitOK || out != "two\nkept\nfour\n" {
		t.Errorf("to the south went %q, %d %s", out, code, errs)
	}

	g.reload(t, dir, north+paused)
	publish(t, g, "s/1", "dropped")
	g.reload(t, dir, north+"SLUICE_FORGET_BRIDGES=south\n")
	g.wantLog(t, "bridge forgotten", "bridge=south", "dropped=1")
	g.reload(t, dir, north)
	publish(t, g, "n/1", "five")
	if code, out, errs := got(); code != exitOK || out != "one\nthree\nfive\n" {
		t.Errorf("to the north went %q, %d %s", out, code, errs)
	}
	if n := strings.Count(g.log.String(), `msg="bridge connected" bridge=north`); n != 1 {
		t.Errorf("the bridge that did not change connected %d times", n)
	}
}

// A bridge that is called otherwise goes on, at both ends, if it is the same client there.
func TestReloadRenamesBridge(t *testing.T) {
	dir := t.TempDir()
	cloud := startGateway(t, nil)
	north := "SLUICE_BRIDGE_0_NAME=north\nSLUICE_BRIDGE_0_URL=" + cloud.url("MQTT") + "\nSLUICE_BRIDGE_0_CLIENT_ID=site7\n" +
		"SLUICE_BRIDGE_0_UP='n/# 1'\nSLUICE_BRIDGE_0_DOWN='cmd/# 1'\n"
	g := startGateway(t, map[string]string{"SLUICE_ENV_FILE": write(t, dir, "env", north)})
	g.wantLog(t, "bridge connected", "bridge=north")
	g.reload(t, dir, north+"SLUICE_BRIDGE_0_PAUSED=true\n")
	publish(t, g, "n/1", "up")
	publish(t, cloud, "cmd/1", "down")
	up := subscribe(t, cloud, nil, "-url", cloud.url("MQTT"), "-t", "n/#", "-C", "2", "-q", "1")
	down := subscribe(t, g, nil, "-url", g.url("MQTT"), "-t", "cmd/#", "-C", "2", "-q", "1")
	g.reload(t, dir, strings.ReplaceAll(north, "NAME=north", "NAME=arctic"))
	g.wantLog(t, "called otherwise", "bridge=arctic", "before=north", "waiting=1")
	for _, got := range []func() (int, string, string){up, down} {
		if code, out, errs := got(); code != exitOK || out != "up\n" && out != "down\n" {
			t.Errorf("%q comes, %d %s", out, code, errs)
		}
	}
	if strings.Contains(g.log.String(), "bridge that is no more") {
		t.Error("something is left behind")
	}
}

func TestReloadTellsWhatItDoesNot(t *testing.T) {
	dir := t.TempDir()
	cloud := startGateway(t, nil)
	north := "SLUICE_BRIDGE_0_NAME=north\nSLUICE_BRIDGE_0_URL=" + cloud.url("MQTT") + "\nSLUICE_BRIDGE_0_UP=n/#\n"
	path := write(t, dir, "env", north)
	g := startGateway(t, map[string]string{"SLUICE_ENV_FILE": path, "SLUICE_MAX_KEEPALIVE": "1h"})

	g.reload(t, dir, "SLUICE_BRIDGE_0_URL=mqtt://x\nSLUICE_QUEUE_POLICY=no\n")
	g.wantLog(t, "not reloaded", "variable=SLUICE_BRIDGE_0_UP", "neither UP nor DOWN is set")
	g.wantLog(t, "variable=SLUICE_QUEUE_POLICY", "is none of reject", "at="+path+":2")
	if strings.Contains(g.log.String(), "removed=[north]") {
		t.Error("a file with faults removed a bridge")
	}

	g.reload(t, dir, north+"SLUICE_MAX_INFLIGHT=7\nSLUICE_MAX_KEEPALIVE=2h\nSLUICE_WS_ADDR=:0\nSLUICE_LOG_LEVEL=warn\n")
	g.wantLog(t, "needs a restart", "variable=SLUICE_MAX_INFLIGHT")
	if n := strings.Count(g.log.String(), "needs a restart"); n != 1 {
		t.Errorf("%d variables need a restart, want 1: the others are not changed\n%s", n, g.log)
	}
	publish(t, g, "n/1", "x")
	before := g.log.String()
	if _, after, _ := strings.Cut(before, "needs a restart"); strings.Contains(after, "level=INFO") {
		t.Errorf("at level warn the log has\n%s", after)
	}
	g.reload(t, dir, north+"SLUICE_LOG_LEVEL=info\nSLUICE_MAX_INFLIGHT=7\n")
	if n := strings.Count(g.log.String(), "needs a restart"); n != 2 {
		t.Errorf("what needs a restart is told %d times, want at each of two", n)
	}
}

func TestReloadFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := makeCertificate(t, dir)
	hash := strings.TrimPrefix(hashOf(t, "secret"), "x")
	users := write(t, dir, "users", "ali"+hash+"\n write #\nkasim"+hash+"\n write #\n")
	g := startGateway(t, map[string]string{
		"SLUICE_ENV_FILE": write(t, dir, "env", ""), "SLUICE_USERS_FILE": users,
		"SLUICE_MQTTS_ADDR": ":0", "SLUICE_TLS_CERT": cert, "SLUICE_TLS_KEY": key, "SLUICE_WSS_ADDR": ":0",
	})
	shown := func() string {
		conn, err := tls.Dial("tcp", g.addr["MQTT over TLS"], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return fmt.Sprintf("%x", conn.ConnectionState().PeerCertificates[0].Signature)
	}
	pub := func(user string) int {
		code, _, _ := runCommand(t, nil, "", "pub", "-url", g.url("MQTT"), "-u", user, "-P", "secret", "-t", "t", "-m", "x", "-q", "1")
		return code
	}
	before := shown()
	if pub("ali") != exitOK || pub("kasim") != exitOK {
		t.Fatal("those with accounts are not let in")
	}
	makeCertificate(t, dir)
	write(t, dir, "users", "ali"+hash+"\n write #\n")
	g.reload(t, dir, "")
	if shown() == before {
		t.Error("the old certificate is still shown")
	}
	if pub("ali") != exitOK || pub("kasim") == exitOK {
		t.Error("the old accounts still count")
	}
}

// A bridge that differs in anything a setting can say, or in a file, is another.
func TestSameBridge(t *testing.T) {
	dir := t.TempDir()
	ca, _ := makeCertificate(t, dir)
	read := func(more ...string) *bridgeSettings {
		environ := map[string]string{"SLUICE_BRIDGE_0_URL": "mqtts://a", "SLUICE_BRIDGE_0_UP": "a/# 1", "SLUICE_BRIDGE_0_CA": ca, "SLUICE_DATA_DIR": dir}
		for _, m := range more {
			name, value, _ := strings.Cut(m, "=")
			environ["SLUICE_BRIDGE_0_"+name] = value
		}
		s, err := readSettings(environ)
		if err != nil {
			t.Fatal(err)
		}
		return &s.Bridges[0]
	}
	one := read()
	if !one.same(read()) || !one.same(read("KEEPALIVE=60s")) {
		t.Error("what says the same is not the same")
	}
	for _, more := range []string{"UP=a/# 1 ack=upstream", "NAME=b", "PAUSED=true", "LIVE_FIRST=true", "KEEPALIVE=auto", "URL=mqtts://a,mqtts://b", "UP_PREFIX=p/"} {
		if one.same(read(more)) {
			t.Errorf("%s makes no difference", more)
		}
	}
	makeCertificate(t, dir)
	if one.same(read()) {
		t.Error("another certificate makes no difference")
	}
}

// A gateway that cannot start disturbs nobody: its bridges stay away from their upstream, where
// they would take the session from the gateway that runs.
func TestFailedStartLeavesUpstreamAlone(t *testing.T) {
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	environ := map[string]string{
		"SLUICE_MQTT_ADDR": "127.0.0.1:0", "SLUICE_WS_ADDR": "off", "SLUICE_HTTP_ADDR": taken.Addr().String(), "SLUICE_DATA_DIR": t.TempDir(),
		"SLUICE_BRIDGE_0_URL": "mqtt://" + upstream.Addr().String(), "SLUICE_BRIDGE_0_UP": "a/# 1", "SLUICE_BRIDGE_0_CLIENT_ID": "site7",
	}
	code, _, stderr := runCommand(t, environ, "", "serve")
	if code != exitFailed || !strings.Contains(stderr, "SLUICE_HTTP_ADDR") {
		t.Fatalf("serve ends with %d: %s", code, stderr)
	}
	upstream.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if c, err := upstream.Accept(); err == nil {
		c.Close()
		t.Error("the upstream is dialled before all listeners are open")
	}
}
