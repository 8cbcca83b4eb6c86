package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// readyLimit is how long a program may take to listen.
const readyLimit = 30 * time.Second

// Root is the top of the checkout, two levels above this file.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Build builds the gateway as bin/sluice, once in this process, and returns its
// path. SLUICE_BINARY in the environment names one to use instead.
var Build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("SLUICE_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	// Tests of other packages may do the same now, or run what is there: a
	// rename never shows half a file.
	path := filepath.Join(Root(), "bin", "sluice")
	own := fmt.Sprintf("%s-%d", path, os.Getpid())
	if out, err := exec.Command(filepath.Join(Root(), "deploy", "build.sh"), own).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return path, os.Rename(own, path)
})

// Gateway is the gateway's binary on free ports with a data directory of its
// own. Both stay the same when it is killed and started again.
type Gateway struct {
	// Set once by NewGateway.
	Addr string // MQTT over TCP
	WS   string // MQTT over WebSocket, path /mqtt
	Dir  string // data
	Log  Log

	// Set by Start.
	*Process

	path string
	args []string
	env  []string
}

// NewGateway prepares a gateway whose settings are env ("NAME=value") besides
// its addresses and its data directory dir. It does not start it.
func NewGateway(dir string, env ...string) (*Gateway, error) {
	path, err := Build()
	if err != nil {
		return nil, err
	}
	addrs, err := FreeAddrs(2)
	if err != nil {
		return nil, err
	}
	g := &Gateway{Addr: addrs[0], WS: addrs[1], Dir: dir, path: path}
	g.env = append([]string{
		"SLUICE_MQTT_ADDR=" + g.Addr,
		"SLUICE_WS_ADDR=" + g.WS,
		"SLUICE_DATA_DIR=" + g.Dir,
	}, env...)
	return g, nil
}

// Launch starts the gateway without waiting for it to listen.
func (g *Gateway) Launch() (err error) {
	g.Process, err = Start(&g.Log, g.env, g.path, g.args...)
	return err
}

// Start starts the gateway and waits until it listens.
func (g *Gateway) Start() error {
	if err := g.Launch(); err != nil {
		return err
	}
	return g.await(2*time.Millisecond, readyLimit, func() bool { return accepts(g.Addr) })
}

// Set adds a setting for the next start.
func (g *Gateway) Set(name, value string) { g.env = append(g.env, name+"="+value) }

// Wrap has the gateway started by another program, whose arguments end with what
// starts it.
func (g *Gateway) Wrap(program string, args ...string) { g.path, g.args = program, args }
