package uplink

import (
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// An upstream that is frozen answers nothing, and its system takes all that is
// sent: the link is half open.
func TestHalfOpenIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings []string
		traffic  bool
		within   time.Duration
	}{
		{"idle, within one and a half keep-alives", []string{"KEEPALIVE=2s", "ACK_TIMEOUT=1h"}, false, 3 * time.Second},
		{"with traffic, within the acknowledgement time-out", []string{"KEEPALIVE=1h", "ACK_TIMEOUT=2s"}, true, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			upstream := plant.Mosquitto(t, "max_inflight_messages 0")
			g := startGateway(t, append(test.settings, "URL=mqtt://"+upstream.Addr, "UP=plant/# 2")...)
			plant.AwaitLog(t, g, 1, plant.Connected)
			players := plant.NewPlayers(t)
			center := players.Consumer("center", upstream.Addr, "plant/#", codec.V5)
			if test.traffic {
				players.Fleet(2, func(s *device.Sensor) {
					s.Addr, s.Topic, s.Interval, s.Window = g.Addr, "plant", 100*time.Millisecond, 1000
				})
				plant.Await(t, func() string {
					if center.Arrivals.Load() < 10 {
						return "nothing arrives"
					}
					return ""
				})
			}
			frozen := time.Now()
			syscall.Kill(upstream.PID(), syscall.SIGSTOP)
			plant.AwaitLog(t, g, 1, `msg="bridge is not connected"`)
			if took := time.Since(frozen); took > test.within+15*time.Second { // of a machine with much to do; in fake time it is exact
				t.Errorf("noticed after %v, want %v", took, test.within)
			}
			syscall.Kill(upstream.PID(), syscall.SIGCONT)
			players.Settle(chaosDrain)
			players.Judge(2)
		})
	}
}

// relay carries connections to addr through carry, once for each way.
func relay(t *testing.T, addr string, buffer int, carry func(to, from net.Conn)) (at string) {
	small := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if buffer > 0 {
			raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer)
			})
		}
		return err
	}}
	ln, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	forward(t, ln, addr, carry)
	return ln.Addr().String()
}

// forward connects whoever comes to ln with addr.
func forward(t *testing.T, ln net.Listener, addr string, carry func(to, from net.Conn)) {
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range open {
			conn.Close()
		}
	})
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", addr)
			if err != nil {
				from.Close()
				continue
			}
			mu.Lock()
			open = append(open, from, to)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{to, from}, {from, to}} {
				go func() {
					carry(way[0], way[1])
					way[0].Close()
					way[1].Close()
				}()
			}
		}
	}()
}

// A large message on a slow line takes much longer than both time-outs. The line
// is not dead.
func TestSlowUpstreamIsNotCut(t *testing.T) {
	t.Parallel()
	upstream := new(server).start(t, "")
	line := relay(t, upstream.addr, 8<<10, func(to, from net.Conn) {
		for b := make([]byte, 8<<10); ; time.Sleep(60 * time.Millisecond) {
			n, err := from.Read(b)
			if _, werr := to.Write(b[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	g := startGateway(t, "URL=mqtt://"+line, "UP=plant/# 2", "KEEPALIVE=2s", "ACK_TIMEOUT=1s")
	large := strings.Repeat("0123456789abcdef", 40<<10)
	began := time.Now()
	publish(t, g, 2, "plant/picture", large)
	upstream.wantPayloads("a picture goes up", large)
	t.Logf("%d bytes took %v", len(large), time.Since(began))
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("the line was not slow: %v", took)
	}
	if _, n := upstream.lastConnect(); n != 1 {
		t.Errorf("%d connections for it, want one", n)
	}
}

// A NAT that remembers 3.4 seconds. The bridge begins with a second, and finds that
// out.
func TestAutoKeepAlive(t *testing.T) {
	t.Parallel()
	const remembers = 3400 * time.Millisecond
	upstream := new(server).start(t, "")
	var mu sync.Mutex
	last := map[string]time.Time{} // of each connection of the bridge
	line := relay(t, upstream.addr, 0, func(to, from net.Conn) {
		name := from.RemoteAddr().String()
		if from.RemoteAddr().String() == upstream.addr {
			name = to.RemoteAddr().String()
		}
		for b := make([]byte, 4096); ; {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			before, known := last[name]
			forgotten := known && time.Since(before) > remembers
			if !forgotten {
				last[name] = time.Now()
			}
			mu.Unlock()
			if forgotten {
				io.Copy(io.Discard, from) // for ever
				return
			}
			to.Write(b[:n])
		}
	})
	g := startGateway(t, "URL=mqtt://"+line, "UP=plant/# 2", "KEEPALIVE=auto:1s", "ACK_TIMEOUT=1s", "CLIENT_ID=site7")
	if c, _ := awaitConnect(t, upstream, 1); c.KeepAlive != 65535 {
		t.Errorf("asked for %d s, want all there is", c.KeepAlive)
	}
	awaitLonger(t, g, "does not survive silence for so long")
	_, connects := awaitConnect(t, upstream, 3)
	upstream.mu.Lock()
	before := upstream.pings
	upstream.mu.Unlock()
	time.Sleep(6 * time.Second) // of silences of 2.3 s
	upstream.mu.Lock()
	pings := upstream.pings - before
	upstream.mu.Unlock()
	if _, n := upstream.lastConnect(); n != connects {
		t.Errorf("%d connections more once it has settled", n-connects)
	}
	if pings < 1 || pings > 5 {
		t.Errorf("%d PINGREQ in 6 s", pings)
	}
	publish(t, g, 1, "plant/a", "after all")
	upstream.wantPayloads("and it carries", "after all")
}

// awaitLonger is wantLog for what takes half a minute by its nature.
func awaitLonger(t *testing.T, g *rig.Gateway, text string) {
	t.Helper()
	for deadline := time.Now().Add(3 * patience); !strings.Contains(g.Log.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not log %q", text)
		}
	}
}

// awaitConnect waits for the nth CONNECT.
func awaitConnect(t *testing.T, s *server, n int) (c codec.Connect, all int) {
	t.Helper()
	plant.Await(t, func() string {
		if c, all = s.lastConnect(); all < n {
			return "the bridge does not connect"
		}
		return ""
	})
	return c, all
}

// An upstream of MQTT 3.1.1 with extensions names its keep-alive in two bytes more.
func TestKeepAliveNegotiation(t *testing.T) {
	t.Parallel()
	upstream := &server{answer: func(c *codec.Connect) []byte {
		switch {
		case c.Version == codec.V5:
			return []byte{0x20, 2, 0, 1} // unacceptable protocol version
		case strings.HasSuffix(string(c.Username), ";ka"):
			return nil
		}
		return []byte{0x20, 2, 0, 4}
	}}
	upstream.sessions = map[string]*session{"site7": {received: map[uint16]bool{}}}
	inner := upstream.answer
	upstream.answer = func(c *codec.Connect) []byte {
		if out := inner(c); out != nil {
			return out
		}
		return []byte{0x20, 4, 1, 0, 0, 2} // session present, 2 s
	}
	upstream.start(t, "")
	g := startGateway(t, "URL=mqtt://"+upstream.addr, "UP=plant/# 2", "KEEPALIVE=1h", "EXTENSIONS=username",
		"USERNAME=me", "CLIENT_ID=site7")
	plant.AwaitLog(t, g, 1, plant.Connected)
	time.Sleep(4 * time.Second)
	upstream.mu.Lock()
	defer upstream.mu.Unlock()
	if upstream.pings < 1 {
		t.Error("no PINGREQ within two keep-alives of the server's")
	}
}
