package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/codec/sn"
)

// snSearch asks the network for MQTT-SN gateways and prints those that answer.
func (c *command) snSearch(ctx context.Context) error {
	f := c.flags("sn")
	to := f.String("to", "", "")
	radius := f.Uint("radius", 0, "")
	wait := secondsFlag(5 * time.Second)
	f.Var(&wait, "W", "")
	asJSON := f.Bool("json", false, "")
	if _, err := c.parse(f, 0); err != nil {
		return err
	}
	switch {
	case *radius > 255:
		return usage("-radius is from 0, for everywhere, to 255 hops")
	case wait <= 0:
		return usage("-W is more than 0 seconds")
	}
	whom, err := searchAddresses(*to)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(wait))
	defer cancel()
	found := 0
	err = search(ctx, whom, byte(*radius), func(g gatewayFound) error {
		found++
		if *asJSON {
			return json.NewEncoder(c.stdout).Encode(g)
		}
		_, err := fmt.Fprintln(c.stdout, g)
		return err
	})
	if err == nil && found == 0 {
		err = &failure{exitUnreachable, fmt.Errorf("no gateway answers within %v: is SLUICE_SN_ADDR set there? Ask one by its address with -to", &wait)}
	}
	return err
}

// gatewayFound is a line of sluice sn search.
type gatewayFound struct {
	From    netip.AddrPort `json:"from"`              // who answered
	Gateway byte           `json:"gateway"`           // its id
	Address string         `json:"address,omitempty"` // of the gateway in hex, if a client answered for it
}

func (g gatewayFound) String() string {
	if g.Address != "" {
		return fmt.Sprintf("gateway %d at address %s, says %v", g.Gateway, g.Address, g.From)
	}
	return fmt.Sprintf("%v gateway %d", g.From, g.Gateway)
}

// search sends SEARCHGW, with gaps that double, and tells of each gateway once, until
// ctx ends. A device waits a random time first, so that many that start together do
// not shout together; who calls this is one person.
func search(ctx context.Context, whom []netip.AddrPort, radius byte, tell func(gatewayFound) error) error {
	network := "udp6"
	if whom[0].Addr().Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	request := (&sn.SearchGateway{Radius: radius}).Append(nil)
	seen := make(map[gatewayFound]bool)
	for gap := time.Second; ctx.Err() == nil; gap *= 2 {
		if err := sendToAny(conn, request, whom); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(gap))
		if ctx.Err() != nil { // before the deadline was set
			break
		}
		if err := hearGateways(conn, seen, tell); err != nil {
			return err
		}
	}
	return nil
}

// sendToAny sends to all, and fails if none can be sent to: a machine has networks
// that lead nowhere.
func sendToAny(conn *net.UDPConn, b []byte, whom []netip.AddrPort) error {
	var failed []error
	for _, one := range whom {
		if _, err := conn.WriteToUDPAddrPort(b, one); err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == len(whom) {
		return &failure{exitUnreachable, failed[0]}
	}
	return nil
}

// hearGateways tells of gateways that are not in seen, until the deadline of conn.
func hearGateways(conn *net.UDPConn, seen map[gatewayFound]bool, tell func(gatewayFound) error) error {
	var dec sn.Decoder
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		m, _ := dec.Decode(buf[:n])
		info, ok := m.(*sn.GatewayInfo)
		if !ok {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		g := gatewayFound{from, info.GatewayID, hex.EncodeToString(info.Address)}
		if seen[g] || len(seen) == maxFound {
			continue
		}
		seen[g] = true
		if err := tell(g); err != nil {
			return err
		}
	}
}

// maxFound is how many gateways one search tells of.
const maxFound = 1000

// searchGroup is the multicast group that gateways commonly join.
var searchGroup = netip.MustParseAddr("225.1.1.1")

// searchAddresses is whom to ask: to, or everybody on this machine's networks.
func searchAddresses(to string) ([]netip.AddrPort, error) {
	if to != "" {
		if _, _, err := net.SplitHostPort(to); err != nil {
			to = net.JoinHostPort(strings.Trim(to, "[]"), strconv.Itoa(snPort))
		}
		addr, err := net.ResolveUDPAddr("udp", to)
		if err != nil {
			return nil, usage("-to %s: %w", to, err)
		}
		one := addr.AddrPort()
		return []netip.AddrPort{netip.AddrPortFrom(one.Addr().Unmap(), one.Port())}, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	whom := []netip.AddrPort{netip.AddrPortFrom(searchGroup, snPort)}
	for _, a := range addrs {
		if ip, ok := broadcastOf(a); ok {
			whom = append(whom, netip.AddrPortFrom(ip, snPort))
		}
	}
	return whom, nil
}

// broadcastOf is the broadcast address of an IPv4 network; of the loopback network it
// is this machine.
func broadcastOf(a net.Addr) (ip netip.Addr, ok bool) {
	prefix, err := netip.ParsePrefix(a.String())
	switch {
	case err != nil || !prefix.Addr().Is4():
		return ip, false
	case prefix.Addr().IsLoopback():
		return prefix.Addr(), true
	}
	b := prefix.Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b), true
}
