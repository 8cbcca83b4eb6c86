package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// The account of every guarded listener.
const (
	user     = "inspector"
	password = "let me in"
)

// started is a target and the processes that make it.
type started struct {
	suite.Target
	dir       string
	processes []*rig.Process
}

// start makes a target with a directory of its own from what begin starts.
func start(name string, v5 bool, begin func(*started) error) (*started, error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	s := &started{dir: dir, Target: suite.Target{Name: name, V5: v5, User: user, Password: password}}
	if err := begin(s); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Stop ends the processes and removes their data.
func (s *started) Stop() {
	for _, p := range s.processes {
		p.Kill()
	}
	os.RemoveAll(s.dir)
}

// startSluice starts the gateway three times: open, with accounts, and with low
// limits.
func startSluice() (*started, error) {
	return start("Sluice", true, func(s *started) (err error) {
		if s.Gateway, err = rig.Build(); err != nil {
			return err
		}
		users := filepath.Join(s.dir, "users")
		passwd := exec.Command(s.Gateway, "passwd", "-f", users, user)
		passwd.Stdin = strings.NewReader(password + "\n")
		if out, err := passwd.CombinedOutput(); err != nil {
			return fmt.Errorf("sluice passwd: %w\n%s", err, out)
		}
		open, err := s.gateway("open")
		if err != nil {
			return err
		}
		s.Addr, s.WebSocket = open.Addr, open.WS
		guarded, err := s.gateway("guarded", "SLUICE_USERS_FILE="+users)
		if err != nil {
			return err
		}
		s.Guarded = guarded.Addr
		limited, err := s.gateway("limited", "SLUICE_MAX_PACKET_SIZE=4KiB", "SLUICE_MAX_INFLIGHT=5", "SLUICE_MAX_KEEPALIVE=2s", "SLUICE_MAX_SESSION_EXPIRY=3s")
		if err != nil {
			return err
		}
		s.Limited = limited.Addr
		return nil
	})
}

func (s *started) gateway(name string, env ...string) (*rig.Gateway, error) {
	g, err := rig.NewGateway(filepath.Join(s.dir, name), env...)
	if err != nil {
		return nil, err
	}
	if err := g.Start(); err != nil {
		return nil, err
	}
	s.processes = append(s.processes, g.Process)
	return g, nil
}

// startMosquitto starts Debian's Mosquitto three times likewise.
func startMosquitto() (*started, error) {
	return start("Mosquitto", true, func(s *started) error {
		passwords := filepath.Join(s.dir, "passwords")
		tool, err := rig.Find("mosquitto_passwd", "mosquitto")
		if err != nil {
			return err
		}
		if out, err := exec.Command(tool, "-b", "-c", passwords, user, password).CombinedOutput(); err != nil {
			return fmt.Errorf("mosquitto_passwd: %w\n%s", err, out)
		}
		webSocket, err := rig.FreeAddrs(1)
		if err != nil {
			return err
		}
		_, port, _ := strings.Cut(webSocket[0], ":")
		if s.Name, err = versioned(s.Name, "mosquitto", "-h"); err != nil {
			return err
		}
		open, err := s.mosquitto("open", "listener "+port+" 127.0.0.1", "protocol websockets")
		if err != nil {
			return err
		}
		s.Addr, s.WebSocket = open.Addr, webSocket[0]
		guarded, err := s.mosquitto("guarded", "allow_anonymous false", "password_file "+passwords)
		if err != nil {
			return err
		}
		s.Guarded = guarded.Addr
		limited, err := s.mosquitto("limited", "max_packet_size 4096", "max_inflight_messages 5", "max_keepalive 10")
		if err != nil {
			return err
		}
		s.Limited = limited.Addr
		return nil
	})
}

func (s *started) mosquitto(name string, lines ...string) (*rig.Mosquitto, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	m, err := rig.StartMosquitto(dir, lines...)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, m.Process)
	return m, nil
}

// startNATS starts nats-server twice: open, and with accounts. It speaks 3.1.1 only.
func startNATS() (*started, error) {
	return start("nats-server", false, func(s *started) error {
		path, err := rig.BuildNATS()
		if err != nil {
			return err
		}
		if s.Name, err = versioned(s.Name, path, "--version"); err != nil {
			return err
		}
		open, err := s.nats("open", "")
		if err != nil {
			return err
		}
		s.Addr = open.MQTT
		guarded, err := s.nats("guarded", fmt.Sprintf("authorization { users: [{user: %q, password: %q}] }", user, password))
		if err != nil {
			return err
		}
		s.Guarded = guarded.MQTT
		return nil
	})
}

func (s *started) nats(name, lines string) (*rig.Node, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	n, err := rig.StartNATS(dir, lines)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, n.Process)
	return n, nil
}

// versioned adds to a name the version that a program tells of itself.
func versioned(name, program, flag string) (string, error) {
	path, err := rig.Look(program, program)
	if err != nil {
		return "", err
	}
	out, _ := exec.Command(path, flag).Output() // mosquitto -h ends with 3
	version := regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`).FindString(string(out))
	if version == "" {
		return "", fmt.Errorf("%s %s tells no version", path, flag)
	}
	return name + " " + version, nil
}
