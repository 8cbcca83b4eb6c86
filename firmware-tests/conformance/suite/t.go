package suite

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"sluice/firmware-tests/wire"
)

// Patience bounds every wait for something that should come: these machines may be
// slow, and a pass never waits for long.
const Patience = 10 * time.Second

// T is one run of a test in one version. Its methods that fail end the test.
type T struct {
	Target  *Target
	Version byte // wire.V311 or wire.V5

	name     string
	step     string
	breach   func(rule, text string)
	failure  string
	skipped  string
	cleanups []func()
}

// V5 says whether the test runs in MQTT 5.0.
func (t *T) V5() bool { return t.Version == wire.V5 }

// Step says what is tried next. A failure will tell.
func (t *T) Step(format string, args ...any) { t.step = fmt.Sprintf(format, args...) + ": " }

// Fatalf fails the test.
func (t *T) Fatalf(format string, args ...any) {
	if t.failure == "" {
		t.failure = t.place() + t.step + fmt.Sprintf(format, args...)
	}
	runtime.Goexit()
}

// Skip ends the test as not run.
func (t *T) Skip(why string) {
	t.skipped = why
	runtime.Goexit()
}

// Need skips the test if the target has not what it needs.
func (t *T) Need(what, name string) {
	if what == "" {
		t.Skip("no " + name)
	}
}

// Cleanup has f called when the test has ended, the last first.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Dir makes a directory that goes with the test.
func (t *T) Dir() string {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var unique atomic.Int64

// process tells the client identifiers and topics of this run from those of others.
var process = fmt.Sprintf("%x", time.Now().UnixNano()/1e6&0xffffff)

// ID makes a client identifier, different each time, of at most 23 letters and
// digits.
func (t *T) ID() string { return fmt.Sprintf("c%sx%d", process, unique.Add(1)) }

// Topic makes a topic name, different each time, of two levels.
func (t *T) Topic() string { return fmt.Sprintf("conform%s/%d", process, unique.Add(1)) }

// place is the line of the test that failed.
func (t *T) place() string {
	for skip := 2; ; skip++ {
		_, file, line, ok := runtime.Caller(skip)
		if !ok || strings.Contains(file, "/src/runtime/") {
			return ""
		}
		if !strings.Contains(file, "/conformance/suite/") {
			return fmt.Sprintf("%s:%d: ", file[strings.LastIndexByte(file, '/')+1:], line)
		}
	}
}

// run runs the test and reports how it ended.
func (t *T) run(test func(*T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				t.failure = fmt.Sprintf("the test panicked: %v", p)
			}
			for i := len(t.cleanups) - 1; i >= 0; i-- {
				t.cleanups[i]()
			}
		}()
		test(t)
	}()
	<-done
}
