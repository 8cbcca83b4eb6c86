package drain

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what a process has used since its start.
type usage struct {
	cpu  time.Duration // user and system, all threads
	rss  int64         // bytes resident now
	woke int64         // times that a thread which had waited went on
}

// tick is the unit of times in /proc: USER_HZ is 100 on all of Linux.
const tick = 10 * time.Millisecond

func readUsage(t *testing.T, pid int) (u usage) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third field on
	for _, n := range f[11:13] {
		ticks, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		u.cpu += time.Duration(ticks) * tick
	}
	u.rss = statusNumber(t, fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") << 10
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range threads {
		u.woke += statusNumber(t, path, "voluntary_ctxt_switches:")
	}
	return u
}

// statusNumber is a number in a file of /proc.
func statusNumber(t *testing.T, path, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}
