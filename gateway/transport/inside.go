package transport

import (
	"io"
	"sync"
)

// inside drives a Conn by the calls of the client at its other end.
type inside struct {
	Conn

	writer sync.Mutex // one Write at a time; comes before serial
	serial sync.Mutex // held during callbacks; comes before the handler's locks

	// Guarded by Conn.mu.
	changed sync.Cond
	head    *buffer // taken from the output, being read
	hungUp  bool    // the end was closed
	ending  bool    // finish runs
}

// Dial opens a connection from inside the process, and returns the client's
// end of it.
//
// Read waits for output of the Conn; it returns io.EOF when that is closed and
// its output has been read, io.ErrClosedPipe after Close. Write hands its bytes
// to Receive in the goroutine of the caller, and waits while the Conn is
// paused, so that nothing piles up in between; it returns io.ErrClosedPipe when
// either end is closed, and the error of Receive if that refused the bytes.
// Read and Write may be called at the same time. Close does not wait for the
// callback Closed. On a Transport that is closed, Dial returns a closed end.
func (t *Transport) Dial() io.ReadWriteCloser {
	c := &inside{Conn: Conn{t: t, wire: wireInside}}
	c.driver = c
	c.changed.L = &c.mu
	c.serial.Lock()
	defer c.serial.Unlock()
	if t.enter(c) {
		t.handler.Open(&c.Conn)
		t.wg.Done() // no goroutine is running yet
	} else {
		c.closing, c.closed = true, true
	}
	return &end{c}
}

func (c *inside) poke() {
	c.changed.Broadcast()
	if c.closing && !c.ending {
		c.ending = true
		c.t.wg.Add(1)
		go c.finish()
	}
}

func (c *inside) kill() {}

// finish calls Closed; what output is left can still be read.
func (c *inside) finish() {
	defer c.t.wg.Done()
	c.serial.Lock()
	c.mu.Lock()
	c.closed = true
	cause := c.cause
	c.mu.Unlock()
	c.t.handler.Closed(&c.Conn, cause)
	c.serial.Unlock()
	c.t.exit(c)
}

// end is the client's.
type end struct{ c *inside }

func (e *end) Read(p []byte) (int, error) {
	c := e.c
	c.mu.Lock()
	for c.head == nil && !c.hungUp {
		if c.head = c.take(); c.head != nil {
			break
		}
		if c.closing {
			c.mu.Unlock()
			return 0, io.EOF
		}
		c.changed.Wait()
	}
	if c.hungUp {
		c.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	n := copy(p, c.head.rest())
	c.head.off += n
	if len(c.head.rest()) == 0 {
		c.head.free()
		c.head = nil
	}
	writable := c.sent(n)
	c.mu.Unlock()
	if writable {
		c.call(func() error { c.t.handler.Writable(&c.Conn); return nil })
	}
	return n, nil
}

func (e *end) Write(p []byte) (int, error) {
	c := e.c
	c.writer.Lock()
	defer c.writer.Unlock()
	if !c.ready() {
		return 0, io.ErrClosedPipe
	}
	if err := c.call(func() error { return c.input(p) }); err != nil {
		return 0, err
	}
	if !c.ready() {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func (e *end) Close() error {
	c := e.c
	c.mu.Lock()
	c.hungUp = true
	c.discard()
	c.shutLocked(io.EOF)
	c.changed.Broadcast()
	c.mu.Unlock()
	return nil
}

// ready waits while the Conn is paused; false means that it is over.
func (c *inside) ready() bool {
	for {
		c.mu.Lock()
		for c.paused && !c.closing {
			c.changed.Wait()
		}
		again, closing := c.again, c.closing
		c.again = false
		c.mu.Unlock()
		if closing {
			return false
		}
		if !again {
			return true
		}
		if c.call(func() error { return c.input(nil) }) != nil {
			return false
		}
	}
}

// call runs a callback, unless the Conn is closed.
func (c *inside) call(f func() error) error {
	c.serial.Lock()
	defer c.serial.Unlock()
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	if closing {
		return io.ErrClosedPipe
	}
	err := f()
	if err != nil {
		c.shut(err)
	}
	return err
}
