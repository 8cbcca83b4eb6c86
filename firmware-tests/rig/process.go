package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopLimit is how long a process may take to end after SIGTERM.
const stopLimit = 20 * time.Second

// Process is a running program. It is killed when the program that started it
// ends, however that ends.
type Process struct {
	// Set once by Start.
	name string
	cmd  *exec.Cmd
	log  *Log
	done chan struct{}
}

// Start runs a program with env added to this program's environment, without
// settings of the gateway that this one may have, and appends what it prints to
// log.
func Start(log *Log, env []string, path string, args ...string) (*Process, error) {
	p := &Process{name: path, cmd: exec.Command(path, args...), log: log, done: make(chan struct{})}
	inherited := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLUICE_") })
	p.cmd.Env = append(inherited, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Linux sends the parent death signal when the starting thread ends,
		// so this thread stays until the child has gone.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its outcome is in ProcessState
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// PID is the process identifier.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process with SIGKILL and waits until it has gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.done
}

// Terminate sends SIGTERM and waits until the process has gone. The error
// tells of an exit code other than 0, or that it had to be killed.
func (p *Process) Terminate() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopLimit)
	}
	if s := p.cmd.ProcessState; !s.Success() {
		return fmt.Errorf("%s ended with %s", p.name, s)
	}
	return nil
}

// await asks ready again and again until it holds, the process ends, or limit
// is over.
func (p *Process) await(every, limit time.Duration, ready func() bool) error {
	deadline := time.Now().Add(limit)
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended with %s before it was ready:\n%s", p.name, p.cmd.ProcessState, p.log.Tail(20))
		case <-time.After(every):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s:\n%s", p.name, limit, p.log.Tail(20))
		}
	}
	return nil
}

// logBound is how much of a program's output is kept, in bytes.
const logBound = 1 << 20

// Log keeps the end of what programs print. The zero value works, from several
// goroutines.
type Log struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, b...)
	if over := len(l.buf) - logBound; over > 0 {
		l.buf = append(l.buf[:0], l.buf[over:]...)
	}
	return len(b), nil
}

// String is all that is kept.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf)
}

// Tail is the last lines.
func (l *Log) Tail(lines int) string {
	all := bytes.Split(bytes.TrimSpace([]byte(l.String())), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
