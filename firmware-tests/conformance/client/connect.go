package client

import (
	"strings"
	"time"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// connect is section 3.1.
var connect = []suite.Test{
	{V311: "3.1.0-1 7.0.0-2 7.1.2-1", V5: "3.1.0-1 4.2-1", Run: connectComesFirst},
	{V311: "3.1.2-18 3.1.2-20", V5: "3.1.2-16 3.1.2-18", Run: noCredentialsUnlessTold},
	{V311: "3.1.2-19 3.1.2-21 3.1.3-1 3.1.3-3", V5: "3.1.2-17 3.1.2-19 3.1.3-1 3.1.3-3", Run: credentialsInTheirPlaces},
	{V311: "3.1.2-22", Run: passwordNeedsUserName},
	{
		V311: "3.1.2-9 3.1.2-11 3.1.2-13 3.1.2-14 3.1.2-15 3.1.3-10",
		V5:   "3.1.2-9 3.1.2-11 3.1.2-12 3.1.2-13 3.1.3-11",
		Run:  noWill,
	},
	{V311: "3.1.3-7", Run: emptyIdentifierNeedsCleanSession},
	{V311: "3.1.3-2 3.1.3-4", V5: "3.1.3-2 3.1.3-4 RULE-3.1.2.11-q", Run: sameIdentifierEachTime},
	{V311: "3.1.2-6", V5: "3.1.2-4", Run: cleanStartOfCommands},
	{V311: "3.1.2-23 RULE-3.12.1-a", V5: "3.1.2-20 RULE-3.12.1-a", Run: pingsWithinKeepAlive},
	{V5: "3.1.2-21 3.2.2-21", Run: serverKeepAliveRules},
	{V5: "RULE-3.1.2.11-p", Run: connectPropertiesAreListed},
}

// each calls f with the CONNECT of the bridge, of pub and of sub, which get settings
// and flags besides those that they need.
func each(t *suite.T, settings, flags []string, f func(s *server, c *suite.Conn, p *wire.Read)) {
	b := newBridge(t, append([]string{"UP=up/#"}, settings...)...)
	c, p := b.connect()
	f(b.server, c, p)
	for _, args := range [][]string{{"pub", "-t", "up/1", "-l"}, {"sub", "-t", "down/#"}} {
		s := listen(t)
		s.command(append(args, flags...)...)
		c, p := s.connect()
		f(s, c, p)
	}
}

func connectComesFirst(t *suite.T) {
	each(t, nil, nil, func(_ *server, _ *suite.Conn, p *wire.Read) {
		if p.Connect.Name() != "MQTT" || p.Connect.Version != t.Version {
			t.Fatalf("%v", p)
		}
	})
}

func noCredentialsUnlessTold(t *suite.T) {
	each(t, nil, nil, func(_ *server, _ *suite.Conn, p *wire.Read) {
		if p.Connect.Username != nil || p.Connect.Password != nil {
			t.Fatalf("%v: credentials that nobody gave", p)
		}
	})
}

func credentialsInTheirPlaces(t *suite.T) {
	id := t.ID()
	settings := []string{"CLIENT_ID=" + id, "USERNAME=me", "PASSWORD=secret"}
	each(t, settings, []string{"-i", id, "-u", "me", "-P", "secret"}, func(_ *server, _ *suite.Conn, p *wire.Read) {
		c := p.Connect
		if c.ID != id || c.Username == nil || *c.Username != "me" || c.Password == nil || *c.Password != "secret" {
			t.Fatalf("%v, want client identifier %s, user me, password secret", p, id)
		}
	})
}

// passwordNeedsUserName: the reader sees the breach; the commands refuse.
func passwordNeedsUserName(t *suite.T) {
	listen(t).refuses("pub", "-t", "a", "-m", "b", "-P", "secret")
	listen(t).refuses("sub", "-t", "a", "-P", "secret")
}

// noWill: none of the clients has a Will, so its fields and bits are empty.
func noWill(t *suite.T) {
	each(t, nil, nil, func(_ *server, _ *suite.Conn, p *wire.Read) {
		if p.Connect.Will != nil {
			t.Fatalf("%v: a Will that nobody gave", p)
		}
	})
}

func emptyIdentifierNeedsCleanSession(t *suite.T) {
	listen(t).refuses("sub", "-t", "a", "-i", "", "-c")
	s := listen(t)
	s.command("sub", "-t", "a", "-i", "")
	if _, p := s.connect(); p.Connect.ID != "" || !p.Connect.Clean {
		t.Fatalf("%v, want no identifier and a clean session", p)
	}
}

// sameIdentifierEachTime: the bridge and a lasting subscriber come back to their
// session, and ask for it to be kept.
func sameIdentifierEachTime(t *suite.T) {
	lasts := func(p *wire.Read, id string) {
		if p.Connect.ID != id || p.Connect.Clean || t.V5() && p.Props.Int(wire.SessionExpiry, 0) == 0 {
			t.Fatalf("%v, want the lasting session of %s", p, id)
		}
	}
	id := t.ID()
	b := newBridge(t, "UP=up/#", "CLIENT_ID="+id)
	c, p := b.connect()
	lasts(p, id)
	c.Send(b.connack(false, 0))
	c.Drop()
	_, p = b.connect()
	lasts(p, id)
	for range 2 {
		s := listen(t)
		s.command("sub", "-t", "a", "-c", "-i", id)
		_, p := s.connect()
		lasts(p, id)
	}
}

// cleanStartOfCommands: a session that is not to last is new, and takes nothing from
// another run; a server that has one all the same is left.
func cleanStartOfCommands(t *suite.T) {
	for _, args := range [][]string{{"pub", "-t", "up/1", "-l", "-q", "1"}, {"sub", "-t", "down/#"}} {
		s := listen(t)
		cmd := s.command(args...)
		c, p := s.connect()
		if !p.Connect.Clean || p.Props.Int(wire.SessionExpiry, 0) != 0 {
			t.Fatalf("%v, want a clean session", p)
		}
		c.Send(s.connack(true, 0))
		c.WantClosed(0, 0x82)
		cmd.wantExit(exitRefused)
	}
}

// pingsWithinKeepAlive: a keep-alive of two seconds.
func pingsWithinKeepAlive(t *suite.T) {
	each(t, []string{"KEEPALIVE=2s"}, []string{"-k", "2"}, func(s *server, c *suite.Conn, p *wire.Read) {
		if p.Connect.KeepAlive != 2 {
			t.Fatalf("%v, want a keep-alive of 2 s", p)
		}
		s.pinged(c)
	})
}

// serverKeepAliveRules: the server's value takes the place of a minute.
func serverKeepAliveRules(t *suite.T) {
	each(t, nil, nil, func(s *server, c *suite.Conn, p *wire.Read) {
		if p.Connect.KeepAlive != 60 {
			t.Fatalf("%v, want a keep-alive of 60 s", p)
		}
		s.pinged(c, wire.ServerKeepAlive, uint16(2))
	})
}

// pinged accepts a client and wants a PINGREQ within two seconds, twice. A loaded
// machine may bring it late: by half as much again a server would not yet hang up.
func (s *server) pinged(c *suite.Conn, props ...any) {
	const late = 3 * time.Second
	c.Send(s.connack(false, 0, props...))
	for range 2 {
		began := time.Now()
		p := c.Next()
		if p.Type == wire.SUBSCRIBE {
			c.Send(s.suback(p.ID, 0))
			p = c.Next()
		}
		if took := time.Since(began); p.Type != wire.PINGREQ || took > late {
			s.t.Fatalf("%v after %v, want PINGREQ within 2 s", p, took)
		}
		c.Send(wire.Packet(wire.PINGRESP << 4))
	}
}

// connectPropertiesAreListed: the reader holds each property against the table; these
// have to do with each other.
func connectPropertiesAreListed(t *suite.T) {
	each(t, nil, nil, func(_ *server, _ *suite.Conn, p *wire.Read) {
		if p.Props.Has(wire.AuthenticationData) && !p.Props.Has(wire.AuthenticationMethod) {
			t.Fatalf("%v: authentication data without method", p)
		}
	})
}

// wild are strings that MQTT does not know.
var wild = []string{"a\xff", "\xc0\x80", "\xed\xa0\x80"}

// tooLong is a string of one byte more than fits.
var tooLong = strings.Repeat("x", 65536)
