package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// The account of every guarded listener.
const (
	user     = "inspector"
	password = "let me in"
)

// started is a target with the way to end it.
type started struct {
	suite.Target
	stop []func()
}

func (s *started) Stop() {
	for _, f := range s.stop {
		f()
	}
}

// startSluice starts the gateway three times: open, with accounts, and with low
// limits.
func startSluice(dir string) (*started, error) {
	binary, err := rig.Build()
	if err != nil {
		return nil, err
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, nil, 0o600); err != nil {
		return nil, err
	}
	passwd := exec.Command(binary, "passwd", "-f", users, user)
	passwd.Stdin = strings.NewReader(password + "\n")
	if out, err := passwd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("sluice passwd: %w\n%s", err, out)
	}
	s := &started{Target: suite.Target{Name: "Sluice", V5: true, User: user, Password: password, Gateway: binary}}
	start := func(name string, env ...string) (*rig.Gateway, error) {
		g, err := rig.NewGateway(filepath.Join(dir, name), append(env, "SLUICE_LOG_LEVEL=debug")...)
		if err != nil {
			return nil, err
		}
		if err := g.Start(); err != nil {
			return nil, err
		}
		s.stop = append(s.stop, g.Kill)
		return g, nil
	}
	open, err := start("open")
	if err != nil {
		return nil, err
	}
	s.Addr, s.WebSocket = open.Addr, open.WS
	guarded, err := start("guarded", "SLUICE_USERS_FILE="+users)
	if err != nil {
		s.Stop()
		return nil, err
	}
	s.Guarded = guarded.Addr
	limited, err := start("limited", "SLUICE_MAX_PACKET_SIZE=4KiB", "SLUICE_MAX_INFLIGHT=5", "SLUICE_MAX_KEEPALIVE=2s", "SLUICE_MAX_SESSION_EXPIRY=3s")
	if err != nil {
		s.Stop()
		return nil, err
	}
	s.Limited = limited.Addr
	return s, nil
}
