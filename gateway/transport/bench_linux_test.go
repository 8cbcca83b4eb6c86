package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Benchmarks run their clients in a process of its own, so that processor time
// and memory are those of the gateway. This is that process.
func TestClients(t *testing.T) {
	args := strings.Fields(os.Getenv("TRANSPORT_CLIENTS"))
	if len(args) == 0 {
		t.Skip("for the benchmarks")
	}
	n, _ := strconv.Atoi(args[2])
	rounds, _ := strconv.Atoi(args[3])
	conns := make([]net.Conn, n)
	for i := range conns {
		var nc net.Conn
		var err error
		switch args[0] {
		case "udp":
			nc, err = net.Dial("udp", args[1])
		case "dtls":
			nc, err = DialDTLS(t.Context(), args[1], psk("device"))
		default:
			nc, err = net.Dial("tcp", args[1])
		}
		if err != nil {
			t.Fatal(err)
		}
		switch args[0] {
		case "tls":
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		case "ws":
			nc = dialWebSocket(t, nc)
		}
		if tc, ok := nc.(*tls.Conn); ok {
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		conns[i] = nc
	}
	var wg sync.WaitGroup
	for _, nc := range conns {
		wg.Go(func() {
			b := make([]byte, 64)
			for range rounds {
				nc.Write(b)
				if _, err := io.ReadFull(nc, b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	os.Stdout.WriteString("done\n")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns) // the collector would close them
}

// clients runs n clients that send and receive 64 bytes so many times; then
// they stay until the end of the benchmark.
func clients(b *testing.B, network, addr string, n, rounds int) {
	runClients(b, "^TestClients$", "TRANSPORT_CLIENTS="+strings.Join([]string{network, addr, strconv.Itoa(n), strconv.Itoa(rounds)}, " "))
}

// runClients runs a test in a process of its own until it says that it is done, and ends it with
// the benchmark.
func runClients(b *testing.B, test, variable string) {
	cmd := exec.Command(os.Args[0], "-test.run="+test)
	cmd.Env = append(os.Environ(), variable)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
	said := make([]byte, 5)
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "done\n" {
		b.Fatalf("clients: %q %v", said, err)
	}
}

// serve is a Transport for a benchmark, by the driver that is meant.
func serve(b *testing.B, driver string, r *plainEcho) string {
	tr := New(Config{}, r)
	b.Cleanup(func() { closeNow(tr) })
	switch driver {
	case "tls":
		return listenTLS(b, tr, "tls")
	case "stream":
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		go func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				tr.Serve(nc)
			}
		}()
		return ln.Addr().String()
	}
	return listen(b, tr, driver)
}

func closeNow(tr *Transport) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tr.Close(ctx)
}

// plainEcho is an echo that costs as little as may be.
type plainEcho struct{ n atomic.Int64 }

func (r *plainEcho) Open(*Conn) { r.n.Add(1) }
func (r *plainEcho) Receive(c *Conn, b []byte) (int, error) {
	c.End(append(c.Begin(0), b...))
	return len(b), nil
}
func (r *plainEcho) BeginRound()         {}
func (r *plainEcho) EndRound()           {}
func (r *plainEcho) Writable(*Conn)      {}
func (r *plainEcho) Closed(*Conn, error) { r.n.Add(-1) }

// BenchmarkEcho is 64 bytes there and back on 50 connections: the processor
// time of the gateway alone, and how many in a second.
func BenchmarkEcho(b *testing.B) {
	for _, driver := range []string{"tcp", "stream", "ws", "tls"} {
		b.Run(driver, func(b *testing.B) {
			addr := serve(b, driver, new(plainEcho))
			before, began := cpu(), time.Now()
			rounds := max(1, b.N/50)
			clients(b, driver, addr, 50, rounds)
			n := float64(50 * rounds)
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/n, "cpu-ns/msg")
			b.ReportMetric(n/time.Since(began).Seconds(), "msg/s")
		})
	}
}

// BenchmarkDatagrams is 64 bytes there and back by UDP, one and 50 on the way
// at a time, beside a loop of ReadFromUDPAddrPort, and by DTLS.
func BenchmarkDatagrams(b *testing.B) {
	plain := func(b *testing.B) string {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, MaxDatagram)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				conn.WriteToUDPAddrPort(buf[:n], from)
			}
		}()
		return conn.LocalAddr().String()
	}
	batched := func(b *testing.B) string {
		tr := New(Config{}, nil)
		b.Cleanup(func() { closeNow(tr) })
		u, err := tr.ListenUDP("127.0.0.1:0", echoDatagrams{})
		if err != nil {
			b.Fatal(err)
		}
		return u.Addr().String()
	}
	for _, x := range []struct {
		name, network string
		serve         func(b *testing.B) string
	}{{"plain", "udp", plain}, {"batched", "udp", batched}, {"dtls", "dtls", dtlsServer}} {
		for _, n := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/%d", x.name, n), func(b *testing.B) {
				addr := x.serve(b)
				before, began := cpu(), time.Now()
				rounds := max(1, b.N/n)
				clients(b, x.network, addr, n, rounds)
				msgs := float64(n * rounds)
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/msgs, "cpu-ns/msg")
				b.ReportMetric(msgs/time.Since(began).Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkIdle is what a connection takes that has sent and received once.
func BenchmarkIdle(b *testing.B) {
	for _, x := range []struct {
		driver string
		n      int
	}{{"tcp", 8000}, {"ws", 8000}, {"stream", 8000}, {"tls", 2000}} {
		b.Run(x.driver, func(b *testing.B) {
			for range b.N {
				r := new(plainEcho)
				addr := serve(b, x.driver, r)
				debug.FreeOSMemory()
				rss, inUse := resident(), heap()
				clients(b, x.driver, addr, x.n, 1)
				debug.FreeOSMemory()
				if int(r.n.Load()) != x.n {
					b.Fatalf("%d connections", r.n.Load())
				}
				b.ReportMetric(float64(resident()-rss)/float64(x.n), "rss-B/conn")
				b.ReportMetric(float64(heap()-inUse)/float64(x.n), "heap+stack-B/conn")
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(syscall.Getpagesize())
}
