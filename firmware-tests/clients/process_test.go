package clients

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firmware-tests/rig"
)

// process is a client in a process of its own: a player, a program that speaks
// for a library which is not in Go. Commands go to its standard input, answers
// and messages come from its standard output, each a line of fields with a tab
// between:
//
//	connect  URL version id persist CA [MESSAGE, the will]
//	subscribe  filter QoS
//	publish  MESSAGE
//	disconnect
//
//	ok  [session present, after connect]
//	error  text
//	message  MESSAGE
//
// MESSAGE is topic, payload, QoS, retain, expiry, content type, and name and value of
// each user property. Flags are 0 or 1. No field has a tab or an end of line
// inside. Every command is answered before the next. A player ends when its input
// does.
type process struct {
	in      io.WriteCloser
	came    chan message
	answers chan []string // closed when the player has ended
	idle    bool          // as it was disconnected
	log     rig.Log       // what else it says
}

// processes returns a function that starts a player, which ends with the scene.
func processes(path string, args ...string) func(*testing.T) client {
	return func(scene *testing.T) client {
		c, err := startProcess(scene, path, args...)
		if err != nil {
			scene.Fatal(err)
		}
		return c
	}
}

// reused is processes for a player that takes long to start, and can play a client
// after one that was disconnected. It is left for further scenes, until the end
// of t.
func reused(t *testing.T, path string, args ...string) func(*testing.T) client {
	var mu sync.Mutex
	var idle []*process
	return func(scene *testing.T) client {
		mu.Lock()
		defer mu.Unlock()
		var c *process
		if last := len(idle) - 1; last >= 0 {
			c, idle = idle[last], idle[:last]
		} else {
			var err error
			if c, err = startProcess(t, path, args...); err != nil {
				scene.Fatal(err)
			}
		}
		scene.Cleanup(func() {
			if !c.idle || scene.Failed() {
				c.in.Close()
				return
			}
			mu.Lock()
			defer mu.Unlock()
			idle = append(idle, c)
		})
		return c
	}
}

// startProcess starts a player, which ends with t.
func startProcess(t *testing.T, path string, args ...string) (*process, error) {
	c := &process{came: make(chan message, 1000), answers: make(chan []string, 10)}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stderr = &c.log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.in = in
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(out)
	}()
	t.Cleanup(func() { // the end of the context kills it
		<-read
		_ = cmd.Wait()
		if said := c.log.String(); said != "" && t.Failed() {
			t.Logf("a player said besides:\n%s", said)
		}
	})
	return c, nil
}

func (c *process) read(out io.Reader) {
	defer close(c.answers)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		switch fields[0] {
		case "ok", "error":
			c.answers <- fields
		case "message":
			if m, err := parseMessage(fields[1:]); err == nil {
				c.came <- m
				continue
			}
			fallthrough
		default:
			fmt.Fprintln(&c.log, lines.Text())
		}
	}
}

// ask sends a command and waits for its answer, the fields after ok.
func (c *process) ask(command ...string) ([]string, error) {
	for _, field := range command {
		if strings.ContainsAny(field, "\t\n") {
			return nil, fmt.Errorf("%q can not be told to a player", field)
		}
	}
	if _, err := io.WriteString(c.in, strings.Join(command, "\t")+"\n"); err != nil {
		return nil, err
	}
	select {
	case a, running := <-c.answers:
		if !running {
			return nil, errors.New("the player has ended")
		}
		if a[0] == "error" {
			return nil, errors.New(strings.Join(a[1:], " "))
		}
		return a[1:], nil
	case <-time.After(patience):
		return nil, errors.New("no answer")
	}
}

func (c *process) connect(o options) (bool, error) {
	c.idle = false
	command := []string{"connect", o.url, o.version, o.id, flagField(o.persist), o.ca}
	if o.will != nil {
		command = append(command, messageFields(*o.will)...)
	}
	a, err := c.ask(command...)
	return slices.Equal(a, []string{"1"}), err
}

func (c *process) subscribe(filter string, qos byte) error {
	_, err := c.ask("subscribe", filter, fmt.Sprint(qos))
	return err
}

func (c *process) publish(m message) error {
	_, err := c.ask(append([]string{"publish"}, messageFields(m)...)...)
	return err
}

func (c *process) messages() <-chan message { return c.came }

func (c *process) disconnect() {
	_, err := c.ask("disconnect")
	c.idle = err == nil
}

func flagField(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

func messageFields(m message) []string {
	fields := []string{m.Topic, m.Payload, fmt.Sprint(m.QoS), flagField(m.Retain), fmt.Sprint(m.Expiry), m.ContentType}
	return append(fields, m.User...)
}

func parseMessage(fields []string) (m message, err error) {
	if len(fields) < 6 {
		return m, errors.New("too few fields")
	}
	qos, err := strconv.ParseUint(fields[2], 10, 2)
	if err != nil {
		return m, err
	}
	expiry, err := strconv.ParseUint(fields[4], 10, 32)
	if err != nil {
		return m, err
	}
	return message{
		Topic: fields[0], Payload: fields[1], QoS: byte(qos), Retain: fields[3] == "1",
		Expiry: uint32(expiry), ContentType: fields[5], User: fields[6:],
	}, nil
}
