// Package vectors plays the golden vectors at a whole broker, over a socket: the same
// rows that the gateway's codec is tested with.
//
//	vectors.tsv       packets, good and bad, in the state that they need
//	utf8.tsv          strings, in each field that is one
//	topic-match.tsv   a subscription and a message
//	topic-valid.tsv   topic filters in SUBSCRIBE, topic names in PUBLISH
//	vbi.tsv           integers as Remaining Length, Property Length, Subscription Identifier
//
// A good row is answered as it should be, not merely tolerated. A bad row ends its
// connection with the code that the specification has for it, and a neighbour on
// another connection notices nothing.
package vectors

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
	"sluice/firmware-tests/wire"
)

// Row is how one row fared, in one version.
type Row struct {
	File    string // such as vectors.tsv
	Name    string // unique in the file and version
	Version string // as the file says, or 3.1.1 and 5.0 where it says none
	Verdict string // of the file
	Meaning string // of the file
	Outcome suite.Outcome
	Detail  string // what came, or why it is wrong
}

// play is a row with its conversation, which says what came.
type play struct {
	Row
	run   func(t *suite.T) string
	quiet bool // nobody else may notice
}

// Run plays all rows at the target, one after the other, since many bring a client
// identifier and topics of their own. Nobody else may use the target meanwhile.
// progress is called after each row.
func Run(target *suite.Target, progress func(done, all int)) ([]Row, error) {
	var plays []play
	for _, read := range []func() ([]play, error){golden, stringPlays, matchPlays, validPlays, integerPlays} {
		more, err := read()
		if err != nil {
			return nil, err
		}
		plays = append(plays, more...)
	}
	var rows []Row
	for i, p := range plays {
		rows = append(rows, p.at(target))
		progress(i+1, len(plays))
	}
	return rows, nil
}

// at plays the row at a target.
func (p play) at(target *suite.Target) Row {
	version, row := levels[p.Version], p.Row
	if version == wire.V5 && !target.V5 {
		row.Outcome, row.Detail = suite.NotRun, target.Name+" does not speak 5.0"
		return row
	}
	came := ""
	row.Outcome, row.Detail = suite.Play(target, version, p.Name, func(t *suite.T) {
		if !p.quiet {
			came = p.run(t)
			return
		}
		n := meet(t)
		came = p.run(t)
		n.undisturbed()
	})
	if row.Outcome == suite.Pass {
		row.Detail = came
	}
	return row
}

// levels are the versions at which rows are played. The extension of 3.1.1 is none that
// a client may count on: to who has it not, its packets are bad ones of 3.1.1.
var levels = map[string]byte{"3.1": wire.V31, "3.1.1": wire.V311, "3.1.1-ext": wire.V311, "5.0": wire.V5}

// table reads the rows of a file below its header.
func table(name string, columns int) (rows [][]string, err error) {
	b, err := os.ReadFile(filepath.Join(rig.Root(), "codec", "testdata", name))
	if err != nil {
		return nil, err
	}
	for i, line := range bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))[1:] {
		row := strings.Split(string(line), "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("%s:%d: %d columns, want %d", name, i+2, len(row), columns)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// unhex is the bytes of a column of hexadecimal digits.
func unhex(digits string) (string, error) {
	b, err := hex.DecodeString(digits)
	if err != nil {
		return "", fmt.Errorf("%q: %w", digits, err)
	}
	return string(b), nil
}

// inBoth are plays of a row in 3.1.1 and in 5.0.
func inBoth(p play) (plays []play) {
	for _, p.Version = range []string{"3.1.1", "5.0"} {
		plays = append(plays, p)
	}
	return plays
}
