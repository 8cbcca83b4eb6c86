package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/term"

	"sluice/cmd/sluice/bench"
	"sluice/codec"
)

// bench puts load on any server and reports what came of it.
func (c *command) bench(ctx context.Context) error {
	scenario := "pairs" // flags alone are wrong, but may ask for help
	named := len(c.args) > 0 && !strings.HasPrefix(c.args[0], "-")
	if named {
		scenario, c.args = c.args[0], c.args[1:]
	}
	var to target
	var load bench.Config
	f := c.flags("bench")
	if err := to.flags(f, c.environ); err != nil {
		return err
	}
	to.version, to.keepAlive, to.clientID = versionFlag(codec.V311), 0, "bench-"
	if err := load.Flags(f, scenario); err != nil {
		return usage("%w", err)
	}
	asJSON := f.Bool("json", false, "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	if !named {
		return usage("name the scenario first: fanin, fanout, pairs, conns, retained or offline")
	}
	if err := to.load(&load); err != nil {
		return err
	}
	load.Live = terminal(c.stderr)
	debug.SetGCPercent(400) // next to nothing is allocated while messages flow
	report, err := bench.Run(ctx, &load)
	return errors.Join(c.printReport(report, *asJSON), benchFailure(&load, report, err))
}

// load fills in which server to load and how to get in.
func (t *target) load(load *bench.Config) (err error) {
	if load.URL, err = t.address(); err != nil {
		return err
	}
	if load.TLS, err = t.tlsConfig(); err != nil {
		return err
	}
	load.TLS.ServerName = load.URL.Hostname()
	if err := t.credentials(&load.Connect); err != nil {
		return err
	}
	if err := load.Check(); err != nil {
		return usage("%w", err)
	}
	return nil
}

// terminal is w if it is one, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w
	}
	return nil
}

func (c *command) printReport(report *bench.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(c.stdout).Encode(report)
	}
	if report.Sent > 0 || report.Alive > 0 { // else the error says it all
		report.Print(c.stdout)
	}
	return nil
}

// benchFailure is the error of a run: err, or that messages are missing.
func benchFailure(load *bench.Config, report *bench.Report, err error) error {
	switch n := report.Missing(); {
	case errors.Is(err, bench.ErrUnreachable):
		return &failure{exitUnreachable, fmt.Errorf("%v: %w%s", load.URL, err, dialHint(err))}
	case err != nil:
		return err
	case n > 0:
		return &failure{exitTimeout, fmt.Errorf("%d messages were not received or not acknowledged", n)}
	}
	return nil
}
