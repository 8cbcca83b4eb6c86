package transport

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipe serves one end of a net.Pipe in the bubble of the test.
func pipe(t *testing.T, r *recorder) (client net.Conn, tr *Transport) {
	r.t = t
	tr = New(Config{}, r)
	client, server := net.Pipe()
	tr.Serve(server)
	t.Cleanup(func() {
		client.Close()
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := r.live.Load(); n != 0 {
			t.Errorf("%d connections without Closed", n)
		}
	})
	return client, tr
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := make(chan string, 1)
		c, _ := pipe(t, &recorder{receive: packets, open: func(c *Conn) { wire <- c.Wire() + " " + c.Remote() }})
		if w := <-wire; w != "pipe pipe" {
			t.Errorf("wire and remote: %s", w)
		}
		for _, n := range []int{0, 1, 1000, 1 << 20} {
			p := packet(noise(n))
			go c.Write(p)
			want(t, "echo", c, p)
		}
	})
}

// Output gathered during Receive is one write; a peer that does not read does
// not keep the gateway from reading.
func TestPipeReadsWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c, _ := pipe(t, &recorder{receive: func(c *Conn, b []byte) (int, error) {
			send(c, b[:1])
			send(c, b[:1])
			n += len(b)
			return len(b), nil
		}})
		for range 10 {
			c.Write([]byte("x"))
			synctest.Wait()
		}
		if n != 10 {
			t.Errorf("%d bytes were read", n)
		}
		b := make([]byte, 100)
		if n, _ := c.Read(b); n != 2 {
			t.Errorf("the first write had %d bytes, want those of the first Receive", n)
		}
		if n, _ := c.Read(b); n != 18 {
			t.Errorf("the second write had %d bytes, want all that waited", n)
		}
	})
}

func TestPipeCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan time.Time, 1)
		c, _ := pipe(t, &recorder{
			receive: func(c *Conn, b []byte) (int, error) {
				send(c, []byte("not read"))
				c.Close()
				return len(b), nil
			},
			closed: func(*Conn, error) { closed <- time.Now() },
		})
		before := time.Now()
		c.Write([]byte("x"))
		if d := (<-closed).Sub(before); d != closeWait {
			t.Errorf("closed after %v, want %v", d, closeWait)
		}
		wantEnd(t, "after close", c)
	})
}

func TestPipePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := make(chan *Conn, 1)
		c, _ := pipe(t, &recorder{
			open:    func(c *Conn) { c.Pause(); opened <- c },
			receive: echo,
		})
		conn := <-opened
		go c.Write([]byte("x"))
		time.Sleep(time.Hour)
		conn.Resume()
		want(t, "echo after Resume", c, []byte("x"))

		conn.Pause()
		conn.Close() // a paused connection closes too
		wantEnd(t, "after close", c)
	})
}

func TestServeAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := pipe(t, &recorder{})
		tr.Close(context.Background())
		client, server := net.Pipe()
		tr.Serve(server)
		wantEnd(t, "a connection after Close", client)
		d := tr.Dial()
		wantEnd(t, "the end after Close", d)
		if _, err := d.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Errorf("write: %v", err)
		}
	})
}
