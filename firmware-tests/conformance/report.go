package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/client"
	"sluice/firmware-tests/conformance/server"
	"sluice/firmware-tests/conformance/suite"
)

// report is what is known of one target.
type report struct {
	Target string
	Server []suite.Result // statements that bind servers
	Client []suite.Result // statements that bind clients; only of the gateway
}

// check runs all tests whose names contain a text.
func check(target *suite.Target, only string) (r *report, err error) {
	chosen := func(tests []suite.Test) []suite.Test {
		return slices.DeleteFunc(slices.Clone(tests), func(t suite.Test) bool { return !strings.Contains(t.Name(), only) })
	}
	r = &report{Target: target.Name}
	if r.Server, err = suite.Run(target, suite.Server, chosen(server.Tests), progress(target.Name+", server")); err != nil {
		return nil, err
	}
	if target.Gateway != "" {
		r.Client, err = suite.Run(target, suite.Client, chosen(client.Tests), progress(target.Name+", client"))
	}
	return r, err
}

// progress shows how far it is, on a terminal.
func progress(what string) func(done, all int) {
	info, err := os.Stderr.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return func(done, all int) {
		if terminal {
			fmt.Fprintf(os.Stderr, "\r\033[K%s: %d of %d tests", what, done, all)
		}
		if terminal && done == all {
			fmt.Fprint(os.Stderr, "\r\033[K")
		}
	}
}

// outcomes are all there are, as totals are listed.
var outcomes = []suite.Outcome{suite.Pass, suite.Fail, suite.NotRun, suite.NotObservable, suite.Untested}

// failures are the lines that make a run fail. A statement without a test is one
// only if all tests were run.
func (r *report) failures() (lines []string) {
	for _, row := range append(slices.Clip(r.Server), r.Client...) {
		if row.Outcome == suite.Fail {
			lines = append(lines, line(row))
		}
	}
	return lines
}

func line(r suite.Result) string {
	s := fmt.Sprintf("%-14s %-5s %-14s %s", r.Outcome, r.Version, r.ID, side(r))
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

func side(r suite.Result) string {
	if r.Side == suite.Client {
		return "client"
	}
	return "server"
}

// write prints a line per statement, and totals.
func (r *report) write(w io.Writer) error {
	for _, row := range append(slices.Clip(r.Server), r.Client...) {
		if _, err := fmt.Fprintln(w, line(row)); err != nil {
			return err
		}
	}
	for _, o := range outcomes {
		n := count(r.Server, o) + count(r.Client, o)
		if _, err := fmt.Fprintf(w, "%5d %s\n", n, o); err != nil {
			return err
		}
	}
	return nil
}

func count(rows []suite.Result, o suite.Outcome) (n int) {
	for _, r := range rows {
		if r.Outcome == o {
			n++
		}
	}
	return n
}

// writeJSON prints the whole report as one object.
func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	return e.Encode(r)
}
