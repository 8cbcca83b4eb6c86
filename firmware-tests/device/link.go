package device

import (
	"errors"
	"fmt"
	"net"
	"time"

	"sluice/codec"
)

const (
	dialLimit    = 2 * time.Second
	connackLimit = 15 * time.Second
	keepAlive    = 60 // seconds; well above the silence of any test
	forever      = 0xffffffff
)

// link is one network connection to an MQTT server. One goroutine may call next
// while another sends.
type link struct {
	// Set once by dial.
	nc      net.Conn
	version codec.Version

	// Owned by the reader.
	decoder codec.Decoder
	in      []byte // received, from taken on not yet decoded
	taken   int

	// Owned by whoever sends.
	out []byte
}

// dial connects and waits for CONNACK. The session is resumed if the server
// has it.
func dial(addr, clientID string, v codec.Version) (*link, *codec.Connack, error) {
	nc, err := net.DialTimeout("tcp", addr, dialLimit)
	if err != nil {
		return nil, nil, err
	}
	l := &link{nc: nc, version: v, decoder: codec.Decoder{FromServer: true}}
	connect := &codec.Connect{Version: v, ClientID: []byte(clientID), KeepAlive: keepAlive}
	if v == codec.V5 {
		connect.SessionExpiry = forever
	}
	l.send(connect)
	_ = nc.SetReadDeadline(time.Now().Add(connackLimit))
	err = l.flush()
	var p codec.Packet
	if err == nil {
		p, err = l.next()
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("await CONNACK: %w", err)
	}
	connack, ok := p.(*codec.Connack)
	if !ok || connack.Code != codec.Success {
		nc.Close()
		return nil, nil, fmt.Errorf("refused: %+v", p)
	}
	_ = nc.SetReadDeadline(time.Time{})
	return l, connack, nil
}

// next waits for a packet. It is valid until the next call.
func (l *link) next() (codec.Packet, error) {
	for {
		p, n, err := l.decoder.Next(l.in[l.taken:], l.version, 0)
		if err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		if n > 0 {
			l.taken += n
			return p, nil
		}
		l.in = append(l.in[:0], l.in[l.taken:]...)
		l.taken = 0
		if cap(l.in)-len(l.in) < 4096 {
			l.in = append(make([]byte, 0, 2*cap(l.in)+16384), l.in...)
		}
		read, err := l.nc.Read(l.in[len(l.in):cap(l.in)])
		if err != nil {
			return nil, err
		}
		l.in = l.in[:len(l.in)+read]
	}
}

// more says whether next has another packet without waiting for the peer.
func (l *link) more() bool {
	rest := l.in[l.taken:]
	n, err := codec.PacketLen(rest)
	return err != nil || n > 0 && n <= len(rest)
}

// send encodes a packet. It leaves with the next flush.
func (l *link) send(p codec.Packet) { l.out = p.Append(l.out, l.version) }

// flush writes what was sent.
func (l *link) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_ = l.nc.SetWriteDeadline(time.Now().Add(connackLimit))
	_, err := l.nc.Write(l.out)
	l.out = l.out[:0]
	return err
}

func (l *link) close() { l.nc.Close() }

var errUnexpected = errors.New("a packet that no server may send here")

// Visit connects once and leaves a session behind. It says whether one was there
// before.
func Visit(addr, clientID string, v codec.Version) (sessionPresent bool, err error) {
	l, connack, err := dial(addr, clientID, v)
	if err != nil {
		return false, err
	}
	defer l.close()
	l.send(&codec.Disconnect{})
	return connack.SessionPresent, l.flush()
}
