package main

import (
	"os"
	"strings"
	"testing"

	"sluice/firmware-tests/conformance/suite"
)

// TestSluice runs the whole suite against the gateway: every statement has a test,
// none fails, and MATRIX.md says the same.
func TestSluice(t *testing.T) {
	target, err := startSluice()
	if err != nil {
		t.Fatal(err)
	}
	defer target.Stop()
	r, err := check(&target.Target, "")
	if err != nil {
		t.Fatal(err)
	}
	matrix, err := os.ReadFile("MATRIX.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Vectors {
		if row.Outcome == suite.Fail {
			t.Error(vectorLine(row))
		}
	}
	for _, row := range r.statements() {
		switch row.Outcome {
		case suite.Fail, suite.Untested, suite.NotRun:
			t.Error(line(row))
		}
		if !strings.Contains(string(matrix), "\n"+rowStart(row)) {
			t.Errorf("MATRIX.md does not say: %s", rowStart(row))
		}
	}
}
