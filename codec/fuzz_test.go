package codec

import (
	"reflect"
	"testing"
)

// FuzzDecoder checks that whatever comes is decoded or refused, and that what is
// decoded, appended and decoded again is the same.
func FuzzDecoder(f *testing.F) {
	for _, r := range vectors(f) {
		for _, fromServer := range r.directions() {
			f.Add(r.b, byte(r.version(r.b)), fromServer)
		}
	}
	for _, p := range packets {
		f.Add(unhex(f, p.hex), byte(p.v), p.fromServer)
	}
	f.Fuzz(func(t *testing.T, b []byte, version byte, fromServer bool) {
		v := Version(version)
		if v != 0 && v != V31 && v != V311 {
			v = V5
		}
		d := Decoder{FromServer: fromServer}
		p, n, err := d.Next(b, v, 0)
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Code < 0x80 || n != 0 {
				t.Fatalf("error %#v after %d bytes", err, n)
			}
			return
		}
		whole, err := PacketLen(b)
		if err != nil {
			t.Fatalf("accepted with a length that is not: %v", err)
		}
		if p == nil {
			if n != 0 || whole != 0 && whole <= len(b) {
				t.Fatalf("incomplete with %d bytes of %d, %d taken", len(b), whole, n)
			}
			return
		}
		if n != whole {
			t.Fatalf("%d bytes taken of %d", n, whole)
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		again := p.Append(nil, v)
		if len(again) > n {
			t.Fatalf("appended to % x, longer than % x", again, b[:n])
		}
		e := Decoder{FromServer: fromServer}
		q, m, err := e.Next(again, v, 0)
		if err != nil || m != len(again) || !reflect.DeepEqual(p, q) {
			t.Fatalf("decoded %+v, appended % x, decoded %+v, %d, %v", p, again, q, m, err)
		}
	})
}
