package transport

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

type echo struct{}

func (echo) Open(*Conn) {}
func (echo) Receive(c *Conn, b []byte) (int, error) {
	c.End(append(c.Begin(), b...))
	return len(b), nil
}
func (echo) Writable(*Conn)      {}
func (echo) Closed(*Conn, error) {}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(Config{}, echo{})
		a, b := net.Pipe()
		tr.Serve(b)
		a.Write([]byte("hello"))
		p := make([]byte, 5)
		if _, err := io.ReadFull(a, p); err != nil || string(p) != "hello" {
			t.Fatal(err)
		}
		a.Close()
		d := tr.Dial()
		d.Write([]byte("hello"))
		if _, err := io.ReadFull(d, p); err != nil || string(p) != "hello" {
			t.Fatal(err)
		}
		if err := tr.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}
