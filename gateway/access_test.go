package gateway

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/codec"
	"sluice/gateway/access"
)

// accounts loads a users file in which the password of everybody is "sesame".
func accounts(t *testing.T, lines ...string) *access.List {
	t.Helper()
	text := ""
	for _, l := range lines {
		if l[0] != ' ' && l != "*" {
			l += ":$scram-sha-256$i=4096$c2FsdCBvZiB0ZXN0cw$yv5rbJW/36B/5HP3fZZtTBWerV3m+UDrq/0l+JHfQCE" +
				"$KKJHRlGGttOsLjvuIA//839xE2+HHJMYbqJC2XYfO5k"
		}
		text += l + "\n"
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := access.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// as gives a user name and password.
func as(user, password string) func(*codec.Connect) {
	return func(c *codec.Connect) { c.Username, c.Password = []byte(user), []byte(password) }
}

var versions = []codec.Version{codec.V31, codec.V311, codec.V5}

func TestPassword(t *testing.T) {
	list := accounts(t, "ali")
	for _, v := range versions {
		for _, c := range []struct {
			name      string
			anonymous bool
			option    func(*codec.Connect)
			want      codec.ReasonCode
		}{
			{"the right password", false, as("ali", "sesame"), codec.Success},
			{"a wrong password", false, as("ali", "sesam"), codec.BadUserNameOrPassword},
			{"a wrong password is not anonymous", true, as("ali", ""), codec.BadUserNameOrPassword},
			{"an unknown user", false, as("kasim", "sesame"), codec.BadUserNameOrPassword},
			{"nobody", false, func(*codec.Connect) {}, codec.BadUserNameOrPassword},
			{"nobody where that is allowed", true, func(*codec.Connect) {}, codec.Success},
		} {
			inBubble(t, Config{Access: list, Anonymous: c.anonymous}, func(at *site) {
				p := at.dial("p", v)
				connect := codec.Connect{Version: v, CleanStart: true, ClientID: []byte("p")}
				c.option(&connect)
				p.send(&connect)
				ack, _ := p.next().(*codec.Connack)
				if ack == nil || ack.Code != c.want {
					t.Fatalf("%v, %s: got %s, want %v", v, c.name, show(ack), c.want)
				}
				if c.want == codec.Success {
					p.send(&codec.Pingreq{})
					p.want("reading goes on", &codec.Pingresp{})
				} else {
					p.wantClosed(c.name)
				}
			})
		}
	}
}

func TestPublishDenied(t *testing.T) {
	list := accounts(t, "ali", "  write open/#", "  read #")
	for _, v := range versions {
		inBubble(t, Config{Access: list}, func(at *site) {
			watch := at.join("watch", codec.V5, as("ali", "sesame"))
			watch.subscribe(2, "#")
			p := at.join("p", v, as("ali", "sesame"))
			denied := codec.Success // 3.1 and 3.1.1 have no other word
			if v == codec.V5 {
				denied = codec.NotAuthorized
			}
			for i, topic := range []string{"secret", "$SYS/x", "$other"} {
				one, two := uint16(2*i+1), uint16(2*i+2)
				p.send(message(topic, "", 0, 0), message(topic, "", 1, one), message(topic, "", 2, two))
				got1, _ := p.next().(*codec.Puback)
				if got1 == nil || got1.ID != one || got1.Code != denied {
					t.Fatalf("%v: QoS 1 to %s answered by %s, want %v", v, topic, show(got1), denied)
				}
				got2, _ := p.next().(*codec.Pubrec)
				if got2 == nil || got2.ID != two || got2.Code != denied {
					t.Fatalf("%v: QoS 2 to %s answered by %s, want %v", v, topic, show(got2), denied)
				}
				if v != codec.V5 {
					p.send(&codec.Pubrel{ID: two})
					p.want("the flow is ended as any", &codec.Pubcomp{ID: two})
				}
			}
			p.send(message("open/door", "x", 1, 99))
			p.want("what is allowed is taken", &codec.Puback{ID: 99})
			watch.want("and only that arrives", message("open/door", "x", 1, 2))
			watch.wantIdle("and only that arrives")
			if n := at.srv.Stats().Dropped.NotAuthorized; n != 9 {
				t.Errorf("%v: %d counted as not authorized, want 9", v, n)
			}
		})
	}
}

func TestSubscribeDenied(t *testing.T) {
	list := accounts(t, "ali", "  read open/#", "  write #")
	for _, v := range versions {
		inBubble(t, Config{Access: list}, func(at *site) {
			p := at.join("p", v, as("ali", "sesame"))
			p.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{
				{Filter: []byte("open/+"), QoS: 1}, {Filter: []byte("#"), QoS: 1}, {Filter: []byte("$share/g/secret")},
			}})
			p.want("each filter has its answer", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{1, codec.NotAuthorized, codec.NotAuthorized}})
			p.send(message("open/a", "1", 0, 0), message("secret", "2", 0, 0))
			p.want("what was granted comes", message("open/a", "1", 0, 0))
			p.wantIdle("what was not does not")
		})
	}
}

func TestInvalidFilter(t *testing.T) {
	for _, filter := range []string{"a/#/b", "a+", "", "$share//a", "$share/g", "$share/g/", "$share/+/a"} {
		for _, v := range versions {
			inBubble(t, Config{}, func(at *site) {
				p := at.join("p", v)
				p.send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("ok")}, {Filter: []byte(filter)}}})
				if v != codec.V5 {
					p.wantClosed("3.1.1 has no better answer")
					return
				}
				p.want("the others are granted", &codec.Suback{ID: 1, Codes: []codec.ReasonCode{0, codec.TopicFilterInvalid}})
				p.wantIdle("and the connection stays")
			})
		}
	}
}

func TestWillDenied(t *testing.T) {
	list := accounts(t, "ali", "  write open", "*", "  write %c")
	dollar := func(c *codec.Connect) { withWill(0)(c); c.Will.Topic = []byte("$w") }
	own := func(c *codec.Connect) { withWill(0)(c); c.Will.Topic = []byte("p") }
	for name, c := range map[string]struct {
		options []func(*codec.Connect)
		want    codec.ReasonCode
	}{
		"a topic not granted":            {[]func(*codec.Connect){as("ali", "sesame"), withWill(0)}, codec.NotAuthorized},
		"nobody, to a topic not granted": {[]func(*codec.Connect){withWill(0)}, codec.NotAuthorized},
		"nobody, to a topic granted":     {[]func(*codec.Connect){own}, codec.Success},
		"a topic of the server's":        {[]func(*codec.Connect){as("ali", "sesame"), dollar}, codec.NotAuthorized},
	} {
		inBubble(t, Config{Access: list, Anonymous: true}, func(at *site) {
			p := at.dial("p", codec.V5)
			connect := codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p")}
			for _, o := range c.options {
				o(&connect)
			}
			p.send(&connect)
			if ack, _ := p.next().(*codec.Connack); ack == nil || ack.Code != c.want {
				t.Errorf("%s: got %s, want %v", name, show(ack), c.want)
			}
		})
	}
}

func TestAnotherUserDoesNotInheritASession(t *testing.T) {
	list := accounts(t, "ali", "  readwrite #", "kasim", "  read open")
	inBubble(t, Config{Access: list}, func(at *site) {
		ali := at.join("p", codec.V5, keep, as("ali", "sesame"))
		ali.subscribe(1, "secret")
		ali.cut()
		pub := at.join("pub", codec.V5, as("ali", "sesame"))
		pub.send(message("secret", "x", 1, 1))
		pub.want("kept", &codec.Puback{ID: 1})
		kasim := at.dial("p", codec.V5)
		c := codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p")}
		as("kasim", "sesame")(&c)
		kasim.send(&c)
		if ack, _ := kasim.next().(*codec.Connack); ack == nil || ack.Code != codec.ClientIdentifierNotValid {
			t.Errorf("another user is answered by %s, want a refusal", show(ack))
		}
		ali = at.join("p", codec.V5, keep, as("ali", "sesame"))
		ali.want("the owner finds all as it was", message("secret", "x", 1, 2))
		ali.cut()

		at.srv.cfg.Access = accounts(t, "kasim", "  read open")
		kasim = at.join("p", codec.V5, keep, as("kasim", "sesame"))
		kasim.wantIdle("nobody inherits from a user without an account")
	})
}

func TestSessionFromBeforeThereWereAccounts(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		at.join("p", codec.V5, keep).subscribe(1, "secret", "open")
		at.cfg.Access = accounts(t, "kasim", "  read open", "  write #")
		at.stop()
		at.start()
		p := at.join("p", codec.V5, keep, as("kasim", "sesame"))
		p.send(message("secret", "x", 1, 1), message("open", "y", 1, 2))
		p.want("it goes on, as far as its user may", &codec.Puback{ID: 1, Code: codec.NoMatchingSubscribers}, message("open", "y", 1, 2))
	})
}

func TestGrantTakenBackWhileDown(t *testing.T) {
	before, after := accounts(t, "ali", "  readwrite #"), accounts(t, "ali", "  write #", "  read open")
	onDisk(t, Config{Access: before}, func(at *site) {
		at.join("p", codec.V5, keep, as("ali", "sesame")).subscribe(1, "secret", "open")
		at.cfg.Access = after
		at.restart()
		pub := at.join("pub", codec.V5, as("ali", "sesame"))
		pub.send(message("secret", "x", 1, 1), message("open", "y", 1, 2))
		p := at.join("p", codec.V5, keep, as("ali", "sesame"))
		p.want("only what may still be read comes", message("open", "y", 1, 2))
		p.wantIdle("only what may still be read comes")
		at.cfg.Access = before
		at.restart()
		if n := at.srv.Stats().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions after another restart, want 1: the other has ended", n)
		}
	})
}

// A flood of passwords to verify holds nobody longer than the time for CONNECT.
func TestPasswordsAreVerifiedInTime(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali"), ConnectTimeout: time.Second}, func(at *site) {
		at.srv.hash <- struct{}{} // both places are taken: hashing is slow
		at.srv.hash <- struct{}{}
		for range 5 {
			at.dial("p", codec.V5).send(&codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte("p"), Username: []byte("ali"), Password: []byte("sesame")})
		}
		time.Sleep(2 * time.Second)
		at.settle()
		if n := len(at.srv.conns); n != 0 {
			t.Fatalf("%d connections wait longer than the time for CONNECT", n)
		}
		<-at.srv.hash
		<-at.srv.hash
		at.settle()
	})
}

func TestConnectOfStrangersIsBounded(t *testing.T) {
	inBubble(t, Config{}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.sendRaw((&codec.Connect{Version: codec.V5, ClientID: make([]byte, 1), Username: make([]byte, 60000), Password: make([]byte, 60000), AuthMethod: []byte("m"), AuthData: make([]byte, 60000)}).Append(nil, codec.V5)[:100])
		if ack, _ := p.next().(*codec.Connack); ack == nil || ack.Code != codec.PacketTooLarge {
			t.Errorf("got %s, want CONNACK Packet too large", show(ack))
		}
	})
}

func TestSetAccess(t *testing.T) {
	onDisk(t, Config{Access: accounts(t, "ali", " read #", " write #", "kasim", " read #")}, func(at *site) {
		ali := at.join("a", codec.V5, as("ali", "sesame"), keep)
		ali.subscribe(1, "a", "b")
		kasim := at.join("k", codec.V5, as("kasim", "sesame"))
		at.srv.SetAccess(accounts(t, "ali", " read a", " write a", "zora", " write #"))
		at.settle()
		kasim.wantRefused("who has no account any more goes", codec.NotAuthorized)
		zora := at.join("z", codec.V5, as("zora", "sesame"))
		zora.send(message("a", "1", 0, 0), message("b", "2", 0, 0))
		ali.want("what is allowed still comes", message("a", "1", 0, 0))
		ali.wantIdle("and no more")
		ali.send(message("b", "3", 1, 7))
		ali.want("nor may more be sent", &codec.Puback{ID: 7, Code: codec.NotAuthorized, ReasonString: []byte(codec.NotAuthorized.String())})
	})
}
