package gateway

import (
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

func TestConnack(t *testing.T) {
	cfg := Config{MaxInflight: 9, MaxPacketSize: 1000, MaxSessionExpiry: time.Minute}
	all := codec.Connack{MaximumQoS: 2, ReceiveMaximum: 9, MaximumPacketSize: 1000, TopicAliasMaximum: maxAliases}
	expiry := all
	expiry.HasSessionExpiry, expiry.SessionExpiry = true, 60
	response := all
	response.ResponseInfo = []byte("response/p")
	for name, c := range map[string]struct {
		ask  codec.Connect
		want codec.Connack
	}{
		"5.0":                  {codec.Connect{Version: codec.V5}, all},
		"a longer expiry":      {codec.Connect{Version: codec.V5, SessionExpiry: never}, expiry},
		"a shorter expiry":     {codec.Connect{Version: codec.V5, SessionExpiry: 59}, all},
		"response information": {codec.Connect{Version: codec.V5, RequestResponseInfo: true}, response},
		"no room for it":       {codec.Connect{Version: codec.V5, RequestResponseInfo: true, MaximumPacketSize: 30}, all},
		"3.1.1":                {codec.Connect{Version: codec.V311, CleanStart: true}, codec.Connack{MaximumQoS: 2}},
		"3.1":                  {codec.Connect{Version: codec.V31, CleanStart: true}, codec.Connack{MaximumQoS: 2}},
		"enhanced authentication": {codec.Connect{Version: codec.V5, AuthMethod: []byte("M")},
			codec.Connack{MaximumQoS: 2, Code: codec.BadAuthenticationMethod, ReasonString: []byte("no such authentication method")}},
		"without a reason for want of room": {codec.Connect{Version: codec.V5, AuthMethod: []byte("M"), MaximumPacketSize: 30},
			codec.Connack{MaximumQoS: 2, Code: codec.BadAuthenticationMethod}},
		"an identifier of the gateway's": {codec.Connect{Version: codec.V311, CleanStart: true, ClientID: []byte("$p")},
			codec.Connack{MaximumQoS: 2, Code: codec.ClientIdentifierNotValid}},
	} {
		inBubble(t, cfg, func(at *site) {
			p := at.dial("p", c.ask.Version)
			if c.ask.ClientID == nil {
				c.ask.ClientID = []byte("p")
			}
			p.send(&c.ask)
			p.want(name, &c.want)
		})
	}
}

// TestConnackFits connects clients that accept ever larger packets.
func TestConnackFits(t *testing.T) {
	inBubble(t, Config{MaxInflight: 9, MaxPacketSize: 1000, MaxKeepAlive: time.Minute}, func(at *site) {
		for size := uint32(1); size < 60; size++ {
			p := at.dial("", codec.V5) // the identifier that it gets needs room
			p.send(&codec.Connect{Version: codec.V5, MaximumPacketSize: size})
			if size < 5 {
				p.wantClosed("no room for any CONNACK")
				continue
			}
			ack, _ := p.next().(*codec.Connack)
			if ack == nil {
				t.Fatalf("no CONNACK to who accepts %d bytes", size)
			}
			n := uint32(len(ack.Append(nil, codec.V5)))
			if n > size || ack.Code != codec.Success && (ack.Code != codec.PacketTooLarge || size > 50) {
				t.Fatalf("%s of %d bytes to who accepts %d", show(ack), n, size)
			}
		}
	})
}

func TestEmptyClientIdentifier(t *testing.T) {
	for _, c := range []struct {
		v     codec.Version
		clean bool
		want  codec.ReasonCode
	}{
		{codec.V31, true, codec.ClientIdentifierNotValid},
		{codec.V311, true, codec.Success},
		{codec.V311, false, codec.ClientIdentifierNotValid},
		{codec.V5, true, codec.Success},
		{codec.V5, false, codec.Success},
	} {
		inBubble(t, Config{}, func(at *site) {
			p := at.dial("p", c.v)
			p.send(&codec.Connect{Version: c.v, CleanStart: c.clean})
			ack, _ := p.next().(*codec.Connack)
			if ack == nil || ack.Code != c.want {
				t.Fatalf("%v, clean %v: got %s, want %v", c.v, c.clean, show(ack), c.want)
			}
			if id := string(ack.AssignedClientID); c.v == codec.V5 && (!strings.HasPrefix(id, "auto-") || at.srv.sessions[id] == nil) {
				t.Errorf("the client is told that it is %q", id)
			}
		})
	}
}

// In 3.1 PUBREL, SUBSCRIBE and UNSUBSCRIBE may be marked as sent again.
func TestRepeatedPacketsOf31(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.join("p", codec.V31)
		again := func(packet codec.Packet) {
			b := packet.Append(nil, codec.V31)
			b[0] |= 8
			p.sendRaw(b)
		}
		again(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a")}}})
		p.want("SUBSCRIBE", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0}})
		again(&codec.Pubrel{ID: 2})
		p.want("PUBREL", &codec.Pubcomp{ID: 2})
		again(&codec.Unsubscribe{ID: 3, Filters: [][]byte{[]byte("a")}})
		p.want("UNSUBSCRIBE", &codec.Unsuback{ID: 3})
	})
}

// A message that the client takes only without the alias that would be new goes without.
func TestAliasThatDoesNotFit(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		plain := message("some/topic", "payload", 1, 2)
		size := uint32(len(plain.Append(nil, codec.V5)))
		sub := at.join("sub", codec.V5, func(c *codec.Connect) { c.TopicAliasMaximum, c.MaximumPacketSize = 1, size })
		sub.subscribe(1, "#")
		pub := at.join("pub", codec.V5)
		pub.send(message("some/topic", "payload", 1, 1), message("some/topic", "less", 1, 2), message("some/topic", "payload", 1, 3))
		set, use := message("some/topic", "less", 1, 3), message("", "payload", 1, 4)
		set.TopicAlias, use.TopicAlias = 1, 1
		sub.want("all come", plain, set, use)
	})
}
