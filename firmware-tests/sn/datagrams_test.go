package sn

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// peer speaks in bytes.
type peer struct {
	t  *testing.T
	nc net.Conn
}

func (g *gateway) dial(t *testing.T) *peer {
	t.Helper()
	nc, err := net.Dial("udp4", g.udp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &peer{t, nc}
}

// unhex reads bytes with spaces between.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p *peer) send(text string) { p.nc.Write(unhex(p.t, text)) }

// next is the next datagram.
func (p *peer) next() []byte {
	p.t.Helper()
	b := make([]byte, 2000)
	p.nc.SetReadDeadline(time.Now().Add(patience))
	n, err := p.nc.Read(b)
	if err != nil {
		p.t.Fatalf("nothing comes: %v", err)
	}
	return b[:n]
}

// want is what comes next.
func (p *peer) want(what, text string) {
	p.t.Helper()
	if got := p.next(); !bytes.Equal(got, unhex(p.t, text)) {
		p.t.Fatalf("%s: got % x, want %s", what, got, text)
	}
}

// connect connects with a client identifier of one letter.
func (p *peer) connect(id byte) {
	p.t.Helper()
	p.send(fmt.Sprintf("07 04 04 01 003c %02x", id))
	p.want("CONNACK", "03 05 00")
}

// quiet is that nothing has come that is not asked for: the answer to a question is the
// next that comes. Who is not connected asks where gateways are.
func (p *peer) quiet(what string, connected bool) {
	p.t.Helper()
	if connected {
		p.send("02 16")
		p.want(what+", then PINGRESP", "02 17")
		return
	}
	p.send("03 01 00")
	p.want(what+", then GWINFO", "03 02 01")
}

// vector is a row of the golden vectors.
type vector struct {
	name, verdict, meaning string
	b                      []byte
}

func vectors(t *testing.T) (rows []vector) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rig.Root(), "codec", "testdata", "vectors.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); f[1] == "sn1.2" {
			rows = append(rows, vector{f[0], f[3], f[4], unhex(t, f[2])})
		}
	}
	if len(rows) < 70 {
		t.Fatalf("%d vectors", len(rows))
	}
	return rows
}

// The malformed ones have no answer, whoever sends them, and neither have those that only
// a gateway sends.
func TestMalformedVectors(t *testing.T) {
	g := startGateway(t)
	stranger, device := g.dial(t), g.dial(t)
	device.connect('d')
	for _, v := range vectors(t) {
		switch {
		case v.verdict == "malformed":
		case v.verdict == "valid" && (strings.HasPrefix(v.meaning, "[GW>") || strings.HasPrefix(v.meaning, "[FWD>")):
			if v.name == "sn-register-gw" {
				continue // a topic id in a REGISTER of a client's is no matter
			}
		default:
			continue
		}
		stranger.nc.Write(v.b)
		stranger.quiet(v.name, false)
		device.nc.Write(v.b)
		device.quiet(v.name, true)
	}
}

// What can be read but is not allowed is answered as the specification names it.
func TestProtocolErrors(t *testing.T) {
	g := startGateway(t)
	answers := map[string]struct {
		connected bool
		answer    string // none: dropped
	}{
		"sn-connect-no-id":       {false, "03 05 03"},
		"sn-connect-protocol-2":  {false, "03 05 03"},
		"sn-connect-id-24":       {false, "03 05 00"}, // by judgement: devices in the field have long ones
		"sn-register-wildcard":   {true, "07 0b 0000 0001 03"},
		"sn-publish-topictype-3": {true, "07 0d 0005 0000 03"},
		"sn-publish-topicid-0":   {true, "07 0d 0000 0007 02"},
		"sn-publish-q1-msgid-0":  {true, ""},
		"sn-subscribe-qm1":       {true, "08 13 00 0000 0002 03"},
		"sn-connected-only":      {false, "02 18"},
	}
	for _, v := range vectors(t) {
		if v.verdict != "protocol-error" {
			continue
		}
		want, known := answers[v.name]
		if !known {
			t.Errorf("%s: no answer is named", v.name)
		}
		p := g.dial(t)
		if want.connected {
			p.connect('e')
		}
		p.nc.Write(v.b)
		if want.answer != "" {
			p.want(v.name, want.answer)
		}
		p.quiet(v.name, want.connected || v.name == "sn-connect-id-24")
		delete(answers, v.name)
	}
	for name := range answers {
		t.Errorf("%s: no such vector", name)
	}
}

// What no vector has.
func TestDialogues(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_PREDEFINED=7=plant/pump", "SLUICE_SN_RETRY=10s")
	for name, lines := range map[string]string{
		"an empty Will topic ends the dialogue": "> 07 04 0c 01 003c 66;    < 02 06; > 02 07; < 03 05 00",
		"WILLMSG before WILLTOPIC":              "> 07 04 0c 01 003c 67;    < 02 06; > 03 09 78; < 02 18",
		"CONNECT again asks again":              "> 07 04 0c 01 003c 68;    < 02 06; > 07 04 0c 01 003c 68; < 02 06; > 05 07 00 61 62; < 02 08; > 03 09 78; < 03 05 00",
		"CONNECT again is answered again":       "> 07 04 04 01 003c 69;    < 03 05 00; > 07 04 04 01 003c 69; < 03 05 00",
		"short message in the long form":        "> 07 04 04 01 003c 6a;    < 03 05 00; > 01 0004 16; < 02 17",
		"QoS -1 in a normal topic":              "> 07 04 04 01 003c 6b;    < 03 05 00; > 08 0c 60 0001 0000 78; > 02 16; < 02 17",
		"unknown topic at QoS 0":                "> 07 04 04 01 003c 6c;    < 03 05 00; > 08 0c 00 0063 0000 78; < 07 0d 0063 0000 02",
		"short name with a wildcard":            "> 07 04 04 01 003c 6d;    < 03 05 00; > 07 12 02 0001 612b; < 08 13 00 0000 0001 03",
		"predefined topic of no number":         "> 07 04 04 01 003c 6e;    < 03 05 00; > 07 12 21 0001 0008; < 08 13 00 0000 0001 02",
		"predefined topic":                      "> 07 04 04 01 003c 6f;    < 03 05 00; > 07 12 21 0001 0007; < 08 13 20 0007 0001 00",
		"short name":                            "> 07 04 04 01 003c 70;    < 03 05 00; > 07 12 22 0001 7474; < 08 13 20 0000 0001 00",
		"UNSUBSCRIBE of what is not":            "> 07 04 04 01 003c 71;    < 03 05 00; > 07 14 00 0001 7474; < 04 15 0001",
		"Will update without a Will":            "> 07 04 04 01 003c 72;    < 03 05 00; > 03 1c 78; < 03 1d 03",
		"Will update with a wildcard":           "> 07 04 04 01 003c 73;    < 03 05 00; > 04 1a 00 23; < 03 1b 03",
		"sleep of no time":                      "> 07 04 04 01 003c 74;    < 03 05 00; > 04 18 0000; < 02 18; > 02 16; < 02 18",
		"PINGREQ of another":                    "> 07 04 04 01 003c 75;    < 03 05 00; > 03 16 7a; < 02 18",
		"PUBREL of nothing":                     "> 07 04 04 01 003c 76;    < 03 05 00; > 04 10 0009; < 04 0e 0009",
		"QoS 2 twice":                           "> 07 04 04 01 003c 77;    < 03 05 00; > 08 0c 42 7474 0009 78; < 04 0f 0009; > 08 0c c2 7474 0009 78; < 04 0f 0009; > 04 10 0009; < 04 0e 0009",
		"another client from the same address":  "> 07 04 04 01 003c 78;    < 03 05 00; > 07 04 04 01 003c 79; < 03 05 00; > 02 16; < 02 17",
	} {
		t.Run(name, func(t *testing.T) {
			p := g.dial(t)
			for line := range strings.SplitSeq(lines, ";") {
				if sent, ok := strings.CutPrefix(strings.TrimSpace(line), ">"); ok {
					p.send(sent)
				} else {
					p.want(name, strings.TrimPrefix(strings.TrimSpace(line), "<"))
				}
			}
		})
	}
}

// Devices behind a forwarder are told apart by their nodes.
func TestForwarder(t *testing.T) {
	g := startGateway(t, "SLUICE_SN_FORWARDERS=127.0.0.0/8")
	p := g.dial(t)
	p.send("04 fe 00 aa  07 04 04 01 003c 61")
	p.want("aa connects", "04 fe 00 aa  03 05 00")
	p.send("05 fe 00 bbbb  07 04 04 01 003c 62")
	p.want("bb connects", "05 fe 00 bbbb  03 05 00")
	p.connect('c') // the forwarder has something to say, too
	p.send("04 fe 00 aa  07 12 22 0001 6e6e")
	p.want("aa subscribes", "04 fe 00 aa  08 13 20 0000 0001 00")
	p.send("05 fe 00 bbbb  08 0c 22 6e6e 0001 78")
	m := p.next() // under a message id of the gateway's choice
	if len(m) < 12 || hex.EncodeToString(m[:9])+hex.EncodeToString(m[11:]) != "04fe00aa080c226e6e78" {
		t.Fatalf("aa has the message: got % x", m)
	}
	p.send(fmt.Sprintf("04 fe 00 aa  07 0d 6e6e %x 00", m[9:11]))
	p.want("bb's is acknowledged", "05 fe 00 bbbb  07 0d 6e6e 0001 00")
	p.send("04 fe 00 aa  04 fe 00 cc  02 16") // in one another
	p.quiet("the forwarder", true)
	p.send("04 fe 00 cc  02 16")
	p.want("cc is not connected", "04 fe 00 cc  02 18")
}

// Whatever comes, at full speed, from who is not connected: what has no answer is not
// answered, no more comes back than was sent, nothing stays in memory, and a device is
// served meanwhile.
func TestFlood(t *testing.T) {
	g := startGateway(t)
	device := g.dial(t)
	device.connect('d')
	before := memory(t, g)
	for _, load := range []struct {
		name   string
		mutate func(*rand.Rand, []byte) []byte
		answer bool  // some have one
		grows  int64 // by so much at most: a mutated CONNECT may be a good one
	}{
		{"malformed", malform, false, 8 << 20},
		{"mutated", flip, true, 64 << 20},
	} {
		f := flood{rows: vectors(t), mutate: load.mutate}
		f.run(t, g, device)
		grown := memory(t, g) - before
		t.Logf("%s: %d datagrams of %d bytes, %d bytes came back, %d pings of a device were answered; %d KiB more in use",
			load.name, f.sent, f.sentBytes, f.gotBytes, f.pings, grown>>10)
		if !load.answer && f.gotBytes > 0 || f.gotBytes > f.sentBytes {
			t.Errorf("%s: %d bytes came back", load.name, f.gotBytes)
		}
		if grown > load.grows {
			t.Errorf("%s: %d KiB more in use", load.name, grown>>10)
		}
		if f.pings == 0 {
			t.Errorf("%s: a device was not served", load.name)
		}
	}
}

// flood is a second of datagrams from several peers, made of the vectors.
type flood struct {
	rows   []vector
	mutate func(*rand.Rand, []byte) []byte

	mu                        sync.Mutex
	sent, sentBytes, gotBytes int
	pings                     int
}

func (f *flood) run(t *testing.T, g *gateway, device *peer) {
	end := time.Now().Add(time.Second)
	var all sync.WaitGroup
	for seed := range uint64(4) {
		p := g.dial(t)
		all.Go(func() { f.send(p.nc, seed, end) })
		all.Go(func() { f.receive(p.nc, end) })
	}
	for time.Now().Before(end) { // what the system drops in the crush is sent again
		device.send("02 16")
		device.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _ := device.nc.Read(make([]byte, 100)); n > 0 {
			f.pings++
		}
	}
	all.Wait()
}

func (f *flood) send(nc net.Conn, seed uint64, end time.Time) {
	dice := rand.New(rand.NewPCG(seed, 0))
	sent, sentBytes := 0, 0
	for time.Now().Before(end) {
		for range 100 {
			b := f.mutate(dice, bytes.Clone(f.rows[dice.IntN(len(f.rows))].b))
			if n, err := nc.Write(b); err == nil {
				sent, sentBytes = sent+1, sentBytes+n
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent, f.sentBytes = f.sent+sent, f.sentBytes+sentBytes
}

func (f *flood) receive(nc net.Conn, end time.Time) {
	nc.SetReadDeadline(end.Add(200 * time.Millisecond))
	got := 0
	for b := make([]byte, 1<<16); ; {
		n, err := nc.Read(b)
		if err != nil {
			break
		}
		got += n
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gotBytes += got
}

// malform makes a datagram that is surely no message: its length is wrong, or its type is
// reserved.
func malform(dice *rand.Rand, b []byte) []byte {
	reserved := []byte{0x03, 0x11, 0x19, 0x1e, 0x55, 0xfd, 0xff}
	b = flip(dice, b[:min(len(b), 200)])
	n := len(b) + 2
	switch dice.IntN(3) {
	case 0:
		return append([]byte{byte(n), reserved[dice.IntN(len(reserved))]}, b...)
	case 1: // something is missing
		return append([]byte{byte(n + 1 + dice.IntN(50)), byte(dice.IntN(0x1e))}, b...)
	default: // something is behind it
		return append([]byte{byte(2 + dice.IntN(n-2)), byte(dice.IntN(0x1e))}, b...)
	}
}

// flip changes some bits.
func flip(dice *rand.Rand, b []byte) []byte {
	for range 1 + dice.IntN(4) {
		b[dice.IntN(len(b))] ^= 1 << dice.IntN(8)
	}
	return b
}

// memory is the gateway's RSS, in bytes.
func memory(t *testing.T, g *gateway) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		t.Fatalf("the gateway is gone: %v\n%s", err, g.Log.Tail(20))
	}
	field := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(status)
	if field == nil {
		t.Fatalf("no VmRSS in\n%s", status)
	}
	kilobytes, err := strconv.ParseInt(string(field[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}
