package sn

import (
	"bytes"
	"testing"
)

func TestForward(t *testing.T) {
	for _, tt := range []struct {
		hex, node, inner string
		err              error
	}{
		{"06 fe 00 aabbcc  02 16", "aabbcc", "0216", nil},
		{"04 fe 03 aa  01 0004 17", "aa", "01000417", nil},
		{"02 16", "", "0216", nil},                   // not encapsulated
		{"01 fe06 16", "", "01fe0616", nil},          // a length of 0xfe06, which is for Decode to refuse
		{"", "", "", nil},                            // the same
		{"03 fe 00  02 16", "", "", errNode},         // no node
		{"02 fe  02 16", "", "", errNode},            // no control
		{"00 fe 00 aa", "", "", errNode},             //
		{"06 fe 00 aabb", "", "", errLength},         // cut
		{"04 fe 00 aa", "", "", errNoInner},          //
		{"04 fe 00 aa  02", "", "", errHeader},       // inner cut
		{"04 fe 00 aa  03 16", "", "", errLength},    // inner cut
		{"04 fe 00 aa  02 16 00", "", "", errLength}, // bytes behind the inner one
		{"04 fe 00 aa  04 fe 00 bb  02 16", "", "", errForward},
		{"04 fe 00 aa  04 fe 00 bb", "", "", errForward},
		{"04 fe 00 aa  01 0006 fe 00 bb", "", "", errForward},
	} {
		node, inner, err := CutForward(unhex(t, tt.hex))
		if err != tt.err || !bytes.Equal(node, unhex(t, tt.node)) || !bytes.Equal(inner, unhex(t, tt.inner)) {
			t.Errorf("%s: node % x, inner % x, %v", tt.hex, node, inner, err)
		}
	}
}

func TestForwardLongestNode(t *testing.T) {
	want := bytes.Repeat([]byte{0xfe}, 252)
	node, inner, err := CutForward(AppendForward(nil, want, []byte{2, 0x17}))
	if err != nil || !bytes.Equal(node, want) || !bytes.Equal(inner, []byte{2, 0x17}) {
		t.Errorf("node % x, inner % x, %v", node, inner, err)
	}
}

func TestDecodeRefusesForward(t *testing.T) {
	for _, s := range []string{"04 fe 00 aa", "01 0006 fe 00 aa"} {
		if m, err := new(Decoder).Decode(unhex(t, s)); err != errForward {
			t.Errorf("%s: %+v, %v", s, m, err)
		}
	}
}
