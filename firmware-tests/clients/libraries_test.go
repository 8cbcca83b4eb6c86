package clients

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// library is a client library under its name in the tests.
type library struct {
	name string
	// open makes the library ready or skips the test.
	open   func(*testing.T) (version string, newClient func(*testing.T) client)
	cannot map[string]string // a wire or a version: why not
	faults map[string]string // VERSION/SCENE: what is wrong with the library there
}

const (
	only3  = "3.1.1 only"
	only5  = "5 only"
	noWS   = "no WebSocket"
	onlyWS = "WebSocket only"
	untold = "the library does not tell it"
)

var libraries = []library{
	{"paho.mqtt.golang", module("github.com/eclipse/paho.mqtt.golang", newPaho3), map[string]string{"5.0": only3}, nil},
	{"paho.golang", module("github.com/eclipse/paho.golang", newPaho5), map[string]string{"3.1.1": only5}, nil},
	{"paho-python", python, nil, nil},
	{"paho-c", compiled(pahoC), nil, map[string]string{"5.0/session present": untold}}, // MQTTAsync, under paho-cpp, does
	{"paho-cpp", compiled(pahoCPP), nil, nil},
	{"libmosquitto", compiled(libmosquitto), map[string]string{"ws": noWS, "wss": noWS}, nil},
	{"MQTT.js", npm("mqttjs", "mqtt"), nil, nil},
	{"paho-js", npm("pahojs", "paho-mqtt"), map[string]string{"tcp": onlyWS, "tls": onlyWS, "5.0": only3}, map[string]string{"3.1.1/session present": untold}},
}

func TestMain(m *testing.M) {
	// Scenes wait more than they work. The command line may say otherwise.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestClients has the subtests LIBRARY/WIRE/VERSION/SCENE, of which package
// interop makes a table. A library logs its version.
func TestClients(t *testing.T) {
	g := startGateway(t)
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			version, newClient := l.open(t)
			t.Logf("version: %s %s", l.name, version)
			g.each(t, []string{"3.1.1", "5.0"}, l.cannot, func(t *testing.T, o options) {
				for _, scene := range scenes {
					if scene.v5 && o.version != "5.0" {
						continue
					}
					t.Run(scene.name, func(t *testing.T) {
						t.Parallel()
						if fault, found := l.faults[o.version+"/"+scene.name]; found {
							t.Skip(fault)
						}
						_, name, _ := strings.Cut(t.Name(), "/")
						scene.play(t, newClient, o, strings.NewReplacer("/", "-", ".", "-").Replace(name))
					})
				}
			})
		})
	}
	t.Run("mosquitto-clients", func(t *testing.T) { mosquittoClients(t, g) })
}

// module opens a library in Go, which is part of this program.
func module(path string, newClient func(*testing.T) client) func(*testing.T) (string, func(*testing.T) client) {
	return func(t *testing.T) (string, func(*testing.T) client) {
		version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", path).Output()
		if err != nil {
			t.Fatalf("version of %s: %v", path, err)
		}
		return strings.TrimSpace(string(version)), newClient
	}
}
