package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// scripted is a server that answers each connection with ack and what says, in pieces
// that follow what the client sends, then with PINGRESP if that is asked for. It tells
// all that it heard when the client has gone.
func scripted(t *testing.T, ack codec.Connack, says ...[]byte) (url string, heard <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	all := make(chan []byte, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var got []byte
			chunk := make([]byte, 4096)
			for _, b := range append([][]byte{ack.Append(nil, codec.V5)}, says...) {
				n, _ := conn.Read(chunk)
				got = append(got, chunk[:n]...)
				conn.Write(b)
			}
			for n, err := 0, error(nil); err == nil; {
				if n, err = conn.Read(chunk); bytes.HasSuffix(chunk[:n], bytes5(&codec.Pingreq{})) {
					conn.Write(bytes5(&codec.Pingresp{}))
				}
				got = append(got, chunk[:n]...)
			}
			conn.Close()
			all <- got
		}
	}()
	return "mqtt://" + l.Addr().String(), all
}

func bytes5(packets ...codec.Packet) (b []byte) {
	for _, p := range packets {
		b = p.Append(b, codec.V5)
	}
	return b
}

func message5(id uint16, qos byte, payload string) *codec.Publish {
	return &codec.Publish{ID: id, Message: codec.Message{Topic: []byte("a"), Payload: []byte(payload), QoS: qos}}
}

// A server that breaks a rule is left, and told why. What it says of itself binds.
func TestClientRules(t *testing.T) {
	aliased := message5(0, 0, "x")
	aliased.TopicAlias = 1
	for name, c := range map[string]struct {
		ack  codec.Connack
		says []byte
		line string
		code int
		out  string // printed
		errs string // complained of
		told []byte // to the server
	}{
		"second CONNACK": {says: bytes5(&codec.Connack{MaximumQoS: 2}), line: "sub -t a", code: exitFailed,
			errs: "second CONNACK", told: bytes5(&codec.Disconnect{Code: codec.ProtocolError})},
		"alias": {says: bytes5(aliased), line: "sub -t a", code: exitFailed,
			errs: "topic alias", told: bytes5(&codec.Disconnect{Code: codec.TopicAliasInvalid})},
		"malformed": {says: []byte{0x36, 0}, line: "pub -t a -m x -q 1", code: exitFailed,
			errs: "QoS 3", told: bytes5(&codec.Disconnect{Code: codec.MalformedPacket})},
		"strange session":   {ack: codec.Connack{SessionPresent: true}, line: "pub -t a -m x", code: exitFailed, errs: "was to be new"},
		"no retained":       {ack: codec.Connack{NoRetain: true}, line: "pub -t a -m x -r", code: exitFailed, errs: "retains no messages"},
		"no wildcards":      {ack: codec.Connack{NoWildcard: true}, line: "sub -t b/#", code: exitFailed, errs: "no wildcards"},
		"no shared":         {ack: codec.Connack{NoShared: true}, line: "sub -t $share/g/a", code: exitFailed, errs: "no shared"},
		"large filters":     {ack: codec.Connack{MaximumPacketSize: 20}, line: "sub -t a/b/c -t d/e/f", code: exitFailed, errs: "takes 20"},
		"server keep-alive": {ack: codec.Connack{HasServerKeepAlive: true, ServerKeepAlive: 1}, line: "sub -t a -W 1", told: bytes5(&codec.Pingreq{}, &codec.Disconnect{})},
		"twice at QoS 2": {says: bytes5(message5(7, 2, "x"), message5(7, 2, "x"), &codec.Pubrel{ID: 7}, &codec.Pubrel{ID: 7}, message5(7, 2, "y")),
			line: "sub -t a -q 2 -C 2", out: "x\ny\n",
			told: bytes5(&codec.Pubrec{ID: 7}, &codec.Pubrec{ID: 7}, &codec.Pubcomp{ID: 7}, &codec.Pubcomp{ID: 7, Code: codec.PacketIdentifierNotFound}, &codec.Pubrec{ID: 7}, &codec.Disconnect{})},
		"another's SUBACK": {says: bytes5(&codec.Suback{ID: 9, Codes: []codec.ReasonCode{codec.NotAuthorized}}, message5(0, 0, "x")),
			line: "sub -t a -C 1", out: "x\n"},
		"message to pub": {says: bytes5(message5(7, 1, "x"), message5(8, 2, "x"), &codec.Pubrel{ID: 8}, &codec.Puback{ID: 1}),
			line: "pub -t a -m x -q 1", told: bytes5(&codec.Puback{ID: 7}, &codec.Pubrec{ID: 8}, &codec.Pubcomp{ID: 8})},
		"release of nothing": {says: bytes5(&codec.Pubrec{ID: 9}, &codec.Puback{ID: 9}, &codec.Puback{ID: 1}, &codec.Puback{ID: 1}),
			line: "pub -t a -m x -q 1", told: bytes5(&codec.Pubrel{ID: 9, Code: codec.PacketIdentifierNotFound})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.ack.MaximumQoS = 2
			url, heard := scripted(t, c.ack, c.says)
			args := strings.Fields(c.line)
			code, out, errs := runCommand(t, nil, "", append([]string{args[0], "-url", url}, args[1:]...)...)
			if code != c.code || out != c.out || !strings.Contains(errs, c.errs) {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, c.code, c.out, c.errs)
			}
			if got := <-heard; !bytes.Contains(got, c.told) {
				t.Errorf("the server heard % x, want % x in it", got, c.told)
			}
		})
	}
}

// An identifier is free after the acknowledgement of its message, and not twice.
func TestAcknowledgedTwice(t *testing.T) {
	p := newPublisher(&client{receiveMaximum: 2}, time.Second)
	first := <-p.free
	p.inUse[first].Store(true)
	for range 2 {
		p.done(first, codec.Success, nil)
	}
	p.done(60000, codec.Success, nil)
	if len(p.free) != 2 {
		t.Errorf("%d identifiers are free, want 2", len(p.free))
	}
}

// pub that waits for input sees the end of the connection all the same.
func TestPubSeesTheEnd(t *testing.T) {
	url, _ := scripted(t, codec.Connack{MaximumQoS: 2}, bytes5(&codec.Disconnect{Code: codec.ServerShuttingDown}))
	in, input := io.Pipe()
	var errs bytes.Buffer
	done := make(chan int)
	go func() {
		done <- run(t.Context(), &command{args: []string{"pub", "-url", url, "-t", "a", "-l"}, stdin: in, stdout: io.Discard, stderr: &errs})
	}()
	io.WriteString(input, "x\n")
	if code := <-done; code != exitFailed || !strings.Contains(errs.String(), "shutting down") {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
	input.Close() // and lets go of who reads it
}

// Who interrupts pub does not wait for a server that does not read.
func TestInterruptedWhileSending(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 1024))
		conn.Write(bytes5(&codec.Connack{MaximumQoS: 2}))
		conn.Read(make([]byte, 1)) // the message has begun
		interrupt()
		<-t.Context().Done()
	}()
	var errs bytes.Buffer
	began := time.Now()
	code := run(ctx, &command{args: strings.Fields("pub -h " + l.Addr().String() + " -t a -s"),
		stdin: io.LimitReader(zeros{}, 64<<20), stdout: io.Discard, stderr: &errs})
	if took := time.Since(began); code != exitFailed || !strings.Contains(errs.String(), "interrupted") || took > 30*time.Second {
		t.Errorf("exit code %d after %v: %s", code, took, &errs)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
