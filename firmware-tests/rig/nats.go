package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// StartNATS runs one nats-server with JetStream and MQTT, its data in dir, with lines
// added to its configuration.
func StartNATS(dir, lines string) (*Node, error) {
	addrs, err := FreeAddrs(1)
	if err != nil {
		return nil, err
	}
	return StartNATSAt(addrs[0], dir, lines)
}

// StartNATSAt is StartNATS with MQTT on an address of FreeAddrs.
func StartNATSAt(addr, dir, lines string) (*Node, error) {
	path, err := BuildNATS()
	if err != nil {
		return nil, err
	}
	addrs, err := FreeAddrs(1)
	if err != nil {
		return nil, err
	}
	n := &Node{Name: "alone", client: addrs[0], MQTT: addr}
	file := filepath.Join(dir, "nats.conf")
	conf := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q }\nmqtt { listen: %q }\n%s\n",
		n.Name, n.client, filepath.Join(dir, "jetstream"), n.MQTT, lines)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if n.Process, err = Start(&n.Log, nil, path, "-c", file); err != nil {
		return nil, err
	}
	if err := n.await(10*time.Millisecond, readyLimit, func() bool { return accepts(n.MQTT) }); err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}
