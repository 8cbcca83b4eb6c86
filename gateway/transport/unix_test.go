package transport

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	tr := start(t, Config{}, &recorder{receive: echo})
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Listen("unix", path, nil); err == nil {
		t.Fatal("a file was replaced")
	}
	os.Remove(path)

	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Listen("unix", path, nil); err == nil {
		t.Fatal("the socket of another was taken")
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close() // as a process that died
	if _, err := tr.Listen("unix", path, nil); err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	want(t, "echo", c, []byte("x"))

	tr.StopAccepting()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
