// Conformance checks, statement by statement, what a broker obeys of MQTT 3.1.1 and
// 5.0, with conversations in raw bytes.
//
//	go run ./conformance                  bin/sluice, built and started here
//	go run ./conformance -broker H:P      any broker that is open to all
//
// It prints a line per statement and totals, and ends with 1 if a statement fails.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/client"
	"sluice/firmware-tests/conformance/server"
	"sluice/firmware-tests/conformance/suite"
)

func main() {
	broker := flag.String("broker", "", "`host:port` of the broker to test; none: bin/sluice, built and started here")
	webSocket := flag.String("ws", "", "`host:port` of the same broker over WebSocket, path /mqtt")
	v5 := flag.Bool("5", true, "test MQTT 5.0 too")
	asJSON := flag.Bool("json", false, "print the results as JSON")
	only := flag.String("run", "", "only tests whose names contain this")
	flag.Parse()
	target := &started{Target: suite.Target{Name: *broker, Addr: *broker, WebSocket: *webSocket, V5: *v5}}
	if *broker == "" {
		dir, err := os.MkdirTemp("", "conformance")
		if err != nil {
			fatal(err)
		}
		defer os.RemoveAll(dir)
		if target, err = startSluice(dir); err != nil {
			fatal(err)
		}
	}
	results, err := check(&target.Target, *only)
	target.Stop()
	if err != nil {
		fatal(err)
	}
	if *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(results)
	} else {
		err = print(os.Stdout, results)
	}
	if err != nil {
		fatal(err)
	}
	if slices.ContainsFunc(results, func(r suite.Result) bool { return r.Outcome == suite.Fail }) {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "conformance:", err)
	os.Exit(2)
}

// check runs the tests of servers, and those of clients if there is a gateway to
// start as one.
func check(target *suite.Target, only string) ([]suite.Result, error) {
	chosen := func(tests []suite.Test) []suite.Test {
		return slices.DeleteFunc(slices.Clone(tests), func(t suite.Test) bool { return !strings.Contains(t.Name(), only) })
	}
	results, err := suite.Run(target, suite.Server, chosen(server.Tests), progress)
	if err != nil || target.Gateway == "" {
		return results, err
	}
	asClient, err := suite.Run(target, suite.Client, chosen(client.Tests), progress)
	return append(results, asClient...), err
}

// progress shows how far it is, on a terminal.
func progress(done, all int) {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "\r%d of %d tests ", done, all)
	if done == all {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

// print writes a line per statement and the totals.
func print(w *os.File, results []suite.Result) error {
	totals := map[suite.Outcome]int{}
	for _, r := range results {
		totals[r.Outcome]++
		side := "server"
		if r.Side == suite.Client {
			side = "client"
		}
		detail := ""
		if r.Detail != "" {
			detail = ": " + r.Detail
		}
		if _, err := fmt.Fprintf(w, "%-14s %s %s %s%s\n", r.Outcome, r.Version, r.ID, side, detail); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	for _, o := range []suite.Outcome{suite.Pass, suite.Fail, suite.NotRun, suite.NotObservable, suite.Untested} {
		if _, err := fmt.Fprintf(w, "%5d %s\n", totals[o], o); err != nil {
			return err
		}
	}
	return nil
}
