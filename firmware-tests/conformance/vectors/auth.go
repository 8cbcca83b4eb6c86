package vectors

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"

	"sluice/firmware-tests/conformance/suite"
	"sluice/firmware-tests/wire"
)

const method = "SCRAM-SHA-256"

// auth plays a good AUTH within an authentication, or after one.
func (v vector) auth(t *suite.T, p *wire.Read) string {
	t.Need(t.Target.Guarded, "listener with accounts")
	if p.Code() == 0x19 {
		c, challenge := began(t)
		c.Send(wire.Packet(wire.AUTH<<4, byte(0x18), wire.Props(authProps(proof(t, challenge)))))
		if p := c.Want(wire.CONNACK); p.Code() != 0 {
			t.Fatalf("%v", p)
		}
		c.Send(v.b)
		if p := c.Want(wire.AUTH); p.Code() != 0x18 {
			t.Fatalf("%v", p)
		}
		c.Ping()
		return "AUTH 0x18"
	}
	c, _ := began(t)
	c.Send(v.b) // a step in its place; what it says proves nothing
	return refusedWith(t, c, 0x86, 0x87)
}

const bare = "n=%s,r=sluicing"

// began is a connection at the first challenge of its authentication.
func began(t *suite.T) (c *suite.Conn, challenge string) {
	p := t.CONNECT()
	p.Props = authProps("n,," + fmt.Sprintf(bare, t.Target.User))
	c = t.Dial(t.Target.Guarded)
	c.Send(p.Bytes())
	first := c.Next()
	if first.Type == wire.CONNACK && first.Code() == 0x8c {
		t.Skip("the target does not know " + method)
	}
	data, _ := first.Props.Get(wire.AuthenticationData)
	if first.Type != wire.AUTH || first.Code() != 0x18 {
		t.Fatalf("%v, want AUTH 0x18", first)
	}
	return c, data.Text
}

func authProps(data string) []byte {
	return wire.Bytes(wire.AuthenticationMethod, wire.Str(method), wire.AuthenticationData, wire.Str(data))
}

var challengeForm = regexp.MustCompile(`^r=([^,]+),s=([^,]+),i=(\d+)$`)

// proof answers a challenge as RFC 5802, section 3, has it.
func proof(t *suite.T, challenge string) string {
	m := challengeForm.FindStringSubmatch(challenge)
	if m == nil {
		t.Fatalf("%q is no challenge", challenge)
	}
	salt, _ := base64.StdEncoding.DecodeString(m[2])
	rounds, _ := strconv.Atoi(m[3])
	salted, err := pbkdf2.Key(sha256.New, t.Target.Password, salt, rounds, sha256.Size)
	if err != nil {
		t.Fatalf("%v", err)
	}
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	final := "c=biws,r=" + m[1]
	key := sign(salted, "Client Key")
	stored := sha256.Sum256(key)
	for i, b := range sign(stored[:], fmt.Sprintf(bare, t.Target.User)+","+challenge+","+final) {
		key[i] ^= b
	}
	return final + ",p=" + base64.StdEncoding.EncodeToString(key)
}
