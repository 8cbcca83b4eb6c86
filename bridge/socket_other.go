//go:build !linux

package bridge

import (
	"errors"
	"io"
	"syscall"
)

// socketState is told by Linux only.
func socketState(io.ReadWriteCloser) (acked int64, unacked, ok bool) { return 0, false, false }

func leaveBy(syscall.RawConn, string) error {
	return errors.New("leave by a network interface: only Linux does that")
}
