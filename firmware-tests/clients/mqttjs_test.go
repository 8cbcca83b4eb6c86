package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// mqttjs is MQTT.js, in a process of Node.js that mqttjs/player.js speaks for.
type mqttjs struct {
	version int
	start   func() (io.WriteCloser, io.Reader, error)
	in      io.WriteCloser
	came    chan message
	answers chan answer
}

type answer struct {
	Answer  bool   `json:"answer"`
	Error   string `json:"error"`
	Present bool   `json:"present"`
}

// installMQTTjs puts mqttjs/ and what its lock file names into a directory of the
// user's cache, once for every lock file.
var installMQTTjs = sync.OnceValues(func() (dir string, err error) {
	npm, err := rig.Look("npm", "npm")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir = filepath.Join(cache, "sluice-firmware-tests", "mqttjs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "player.js"} {
		if err := copyFile(dir, name); err != nil {
			return "", err
		}
	}
	const lock = "package-lock.json"
	wanted, err := os.ReadFile(filepath.Join("mqttjs", lock))
	if err != nil {
		return "", err
	}
	installed := filepath.Join(dir, "installed") // a copy of the lock file, made last
	if have, _ := os.ReadFile(installed); bytes.Equal(have, wanted) {
		return dir, nil
	}
	if err := copyFile(dir, lock); err != nil {
		return "", err
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("MQTT.js: %w (npm ci: %s)", rig.ErrMissing, bytes.TrimSpace(out))
	}
	return dir, os.WriteFile(installed, wanted, 0o644)
})

func copyFile(dir, name string) error {
	b, err := os.ReadFile(filepath.Join("mqttjs", name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b, 0o644)
}

func newMQTTjs(version int) func(*testing.T) func() client {
	return func(t *testing.T) func() client {
		node, err := rig.Look("node", "nodejs")
		var dir string
		if err == nil {
			dir, err = installMQTTjs()
		}
		if errors.Is(err, rig.ErrMissing) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		start := func() (io.WriteCloser, io.Reader, error) {
			cmd := exec.Command(node, "player.js")
			cmd.Dir = dir
			cmd.Stderr = os.Stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			in, err := cmd.StdinPipe()
			if err != nil {
				return nil, nil, err
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				return nil, nil, err
			}
			if err := cmd.Start(); err != nil {
				return nil, nil, err
			}
			t.Cleanup(func() {
				in.Close()
				_ = cmd.Wait() // its code does not matter, the answers do
			})
			return in, out, nil
		}
		return func() client {
			return &mqttjs{version: version, start: start, came: make(chan message, 1000), answers: make(chan answer, 10)}
		}
	}
}

func (c *mqttjs) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var a answer
		var m message
		switch {
		case json.Unmarshal(lines.Bytes(), &a) == nil && a.Answer:
			c.answers <- a
		case json.Unmarshal(lines.Bytes(), &m) == nil:
			c.came <- m
		}
	}
}

// ask sends a command and waits for its answer.
func (c *mqttjs) ask(command map[string]any) (answer, error) {
	b, err := json.Marshal(command)
	if err != nil {
		return answer{}, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return answer{}, err
	}
	select {
	case a := <-c.answers:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-time.After(patience):
		return answer{}, errors.New("no answer")
	}
}

func (c *mqttjs) connect(o options) (bool, error) {
	in, out, err := c.start()
	if err != nil {
		return false, err
	}
	c.in = in
	go c.read(out)
	url := strings.Replace(o.url, "tcp://", "mqtt://", 1)
	a, err := c.ask(map[string]any{"do": "connect", "url": url, "version": c.version, "id": o.id, "persist": o.persist, "ca": o.ca, "will": o.will})
	return a.Present, err
}

func (c *mqttjs) subscribe(filter string, qos byte) error {
	_, err := c.ask(map[string]any{"do": "subscribe", "filter": filter, "qos": qos})
	return err
}

func (c *mqttjs) publish(m message) error {
	_, err := c.ask(map[string]any{"do": "publish", "message": m})
	return err
}

func (c *mqttjs) messages() <-chan message { return c.came }

func (c *mqttjs) disconnect() { _, _ = c.ask(map[string]any{"do": "disconnect"}) }
