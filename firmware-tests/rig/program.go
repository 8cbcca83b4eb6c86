package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrMissing is returned for a program that is not installed.
var ErrMissing = errors.New("not installed")

// Look returns the path of a program. The error wraps ErrMissing and names the
// Debian package that has it.
func Look(program, debian string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + program); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w (Debian: apt-get install %s)", program, ErrMissing, debian)
}

// Find returns the path of a program as Look does. If it is missing and may be
// installed, it is. debian may be several packages, with spaces between.
func Find(program, debian string) (path string, err error) {
	err = provide(debian, func() (missing error) {
		path, missing = Look(program, debian)
		return missing
	})
	return path, err
}

// FindFile is Find for a file that is no program.
func FindFile(path, debian string) error {
	return provide(debian, func() error {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s: %w (Debian: apt-get install %s)", path, ErrMissing, debian)
		}
		return nil
	})
}

// provide installs packages if look misses something, and returns what it misses
// then.
func provide(debian string, look func() error) error {
	if look() == nil {
		return nil
	}
	// Tests of several packages run at once, apt-get does not.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "sluice-firmware-tests.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	missing := look()
	if missing == nil {
		return nil
	}
	apt := exec.Command(filepath.Join(Root(), "deploy", "apt.sh"), strings.Fields(debian)...)
	if out, err := apt.CombinedOutput(); err != nil {
		return fmt.Errorf("%w; %s", missing, bytes.TrimSpace(out))
	}
	return look()
}
