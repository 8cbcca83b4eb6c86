package codec

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVarints(t *testing.T) {
	for _, row := range readTSV(t, "vbi.tsv") {
		b := unhex(t, row[0])
		v, n, err := varint(b)
		f := fields{b: b}
		strict := f.varint()
		switch row[2] {
		case "valid":
			if err != nil || n != len(b) || decimal(v) != row[1] || f.err != nil || strict != v {
				t.Errorf("%s: got %d, %d, %v; in a packet %d, %v; want %s", row[0], v, n, err, strict, f.err, row[1])
			}
			if got := appendVarint(nil, v); !bytes.Equal(got, b) || sizeVarint(v) != len(b) {
				t.Errorf("%s: appended as %x, size %d", row[0], got, sizeVarint(v))
			}
		case "incomplete":
			if err != nil || n != 0 || f.err != errShort {
				t.Errorf("%s: got %d, %d, %v; in a packet %v", row[0], v, n, err, f.err)
			}
		case "malformed":
			if f.err != errVarint || (err == nil) != (row[1] != "-") {
				t.Errorf("%s: got %d, %d, %v; in a packet %v", row[0], v, n, err, f.err)
			}
		default:
			t.Fatalf("%s: verdict %q", row[0], row[2])
		}
	}
	for v := uint32(1); v <= maxVarint; v = v*3 + 1 {
		if got, want := sizeVarint(v), len(appendVarint(nil, v)); got != want {
			t.Errorf("%d: size %d, want %d", v, got, want)
		}
	}
}

func decimal(v uint32) string {
	if v < 10 {
		return string(rune('0' + v))
	}
	return decimal(v/10) + decimal(v%10)
}

func TestUTF8(t *testing.T) {
	for _, row := range readTSV(t, "utf8.tsv") {
		s := unhex(t, row[0])
		want := row[1] != "malformed" // what may be refused is not
		// At every distance from the start and the end of a word.
		for before := range 17 {
			for after := range 17 {
				long := append(bytes.Repeat([]byte("a"), before), s...)
				long = append(long, bytes.Repeat([]byte("b"), after)...)
				if ok, wild := scan(long); ok != want || ok && wild {
					t.Errorf("%s (%s), %d before, %d behind: got %v, %v; want %v", row[0], row[2], before, after, ok, wild, want)
				}
			}
		}
	}
}

func TestScanSeesEveryByte(t *testing.T) {
	for n := 1; n < 40; n++ {
		for i := range n {
			for c := range 256 {
				s := bytes.Repeat([]byte("~"), n)
				s[i] = byte(c)
				ok, wild := scan(s)
				if ok != (c > 0 && c < 0x80) || ok && wild != (c == '+' || c == '#') {
					t.Fatalf("%q: got %v, %v", s, ok, wild)
				}
			}
		}
	}
}

func TestValidTopicAndFilter(t *testing.T) {
	for _, row := range readTSV(t, "topic-valid.tsv") {
		s := unhex(t, row[1])
		valid := ValidFilter
		if row[0] == "name" {
			valid = ValidTopic
		}
		if err, want := valid(s), row[2] == "valid" || row[2] == "ordinary"; (err == nil) != want {
			t.Errorf("%s %q: got %v, want %s (%s)", row[0], s, err, row[2], row[3])
		}
		if _, _, shared := SplitShare(s); row[2] == "ordinary" && shared {
			t.Errorf("%q: shared", s)
		}
	}
	long := bytes.Repeat([]byte("a"), maxString+1)
	if ValidTopic(long) != errTopicLong || ValidFilter(long) != errFilterLong || ValidTopic(long[1:]) != nil || ValidFilter(long[1:]) != nil {
		t.Error("longest topic")
	}
}

func TestSplitShare(t *testing.T) {
	for _, tt := range []struct {
		in, group, filter string
		shared            bool
	}{
		{"a/b", "", "a/b", false},
		{"$share", "", "$share", false},
		{"$shared/g/a", "", "$shared/g/a", false},
		{"$share/g/a/b", "g", "a/b", true},
		{"$share/g//a", "g", "/a", true},
		{"$share/g/", "g", "", true},
		{"$share/g", "g", "", true},
		{"$share/", "", "", true},
		{"$share//a", "", "a", true},
	} {
		group, filter, shared := SplitShare([]byte(tt.in))
		if string(group) != tt.group || string(filter) != tt.filter || shared != tt.shared {
			t.Errorf("%s: got %q, %q, %v", tt.in, group, filter, shared)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, row := range readTSV(t, "topic-match.tsv") {
		filter, topic := []byte(row[0]), []byte(row[1])
		if ValidTopic(topic) != nil && len(topic) > 0 {
			continue // "foo/#/baz": such a name never gets as far as Match
		}
		if got, want := Match(filter, topic), row[2] == "1"; got != want {
			t.Errorf("filter %q, topic %q: got %v, want %v (%s)", filter, topic, got, want, row[3])
		}
	}
}

// slowMatch is section 4.7.
func slowMatch(filter, topic string) bool {
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	f, n := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true // "sport/#" also matches "sport"
		case i == len(n) || level != "+" && level != n[i]:
			return false
		}
	}
	return len(f) == len(n)
}

func TestMatchAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(levels ...string) string {
		s := make([]string, 1+r.IntN(4))
		for i := range s {
			s[i] = levels[r.IntN(len(levels))]
		}
		return strings.Join(s, "/")
	}
	matches := 0
	for range 200000 {
		filter, topic := pick("", "a", "b", "ab", "$", "+", "+"), pick("", "a", "b", "ab", "$")
		switch r.IntN(4) {
		case 0:
			filter += "/#"
		case 1:
			filter = "#"
		}
		if topic == "" || filter == "" {
			continue
		}
		if err := ValidFilter([]byte(filter)); err != nil {
			t.Fatalf("%q: %v", filter, err)
		}
		want := slowMatch(filter, topic)
		if got := Match([]byte(filter), []byte(topic)); got != want {
			t.Fatalf("filter %q, topic %q: got %v, want %v", filter, topic, got, want)
		}
		if want {
			matches++
		}
	}
	if matches < 10000 {
		t.Errorf("only %d matches", matches)
	}
}

// slowValidFilter is section 4.7.1 and 4.8.2.
func slowValidFilter(s string) bool {
	if s == "" || len(s) > maxString || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return false
	}
	levels := strings.Split(s, "/")
	if levels[0] == "$share" && len(levels) > 1 {
		if levels[1] == "" || strings.ContainsAny(levels[1], "+#") || len(levels) < 3 || len(levels) == 3 && levels[2] == "" {
			return false
		}
		levels = levels[2:]
	}
	for i, level := range levels {
		if level != "+" && !(level == "#" && i == len(levels)-1) && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	return true
}

func FuzzTopic(f *testing.F) {
	for _, row := range readTSV(f, "topic-match.tsv") {
		f.Add([]byte(row[0]), []byte(row[1]))
	}
	for _, row := range readTSV(f, "topic-valid.tsv") {
		f.Add(unhex(f, row[1]), unhex(f, row[1]))
	}
	f.Fuzz(func(t *testing.T, filter, topic []byte) {
		goodFilter := ValidFilter(filter) == nil
		if want := slowValidFilter(string(filter)); goodFilter != want {
			t.Errorf("filter %q: valid %v, want %v", filter, goodFilter, want)
		}
		if got, want := HasWildcard(filter), bytes.ContainsAny(filter, "+#"); got != want {
			t.Errorf("filter %q: wildcard %v, want %v", filter, got, want)
		}
		goodTopic := ValidTopic(topic) == nil
		want := len(topic) > 0 && len(topic) <= maxString && utf8.Valid(topic) && !bytes.ContainsAny(topic, "+#\x00")
		if goodTopic != want {
			t.Errorf("topic %q: valid %v, want %v", topic, goodTopic, want)
		}
		group, inner, shared := SplitShare(filter)
		if shared && goodFilter && "$share/"+string(group)+"/"+string(inner) != string(filter) {
			t.Errorf("filter %q: split to %q, %q", filter, group, inner)
		}
		got := Match(inner, topic) // whatever they are, it returns
		if goodFilter && goodTopic && got != slowMatch(string(inner), string(topic)) {
			t.Errorf("filter %q, topic %q: got %v", inner, topic, got)
		}
	})
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		filter, other string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"#", "a/b", true},
		{"#", "$SYS/a", false},
		{"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/+/a", true},
		{"a/#", "a", true},
		{"a", "a/#", false},
		{"a/+", "a/#", false},
		{"a/#", "a/+/b", true},
		{"a/+/b", "a/#", false},
		{"+/b", "a/+", false},
		{"+/b", "a/c", false},
		{"a/+", "a/b/c", false},
		{"a/b/c", "a/+", false},
		{"a/b/#", "a/+", false},
		{"a/b/c/#", "a/+", false},
		{"a/", "a/+", false},
		{"a/+", "a/", true},
		{"+", "a/#", false},
		{"%u/#", "me/a", true},
		{"%u/#", "you/a", false},
		{"+/%u", "a/me", true},
		{"%u", "+", false},
		{"%u", "%u", false},
	} {
		if got := Covers(c.filter, c.other, func(level, of string) bool { return level == of && level != "%u" || level == "%u" && of == "me" }); got != c.want {
			t.Errorf("%s covers %s: %v", c.filter, c.other, got)
		}
	}
	if !Covers("a/b", "a/b", nil) || Covers("a/b", "a/c", nil) {
		t.Error("levels are not compared as they are")
	}
}

// Long strings are looked at in another way than short ones.
func TestScanOfLongStrings(t *testing.T) {
	for _, part := range []string{"", "é", "水", "\U0001F4A7", "\ufffd", "+", "#", "\x00", "\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
		ok, wild := scan([]byte(part))
		for _, at := range []int{0, 300, 305} {
			long := strings.Repeat("x", at) + part + strings.Repeat("y", 310-at)
			gotOK, gotWild := scan([]byte(long))
			if gotOK != ok || ok && gotWild != wild {
				t.Errorf("%q at %d of a long string: %v, %v; by itself %v, %v", part, at, gotOK, gotWild, ok, wild)
			}
		}
	}
}
