package uplink

import (
	"flag"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// These tests wait most of the time: more go at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if p := flag.Lookup("test.parallel"); p.Value.String() == p.DefValue {
		flag.Set(p.Name, "8")
	}
	os.Exit(m.Run())
}

// startGateway starts a gateway with bridges, of which settings are given without
// what their names begin with: "URL=mqtt://..." of the first, "1_URL=mqtt://..." of
// the second; others have their whole names.
func startGateway(t *testing.T, settings ...string) *rig.Gateway {
	t.Helper()
	g := newGateway(t, settings...)
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// newGateway prepares a gateway that is killed when the test ends.
func newGateway(t *testing.T, settings ...string) *rig.Gateway {
	t.Helper()
	var env []string
	for _, s := range settings {
		switch {
		case strings.HasPrefix(s, "SLUICE_"):
		case s[0] >= '0' && s[0] <= '9':
			s = "SLUICE_BRIDGE_" + s
		default:
			s = "SLUICE_BRIDGE_0_" + s
		}
		env = append(env, s)
	}
	return plant.NewGateway(t, env...)
}

// publish has the gateway acknowledge messages to topic at qos.
func publish(t *testing.T, g *rig.Gateway, qos byte, topic string, payloads ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	v := codec.V5
	out := (&codec.Connect{Version: v, CleanStart: true, ClientID: []byte("publisher")}).Append(nil, v)
	for i, payload := range payloads {
		p := codec.Publish{ID: uint16(i + 1), Message: codec.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}}
		out = p.Append(out, v)
	}
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	d, in, chunk, done := codec.Decoder{FromServer: true}, []byte(nil), make([]byte, 4096), 0
	for done < len(payloads) {
		n, err := conn.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, chunk[:n]...)
		for {
			p, n, err := d.Next(in, v, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			in = in[n:]
			switch p := p.(type) {
			case *codec.Puback:
				done++
			case *codec.Pubrec:
				conn.Write((&codec.Pubrel{ID: p.ID}).Append(nil, v))
			case *codec.Pubcomp:
				done++
			}
		}
	}
}
