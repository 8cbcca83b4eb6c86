package uplink

import (
	"fmt"
	"net"
	"testing"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/plant"
	"sluice/firmware-tests/rig"
)

// Two servers that share nothing: the second takes over at once, the first gets
// its own back.
func TestFailover(t *testing.T) {
	t.Parallel()
	first, second := new(server).start(t, ""), new(server).start(t, "")
	g := startGateway(t, "URL=mqtt://"+first.addr+",mqtt://"+second.addr, "UP=plant/# 2", "DOWN=cmd/# 2", "FAILBACK=1s", "CLIENT_ID=site7")
	publish(t, g, 2, "plant/a", "1", "2")
	first.wantPayloads("the first of the list", "1", "2")
	first.stop()
	publish(t, g, 2, "plant/a", "3", "4")
	second.wantPayloads("the second takes over", "3", "4")

	again := &server{sessions: first.sessions} // what it kept
	again.start(t, first.addr)
	plant.Await(t, func() string {
		again.mu.Lock()
		defer again.mu.Unlock()
		for _, c := range again.connects {
			if string(c.ClientID) == "site7" {
				return ""
			}
		}
		return "the bridge does not go back"
	})
	again.mu.Lock()
	if looked := string(again.connects[0].ClientID); looked != "site7-look" {
		t.Errorf("%q came first, want a look aside", looked)
	}
	again.mu.Unlock()
	publish(t, g, 2, "plant/a", "5", "6")
	again.wantPayloads("the first is back", "5", "6")
	second.wantPayloads("and the second has nothing more", "3", "4")

	// The gateway is killed while it is with the second: it knows whose session goes on.
	again.stop()
	publish(t, g, 2, "plant/a", "7")
	second.wantPayloads("the second takes over again", "3", "4", "7")
	plant.Await(t, func() string { // PUBREL says that the gateway has it on disk who has the message
		second.mu.Lock()
		defer second.mu.Unlock()
		if len(second.sessions["site7"].received) > 0 {
			return "the last message is not released"
		}
		return ""
	})
	g.Kill()
	last := &server{sessions: again.sessions}
	for id := range uint16(200) { // an identifier that it holds, whichever comes next
		last.sessions["site7"].received[id] = true
	}
	last.start(t, first.addr)
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	publish(t, g, 2, "plant/a", "8", "9")
	last.wantPayloads("what the first still holds is not taken for the new", "8", "9")
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	// send starts a server that sends everybody to reference, and a gateway that
	// bridges to it and has a message.
	send := func(code codec.ReasonCode, reference string) (*server, *rig.Gateway) {
		home := &server{tls: ca.server("127.0.0.1")}
		home.answer = func(c *codec.Connect) []byte {
			return (&codec.Connack{Code: code, MaximumQoS: 2, ServerReference: []byte(reference)}).Append(nil, c.Version)
		}
		home.start(t, "")
		g := startGateway(t, "URL=mqtts://"+home.addr, "CA="+ca.file, "UP=plant/# 2", "REDIRECT_ALLOW=localhost")
		publish(t, g, 2, "plant/a", "1")
		return home, g
	}
	portOf := func(s *server) string {
		_, port, _ := net.SplitHostPort(s.addr)
		return port
	}

	impostor := (&server{tls: ca.server("elsewhere.example")}).start(t, "")
	_, g := send(codec.UseAnotherServer, "localhost:"+portOf(impostor))
	plant.AwaitLog(t, g, 1, "certificate is valid for elsewhere.example, not localhost")
	plain := new(server).start(t, "")
	_, g = send(codec.UseAnotherServer, "mqtt://localhost:"+portOf(plain)+" evil.example")
	plant.AwaitLog(t, g, 1, "without TLS")
	plant.AwaitLog(t, g, 1, "not among the hosts that are allowed")
	for _, s := range []*server{impostor, plain} {
		if c, n := s.lastConnect(); n != 0 {
			t.Errorf("a server that the bridge must not go to got %+v", c)
		}
	}

	target := (&server{tls: ca.server("localhost")}).start(t, "")
	home, g := send(codec.ServerMoved, "localhost:"+portOf(target))
	target.wantPayloads("moved for good", "1")
	target.hangUp()
	publish(t, g, 2, "plant/a", "2")
	target.wantPayloads("which is remembered", "1", "2")
	if _, n := home.lastConnect(); n != 1 {
		t.Errorf("%d connections to the server that has moved, want one", n)
	}
}

// A live link is sent on at once.
func TestRedirectByDisconnect(t *testing.T) {
	t.Parallel()
	home, target := new(server).start(t, ""), new(server).start(t, "")
	g := startGateway(t, "URL=mqtt://"+home.addr, "UP=plant/# 2", "REDIRECT_ALLOW=127.0.0.0/8")
	publish(t, g, 2, "plant/a", "1")
	home.wantPayloads("at home", "1")
	plant.Await(t, func() string { // else it may go up to both
		home.mu.Lock()
		defer home.mu.Unlock()
		for _, of := range home.sessions {
			if len(of.received) == 0 {
				return ""
			}
		}
		return "the message is not released"
	})
	began := time.Now()
	home.send(&codec.Disconnect{Code: codec.UseAnotherServer, ServerReference: []byte(target.addr)})
	awaitConnect(t, target, 1)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("sent on after %v", took)
	}
	for i := range 3 {
		publish(t, g, 2, "plant/a", fmt.Sprint(2+i))
	}
	target.wantPayloads("there", "2", "3", "4")
	target.hangUp()
	awaitConnect(t, home, 2)
	publish(t, g, 2, "plant/a", "5")
	home.wantPayloads("for a time only", "1", "5")
}
