package sn

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzDecoder checks that whatever comes is decoded or refused, and that what is
// decoded, appended and decoded again is the same.
func FuzzDecoder(f *testing.F) {
	for _, r := range vectors(f) {
		f.Add(r.b)
	}
	for _, tt := range messages {
		f.Add(unhex(f, tt.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		node, m, err := decode(bytes.Clone(b))
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Text == "" || m != nil {
				t.Fatalf("%+v, error %#v", m, err)
			}
			return
		}
		again := appended(node, m)
		if len(again) > len(b) {
			t.Fatalf("appended to % x, longer than % x", again, b)
		}
		node2, m2, err := decode(again)
		if err != nil || !bytes.Equal(node, node2) || !reflect.DeepEqual(m, m2) {
			t.Fatalf("decoded %+v for % x, appended % x, decoded %+v for % x, %v", m, node, again, m2, node2, err)
		}
	})
}
