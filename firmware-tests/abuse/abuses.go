package abuse

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/firmware-tests/wire"
)

// Target is the gateway as abusers see it.
type Target struct {
	Addr, WS  string // MQTT over TCP, and over WebSocket at /mqtt
	MaxPacket int    // bytes, that the gateway takes
}

// Abuse is a way to behave badly until ctx ends. An error says that the gateway did not
// stand it as it should.
type Abuse struct {
	Name string
	Do   func(ctx context.Context, at Target) error
}

// All are the ways there are.
var All = []Abuse{
	{"slow readers", slowReaders},
	{"answers that nobody reads", unreadAnswers},
	{"segments of one byte", tinySegments},
	{"10,000 WebSocket frames of one byte", tinyFrames},
	{"topics of 65,000 levels", deepTopics},
	{"packets as large as allowed", largePackets},
	{"packets of 256 MB, declared", hugePackets},
	{"everybody subscribed to #", everything},
}

// crowd has n clients that do the same at a time. A client's connection is cut when ctx
// ends, and then its errors mean nothing.
func crowd(ctx context.Context, n int, addr string, each func(i int, c *client) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c, err := join(addr, fmt.Sprintf("abuser%d", i), wire.V311+byte(i%2))
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if err := each(i, c); err != nil && ctx.Err() == nil {
				errs[i] = fmt.Errorf("abuser %d: %w", i, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// rest waits, and says false if that was interrupted.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// slowReaders take nothing of a flood that they have subscribed to.
func slowReaders(ctx context.Context, at Target) error {
	const flood = "abuse/flood"
	return crowd(ctx, 65, at.Addr, func(i int, c *client) error {
		if i > 0 {
			if err := c.subscribe(byte(i%2), flood); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}
		go swallow(c)
		m := wire.Publish{Topic: flood, QoS: 1, Payload: strings.Repeat("x", 1<<10)}
		for rest(ctx, time.Millisecond) {
			m.ID = m.ID%500 + 1
			if _, err := c.Write(m.Bytes(c.version)); err != nil {
				return err
			}
		}
		return nil
	})
}

// unreadAnswers are to questions asked until the gateway hears no more.
func unreadAnswers(ctx context.Context, at Target) error {
	questions := bytes.Repeat(wire.Pingreq(), 16<<10)
	return crowd(ctx, 16, at.Addr, func(_ int, c *client) error {
		for {
			if _, err := c.Write(questions); err != nil {
				return err
			}
		}
	})
}

// tinySegments have a byte each.
func tinySegments(ctx context.Context, at Target) error {
	return crowd(ctx, 20, at.Addr, func(_ int, c *client) error {
		go swallow(c)
		packet := wire.Publish{Topic: "abuse/tiny", QoS: 1, ID: 1, Payload: "0123456789"}.Bytes(c.version)
		for at := 0; rest(ctx, time.Millisecond); at++ {
			if _, err := c.Write(packet[at%len(packet):][:1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// tinyFrames are 10,000 in one go, a byte of a packet in each, and a ping behind each.
func tinyFrames(ctx context.Context, at Target) error {
	const frames = 10_000
	packet := wire.Pingreq()
	var burst []byte
	for i := range frames {
		burst = appendFrame(burst, 0x82, packet[i%len(packet)])
		burst = appendFrame(burst, 0x89)
	}
	var all sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		all.Go(func() {
			c, in, err := upgrade(at.WS)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			connect := wire.Connect{Version: wire.V5, ID: fmt.Sprintf("frames%d", i), Clean: true}.Bytes()
			_, err = c.Write(appendFrame(nil, 0x82, connect...))
			for err == nil && rest(ctx, 20*time.Millisecond) {
				if _, err = c.Write(burst); err == nil {
					err = countAnswers(in, frames/len(packet))
				}
			}
			if err != nil && ctx.Err() == nil {
				errs[i] = fmt.Errorf("after tiny frames: %w", err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// appendFrame appends a masked frame with up to 125 bytes of payload.
func appendFrame(b []byte, first byte, payload ...byte) []byte {
	return append(append(b, first, 0x80|byte(len(payload)), 0, 0, 0, 0), payload...)
}

// upgrade connects to a WebSocket.
func upgrade(addr string) (net.Conn, *bufio.Reader, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(c, "GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", addr, "dGhlIHNhbXBsZSBub25jZQ==")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, in, nil
}

// countAnswers reads frames until n PINGRESP have come.
func countAnswers(in *bufio.Reader, n int) error {
	for n > 0 {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		payload := make([]byte, head[1])
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		if head[0] == 0x82 && len(payload) == 2 && payload[0] == wire.PINGRESP<<4 {
			n--
		}
	}
	return nil
}

// deepTopics are subscribed to and published to: slashes, and wildcards, as many as fit. They
// are refused, which 3.1.1 has no word for where it publishes: it is cut off, and comes again.
func deepTopics(ctx context.Context, at Target) error {
	const longest = 65_000 // bytes that the gateway takes
	slashes := strings.Repeat("/", longest)
	filters := []string{slashes, "$share/g/" + slashes[:longest-9], strings.Repeat("+/", longest/2-1) + "#", "a" + strings.Repeat("/+", longest/2-1)}
	for ctx.Err() == nil {
		err := crowd(ctx, 2, at.Addr, func(_ int, c *client) error {
			no, none := byte(0x80), byte(0)
			if c.version == wire.V5 {
				no, none = 0x8F, 0x11
			}
			c.Write(wire.Bytes(
				wire.Publish{Topic: slashes, Retain: true, Payload: "deep"}.Bytes(c.version),
				wire.Subscribe(c.version, 1, 1, filters...),
				wire.Unsubscribe(c.version, 2, filters...),
			))
			if err := errors.Join(c.refused(wire.SUBACK, no), c.refused(wire.UNSUBACK, none)); err != nil {
				return err
			}
			c.Write(wire.Publish{Topic: slashes, QoS: 1, ID: 3, Payload: "deep"}.Bytes(c.version))
			if c.version != wire.V5 {
				return c.cutOff()
			}
			c.Write(wire.Publish{Topic: slashes, QoS: 2, ID: 4, Payload: "deep"}.Bytes(c.version))
			return errors.Join(c.refused(wire.PUBACK, 0x90), c.refused(wire.PUBREC, 0x90))
		})
		if err != nil {
			return err
		}
		rest(ctx, 17*time.Millisecond)
	}
	return nil
}

// refused wants an answer of a kind, and that code for all.
func (c *client) refused(kind, code byte) error {
	c.SetReadDeadline(time.Now().Add(patience))
	p, err := c.next()
	switch {
	case err != nil:
		return err
	case p.Type != kind || slices.ContainsFunc(p.Codes, func(got byte) bool { return got != code }):
		return fmt.Errorf("%v for a topic of 65,000 levels", p)
	}
	return nil
}

// cutOff wants the connection to end.
func (c *client) cutOff() error {
	c.SetReadDeadline(time.Now().Add(patience))
	p, err := c.next()
	ne := net.Error(nil)
	if err == nil || errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("%v, and no end of the connection", p)
	}
	return nil
}

// largePackets are as large as the gateway allows: a few whole ones go to a subscriber,
// and more stop just before their end.
func largePackets(ctx context.Context, at Target) error {
	const topic = "abuse/large"
	large := wire.Publish{Topic: topic, QoS: 1, ID: 1, Payload: strings.Repeat("x", at.MaxPacket-64)}
	return crowd(ctx, 24, at.Addr, func(i int, c *client) error {
		packet := large.Bytes(c.version)
		switch {
		case i == 0:
			if err := c.subscribe(1, topic); err != nil {
				return err
			}
			for {
				p, err := c.next()
				if err != nil {
					return err
				}
				if _, err := c.Write(wire.Ack(wire.PUBACK, p.ID)); err != nil {
					return err
				}
			}
		case i < 4:
			for rest(ctx, 100*time.Millisecond) {
				if _, err := c.Write(packet); err != nil {
					return err
				}
				if p, err := c.next(); err != nil || p.Type != wire.PUBACK {
					return fmt.Errorf("%v for a packet as large as allowed: %w", p, err)
				}
			}
			return nil
		}
		if _, err := c.Write(packet[:len(packet)-1]); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
}

// hugePackets declare 256 MB, which is more than the gateway allows: it hangs up.
func hugePackets(ctx context.Context, at Target) error {
	junk := make([]byte, 64<<10)
	rand.Read(junk)
	for ctx.Err() == nil {
		err := crowd(ctx, 8, at.Addr, func(_ int, c *client) error {
			c.Write(wire.Bytes(wire.PUBLISH<<4, wire.VBI(1<<28-1), wire.Str("abuse/huge"), junk))
			c.SetReadDeadline(time.Now().Add(patience))
			for {
				p, err := c.next()
				ne := net.Error(nil)
				switch {
				case errors.As(err, &ne) && ne.Timeout():
					return errors.New("256 MB were declared, and it listens on")
				case err != nil:
					return nil
				case p.Type != wire.DISCONNECT || p.Code() != 0x95:
					return fmt.Errorf("%v for 256 MB", p)
				}
			}
		})
		if err != nil {
			return err
		}
		rest(ctx, 10*time.Millisecond)
	}
	return nil
}

// everything is what many subscribe to, and read.
func everything(ctx context.Context, at Target) error {
	return crowd(ctx, 50, at.Addr, func(_ int, c *client) error {
		if err := c.subscribe(0, "#"); err != nil {
			return err
		}
		swallow(c)
		return nil
	})
}
