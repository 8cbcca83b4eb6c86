package sn

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// With accounts, a device is who its key says, and may what that account may. Over plain
// UDP nobody proves anything, and so nobody is let in.
func TestAccounts(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	for _, name := range []string{identity, "centre"} {
		if _, errs, err := sluice(t, "secret\n", "passwd", "-f", users, name); err != nil {
			t.Fatalf("sluice passwd: %v\n%s", err, errs)
		}
	}
	text, err := os.ReadFile(users)
	if err != nil {
		t.Fatal(err)
	}
	granted := strings.Replace(string(text), "centre:", "    write plant/%u/#\n    read cmd/%c\ncentre:", 1)
	if err := os.WriteFile(users, []byte(granted), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, "SLUICE_USERS_FILE="+users)
	c := g.startCentre(t, "plant/#", "cmd/#")
	kits[0].start(t, g.udp, quick).refused("3", "connect", "plain", 1, 60)
	d := kits[1].start(t, g.dtls, quick)
	d.do("connect", "id7", 1, 60)
	d.do("register", "plant/device/a")
	d.do("register", "plant/other/a")
	d.do("publish", "name", "plant/device/a", 1, 0, "mine")
	c.want("plant/device/a 1 false mine")
	d.refused("3", "publish", "name", "plant/other/a", 1, 0, "not mine")
	d.refused("3", "publish", "name", "plant/other/a", 2, 0, "not mine")
	d.refused("3", "subscribe", "name", "#", 1)
	d.refused("3", "willtopic", "plant/other/will", 1, 0)
	d.do("subscribe", "name", "cmd/id7", 1)
	c.publish("cmd/id7", 1, false, "for it")
	d.want("message cmd/id7 1 0 for it")
	c.want("cmd/id7 1 false for it")
}

// Some topics neither come from nor go to plain UDP.
func TestDTLSOnly(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_DTLS_ONLY=valve/#,+/alarm")
	c := g.startCentre(t, "#")
	plain, secure := kits[0].start(t, g.udp, quick), kits[1].start(t, g.dtls, quick)
	for i, d := range []*device{plain, secure} {
		d.do("connect", fmt.Sprint("dev", i), 1, 60)
		d.do("register", "valve/1")
		d.do("subscribe", "name", "#", 1)
	}
	plain.refused("3", "publish", "name", "valve/1", 1, 0, "open")
	secure.do("publish", "name", "valve/1", 1, 0, "open")
	c.publish("a/alarm", 1, false, "alarm")
	c.publish("a/other", 1, false, "for all")
	c.want("valve/1 1 false open", "a/alarm 1 false alarm", "a/other 1 false for all")
	secure.want("message valve/1 1 0 open", "message a/alarm 1 0 alarm", "message a/other 1 0 for all")
	plain.want("message a/other 1 0 for all")
}

// Hellos that lead nowhere keep no device waiting. One that has lost its memory comes again
// from its old port, and one with a wrong key gets nowhere.
func TestHandshakes(t *testing.T) {
	g := startGateway(t)
	const silent = 1000
	hello := unhex(t, "16 fefd 0000 000000000000 003e  01 000032 0000 000000 000032  fefd"+strings.Repeat("00", 32)+
		"00 00 0004 ccab c0a5 01 00 0004 0017 0000") // no session, no cookie, two suites, extended master secret
	for range silent {
		nc, err := net.Dial("udp4", g.dtls)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.Write(hello)
	}
	start := time.Now()
	d := kits[1].start(t, g.dtls, quick)
	d.do("connect", "first", 1, 60)
	t.Logf("connected %v after %d silent hellos", time.Since(start), silent)
	for range 3 {
		d.do("open")
		d.do("connect", "first", 1, 60)
	}
	d.do("ping")

	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("ff", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, err := sluice(t, "", "sn", "pub", "-url", "dtls://"+g.dtls, "-psk-identity", identity, "-psk-file", keyFile, "-t", "a", "-m", "x", "-retry", "500ms")
	if err == nil || !strings.Contains(errs, "is this key or certificate known?") {
		t.Errorf("with a wrong key: %v, %s", err, errs)
	}
}
