package sn

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice/firmware-tests/rig"
)

// discovery runs in a network of its own, of which nothing leaves: a gateway that makes
// itself known to a group, and two who search.
const discovery = `set -e
ip link set lo up
ip link add here type veth peer name there
ip addr add 192.0.2.1/24 dev here
ip link set here up
ip link set there up
ip route add 224.0.0.0/4 dev here
"$1" &
gateway=$!
trap 'kill $gateway; wait $gateway' EXIT
"$1" sn search -to 192.0.2.255 -W 3 -json
"$1" sn search -to 225.1.1.1 -W 3 -json
`

// Devices find the gateway by broadcast and by multicast.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	if err := exec.Command("unshare", "--net", "true").Run(); err != nil {
		t.Skip("a network of its own needs root and unshare: ", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("apt-get install iproute2: ", err)
	}
	path, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", "sh", "-c", discovery, "sh", path)
	cmd.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "SLUICE_AUTH_ANONYMOUS=true", "SLUICE_MQTT_ADDR=127.0.0.1:0", "SLUICE_WS_ADDR=off",
		"SLUICE_SN_ADDR=:1883", "SLUICE_SN_GROUP=225.1.1.1", "SLUICE_SN_GATEWAY_ID=9", "SLUICE_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
	}
	out, err := cmd.CombinedOutput()
	if n := strings.Count(string(out), `"gateway":9}`); err != nil || n < 2 {
		t.Errorf("%d answers, want two: %v\n%s", n, err, out)
	}
}
