package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are inside the process, in fake time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects. Nobody may have accepted it yet.
func (p pipes) dial() net.Conn {
	here, there := net.Pipe()
	go func() { p <- there }()
	return here
}

// inBubble runs a server, which fails while *ailing is set.
func inBubble(t *testing.T, test func(t *testing.T, at pipes, ailing *error)) {
	synctest.Test(t, func(t *testing.T) {
		var ailing error
		s := New(Config{
			Ready:   func() error { return ailing },
			Metrics: func(p *Page) {},
			Log:     slog.New(slog.DiscardHandler),
		})
		at := make(pipes)
		s.serve(at)
		test(t, at, &ailing)
		s.Close(t.Context())
	})
}

// ask sends a request as it is and returns the answer. The connection stays.
func ask(t *testing.T, c net.Conn, request string) (status int, body string) {
	t.Helper()
	go io.WriteString(c, request)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

func TestHealth(t *testing.T) {
	inBubble(t, func(t *testing.T, at pipes, ailing *error) {
		c := at.dial()
		defer c.Close()
		const request = "GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n"
		for _, fault := range []error{nil, errors.New("the disk is full"), nil} {
			*ailing = fault
			status, body := ask(t, c, request)
			if fault == nil && (status != 200 || body != "ok\n") || fault != nil && (status != 503 || body != fault.Error()+"\n") {
				t.Errorf("with %v the answer is %d %q", fault, status, body)
			}
		}
	})
}

func TestRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, at pipes, _ *error) {
		for _, c := range []struct {
			request string
			status  int
			body    string
		}{
			{"GET /metrics HTTP/1.1\r\nHost: box\r\n\r\n", 200, "\ngo_goroutines "},
			{"GET /metrics HTTP/1.0\r\n\r\n", 200, "\nprocess_resident_memory_bytes "},
			{"POST /metrics HTTP/1.1\r\nHost: box\r\nContent-Length: 0\r\n\r\n", 405, ""},
			{"GET / HTTP/1.1\r\nHost: box\r\n\r\n", 404, ""},
			{"GET /metrics/../healthz HTTP/1.1\r\nHost: box\r\n\r\n", 307, ""},
			{"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\r\n", 400, ""},
			{"GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: box\r\n\r\n", 431, ""},
			{"GET / HTTP/1.1\r\nHost: box\r\nCookie: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, ""},
		} {
			conn := at.dial()
			if status, body := ask(t, conn, c.request); status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("%.40q is answered %d %q, want %d with %q", c.request, status, body, c.status, c.body)
			}
			conn.Close()
		}
	})
}

// Who is slow to ask, or asks nothing more, is hung up on.
func TestTimeouts(t *testing.T) {
	inBubble(t, func(t *testing.T, at pipes, _ *error) {
		for _, c := range []struct {
			said string // before the silence
			most time.Duration
		}{
			{"", readTimeout},
			{"GET /healthz HTTP/1.1\r\nHost:", readTimeout},
			{"GET /healthz HTTP/1.1\r\nHost: box\r\nContent-Length: 5\r\n\r\n", readTimeout},
			{"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n", idleTimeout},
		} {
			conn := at.dial()
			begin := time.Now()
			go io.WriteString(conn, c.said)
			io.Copy(io.Discard, conn)
			if d := time.Since(begin); d > c.most+time.Second {
				t.Errorf("after %q the connection ends in %v, want %v", c.said, d, c.most)
			}
			conn.Close()
		}
		// Who does not read the answer, either.
		conn := at.dial()
		defer conn.Close()
		io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: box\r\n\r\n")
		time.Sleep(writeTimeout + time.Second)
		if text, err := io.ReadAll(conn); err != nil || len(text) > 0 {
			t.Errorf("%v after the request there is still %q to read, %v", writeTimeout, text, err)
		}
	})
}

// One connection too many waits for its turn.
func TestConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, at pipes, _ *error) {
		const request = "GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n"
		var all []net.Conn
		for range maxConns {
			c := at.dial()
			if status, _ := ask(t, c, request); status != 200 {
				t.Fatalf("answered %d", status)
			}
			all = append(all, c)
		}
		begin := time.Now()
		late := at.dial()
		if status, _ := ask(t, late, request); status != 200 {
			t.Errorf("answered %d", status)
		}
		if d := time.Since(begin); d == 0 || d > idleTimeout {
			t.Errorf("answered after %v, with %d connections before it", d, maxConns)
		}
		for _, c := range append(all, late) {
			c.Close()
		}
	})
}

// Close waits for what is under way as long as it may, and no longer.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := New(Config{Ready: func() error { <-release; return nil }, Log: slog.New(slog.DiscardHandler)})
		at := make(pipes)
		s.serve(at)
		c := at.dial()
		defer c.Close()
		answered := make(chan int, 1)
		go func() {
			status, _ := ask(t, c, "GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n")
			answered <- status
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { time.Sleep(time.Second); close(release) }()
		s.Close(ctx)
		if status := <-answered; status != 200 || ctx.Err() != nil {
			t.Errorf("what was under way is answered %d, %v", status, ctx.Err())
		}
	})
}
