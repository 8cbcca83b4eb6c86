package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Ports below those that Linux gives to connections that go out, and to who asks for
// any port: nobody takes one between FreeAddrs and the program that is to listen there,
// and while that is killed and started again. Other tests of this user that run at the same
// time, of this checkout or another, do not either: each has blocks of its own.
const firstPort, blocks, blockSize = 10000, 100, 200

// taken is what this process has of the ports.
var taken struct {
	sync.Mutex
	locks []*os.File // of its blocks, held until it ends
	next  int        // port of the block it took last
	end   int        // behind that
}

// FreeAddrs returns n addresses of 127.0.0.1 that nobody listens on now, and that it
// does not return again.
func FreeAddrs(n int) (addrs []string, err error) {
	taken.Lock()
	defer taken.Unlock()
	for len(addrs) < n {
		if taken.next == taken.end {
			if err := takeBlock(); err != nil {
				return nil, fmt.Errorf("look for a free port: %w", err)
			}
		}
		addr := fmt.Sprintf("127.0.0.1:%d", taken.next)
		taken.next++
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// takeBlock takes a block that no process holds.
func takeBlock() error {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("sluice-firmware-tests-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, block := range rand.Perm(blocks) {
		lock, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(block)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		taken.locks = append(taken.locks, lock)
		taken.next = firstPort + block*blockSize
		taken.end = taken.next + blockSize
		return nil
	}
	return fmt.Errorf("other tests have all %d blocks of %d", blocks, blockSize)
}

// accepts says whether somebody listens on a TCP address.
func accepts(addr string) bool {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	nc.Close()
	return true
}

// port is the port of an address that FreeAddrs returned.
func port(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return port
}
