package transport

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
)

// TestDTLSClients is the process of the clients of the benchmarks below: so many
// that shake hands, some at a time, echo once, and stay or close.
func TestDTLSClients(t *testing.T) {
	args := strings.Fields(os.Getenv("TRANSPORT_DTLS_CLIENTS"))
	if len(args) == 0 {
		t.Skip("for the benchmarks")
	}
	addr, suite, stay := args[0], args[1], args[3] == "stay"
	n, _ := strconv.Atoi(args[2])
	conf := psk("device")
	if suite == "ccm8" {
		conf.CCM8 = true
	}
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	places := make(chan struct{}, 16)
	for i := range conns {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c, err := DialDTLS(ctx, addr, conf)
			if err != nil {
				t.Error(err)
				return
			}
			c.Write([]byte("hello"))
			c.Read(make([]byte, maxDTLSDatagram))
			if stay {
				conns[i] = c
			} else {
				c.Close()
			}
		})
	}
	wg.Wait()
	os.Stdout.WriteString("done\n")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
}

func dtlsClients(b *testing.B, addr, suite string, n int, stay string) {
	runClients(b, "^TestDTLSClients$", "TRANSPORT_DTLS_CLIENTS="+strings.Join([]string{addr, suite, strconv.Itoa(n), stay}, " "))
}

// pionServer is the server of pion's examples: its listener, a goroutine for
// each session. That takes the suite with nonces at random only.
func pionServer(b *testing.B) string {
	l, err := dtls.Listen("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &dtls.Config{
		PSK: func(identity []byte) ([]byte, error) {
			key, _, _ := testKey(string(identity))
			return key, nil
		},
		CipherSuites:         []dtls.CipherSuiteID{pskAES128CCM8},
		ExtendedMasterSecret: dtls.RequireExtendedMasterSecret,
	})
	if err != nil {
		b.Fatal(err)
	}
	var sessions sync.WaitGroup
	var all []net.Conn
	sessions.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all = append(all, c)
			sessions.Go(func() {
				buf := make([]byte, maxDTLSDatagram)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					c.Write(buf[:n])
				}
			})
		}
	})
	b.Cleanup(func() {
		l.Close()
		for _, c := range all {
			c.Close()
		}
		sessions.Wait()
	})
	return l.Addr().String()
}

func dtlsServer(b *testing.B) string {
	tr := New(Config{}, nil)
	b.Cleanup(func() { closeNow(tr) })
	addr, err := tr.ListenDTLS("127.0.0.1:0", DTLSConfig{Key: testKey, CCM8: true, MaxSessions: 1 << 20}, echoDatagrams{})
	if err != nil {
		b.Fatal(err)
	}
	return addr.String()
}

// BenchmarkDTLSHandshakes is handshakes with an echo, 16 at a time, beside
// the server of pion's examples.
func BenchmarkDTLSHandshakes(b *testing.B) {
	for _, x := range []struct {
		name, suite string
		serve       func(*testing.B) string
	}{{"pion", "ccm8", pionServer}, {"ccm8", "ccm8", dtlsServer}, {"chacha20", "chacha20", dtlsServer}} {
		b.Run(x.name, func(b *testing.B) {
			addr := x.serve(b)
			before, began := cpu(), time.Now()
			dtlsClients(b, addr, x.suite, b.N, "close")
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/handshake")
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "handshakes/s")
		})
	}
}

// BenchmarkDTLSIdle is what a session takes that has sent and received once.
func BenchmarkDTLSIdle(b *testing.B) {
	for _, x := range []struct {
		name, suite string
		serve       func(*testing.B) string
	}{{"pion", "ccm8", pionServer}, {"ccm8", "ccm8", dtlsServer}, {"chacha20", "chacha20", dtlsServer}} {
		b.Run(x.name, func(b *testing.B) {
			for range b.N {
				const n = 2000
				addr := x.serve(b)
				debug.FreeOSMemory()
				rss, inUse := resident(), heap()
				dtlsClients(b, addr, x.suite, n, "stay")
				debug.FreeOSMemory()
				b.ReportMetric(float64(resident()-rss)/n, "rss-B/session")
				b.ReportMetric(float64(heap()-inUse)/n, "heap+stack-B/session")
			}
		})
	}
}
