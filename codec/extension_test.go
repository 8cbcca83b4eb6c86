package codec

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestExtensions(t *testing.T) {
	want := map[string]Connack{
		"ext-connack-keepalive":     {HasServerKeepAlive: true, ServerKeepAlive: 300},
		"ext-connack-keepalive-sp":  {SessionPresent: true, HasServerKeepAlive: true, ServerKeepAlive: 60},
		"ext-connack-altserver":     {Code: UseAnotherServer, ServerReference: []byte("tcp://192.0.2.7:1883"), Hops: 9},
		"ext-connack-altserver-tls": {Code: UseAnotherServer, ServerReference: []byte("ssl://b.example:8883")},
		// Whether the address is one is for the client to see.
		"ext-connack-altserver-bad-url": {Code: UseAnotherServer, ServerReference: []byte("b.example"), Hops: 1},
	}
	seen := 0
	for _, row := range readTSV(t, "vectors.tsv") {
		name, b := row[0], unhex(t, row[2])
		if !strings.HasPrefix(name, "ext-connack-") {
			continue
		}
		for _, v := range []Version{V31, V311} {
			if _, _, err := (&Decoder{FromServer: true}).Next(b, v, 0); err == nil {
				t.Errorf("%s: taken by a client that did not ask", name)
			}
			p, _, err := (&Decoder{FromServer: true, Extended: true}).Next(b, v, 0)
			ack, valid := want[name]
			switch ack.MaximumQoS = 2; {
			case v == V31 && (name == "ext-connack-altserver-sp" || name == "ext-connack-keepalive-sp"): // the flag is reserved
			case valid && (err != nil || !reflect.DeepEqual(p, &ack)):
				t.Errorf("%s: %+v, %v; want %+v", name, p, err, ack)
			case !valid && err == nil:
				t.Errorf("%s: %+v, want an error", name, p)
			}
		}
		if _, _, err := (&Decoder{FromServer: true, Extended: true}).Next(b, V5, 0); err == nil {
			t.Errorf("%s: taken as MQTT 5", name)
		}
		seen++
	}
	if seen != 8 {
		t.Errorf("%d vectors", seen)
	}
	plain := Connack{MaximumQoS: 2}
	if p, _, err := (&Decoder{FromServer: true, Extended: true}).Next([]byte{0x20, 2, 0, 0}, V311, 0); err != nil || !reflect.DeepEqual(p, &plain) {
		t.Errorf("an ordinary CONNACK: %+v, %v", p, err)
	}
	connect := (&Connect{Version: V311, KeepAlive: 60, CleanStart: true, ClientID: []byte("dev1"), HasHops: true, Hops: 3}).Append(nil, V311)
	if want := unhex(t, "101200044D5154540403003C0004646576310003"); !bytes.Equal(connect, want) {
		t.Errorf("CONNECT % x, want % x", connect, want)
	}
}
