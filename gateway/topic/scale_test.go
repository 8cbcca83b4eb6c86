package topic

import (
	"fmt"
	"strings"
	"testing"
)

// fleetTopic is the topic of device i, depth levels deep: groups that devices share,
// then its own level halfway down, then levels that all devices have.
func fleetTopic(i, depth int) string {
	levels := make([]string, depth)
	for l := range levels {
		switch own := depth / 2; {
		case l < own:
			levels[l] = fmt.Sprintf("group%d", i/(l+1)%10)
		case l == own:
			levels[l] = fmt.Sprintf("device%d", i)
		default:
			levels[l] = "part"
		}
	}
	return strings.Join(levels, "/")
}

// fleetFilter is what is subscribed to of device i: its topic, all below it, or these
// two with + for a group. No other device's topic matches it.
func fleetFilter(i, depth int) string {
	filter := fleetTopic(i, depth)
	if i%4 >= 2 {
		levels := strings.Split(filter, "/")
		levels[i/4%(depth/2)] = "+"
		filter = strings.Join(levels, "/")
	}
	if i%2 == 1 {
		filter += "/#"
	}
	return filter
}

const fleetSubscribers = 10 // to each filter

// fleet is a tree with as many filters, and some of the topics that match one each.
func fleet(filters, depth int) (*Tree[int], [][]byte) {
	tree := new(Tree[int])
	for i := range filters {
		filter := fleetFilter(i, depth)
		for v := range fleetSubscribers {
			tree.Add(filter, v)
		}
	}
	topics := make([][]byte, 256)
	for i := range topics {
		topics[i] = []byte(fleetTopic(i*(filters/len(topics)), depth))
	}
	return tree, topics
}

var depths = []int{2, 4, 8, 16}

// BenchmarkTreeScale shows that a match costs what its topic's depth asks for, however
// many subscriptions there are.
func BenchmarkTreeScale(b *testing.B) {
	for _, depth := range depths {
		for _, filters := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("depth=%d/filters=%d", depth, filters), func(b *testing.B) {
				tree, topics := fleet(filters, depth)
				sum, i := 0, 0
				b.ReportAllocs()
				for b.Loop() {
					tree.Match(topics[i], func(v int) { sum += v })
					i = (i + 1) % len(topics)
				}
			})
		}
	}
}

// BenchmarkNamesScale is 10,000 names that a filter with a wildcard finds among more
// and more others.
func BenchmarkNamesScale(b *testing.B) {
	const each = 10_000
	for _, sites := range []int{1, 10, 100} {
		names := new(Names[int])
		for i := range sites * each {
			names.Set(fmt.Sprintf("site%d/device%d/state", i/each, i%each), i)
		}
		for _, filter := range []string{"site0/#", "site0/+/state"} {
			b.Run(fmt.Sprintf("%s/names=%d", strings.ReplaceAll(filter, "/", "."), sites*each), func(b *testing.B) {
				found := 0
				b.ReportAllocs()
				for b.Loop() {
					names.Match([]byte(filter), func(string, int) bool { found++; return true })
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(found), "ns/name")
			})
		}
	}
}

// cut takes away every node below b whose first level wanted does not want, so that to
// go on from there is to crash. above is the path down to b, with a slash behind it.
// It returns how many nodes are left.
func cut[V value](b *branch[V], above string, wanted func(path string) bool) (left int) {
	keep := func(n *node[V]) bool {
		if !wanted(above + first(n.path)) {
			return false
		}
		left++
		if n.below != nil {
			left += cut(n.below, above+n.path+"/", wanted)
		}
		return true
	}
	for _, n := range []**node[V]{&b.plus, &b.hash} {
		if *n != nil && !keep(*n) {
			*n = nil
		}
	}
	for _, n := range b.few { // child looks at their paths
		if !keep(n) {
			n.below = &branch[V]{few: []*node[V]{nil}}
		}
	}
	for level, n := range b.many {
		if !keep(n) {
			b.many[level] = nil
		}
	}
	return left
}

// below says whether a filter may match names that begin with the levels of path, but
// for the last: all that hang there are looked through for a wildcard.
func below(filter, path string) bool {
	f, p := strings.Split(filter, "/"), strings.Split(path, "/")
	for i, level := range f {
		switch {
		case level == "#" || i == len(p):
			return true
		case level != "+" && level != p[i]:
			return false
		}
	}
	return len(f) == len(p)
}

// Names that a filter can not match are not looked at, however many there are.
func TestNamesAreNotScanned(t *testing.T) {
	const sites, devices = 100, 1_000
	for _, filter := range []string{"site7/#", "site7/+/state", "site7/device12/state"} {
		names := new(Names[int])
		for i := range sites * devices {
			names.Set(fmt.Sprintf("site%d/device%d/state", i/devices, i%devices), i)
		}
		left := cut(&names.root, "", func(path string) bool { return below(filter, path) })
		want := devices
		if strings.Contains(filter, "device") {
			want = 1
		}
		if left != want+1 {
			t.Fatalf("%q: %d nodes are left to look at, want %d and one above them", filter, left, want)
		}
		if got := len(matched(names, filter)); got != want {
			t.Errorf("%q finds %d names, want %d", filter, got, want)
		}
	}
}

// Filters that fork off the levels of a topic are not looked at, so that their number
// does not matter.
func TestFiltersAreNotScanned(t *testing.T) {
	for _, depth := range depths {
		for _, filters := range []int{1_000, 20_000} {
			tree, topics := fleet(filters, depth)
			topic := topics[200]
			want := len(matches(tree, string(topic)))
			left := cut(&tree.root, "", func(path string) bool {
				return slowMatch(path, strings.Join(strings.Split(string(topic), "/")[:strings.Count(path, "/")+1], "/"))
			})
			if got := len(matches(tree, string(topic))); got != want || want != fleetSubscribers {
				t.Errorf("%d filters, %d levels: %d match, want %d, and %d are to", filters, depth, got, want, fleetSubscribers)
			}
			if left > 64 {
				t.Errorf("%d filters, %d levels: %d nodes are on the way of one topic", filters, depth, left)
			}
			t.Logf("%d filters, %d levels: %d nodes on the way", filters, depth, left)
		}
	}
}
