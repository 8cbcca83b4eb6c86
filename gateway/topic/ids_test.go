package topic

import (
	"fmt"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	var ids IDs
	for i := 1; i <= 40; i++ { // beyond indexedIDs
		name := []byte(fmt.Sprint("a/", i))
		if n, isNew := ids.Give(name); int(n) != i || !isNew {
			t.Fatalf("%s: number %d, new %v", name, n, isNew)
		}
		for j := 1; j <= i; j++ {
			name := []byte(fmt.Sprint("a/", j))
			if n, isNew := ids.Give(name); int(n) != j || isNew {
				t.Fatalf("%s again: number %d, new %v", name, n, isNew)
			}
			if got, ok := ids.Name(uint16(j)); !ok || got != string(name) {
				t.Fatalf("number %d is %q", j, got)
			}
		}
	}
	for _, n := range []uint16{0, 41, 0xFFFF} {
		if name, ok := ids.Name(n); ok {
			t.Errorf("number %d is %q", n, name)
		}
	}
	if _, ok := ids.Find(nil); ok {
		t.Error("no name has a number")
	}
	ids.Refuse(3)
	ids.SetKnown(3, true)
	if !ids.Known(3) || ids.Refused(3) || ids.Known(4) {
		t.Error("3 is known, 4 is not")
	}
}

func TestIDsComeBackWithGaps(t *testing.T) {
	for _, last := range []uint16{4, 40} {
		var ids IDs
		if !ids.Set(last, "d") || !ids.Set(2, "b") || ids.Set(0, "x") || ids.Set(0xFFFF, "x") || ids.Set(3, "") || ids.Set(2, "x") {
			t.Fatal("2 and the last may be set, the others not")
		}
		if name, ok := ids.Name(3); ok {
			t.Errorf("the gap is %q", name)
		}
		if n, ok := ids.Find([]byte("d")); !ok || n != last {
			t.Errorf("d has %d", n)
		}
		if n, _ := ids.Give([]byte("e")); n != last+1 {
			t.Errorf("the next is %d, not one that may have been another's", n)
		}
	}
}

func TestIDsAreBounded(t *testing.T) {
	var many IDs
	for i := range MaxIDs {
		if many.Full([]byte(fmt.Sprint(i))) {
			t.Fatalf("there is no room for the %dth", i+1)
		}
		many.Give([]byte(fmt.Sprint(i)))
	}
	more := []byte("more")
	if n, _ := many.Give(more); n != 0 || !many.Full(more) {
		t.Errorf("number %d for one more", n)
	}
	var long IDs
	for i := range MaxIDs {
		if n, _ := long.Give([]byte(strings.Repeat("x", 1000) + fmt.Sprint(i))); n == 0 {
			return
		}
	}
	t.Error("a megabyte of names found room")
}

// Who needs room takes it from the name that was used longest ago, and gets a number that was
// nobody's before.
func TestIDsAreEvicted(t *testing.T) {
	var ids IDs
	for i := 1; i <= MaxIDs; i++ {
		ids.Give([]byte(fmt.Sprint(i)))
	}
	ids.Find([]byte("1"))
	ids.Name(2)
	ids.SetKnown(5, true)
	for i, want := range []uint16{4, 5, 6} {
		if n := ids.Evict(3); n != want {
			t.Errorf("%d goes, want %d", n, want)
		}
		name := []byte(fmt.Sprint("new ", i))
		if n, isNew := ids.Give(name); !isNew || n != MaxIDs+1+uint16(i) {
			t.Errorf("%s has number %d", name, n)
		}
	}
	if _, ok := ids.Find([]byte("5")); ok || ids.Known(5) {
		t.Error("what has gone is there")
	}
	ids.SetKnown(5, true)
	ids.Refuse(5)
	if _, ok := ids.Name(5); ok || ids.Refused(5) {
		t.Error("what has gone comes back")
	}
	for n := range ids.All() {
		if name, ok := ids.Name(n); !ok || name == "" {
			t.Errorf("%d is nobody's", n)
		} else if again, ok := ids.Find([]byte(name)); !ok || again != n {
			t.Errorf("%s is %d and %d", name, n, again)
		}
	}

	// The number that goes may be the one that was given last.
	var stale IDs
	for i := 1; i <= MaxIDs; i++ {
		stale.Give([]byte(fmt.Sprint(i)))
	}
	for i := 1; i < MaxIDs; i++ { // the last one was used longest ago
		stale.Find([]byte(fmt.Sprint(i)))
	}
	if n := stale.Evict(0); n != MaxIDs {
		t.Errorf("%d goes, want the last", n)
	}
	if n, _ := stale.Give([]byte("new")); n != MaxIDs+1 {
		t.Errorf("number %d is given twice", n)
	}

	var last IDs
	last.Set(0xFFFE, "last")
	if n, _ := last.Give([]byte("x")); n != 0 || last.Full([]byte("x")) {
		t.Errorf("number %d comes after the last", n)
	}
	var one IDs
	one.Give([]byte("x"))
	if n := one.Evict(1); n != 0 {
		t.Errorf("%d goes, which is to be kept", n)
	}
}

func TestPredefined(t *testing.T) {
	p, err := ParsePredefined(strings.NewReader("# of the plant\n1 plant/pump\n\n  2 = plant/main valve\n65534\tx\n"))
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[uint16]string{1: "plant/pump", 2: "plant/main valve", 65534: "x"} {
		name, ok := p.Name(n)
		back, found := p.Find([]byte(want))
		if !ok || name != want || !found || back != n {
			t.Errorf("%d is %q, and %q is %d", n, name, want, back)
		}
	}
	if p.Len() != 3 || (*Predefined)(nil).Len() != 0 {
		t.Error("miscounted")
	}
	deep := "7 " + strings.Repeat("/", MaxLevels)
	for text, why := range map[string]string{
		"1":                `line 1: "1": write a number, a space and a topic, such as 7 plant/pump/pressure`,
		"\nx y":            `line 2: "x" is not a topic id from 1 to 65534`,
		"0 y":              `line 1: "0" is not a topic id from 1 to 65534`,
		"65535 y":          `line 1: "65535" is not a topic id from 1 to 65534`,
		"1 a/#":            `line 1: topic "a/#": `,
		"1 ":               `line 1: "1": write`,
		"1 a\n1 b":         `line 2: topic id 1 is "a" already`,
		"1 a\n2 a":         `line 2: topic "a" has the id 1 already`,
		"1 \xff":           `line 1: topic "\xff": `,
		"-1 a":             `line 1: "-1" is not`,
		"1000000000000 aa": `line 1: "1000000000000" is not`,
		deep:               `line 1: topic "////`,
	} {
		if _, err := ParsePredefined(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), why) {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
}
