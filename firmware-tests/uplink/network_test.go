package uplink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// startProxy runs a proxy of Debian's on a free port, with a login.
func startProxy(t *testing.T, program string, args func(host, port, dir string) []string) (addr string) {
	t.Helper()
	path, err := rig.Find(program, program)
	if errors.Is(err, rig.ErrMissing) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	addrs, err := rig.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(addrs[0])
	var log rig.Log
	p, err := rig.Start(&log, nil, path, args(host, port, t.TempDir())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s says\n%s", program, log.Tail(20))
		}
	})
	plant.Await(t, func() string {
		conn, err := net.Dial("tcp", addrs[0])
		if err != nil {
			return program + " does not listen"
		}
		conn.Close()
		return ""
	})
	return addrs[0]
}

func startTinyproxy(t *testing.T) string {
	return startProxy(t, "tinyproxy", func(host, port, dir string) []string {
		conf := fmt.Sprintf("Port %s\nListen %s\nTimeout 600\nMaxClients 20\nBasicAuth me s3cret\n", port, host)
		file := filepath.Join(dir, "tinyproxy.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"-d", "-c", file}
	})
}

func startMicrosocks(t *testing.T) string {
	return startProxy(t, "microsocks", func(host, port, _ string) []string {
		return []string{"-i", host, "-p", port, "-u", "me", "-P", "s3cret"}
	})
}

// wires is a Mosquitto that listens on every wire, by scheme.
func wires(t *testing.T, ca *authority) map[string]string {
	t.Helper()
	addrs, err := rig.FreeAddrs(3)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert := ca.certificate("localhost", time.Now().Add(time.Hour))
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.write(certFile, "CERTIFICATE", cert.Certificate[0])
	ca.writeKey(keyFile, cert)
	secure := "\ncertfile " + certFile + "\nkeyfile " + keyFile
	lines := ""
	for i, more := range []string{"\nprotocol websockets", secure, "\nprotocol websockets" + secure} {
		_, port, _ := net.SplitHostPort(addrs[i])
		lines += "listener " + port + " 127.0.0.1" + more + "\n"
	}
	m := plant.Mosquitto(t, lines)
	local := func(addr string) string { return strings.Replace(addr, "127.0.0.1", "localhost", 1) }
	return map[string]string{"mqtt": local(m.Addr), "ws": local(addrs[0]), "mqtts": local(addrs[1]), "wss": local(addrs[2])}
}

// Every wire, directly and through proxies that others wrote, with a login.
func TestWiresAndProxies(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	at := wires(t, ca)
	for _, proxy := range []string{"none", "http", "socks5"} {
		t.Run(proxy, func(t *testing.T) {
			settings := []string{"PROXY_USERNAME=me", "PROXY_PASSWORD=s3cret"}
			switch proxy {
			case "none":
				settings = nil
			case "http":
				settings = append(settings, "PROXY=http://"+startTinyproxy(t))
			case "socks5":
				settings = append(settings, "PROXY=socks5://"+startMicrosocks(t))
			}
			for scheme, addr := range at {
				t.Run(scheme, func(t *testing.T) {
					t.Parallel()
					center := &device.Consumer{Name: "center-" + scheme + proxy, Addr: at["mqtt"], Filter: scheme + proxy + "/#", Version: codec.V5, Ledger: &device.Ledger{}}
					go center.Run(t.Context())
					<-center.Subscribed()
					all := append([]string{"URL=" + scheme + "://" + addr, "UP=plant/# 2", "UP_PREFIX=" + scheme + proxy + "/", "CLIENT_ID=" + scheme + proxy}, settings...)
					if scheme == "mqtts" || scheme == "wss" {
						all = append(all, "CA="+ca.file)
					}
					g := startGateway(t, all...)
					publish(t, g, 2, "plant/a", "1 2 1", "1 2 2", "1 2 3")
					plant.Await(t, func() string {
						if n := center.Arrivals.Load(); n != 3 {
							return fmt.Sprintf("%d messages have arrived, want 3", n)
						}
						return ""
					})
					if log := g.Log.String(); strings.Contains(log, "s3cret") {
						t.Error("the log shows the password")
					}
				})
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		g := startGateway(t, "URL=mqtt://"+at["mqtt"], "UP=plant/# 2", "PROXY=http://"+startTinyproxy(t), "PROXY_USERNAME=me", "PROXY_PASSWORD=wrong")
		plant.AwaitLog(t, g, 1, "check the proxy's user name and password")
	})
}

// An upstream on IPv6, a source address, an interface.
func TestIPv6AndBinding(t *testing.T) {
	t.Parallel()
	upstream := new(server)
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	ln.Close()
	upstream.start(t, ln.Addr().String())
	g := startGateway(t, "URL=mqtt://"+upstream.addr, "UP=plant/# 2", "SOURCE_ADDR=::1")
	publish(t, g, 2, "plant/a", "1")
	upstream.wantPayloads("over IPv6", "1")

	plain := new(server).start(t, "")
	g = startGateway(t, "URL=mqtt://"+plain.addr, "UP=plant/# 2", "INTERFACE=none0")
	plant.AwaitLog(t, g, 1, "leave by the network interface none0: there is none of that name")
	g = startGateway(t, "URL=mqtt://"+plain.addr, "UP=plant/# 2", "INTERFACE=lo", "SOURCE_ADDR=127.0.0.7")
	publish(t, g, 2, "plant/a", "2")
	plant.Await(t, func() string {
		if plain.lastFrom() == "127.0.0.7" {
			return ""
		}
		if log := g.Log.String(); strings.Contains(log, "CAP_NET_RAW") {
			return ""
		}
		return "it comes from " + plain.lastFrom()
	})
}

// namespace has the gateway ask the name server at an address, port 53, and no other.
// That needs a mount namespace.
func namespace(t *testing.T, nameServer string, g *rig.Gateway) error {
	t.Helper()
	dir := t.TempDir()
	conf, script := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "sluice")
	binary, err := rig.Build()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#!/bin/sh\nmount --bind %s /etc/resolv.conf && exec %s \"$@\"\n", conf, binary)
	if err := errors.Join(os.WriteFile(conf, []byte("nameserver "+nameServer+"\n"), 0o644), os.WriteFile(script, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("unshare", "-m", script, "version").CombinedOutput(); err != nil {
		return fmt.Errorf("no mount namespace: %w %s", err, out)
	}
	g.Wrap("unshare", "-m", script)
	return nil
}

// A name server that says nothing holds up nothing but the bridge that asks it; it
// is asked again at each attempt.
func TestNameServerThatHangs(t *testing.T) {
	t.Parallel()
	names := newNameServer(t, rand.New(rand.NewPCG(rand.Uint64(), 0)))
	if names == nil {
		t.Skip("port 53 is not to be had")
	}
	names.set(nameSilent)
	other, upstream := new(server).start(t, ""), new(server).start(t, "")
	_, port, _ := net.SplitHostPort(upstream.addr)
	g := newGateway(t, "URL=mqtt://cloud.example:"+port, "UP=plant/# 2", "1_URL=mqtt://"+other.addr, "1_UP=plant/# 2")
	if err := namespace(t, names.addr, g); err != nil {
		t.Skip(err)
	}
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	publish(t, g, 2, "plant/a", "1", "2")
	other.wantPayloads("another bridge works", "1", "2")
	plant.AwaitLog(t, g, 1, "lookup cloud.example")
	names.set(nameAnswers)
	upstream.wantPayloads("the name is asked for again", "1", "2")
}
