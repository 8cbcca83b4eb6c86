package gateway

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"sluice/codec"
	"sluice/gateway/access"
)

// prover is the client's side of SCRAM-SHA-256, of another make.
func prover(t *testing.T, user, password string) *scram.ClientConversation {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return client.NewConversation()
}

// say returns the client's answer to what the server said.
func say(t *testing.T, who *scram.ClientConversation, heard []byte) []byte {
	t.Helper()
	answer, err := who.Step(string(heard))
	if err != nil {
		t.Fatalf("the client does not take %q: %v", heard, err)
	}
	return []byte(answer)
}

func authPacket(code codec.ReasonCode, data []byte) *codec.Auth {
	return &codec.Auth{Code: code, AuthMethod: []byte(access.Method), AuthData: data}
}

// scramConnect makes a CONNECT that begins an authentication.
func (p *peer) scramConnect(who *scram.ClientConversation, options ...func(*codec.Connect)) *codec.Connect {
	c := &codec.Connect{Version: codec.V5, CleanStart: true, ClientID: []byte(p.name), AuthMethod: []byte(access.Method), AuthData: say(p.t, who, nil)}
	for _, o := range options {
		o(c)
	}
	return c
}

// proceed answers the server's AUTH 0x18 until something else comes, and returns that.
func (p *peer) proceed(who *scram.ClientConversation) codec.Packet {
	p.t.Helper()
	for {
		got := p.next()
		a, ok := got.(*codec.Auth)
		if !ok || a.Code != codec.ContinueAuthentication {
			return got
		}
		if string(a.AuthMethod) != access.Method {
			p.t.Fatalf("%s: AUTH by the method %q", p.name, a.AuthMethod)
		}
		p.send(authPacket(codec.ContinueAuthentication, say(p.t, who, a.AuthData)))
	}
}

// scramJoin connects a client by an authentication that succeeds.
func (at *site) scramJoin(name, user string, options ...func(*codec.Connect)) *peer {
	at.t.Helper()
	p := at.dial(name, codec.V5)
	who := prover(at.t, user, "sesame")
	p.send(p.scramConnect(who, options...))
	ack, _ := p.proceed(who).(*codec.Connack)
	if ack == nil || ack.Code != codec.Success {
		at.t.Fatalf("%s: the proof is answered by %s", name, show(ack))
	}
	if say(at.t, who, ack.AuthData); !who.Valid() || string(ack.AuthMethod) != access.Method {
		at.t.Fatalf("%s: the server proves nothing by %s", name, show(ack))
	}
	return p
}

// wantConnack wants CONNACK with a reason, and the end if it is a refusal.
func (p *peer) wantConnack(sentence string, got codec.Packet, code codec.ReasonCode) {
	p.t.Helper()
	ack, _ := got.(*codec.Connack)
	if ack == nil || ack.Code != code {
		p.t.Fatalf("%s: %s\n got %s\nwant CONNACK %v", p.name, sentence, show(got), code)
	}
	if code != codec.Success {
		p.wantClosed(sentence)
	}
}

func TestScram(t *testing.T) {
	named := func(user string) func(*codec.Connect) {
		return func(c *codec.Connect) { c.Username = []byte(user) }
	}
	silent := func(data []byte) func(*codec.Connect) {
		return func(c *codec.Connect) { c.AuthData = data }
	}
	method := func(name string) func(*codec.Connect) {
		return func(c *codec.Connect) { c.AuthMethod = []byte(name) }
	}
	small := func(c *codec.Connect) { c.MaximumPacketSize = 200 }
	none := func(*codec.Connect) {}
	list := accounts(t, "ali", "kasim")
	for _, c := range []struct {
		name, user, password string
		list                 *access.List
		option               func(*codec.Connect)
		want                 codec.ReasonCode
	}{
		{"the right password", "ali", "sesame", list, none, codec.Success},
		{"and the user's name beside", "ali", "sesame", list, named("ali"), codec.Success},
		{"a password beside is not looked at", "ali", "sesame", list, as("ali", "wrong"), codec.Success},
		{"a wrong password", "ali", "sesam", list, none, codec.BadUserNameOrPassword},
		{"a wrong password with the right one beside", "ali", "sesam", list, as("ali", "sesame"), codec.BadUserNameOrPassword},
		{"an unknown user", "cogia", "sesame", list, none, codec.BadUserNameOrPassword},
		{"another user's name beside", "ali", "sesame", list, named("kasim"), codec.BadUserNameOrPassword},
		{"an empty name beside", "ali", "sesame", list, named(""), codec.BadUserNameOrPassword},
		{"another method", "ali", "sesame", list, method("SCRAM-SHA-1"), codec.BadAuthenticationMethod},
		{"a method in other letters", "ali", "sesame", list, method("scram-sha-256"), codec.BadAuthenticationMethod},
		{"an empty method", "ali", "sesame", list, method(""), codec.BadAuthenticationMethod},
		{"no accounts", "ali", "sesame", nil, none, codec.BadAuthenticationMethod},
		{"no room for the answers", "ali", "sesame", list, small, codec.PacketTooLarge},
	} {
		inBubble(t, Config{Access: c.list, Anonymous: true}, func(at *site) {
			p := at.dial("p", codec.V5)
			who := prover(t, c.user, c.password)
			p.send(p.scramConnect(who, c.option))
			p.wantConnack(c.name, p.proceed(who), c.want)
			refused, connected := uint64(1), int64(0)
			if c.want == codec.Success {
				p.send(&codec.Pingreq{})
				p.want(c.name, &codec.Pingresp{})
				refused, connected = 0, 1
			}
			if s := at.srv.Stats(); s.Ended[c.want] != refused || s.Connected != connected {
				t.Errorf("%s: counted as %+v", c.name, s)
			}
		})
	}
	for name, option := range map[string]func(*codec.Connect){"no data": silent(nil), "empty data": silent([]byte{})} {
		inBubble(t, Config{Access: list}, func(at *site) {
			p := at.dial("p", codec.V5)
			who := prover(t, "ali", "sesame")
			connect := p.scramConnect(who, option)
			p.send(connect)
			p.want(name+": the client is asked for it", authPacket(codec.ContinueAuthentication, []byte{}))
			who = prover(t, "ali", "sesame")
			p.send(authPacket(codec.ContinueAuthentication, say(t, who, nil)))
			p.wantConnack(name, p.proceed(who), codec.Success)
		})
	}
}

// Whatever is wrong with a name or a proof, the client sees the same.
func TestScramTellsNoNames(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
		var answers []string
		for _, user := range []string{"ali", "cogia"} {
			p := at.dial("p", codec.V5)
			who := prover(t, user, "wrong")
			p.send(p.scramConnect(who))
			ack := p.proceed(who)
			answers = append(answers, string(ack.Append(nil, codec.V5)))
		}
		if answers[0] != answers[1] {
			t.Errorf("a user without an account is told by %q, another %q", answers[1], answers[0])
		}
	})
}

// What is agreed and done after an authentication is what is after a password.
func TestScramIsAsAPassword(t *testing.T) {
	cfg := Config{MaxInflight: 9, MaxPacketSize: 1000, MaxSessionExpiry: time.Minute, MaxKeepAlive: time.Hour,
		Access: accounts(t, "ali", "  readwrite open/#", "kasim")}
	inBubble(t, cfg, func(at *site) {
		ask := func(c *codec.Connect) {
			c.ClientID, c.SessionExpiry, c.RequestResponseInfo, c.ReceiveMaximum = []byte("p"), never, true, 1
			c.CleanStart = false
			withWill(0)(c)
			c.Will.Topic = []byte("open/will")
		}
		plain := at.dial("plain", codec.V5)
		connect := codec.Connect{Version: codec.V5}
		ask(&connect)
		as("ali", "sesame")(&connect)
		plain.send(&connect)
		want := *plain.next().(*codec.Connack)
		want.ResponseInfo = bytes.Clone(want.ResponseInfo)
		plain.subscribe(1, "open/#")

		p := at.dial("scram", codec.V5)
		who := prover(t, "ali", "sesame")
		p.send(p.scramConnect(who, ask))
		ack, _ := p.proceed(who).(*codec.Connack)
		if ack == nil {
			t.Fatal("no CONNACK")
		}
		want.SessionPresent, want.AuthMethod, want.AuthData = true, ack.AuthMethod, ack.AuthData
		if !bytes.Equal(ack.Append(nil, codec.V5), want.Append(nil, codec.V5)) {
			t.Errorf("got %s\nwant %s", show(ack), show(&want))
		}
		plain.wantRefused("the session is taken over", codec.SessionTakenOver)
		p.want("and its will waits in it", message("open/will", "gone", 1, 2))
		p.send(&codec.Puback{ID: 2})

		pub := at.scramJoin("pub", "ali")
		pub.send(message("open/1", "", 1, 1), message("open/2", "", 1, 2), message("secret", "", 1, 3))
		pub.want("a grant holds for both", &codec.Puback{ID: 1}, &codec.Puback{ID: 2}, &codec.Puback{ID: 3, Code: codec.NotAuthorized, ReasonString: []byte("not authorized")})
		p.want("the client's Receive Maximum holds", message("open/1", "", 1, 3))
		p.wantIdle("the client's Receive Maximum holds")
		p.cut()

		for _, user := range []string{"kasim", "ali"} {
			p := at.dial("p", codec.V5)
			who := prover(t, user, "sesame")
			p.send(p.scramConnect(who, func(c *codec.Connect) { c.CleanStart, c.SessionExpiry = false, 60 }))
			code := codec.Success
			if user == "kasim" {
				code = codec.ClientIdentifierNotValid
			}
			p.wantConnack("the session is "+user+"'s or not", p.proceed(who), code)
		}
	})
}

// A stranger takes nothing over, whatever they send, before the proof.
func TestNothingHappensBeforeTheProof(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
		watch := at.join("watch", codec.V5, as("ali", "sesame"))
		watch.subscribe(0, "#")
		owner := at.scramJoin("p", "ali", keep)
		for _, user := range []string{"ali", "cogia"} {
			p := at.dial("p", codec.V5)
			who := prover(t, user, "wrong")
			p.send(p.scramConnect(who, withWill(0)))
			owner.wantIdle("the client stays while another authenticates")
			if n := len(at.srv.sessions); n != 2 {
				t.Errorf("%d sessions, want 2", n)
			}
			p.wantConnack("and the other is refused", p.proceed(who), codec.BadUserNameOrPassword)
		}
		p := at.dial("q", codec.V5)
		p.send(p.scramConnect(prover(t, "ali", "sesame"), withWill(0)))
		p.cut()
		owner.send(&codec.Pingreq{})
		owner.want("the client stays", &codec.Pingresp{})
		watch.wantIdle("and no will of strangers comes")
		at.scramJoin("p", "ali", keep)
		owner.wantRefused("until there is a proof", codec.SessionTakenOver)
	})
}

// TestBadSteps sends what may not come between CONNECT and CONNACK.
func TestBadSteps(t *testing.T) {
	raw := func(p codec.Packet, first byte) []byte {
		b := p.Append(nil, codec.V5)
		b[0] = first
		return b
	}
	send := func(p codec.Packet) []byte { return p.Append(nil, codec.V5) }
	step := authPacket(codec.ContinueAuthentication, []byte("c=biws"))
	for name, c := range map[string]struct {
		bytes []byte
		want  codec.ReasonCode
	}{
		"PUBLISH":                  {send(message("a", "x", 0, 0)), codec.ProtocolError},
		"SUBSCRIBE":                {send(&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("a")}}}), codec.ProtocolError},
		"PINGREQ":                  {send(&codec.Pingreq{}), codec.ProtocolError},
		"PUBACK":                   {send(&codec.Puback{ID: 1}), codec.ProtocolError},
		"second CONNECT":           {send(&codec.Connect{Version: codec.V5, ClientID: []byte("p")}), codec.ProtocolError},
		"CONNACK":                  {send(&codec.Connack{MaximumQoS: 2}), codec.ProtocolError},
		"AUTH that begins again":   {send(authPacket(codec.Reauthenticate, []byte("n,,n=ali,r=x"))), codec.ProtocolError},
		"AUTH that says it is":     {send(authPacket(codec.Success, nil)), codec.ProtocolError},
		"AUTH with another method": {send(&codec.Auth{Code: codec.ContinueAuthentication, AuthMethod: []byte("M")}), codec.ProtocolError},
		"AUTH without a method":    {[]byte{0xF0, 2, 0x18, 0}, codec.ProtocolError},
		"AUTH with flags":          {raw(step, 0xF1), codec.MalformedPacket},
		"AUTH without data":        {send(authPacket(codec.ContinueAuthentication, nil)), codec.BadUserNameOrPassword},
		"AUTH without a proof":     {send(step), codec.BadUserNameOrPassword},
		"AUTH without an end":      {send(authPacket(codec.ContinueAuthentication, make([]byte, 60000))), codec.BadUserNameOrPassword},
		"more than a stranger may": {[]byte{0xF0, 0xFF, 0xFF, 0x1F}, codec.PacketTooLarge},
	} {
		for _, glued := range []bool{false, true} {
			inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
				watch := at.join("watch", codec.V5, as("ali", "sesame"))
				watch.subscribe(0, "#")
				p := at.dial("p", codec.V5)
				connect := send(p.scramConnect(prover(t, "ali", "sesame")))
				if glued { // behind it something that would be heard of
					p.sendRaw(append(append(connect, c.bytes...), send(message("a", "x", 0, 0))...))
				} else {
					p.sendRaw(connect)
				}
				if a, _ := p.next().(*codec.Auth); a == nil {
					t.Fatalf("%s: CONNECT is not answered by AUTH", name)
				}
				if !glued {
					p.sendRaw(c.bytes)
				}
				p.wantConnack(name, p.next(), c.want)
				watch.wantIdle(name + " does nothing to others")
				if s := at.srv.Stats(); s.Ended[c.want] != 1 || s.Connected != 1 || s.MessagesIn != 0 {
					t.Errorf("%s: counted as %+v", name, s)
				}
			})
		}
	}
}

func TestGluedBehindTheProof(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
		watch := at.join("watch", codec.V5, as("ali", "sesame"))
		watch.subscribe(0, "#")
		for _, password := range []string{"wrong", "sesame"} {
			p := at.dial("p", codec.V5)
			who := prover(t, "ali", password)
			p.send(p.scramConnect(who))
			challenge := p.next().(*codec.Auth)
			b := authPacket(codec.ContinueAuthentication, say(t, who, challenge.AuthData)).Append(nil, codec.V5)
			p.sendRaw(message("a", password, 0, 0).Append(b, codec.V5))
		}
		watch.want("what comes with the right proof is taken", message("a", "sesame", 0, 0))
		watch.wantIdle("what comes with a wrong one is not")
	})
}

// quiet wants nothing left of connections that have ended.
func (at *site) quiet(sentence string) {
	at.t.Helper()
	if len(at.srv.conns) != 0 || len(at.srv.timers) != 0 || len(at.srv.sessions) != 0 {
		at.t.Errorf("%s: %d connections, %d timers, %d sessions are left", sentence, len(at.srv.conns), len(at.srv.timers), len(at.srv.sessions))
	}
}

func TestAuthenticationEndsInTime(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali"), ConnectTimeout: 10 * time.Second}, func(at *site) {
		start := time.Now()
		p := at.dial("p", codec.V5)
		time.Sleep(3 * time.Second)
		who := prover(t, "ali", "sesame")
		p.send(p.scramConnect(who, func(c *codec.Connect) { c.AuthData = nil; c.KeepAlive = 1 }))
		p.next()
		time.Sleep(3 * time.Second)
		p.send(authPacket(codec.ContinueAuthentication, []byte("n,,n=ali,r=x")))
		p.next()
		p.wantClosedAt(start.Add(10 * time.Second)) // no step gives more time
		at.quiet("out of time")

		p = at.scramJoin("p", "ali")
		time.Sleep(time.Minute)
		p.wantIdle("that time is for what comes before CONNACK")
		p.cut()
		at.quiet("gone")
	})
}

func TestEndInTheMiddle(t *testing.T) {
	ends := map[string]func(*site, *peer){
		"cut":        func(_ *site, p *peer) { p.cut() },
		"DISCONNECT": func(_ *site, p *peer) { p.send(&codec.Disconnect{}) },
		"DISCONNECT with more": func(_ *site, p *peer) {
			p.send(&codec.Disconnect{Code: codec.DisconnectWithWill, HasSessionExpiry: true, SessionExpiry: 9})
		},
	}
	for name, end := range ends {
		inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
			p := at.dial("p", codec.V5)
			p.send(p.scramConnect(prover(t, "ali", "sesame"), withWill(0)))
			p.next()
			end(at, p)
			p.wantClosed(name)
			at.quiet(name)
			if s := at.srv.Stats(); s.Wills != 0 || s.Ended != (Reasons{}) {
				t.Errorf("%s: counted as %+v", name, s)
			}
		})
	}
	inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
		p := at.dial("p", codec.V5)
		p.send(p.scramConnect(prover(t, "ali", "sesame")))
		p.next()
		at.srv.Shutdown(t.Context())
		at.settle()
		p.wantConnack("not DISCONNECT", p.next(), codec.ServerUnavailable) // [MQTT-3.14.0-1]
	})
}

func TestReauthentication(t *testing.T) {
	inBubble(t, Config{Access: accounts(t, "ali")}, func(at *site) {
		watch := at.join("watch", codec.V5, as("ali", "sesame"))
		watch.subscribe(1, "#")
		p := at.scramJoin("p", "ali", withWill(0))
		for _, asked := range []bool{false, true, false} {
			who := prover(t, "ali", "sesame")
			first := say(t, who, nil)
			if asked {
				p.send(authPacket(codec.Reauthenticate, nil))
				p.want("the client is asked for its message", authPacket(codec.ContinueAuthentication, []byte{}))
				p.send(authPacket(codec.ContinueAuthentication, first))
			} else {
				p.send(authPacket(codec.Reauthenticate, first))
			}
			challenge, _ := p.next().(*codec.Auth)
			if challenge == nil || challenge.Code != codec.ContinueAuthentication || string(challenge.AuthMethod) != access.Method {
				t.Fatalf("got %s, want a challenge", show(challenge))
			}
			final := say(t, who, challenge.AuthData)
			p.send(message("a", "meanwhile", 1, 7))
			p.want("traffic goes on", &codec.Puback{ID: 7})
			if m, ok := watch.next().(*codec.Publish); !ok || string(m.Payload) != "meanwhile" {
				t.Fatalf("got %s", show(m))
			}
			p.send(authPacket(codec.ContinueAuthentication, final))
			end, _ := p.next().(*codec.Auth)
			if end == nil || end.Code != codec.Success || string(end.AuthMethod) != access.Method {
				t.Fatalf("got %s, want success", show(end))
			}
			if say(t, who, end.AuthData); !who.Valid() {
				t.Fatal("the server proves nothing")
			}
		}
		if got := at.srv.sessions["p"].conn; got.user != "ali" || got.exchange != nil {
			t.Errorf("the client is %q with the exchange %v", got.user, got.exchange)
		}
		watch.wantIdle("no will comes of it")
	})
}

func TestReauthenticationFails(t *testing.T) {
	first := func(user, password string) func(*site, *peer) {
		return func(at *site, p *peer) {
			who := prover(p.t, user, password)
			p.send(authPacket(codec.Reauthenticate, say(p.t, who, nil)))
			if at.srv.sessions["p"] == nil {
				return // refused at once, as the caller wants
			}
			challenge := p.next().(*codec.Auth)
			p.send(authPacket(codec.ContinueAuthentication, say(p.t, who, challenge.AuthData)))
		}
	}
	removed := accounts(t, "kasim")
	for name, c := range map[string]struct {
		send func(*site, *peer)
		want codec.ReasonCode
	}{
		"a wrong password": {first("ali", "wrong"), codec.NotAuthorized},
		"another user":     {first("kasim", "sesame"), codec.NotAuthorized},
		"an unknown user":  {first("cogia", "sesame"), codec.NotAuthorized},
		"an account that was removed": {func(at *site, p *peer) {
			at.srv.cfg.Access = removed
			first("ali", "sesame")(at, p)
		}, codec.NotAuthorized},
		"nonsense": {func(_ *site, p *peer) { p.send(authPacket(codec.Reauthenticate, []byte("x"))) }, codec.NotAuthorized},
		"another method": {func(_ *site, p *peer) {
			p.send(&codec.Auth{Code: codec.Reauthenticate, AuthMethod: []byte("M")})
		}, codec.ProtocolError},
		"a step of none": {func(_ *site, p *peer) {
			p.send(authPacket(codec.ContinueAuthentication, []byte("n,,n=ali,r=x")))
		}, codec.ProtocolError},
		"one in another": {func(_ *site, p *peer) {
			p.send(authPacket(codec.Reauthenticate, nil))
			p.next()
			p.send(authPacket(codec.Reauthenticate, nil))
		}, codec.ProtocolError},
		"success from a client": {func(_ *site, p *peer) { p.send(authPacket(codec.Success, nil)) }, codec.ProtocolError},
		"flags": {func(_ *site, p *peer) {
			b := authPacket(codec.Reauthenticate, nil).Append(nil, codec.V5)
			b[0] = 0xF1
			p.sendRaw(b)
		}, codec.MalformedPacket},
	} {
		inBubble(t, Config{Access: accounts(t, "ali", "kasim")}, func(at *site) {
			watch := at.join("watch", codec.V5, as("ali", "sesame"))
			watch.subscribe(0, "#")
			p := at.scramJoin("p", "ali", withWill(0))
			c.send(at, p)
			p.wantRefused(name, c.want)
			watch.want(name+": the will goes out", message("w", "gone", 0, 0))
			if n := at.srv.Stats().Ended[c.want]; n != 1 {
				t.Errorf("%s: %d refusals counted", name, n)
			}
		})
	}
}

// Who gave a password has no method to authenticate by again.
func TestAuthWithoutAMethod(t *testing.T) {
	for _, code := range []codec.ReasonCode{codec.Reauthenticate, codec.ContinueAuthentication} {
		inBubble(t, Config{Access: accounts(t, "ali"), Anonymous: true}, func(at *site) {
			for _, option := range []func(*codec.Connect){as("ali", "sesame"), func(*codec.Connect) {}} {
				p := at.join("p", codec.V5, option)
				p.send(authPacket(code, say(t, prover(t, "ali", "sesame"), nil)))
				p.wantRefused("AUTH is not expected", codec.ProtocolError)
			}
		})
	}
}

// What is logged of a refusal and of a client that is let in holds nothing secret.
func TestLogKeepsSecrets(t *testing.T) {
	var log strings.Builder
	cfg := Config{Access: accounts(t, "ali"), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	inBubble(t, cfg, func(at *site) {
		var secrets []string
		for _, data := range []string{"n,,n=cogia,r=nonsense,,", "n,,m=nonsense,n=ali,r=nonsense", "n,,nonsense=ali,r=nonsense", ""} {
			p := at.dial("p", codec.V5)
			who := prover(t, "ali", "wrongpassword")
			p.send(p.scramConnect(who, func(c *codec.Connect) {
				if data != "" {
					c.AuthData = []byte(data)
				}
			}))
			if a, ok := p.next().(*codec.Auth); ok {
				final := []byte("c=biws,r=nonsense,p=nonsense")
				if data == "" {
					final = say(t, who, a.AuthData)
				}
				p.send(authPacket(codec.ContinueAuthentication, final))
				secrets = append(secrets, strings.Split(string(final), ",")...)
			}
		}
		at.scramJoin("p", "ali").cut()
		for _, s := range append(secrets, "nonsense", "wrongpassword", "sesame") {
			if strings.Contains(log.String(), s) {
				t.Errorf("the log holds %q:\n%s", s, log.String())
			}
		}
		if n := strings.Count(log.String(), "connection refused"); n != 4 {
			t.Errorf("%d refusals in the log, want 4:\n%s", n, log.String())
		}
	})
}
