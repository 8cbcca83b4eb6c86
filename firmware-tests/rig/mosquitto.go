package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Mosquitto is Debian's broker on a free port, in memory, open to all.
type Mosquitto struct {
	Addr string
	Log  Log
	*Process
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
	m := &Mosquitto{Addr: addr}
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n", port(m.Addr))
	for _, line := range lines {
		conf += line + "\n"
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if m.Process, err = Start(&m.Log, nil, path, "-c", file); err != nil {
		return nil, err
	}
	if err := m.await(2*time.Millisecond, readyLimit, func() bool { return accepts(m.Addr) }); err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}
