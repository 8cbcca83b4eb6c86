package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Mosquitto is Debian's broker on a free port, in memory, open to all. It may be
// started again when it has ended.
type Mosquitto struct {
	Addr string
	Log  Log
	*Process

	path, file string
}

// StartMosquitto runs Mosquitto with its configuration in dir and the given
// lines added to it. The error wraps ErrMissing if it is not installed.
func StartMosquitto(dir string, lines ...string) (*Mosquitto, error) {
	addrs, err := FreeAddrs(1)
	if err != nil {
		return nil, err
	}
	return StartMosquittoAt(addrs[0], dir, lines...)
}

// StartMosquittoAt is StartMosquitto on an address of FreeAddrs.
func StartMosquittoAt(addr, dir string, lines ...string) (*Mosquitto, error) {
	path, err := Find("mosquitto", "mosquitto")
	if err != nil {
		return nil, err
	}
	m := &Mosquitto{Addr: addr, path: path, file: filepath.Join(dir, "mosquitto.conf")}
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n", port(m.Addr))
	for _, line := range lines {
		conf += line + "\n"
	}
	if err := os.WriteFile(m.file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if err := m.Start(); err != nil {
		return nil, err
	}
	return m, nil
}

// Start starts it and waits until it listens.
func (m *Mosquitto) Start() (err error) {
	if m.Process, err = Start(&m.Log, nil, m.path, "-c", m.file); err != nil {
		return err
	}
	if err := m.await(2*time.Millisecond, readyLimit, func() bool { return accepts(m.Addr) }); err != nil {
		m.Kill()
		return err
	}
	return nil
}
