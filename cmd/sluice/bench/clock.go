//go:build linux

package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// processCPU is the CPU time of a process, all its threads. Linux has a clock of each
// process, counted from its number, which goes to the nanosecond where
// /proc counts in steps of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	const scheduled = 2 // time that the scheduler gave it, user and system
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduled), &t)
	return time.Duration(t.Nano()), err
}

// ownCPU is the CPU time that this process has used.
func ownCPU() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // a clock that is always there
	return time.Duration(t.Nano())
}
