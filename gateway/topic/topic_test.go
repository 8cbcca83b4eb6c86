package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// slowMatch is section 4.7 of the specification written out.
func slowMatch(filter, topic string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(topic, "/")
	if topic[0] == '$' && (f[0] == "+" || f[0] == "#") { // [MQTT-4.7.2-1]
		return false
	}
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

// matches returns what a tree visits for a topic, sorted.
func matches(t *Tree[int], topic string) []int {
	var got []int
	t.Match([]byte(topic), func(v int) { got = append(got, v) })
	slices.Sort(got)
	return got
}

// matched returns the names that a filter visits, sorted.
func matched(n *Names[int], filter string) []string {
	var got []string
	n.Match([]byte(filter), func(topic string, _ int) bool {
		got = append(got, topic)
		return true
	})
	slices.Sort(got)
	return got
}

func TestMatchingTable(t *testing.T) {
	table, err := os.ReadFile("../../codec/testdata/topic-match.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var all Tree[int]
	rows := strings.Split(strings.TrimSpace(string(table)), "\n")[1:]
	for i, row := range rows {
		all.Add(strings.Split(row, "\t")[0], i)
	}
	tested := 0
	for i, row := range rows {
		field := strings.Split(row, "\t")
		filter, topic, want := field[0], field[1], field[2] == "1"
		if topic == "" || strings.ContainsAny(topic, "+#") {
			continue // not a topic name: does not come this far
		}
		tested++
		var tree Tree[int]
		tree.Add(filter, i)
		if got := len(matches(&tree, topic)) == 1; got != want {
			t.Errorf("Tree with %q alone, topic %q: match %v, want %v", filter, topic, got, want)
		}
		if got := slices.Contains(matches(&all, topic), i); got != want {
			t.Errorf("Tree with all filters, topic %q: %q matches %v, want %v", topic, filter, got, want)
		}
		var names Names[int]
		names.Set(topic, i)
		if got := len(matched(&names, filter)) == 1; got != want {
			t.Errorf("Names with %q alone, filter %q: match %v, want %v", topic, filter, got, want)
		}
		if slowMatch(filter, topic) != want {
			t.Errorf("the oracle is wrong about filter %q and topic %q", filter, topic)
		}
	}
	if tested < 60 {
		t.Errorf("only %d rows tested", tested)
	}
}

// randomLevels joins up to five levels out of few, so that they often meet.
func randomLevels(r *rand.Rand, wildcards bool) string {
	words := []string{"", "a", "b", "ab", "$a", "abc"}
	for i := range 12 {
		words = append(words, fmt.Sprint("w", i))
	}
	levels := make([]string, 1+r.IntN(5))
	for i := range levels {
		levels[i] = words[min(r.IntN(len(words)), r.IntN(len(words)))]
		if wildcards && r.IntN(4) == 0 {
			levels[i] = "+"
		}
	}
	if wildcards && r.IntN(4) == 0 {
		levels[len(levels)-1] = "#"
	}
	if s := strings.Join(levels, "/"); s != "" {
		return s
	}
	return "/"
}

func TestTreeAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var tree Tree[int]
	type subscription struct {
		filter string
		v      int
	}
	var have []subscription
	for step := range 8_000 {
		before := tree.Generation()
		// Grow to some hundred subscriptions and shrink to none, again and again.
		if growing := step/1000%2 == 0; growing == (r.IntN(10) > 1) {
			s := subscription{randomLevels(r, true), r.IntN(20)}
			have = append(have, s)
			tree.Add(s.filter, s.v)
		} else if len(have) > 0 {
			i := r.IntN(len(have))
			s := have[i]
			have = slices.Delete(have, i, i+1)
			if !tree.Remove(s.filter, s.v) {
				t.Fatalf("step %d: Remove(%q, %d) found nothing", step, s.filter, s.v)
			}
		}
		stranger := randomLevels(r, true)
		if !slices.Contains(have, subscription{stranger, 7}) {
			unchanged := tree.Generation()
			if tree.Remove(stranger, 7) {
				t.Fatalf("step %d: Remove(%q, 7) found what was never added", step, stranger)
			}
			if tree.Generation() != unchanged {
				t.Fatalf("step %d: removing nothing changed the generation", step)
			}
		} else if before == tree.Generation() {
			t.Fatalf("step %d: the generation did not change", step)
		}
		checkShape(t, &tree.root)
		topic := randomLevels(r, false)
		var want []int
		for _, s := range have {
			if slowMatch(s.filter, topic) {
				want = append(want, s.v)
			}
		}
		slices.Sort(want)
		if got := matches(&tree, topic); !slices.Equal(got, want) {
			t.Fatalf("step %d: Match(%q) = %v, want %v, of %v", step, topic, got, want, have)
		}
	}
}

func TestNamesAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var names Names[int]
	have := map[string]int{}
	for step := range 8_000 {
		topic := randomLevels(r, false)
		was, had := have[topic]
		var old int
		var ok bool
		if growing := step/1000%2 == 0; growing == (r.IntN(10) > 1) {
			old, ok = names.Set(strings.Clone(topic), step)
			have[topic] = step
		} else {
			if !had && len(have) > 0 {
				topic = slices.Sorted(maps.Keys(have))[r.IntN(len(have))]
				was, had = have[topic], true
			}
			old, ok = names.Delete([]byte(topic))
			delete(have, topic)
		}
		if ok != had || old != was {
			t.Fatalf("step %d: %q held (%d, %v), want (%d, %v)", step, topic, old, ok, was, had)
		}
		got, ok := names.Get([]byte(topic))
		if want, has := have[topic]; got != want || ok != has {
			t.Fatalf("step %d: Get(%q) = (%d, %v), want (%d, %v)", step, topic, got, ok, want, has)
		}
		if names.Len() != len(have) {
			t.Fatalf("step %d: Len() = %d, want %d", step, names.Len(), len(have))
		}
		checkShape(t, &names.root)
		filter := randomLevels(r, true)
		var want []string
		for topic := range have {
			if slowMatch(filter, topic) {
				want = append(want, topic)
			}
		}
		slices.Sort(want)
		if got := matched(&names, filter); !slices.Equal(got, want) {
			t.Fatalf("step %d: Match(%q) = %q, want %q", step, filter, got, want)
		}
	}
}

// checkShape fails if nodes are left that nothing needs.
func checkShape[V value](t *testing.T, b *branch[V]) {
	if b.many != nil && b.few != nil {
		t.Fatal("a branch has children both in few and in many")
	}
	for n := range b.children {
		if n.below == nil {
			if n.value.empty() {
				t.Fatalf("leaf %q holds nothing", n.path)
			}
			continue
		}
		if n.value.empty() && n.below.len() < 2 || n.below.len() == 0 {
			t.Fatalf("node %q holds nothing and has %d children", n.path, n.below.len())
		}
		checkShape(t, n.below)
	}
}

func TestNamesMatchStops(t *testing.T) {
	var names Names[int]
	for i := range 100 {
		names.Set(fmt.Sprintf("a/%d/b/%d", i%10, i), i)
	}
	for _, filter := range []string{"#", "a/#", "a/+/b/+", "+/+/#", "a/3/b/#", "a/3/b/+"} {
		visits := 0
		names.Match([]byte(filter), func(string, int) bool {
			visits++
			return visits < 3
		})
		if visits != 3 {
			t.Errorf("Match(%q) made %d visits although the third returned false", filter, visits)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	tree, names, topics := site(1000)
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		tree.Match(topics[7], func(v int) { sum += v })
	}); n != 0 {
		t.Errorf("Tree.Match allocates %v times", n)
	}
	filter := []byte("dev/+/cmd")
	if n := testing.AllocsPerRun(100, func() {
		names.Match(filter, func(_ string, v int) bool { sum += v; return true })
	}); n != 0 {
		t.Errorf("Names.Match allocates %v times", n)
	}
}

// site is n devices, each with a filter and a name of its own, and some
// filters of services.
func site(n int) (*Tree[int], *Names[int], [][]byte) {
	tree, names := new(Tree[int]), new(Names[int])
	topics := make([][]byte, n)
	for i := range n {
		topic := fmt.Sprintf("dev/%d/cmd", i)
		topics[i] = []byte(topic)
		tree.Add(topic, i)
		names.Set(topic, i)
	}
	for i, filter := range []string{"#", "dev/#", "dev/+/cmd", "+/+/state", "other/+/cmd"} {
		tree.Add(filter, i)
	}
	return tree, names, topics
}

// heap returns the bytes in use that fn's result keeps alive.
func heap[T any](fn func() T) (kept T, bytes int64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept = fn()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return kept, int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func TestMemoryOfADevice(t *testing.T) {
	const devices = 100_000
	filters := make([]string, devices)
	for i := range filters {
		filters[i] = fmt.Sprintf("dev/%d/cmd", i)
	}
	tree, bytes := heap(func() *Tree[*int] {
		tree := new(Tree[*int])
		for _, f := range filters {
			tree.Add(f, nil)
		}
		return tree
	})
	t.Logf("%d bytes per device in the tree", bytes/devices)
	if bytes/devices > 200 {
		t.Errorf("%d bytes per device in the tree, want at most 200", bytes/devices)
	}

	before := bytes
	_, bytes = heap(func() int {
		for _, f := range filters[100:] {
			tree.Remove(f, nil)
		}
		return 0
	})
	if left := before + bytes; left > before/20 {
		t.Errorf("%d bytes in use after 99.9 %% of the filters were removed, %d before", left, before)
	}
	for _, f := range filters[:100] {
		tree.Remove(f, nil)
	}
	if tree.root.len() != 0 {
		t.Errorf("%d nodes left at the root of an empty tree", tree.root.len())
	}
}

func TestMemoryOfMuchWantedFilter(t *testing.T) {
	var tree Tree[int]
	for i := range 10_000 {
		tree.Add("all/#", i)
	}
	for i := range 9_990 {
		tree.Remove("all/#", i)
	}
	if n := tree.root.find("all/#"); cap(n.value) > 64 {
		t.Errorf("10 values in a list of capacity %d", cap(n.value))
	}
}

func BenchmarkTreeMatch(b *testing.B) {
	tree, _, topics := site(100_000)
	sum, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		tree.Match(topics[i], func(v int) { sum += v })
		if i++; i == len(topics) {
			i = 0
		}
	}
}

func BenchmarkTreeAddRemove(b *testing.B) {
	tree, _, _ := site(100_000)
	b.ReportAllocs()
	for b.Loop() {
		tree.Add("dev/4711/new", 1)
		tree.Remove("dev/4711/new", 1)
	}
}

func BenchmarkNamesMatch(b *testing.B) {
	names := new(Names[int])
	for i := range 100_000 {
		names.Set(fmt.Sprintf("site/%d/dev/%d/state", i%100, i), i)
	}
	for _, filter := range []string{"site/7/dev/507/state", "site/7/#", "site/+/dev/507/state"} {
		b.Run(filter, func(b *testing.B) {
			sum := 0
			b.ReportAllocs()
			for b.Loop() {
				names.Match([]byte(filter), func(_ string, v int) bool { sum += v; return true })
			}
		})
	}
}

func TestTooDeep(t *testing.T) {
	for topic, want := range map[string]bool{
		"a": false, strings.Repeat("x", 5*MaxLevels): false,
		strings.Repeat("/", MaxLevels-1): false, strings.Repeat("/", MaxLevels): true,
		strings.Repeat("ab/", MaxLevels-1) + "ab": false, strings.Repeat("+/", MaxLevels) + "#": true,
	} {
		if TooDeep([]byte(topic)) != want {
			t.Errorf("%.50q of %d levels: want %v", topic, strings.Count(topic, "/")+1, want)
		}
	}
}
