package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Read packets are flat: fields that a packet does not have are zero.
type Read struct {
	Raw        []byte // all of it
	Type       byte
	Dup        bool
	QoS        byte
	Retain     bool
	ID         uint16
	Props      Properties
	Codes      []byte // of CONNACK, acknowledgements, DISCONNECT, AUTH: one; of SUBACK, UNSUBACK: all
	Topic      string
	Payload    string
	Present    bool // the session, CONNACK
	Subscribes []Subscription

	Connect *Connect // CONNECT only
	Willing Properties
}

// Subscription is one of a SUBSCRIBE, or UNSUBSCRIBE with no options.
type Subscription struct {
	Filter  string
	Options byte
}

// Code is the first code, 0 if there is none: absent means success.
func (p *Read) Code() byte {
	if len(p.Codes) == 0 {
		return 0
	}
	return p.Codes[0]
}

func (p *Read) String() string {
	if p == nil {
		return "nothing"
	}
	names := [...]string{"type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}
	shown := p.Raw
	if len(shown) > 64 {
		shown = shown[:64]
	}
	return fmt.Sprintf("%s % x", names[p.Type], shown)
}

// Breach is a rule that a packet breaks.
type Breach struct {
	Rule string // identifier of the statement, such as MQTT-2.2.2-1; "" if it has none
	Text string
}

func (b *Breach) Error() string {
	if b.Rule == "" {
		return b.Text
	}
	return b.Rule + ": " + b.Text
}

// Next reads one packet of a connection of the given version and holds it against
// all rules of form. fromServer says who sent it. An error is io.EOF between packets,
// *Breach together with the packet as far as it was understood, or the reader's own.
func Next(in io.Reader, version byte, fromServer bool) (*Read, error) {
	header := make([]byte, 1, 5)
	if _, err := io.ReadFull(in, header); err != nil {
		return nil, err
	}
	for {
		b := make([]byte, 1)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, unexpected(err)
		}
		header = append(header, b[0])
		if b[0] < 0x80 {
			break
		}
		if len(header) == 5 {
			return &Read{Raw: header, Type: header[0] >> 4}, &Breach{"", "remaining length of five bytes"}
		}
	}
	r := reader{b: header[1:], version: version}
	size := r.vbi()
	raw := append(header, make([]byte, size)...)
	if _, err := io.ReadFull(in, raw[len(header):]); err != nil {
		return nil, unexpected(err)
	}
	r.b = raw[len(header):]
	p := r.packet(raw, fromServer)
	if r.breach == nil && len(r.b) > 0 {
		r.fail("", "", "%d bytes too many", len(r.b))
	}
	if r.breach != nil {
		return p, r.breach
	}
	return p, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// reader takes fields off b. After the first breach it gives zeros.
type reader struct {
	b       []byte
	version byte
	breach  *Breach
}

// fail notes the first breach. The rules are those of 3.1.1 and 5.0.
func (r *reader) fail(rule311, rule5, format string, args ...any) {
	if r.breach != nil {
		return
	}
	rule := rule311
	if r.version == V5 {
		rule = rule5
	}
	r.breach = &Breach{rule, fmt.Sprintf(format, args...)}
	r.b = nil
}

func (r *reader) packet(raw []byte, fromServer bool) *Read {
	p := &Read{Raw: raw, Type: raw[0] >> 4}
	r.flags(p, raw[0]&15)
	if p.Type == 0 || sender[p.Type]&side(fromServer) == 0 || p.Type == AUTH && r.version < V5 {
		r.fail("", "", "not a packet that this side may send")
	}
	switch p.Type {
	case CONNECT:
		r.connect(p)
	case CONNACK:
		r.connack(p)
	case PUBLISH:
		r.publish(p, fromServer)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		r.ack(p)
	case SUBSCRIBE, UNSUBSCRIBE:
		r.filters(p)
	case SUBACK, UNSUBACK:
		r.codes(p)
	case DISCONNECT, AUTH:
		r.reason(p, fromServer)
	}
	return p
}

// Who may send a packet, as bits; see side.
const (
	client = 1
	server = 2
	both   = 3
)

var sender = [16]byte{
	CONNECT: client, CONNACK: server, PUBLISH: both, PUBACK: both, PUBREC: both, PUBREL: both, PUBCOMP: both,
	SUBSCRIBE: client, SUBACK: server, UNSUBSCRIBE: client, UNSUBACK: server, PINGREQ: client, PINGRESP: server,
	DISCONNECT: both, AUTH: both,
}

func side(fromServer bool) byte {
	if fromServer {
		return server
	}
	return client
}

func (r *reader) flags(p *Read, flags byte) {
	if p.Type == PUBLISH {
		p.Dup, p.QoS, p.Retain = flags&8 != 0, flags>>1&3, flags&1 != 0
		if p.QoS == 3 {
			r.fail("MQTT-3.3.1-4", "MQTT-3.3.1-4", "QoS 3")
		}
		if p.Dup && p.QoS == 0 {
			r.fail("MQTT-3.3.1-2", "MQTT-3.3.1-2", "DUP at QoS 0")
		}
		return
	}
	want := byte(0)
	if p.Type == PUBREL || p.Type == SUBSCRIBE || p.Type == UNSUBSCRIBE {
		want = 2
	}
	if r.version == V31 && want == 2 {
		flags &^= 8 // DUP
	}
	if flags != want && p.Type == PUBREL {
		r.fail("MQTT-3.6.1-1", "MQTT-3.6.1-1", "flags %#x", flags)
	}
	if flags != want && p.Type == AUTH {
		r.fail("", "MQTT-3.15.1-1", "flags %#x", flags)
	}
	if flags != want {
		r.fail("MQTT-2.2.2-1", "MQTT-2.1.3-1", "flags %#x", flags)
	}
}

func (r *reader) connect(p *Read) {
	c := &Connect{}
	p.Connect = c
	name := r.text()
	c.Version = r.byte()
	r.version = c.Version
	if name != c.Name() || c.Version < V31 || c.Version > V5 {
		r.fail("MQTT-3.1.2-1", "MQTT-3.1.2-1", "protocol %q level %d", name, c.Version)
	}
	flags := r.byte()
	c.Clean = flags&2 != 0
	c.KeepAlive = r.uint16()
	if c.Version == V5 {
		p.Props = r.properties(CONNECT)
	}
	c.ID = r.text()
	if c.ID == "" && !c.Clean && c.Version == V311 {
		r.fail("MQTT-3.1.3-7", "", "no client identifier, and no clean session")
	}
	if flags&4 != 0 {
		w := &Will{QoS: flags >> 3 & 3, Retain: flags&0x20 != 0}
		c.Will = w
		if c.Version == V5 {
			p.Willing = r.properties(0)
		}
		w.Topic, w.Payload = r.text(), r.binary()
		if w.QoS == 3 {
			r.fail("MQTT-3.1.2-14", "MQTT-3.1.2-12", "Will QoS 3")
		}
	} else if flags&0x38 != 0 {
		r.fail("MQTT-3.1.2-11", "MQTT-3.1.2-11", "connect flags %#x without Will", flags)
	}
	if flags&0x80 != 0 {
		s := r.text()
		c.Username = &s
	}
	if flags&0x40 != 0 {
		s := r.binary()
		c.Password = &s
		if c.Username == nil && c.Version < V5 {
			r.fail("MQTT-3.1.2-22", "", "password without user name")
		}
	}
	if flags&1 != 0 {
		r.fail("MQTT-3.1.2-3", "MQTT-3.1.2-3", "reserved connect flag")
	}
}

func (r *reader) connack(p *Read) {
	flags, code := r.byte(), r.byte()
	p.Present, p.Codes = flags&1 != 0, []byte{code}
	if flags > 1 {
		r.fail("", "MQTT-3.2.2-1", "acknowledge flags %#x", flags)
	}
	if p.Present && code != 0 {
		r.fail("MQTT-3.2.2-4", "MQTT-3.2.2-6", "session present with code %#x", code)
	}
	if r.version == V5 {
		p.Props = r.properties(CONNACK)
	} else if code > 5 {
		r.fail("", "", "return code %d", code)
	}
	r.listed(p, "MQTT-3.2.2-8")
}

func (r *reader) publish(p *Read, fromServer bool) {
	p.Topic = r.text()
	if p.QoS > 0 {
		if p.ID = r.uint16(); p.ID == 0 {
			r.fail("MQTT-2.3.1-1", "MQTT-2.2.1-4", "packet identifier 0")
		}
	}
	if r.version == V5 {
		p.Props = r.properties(PUBLISH)
	}
	if !fromServer && p.Props.Has(SubscriptionIdentifier) {
		r.fail("", "MQTT-3.3.4-6", "subscription identifier from a client")
	}
	if p.Topic == "" && !p.Props.Has(TopicAlias) {
		r.fail("MQTT-4.7.3-1", "MQTT-4.7.3-1", "no topic")
	}
	response, _ := p.Props.Get(ResponseTopic)
	if strings.ContainsAny(p.Topic, "+#") {
		r.fail("MQTT-3.3.2-2", "MQTT-3.3.2-2", "wildcard in topic %q", p.Topic)
	}
	if strings.ContainsAny(response.Text, "+#") {
		r.fail("", "MQTT-3.3.2-14", "wildcard in response topic %q", response.Text)
	}
	p.Payload = string(r.b)
	r.b = nil
}

// ackRules are the statements on reason codes of 5.0.
var ackRules = map[byte]string{PUBACK: "MQTT-3.4.2-1", PUBREC: "MQTT-3.5.2-1", PUBREL: "MQTT-3.6.2-1", PUBCOMP: "MQTT-3.7.2-1"}

func (r *reader) ack(p *Read) {
	if p.ID = r.uint16(); p.ID == 0 {
		r.fail("MQTT-2.3.1-6", "MQTT-2.2.1-5", "packet identifier 0")
	}
	if r.version < V5 || len(r.b) == 0 {
		return
	}
	p.Codes = []byte{r.byte()}
	if len(r.b) > 0 {
		p.Props = r.properties(p.Type)
	}
	r.listed(p, ackRules[p.Type])
}

func (r *reader) filters(p *Read) {
	if p.ID = r.uint16(); p.ID == 0 {
		r.fail("MQTT-2.3.1-1", "MQTT-2.2.1-3", "packet identifier 0")
	}
	if r.version == V5 {
		p.Props = r.properties(p.Type)
	}
	for len(r.b) > 0 && r.breach == nil {
		s := Subscription{Filter: r.text()}
		if p.Type == SUBSCRIBE {
			s.Options = r.byte()
			if s.Options&3 == 3 || s.Options&0xc0 != 0 || s.Options>>4 == 3 || r.version < V5 && s.Options > 2 {
				r.fail("", "MQTT-3.8.3-5", "options %#x", s.Options)
			}
		}
		r.filter(s)
		p.Subscribes = append(p.Subscribes, s)
	}
	if len(p.Subscribes) == 0 {
		r.fail("MQTT-3.8.3-3", "MQTT-3.8.3-2", "no topic filter")
	}
}

// filter holds a topic filter against sections 4.7 and 4.8.2 of 5.0.
func (r *reader) filter(s Subscription) {
	f := s.Filter
	if rest, shared := strings.CutPrefix(f, "$share/"); shared && r.version == V5 {
		name, inner, ok := strings.Cut(rest, "/")
		switch {
		case name == "":
			r.fail("", "MQTT-4.8.2-1", "no share name in %q", f)
		case !ok || inner == "" || strings.ContainsAny(name, "+#"):
			r.fail("", "MQTT-4.8.2-2", "shared subscription %q", f)
		case s.Options&4 != 0:
			r.fail("", "MQTT-3.8.3-4", "No Local for %q", f)
		}
		f = inner
	}
	if f == "" {
		r.fail("MQTT-4.7.3-1", "MQTT-4.7.3-1", "empty topic filter")
	}
	levels := strings.Split(f, "/")
	for i, level := range levels {
		if strings.Contains(level, "#") && (level != "#" || i < len(levels)-1) {
			r.fail("MQTT-4.7.1-2", "MQTT-4.7.1-1", "# in %q", f)
		}
		if strings.Contains(level, "+") && level != "+" {
			r.fail("MQTT-4.7.1-3", "MQTT-4.7.1-2", "+ in %q", f)
		}
	}
}

func (r *reader) codes(p *Read) {
	if p.ID = r.uint16(); p.ID == 0 {
		r.fail("MQTT-3.8.4-2", "MQTT-2.2.1-6", "packet identifier 0")
	}
	if r.version == V5 {
		p.Props = r.properties(p.Type)
	}
	if r.version == V5 || p.Type == SUBACK {
		p.Codes = r.b
		r.b = nil
		if len(p.Codes) == 0 {
			r.fail("MQTT-3.8.4-5", "MQTT-3.8.4-6", "no code")
		}
	}
	if p.Type == SUBACK {
		r.listed(p, "MQTT-3.9.3-2")
	} else {
		r.listed(p, "MQTT-3.11.3-2")
	}
	for _, c := range p.Codes {
		if r.version < V5 && c > 2 && c != 0x80 {
			r.fail("MQTT-3.9.3-2", "", "SUBACK code %#x", c)
		}
	}
}

func (r *reader) reason(p *Read, fromServer bool) {
	if len(r.b) > 0 && r.version == V5 {
		p.Codes = []byte{r.byte()}
		if len(r.b) > 0 {
			p.Props = r.properties(p.Type)
		}
	}
	if p.Type == DISCONNECT {
		if fromServer && r.version < V5 {
			r.fail("", "", "DISCONNECT from a server of 3.1.1")
		}
		if fromServer && p.Props.Has(SessionExpiry) {
			r.fail("", "MQTT-3.14.2-2", "session expiry interval from the server")
		}
		r.listed(p, "MQTT-3.14.2-1")
		if !fromServer && strings.IndexByte(serverSays, p.Code()) >= 0 {
			r.fail("", "RULE-3.14.2-b", "code %#x from a client", p.Code())
		}
		return
	}
	if !p.Props.Has(AuthenticationMethod) {
		r.fail("", "MQTT-4.12.0-5", "AUTH without method")
	}
	if code := p.Code(); fromServer && code == 0x19 || !fromServer && code == 0 {
		r.fail("", "MQTT-3.15.2-1", "code %#x is not one of this side", code)
	}
	r.listed(p, "MQTT-3.15.2-1")
}

// listed holds the codes of a packet of 5.0 against the table of its packet.
func (r *reader) listed(p *Read, rule string) {
	for _, c := range p.Codes {
		if r.version == V5 && !Listed(p.Type, c) {
			r.fail("", rule, "code %#x is not one of this packet", c)
		}
	}
}

// Listed says whether a reason code is one of a packet of MQTT 5.0.
func Listed(kind, code byte) bool {
	for _, c := range []byte(codes[kind]) {
		if c == code {
			return true
		}
	}
	return false
}

var codes = [16]string{
	CONNACK:    "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f",
	PUBACK:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREC:     "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREL:     "\x00\x92",
	PUBCOMP:    "\x00\x92",
	SUBACK:     "\x00\x01\x02\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2",
	UNSUBACK:   "\x00\x11\x80\x83\x87\x8f\x91",
	DISCONNECT: "\x00\x04\x80\x81\x82\x83\x87\x89\x8b\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2",
	AUTH:       "\x00\x18\x19",
}

// serverSays are the codes of DISCONNECT that no client has a use for.
const serverSays = "\x87\x89\x8b\x8d\x8e\x8f\x9a\x9c\x9d\x9e\x9f\xa0\xa1\xa2"

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("", "", "%d bytes wanted, %d left", n, len(r.b))
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 { return uint16(r.byte())<<8 | uint16(r.byte()) }
func (r *reader) uint32() uint32 { return uint32(r.uint16())<<16 | uint32(r.uint16()) }

func (r *reader) vbi() (n int) {
	for i := 0; ; i++ {
		b := r.byte()
		n |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			if i > 0 && b == 0 {
				r.fail("", "MQTT-1.5.5-1", "variable byte integer longer than needed")
			}
			return n
		}
		if i == 3 {
			r.fail("", "", "variable byte integer of five bytes")
			return 0
		}
	}
}

func (r *reader) binary() string { return string(r.take(int(r.uint16()))) }

func (r *reader) text() string { return r.utf8("MQTT-1.5.3-1", "MQTT-1.5.4-1") }

func (r *reader) pairText() string { return r.utf8("", "MQTT-1.5.7-1") }

func (r *reader) utf8(rule311, rule5 string) string {
	s := r.binary()
	if !utf8.ValidString(s) {
		r.fail(rule311, rule5, "ill-formed UTF-8 %q", s)
	}
	for i := range len(s) {
		if s[i] == 0 {
			r.fail("MQTT-1.5.3-2", "MQTT-1.5.4-2", "U+0000 in %q", s)
		}
	}
	return s
}
