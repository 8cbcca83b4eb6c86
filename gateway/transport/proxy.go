package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// maxProxyHeader bounds a PROXY header. Version 1 has at most 107 bytes; in
// version 2 the rest is for additional fields, which proxies fill with names
// and certificates, and nobody with more than this.
const maxProxyHeader = 4096

const (
	maxProxyV1 = 107
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
)

var (
	errNoProxy      = errors.New("PROXY header missing, which this peer must send")
	errProxyLine    = errors.New("PROXY header: malformed line")
	errProxyVersion = errors.New("PROXY header: unknown version or command")
	errProxyAddress = errors.New("PROXY header: address too short for its family")
	errProxyLong    = errors.New("PROXY header: too long")
)

// readProxy reads a header from r, and perhaps what comes behind it.
func readProxy(r io.Reader) (peer netip.AddrPort, rest []byte, err error) {
	b := make([]byte, 0, maxProxyHeader)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if used, peer, bad := parseProxy(b); used > 0 || bad != nil {
			return peer, b[used:], bad
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return peer, nil, err
		}
	}
}

// parseProxy reads the header of the PROXY protocol at the start of b, of
// either version. n is its length, 0 if it has not come whole. peer is not
// valid if the header tells no address with a port: the proxy speaks for
// itself (LOCAL, UNKNOWN), or the client came over a unix socket.
func parseProxy(b []byte) (n int, peer netip.AddrPort, err error) {
	switch {
	case hasPrefix(b, "PROXY "):
		return parseProxyLine(b)
	case hasPrefix(b, proxyV2):
		return parseProxyBinary(b)
	}
	return 0, peer, errNoProxy
}

// hasPrefix says whether b begins with p, or may yet.
func hasPrefix(b []byte, p string) bool {
	n := min(len(b), len(p))
	return string(b[:n]) == p[:n]
}

// parseProxyLine reads version 1:
//
//	PROXY TCP4 192.0.2.7 192.0.2.1 51000 1883\r\n
//	PROXY UNKNOWN ...\r\n
func parseProxyLine(b []byte) (n int, peer netip.AddrPort, err error) {
	end := bytes.Index(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) >= maxProxyV1:
		return 0, peer, errProxyLong
	case end < 0:
		return 0, peer, nil
	}
	n = end + 2
	f := strings.Split(string(b[:end]), " ")
	if f[1] == "UNKNOWN" {
		return n, peer, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return 0, peer, errProxyLine
	}
	for i := 3; i >= 2; i-- { // the source last, it is the result
		addr, err := netip.ParseAddr(f[i])
		if err != nil || addr.Zone() != "" || addr.Is4() != (f[1] == "TCP4") {
			return 0, netip.AddrPort{}, errProxyLine
		}
		port, err := strconv.ParseUint(f[i+2], 10, 16)
		if err != nil {
			return 0, netip.AddrPort{}, errProxyLine
		}
		peer = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return n, peer, nil
}

// parseProxyBinary reads version 2:
//
//	12  signature
//	 1  version 2 in the upper half; command: 0 LOCAL, 1 PROXY
//	 1  family: 1 IPv4, 2 IPv6, 3 unix; transport in the lower half
//	 2  length of what follows
//	    source address, destination address, source port, destination port
//	    additional fields
func parseProxyBinary(b []byte) (n int, peer netip.AddrPort, err error) {
	if len(b) > 12 && b[12] != 0x20 && b[12] != 0x21 {
		return 0, peer, errProxyVersion
	}
	if len(b) < 16 {
		return 0, peer, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case n > maxProxyHeader:
		return 0, peer, errProxyLong
	case len(b) < n:
		return 0, peer, nil
	case b[12] == 0x20: // LOCAL: whatever follows is to be skipped
		return n, peer, nil
	}
	size := map[byte]int{1: 4, 2: 16}[b[13]>>4]
	if size == 0 || b[13]&0x0f != 1 { // unix, unknown, or not a stream
		return n, peer, nil
	}
	if n < 16+2*size+4 {
		return 0, peer, errProxyAddress
	}
	addr, _ := netip.AddrFromSlice(b[16 : 16+size])
	return n, netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[16+2*size:])), nil
}
