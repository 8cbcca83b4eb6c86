package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/firmware-tests/clients/interop"
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// peersTSV says of each statement that a peer fails what the peer really does, as
// seen by hand: a failing peer may be a fault of the suite.
//
//go:embed peers.tsv
var peersTSV string

// writeMatrix tests the gateway and its peers, and writes MATRIX.md.
func writeMatrix(file string) error {
	var reports []*report
	for _, begin := range []func() (*started, error){startSluice, startMosquitto, startNATS} {
		target, err := begin()
		if err != nil {
			return err
		}
		r, err := check(&target.Target, "")
		target.Stop()
		if err != nil {
			return err
		}
		reports = append(reports, r)
	}
	clients, err := interop.Table(filepath.Join(rig.Root(), "firmware-tests"))
	if err != nil {
		return err
	}
	m := matrix{reports: reports}
	m.head()
	for _, version := range []string{"3.1.1", "5.0"} {
		m.servers(version)
	}
	for _, version := range []string{"3.1.1", "5.0"} {
		m.clients(version)
	}
	m.unseen()
	m.vectors()
	m.peers()
	m.printf("\n## Clients that others wrote\n\nEach plays the same scenes against Sluice: messages at each QoS, retained messages, a Will, a queue for one that is away; in\nMQTT 5.0 properties and expiry too. A cell says pass, or what the client has not.\n\n%s", clients)
	return os.WriteFile(file, m.Bytes(), 0o644)
}

// matrix is the file as it is written. The first report is the gateway's own.
type matrix struct {
	bytes.Buffer
	reports []*report
}

func (m *matrix) printf(format string, args ...any) { fmt.Fprintf(m, format, args...) }

func (m *matrix) head() {
	m.printf("# What Sluice obeys of MQTT, statement by statement\n\nWritten by `go run ./conformance -matrix conformance/MATRIX.md` in firmware-tests, which ran every\ntest against ")
	var names []string
	for _, r := range m.reports {
		names = append(names, r.Target)
	}
	m.printf("%s, on one machine. `make conformance` checks\nSluice again, `make conformance BROKER=host:port` any other broker. Requirements are paraphrased; the specifications decide.\n\n", strings.Join(names, ", "))
	m.printf("- *pass*: every test named holds. *fail*: at least one does not.\n- *not run*: the broker has not what the test needs, such as MQTT 5.0.\n- *not seen*: nothing on the wire shows it; the reasons are listed below.\n\n")
	m.printf("| | pass | fail | not run | not seen |\n|---|---:|---:|---:|---:|\n")
	for _, r := range m.reports {
		for _, version := range []string{"3.1.1", "5.0"} {
			m.total(r.Target+", "+version, of(r.Server, version))
		}
		if r.Client != nil {
			for _, version := range []string{"3.1.1", "5.0"} {
				m.total(r.Target+" as a client, "+version, of(r.Client, version))
			}
		}
	}
}

func (m *matrix) total(name string, rows []suite.Result) {
	m.printf("| %s | %d | %d | %d | %d |\n", name, count(rows, suite.Pass), count(rows, suite.Fail), count(rows, suite.NotRun), count(rows, suite.NotObservable))
}

// of returns the results of one version.
func of(rows []suite.Result, version string) (some []suite.Result) {
	for _, r := range rows {
		if r.Version == version {
			some = append(some, r)
		}
	}
	return some
}

func (m *matrix) servers(version string) {
	m.printf("\n## Servers of MQTT %s\n\n| statement | requirement | tests |", version)
	for _, r := range m.reports {
		m.printf(" %s |", r.Target)
	}
	m.printf("\n|---|---|---|%s\n", strings.Repeat("---|", len(m.reports)))
	for i, row := range m.reports[0].Server {
		if row.Version != version {
			continue
		}
		m.WriteString(rowStart(row))
		for _, peer := range m.reports[1:] {
			m.printf(" %s |", shown(peer.Server[i].Outcome))
		}
		m.printf("\n")
	}
}

func (m *matrix) clients(version string) {
	m.printf("\n## Clients of MQTT %s: the bridge, sluice pub and sluice sub\n\n| statement | requirement | tests | Sluice |\n|---|---|---|---|\n", version)
	for _, row := range of(m.reports[0].Client, version) {
		m.WriteString(rowStart(row) + "\n")
	}
}

// rowStart is a row up to the gateway's own outcome.
func rowStart(r suite.Result) string {
	return fmt.Sprintf("| %s | %s | %s | %s |", r.ID, strings.ReplaceAll(r.Text, "|", "\\|"), strings.Join(r.Tests, ", "), shown(r.Outcome))
}

func shown(o suite.Outcome) string {
	switch o {
	case suite.Fail:
		return "**fail**"
	case suite.NotObservable:
		return "not seen"
	}
	return string(o)
}

func (m *matrix) unseen() {
	m.printf("\n## What cannot be seen\n\n| side | version | statement | why |\n|---|---|---|---|\n")
	for _, rows := range [][]suite.Result{m.reports[0].Server, m.reports[0].Client} {
		for _, r := range rows {
			if r.Outcome == suite.NotObservable {
				m.printf("| %s | %s | %s | %s |\n", side(r), r.Version, r.ID, r.Detail)
			}
		}
	}
}

// vectors counts the golden vectors, by file.
func (m *matrix) vectors() {
	m.printf("\n## Golden vectors over a socket\n\nPackets, strings and topics in codec/testdata, good and bad, each with the answer that it must have; a neighbour of the bad ones\nmust notice nothing. The first number is of those that passed, the second of those that were played.\n\n| file | version |")
	for _, r := range m.reports {
		m.printf(" %s |", r.Target)
	}
	m.printf("\n|---|---|%s\n", strings.Repeat("---:|", len(m.reports)))
	type key struct{ file, version string }
	var keys []key
	for _, row := range m.reports[0].Vectors {
		if k := (key{row.File, row.Version}); row.Outcome != suite.NotRun && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		m.printf("| %s | %s |", k.file, k.version)
		for _, r := range m.reports {
			passed, played := 0, 0
			for _, row := range r.Vectors {
				if k != (key{row.File, row.Version}) || row.Outcome == suite.NotRun {
					continue
				}
				played++
				if row.Outcome == suite.Pass {
					passed++
				}
			}
			m.printf(" %d / %d |", passed, played)
		}
		m.printf("\n")
	}
}

// peers explains what the peers fail.
func (m *matrix) peers() {
	m.printf("\n## Where the peers fall short\n\nEach was seen by hand too.\n\n| broker | version | statements | what it does |\n|---|---|---|---|\n")
	explained := peerFaults()
	for _, f := range explained {
		m.printf("| %s | %s | %s | %s |\n", f[0], f[1], f[2], f[3])
	}
	for _, r := range m.reports[1:] {
		for _, row := range r.Server {
			known := slices.ContainsFunc(explained, func(f []string) bool {
				return strings.HasPrefix(r.Target, f[0]) && f[1] == row.Version && slices.Contains(strings.Fields(f[2]), row.ID)
			})
			if row.Outcome == suite.Fail && !known {
				m.printf("| %s | %s | %s | not explained yet: %s |\n", r.Target, row.Version, row.ID, row.Detail)
			}
		}
	}
}

// peerFaults are the rows of peers.tsv.
func peerFaults() (rows [][]string) {
	for _, line := range strings.Split(strings.TrimSpace(peersTSV), "\n")[1:] {
		rows = append(rows, strings.Split(line, "\t"))
	}
	return rows
}
