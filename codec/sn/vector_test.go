package sn

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
)

// vector is a row of MQTT-SN in the table of vectors of codec.
type vector struct {
	name    string
	b       []byte
	verdict string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("../testdata/vectors.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []vector
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if row := strings.Split(line, "\t"); row[1] == "sn1.2" {
			rows = append(rows, vector{row[0], unhex(t, row[2]), row[3]})
		}
	}
	if len(rows) != 50+9+13 {
		t.Fatalf("%d rows", len(rows))
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

// decode decodes a datagram, encapsulated or not, by a new Decoder.
func decode(b []byte) (node []byte, m Message, err error) {
	node, inner, err := CutForward(b)
	if err != nil {
		return nil, nil, err
	}
	m, err = new(Decoder).Decode(inner)
	return node, m, err
}

// appended is the datagram of m for a node, or of m alone.
func appended(node []byte, m Message) []byte {
	b := m.Append([]byte("before"))[len("before"):]
	if node != nil {
		b = AppendForward([]byte("before"), node, b)[len("before"):]
	}
	return b
}

func TestValidVectors(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "valid" {
			continue
		}
		node, m, err := decode(r.b)
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		want := r.b
		if r.name == "sn-long-form-short-body" { // read, never written
			want = []byte{2, byte(TypePingresp)}
		}
		if got := appended(node, m); !bytes.Equal(got, want) {
			t.Errorf("%s: appended as\n% x, want\n% x", r.name, got, want)
		}
	}
}

// What can be parsed is handed on, whatever it says: these rows are the ones that
// have an answer.
func TestProtocolErrorsAreHandedOn(t *testing.T) {
	want := map[string]Message{
		"sn-connect-no-id":       &Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte{}},
		"sn-connect-protocol-2":  &Connect{CleanSession: true, ProtocolID: 2, Duration: 60, ClientID: []byte("dev1")},
		"sn-connect-id-24":       &Connect{CleanSession: true, ProtocolID: 1, Duration: 60, ClientID: []byte("abcdefghijklmnopqrstuvwx")},
		"sn-register-wildcard":   &Register{MessageID: 1, Topic: []byte("a/#")},
		"sn-publish-topictype-3": &Publish{TopicIDType: 3, TopicID: 5, Data: []byte("x")},
		"sn-publish-topicid-0":   &Publish{QoS: 1, MessageID: 7, Data: []byte("x")},
		"sn-publish-q1-msgid-0":  &Publish{QoS: 1, TopicID: 5, Data: []byte("x")},
		"sn-subscribe-qm1":       &Subscribe{QoS: -1, MessageID: 2, Topic: []byte("a/b")},
		"sn-connected-only":      &Subscribe{QoS: 1, MessageID: 2, Topic: []byte("a/b")},
	}
	for _, r := range vectors(t) {
		if r.verdict != "protocol-error" {
			continue
		}
		_, m, err := decode(r.b)
		if err != nil {
			t.Errorf("%s: %v, want it handed on", r.name, err)
		} else if !reflect.DeepEqual(m, want[r.name]) {
			t.Errorf("%s: decoded as %#v, want %#v", r.name, m, want[r.name])
		}
		delete(want, r.name)
	}
	for name := range want {
		t.Errorf("%s: no such row", name)
	}
}

func TestMalformedVectors(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "malformed" {
			continue
		}
		_, m, err := decode(r.b)
		if e, ok := err.(*Error); !ok || e.Clause == "" || e.Text == "" {
			t.Errorf("%s: got %+v, error %#v", r.name, m, err)
		}
	}
}

// A datagram has its own length in it: no part of one is another message.
func TestEveryCutIsRefused(t *testing.T) {
	for _, r := range vectors(t) {
		if r.verdict != "valid" {
			continue
		}
		for i := range r.b {
			// The capacity ends at the cut too: nothing may be read behind it.
			if _, m, err := decode(bytes.Clone(r.b[:i])); err == nil {
				t.Errorf("%s: cut at %d: %+v", r.name, i, m)
			}
		}
		if _, m, err := decode(append(bytes.Clone(r.b), 0)); err == nil {
			t.Errorf("%s: with a byte behind it: %+v", r.name, m)
		}
	}
}
