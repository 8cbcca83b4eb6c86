package snclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/codec/sn"
)

// gateway is the other side, played by the test.
type gateway struct {
	t    *testing.T
	conn net.Conn
	dec  sn.Decoder
	buf  [2048]byte
}

// dialogue plays a client's doings against a test that is its gateway, in fake time.
// The client's end has to be as wanted.
func dialogue(t *testing.T, config Config, client func(context.Context, *Client) error, play func(*gateway), want error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		config.Retry, config.Retries = 10*time.Second, 4
		c := New(near, config)
		done := make(chan error, 1)
		go func() { done <- client(t.Context(), c) }()
		g := &gateway{t: t, conn: far}
		play(g)
		go g.ignore() // what comes after the play
		if err := <-done; !errors.Is(err, want) {
			t.Errorf("the client ended with %v, want %v", err, want)
		}
		c.Close()
		far.Close()
	})
}

func (g *gateway) ignore() {
	for {
		if _, err := g.conn.Read(g.buf[:]); err != nil {
			return
		}
	}
}

// want is what the client sends next, within time.
func (g *gateway) want(sentence string, want sn.Message) {
	g.t.Helper()
	g.conn.SetReadDeadline(time.Now().Add(time.Hour))
	n, err := g.conn.Read(g.buf[:])
	if err != nil {
		g.t.Fatalf("%s: %v", sentence, err)
	}
	m, err := g.dec.Decode(g.buf[:n])
	if err != nil || !reflect.DeepEqual(m, want) {
		g.t.Fatalf("%s: got %#v, %v; want %#v", sentence, m, err, want)
	}
}

// wantIdle is that the client says nothing for so long.
func (g *gateway) wantIdle(sentence string, d time.Duration) {
	g.t.Helper()
	g.conn.SetReadDeadline(time.Now().Add(d))
	if n, err := g.conn.Read(g.buf[:]); err == nil {
		g.t.Fatalf("%s: got % x", sentence, g.buf[:n])
	}
}

func (g *gateway) send(messages ...sn.Message) {
	for _, m := range messages {
		g.conn.Write(m.Append(nil))
		synctest.Wait()
	}
}

var connect = &sn.Connect{ProtocolID: 1, Duration: 60, ClientID: []byte("dev")}

func TestConnectWithWill(t *testing.T) {
	config := Config{ClientID: "dev", KeepAlive: time.Minute, Will: &Will{Topic: "w", Data: []byte("gone"), QoS: 1, Retain: true}}
	dialogue(t, config, func(ctx context.Context, c *Client) error { return c.Connect(ctx) }, func(g *gateway) {
		connect := *connect
		connect.Will = true
		topic := &sn.WillTopic{QoS: 1, Retain: true, Topic: []byte("w")}
		message := &sn.WillMessage{Message: []byte("gone")}
		g.want("it connects", &connect)
		g.wantIdle("it waits for T_RETRY", 10*time.Second-1)
		g.want("it connects again", &connect)
		g.send(&sn.WillTopicRequest{})
		g.want("it sends the topic of its Will", topic)
		g.want("it sends it again when nothing comes", topic)
		g.send(&sn.WillMessageRequest{})
		g.want("it sends the message of its Will", message)
		g.send(&sn.WillTopicRequest{}) // the second CONNECT came late
		g.want("it begins again", topic)
		g.send(&sn.WillMessageRequest{})
		g.want("it sends the message again", message)
		g.send(&sn.Connack{})
	}, nil)
}

func TestConnectRefused(t *testing.T) {
	dialogue(t, Config{ClientID: "dev", KeepAlive: time.Minute}, func(ctx context.Context, c *Client) error {
		err := c.Connect(ctx)
		if err == nil || !strings.Contains(err.Error(), "the connection: congestion: it is busy") {
			t.Errorf("refused with %v", err)
		}
		return nil
	}, func(g *gateway) {
		g.want("it connects", connect)
		g.send(&sn.Connack{Code: sn.Congestion})
	}, nil)
}

// T_RETRY and N_RETRY to the instant.
func TestSilence(t *testing.T) {
	dialogue(t, Config{ClientID: "dev", KeepAlive: time.Minute}, func(ctx context.Context, c *Client) error {
		start := time.Now()
		err := c.Connect(ctx)
		if got := time.Since(start); got != 50*time.Second {
			t.Errorf("it gave up after %v, want 50s", got)
		}
		return err
	}, func(g *gateway) {
		for i := range 5 {
			g.want(fmt.Sprint("it connects, time ", i), connect)
			g.conn.Write([]byte{9, 9}) // what is malformed is not there
		}
		g.wantIdle("it has given up", time.Minute)
	}, ErrSilent)
}

func TestPublish(t *testing.T) {
	topic := Topic{Name: "a/b"}
	dialogue(t, Config{}, func(ctx context.Context, c *Client) error {
		for qos := range int8(3) {
			if err := c.Publish(ctx, &Message{Topic: topic, QoS: qos, Data: []byte("x")}); err != nil {
				return err
			}
		}
		if err := c.Publish(ctx, &Message{Topic: Topic{Type: sn.ShortTopic, Name: "tt"}, QoS: -1, Retain: true}); err != nil {
			return err
		}
		return c.Publish(ctx, &Message{Topic: Topic{Type: sn.PredefinedTopic, ID: 3}, QoS: 1})
	}, func(g *gateway) {
		g.want("it registers", &sn.Register{MessageID: 1, Topic: []byte("a/b")})
		g.want("it registers again", &sn.Register{MessageID: 1, Topic: []byte("a/b")})
		g.send(&sn.Regack{TopicID: 9, MessageID: 7}) // another's
		g.send(&sn.Regack{TopicID: 5, MessageID: 1})
		g.want("it publishes at QoS 0", &sn.Publish{TopicID: 5, Data: []byte("x")})
		g.want("it publishes at QoS 1", &sn.Publish{QoS: 1, TopicID: 5, MessageID: 2, Data: []byte("x")})
		g.want("it publishes again", &sn.Publish{Dup: true, QoS: 1, TopicID: 5, MessageID: 2, Data: []byte("x")})
		g.send(&sn.Puback{TopicID: 5, MessageID: 2, Code: sn.InvalidTopicID})
		g.want("it registers the topic that was forgotten", &sn.Register{MessageID: 3, Topic: []byte("a/b")})
		g.send(&sn.Regack{TopicID: 6, MessageID: 3})
		g.want("it publishes with the new id", &sn.Publish{QoS: 1, TopicID: 6, MessageID: 4, Data: []byte("x")})
		g.send(&sn.Puback{TopicID: 6, MessageID: 4})
		g.want("it publishes at QoS 2", &sn.Publish{QoS: 2, TopicID: 6, MessageID: 5, Data: []byte("x")})
		g.send(&sn.Pubrec{MessageID: 5})
		g.want("it releases", &sn.Pubrel{MessageID: 5})
		g.want("it releases again", &sn.Pubrel{MessageID: 5})
		g.send(&sn.Pubrec{MessageID: 5}, &sn.Pubcomp{MessageID: 5})
		g.want("it publishes at QoS -1", &sn.Publish{QoS: -1, Retain: true, TopicIDType: sn.ShortTopic, TopicID: 't'<<8 | 't', Data: []byte{}})
		g.want("it publishes to a predefined topic", &sn.Publish{QoS: 1, TopicIDType: sn.PredefinedTopic, TopicID: 3, MessageID: 6, Data: []byte{}})
		g.send(&sn.Puback{TopicID: 3, MessageID: 6})
	}, nil)
}

// A message at QoS 0 is refused behind one's back.
func TestRefusedAtQoS0(t *testing.T) {
	dialogue(t, Config{}, func(ctx context.Context, c *Client) error {
		c.Publish(ctx, &Message{Topic: Topic{Type: sn.PredefinedTopic, ID: 3}})
		if err := c.Ping(ctx); err != nil {
			return err
		}
		if err := c.Refused(); err == nil || !strings.Contains(err.Error(), "invalid topic id: predefined topics") {
			t.Errorf("refused: %v", err)
		}
		return nil
	}, func(g *gateway) {
		g.want("it publishes", &sn.Publish{TopicIDType: sn.PredefinedTopic, TopicID: 3, Data: []byte{}})
		g.want("it pings", &sn.Pingreq{ClientID: []byte{}})
		g.send(&sn.Puback{TopicID: 3, Code: sn.InvalidTopicID}, &sn.Pingresp{})
	}, nil)
}

// notes is a Take that writes down what it gets.
func notes(b *bytes.Buffer) func(*Message) error {
	return func(m *Message) error {
		fmt.Fprintf(b, "%v=%s@%d ", m.Topic, m.Data, m.QoS)
		return nil
	}
}

func TestSubscribe(t *testing.T) {
	var got bytes.Buffer
	dialogue(t, Config{KeepAlive: time.Minute, Take: notes(&got)}, func(ctx context.Context, c *Client) error {
		for _, topic := range []Topic{{Name: "a/b"}, {Name: "c/#"}, {Type: sn.ShortTopic, Name: "tt"}, {Type: sn.PredefinedTopic, ID: 3}} {
			if err := c.Subscribe(ctx, topic, 2); err != nil {
				return err
			}
		}
		_, _, err := Await(ctx, c, time.After(99*time.Second))
		return err
	}, func(g *gateway) {
		publish := func(qos int8, id, message uint16, data string) *sn.Publish {
			return &sn.Publish{QoS: qos, TopicID: id, MessageID: message, Data: []byte(data)}
		}
		g.want("it subscribes by name", &sn.Subscribe{QoS: 2, MessageID: 1, Topic: []byte("a/b")})
		g.want("it subscribes again", &sn.Subscribe{Dup: true, QoS: 2, MessageID: 1, Topic: []byte("a/b")})
		g.send(&sn.Suback{QoS: 2, TopicID: 5, MessageID: 1})
		g.want("it subscribes by a wildcard", &sn.Subscribe{QoS: 2, MessageID: 2, Topic: []byte("c/#")})
		g.send(&sn.Suback{QoS: 2, MessageID: 2})
		g.want("it subscribes by a short name", &sn.Subscribe{QoS: 2, TopicIDType: sn.ShortTopic, MessageID: 3, TopicID: 't'<<8 | 't'})
		g.send(publish(0, 5, 0, "early"), &sn.Suback{MessageID: 3})
		g.want("it subscribes by an id", &sn.Subscribe{QoS: 2, TopicIDType: sn.PredefinedTopic, MessageID: 4, TopicID: 3})
		g.send(&sn.Suback{TopicID: 3, MessageID: 4})

		g.send(publish(1, 6, 7, "unknown"))
		g.want("it does not know the topic", &sn.Puback{TopicID: 6, MessageID: 7, Code: sn.InvalidTopicID})
		g.send(&sn.Register{TopicID: 6, MessageID: 8, Topic: []byte("c/d")})
		g.want("it notes the topic", &sn.Regack{TopicID: 6, MessageID: 8})
		g.send(publish(1, 6, 7, "one"))
		g.want("it acknowledges", &sn.Puback{TopicID: 6, MessageID: 7})
		for range 2 {
			g.send(publish(2, 5, 9, "two"))
			g.want("it has received", &sn.Pubrec{MessageID: 9})
		}
		for range 2 {
			g.send(&sn.Pubrel{MessageID: 9})
			g.want("it is done", &sn.Pubcomp{MessageID: 9})
		}
		g.send(publish(2, 5, 9, "two"))
		g.want("a late copy is acknowledged", &sn.Pubrec{MessageID: 9})
		g.wantIdle("T_RETRY is over", 10*time.Second)
		g.send(publish(2, 5, 9, "three"))
		g.want("it has received another message", &sn.Pubrec{MessageID: 9})
		g.send(&sn.Publish{TopicIDType: sn.ShortTopic, TopicID: 't'<<8 | 't', Data: []byte("four")})
		g.send(&sn.Publish{TopicIDType: sn.PredefinedTopic, TopicID: 3, Data: []byte("five")})
		g.send(&sn.Pingreq{})
		g.want("it is there", &sn.Pingresp{})

		g.wantIdle("it keeps quiet", 45*time.Second-1)
		g.want("it shows that it is there", &sn.Pingreq{ClientID: []byte{}})
		g.send(&sn.Pingresp{})
		g.wantIdle("it keeps quiet", 44*time.Second)
		if want := "a/b=early@0 c/d=one@1 a/b=two@2 a/b=three@2 tt=four@0 predefined:3=five@0 "; got.String() != want {
			t.Errorf("taken: %s\nwant: %s", &got, want)
		}
	}, nil)
}

func TestGatewayDisconnects(t *testing.T) {
	dialogue(t, Config{}, func(ctx context.Context, c *Client) error { return c.Ping(ctx) }, func(g *gateway) {
		g.want("it pings", &sn.Pingreq{ClientID: []byte{}})
		g.send(&sn.Disconnect{})
	}, ErrDisconnected)
}

// A client that sleeps is deaf until it wakes; a long flush is no silence.
func TestSleep(t *testing.T) {
	var got bytes.Buffer
	config := Config{ClientID: "dev", KeepAlive: time.Minute, Take: notes(&got)}
	dialogue(t, config, func(ctx context.Context, c *Client) error {
		if err := c.Sleep(ctx, 300*time.Second); err != nil {
			return err
		}
		if _, _, err := Await(ctx, c, time.After(225*time.Second)); err != nil {
			return err
		}
		if err := c.Wake(ctx); err != nil {
			return err
		}
		c.Disconnect()
		return nil
	}, func(g *gateway) {
		g.want("it goes to sleep", &sn.Disconnect{Duration: 300, HasDuration: true})
		g.send(&sn.Disconnect{})
		g.send(&sn.Register{TopicID: 6, MessageID: 8, Topic: []byte("unheard")}, &sn.Disconnect{})
		g.wantIdle("it sleeps", 225*time.Second-1)
		wake := &sn.Pingreq{ClientID: []byte("dev")}
		g.want("it wakes", wake)
		for i := range 20 {
			g.send(&sn.Register{TopicID: uint16(i + 1), MessageID: 8, Topic: []byte("a")})
			g.want("it notes the topic", &sn.Regack{TopicID: uint16(i + 1), MessageID: 8})
			g.want("it has not got all yet", wake)
		}
		g.send(&sn.Publish{TopicID: 20, Data: []byte("x")}, &sn.Pingresp{})
		g.want("it takes leave", &sn.Disconnect{})
		if got.String() != "a=x@0 " {
			t.Errorf("taken: %s", &got)
		}
	}, nil)
}

// The network may bring the answer to DISCONNECT twice, the second time when the client is
// awake.
func TestLateDisconnect(t *testing.T) {
	dialogue(t, Config{ClientID: "dev"}, func(ctx context.Context, c *Client) error {
		if err := c.Sleep(ctx, time.Minute); err != nil {
			return err
		}
		for range 2 {
			if err := c.Wake(ctx); err != nil {
				return err
			}
		}
		return nil
	}, func(g *gateway) {
		wake := &sn.Pingreq{ClientID: []byte("dev")}
		g.want("it goes to sleep", &sn.Disconnect{Duration: 60, HasDuration: true})
		g.send(&sn.Disconnect{})
		g.want("it wakes", wake)
		g.send(&sn.Disconnect{}, &sn.Pingresp{})
		g.want("it wakes", wake)
		g.want("it wakes again", wake)
		g.send(&sn.Disconnect{}) // this one is no copy
	}, ErrDisconnected)
}

func TestInterrupted(t *testing.T) {
	interrupted := errors.New("interrupted")
	dialogue(t, Config{}, func(ctx context.Context, c *Client) error {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { cancel(interrupted) })
		return c.Ping(ctx)
	}, func(g *gateway) { g.want("it pings", &sn.Pingreq{ClientID: []byte{}}) }, interrupted)
}

// Nobody listens: over UDP the system says so. That a gateway starts again later is
// seen once it has been there.
func TestNobodyListens(t *testing.T) {
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.Dial("udp", far.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	addr := far.LocalAddr().String()
	far.Close()
	c := New(near, Config{ClientID: "dev", Retry: 20 * time.Millisecond, Retries: 1000})
	defer c.Close()
	if err := c.Connect(t.Context()); err != ErrRefused {
		t.Fatalf("connected with %v, want %v", err, ErrRefused)
	}
	c.accepted = true
	done := make(chan error)
	go func() { done <- c.Ping(t.Context()) }()
	time.Sleep(100 * time.Millisecond)
	if far, err = net.ListenPacket("udp", addr); err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	_, from, err := far.ReadFrom(make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	far.WriteTo((&sn.Pingresp{}).Append(nil), from)
	if err := <-done; err != nil {
		t.Errorf("the gateway that started again is not seen: %v", err)
	}
}
