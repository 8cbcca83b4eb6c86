package plant

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// patience is how long anything may take that happens at once on a machine with little
// to do.
const patience = 40 * time.Second

// NewGateway prepares a gateway with settings, each "SLUICE_NAME=value". It is killed
// when the test ends; one that failed shows its last lines.
func NewGateway(t testing.TB, settings ...string) *rig.Gateway {
	t.Helper()
	g, err := rig.NewGateway(filepath.Join(t.TempDir(), "data"), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.Process != nil {
			g.Kill()
		}
		if t.Failed() {
			t.Logf("the gateway's last lines:\n%s", g.Log.Tail(60))
		}
	})
	return g
}

// Gateway is NewGateway that is started, and listens.
func Gateway(t testing.TB, settings ...string) *rig.Gateway {
	t.Helper()
	g := NewGateway(t, settings...)
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// Restart kills a gateway and starts it.
func Restart(t testing.TB, g *rig.Gateway) {
	t.Helper()
	g.Kill()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
}

// Mosquitto starts Mosquitto with lines added to its configuration.
func Mosquitto(t testing.TB, lines ...string) *rig.Mosquitto {
	t.Helper()
	m, err := rig.StartMosquitto(t.TempDir(), lines...)
	Need(t, err)
	t.Cleanup(func() { m.Kill() })
	return m
}

// Line starts a line to the first of the backends that accepts.
func Line(t testing.TB, backends ...string) *rig.Proxy {
	t.Helper()
	p, err := rig.NewProxy(backends...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Need skips a test for which something is not installed, and ends it at any other error.
func Need(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// Await asks again and again what is still missing, until nothing is.
func Await(t testing.TB, missing func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text := missing()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", patience, text)
		}
	}
}

// Connected is what a gateway logs when a bridge has its connection.
const Connected = `msg="bridge connected"`

// AwaitLog waits until a gateway has logged text n times at least.
func AwaitLog(t testing.TB, g *rig.Gateway, n int, text string) {
	t.Helper()
	Await(t, func() string {
		if strings.Count(g.Log.String(), text) < n {
			return "the gateway does not log " + text
		}
		return ""
	})
}
