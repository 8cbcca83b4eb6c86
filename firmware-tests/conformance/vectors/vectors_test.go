package vectors

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// TestSluice plays all rows at the gateway. It says why it ends a connection of 5.0,
// each time, and its log names the clause.
func TestSluice(t *testing.T) {
	binary, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users")
	passwd := exec.Command(binary, "passwd", "-f", users, "inspector")
	passwd.Stdin = strings.NewReader("let me in\n")
	if out, err := passwd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func(env ...string) *rig.Gateway {
		g, err := rig.NewGateway(t.TempDir(), env...)
		if err == nil {
			err = g.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Kill)
		return g
	}
	open, guarded := start("SLUICE_LOG_LEVEL=debug"), start("SLUICE_USERS_FILE="+users)
	target := &suite.Target{
		Name: "Sluice", V5: true, Addr: open.Addr, Guarded: guarded.Addr, User: "inspector", Password: "let me in", Gateway: binary,
	}
	steps := 0
	rows, err := Run(target, func(done, all int) {
		if steps++; done != steps {
			t.Errorf("progress is %d of %d after %d steps", done, all, steps)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	unique := map[string]bool{}
	for _, r := range rows {
		files[r.File]++
		key := r.File + r.Name + r.Version
		if unique[key] {
			t.Errorf("%s %s comes twice in %s", r.File, r.Name, r.Version)
		}
		unique[key] = true
		if r.Outcome != suite.Pass && !strings.Contains(r.Name, "$share/x") {
			t.Errorf("%s %s in %s, %s: %s: %s", r.File, r.Name, r.Version, r.Verdict, r.Outcome, r.Detail)
		}
		bad := r.Verdict == "malformed" || r.Verdict == "protocol-error" || strings.HasPrefix(r.Verdict, "invalid")
		if r.Version == "5.0" && bad && strings.HasPrefix(r.Detail, "closed") {
			t.Errorf("%s %s is not told why it is closed", r.File, r.Name)
		}
	}
	if len(files) != 5 {
		t.Errorf("rows of %v", files)
	}
	if err := open.Terminate(); err != nil {
		t.Error(err)
	}
	log := open.Log.String()
	for _, want := range []string{"clause=MQTT-1.5.5-1", "connections ended since the start", "ended.malformed_packet=", "ended.packet_too_large="} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s:\n%s", want, open.Log.Tail(5))
		}
	}
}
