package rig

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// natsServer is the package that the nodes are built from, in the version that
// go.mod names.
const natsServer = "github.com/nats-io/nats-server/v2"

// BuildNATS builds nats-server, once in this process.
var BuildNATS = sync.OnceValues(func() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	path := filepath.Join(dir, "sluice-firmware-tests", "nats-server")
	cmd := exec.Command("go", "build", "-o", path, natsServer) // nothing to do if it is there
	cmd.Dir = filepath.Join(Root(), "firmware-tests")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// Cluster is three nats-server nodes with JetStream, MQTT and three replicas of
// every stream.
type Cluster struct {
	Nodes []*Node
}

// Node is one nats-server process of a cluster. It may be started again when it has
// ended.
type Node struct {
	Name string
	MQTT string // address for MQTT 3.1.1
	Log  Log
	*Process

	monitor string // address of its HTTP monitoring
	client  string // address for the NATS protocol

	path, file string // of the program and of its configuration
}

// nodeConf is a node's configuration. Every node needs a name of its own for
// MQTT, and JetStream a directory of its own.
const nodeConf = `server_name: %[1]s
listen: "%[2]s"
http: "%[3]s"
jetstream { store_dir: %[4]q, max_memory_store: 256MB, max_file_store: 4GB }
cluster { name: center, listen: "%[5]s", routes: [%[6]s] }
mqtt { listen: "%[7]s", stream_replicas: 3, ack_wait: "10s", max_ack_pending: 1024 }
`

// StartCluster runs three nodes with their data in dir and waits until they
// have elected a leader and MQTT is served.
func StartCluster(dir string) (*Cluster, error) {
	path, err := BuildNATS()
	if err != nil {
		return nil, err
	}
	const nodes = 3
	addrs, err := FreeAddrs(4 * nodes)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range nodes {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+addrs[4*i]))
	}
	c := &Cluster{}
	for i := range nodes {
		a := addrs[4*i:]
		n := &Node{Name: fmt.Sprintf("node-%d", i+1), client: a[1], monitor: a[2], MQTT: a[3], path: path}
		data := filepath.Join(dir, n.Name)
		n.file = data + ".conf"
		conf := fmt.Sprintf(nodeConf, n.Name, n.client, n.monitor, data, a[0], strings.Join(routes, ", "), n.MQTT)
		if err := os.WriteFile(n.file, []byte(conf), 0o600); err != nil {
			c.Kill()
			return nil, err
		}
		if err := n.launch(); err != nil {
			c.Kill()
			return nil, err
		}
		c.Nodes = append(c.Nodes, n)
	}
	for _, n := range c.Nodes {
		if err := n.ready(); err != nil {
			c.Kill()
			return nil, err
		}
	}
	return c, nil
}

func (n *Node) launch() (err error) {
	n.Process, err = Start(&n.Log, nil, n.path, "-c", n.file)
	return err
}

// ready waits until the node is healthy and listens.
func (n *Node) ready() error {
	return n.await(100*time.Millisecond, readyLimit, func() bool { return n.healthy() && accepts(n.MQTT) })
}

// Start starts a node of a cluster again, and waits until it has what the others have.
func (n *Node) Start() error {
	if err := n.launch(); err != nil {
		return err
	}
	return n.ready()
}

// healthy says whether the node is in a cluster whose leader it knows.
func (n *Node) healthy() bool {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get("http://" + n.monitor + "/healthz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var health struct {
		Status string `json:"status"`
	}
	return json.NewDecoder(resp.Body).Decode(&health) == nil && health.Status == "ok"
}

// Kill ends all nodes with SIGKILL.
func (c *Cluster) Kill() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}
