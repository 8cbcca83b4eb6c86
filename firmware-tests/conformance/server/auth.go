package server

import (
	"slices"
	"strings"

	"sluice/firmware-tests/conformance/scram"
	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

// auth is sections 3.15 and 4.12 of MQTT 5.0, enhanced authentication. The exchanges
// are SCRAM-SHA-256, with servers that know it.
var auth = []suite.Test{
	{V5: "4.12.0-1", Run: unsupportedMethod},
	{V5: "4.12.0-6", Run: noMethodNoAuth},
	{V5: "4.12.0-7", Run: uninvitedAuth},
	{V5: "3.15.1-1", Run: flagsOfAuth},
	{V5: "3.15.1-1", Run: flagsOfAuthInExchange},
	{V5: "3.15.2-1", Run: codesOfAuth},
	{V5: "4.12.0-2 4.12.0-5 3.15.2-1", Run: scramSucceeds},
	{V5: "4.12.0-4", Run: wrongProof},
	{V5: "4.12.0-4", Run: unknownUser},
	{V5: "4.12.0-4", Run: brokenExchange},
	{V5: "4.12.0-4 RULE-4.12.0-A", Run: replayedProof},
	{V5: "4.12.0-3", Run: otherCodeInExchange},
	{V5: "4.12.0-5", Run: otherMethodInExchange},
	{V5: "3.1.2-30 3.1.4-6", Run: otherPacketInExchange},
	{V5: "RULE-4.12.0-B", Run: disconnectInExchange},
	{V5: "3.15.2-2 3.15.2-3", Run: authFitsTheClient},
	{V5: "4.12.1-1 4.12.0-5", Run: reauthentication},
	{V5: "4.12.1-1", Run: reauthenticationByOtherMethod},
	{V5: "4.12.1-2", Run: failedReauthentication},
	{V5: "RULE-4.12.1-A", Run: trafficDuringReauthentication},
	{V5: "RULE-4.12.1-B", Run: continueWithoutExchange},
}

// authPacket is an AUTH.
func authPacket(code byte, method, data string) []byte {
	props := wire.Bytes(wire.AuthenticationMethod, wire.Str(method))
	if data != "" {
		props = append(props, wire.Bytes(wire.AuthenticationData, wire.Str(data))...)
	}
	return wire.Packet(wire.AUTH<<4, code, wire.Props(props))
}

// unsupportedMethod is refused, also with a password beside that would do.
func unsupportedMethod(t *suite.T) {
	for _, method := range []string{"no such method", "", "PLAIN", strings.ToLower(scram.Method)} {
		p := t.CONNECT()
		p.Props = wire.Bytes(wire.AuthenticationMethod, wire.Str(method), wire.AuthenticationData, wire.Str((&scram.Client{}).First()))
		t.Dial(t.Target.Addr).Refused(p.Bytes(), 0x8c, 0x87)
		if t.Target.Guarded != "" {
			p.Username, p.Password = &t.Target.User, &t.Target.Password
			t.Dial(t.Target.Guarded).Refused(p.Bytes(), 0x8c, 0x87)
		}
	}
}

func noMethodNoAuth(t *suite.T) {
	c := t.Join() // CONNACK comes without AUTH before
	if c.Connack.Props.Has(wire.AuthenticationMethod) || c.Connack.Props.Has(wire.AuthenticationData) {
		t.Fatalf("%v has authentication that nobody asked for", c.Connack)
	}
	c.Ping()
	if t.Target.Guarded == "" {
		return
	}
	c = guardedJoin(t)
	if c.Connack.Props.Has(wire.AuthenticationMethod) {
		t.Fatalf("%v has authentication that nobody asked for", c.Connack)
	}
	c.Ping()
}

// uninvitedAuth comes from a client that named no method in CONNECT.
func uninvitedAuth(t *suite.T) {
	for _, code := range []byte{0x18, 0x19} {
		watcher, p := mourner(t, 0)
		c := t.Connect(p)
		c.Send(authPacket(code, scram.Method, "x"), wire.Pingreq())
		c.WantClosed(0x82, 0x8c)
		watcher.Take(p.Will.Topic, p.Will.Payload)
	}
}

func flagsOfAuth(t *suite.T) {
	for flags := byte(1); flags < 16; flags <<= 1 {
		c := t.Join()
		b := authPacket(0x19, scram.Method, "x")
		b[0] |= flags
		c.Send(b, wire.Pingreq())
		c.WantClosed(0x81, 0x82)
	}
}

func flagsOfAuthInExchange(t *suite.T) {
	c, s := exchange(t)
	b := authPacket(0x18, scram.Method, answer(t, c, s))
	b[0] |= 2
	refusedAt(t, c, b, 0x81, 0x82)
}

// codesOfAuth are those of a server, and of nobody.
func codesOfAuth(t *suite.T) {
	for _, code := range []byte{0x00, 0x01, 0x17, 0x1a, 0x80, 0xff} {
		c := t.Join()
		c.Send(authPacket(code, scram.Method, "x"), wire.Pingreq())
		c.WantClosed(0x81, 0x82)
	}
	c := t.Join()
	c.Send(wire.Packet(wire.AUTH<<4), wire.Pingreq()) // the short form of 0x00
	c.WantClosed(0x81, 0x82)
}

// scramConnect is a CONNECT that begins an authentication as the user of the account.
func scramConnect(t *suite.T, s *scram.Client) wire.Connect {
	p := t.CONNECT()
	p.Props = wire.Bytes(wire.AuthenticationMethod, wire.Str(scram.Method), wire.AuthenticationData, wire.Str(s.First()))
	return p
}

// exchange connects to the listener with accounts and begins, if the server knows the
// method; the server's challenge is what comes next.
func exchange(t *suite.T) (*suite.Conn, *scram.Client) {
	s := &scram.Client{User: t.Target.User, Password: t.Target.Password}
	return beginExchange(t, scramConnect(t, s)), s
}

// beginExchange sends the CONNECT of an exchange, if the server knows the method.
func beginExchange(t *suite.T, p wire.Connect) *suite.Conn {
	t.Need(t.Target.Guarded, "listener with accounts")
	probe := t.Dial(t.Target.Guarded)
	probe.Send(scramConnect(t, &scram.Client{User: t.Target.User}).Bytes())
	if first := probe.NextOrEnd(); first == nil || first.Code() == 0x8c {
		t.Skip("no " + scram.Method)
	}
	probe.Drop()
	c := t.Dial(t.Target.Guarded)
	c.Send(p.Bytes())
	return c
}

// wantAuth wants AUTH with a code, of the method, and returns its data.
func wantAuth(t *suite.T, c *suite.Conn, code byte) string {
	p := c.Want(wire.AUTH)
	method, _ := p.Props.Get(wire.AuthenticationMethod)
	if p.Code() != code || method.Text != scram.Method {
		t.Fatalf("%v by the method %q, want code %#x and %q", p, method.Text, code, scram.Method)
	}
	data, _ := p.Props.Get(wire.AuthenticationData)
	return data.Text
}

// answer reads the challenge and makes the proof.
func answer(t *suite.T, c *suite.Conn, s *scram.Client) string {
	proof, err := s.Answer(wantAuth(t, c, 0x18))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return proof
}

// refusedAt sends bytes in an exchange before CONNACK and wants to be refused.
func refusedAt(t *suite.T, c *suite.Conn, b []byte, codes ...byte) {
	c.Send(b)
	p := c.NextOrEnd()
	if p == nil {
		return
	}
	if p.Type != wire.CONNACK || !slices.Contains(codes, p.Code()) {
		t.Fatalf("%v, want CONNACK with one of % x, or an end", p, codes)
	}
	c.WantEnd()
}

// scramJoin is a client that has proved who it is, and seen the server do so.
func scramJoin(t *suite.T) *suite.Conn {
	c, s := exchange(t)
	finish(t, c, s)
	return c
}

// finish ends the exchange of a CONNECT.
func finish(t *suite.T, c *suite.Conn, s *scram.Client) {
	c.Send(authPacket(0x18, scram.Method, answer(t, c, s)))
	c.Connack = c.Want(wire.CONNACK)
	method, _ := c.Connack.Props.Get(wire.AuthenticationMethod)
	data, _ := c.Connack.Props.Get(wire.AuthenticationData)
	if c.Connack.Code() != 0 || method.Text != scram.Method {
		t.Fatalf("%v by the method %q, want to be accepted by %q", c.Connack, method.Text, scram.Method)
	}
	if err := s.Verify(data.Text); err != nil {
		t.Fatalf("%v", err)
	}
}

func scramSucceeds(t *suite.T) {
	c := scramJoin(t)
	topic := t.Topic()
	c.Subscribe(1, topic)
	guardedJoin(t).Publish(wire.Publish{Topic: topic, Payload: "welcome", QoS: 1})
	c.Take(topic, "welcome")
	c.Leave()
}

func wrongProof(t *suite.T) {
	for _, password := range []string{"not this", t.Target.Password + " ", ""} {
		s := &scram.Client{User: t.Target.User, Password: password}
		c := beginExchange(t, scramConnect(t, s))
		refusedAt(t, c, authPacket(0x18, scram.Method, answer(t, c, s)), 0x86, 0x87)
	}
}

// unknownUser may be refused at once, or after a proof.
func unknownUser(t *suite.T) {
	s := &scram.Client{User: "nobody", Password: t.Target.Password}
	c := beginExchange(t, scramConnect(t, s))
	first := c.NextOrEnd()
	if first != nil && first.Type == wire.AUTH {
		data, _ := first.Props.Get(wire.AuthenticationData)
		proof, err := s.Answer(data.Text)
		if err != nil {
			t.Fatalf("%v", err)
		}
		refusedAt(t, c, authPacket(0x18, scram.Method, proof), 0x86, 0x87)
		return
	}
	if first != nil && first.Code() != 0x86 && first.Code() != 0x87 {
		t.Fatalf("%v answers an unknown user", first)
	}
}

// brokenExchange answers the challenge with anything but a proof.
func brokenExchange(t *suite.T) {
	for _, wrong := range []func(proof string) string{
		func(string) string { return "" },
		func(string) string { return "\xff\x00" },
		func(proof string) string { return proof[:strings.LastIndex(proof, ",p=")] },
		func(proof string) string { return proof[:strings.LastIndex(proof, ",p=")] + ",p=" },
		func(proof string) string { return strings.Replace(proof, "r=", "r=x", 1) },
		func(proof string) string { return strings.Replace(proof, "c=biws", "c=eSws", 1) },
		func(string) string { return "n,,n=" + t.Target.User + ",r=again" },
	} {
		c, s := exchange(t)
		refusedAt(t, c, authPacket(0x18, scram.Method, wrong(answer(t, c, s))), 0x80, 0x81, 0x82, 0x83, 0x86, 0x87)
	}
}

// replayedProof is good once, not in another exchange: the server's nonce is new.
func replayedProof(t *suite.T) {
	s := &scram.Client{User: t.Target.User, Password: t.Target.Password}
	p := scramConnect(t, s)
	c := beginExchange(t, p)
	first := wantAuth(t, c, 0x18)
	proof, err := s.Answer(first)
	if err != nil {
		t.Fatalf("%v", err)
	}
	p.ID = t.ID()
	c = beginExchange(t, p)
	if again := wantAuth(t, c, 0x18); again == first {
		t.Fatalf("the same challenge twice: %q", again)
	}
	refusedAt(t, c, authPacket(0x18, scram.Method, proof), 0x86, 0x87)
}

func otherCodeInExchange(t *suite.T) {
	for _, code := range []byte{0x00, 0x19} {
		c, s := exchange(t)
		refusedAt(t, c, authPacket(code, scram.Method, answer(t, c, s)), 0x81, 0x82)
	}
}

func otherMethodInExchange(t *suite.T) {
	for _, method := range []string{"SCRAM-SHA-1", ""} {
		c, s := exchange(t)
		refusedAt(t, c, authPacket(0x18, method, answer(t, c, s)), 0x82, 0x8c)
	}
	c, s := exchange(t)
	proof := answer(t, c, s)
	refusedAt(t, c, wire.Packet(wire.AUTH<<4, byte(0x18), wire.Props(wire.AuthenticationData, wire.Str(proof))), 0x81, 0x82, 0x8c)
}

// otherPacketInExchange has a message come before the proof, and nobody get it.
func otherPacketInExchange(t *suite.T) {
	topic := t.Topic()
	c, s := exchange(t)
	proof := answer(t, c, s)
	watcher := guardedJoin(t)
	watcher.Subscribe(0, topic)
	early := wire.Publish{Topic: topic, Payload: "too early"}.Bytes(t.Version)
	refusedAt(t, c, append(early, authPacket(0x18, scram.Method, proof)...), 0x82)
	for _, b := range [][]byte{wire.Pingreq(), wire.Subscribe(t.Version, 1, 0, topic), t.CONNECT().Bytes()} {
		c, s := exchange(t)
		proof := answer(t, c, s)
		refusedAt(t, c, append(b, authPacket(0x18, scram.Method, proof)...), 0x82)
	}
	guardedJoin(t).Publish(wire.Publish{Topic: topic, Payload: "in time"})
	watcher.Take(topic, "in time")
}

// disconnectInExchange is allowed, and there is no session after it.
func disconnectInExchange(t *suite.T) {
	c, s := exchange(t)
	answer(t, c, s)
	c.Send(wire.Disconnect())
	c.WantEnd()
}

// authFitsTheClient asks for problem information and accepts small packets only; there
// is no more in AUTH than fits, or no AUTH.
func authFitsTheClient(t *suite.T) {
	for _, size := range []uint32{5, 40, 60, 90, 120, 160, 200, 300, 600} {
		s := &scram.Client{User: t.Target.User, Password: t.Target.Password}
		p := scramConnect(t, s)
		p.Props = append(p.Props, wire.Bytes(wire.MaximumPacketSize, size, wire.RequestProblemInformation, byte(1))...)
		c := beginExchange(t, p)
		within := func() *wire.Read {
			p := c.NextOrEnd()
			if p != nil && len(p.Raw) > int(size) {
				t.Fatalf("%v is %d bytes, the client accepts %d", p, len(p.Raw), size)
			}
			return p
		}
		challenge := within()
		if challenge == nil || challenge.Type != wire.AUTH {
			continue
		}
		data, _ := challenge.Props.Get(wire.AuthenticationData)
		proof, err := s.Answer(data.Text)
		if err != nil {
			t.Fatalf("%v", err)
		}
		c.Send(authPacket(0x18, scram.Method, proof))
		within()
	}
}

// reauthenticate proves once more who a client is.
func reauthenticate(t *suite.T, c *suite.Conn, between func()) {
	s := &scram.Client{User: t.Target.User, Password: t.Target.Password}
	c.Send(authPacket(0x19, scram.Method, s.First()))
	proof := answer(t, c, s)
	between()
	c.Send(authPacket(0x18, scram.Method, proof))
	if err := s.Verify(wantAuth(t, c, 0)); err != nil {
		t.Fatalf("%v", err)
	}
	c.Ping()
}

// reauthentication is done twice.
func reauthentication(t *suite.T) {
	c := scramJoin(t)
	for range 2 {
		reauthenticate(t, c, func() {})
	}
}

func reauthenticationByOtherMethod(t *suite.T) {
	c := scramJoin(t)
	c.Send(authPacket(0x19, "SCRAM-SHA-1", (&scram.Client{User: t.Target.User}).First()), wire.Pingreq())
	c.WantClosed(0x82, 0x8c)
}

// failedReauthentication ends the connection, and that is no orderly end.
func failedReauthentication(t *suite.T) {
	topic := t.Topic()
	watcher := guardedJoin(t)
	watcher.Subscribe(0, topic)
	s := &scram.Client{User: t.Target.User, Password: t.Target.Password}
	p := scramConnect(t, s)
	p.Will = &wire.Will{Topic: topic, Payload: "thrown out"}
	c := beginExchange(t, p)
	finish(t, c, s)
	wrong := &scram.Client{User: t.Target.User, Password: "not this"}
	c.Send(authPacket(0x19, scram.Method, wrong.First()))
	c.Send(authPacket(0x18, scram.Method, answer(t, c, wrong)), wire.Pingreq())
	c.WantClosed(0x86, 0x87, 0x82, 0x8c)
	watcher.Take(topic, "thrown out")
}

// trafficDuringReauthentication goes on as before.
func trafficDuringReauthentication(t *suite.T) {
	topic := t.Topic()
	c := scramJoin(t)
	c.Subscribe(1, topic)
	publisher := guardedJoin(t)
	reauthenticate(t, c, func() {
		publisher.Publish(wire.Publish{Topic: topic, Payload: "meanwhile", QoS: 1})
		c.Take(topic, "meanwhile")
		c.Publish(wire.Publish{Topic: topic + "/x", Payload: "meanwhile", QoS: 1})
		c.Ping()
	})
}

// continueWithoutExchange has AUTH continue what has not begun.
func continueWithoutExchange(t *suite.T) {
	c := scramJoin(t)
	c.Send(authPacket(0x18, scram.Method, "x"), wire.Pingreq())
	c.WantClosed(0x82)
}
