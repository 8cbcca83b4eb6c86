//go:build linux

package bench

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// run is one run of a scenario: what its workers share.
type run struct {
	// Set once by newRun.
	ctx     context.Context
	cfg     *Config
	report  *Report // owned by the scenario's goroutine
	id      uint32  // in every stamp
	family  int
	addr    *net.TCPAddr // nil for a Unix socket
	secure  bool         // over TLS
	ws      bool         // over WebSocket
	epoch   time.Time
	workers []*worker

	stop  atomic.Bool            // the workers' loops are to end
	phase atomic.Pointer[string] // for the display
}

var defaultPort = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// newRun finds the server's address and makes the workers.
func newRun(ctx context.Context, cfg *Config, report *Report) (*run, error) {
	// The clock starts above 0, so that no stamp's time is 0.
	r := &run{ctx: ctx, cfg: cfg, report: report, epoch: time.Now().Add(-time.Second)}
	r.id = uint32(time.Now().UnixNano()) | 1
	r.secure = cfg.URL.Scheme == "mqtts" || cfg.URL.Scheme == "wss"
	r.ws = cfg.URL.Scheme == "ws" || cfg.URL.Scheme == "wss"
	if err := r.resolve(cfg.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if err := r.enoughFiles(); err != nil {
		return nil, err
	}
	// A worker keeps its processor while it waits: see worker.poll.
	if runtime.GOMAXPROCS(0) <= cfg.Threads {
		runtime.GOMAXPROCS(cfg.Threads + 1)
	}
	for range cfg.Threads {
		w, err := newWorker(r)
		if err != nil {
			r.close()
			return nil, err
		}
		r.workers = append(r.workers, w)
	}
	return r, nil
}

// resolve finds the address to connect to.
func (r *run) resolve(u *url.URL) (err error) {
	if u.Scheme == "unix" {
		r.family = unix.AF_UNIX
		return nil
	}
	port := u.Port()
	if port == "" {
		port = defaultPort[u.Scheme]
	}
	r.addr, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), port))
	if err != nil {
		return err
	}
	r.family = unix.AF_INET6
	if r.addr.IP.To4() != nil {
		r.family = unix.AF_INET
	}
	return nil
}

// sockaddr is the address for one worker: it is written to when it is used.
func (r *run) sockaddr() unix.Sockaddr {
	switch r.family {
	case unix.AF_UNIX:
		return &unix.SockaddrUnix{Name: r.cfg.URL.Path}
	case unix.AF_INET:
		return &unix.SockaddrInet4{Port: r.addr.Port, Addr: [4]byte(r.addr.IP.To4())}
	}
	return &unix.SockaddrInet6{Port: r.addr.Port, Addr: [16]byte(r.addr.IP.To16())}
}

// spareFiles is how many files are open besides connections, at most.
const spareFiles = 50

// enoughFiles fails if the process may not open as many files as there are clients.
func (r *run) enoughFiles() error {
	c := r.cfg
	need := uint64(spareFiles + map[string]int{
		"conns": c.Conns, "pairs": 2 * c.Pairs, "fanin": c.Pubs + c.Subs, "fanout": 1 + c.Subs,
	}[c.Scenario])
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < need {
		return fmt.Errorf("%d files have to be open and %d may be: ulimit -n", need, limit.Cur)
	}
	return nil
}

// clock is the run's time in nanoseconds, monotonic.
func (r *run) clock() int64 { return int64(time.Since(r.epoch)) }

// doing tells the display what goes on.
func (r *run) doing(what string) { r.phase.Store(&what) }

// interrupt makes all loops end.
func (r *run) interrupt() { r.stop.Store(true) }

// each runs f for all workers, each on an operating system thread of its own.
func (r *run) each(f func(*worker)) {
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(func() {
			runtime.LockOSThread()
			f(w)
			runtime.UnlockOSThread()
		})
	}
	wg.Wait()
}

// close gives back what the workers hold, the connections among it.
func (r *run) close() {
	r.each((*worker).close)
}

// totals adds up what the workers count for others to read.
func (r *run) totals() (sum totals) {
	for _, w := range r.workers {
		sum.ready += w.shown.ready.Load()
		sum.sent += w.shown.sent.Load()
		sum.arrived += w.shown.arrived.Load()
		sum.received += w.shown.received.Load()
		sum.duplicated += w.shown.duplicated.Load()
		sum.misordered += w.shown.misordered.Load()
		sum.skipped += w.shown.skipped.Load()
		sum.latency += w.shown.latency.Load()
		sum.pubsDone += w.shown.pubsDone.Load()
	}
	return sum
}

// totals is what has happened so far on all connections.
type totals struct {
	ready, sent, arrived, received, duplicated, misordered, skipped uint64
	latency                                                         uint64 // nanoseconds, of all that arrived
	pubsDone                                                        uint64
}
