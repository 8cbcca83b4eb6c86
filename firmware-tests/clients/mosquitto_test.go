package clients

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"sluice/firmware-tests/rig"
)

// mosquittoClients runs mosquitto_pub and mosquitto_sub as scripts do: each
// command connects, does one thing and ends.
func mosquittoClients(t *testing.T, g gateway) {
	t.Parallel()
	const debian = "mosquitto-clients"
	pub, err := rig.Find("mosquitto_pub", debian)
	need(t, err)
	sub, err := rig.Find("mosquitto_sub", debian)
	need(t, err)
	t.Logf("version: %s %s", debian, debianVersion(debian))
	cannot := map[string]string{"ws": noWS, "wss": noWS}
	g.each(t, []string{"3.1", "3.1.1", "5.0"}, cannot, func(t *testing.T, o options) {
		for _, scene := range mosquittoScenes {
			if scene.v5 && o.version != "5.0" {
				continue
			}
			t.Run(scene.name, func(t *testing.T) {
				t.Parallel()
				scene.play(mosquittoCommands{t, o, pub, sub})
			})
		}
	})
}

var mosquittoScenes = []struct {
	name string
	v5   bool // MQTT 5 only
	play func(mosquittoCommands)
}{
	{"queued", false, mosquittoCommands.queued},
	{"retained", false, mosquittoCommands.retained},
	{"properties", true, mosquittoCommands.properties},
}

// mosquittoCommands runs commands for one test.
type mosquittoCommands struct {
	*testing.T
	options
	pub, sub string // paths
}

// run runs a command, which is to end within patience, and returns what it
// prints.
func (m mosquittoCommands) run(command string, args ...string) string {
	m.Helper()
	u, err := url.Parse(m.url)
	if err != nil {
		m.Fatal(err)
	}
	version := "mqttv" + strings.ReplaceAll(strings.TrimSuffix(m.version, ".0"), ".", "")
	args = append([]string{"-V", version, "-h", u.Hostname(), "-p", u.Port()}, args...)
	if u.Scheme == "tls" {
		args = append(args, "--cafile", m.ca)
	}
	if command == m.sub {
		args = append(args, "-W", fmt.Sprint(int(patience.Seconds())))
	}
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil {
		m.Errorf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// name is unlike that of any other test, and short enough for MQTT 3.1.
func (m mosquittoCommands) name(part string) string {
	wire, _, _ := strings.Cut(m.url, ":")
	return "mosquitto" + m.version + wire + part
}

func (m mosquittoCommands) queued() {
	id, topic := m.name("q"), m.name("/queued")
	session := []string{"-i", id, "-c", "-q", "2", "-t", topic + "/#"}
	if m.version == "5.0" {
		session = append(session, "-x", "3600")
	}
	m.run(m.sub, append(session, "-E")...)
	for qos := range 3 {
		m.run(m.pub, "-t", fmt.Sprintf("%s/%d", topic, qos), "-q", fmt.Sprint(qos), "-m", fmt.Sprint("at ", qos))
	}
	// QoS 0 is not kept for who is away, or is: [MQTT-3.1.2-5] allows both.
	got := m.run(m.sub, append(session, "-C", "2", "-F", "%t %q %p", "-T", topic+"/0")...)
	want := fmt.Sprintf("%[1]s/1 1 at 1\n%[1]s/2 2 at 2\n", topic)
	if got != want {
		m.Errorf("queued: got %q, want %q", got, want)
	}
}

func (m mosquittoCommands) retained() {
	topic := m.name("/retained")
	m.run(m.pub, "-t", topic, "-q", "1", "-r", "-m", "kept")
	got := m.run(m.sub, "-t", topic, "-q", "1", "-C", "1", "-F", "%r %q %p")
	if want := "1 1 kept\n"; got != want {
		m.Errorf("retained: got %q, want %q", got, want)
	}
	m.run(m.pub, "-t", topic, "-q", "1", "-r", "-n")
}

func (m mosquittoCommands) properties() {
	topic := m.name("/properties")
	m.run(m.pub, "-t", topic, "-q", "1", "-r", "-m", "21.5",
		"-D", "publish", "user-property", "unit", "celsius", "-D", "publish", "content-type", "text/plain")
	got := m.run(m.sub, "-t", topic, "-q", "1", "-C", "1", "-F", "%C %P %p")
	if want := "text/plain unit:celsius 21.5\n"; got != want {
		m.Errorf("properties: got %q, want %q", got, want)
	}
	m.run(m.pub, "-t", topic, "-q", "1", "-r", "-n")
}
