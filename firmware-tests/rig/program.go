package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
// installed, it is.
func Find(program, debian string) (string, error) {
	path, missing := Look(program, debian)
	if missing == nil {
		return path, nil
	}
	// Tests of several packages run at once, apt-get does not.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "sluice-firmware-tests.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if path, err := Look(program, debian); err == nil {
		return path, nil
	}
	if out, err := exec.Command(filepath.Join(Root(), "deploy", "apt.sh"), debian).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w; %s", missing, bytes.TrimSpace(out))
	}
	return Look(program, debian)
}
