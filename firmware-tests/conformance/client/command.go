package client

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/rig"
)

// Exit codes of sluice pub and sluice sub.
const (
	exitRefused     = 1 // or the connection was lost
	exitUsage       = 2
	exitUnreachable = 3
)

// A command is sluice pub or sluice sub, running.
type command struct {
	t     *suite.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *os.File // what it prints can be read here
	lines *bufio.Reader
	log   rig.Log // what it complains of
	done  chan struct{}
}

// command starts sluice with a scripted server and the version of the test.
func (s *server) command(args ...string) *command {
	return s.commandTo(nil, "mqtt", args...)
}

// commandTo starts a command that prints into a file; nil: wantLine reads it.
func (s *server) commandTo(out *os.File, scheme string, args ...string) *command {
	t := s.t
	t.Need(t.Target.Gateway, "binary to start")
	version := "3.1.1"
	if t.V5() {
		version = "5"
	}
	c := &command{t: t, done: make(chan struct{})}
	c.cmd = exec.Command(t.Target.Gateway, slices.Concat(args[:1], []string{"-url", scheme + "://" + s.addr(), "-V", version}, args[1:])...)
	c.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLUICE_") })
	c.cmd.Stderr = &c.log
	c.cmd.Stdout = out
	if out == nil {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer w.Close()
		t.Cleanup(func() { r.Close() })
		c.out, c.lines, c.cmd.Stdout = r, bufio.NewReader(r), w
	}
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	go func() {
		_ = c.cmd.Wait() // its outcome is in ProcessState
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // fails only if it has ended
		<-c.done
	})
	return c
}

// say writes lines to its input.
func (c *command) say(lines ...string) {
	for _, line := range lines {
		if _, err := io.WriteString(c.stdin, line+"\n"); err != nil {
			c.t.Fatalf("%v\n%s", err, c.log.Tail(5))
		}
	}
}

// wantLine wants a line to be the next that it prints.
func (c *command) wantLine(want string) {
	c.out.SetReadDeadline(time.Now().Add(suite.Patience))
	got, err := c.lines.ReadString('\n')
	if strings.TrimSuffix(got, "\n") != want || err != nil {
		c.t.Fatalf("%s prints %q (%v), want %q\n%s", c.cmd.Args[1], got, err, want, c.log.Tail(5))
	}
}

// wantExit wants it to end, with one of the codes.
func (c *command) wantExit(codes ...int) {
	select {
	case <-c.done:
	case <-time.After(suite.Patience):
		c.t.Fatalf("%s does not end", c.cmd.Args[1])
	}
	if code := c.cmd.ProcessState.ExitCode(); !slices.Contains(codes, code) {
		c.t.Fatalf("%s ends with %d, want one of %v\n%s", c.cmd.Args[1:], code, codes, c.log.Tail(5))
	}
}

// refuses wants a command line to be refused before anything is sent.
func (s *server) refuses(args ...string) {
	s.command(args...).wantExit(exitUsage)
	s.quiet()
}
