package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports below those that Linux gives to connections that go out, and to who asks for
// any port: nobody takes one between FreeAddrs and the program that is to listen there.
const firstPort, ports = 10000, 20000

// FreeAddrs returns n addresses of 127.0.0.1 that nobody listens on now.
func FreeAddrs(n int) (addrs []string, err error) {
	for try := 0; len(addrs) < n; try++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(ports)))
		if err != nil && try < 100*n {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for a free port: %w", err)
		}
		defer ln.Close() // held until all are found, so that no two are the same
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
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
