package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// RabbitMQ is Debian's server with its MQTT plugin, which speaks 3.1.1: a node of its
// own that touches neither the system's service nor its data.
type RabbitMQ struct {
	MQTT string // address
	Log  Log
	*Process

	names *Process // epmd, where Erlang nodes of this port find each other
}

const rabbitConf = `listeners.tcp.1 = %s
mqtt.listeners.tcp.1 = %s
mqtt.allow_anonymous = true
`

// StartRabbitMQ runs a node with its data in dir. The error wraps ErrMissing if it is
// not installed.
func StartRabbitMQ(dir string) (*RabbitMQ, error) {
	// The program in the PATH starts the node as another user.
	found, err := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("rabbitmq-server: %w: apt-get install rabbitmq-server", ErrMissing)
	}
	epmd, err := Find("epmd", "rabbitmq-server")
	if err != nil {
		return nil, err
	}
	addrs, err := FreeAddrs(4)
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{MQTT: addrs[0]}
	for name, text := range map[string]string{
		"rabbitmq.conf": fmt.Sprintf(rabbitConf, addrs[1], r.MQTT),
		"plugins":       "[rabbitmq_mqtt].\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	env := []string{
		"HOME=" + dir, // of Erlang's cookie
		"RABBITMQ_NODENAME=sluice@localhost",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(dir, "none"),
		"RABBITMQ_DIST_PORT=" + port(addrs[2]),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_PORT=" + port(addrs[3]),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RUNNING_UNDER_SYSTEMD=true", // the script becomes the node, and is no parent of it
	}
	if r.names, err = Start(&r.Log, env, epmd); err != nil {
		return nil, err
	}
	if err := r.names.await(10*time.Millisecond, readyLimit, func() bool { return accepts(addrs[3]) }); err != nil {
		r.names.Kill()
		return nil, err
	}
	if r.Process, err = Start(&r.Log, env, found[0]); err != nil {
		r.names.Kill()
		return nil, err
	}
	if err := r.await(50*time.Millisecond, 6*readyLimit, func() bool { return accepts(r.MQTT) }); err != nil {
		r.Kill()
		return nil, err
	}
	return r, nil
}

// Kill ends the node with SIGKILL.
func (r *RabbitMQ) Kill() {
	r.Process.Kill()
	r.names.Kill()
}
