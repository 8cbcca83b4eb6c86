// Package interop makes a table of what the tests of package clients say.
package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// Table runs the tests of package clients, which takes less than a minute on two
// cores, and returns a Markdown table: a row for each library, a column for each
// wire and version, and below it what single scenes were left out for. A cell
// says pass, fail, or why the library cannot do that. dir is the folder
// firmware-tests. The error tells of tests that did not run, or that failed
// outside the scenes.
func Table(dir string) (string, error) {
	cmd := exec.Command("go", "test", "-count=1", "-json", "./clients")
	cmd.Dir = dir
	var events, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &events, &said
	failed := cmd.Run()
	if exit := (*exec.ExitError)(nil); failed != nil && !errors.As(failed, &exit) {
		return "", failed
	}
	r, err := read(&events)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	text, shown := r.markdown()
	if failed != nil && !shown {
		return "", errors.New("tests failed, but none in the table")
	}
	return text, nil
}

// results is what go test -json said. Tests go by their names without
// "TestClients/".
type results struct {
	libraries []string          // in order of their start
	versions  map[string]string // of the libraries
	columns   []string          // WIRE/VERSION where scenes were played, sorted
	outcome   map[string]string // of each test: pass, fail or skip
	reason    map[string]string // why it was skipped
	tests     []string          // in order of their end
}

var (
	logged  = regexp.MustCompile(`^\s*\w+\.go:\d+: (.*)`)
	version = regexp.MustCompile(`: version: \S+ (.*)`)
)

func read(events io.Reader) (*results, error) {
	r := &results{versions: map[string]string{}, outcome: map[string]string{}, reason: map[string]string{}}
	for d := json.NewDecoder(events); ; {
		var e struct{ Action, Test, Output string }
		if err := d.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("output of go test: %w", err)
		}
		name, found := strings.CutPrefix(e.Test, "TestClients/")
		if !found {
			continue
		}
		r.note(name, e.Action, e.Output)
	}
	if len(r.libraries) == 0 {
		return nil, errors.New("no test of a library ran")
	}
	slices.Sort(r.columns)
	return r, nil
}

func (r *results) note(name, action, output string) {
	parts := strings.Split(name, "/")
	switch action {
	case "run":
		r.outcome[name] = "fail" // until it ends otherwise
		if len(parts) == 1 {
			r.libraries = append(r.libraries, name)
		}
		if len(parts) == 4 {
			if c := parts[1] + "/" + parts[2]; !slices.Contains(r.columns, c) {
				r.columns = append(r.columns, c)
			}
		}
	case "output":
		if m := version.FindStringSubmatch(output); m != nil && len(parts) == 1 {
			r.versions[name] = m[1]
		} else if m := logged.FindStringSubmatch(output); m != nil {
			r.reason[name] = m[1]
		}
	case "pass", "fail", "skip":
		r.outcome[name] = action
		r.tests = append(r.tests, name)
	}
}

// markdown says besides whether the table shows a failure.
func (r *results) markdown() (text string, failure bool) {
	var b strings.Builder
	fmt.Fprint(&b, "| library | version |")
	for _, c := range r.columns {
		fmt.Fprintf(&b, " %s |", strings.Replace(c, "/", " ", 1))
	}
	fmt.Fprint(&b, "\n|---|---|", strings.Repeat("---|", len(r.columns)), "\n")
	var notes []string
	for _, library := range r.libraries {
		fmt.Fprintf(&b, "| %s | %s |", library, r.versions[library])
		for _, c := range r.columns {
			cell := r.cell(library, c)
			failure = failure || cell == "fail"
			for _, fault := range r.faults(library + "/" + c) {
				fault = library + ": " + fault
				n := slices.Index(notes, fault)
				if n < 0 {
					notes = append(notes, fault)
					n = len(notes) - 1
				}
				cell += fmt.Sprintf(" [%d]", n+1)
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		fmt.Fprintln(&b)
	}
	for i, note := range notes {
		fmt.Fprintf(&b, "\n[%d] %s\n", i+1, note)
	}
	return b.String(), failure
}

// cell is the outcome of a library on a wire in a version; that of the library if
// it came to none.
func (r *results) cell(library, column string) string {
	name := library + "/" + column
	if _, ran := r.outcome[name]; !ran {
		for test := range r.outcome {
			if strings.HasPrefix(test, library+"/") {
				return "–"
			}
		}
		name = library
	}
	if r.outcome[name] == "skip" {
		return r.reason[name]
	}
	return r.outcome[name]
}

// faults are the scenes of a test that were skipped, and why.
func (r *results) faults(test string) (faults []string) {
	for _, name := range r.tests {
		if scene, found := strings.CutPrefix(name, test+"/"); found && r.outcome[name] == "skip" {
			faults = append(faults, strings.ReplaceAll(scene, "_", " ")+": "+r.reason[name])
		}
	}
	return faults
}
