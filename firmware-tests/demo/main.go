// Demo shows the whole job in about a minute: sensors publish to a gateway,
// whose bridge carries everything to a cluster of three nats-server nodes. The
// line to the cluster is cut, the gateway is killed and started again meanwhile,
// the line heals, a node is killed. In the end it counts.
//
//	20 sensors ─► gateway ─► line ─► node ─┐
//	 QoS 1 and 2   killed    cut    killed │ JetStream, 3 replicas
//	                                       ▼
//	                     consumer ◄─────  node
//
// It ends with exit code 1 unless nothing acknowledged is lost, nothing arrives
// twice at QoS 2 and nothing out of order.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	short := flag.Bool("short", false, "a third of the time")
	asJSON := flag.Bool("json", false, "print the count as one line of JSON, and progress on standard error")
	keep := flag.String("log", "", "write the gateway's log to this `file`")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	out := os.Stdout
	if *asJSON {
		out = os.Stderr
	}
	plan := fullPlan
	if *short {
		plan = shortPlan
	}
	result, err := run(ctx, plan, newScreen(out), *keep)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	if *asJSON {
		err = result.printJSON(os.Stdout)
	} else {
		err = result.print(os.Stdout)
	}
	if err == nil {
		err = result.broken()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// plan says how long each act takes.
type plan struct {
	steady  time.Duration // at first, and after each trouble
	cut     time.Duration // without a line to the cluster
	kill    time.Duration // into the cut, the gateway is killed
	down    time.Duration // and stays away
	drained time.Duration // at most, until all has arrived
}

var (
	fullPlan  = plan{steady: 12 * time.Second, cut: 10 * time.Second, kill: 4 * time.Second, down: time.Second, drained: time.Minute}
	shortPlan = plan{steady: 4 * time.Second, cut: 4 * time.Second, kill: time.Second, down: 500 * time.Millisecond, drained: time.Minute}
)
