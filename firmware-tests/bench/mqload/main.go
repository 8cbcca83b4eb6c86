// Command mqload puts load on an MQTT broker and reports throughput, latency,
// loss and, for a broker on the same machine, what the load cost it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// config is what the command line says.
type config struct {
	scenario  string
	addr      string
	transport string
	wsPath    string
	v5        bool
	username  string
	password  string
	clientID  string
	keepAlive int
	recvMax   int

	qos      byte
	size     int
	topic    string
	n        int
	duration time.Duration
	warmup   time.Duration
	rate     float64
	inflight int
	window   int
	burst    int
	pubs     int
	subs     int
	pairs    int
	conns    int
	sub      bool
	hold     time.Duration
	parallel int
	share    string
	clean    bool

	threads  int
	spin     bool
	coalesce time.Duration
	quiet    time.Duration
	limit    time.Duration
	pid      int
	json     bool
	label    string
}

// client returns the CONNECT fields for the client with the given name.
func (c *config) client(name string) connectOptions {
	return connectOptions{
		ClientID:   c.clientID + name,
		Username:   c.username,
		Password:   c.password,
		KeepAlive:  uint16(c.keepAlive),
		ReceiveMax: uint16(c.recvMax),
		Clean:      true,
		V5:         c.v5,
	}
}

// scenarios are the subcommands that put load on a broker.
var scenarios = map[string]func(*config) (*result, error){
	"fanin":    runFlow,
	"fanout":   runFlow,
	"pairs":    runFlow,
	"conns":    runConns,
	"retained": runRetained,
	"offline":  runOffline,
}

const usageText = `usage: mqload SCENARIO [flags]
       mqload summarize [FILE...]

scenarios:
  fanin      -pubs publishers on topics of their own, -subs subscribers to all
  fanout     one publisher, -subs subscribers
  pairs      -pairs publishers, each with a subscriber of its own
  conns      -conns idle connections
  retained   -n retained messages, then one subscriber to all of them
  offline    -n messages of each of -pubs publishers for an absent subscriber, who then comes back
summarize prints the medians of results written with -json.
'mqload SCENARIO -h' lists the flags.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usageText)
		os.Exit(2)
	}
	var err error
	name := os.Args[1]
	if name == "summarize" {
		err = summarizeFiles(os.Stdout, os.Args[2:])
	} else if f, ok := scenarios[name]; ok {
		err = runScenario(f, name, os.Args[2:])
	} else {
		fmt.Fprint(os.Stderr, usageText)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mqload:", err)
		os.Exit(1)
	}
}

// runScenario parses the flags, runs f and prints its result.
func runScenario(f func(*config) (*result, error), name string, args []string) error {
	cfg, err := parseFlags(name, args)
	if err != nil {
		return err
	}
	debug.SetGCPercent(400) // next to nothing is allocated while messages flow
	runtime.GOMAXPROCS(cfg.threads + 1)
	res, err := f(cfg)
	if err != nil {
		if cfg.json { // so that a comparison shows the failure
			res = newResult(cfg)
			res.note("failed: %v", err)
			_ = json.NewEncoder(os.Stdout).Encode(res)
		}
		return err
	}
	if cfg.json {
		return json.NewEncoder(os.Stdout).Encode(res)
	}
	res.print(os.Stdout)
	return nil
}

// parseFlags decodes the command line of a scenario.
func parseFlags(name string, args []string) (*config, error) {
	c := &config{scenario: name}
	fs := flag.NewFlagSet(name, flag.ExitOnError)
	fs.StringVar(&c.addr, "addr", "127.0.0.1:1883", "the broker's `host:port`")
	fs.StringVar(&c.transport, "transport", "tcp", "tcp or ws")
	fs.StringVar(&c.wsPath, "ws-path", "/mqtt", "path for -transport ws")
	fs.BoolVar(&c.v5, "v5", false, "MQTT 5 instead of 3.1.1")
	fs.StringVar(&c.username, "username", "", "user name")
	fs.StringVar(&c.password, "password", "", "password")
	fs.StringVar(&c.clientID, "client-id", "mqload-", "prefix of the client identifiers")
	fs.IntVar(&c.keepAlive, "keepalive", 0, "keep alive in `seconds` as announced; no pings are sent")
	fs.IntVar(&c.recvMax, "recv-max", 0, "Receive Maximum announced with -v5 (0: none)")
	qos := fs.Int("qos", 0, "quality of service of publishers and subscribers")
	fs.IntVar(&c.size, "size", 64, "payload size in `bytes`, at least 24")
	fs.StringVar(&c.topic, "topic", "bench", "prefix of the topics")
	fs.IntVar(&c.n, "n", 10000, "messages per publisher")
	fs.DurationVar(&c.duration, "time", 0, "publish for this long instead of -n messages")
	fs.DurationVar(&c.warmup, "warmup", 0, "leave out what is sent in this time at first")
	fs.Float64Var(&c.rate, "rate", 0, "messages (conns: connections) a second in total, 0 for as many as possible")
	fs.IntVar(&c.inflight, "inflight", 32, "unacknowledged messages per publisher with QoS 1 and 2")
	fs.IntVar(&c.window, "window", 0, "messages per publisher not yet seen by all its subscribers, 0 for no limit")
	fs.IntVar(&c.burst, "burst", 1, "wait for room for this many messages and send them together; not with -rate")
	pubs := 50
	if name == "offline" {
		pubs = 1
	}
	fs.IntVar(&c.pubs, "pubs", pubs, "publishers of fanin and offline")
	fs.IntVar(&c.subs, "subs", 1, "subscribers of fanin and fanout")
	fs.IntVar(&c.pairs, "pairs", 50, "pairs")
	fs.IntVar(&c.conns, "conns", 1000, "connections of conns")
	fs.BoolVar(&c.sub, "sub", true, "one subscription per connection of conns")
	fs.DurationVar(&c.hold, "hold", 2*time.Second, "how long conns stay idle")
	fs.IntVar(&c.parallel, "parallel", 100, "unfinished handshakes at a time")
	fs.StringVar(&c.share, "share", "", "make fanin's subscribers a shared subscription `group`")
	fs.BoolVar(&c.clean, "clean", true, "remove the retained messages afterwards")
	fs.IntVar(&c.threads, "threads", 1, "event loops")
	fs.BoolVar(&c.spin, "spin", false, "never sleep: takes a whole core, but leaves the generator's own waking up out of the latency")
	fs.DurationVar(&c.coalesce, "coalesce", 0, "sleep this long between rounds: fewer and larger reads and writes, for throughput, not latency")
	fs.DurationVar(&c.quiet, "quiet", 5*time.Second, "give up after so long without progress")
	fs.DurationVar(&c.limit, "limit", 2*time.Minute, "give up after so long in all")
	fs.IntVar(&c.pid, "pid", 0, "the broker's process, to report what it and its children use")
	fs.BoolVar(&c.json, "json", false, "print the result as one line of JSON")
	fs.StringVar(&c.label, "label", "", "name of the broker in the result")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case *qos < 0 || *qos > 2:
		return nil, fmt.Errorf("-qos is 0, 1 or 2")
	case c.size < stampSize:
		return nil, fmt.Errorf("-size is %d at least", stampSize)
	case c.transport != "tcp" && c.transport != "ws":
		return nil, fmt.Errorf("-transport is tcp or ws")
	case c.n < 1 || c.pubs < 1 || c.subs < 1 || c.pairs < 1 || c.conns < 1 || c.parallel < 1 || c.threads < 1:
		return nil, fmt.Errorf("counts are 1 at least")
	}
	c.qos = byte(*qos)
	// A burst must fit into half a window, or there would be pauses.
	c.burst = max(1, c.burst)
	if c.qos > 0 {
		c.burst = min(c.burst, max(1, c.inflight/2))
	}
	if c.window > 0 {
		c.burst = min(c.burst, max(1, c.window/2))
	}
	return c, nil
}
