package bridge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sluice/codec"
)

// mosquitto starts the server of that name if it is installed.
func mosquitto(t *testing.T) (addr string) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // often not in the PATH of users
		if _, err := os.Stat(path); err != nil {
			t.Skip("mosquitto is not installed")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %s 127.0.0.1\nallow_anonymous true\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 100 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

// TestMosquitto bridges to a server that nobody here wrote.
func TestMosquitto(t *testing.T) {
	addr := mosquitto(t)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cloud := newPeer(t, "client of the cloud", conn, codec.V5)
	cloud.send(&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("cloud")},
		&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("site7/#"), QoS: 2}}})
	<-cloud.got // CONNACK
	cloud.want("subscribed", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{2}})

	locals := make(chan net.Conn, 1)
	b, err := New(Config{
		Name: "cloud", ClientID: "site7", URL: &url.URL{Scheme: "mqtt", Host: addr},
		Up: []Rule{{Filter: "sensors/#", QoS: 2}}, Down: []Rule{{Filter: "cmd/#", QoS: 2}}, UpPrefix: "site7/", DownPrefix: "cloud/",
		Dial: func() io.ReadWriteCloser {
			ours, theirs := net.Pipe()
			locals <- theirs
			return ours
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.known = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	defer func() { cancel(); <-done }()

	local := newPeer(t, "gateway", <-locals, codec.V5)
	<-local.got // CONNECT
	local.send(&codec.Connack{SessionPresent: true, MaximumQoS: 2})
	up := publish(300, 2, "sensors/1", "21.5")
	up.User = []codec.UserProperty{{Name: []byte("unit"), Value: []byte("C")}}
	local.send(up)
	local.want("mosquitto has it", &codec.Pubrec{ID: 300})
	local.send(&codec.Pubrel{ID: 300})
	local.want("once", &codec.Pubcomp{ID: 300})
	up.ID, up.Topic = 1, []byte("site7/sensors/1")
	cloud.want("a reading arrives in the cloud", up)

	cloud.send(&codec.Pubrec{ID: 1}, publish(5, 2, "cmd/1", "open"))
	cloud.want("mosquitto has the command", &codec.Pubrel{ID: 1}, &codec.Pubrec{ID: 5})
	cloud.send(&codec.Pubcomp{ID: 1}, &codec.Pubrel{ID: 5})
	cloud.want("once", &codec.Pubcomp{ID: 5})
	local.want("a command arrives at the gateway", publish(1, 2, "cloud/cmd/1", "open"))
	local.send(&codec.Pubrec{ID: 1})
	local.want("once", &codec.Pubrel{ID: 1})
	local.send(&codec.Pubcomp{ID: 1})
	if st := b.Status(); !st.Connected || st.Version != codec.V5 || st.Up != 1 || st.Down != 1 || st.Refused != 0 {
		t.Errorf("Status() = %+v", st)
	}
}
