package clients

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"sluice/firmware-tests/rig"
)

// mosquittoClients runs mosquitto_pub and mosquitto_sub as scripts do: each
// command connects, does one thing and ends.
func mosquittoClients(t *testing.T, w wires) {
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for _, address := range []string{w.tcp, w.tls} {
			wire, _, _ := strings.Cut(address, ":")
			t.Run(version+" "+wire, func(t *testing.T) {
				m := mosquittoCommands{t: t, version: version, url: address, ca: w.ca}
				m.queued()
				m.retained()
				if version == "mqttv5" {
					m.properties()
				}
			})
		}
	}
}

type mosquittoCommands struct {
	t                *testing.T
	version, url, ca string
}

// run runs one of the commands, which is to end within patience, and returns
// what it prints.
func (m mosquittoCommands) run(command string, args ...string) string {
	m.t.Helper()
	path, err := rig.Find(command, "mosquitto-clients")
	if errors.Is(err, rig.ErrMissing) {
		m.t.Skip(err)
	}
	u, err := url.Parse(m.url)
	if err != nil {
		m.t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		m.t.Fatal(err)
	}
	args = append([]string{"-V", m.version, "-h", host, "-p", port}, args...)
	if u.Scheme == "tls" {
		args = append(args, "--cafile", m.ca)
	}
	if command == "mosquitto_sub" {
		args = append(args, "-W", fmt.Sprint(int(patience.Seconds())))
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// name is unlike that of any other test, and short enough for MQTT 3.1.
func (m mosquittoCommands) name(part string) string {
	wire, _, _ := strings.Cut(m.url, ":")
	return m.version + wire + part
}

func (m mosquittoCommands) queued() {
	id, topic := m.name("q"), m.name("/queued")
	session := []string{"-i", id, "-c", "-q", "2", "-t", topic + "/#"}
	if m.version == "mqttv5" {
		session = append(session, "-x", "3600")
	}
	m.run("mosquitto_sub", append(session, "-E")...)
	for qos := range 3 {
		m.run("mosquitto_pub", "-t", fmt.Sprintf("%s/%d", topic, qos), "-q", fmt.Sprint(qos), "-m", fmt.Sprint("at ", qos))
	}
	// QoS 0 is not kept for who is away, or is: [MQTT-3.1.2-5] allows both.
	got := m.run("mosquitto_sub", append(session, "-C", "2", "-F", "%t %q %p", "-T", topic+"/0")...)
	want := fmt.Sprintf("%[1]s/1 1 at 1\n%[1]s/2 2 at 2\n", topic)
	if got != want {
		m.t.Errorf("queued: got %q, want %q", got, want)
	}
}

func (m mosquittoCommands) retained() {
	topic := m.name("/retained")
	m.run("mosquitto_pub", "-t", topic, "-q", "1", "-r", "-m", "kept")
	got := m.run("mosquitto_sub", "-t", topic, "-q", "1", "-C", "1", "-F", "%r %q %p")
	if want := "1 1 kept\n"; got != want {
		m.t.Errorf("retained: got %q, want %q", got, want)
	}
	m.run("mosquitto_pub", "-t", topic, "-q", "1", "-r", "-n")
}

func (m mosquittoCommands) properties() {
	topic := m.name("/properties")
	m.run("mosquitto_pub", "-t", topic, "-q", "1", "-r", "-m", "21.5",
		"-D", "publish", "user-property", "unit", "celsius", "-D", "publish", "content-type", "text/plain")
	got := m.run("mosquitto_sub", "-t", topic, "-q", "1", "-C", "1", "-F", "%C %P %p")
	if want := "text/plain unit:celsius 21.5\n"; got != want {
		m.t.Errorf("properties: got %q, want %q", got, want)
	}
	m.run("mosquitto_pub", "-t", topic, "-q", "1", "-r", "-n")
}
