package bridge

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"sluice/codec"
)

func mustRules(t testing.TB, texts ...string) (rules []Rule) {
	t.Helper()
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	return rules
}

func TestName(t *testing.T) {
	n := newNames(mustRules(t,
		"sensors/+/temp 1 -> site7/$1/t",
		"sensors/+/+/# -> site7/$2/of/$1/$3",
		"sensors/#",
		"/+/x/ -> /$1",
		"twice/+ -> a/$1/$1",
	), "p/")
	m := newNamer(n, n)
	for topic, want := range map[string]string{
		"sensors/3/temp":      "site7/3/t",
		"sensors//temp":       "site7//t",
		"sensors/3/temp/a":    "site7/temp/of/3/a",
		"sensors/3/hum":       "site7/hum/of/3",
		"sensors/3/hum/":      "site7/hum/of/3/",
		"sensors/3/hum/a/b/c": "site7/hum/of/3/a/b/c",
		"sensors/3":           "p/sensors/3",
		"sensors":             "p/sensors",
		"/a/x/":               "/a",
		"//x/":                "/",
		"twice/b":             "a/b/b",
	} {
		name, rule := m.name([]byte(topic))
		if string(name) != want || rule == nil {
			t.Errorf("%q is called %q by %v, want %q", topic, name, rule, want)
		}
		if back, ok := m.answer([]byte(want)); !ok || string(back) != topic {
			t.Errorf("what %q is called goes back to %q, %v", topic, back, ok)
		}
	}
	if name, rule := m.name([]byte("other")); rule != nil || string(name) != "p/other" {
		t.Errorf("what no rule matches is called %q by %v", name, rule)
	}
	for _, name := range []string{"site7/3", "a/b/c", "p/other", "p/sensors/3/temp", "q"} {
		if back, ok := m.answer([]byte(name)); ok {
			t.Errorf("%q goes back to %q, which has another name", name, back)
		}
	}
	n = newNames(mustRules(t, "raw/# -> $1"), "")
	m = newNamer(n, n)
	for topic, want := range map[string]string{"raw/$SYS/x": "$SYS/x", "raw/": "", "raw": ""} {
		if name, rule := m.name([]byte(topic)); string(name) != want || rule == nil {
			t.Errorf("%q is called %q by %v, want %q", topic, name, rule, want)
		}
	}
}

// slowName is how names are made, level by level.
func slowName(rules []Rule, prefix, topic string) (name string, matched bool) {
	for _, r := range rules {
		if !codec.Match([]byte(r.Filter), []byte(topic)) {
			continue
		}
		if r.To == "" {
			return prefix + topic, true
		}
		levels := strings.Split(topic, "/")
		captures := map[string][]string{}
		for i, f := range strings.Split(r.Filter, "/") {
			switch f {
			case "+":
				captures["$"+strconv.Itoa(len(captures)+1)] = levels[i : i+1]
			case "#":
				captures["$"+strconv.Itoa(len(captures)+1)] = levels[min(i, len(levels)):]
			}
		}
		var out []string
		for _, l := range strings.Split(r.To, "/") {
			if part, ok := captures[l]; ok {
				out = append(out, part...)
			} else {
				out = append(out, l)
			}
		}
		return strings.Join(out, "/"), true
	}
	return prefix + topic, false
}

// TestNameAgainstOracle compares with slowName, and goes back: what is made of a
// topic is made of what answer says.
func TestNameAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	topic := func() string {
		levels := []string{}
		for range 1 + r.IntN(4) {
			levels = append(levels, pick("a", "b", "c", ""))
		}
		return strings.Join(levels, "/")
	}
	found, back := 0, 0
	for range 3000 {
		var rules []Rule
		for range 1 + r.IntN(3) {
			var filter, to []string
			wildcards := 0
			for range 1 + r.IntN(3) {
				l := pick("a", "b", "+", "+")
				filter = append(filter, l)
				if l == "+" {
					wildcards++
					to = append(to, "$"+strconv.Itoa(wildcards))
				}
			}
			r.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
			to = append([]string{pick("x", "a")}, to...)
			if r.IntN(2) == 0 {
				filter = append(filter, "#")
				to = append(to, "$"+strconv.Itoa(wildcards+1))
			}
			rule := Rule{Filter: strings.Join(filter, "/"), To: strings.Join(to, "/")}
			if r.IntN(3) == 0 {
				rule.To = ""
			}
			if err := rule.check(); err != nil {
				t.Fatal(err)
			}
			rules = append(rules, rule)
		}
		prefix := pick("", "p/", "a/")
		n := newNames(rules, prefix)
		m := newNamer(n, n)
		for range 10 {
			topic := topic()
			if topic == "" {
				continue
			}
			want, matched := slowName(rules, prefix, topic)
			name, rule := m.name([]byte(topic))
			if string(name) != want || (rule != nil) != matched {
				t.Fatalf("by %v with %q, %q is called %q, want %q", rules, prefix, topic, name, want)
			}
			if !matched {
				continue
			}
			found++
			origin, ok := m.answer([]byte(want))
			if !ok {
				t.Fatalf("by %v with %q, %q is called %q, but nothing leads back", rules, prefix, topic, want)
			}
			if again, _ := slowName(rules, prefix, string(origin)); again != want {
				t.Fatalf("by %v with %q, %q leads back to %q, which is called %q", rules, prefix, want, origin, again)
			}
			if string(origin) == topic {
				back++
			}
		}
	}
	if found < 1000 || back < found/2 {
		t.Errorf("%d names, %d of them lead back to the same topic: too few to show anything", found, back)
	}
}
