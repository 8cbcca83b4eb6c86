package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/client"
	"sluice/firmware-tests/conformance/server"
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/conformance/vectors"
)

// report is what is known of one target.
type report struct {
	Target string
	Server []suite.Result // statements that bind servers
	Client []suite.Result // statements that bind clients; only of the gateway

	Vectors []vectors.Row // empty if only some of the tests were chosen
}

// check runs all tests whose names contain a text.
func check(target *suite.Target, only string) (r *report, err error) {
	chosen := func(tests []suite.Test) []suite.Test {
		return slices.DeleteFunc(slices.Clone(tests), func(t suite.Test) bool { return !strings.Contains(t.Name(), only) })
	}
	r = &report{Target: target.Name}
	if only == "" { // first: rows that subscribe to # would see what the others leave
		if r.Vectors, err = vectors.Run(target, progress(target.Name+", vectors")); err != nil {
			return nil, err
		}
	}
	if r.Server, err = suite.Run(target, suite.Server, chosen(server.Tests), progress(target.Name+", server")); err != nil {
		return nil, err
	}
	if target.Gateway != "" {
		if r.Client, err = suite.Run(target, suite.Client, chosen(client.Tests), progress(target.Name+", client")); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// statements are the results of both sides.
func (r *report) statements() []suite.Result { return slices.Concat(r.Server, r.Client) }

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

// failures are the lines of what failed.
func (r *report) failures() (lines []string) {
	for _, row := range r.statements() {
		if row.Outcome == suite.Fail {
			lines = append(lines, line(row))
		}
	}
	for _, row := range r.Vectors {
		if row.Outcome == suite.Fail {
			lines = append(lines, vectorLine(row))
		}
	}
	return lines
}

func line(r suite.Result) string {
	return detailed(fmt.Sprintf("%-14s %-5s %-14s %s", r.Outcome, r.Version, r.ID, side(r)), r.Detail)
}

func vectorLine(r vectors.Row) string {
	return detailed(fmt.Sprintf("%-14s %-5s %s %s", r.Outcome, r.Version, r.File, r.Name), r.Detail)
}

func detailed(s, detail string) string {
	if detail == "" {
		return s
	}
	return s + ": " + detail
}

func side(r suite.Result) string {
	if r.Side == suite.Client {
		return "client"
	}
	return "server"
}

// write prints a line per statement and per vector, and totals.
func (r *report) write(w io.Writer) error {
	totals := map[suite.Outcome]int{}
	out := bufio.NewWriter(w)
	for _, row := range r.statements() {
		fmt.Fprintln(out, line(row))
		totals[row.Outcome]++
	}
	for _, row := range r.Vectors {
		fmt.Fprintln(out, vectorLine(row))
		totals[row.Outcome]++
	}
	for _, o := range outcomes {
		fmt.Fprintf(out, "%5d %s\n", totals[o], o)
	}
	return out.Flush()
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
