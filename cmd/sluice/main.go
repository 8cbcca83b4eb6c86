// Command sluice is an MQTT edge gateway and the tools that go with it: see
// sluice help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/caarlos0/env/v11"
)

// Exit codes, for scripts. help.go explains them to users.
const (
	exitOK          = 0
	exitFailed      = 1 // it was tried, and failed or was refused
	exitUsage       = 2 // the command line or the settings are wrong; nothing was tried
	exitUnreachable = 3 // no server answers
	exitTimeout     = 4 // not acknowledged in time, or not as many messages as asked for
)

// command is one run of the program: all that it gets from outside.
type command struct {
	args           []string // behind the command's name
	environ        map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// verbs are the commands by name. The first is the one meant by no name.
var verbs = []struct {
	name string
	run  func(*command, context.Context) error
}{
	{"serve", (*command).serve},
	{"pub", (*command).pub},
	{"sub", (*command).sub},
	{"sn", (*command).sn},
	{"bench", (*command).bench},
	{"config", (*command).config},
	{"topics", (*command).topics},
	{"bridge", (*command).bridge},
	{"passwd", (*command).passwd},
	{"psk", (*command).psk},
	{"version", (*command).version},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := run(ctx, &command{
		args:    os.Args[1:],
		environ: env.ToMap(os.Environ()),
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
	})
	os.Exit(code)
}

// run runs the command that c.args name and returns its exit code.
func run(ctx context.Context, c *command) int {
	name := verbs[0].name
	if len(c.args) > 0 {
		name, c.args = c.args[0], c.args[1:]
	}
	switch name {
	case "help", "-h", "-help", "--help":
		return c.help()
	case "-v", "-version", "--version":
		name = "version"
	}
	for _, v := range verbs {
		if v.name == name {
			return c.report(name, v.run(c, ctx))
		}
	}
	fmt.Fprintf(c.stderr, "sluice: there is no command %q: sluice help lists them\n", name)
	return exitUsage
}

// failure is an error with an exit code of its own.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usage is the failure of a command line that makes no sense.
func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// report tells the user about err, which the command name ended with, and
// returns the exit code.
func (c *command) report(name string, err error) int {
	var wrong faults
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(c.stdout, helpOf(name))
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintln(c.stderr, wrong)
		return exitUsage
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(c.stderr, "sluice %s: %s\n", name, strings.TrimRight(line, "\n"))
	}
	if !errors.As(err, &f) {
		return exitFailed
	}
	if f.code == exitUsage {
		fmt.Fprintf(c.stderr, "sluice help %s explains the command\n", name)
	}
	return f.code
}

// flags makes the flag set of the command name. Its own messages are not
// printed: report has the say.
func (c *command) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parse sets f from the command line and returns the arguments behind it, of
// which at most max are allowed.
func (c *command) parse(f *flag.FlagSet, max int) ([]string, error) {
	if err := f.Parse(c.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usage("%w", err)
	}
	if f.NArg() > max {
		if next := f.Arg(max); max > 0 && strings.HasPrefix(next, "-") {
			return nil, usage("%s goes before %q", next, f.Arg(0))
		}
		return nil, usage("%q is an argument too many", f.Arg(max))
	}
	return f.Args(), nil
}

// setting is what the environment, or the file that it names, has set.
func (c *command) setting(name string) string {
	all, _, _ := withFile(c.environ)
	return all[prefix+name]
}

func (c *command) serve(ctx context.Context) error {
	if _, err := c.parse(c.flags("serve"), 0); err != nil {
		return err
	}
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	return serve(ctx, c.environ, hangUp, c.stdout, c.stderr)
}

func (c *command) version(context.Context) error {
	if _, err := c.parse(c.flags("version"), 0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.stdout, versionLine())
	return err
}
