package transport

import (
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A connection from inside the process stands for one on a socket where gateway counts what
// 100,000 take.
func TestConnIsSmall(t *testing.T) {
	n := unsafe.Sizeof(polled{})
	if n > 208 {
		t.Errorf("an idle connection takes %d bytes", n)
	}
	if inside := unsafe.Sizeof(inside{}); inside < n {
		t.Errorf("%d bytes for one from inside, %d for one on a socket", inside, n)
	}
}

// Who brings little waits for a round of those who bring much, not for all of them: they fill
// the buffer each time, or have so many packets in it that they have to go on later. One
// whose bytes have not come just then counts as bringing little, so it takes tries.
func TestLittleComesFirst(t *testing.T) {
	for _, step := range []int{readSize, 1 << 10} {
		best := 100
		for tries := 0; best > readTurns && tries < 20; tries++ {
			best = min(best, turnsBefore(t, step))
		}
		if best > readTurns {
			t.Errorf("%d others have a turn before, if they take %d bytes at a time", best, step)
		}
	}
}

// turnsBefore is how many connections that bring much, and take step bytes of it in a turn,
// have one between the arrival of a few bytes on another and its turn.
func turnsBefore(t *testing.T, step int) int {
	const floods = 3 * readTurns
	ask, served := make(chan struct{}), make(chan int, 1)
	var little *Conn
	turns := map[*Conn]int{}
	since := -1 // nobody was asked yet
	tr := start(t, Config{Loops: 1}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
		switch {
		case string(b) == "here":
			little = c
			return len(b), nil
		case c == little:
			served <- since
			return len(b), nil
		case since >= 0:
			since++
		default:
			if turns[c]++; little == nil || len(turns) < floods || turns[c] < 3 {
				break
			}
			since = 0
			close(ask)
			for n := 0; n == 0; time.Sleep(100 * time.Microsecond) { // until it has come
				var err error
				if n, err = unix.IoctlGetInt(int(little.driver.(*polled).fd), unix.TIOCINQ); err != nil {
					t.Error(err)
					break
				}
			}
		}
		if len(b) > step {
			c.Yield()
		}
		return min(len(b), step), nil
	}})
	addr := listen(t, tr, "tcp")
	c := dialTCP(t, addr)
	c.Write([]byte("here"))
	for range floods {
		flood := dialTCP(t, addr)
		defer flood.Close()
		go func() {
			for b := make([]byte, 1<<20); ; {
				if _, err := flood.Write(b); err != nil {
					return
				}
			}
		}()
	}
	<-ask
	c.Write([]byte("little"))
	return <-served
}

// What is little is sent before what is much, in whichever order both were written.
func TestLittleLeavesFirst(t *testing.T) {
	const much = bulk + 1
	var conns []*Conn // the first gets little
	var all []*net.TCPConn
	dialled := make(chan []*net.TCPConn, 1)
	written := false
	there := make(chan []int, 1) // bytes that each client can read when the next round begins
	tr := start(t, Config{Loops: 1}, &recorder{
		receive: func(c *Conn, b []byte) (int, error) {
			if string(b) == "here" {
				conns = append(conns, c)
				send(c, b)
				return len(b), nil
			}
			for i, c := range conns {
				send(c, make([]byte, []int{1, much}[min(i, 1)]))
			}
			written, all = true, <-dialled
			return len(b), nil
		},
		round: func(begins bool) {
			if !begins || !written {
				return
			}
			written = false
			var n []int
			for _, c := range all {
				n = append(n, readable(t, c))
			}
			there <- n
		},
	})
	addr := listen(t, tr, "tcp")
	var clients []*net.TCPConn
	for range 5 {
		c := dialTCP(t, addr)
		c.Write([]byte("here"))
		want(t, "echo", c, []byte("here"))
		clients = append(clients, c)
	}
	dialled <- clients
	time.Sleep(2 * often) // nobody was written to shortly before
	clients[0].Write([]byte("now"))
	if n := <-there; !slices.Equal(n, []int{1, 0, 0, 0, 0}) {
		t.Errorf("%v bytes have been sent", n)
	}
	for _, c := range clients[1:] {
		want(t, "much", c, make([]byte, much))
	}
}

// readable is how many bytes have come for c.
func readable(t *testing.T, c *net.TCPConn) (n int) {
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	if err != nil {
		t.Error(err)
	}
	return n
}

// Who is sent something often waits for a turn while others have turns to read, and gets the
// more at a time; while nobody has, it does not wait.
func TestOftenWaits(t *testing.T) {
	l := &loop{began: time.Now().Add(-time.Second)}
	l.tick()
	gone := func(written uint32) *polled { // a turn of such a one does nothing
		return &polled{fd: -1, entered: true, queued: true, written: written}
	}
	early, late := gone(l.now), gone(0)
	l.readers.push(gone(0))
	l.readers.push(gone(0))
	l.writers.push(early)
	l.writers.push(late)
	l.serve()
	if l.writers.first != early || !early.queued {
		t.Error("who was written to just now has a turn before the readers")
	}
	l.readers = line{}
	l.serve()
	if l.writers.first != nil || early.queued || late.queued {
		t.Error("writers wait while nobody reads")
	}
}

// While writers with bulk wait, nobody brings more, but for a turn in so many rounds.
func TestReadersWaitForBulk(t *testing.T) {
	l := &loop{began: time.Now()}
	writers := make([]polled, 100_000) // for more rounds, though a turn of such a one does nothing
	for i := range writers {
		writers[i].fd, writers[i].entered, writers[i].queued = -1, true, true
		writers[i].pending.Store(bulk + 1)
		l.writers.push(&writers[i])
	}
	readers := make([]polled, readTurns+1)
	for i := range readers {
		readers[i].fd, readers[i].entered, readers[i].queued = -1, true, true
		l.readers.push(&readers[i])
	}
	for range maxHeld {
		l.serve()
	}
	if !readers[0].queued {
		t.Error("a reader has a turn while writers with bulk wait")
	}
	l.serve()
	if readers[readTurns-1].queued || !readers[readTurns].queued {
		t.Errorf("after %d rounds %d readers are to have a turn", maxHeld, readTurns)
	}
	l.writers = line{}
	l.serve()
	if readers[readTurns].queued {
		t.Error("a reader waits for nobody")
	}
}

// Who goes on where nothing has come that was not taken, as after a password was checked, does
// not wait for those who bring much.
func TestNothingHeldWaitsForNobody(t *testing.T) {
	l := &loop{began: time.Now().Add(-time.Second)}
	l.tick()
	c := &polled{entered: true, queued: true}
	c.again = true
	if l.postpone(c) || c.heavy {
		t.Error("it waits with nothing")
	}
	c.in = newBuffer(1)
	if !l.postpone(c) || l.readers.first != c {
		t.Error("it does not wait with something")
	}
}

// What somebody brings in his turn for another goes out with it, before the round ends.
func TestBulkIsPassedOn(t *testing.T) {
	const n = 2 * bulk
	var to *Conn
	var brought int // at last
	var turn bool   // this round has one, as what came before was bulk already
	var turns, late int
	tr := start(t, Config{Loops: 1}, &recorder{
		receive: func(c *Conn, b []byte) (int, error) {
			if to == nil {
				to = c
				return echo(c, b)
			}
			turn = brought == n && len(b) == n
			brought = len(b)
			send(to, b)
			return len(b), nil
		},
		round: func(begins bool) {
			if !begins && turn {
				turns++
				late += to.Pending()
			}
			turn = false
		},
	})
	addr := listen(t, tr, "tcp")
	in := dialTCP(t, addr)
	in.Write([]byte("hello"))
	want(t, "hello", in, []byte("hello"))
	out := dialTCP(t, addr)
	for range 10 {
		b := noise(n)
		out.Write(b)
		want(t, "bulk", in, b)
	}
	in.Close()
	out.Close()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if turns == 0 || late > 0 {
		t.Errorf("of %d turns %d bytes waited for the next round", turns, late)
	}
}

// A round encloses what has come in it, and what is answered when it ends leaves with it.
func TestRound(t *testing.T) {
	var in bool      // a round
	var came []*Conn // in it
	tr := start(t, Config{Loops: 1}, &recorder{
		receive: func(c *Conn, b []byte) (int, error) {
			if !in {
				t.Error("Receive outside of a round")
			}
			send(c, b)
			came = append(came, c)
			return len(b), nil
		},
		round: func(begins bool) {
			if begins == in {
				t.Errorf("a round that begins (%v) while one is under way (%v)", begins, in)
			}
			in = begins
			for _, c := range came {
				send(c, []byte("over"))
			}
			came = came[:0]
		},
	})
	addr := listen(t, tr, "tcp")
	var clients []net.Conn
	for range 3 {
		c := dialTCP(t, addr)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		clients = append(clients, c)
	}
	for range 10 {
		for _, c := range clients {
			c.Write([]byte("x"))
		}
		for _, c := range clients {
			b := make([]byte, 100)
			if n, err := io.ReadAtLeast(c, b, 5); string(b[:n]) != "xover" {
				t.Fatalf("got %q, %v", b[:n], err)
			}
		}
	}
}

// While it cannot accept, a loop neither spins nor forgets who waits.
func TestOutOfDescriptors(t *testing.T) {
	tr := start(t, Config{Loops: 1}, &recorder{receive: echo})
	addr := listen(t, tr, "tcp")
	inside := dialTCP(t, addr)
	inside.Write([]byte("x"))
	want(t, "echo", inside, []byte("x"))
	waiting, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(waiting)

	var was, low syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was)
	low = was
	low.Cur = 0 // those that are open stay
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	connErr := syscall.Connect(waiting, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: n})
	unix.Write(waiting, []byte("y"))
	before := cpu()
	time.Sleep(500 * time.Millisecond)
	used := cpu() - before
	inside.Write([]byte("x"))
	want(t, "echo for those who are inside", inside, []byte("x"))
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	if connErr != nil {
		t.Fatal(connErr)
	}
	if used > 200*time.Millisecond {
		t.Errorf("%v of processor time in half a second of waiting", used)
	}
	f := os.NewFile(uintptr(must(unix.Dup(waiting))), "waiting")
	defer f.Close()
	want(t, "echo for who has waited", f, []byte("y"))
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A paused connection whose peer has gone is reported by epoll for as long as
// it is watched.
func TestPausedDoesNotSpin(t *testing.T) {
	for _, i := range []int{0, 1} {
		t.Run(ways[i].name, func(t *testing.T) {
			opened := make(chan *Conn, 1)
			cause := make(chan error, 1)
			var got strings.Builder
			tr := start(t, Config{}, &recorder{
				open:    func(c *Conn) { c.Pause(); opened <- c },
				receive: func(c *Conn, b []byte) (int, error) { got.Write(b); return len(b), nil },
				closed:  func(_ *Conn, err error) { cause <- err },
			})
			client := ways[i].dial(t, tr)
			c := <-opened
			client.Write([]byte("goodbye"))
			client.Close()
			before := cpu()
			time.Sleep(300 * time.Millisecond)
			if used := cpu() - before; used > 150*time.Millisecond {
				t.Errorf("%v of processor time in 300 ms of waiting", used)
			}
			c.Resume()
			if err := <-cause; err != io.EOF || got.String() != "goodbye" {
				t.Errorf("got %q, %v", got.String(), err)
			}
		})
	}
}

func TestNoDelay(t *testing.T) {
	opened := make(chan int, 1)
	tr := start(t, Config{}, &recorder{open: func(c *Conn) { opened <- int(c.driver.(*polled).fd) }})
	c := dialTCP(t, listen(t, tr, "tcp"))
	defer c.Close()
	fd := <-opened
	for name, opt := range map[string][2]int{
		"TCP_NODELAY":  {unix.IPPROTO_TCP, unix.TCP_NODELAY},
		"SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	} {
		if v, err := unix.GetsockoptInt(fd, opt[0], opt[1]); v != 1 || err != nil {
			t.Errorf("%s is %d, %v", name, v, err)
		}
	}
}

// All that one round of reads brings to a connection leaves in one write.
func TestOneWriteForARound(t *testing.T) {
	tr := start(t, Config{}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
		for i := range b {
			send(c, b[i:i+1])
		}
		return len(b), nil
	}})
	nc := dialTCP(t, listen(t, tr, "ws"))
	defer nc.Close()
	c := dialWebSocket(t, nc)
	c.Write([]byte("hello"))
	want(t, "one frame", c.r, []byte("\x82\x05hello"))
}

// A poller that was woken, whenever that was, waits again after that, for an event or the
// next waking.
func TestPollerSleepsAgain(t *testing.T) {
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := p.ctl(unix.EPOLL_CTL_ADD, int32(fds[0]), unix.EPOLLIN); err != nil {
		t.Fatal(err)
	}
	sleeps := func(what string, d time.Duration, end func()) {
		t.Helper()
		p.arm(d)
		began := time.Now()
		timer := time.AfterFunc(30*time.Millisecond, end)
		defer timer.Stop()
		p.wait()
		if d := time.Since(began); d < 20*time.Millisecond || d > 10*time.Second {
			t.Errorf("%s: waited %v", what, d)
		}
	}
	for range 3 {
		sleeps("until it is woken", -1, p.wake)
		sleeps("until then", 30*time.Millisecond, func() {})
		p.arm(-1)
		p.wake()
		p.wait() // at once
		sleeps("after a waking before it waited", time.Hour, p.wake)
		sleeps("until an event", -1, func() { unix.Write(fds[1], []byte{1}) })
		p.wake()
		if n := len(p.peek()); n != 1 {
			t.Errorf("%d events", n)
		}
		p.arm(-1)
		p.wait() // at once: it was woken while nobody waited
		unix.Read(fds[0], make([]byte, 1))
	}
}

// A loop is woken from elsewhere as often as it takes, and sleeps in between.
func TestWokenOften(t *testing.T) {
	opened := make(chan *Conn, 1)
	tr := start(t, Config{Loops: 1}, &recorder{open: func(c *Conn) { opened <- c }})
	nc := dialTCP(t, listen(t, tr, "tcp"))
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := <-opened
	for i := range 2000 {
		send(c, []byte{byte(i)})
		want(t, "what was sent while the loop slept", nc, []byte{byte(i)})
	}
	before := cpu()
	time.Sleep(300 * time.Millisecond)
	if used := cpu() - before; used > 150*time.Millisecond {
		t.Errorf("%v of processor time in 300 ms of waiting", used)
	}
}

// Clients that speak at once are answered, whichever loop accepts them and whichever has
// them then, and the loops have as many of them each.
func TestFirstWords(t *testing.T) {
	const loops, clients = 3, 300
	var mu sync.Mutex
	on := make(map[*loop]int)
	tr := start(t, Config{Loops: loops}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
		if string(b) == "second" {
			mu.Lock()
			on[c.driver.(*polled).loop]++
			mu.Unlock()
		}
		return echo(c, b)
	}})
	addr := listen(t, tr, "tcp")
	conns := make([]*net.TCPConn, clients)
	for i := range conns {
		conns[i] = dialTCP(t, addr)
		conns[i].Write([]byte("first"))
	}
	for _, word := range []string{"first", "second"} {
		for _, c := range conns {
			if word == "second" {
				c.Write([]byte(word))
			}
			c.SetDeadline(time.Now().Add(30 * time.Second))
			want(t, "the "+word+" word", c, []byte(word))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, n := range on {
		if n != clients/loops {
			t.Errorf("%d of %d connections are on one of %d loops", n, clients, loops)
		}
	}
}

// What others want of a connection is not missed while it changes from the loop that has
// accepted it to its own.
func TestWantedWhileAccepted(t *testing.T) {
	for name, meddle := range map[string]func(*Conn){
		"output": func(c *Conn) { send(c, []byte("!")) },
		"pause":  func(c *Conn) { c.Pause(); send(c, []byte("!")); c.Resume() },
		"close":  func(c *Conn) { send(c, []byte("!")); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var others sync.WaitGroup
			defer others.Wait()
			tr := start(t, Config{Loops: 2}, &recorder{receive: func(c *Conn, b []byte) (int, error) {
				if b[0] == '?' {
					others.Go(func() { meddle(c) })
				}
				return len(b), nil
			}})
			addr := listen(t, tr, "tcp")
			for range 500 {
				c := dialTCP(t, addr)
				c.SetDeadline(time.Now().Add(30 * time.Second))
				c.Write([]byte("?"))
				want(t, "what another goroutine sent", c, []byte("!"))
				if name == "close" {
					wantEnd(t, "closed by another goroutine", c)
				}
				c.Close()
			}
		})
	}
}

// A client that says nothing is let in a little later, and one that leaves without a word
// is not in the way.
func TestSaysNothing(t *testing.T) {
	opened := make(chan *Conn, 2)
	cause := make(chan error, 2)
	tr := start(t, Config{}, &recorder{
		open:   func(c *Conn) { opened <- c },
		closed: func(_ *Conn, err error) { cause <- err },
	})
	addr := listen(t, tr, "tcp")
	dialTCP(t, addr).Close()
	<-opened
	if err := <-cause; err != io.EOF {
		t.Errorf("who left without a word: %v", err)
	}
	c := dialTCP(t, addr)
	c.SetDeadline(time.Now().Add(30 * time.Second))
	send(<-opened, []byte("hello?"))
	want(t, "what a silent client is told", c, []byte("hello?"))
}

func TestSockaddr(t *testing.T) {
	for _, tt := range []struct {
		family uint16
		data   []byte // port, then the address as it is for the family
		want   string
	}{
		{unix.AF_INET, []byte{0x07, 0x5b, 192, 0, 2, 7}, "192.0.2.7:1883"},
		{unix.AF_INET6, []byte{0x07, 0x5b, 9, 9, 9, 9, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, "[2001:db8::1]:1883"},
		{unix.AF_INET6, []byte{0x07, 0x5b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7}, "192.0.2.7:1883"},
		{unix.AF_UNIX, nil, "invalid AddrPort"},
	} {
		sa := unix.RawSockaddrAny{Addr: unix.RawSockaddr{Family: tt.family}}
		raw := (*[unix.SizeofSockaddrAny]byte)(unsafe.Pointer(&sa))
		copy(raw[2:], tt.data)
		if got := sockaddr(&sa).String(); got != tt.want {
			t.Errorf("family %d, % x: got %s, want %s", tt.family, tt.data, got, tt.want)
		}
	}
}
