// Match measures what it costs to find who wants a message, as the subscriptions grow
// in number and the topics in depth: in the gateway's tree, in mochi's index and in
// nats-server's list.
//
//	go run ./bench/match [-svg file] [-for 200ms]
//
// Each filter has ten subscriptions; one filter matches each topic. Half of the filters
// have a wildcard for one level, half one for all that is below. Nothing is remembered of
// earlier matches. Of nats-server it is the generic form of its list that is measured:
// the server's own takes no subscriptions from outside, and collects results besides.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/nats-io/nats-server/v2/server/gsl"

	"sluice/gateway/topic"
)

const subscribers = 10 // to each filter

var (
	depths  = []int{2, 4, 8, 16}            // levels of the topics
	filters = []int{1_000, 10_000, 100_000} // in the index
)

// index finds who wants a topic. Its match returns how many do.
type index struct {
	name string
	make func(filters []string) (match func(topic string) int)
}

var indexes = []index{
	{"Sluice", func(filters []string) func(string) int {
		var tree topic.Tree[int]
		for _, f := range filters {
			for i := range subscribers {
				tree.Add(f, i)
			}
		}
		return func(name string) (n int) {
			tree.Match([]byte(name), func(int) { n++ })
			return n
		}
	}},
	{"mochi", func(filters []string) func(string) int {
		x := mochi.NewTopicsIndex()
		for _, f := range filters {
			for i := range subscribers {
				x.Subscribe(fmt.Sprintf("%s %d", f, i), packets.Subscription{Filter: f})
			}
		}
		return func(name string) int { return len(x.Subscribers(name).Subscriptions) }
	}},
	{"nats-server", func(filters []string) func(string) int {
		list := gsl.NewSublist[int]()
		for _, f := range filters {
			subject := strings.NewReplacer("/", ".", "+", "*", "#", ">").Replace(f)
			for i := range subscribers {
				_ = list.Insert(subject, i) // fails on what is no subject: then nothing matches
				if parent, ok := strings.CutSuffix(subject, ".>"); ok {
					_ = list.Insert(parent, i) // as its MQTT does: "a/#" matches "a"
				}
			}
		}
		return func(name string) (n int) {
			list.Match(strings.ReplaceAll(name, "/", "."), func(int) { n++ })
			return n
		}
	}},
}

// name is the topic of device i: groups that devices share, its own level halfway down,
// and levels that all have.
func name(i, depth int) string {
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

// filter is what is subscribed to of device i.
func filter(i, depth int) string {
	levels := strings.Split(name(i, depth), "/")
	if i%4 >= 2 {
		levels[i/4%(depth/2)] = "+"
	}
	if i%2 == 1 {
		levels = append(levels, "#")
	}
	return strings.Join(levels, "/")
}

// figure is what a match costs.
type figure struct {
	index, depth, filters int // places in indexes, depths and filters
	cost                  time.Duration
}

// measure takes the best of several rounds: whatever else the machine does only adds.
func measure(x index, depth, filters int, length time.Duration) (time.Duration, error) {
	all := make([]string, filters)
	for i := range all {
		all[i] = filter(i, depth)
	}
	names := make([]string, 256)
	for i := range names {
		names[i] = name(i*(filters/len(names)), depth)
	}
	match := x.make(all)
	for _, n := range names {
		if got := match(n); got != subscribers {
			return 0, fmt.Errorf("%s finds %d subscriptions for %s, want %d", x.name, got, n, subscribers)
		}
	}
	runtime.GC()
	const rounds = 20
	best := time.Duration(1<<63 - 1)
	for range rounds {
		n, begun := 0, time.Now()
		for time.Since(begun) < length/rounds {
			for _, name := range names {
				match(name)
			}
			n += len(names)
		}
		best = min(best, time.Since(begun)/time.Duration(n))
	}
	return best, nil
}

func run(svg string, length time.Duration) error {
	var figures []figure
	fmt.Printf("ns per match; %d subscriptions to each filter\n\n| levels | filters |", subscribers)
	for _, x := range indexes {
		fmt.Printf(" %s |", x.name)
	}
	fmt.Printf("\n|---:|---:|%s\n", strings.Repeat("---:|", len(indexes)))
	for d, depth := range depths {
		for f, n := range filters {
			fmt.Printf("| %d | %d |", depth, n)
			for x := range indexes {
				cost, err := measure(indexes[x], depth, n, length)
				if err != nil {
					return err
				}
				figures = append(figures, figure{x, d, f, cost})
				fmt.Printf(" %d |", cost.Nanoseconds())
			}
			fmt.Println()
		}
	}
	if svg == "" {
		return nil
	}
	return os.WriteFile(svg, []byte(plot(figures)), 0o644)
}

func main() {
	svg := flag.String("svg", "", "write a plot into this `file`")
	length := flag.Duration("for", 200*time.Millisecond, "how long each is measured")
	flag.Parse()
	if err := run(*svg, *length); err != nil {
		fmt.Fprintln(os.Stderr, "match:", err)
		os.Exit(1)
	}
}

// dearest is the highest cost of all.
func dearest(figures []figure) time.Duration {
	return slices.MaxFunc(figures, func(a, b figure) int { return cmp.Compare(a.cost, b.cost) }).cost
}
