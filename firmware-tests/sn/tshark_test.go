package sn

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// Wireshark's dissector reads all that a device and the gateway say to each other, and
// has nothing to complain of. What it has no form for is not said here: the empty
// WILLTOPIC, and predefined topic ids in SUBSCRIBE.
func TestDissector(t *testing.T) {
	tshark, err := rig.Find("tshark", "tshark")
	need(t, err)
	_, err = native.build()
	need(t, err)
	g := startGateway(t, "SLUICE_SN_PREDEFINED=7=plant/pump")
	c := g.startCentre(t)
	var capture capture
	radio := &rig.Radio{Backend: g.udp, Heard: capture.add}
	if err := radio.Open(); err != nil {
		t.Fatal(err)
	}
	defer radio.Close()

	d := kits[0].start(t, radio.Addr, quick)
	d.refused("gone", "register", "early")
	d.want("gone")
	d.do("connect", "dissected", 0, 60, "will", 1, 1, "lost")
	d.do("willtopic", "will/2", 2, 0)
	d.do("willmessage", "really lost")
	d.do("register", "up/a")
	d.refused("3", "register", "up/#")
	for qos := range 3 {
		d.do("publish", "name", "up/a", qos, qos%2, fmt.Sprint("at ", qos))
		d.do("publish", "short", "ab", qos, 0, "short")
		d.do("publish", "predefined", 7, qos, 0, "predefined")
	}
	d.do("publish", "short", "ab", -1, 0, "without a connection")
	d.refused("2", "publish", "predefined", 9, 1, 0, "unknown")
	d.do("subscribe", "name", "down/#", 2)
	d.do("subscribe", "short", "xy", 1)
	for qos := range byte(3) {
		c.publish("down/a", qos, false, strings.Repeat("long ", 60))
		d.want(fmt.Sprintf("message down/a %d 0 %s", qos, strings.Repeat("long ", 60)))
	}
	d.do("ping")
	d.do("sleep", 60)
	c.publish("down/b", 2, false, "waits")
	d.do("wake", "dissected")
	d.want("message down/b 2 0 waits")
	d.do("connect", "dissected", 0, 60)
	d.do("unsubscribe", "name", "down/#")
	d.do("disconnect")
	if _, errs, err := sluice(t, "", "sn", "search", "-to", radio.Addr, "-W", "1s"); err != nil {
		t.Fatalf("sluice sn search: %v\n%s", err, errs)
	}
	capture.check(t, tshark)
}

// capture is what has been said, as a file for Wireshark.
type capture struct {
	mu        sync.Mutex
	datagrams [][]byte
	file      []byte
}

// add adds a datagram, with the headers it has on the network.
func (c *capture) add(from, to netip.AddrPort, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil { // magic, version 2.4, zone, accuracy, longest packet, IP
		c.file = append(c.file, unhexed("a1b2c3d4 0002 0004 00000000 00000000 0000ffff 00000065")...)
	}
	c.datagrams = append(c.datagrams, append([]byte(nil), b...))
	now := time.Now()
	n := uint32(20 + 8 + len(b))
	for _, v := range []uint32{uint32(now.Unix()), uint32(now.Nanosecond() / 1000), n, n} {
		c.file = binary.BigEndian.AppendUint32(c.file, v)
	}
	c.file = append(c.file, 0x45, 0) // IPv4, no options
	c.file = binary.BigEndian.AppendUint16(c.file, uint16(n))
	c.file = append(c.file, unhexed("0000 0000 40 11 0000")...) // TTL 64, UDP, no checksum
	c.file = append(append(c.file, from.Addr().Unmap().AsSlice()...), to.Addr().Unmap().AsSlice()...)
	for _, v := range []uint16{from.Port(), to.Port(), uint16(8 + len(b)), 0} {
		c.file = binary.BigEndian.AppendUint16(c.file, v)
	}
	c.file = append(c.file, b...)
}

func unhexed(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// check has the dissector read it all.
func (c *capture) check(t *testing.T, tshark string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	file := filepath.Join(t.TempDir(), "session.pcap")
	if err := os.WriteFile(file, c.file, 0o600); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd := exec.CommandContext(t.Context(), tshark, "-r", file, "-d", "udp.port==1-65535,mqttsn", "-T", "fields", "-E", "separator=|",
		"-e", "mqttsn.msg.type", "-e", "mqttsn.msg.len", "-e", "_ws.malformed", "-e", "_ws.expert.message")
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(c.datagrams) {
		t.Fatalf("%d datagrams, tshark has %d\n%s", len(c.datagrams), len(lines), errs.String())
	}
	types := make(map[byte]bool)
	for i, b := range c.datagrams {
		typ, length := b[1], int(b[0])
		if b[0] == 1 {
			typ, length = b[3], int(binary.BigEndian.Uint16(b[1:]))
		}
		types[typ] = true
		want := fmt.Sprintf("0x%02x|%d||", typ, length)
		if lines[i] != want {
			t.Errorf("% x: tshark says %q, want %q", b, lines[i], want)
		}
	}
	t.Logf("%d datagrams of %d types", len(c.datagrams), len(types))
	if len(types) != 26 { // all but ADVERTISE
		t.Errorf("messages of %d types were said, want 26", len(types))
	}
}
