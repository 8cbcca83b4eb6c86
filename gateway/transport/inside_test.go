package transport

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := make(chan *Conn, 1)
		cause := make(chan error, 1)
		tr := start(t, Config{}, &recorder{
			open:    func(c *Conn) { opened <- c },
			receive: packets,
			closed:  func(_ *Conn, err error) { cause <- err },
		})
		d := tr.Dial()
		c := <-opened
		if c.Wire() != "inside" || c.Remote() != "inside" {
			t.Errorf("wire %s, remote %s", c.Wire(), c.Remote())
		}
		p := packet([]byte("hello"))
		d.Write(p[:3])
		d.Write(p[3:])
		if c.Pending() != len(p) { // Write has called Receive itself
			t.Errorf("%d bytes pending", c.Pending())
		}
		want(t, "echo", d, p)

		go func() {
			time.Sleep(time.Minute)
			send(c, []byte("later"))
		}()
		want(t, "output that comes while Read waits", d, []byte("later"))

		go func() {
			time.Sleep(time.Minute)
			d.Close()
		}()
		if _, err := d.Read(make([]byte, 1)); err != io.ErrClosedPipe {
			t.Errorf("read while closed: %v", err)
		}
		if err := <-cause; err != io.EOF {
			t.Errorf("cause is %v", err)
		}
		if _, err := d.Write(p); err != io.ErrClosedPipe {
			t.Errorf("write after close: %v", err)
		}
	})
}

func TestDialPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := make(chan *Conn, 1)
		tr := start(t, Config{}, &recorder{open: func(c *Conn) { opened <- c }, receive: echo})
		d := tr.Dial()
		c := <-opened
		c.Pause()
		go func() {
			time.Sleep(time.Minute)
			c.Resume()
		}()
		before := time.Now()
		d.Write([]byte("x"))
		if time.Since(before) != time.Minute {
			t.Errorf("Write took %v", time.Since(before))
		}
		want(t, "echo", d, []byte("x"))

		c.Pause()
		go c.Close()
		if _, err := d.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Errorf("write to what closes while paused: %v", err)
		}
	})
}
