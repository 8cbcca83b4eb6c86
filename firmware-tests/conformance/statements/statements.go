// Package statements lists what MQTT 3.1.1 and 5.0 demand, statement by statement.
//
// mqtt311.tsv and mqtt5.tsv hold the statements that the specifications number, in
// words of our own; the files rules-*.tsv hold rules that have no number there.
package statements

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

// Statement is one rule.
type Statement struct {
	Version string // "3.1.1" or "5.0"
	ID      string // such as MQTT-3.1.2-8; for a rule without a number RULE- and its section
	Server  bool   // binds servers
	Client  bool   // binds clients
	Text    string
}

//go:embed *.tsv
var files embed.FS

// All returns the statements of both versions, in the order of the specifications,
// the rules without a number last.
func All() ([]Statement, error) {
	var all []Statement
	for _, f := range []struct{ name, version string }{{"mqtt311.tsv", "3.1.1"}, {"mqtt5.tsv", "5.0"}} {
		rows, err := table(f.name, 5)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, statement(f.version, r[0], r[1], r[2]))
		}
	}
	rules, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, f := range rules {
		if !strings.HasPrefix(f.Name(), "rules-") {
			continue
		}
		rows, err := table(f.Name(), 4)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, statement(r[0], r[1], r[2], r[3]))
		}
	}
	return all, nil
}

func statement(version, id, binds, text string) Statement {
	return Statement{version, id, binds != "client", binds != "server", text}
}

// table reads the rows of a file below its header.
func table(name string, columns int) (rows [][]string, err error) {
	b, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
		row := strings.Split(line, "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("%s:%d: %d columns, want %d", path.Base(name), i+2, len(row), columns)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
