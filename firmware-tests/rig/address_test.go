package rig

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Two processes that run at the same time have no port in common, and none has one twice.
func TestFreeAddrsAreApart(t *testing.T) {
	const n = blockSize + 50 // more than one block
	addrs, err := FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("RIG_FREE_ADDRS") != "" {
		os.Stdout.WriteString(strings.Join(addrs, "\n") + "\n")
		return
	}
	other := exec.Command(os.Args[0], "-test.run", "^TestFreeAddrsAreApart$")
	other.Env = append(os.Environ(), "RIG_FREE_ADDRS=1")
	out, err := other.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, addr := range append(addrs, strings.Fields(string(out))...) {
		if seen[addr] {
			t.Errorf("%s twice", addr)
		}
		seen[addr] = true
	}
	if len(seen) < 2*n {
		t.Errorf("%d addresses, want %d", len(seen), 2*n)
	}
}
