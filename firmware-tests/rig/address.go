package rig

import (
	"fmt"
	"net"
)

// FreeAddrs returns n addresses of 127.0.0.1 that nobody listens on now.
func FreeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("look for a free port: %w", err)
		}
		defer ln.Close() // held until all are found, so that no two are the same
		addrs[i] = ln.Addr().String()
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
