package codec

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// vector is a row of testdata/vectors.tsv.
type vector struct {
	name    string
	v       Version
	b       []byte
	verdict string
	meaning string
}

// readTSV gives the rows of a table in testdata, without its header.
func readTSV(t testing.TB, name string) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n")[1:] {
		rows = append(rows, strings.Split(line, "\t"))
	}
	return rows
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectors gives the rows for the versions that this package speaks. The others
// are of MQTT-SN, another protocol, and of private extensions to 3.1.1, which
// give bytes a meaning that is an error without them.
func vectors(t testing.TB) []vector {
	versions := map[string]Version{"3.1": V31, "3.1.1": V311, "5.0": V5}
	skipped := map[string]bool{"sn1.2": true, "3.1.1-ext": true}
	var rows []vector
	for _, row := range readTSV(t, "vectors.tsv") {
		v, ok := versions[row[1]]
		if ok {
			rows = append(rows, vector{row[0], v, unhex(t, row[2]), row[3], row[4]})
		} else if !skipped[row[1]] {
			t.Fatalf("%s: version %q", row[0], row[1])
		}
	}
	if len(rows) != 22+104+144 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// directions gives FromServer for each direction of the row.
func (r vector) directions() []bool {
	switch {
	case strings.HasPrefix(r.meaning, "[C>S]"):
		return []bool{false}
	case strings.HasPrefix(r.meaning, "[S>C]"):
		return []bool{true}
	}
	return []bool{false, true}
}

// version is what the connection has before b: none before CONNECT.
func (r vector) version(b []byte) Version {
	if len(b) > 0 && PacketType(b[0]>>4) == TypeConnect || r.name == "311-first-not-connect" {
		return 0
	}
	return r.v
}

// stateful are the rows that only the packets before them make an error. The
// codec, which knows no packets before, passes them on.
var stateful = map[string]string{
	"311-connect-twice":            "the server knows that it has had a CONNECT",
	"5-connect-twice":              "the server knows that it has had a CONNECT",
	"5-publish-alias-unset":        "an empty topic with an alias; the server has the table of aliases",
	"5-publish-alias-max":          "the server knows the maximum it announced",
	"5-disconnect-expiry-raise":    "the server knows the expiry of the CONNECT",
	"5-auth-not-agreed":            "the server knows the method of the CONNECT",
	"31-connect-id-24":             "accepted by judgement: almost every server does",
	"311-subscribe-filter-empty":   "a filter is answered in SUBACK: ValidFilter",
	"311-subscribe-hash-middle":    "a filter is answered in SUBACK: ValidFilter",
	"311-subscribe-plus-glued":     "a filter is answered in SUBACK: ValidFilter",
	"5-subscribe-shared-noname":    "a filter is answered in SUBACK: ValidFilter",
	"5-subscribe-shared-wild-name": "a filter is answered in SUBACK: ValidFilter",
}

// codes are the protocol errors that have a code of their own.
var codes = map[string]ReasonCode{
	"31-connect-id-empty":         ClientIdentifierNotValid,
	"31-connect-level-4":          UnsupportedProtocolVersion,
	"31-connect-mqtt-level-3":     UnsupportedProtocolVersion,
	"311-connect-name-wrong":      UnsupportedProtocolVersion,
	"311-connect-name-case":       UnsupportedProtocolVersion,
	"311-connect-level-6":         UnsupportedProtocolVersion,
	"311-connect-empty-id-resume": ClientIdentifierNotValid,
	"5-connect-level-6":           UnsupportedProtocolVersion,
	"5-publish-alias-0":           TopicAliasInvalid,
}

// notCanonical are the valid rows that Append writes in another way.
var notCanonical = map[string]string{
	"31-connect-user-flag-no-field": "a user name that is not there is not announced",
	"31-pubrel-dup":                 "DUP has no meaning there",
	"31-unsubscribe-dup":            "DUP has no meaning there",
	"5-connack-all-props":           "defaults are left out",
	"5-publish-all-props":           "another order of properties",
	"5-puback-explicit-success":     "short form",
	"5-disconnect-81":               "short form",
	"5-disconnect-8b":               "short form",
	"5-disconnect-8d":               "short form",
	"5-disconnect-93":               "short form",
	"5-disconnect-94":               "short form",
	"5-disconnect-95":               "short form",
	"5-disconnect-96":               "short form",
	"5-disconnect-a0":               "short form",
}

// decodeAll decodes every packet of b and gives the last.
func (r vector) decodeAll(b []byte, fromServer bool) (p Packet, err error) {
	d := &Decoder{FromServer: fromServer}
	for len(b) > 0 {
		var n int
		p, n, err = d.Next(b, r.version(b), 0)
		if err != nil {
			return p, err
		}
		if n == 0 {
			return nil, fmt.Errorf("incomplete at % x", b)
		}
		b = b[n:]
	}
	return p, nil
}

func TestValidVectors(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "valid" {
			continue
		}
		for _, fromServer := range r.directions() {
			p, err := r.decodeAll(r.b, fromServer)
			if err != nil {
				t.Errorf("%s: %v", r.name, err)
				continue
			}
			if got, want := p.Type(), PacketType(r.b[0]>>4); got != want {
				t.Errorf("%s: decoded as %v, want %v", r.name, got, want)
			}
			again := p.Append([]byte("before"), r.v)
			if again = again[len("before"):]; bytes.Equal(again, r.b) == (notCanonical[r.name] != "") {
				t.Errorf("%s: appended as\n% x, want\n% x", r.name, again, r.b)
			}
			if q, err := r.decodeAll(again, fromServer); err != nil || !reflect.DeepEqual(p, q) {
				t.Errorf("%s: decoded again as %+v, want %+v, error %v", r.name, q, p, err)
			}
		}
	}
}

func TestEveryCutIsIncomplete(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "valid" {
			continue
		}
		for _, fromServer := range r.directions() {
			d := &Decoder{FromServer: fromServer}
			for i := range r.b {
				// The capacity ends at the cut too: nothing may be read behind it.
				p, n, err := d.Next(bytes.Clone(r.b[:i]), r.version(r.b), 0)
				if p != nil || n != 0 || err != nil {
					t.Fatalf("%s: cut at %d: got %v, %d, %v", r.name, i, p, n, err)
				}
			}
		}
	}
}

func TestOneByteAtATime(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "valid" {
			continue
		}
		for _, fromServer := range r.directions() {
			want, _ := r.decodeAll(r.b, fromServer)
			d := &Decoder{FromServer: fromServer}
			var buf []byte
			for i, c := range append(bytes.Clone(r.b), 0xff, 0xff) {
				buf = append(buf, c)
				p, n, err := d.Next(buf, r.version(r.b), 0)
				switch {
				case i < len(r.b)-1 && (p != nil || n != 0 || err != nil):
					t.Fatalf("%s: after %d bytes: got %v, %d, %v", r.name, i+1, p, n, err)
				case i >= len(r.b)-1 && (err != nil || n != len(r.b) || !reflect.DeepEqual(p, want)):
					t.Fatalf("%s: after %d bytes: got %+v, %d, %v; want %+v", r.name, i+1, p, n, err, want)
				}
			}
		}
	}
}

func TestBadVectors(t *testing.T) {
	seen := 0
	for _, r := range vectors(t) {
		if r.verdict == "valid" {
			continue
		}
		if stateful[r.name] != "" {
			seen++
			if p, err := r.decodeAll(r.b, false); err != nil {
				t.Errorf("%s: %v, want it passed on", r.name, err)
			} else if strings.Contains(stateful[r.name], "ValidFilter") && ValidFilter(p.(*Subscribe).Subscriptions[0].Filter) == nil {
				t.Errorf("%s: ValidFilter accepts it", r.name)
			}
			continue
		}
		want := MalformedPacket
		if r.verdict == "protocol-error" {
			want = ProtocolError
		}
		if c, ok := codes[r.name]; ok {
			want = c
		}
		for _, fromServer := range r.directions() {
			p, err := r.decodeAll(r.b, fromServer)
			if e, ok := err.(*Error); !ok || e.Code != want {
				t.Errorf("%s: got %+v, error %v; want %v", r.name, p, err, want)
			} else if e.Clause == "" || e.Text == "" {
				t.Errorf("%s: error says nothing: %+v", r.name, e)
			}
		}
	}
	if seen != len(stateful) {
		t.Errorf("%d rows need state, %d are listed", seen, len(stateful))
	}
}
