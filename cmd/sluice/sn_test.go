package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec/sn"
	"sluice/gateway/transport"
)

// snGateway is a gateway that answers by a script: each message is answered with what
// answer gives for it. It remembers what it heard, by name and with topic and data.
type snGateway struct {
	conn   *net.UDPConn
	answer func(sn.Message) []sn.Message

	mu    sync.Mutex
	dec   sn.Decoder
	heard []string
}

// Datagram and Ended make it one for DTLS.
func (g *snGateway) Datagram(ep transport.Endpoint, from netip.AddrPort, b []byte) {
	g.take(b, func(b []byte) { ep.Send(b, from) })
}

func (g *snGateway) Ended(transport.Endpoint) {}

// take answers a datagram.
func (g *snGateway) take(b []byte, send func([]byte)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, err := g.dec.Decode(b)
	if err != nil {
		return
	}
	g.heard = append(g.heard, inShort(m))
	for _, a := range append(g.answer(m), ordinary(m)...) {
		send(a.Append(nil))
	}
}

func startSNGateway(t *testing.T, answer func(sn.Message) []sn.Message) *snGateway {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	g := &snGateway{conn: conn, answer: answer}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.serve()
	}()
	t.Cleanup(func() {
		conn.Close()
		<-ended
	})
	return g
}

func (g *snGateway) addr() string { return g.conn.LocalAddr().String() }

func (g *snGateway) serve() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := g.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		g.take(buf[:n], func(b []byte) { g.conn.WriteToUDPAddrPort(b, from) })
	}
}

// ordinary is the answer to what a client says when all goes well.
func ordinary(m sn.Message) []sn.Message {
	switch m := m.(type) {
	case *sn.Connect:
		if m.Will {
			return []sn.Message{&sn.WillTopicRequest{}}
		}
		return []sn.Message{&sn.Connack{}}
	case *sn.WillTopic:
		return []sn.Message{&sn.WillMessageRequest{}}
	case *sn.WillMessage:
		return []sn.Message{&sn.Connack{}}
	case *sn.Register:
		return []sn.Message{&sn.Regack{TopicID: 5, MessageID: m.MessageID}}
	case *sn.Publish:
		if m.QoS == 1 {
			return []sn.Message{&sn.Puback{TopicID: m.TopicID, MessageID: m.MessageID}}
		}
		if m.QoS == 2 {
			return []sn.Message{&sn.Pubrec{MessageID: m.MessageID}}
		}
	case *sn.Pubrel:
		return []sn.Message{&sn.Pubcomp{MessageID: m.MessageID}}
	case *sn.Subscribe:
		return []sn.Message{&sn.Suback{QoS: byte(m.QoS), TopicID: 6, MessageID: m.MessageID}}
	case *sn.Pingreq:
		return []sn.Message{&sn.Pingresp{}}
	case *sn.Disconnect:
		return []sn.Message{&sn.Disconnect{}}
	case *sn.SearchGateway:
		return []sn.Message{&sn.GatewayInfo{GatewayID: 7}, &sn.GatewayInfo{GatewayID: 8, Address: []byte{10, 0, 0, 1}}}
	}
	return nil
}

// inShort is a message in short.
func inShort(m sn.Message) string {
	switch m := m.(type) {
	case *sn.Connect:
		return fmt.Sprintf("%v %d clean=%v", m.Type(), m.Duration, m.CleanSession)
	case *sn.WillTopic:
		return fmt.Sprintf("%v %s@%d retain=%v", m.Type(), m.Topic, m.QoS, m.Retain)
	case *sn.WillMessage:
		return fmt.Sprintf("%v %s", m.Type(), m.Message)
	case *sn.Register:
		return fmt.Sprintf("%v %s", m.Type(), m.Topic)
	case *sn.Publish:
		return fmt.Sprintf("%v %v:%d=%s@%d retain=%v", m.Type(), m.TopicIDType, m.TopicID, m.Data, m.QoS, m.Retain)
	case *sn.Subscribe:
		return fmt.Sprintf("%v %v:%d%s@%d", m.Type(), m.TopicIDType, m.TopicID, m.Topic, m.QoS)
	case *sn.Disconnect:
		return fmt.Sprintf("%v %d", m.Type(), m.Duration)
	case *sn.Pingreq:
		return fmt.Sprintf("%v %s", m.Type(), m.ClientID)
	case *sn.SearchGateway:
		return fmt.Sprintf("%v %d", m.Type(), m.Radius)
	}
	return m.Type().String()
}

func TestSN(t *testing.T) {
	nothing := func(sn.Message) []sn.Message { return nil }
	// on gives messages for the first message of a type.
	on := func(typ sn.MessageType, messages ...sn.Message) func(sn.Message) []sn.Message {
		return func(m sn.Message) (answer []sn.Message) {
			if m.Type() == typ {
				answer, messages = messages, nil
			}
			return answer
		}
	}
	publish := func(qos int8, kind sn.TopicIDType, id, message uint16, data string) *sn.Publish {
		return &sn.Publish{QoS: qos, TopicIDType: kind, TopicID: id, MessageID: message, Data: []byte(data)}
	}
	const short = 't'<<8 | 't'
	for name, c := range map[string]struct {
		line   string
		stdin  string
		answer func(sn.Message) []sn.Message // beside the ordinary one
		code   int
		out    string
		errs   string
		heard  string
	}{
		"pub": {line: "pub -t a/b -m x -r", answer: nothing,
			heard: "CONNECT 60 clean=true, REGISTER a/b, PUBLISH normal:5=x@0 retain=true, PINGREQ , DISCONNECT 0"},
		"pub lines": {line: "pub -short tt -l -q 2 -k 0", stdin: "x\ny\n", answer: nothing,
			heard: "CONNECT 0 clean=true, PUBLISH short:29812=x@2 retain=false, PUBREL, PUBLISH short:29812=y@2 retain=false, PUBREL, DISCONNECT 0"},
		"pub at QoS -1": {line: "pub -predefined 3 -m x -q -1", answer: nothing, heard: "PUBLISH predefined:3=x@-1 retain=false"},
		"pub with a Will": {line: "pub -predefined 3 -m x -q 1 -will-topic w -will-message gone -will-q 1 -will-r", answer: nothing,
			heard: "CONNECT 60 clean=true, WILLTOPIC w@1 retain=true, WILLMSG gone, PUBLISH predefined:3=x@1 retain=false, DISCONNECT 0"},
		"pub refused": {line: "pub -predefined 3 -m x -q 1", answer: on(sn.TypePublish, &sn.Puback{TopicID: 3, MessageID: 1, Code: sn.InvalidTopicID}),
			code: exitFailed, errs: "refuses the message: invalid topic id: predefined topics have to be set at the gateway"},
		"pub refused at QoS 0": {line: "pub -predefined 3 -m x", answer: on(sn.TypePublish, &sn.Puback{TopicID: 3, Code: sn.NotSupported}),
			code: exitFailed, errs: "refuses the message: not supported"},
		"topic refused":      {line: "pub -t a -m x", answer: on(sn.TypeRegister, &sn.Regack{MessageID: 1, Code: sn.Congestion}), code: exitFailed, errs: "refuses topic a: congestion"},
		"connection refused": {line: "pub -t a -m x", answer: on(sn.TypeConnect, &sn.Connack{Code: sn.NotSupported}), code: exitFailed, errs: "refuses the connection"},
		"gateway leaves":     {line: "pub -t a -m x", answer: on(sn.TypeRegister, &sn.Disconnect{}), code: exitFailed, errs: "connect again"},
		"sub": {line: "sub -t a -short tt -predefined 3 -q 2 -C 4 -v",
			answer: func(m sn.Message) []sn.Message {
				if s, ok := m.(*sn.Subscribe); ok && s.TopicIDType == sn.PredefinedTopic {
					return []sn.Message{publish(0, sn.PredefinedTopic, 3, 0, "one"), publish(1, sn.ShortTopic, short, 1, "two"), publish(2, 0, 6, 2, "three"),
						&sn.Register{TopicID: 9, MessageID: 3, Topic: []byte("a/b")}, publish(2, 0, 9, 4, "four"), publish(1, 0, 6, 5, "five")}
				}
				return nil
			},
			out:   "predefined:3 one\ntt two\na three\na/b four\n",
			heard: "CONNECT 60 clean=true, SUBSCRIBE normal:0a@2, SUBSCRIBE short:29812@2, SUBSCRIBE predefined:3@2, PUBACK, PUBREC, REGACK, PUBREC, DISCONNECT 0"},
		"sub -json": {line: "sub -predefined 3 -C 1 -json -c -i dev", answer: on(sn.TypeSubscribe, publish(0, sn.PredefinedTopic, 3, 0, "\xff")),
			out: `{"topic":"","qos":0,"retain":false,"payload_base64":"/w==","predefined_id":3}` + "\n", heard: "CONNECT 60 clean=false, SUBSCRIBE predefined:3@0, DISCONNECT 0"},
		"sub asleep": {line: "sub -t a -q 1 -i dev -sleep 1 -C 2",
			answer: func() func(sn.Message) []sn.Message {
				waits := []string{"", "one", "two"} // before sleep, and while it sleeps
				return func(m sn.Message) []sn.Message {
					if p, ok := m.(*sn.Pingreq); ok && string(p.ClientID) == "dev" {
						waits = waits[1:]
						return []sn.Message{publish(1, 0, 6, uint16(len(waits)), waits[0])}
					}
					return nil
				}
			}(),
			out:   "one\ntwo\n",
			heard: "CONNECT 60 clean=true, SUBSCRIBE normal:0a@1, DISCONNECT 1, PINGREQ dev, PUBACK, DISCONNECT 1, PINGREQ dev, PUBACK, DISCONNECT 0"},
		"sub refused":     {line: "sub -t a", answer: on(sn.TypeSubscribe, &sn.Suback{MessageID: 1, Code: sn.NotSupported}), code: exitFailed, errs: "refuses to subscribe to a: not supported: it says so too of what it does not allow"},
		"sub in vain":     {line: "sub -t a -C 1 -W 200ms", answer: nothing, code: exitTimeout, errs: "0 of 1 messages"},
		"sub for a while": {line: "sub -t a -W 1s", answer: nothing, heard: "CONNECT 60 clean=true, SUBSCRIBE normal:0a@0, DISCONNECT 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startSNGateway(t, c.answer)
			args := strings.Fields(c.line)
			code, out, errs := runCommand(t, nil, c.stdin, append([]string{"sn", args[0], "-h", g.addr()}, args[1:]...)...)
			if code != c.code || out != c.out || !strings.Contains(errs, c.errs) || c.errs == "" && errs != "" {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, c.code, c.out, c.errs)
			}
			if c.heard == "" {
				return
			}
			// At QoS -1 nobody waits for the gateway.
			for range 1000 {
				if g.transcript() == c.heard {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Errorf("the gateway heard\n%s, want\n%s", g.transcript(), c.heard)
		})
	}
}

func (g *snGateway) transcript() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.heard, ", ")
}

// Over DTLS, with the right key and with wrong ones.
func TestSNOverDTLS(t *testing.T) {
	g := &snGateway{answer: func(sn.Message) []sn.Message { return nil }}
	tr := transport.New(transport.Config{}, nil)
	addr, err := tr.ListenDTLS("127.0.0.1:0", transport.DTLSConfig{Key: func(identity string) ([]byte, string, bool) {
		return []byte("0123456789abcdef"), "pump", identity == "pump7"
	}}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close(context.Background()) })
	dir := t.TempDir()
	right, wrong := write(t, dir, "right", hex.EncodeToString([]byte("0123456789abcdef"))+"\n"), write(t, dir, "wrong", strings.Repeat("00", 16))
	bad := write(t, dir, "bad", "secret!")
	for _, c := range []struct {
		identity, file string
		code           int
		errs           string
	}{
		{"pump7", right, exitOK, ""},
		{"pump7", wrong, exitUnreachable, "is this key or certificate known?"},
		{"pump8", right, exitUnreachable, "is this key or certificate known?"},
		{"pump7", bad, exitUsage, "neither hexadecimal nor Base64"},
		{"pump7", filepath.Join(dir, "none"), exitUsage, "none"},
		{"pump7", "", exitUsage, "give both"},
	} {
		code, _, errs := runCommand(t, nil, "", "sn", "pub", "-url", "dtls://"+addr.String(), "-psk-identity", c.identity, "-psk-file", c.file,
			"-t", "a", "-m", "x", "-q", "1", "-retry", "1s", "-retries", "1")
		if code != c.code || !strings.Contains(errs, c.errs) || c.errs == "" && errs != "" || strings.Contains(errs, "secret") {
			t.Errorf("%s with %s: exit code %d, %q; want %d, %q", c.identity, c.file, code, errs, c.code, c.errs)
		}
	}
	if want := "CONNECT 60 clean=true, REGISTER a, PUBLISH normal:5=x@1 retain=false, DISCONNECT 0"; g.transcript() != want {
		t.Errorf("the gateway heard %s", g.transcript())
	}
}

func TestSNSearch(t *testing.T) {
	t.Parallel()
	g := startSNGateway(t, func(sn.Message) []sn.Message { return []sn.Message{&sn.GatewayInfo{GatewayID: 7}} })
	code, out, errs := runCommand(t, nil, "", "sn", "search", "-to", g.addr(), "-W", "2s", "-radius", "2")
	want := fmt.Sprintf("%[1]s gateway 7\ngateway 8 at address 0a000001, says %[1]s\n", g.addr())
	if code != exitOK || out != want || errs != "" || g.transcript() != "SEARCHGW 2, SEARCHGW 2" { // at once and after a second
		t.Errorf("exit code %d, output %q, errors %q, asked %q; want %q", code, out, errs, g.transcript(), want)
	}
	code, out, _ = runCommand(t, nil, "", "sn", "search", "-to", g.addr(), "-W", "1s", "-json")
	want = fmt.Sprintf(`{"from":"%s","gateway":7}`, g.addr())
	if line, _, _ := strings.Cut(out, "\n"); code != exitOK || line != want {
		t.Errorf("exit code %d, first %q; want %q", code, line, want)
	}
}

func TestSNUnreachable(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		args []string
		errs string
	}{
		{[]string{"pub", "-h", silent.LocalAddr().String(), "-t", "a", "-m", "x", "-retry", "20ms", "-retries", "2"}, "no answer to CONNECT within 60ms: is it a gateway"},
		{[]string{"sub", "-h", closed.LocalAddr().String(), "-t", "a"}, "nobody listens there: is the gateway running, with SLUICE_SN_ADDR set?"},
		{[]string{"search", "-to", silent.LocalAddr().String(), "-W", "50ms"}, "no gateway answers within 50ms"},
	} {
		code, _, errs := runCommand(t, nil, "", append([]string{"sn"}, c.args...)...)
		if code != exitUnreachable || !strings.Contains(errs, c.errs) {
			t.Errorf("%v: exit code %d, %q; want %q", c.args, code, errs, c.errs)
		}
	}
}

func TestSNLate(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		for {
			_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 100))
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort((&sn.Connack{}).Append(nil), from)
		}
	}()
	code, _, errs := runCommand(t, nil, "", "sn", "pub", "-h", conn.LocalAddr().String(), "-short", "aa", "-m", "x", "-q", "1", "-retry", "1s", "-retries", "0")
	if code != exitTimeout || !strings.Contains(errs, "not acknowledged within 1s") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

// A gateway that started again does not hear a device that slept through it, as its
// DTLS is new. It has to find its session by connecting anew.
func TestSNSleepsThroughRestart(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g := &snGateway{answer: func(m sn.Message) []sn.Message {
		if _, ok := m.(*sn.Pingreq); ok {
			return []sn.Message{&sn.Publish{QoS: 1, TopicID: 6, MessageID: 1, Data: []byte("kept")}}
		}
		return nil
	}}
	go func() {
		buf := make([]byte, 1<<16)
		var first netip.AddrPort
		asleep := false
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if !first.IsValid() {
				first = from
			}
			asleep = asleep || n > 1 && buf[1] == byte(sn.TypePingreq)
			if from != first || !asleep {
				g.take(buf[:n], func(b []byte) { conn.WriteToUDPAddrPort(b, from) })
			}
		}
	}()
	code, out, errs := runCommand(t, nil, "", "sn", "sub", "-h", conn.LocalAddr().String(), "-t", "a", "-q", "1", "-c", "-i", "dev", "-sleep", "1", "-C", "1", "-retry", "3s", "-retries", "0")
	if code != exitOK || out != "kept\n" {
		t.Errorf("exit code %d, output %q, errors %q", code, out, errs)
	}
	if heard := g.transcript(); strings.Count(heard, "CONNECT 60 clean=false") != 2 {
		t.Errorf("the gateway heard\n%s", heard)
	}
}

func TestSNInterrupted(t *testing.T) {
	for line, want := range map[string]int{"sub -t a": exitOK, "sub -t a -C 1": exitFailed, "pub -short aa -l": exitFailed} {
		ctx, cancel := context.WithCancel(t.Context())
		g := startSNGateway(t, func(m sn.Message) []sn.Message {
			if typ := m.Type(); typ == sn.TypeSubscribe || typ == sn.TypePublish {
				cancel()
			}
			return nil
		})
		args := strings.Fields(line)
		var errs bytes.Buffer
		in, input := net.Pipe() // which brings a line, and then nothing
		go input.Write([]byte("x\n"))
		code := run(ctx, &command{args: append([]string{"sn", args[0], "-h", g.addr()}, args[1:]...), stdin: in, stdout: &errs, stderr: &errs})
		if code != want || want != exitOK && !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("%s: exit code %d, %q", line, code, &errs)
		}
		input.Close()
		if got := g.transcript(); !strings.HasSuffix(got, "DISCONNECT 0") {
			t.Errorf("%s: the gateway heard %s", line, got)
		}
	}
}

func TestSNUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":                           "say what to do",
		"pob":                        "say what to do",
		"pub -m x":                   "name one topic",
		"pub -m x -t a -short aa":    "name one topic",
		"pub -t a":                   "say once what to publish",
		"pub -t a/# -m x":            "wildcard",
		"pub -t a -m x -q -1":        "give -short or -predefined",
		"pub -t a -m x -q 3":         "-1, 0, 1 or 2",
		"pub -short abc -m x":        "two bytes",
		"pub -short a+ -m x":         "two bytes",
		"pub -predefined 0 -m x":     "1 to 65534",
		"sub":                        "name a topic",
		"sub -t a/#/b":               "whole last level",
		"sub -t a -c":                "-c needs -i",
		"sub -t a -sleep 20h":        "65535",
		"sub -t a -sleep 10ms":       "65535",
		"sub -t a -i=":               "at least one character",
		"sub -t a -retries -1":       "no less than 0",
		"sub -t a -will-message x":   "-will-topic",
		"sub -t a -will-topic #":     "wildcard",
		"sub -t a -url mqtt://b":     "udp://",
		"sub -t a -psk-identity x":   "keys and certificates are for DTLS",
		"sub -t a -url udp://":       "udp://",
		"sub -t a -url udp://b -h b": "not both",
		"search -radius 256":         "255 hops",
		"search -W 0":                "more than 0",
		"search -to :::":             "-to",
		"search x":                   "too many",
	} {
		code, _, errs := runCommand(t, nil, "", append([]string{"sn"}, strings.Fields(line)...)...)
		if code != exitUsage || !strings.Contains(errs, want) || !strings.Contains(errs, "sluice help sn") {
			t.Errorf("sn %s: exit code %d, %q; want %q", line, code, errs, want)
		}
	}
	if code, out, _ := runCommand(t, nil, "", "sn", "sub", "-help"); code != exitOK || out != helpOf("sn") {
		t.Errorf("sn sub -help: exit code %d, %q", code, out)
	}
}

func TestBroadcastOf(t *testing.T) {
	for cidr, want := range map[string]string{
		"192.168.7.5/24": "192.168.7.255", "10.1.2.3/13": "10.7.255.255", "10.0.0.1/32": "10.0.0.1",
		"127.0.0.1/8": "127.0.0.1", "fe80::1/64": "invalid IP",
	} {
		ip, network, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := broadcastOf(&net.IPNet{IP: ip, Mask: network.Mask})
		if got.String() != want || ok == (got == netip.Addr{}) {
			t.Errorf("%s: %v, %v; want %s", cidr, got, ok, want)
		}
	}
	if whom, err := searchAddresses("[::1]"); err != nil || !reflect.DeepEqual(whom, []netip.AddrPort{netip.MustParseAddrPort("[::1]:1883")}) {
		t.Errorf("-to [::1]: %v, %v", whom, err)
	}
}
