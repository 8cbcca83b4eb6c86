package codec

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
)

func TestPacketLen(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		n    int
		fail bool
	}{
		{"", 0, false},
		{"30", 0, false},
		{"3000", 2, false},
		{"307f", 129, false},
		{"3080", 0, false},
		{"308001", 131, false},
		{"30ffff7f", 4 + 2097151, false},
		{"30ffffff", 0, false},
		{"30ffffff7f", 5 + 268435455, false},
		{"30ffffffff", 0, true},
		{"3080808000", 5, false}, // longer than needed, which is for Next to judge
	} {
		n, err := PacketLen(unhex(t, tt.hex))
		if n != tt.n || (err != nil) != tt.fail {
			t.Errorf("%s: got %d, %v; want %d, error %v", tt.hex, n, err, tt.n, tt.fail)
		}
	}
}

// A packet is refused as soon as its first bytes are enough to refuse it.
func TestEarlyErrors(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		v    Version
		size uint32
		want *Error
	}{
		{"30", 0, 0, errNotConnect},
		{"47", 0, 0, errNotConnect},  // "GET /"
		{"16", 0, 0, errHeaderFlags}, // TLS
		{"11", 0, 0, errHeaderFlags},
		{"36", V5, 0, errQoS3},
		{"38", V5, 0, errDupQoS0},
		{"38", V31, 0, errDupQoS0},
		{"00", V5, 0, errReserved},
		{"f0", V311, 0, errReserved},
		{"6a", V311, 0, errHeaderFlags},
		{"8a", V5, 0, errHeaderFlags},
		{"60", V31, 0, errHeaderFlags},
		{"68", V31, 0, errHeaderFlags},
		{"48", V31, 0, errHeaderFlags},
		{"20", V311, 0, errDirection},
		{"90", V5, 0, errDirection},
		{"b0", V5, 0, errDirection},
		{"d0", V31, 0, errDirection},
		{"30ffffffff", V311, 0, errRemainingLength},
		{"307f", V5, 128, errPacketTooLarge},
		{"308001", V5, 130, errPacketTooLarge},
		{"30ffffff7f", V5, 268435459, errPacketTooLarge},
		{"307f", V5, 129, nil},
		{"308001", V5, 131, nil},
		{"30ffffff7f", V5, 268435460, nil},
		{"30ffffff7f", V5, 0, nil},
	} {
		var d Decoder
		p, n, err := d.Next(unhex(t, tt.hex), tt.v, tt.size)
		if p != nil || n != 0 || (tt.want == nil) != (err == nil) || err != nil && err != error(tt.want) {
			t.Errorf("%s of %v, at most %d: got %v, %d, %v; want %v", tt.hex, tt.v, tt.size, p, n, err, tt.want)
		}
	}
}

func TestServerDirection(t *testing.T) {
	d := Decoder{FromServer: true}
	for _, tt := range []struct {
		hex  string
		v    Version
		want *Error
	}{
		{"10", V5, errDirection},
		{"82", V5, errDirection},
		{"a2", V5, errDirection},
		{"c0", V311, errDirection},
		{"e0", V311, errDirection}, // a server has said nothing before it closed until 5.0
		{"e0", V31, errDirection},
		{"f0", V31, errReserved},
	} {
		if _, _, err := d.Next(unhex(t, tt.hex), tt.v, 0); err != error(tt.want) {
			t.Errorf("%s of %v: got %v, want %v", tt.hex, tt.v, err, tt.want)
		}
	}
}

// A CONNECT in error comes with what is needed to answer it.
func TestBadConnect(t *testing.T) {
	for _, tt := range []struct {
		what string
		hex  string
		size uint32
		v    Version
		code ReasonCode
	}{
		{"level 6", "100e 0004 4d515454 06 02 003c 00 0001 61", 0, V5, UnsupportedProtocolVersion},
		{"level 2", "100d 0004 4d515454 02 02 003c 0001 61", 0, V311, UnsupportedProtocolVersion},
		{"level 4 with the bit of a bridge", "100d 0004 4d515454 84 02 003c 0001 61", 0, V311, UnsupportedProtocolVersion},
		{"MQIsdp at level 4", "100f 0006 4d5149736470 04 02 003c 0001 61", 0, V311, UnsupportedProtocolVersion},
		{"MQTT at level 3", "100d 0004 4d515454 03 02 003c 0001 61", 0, V311, UnsupportedProtocolVersion},
		{"another name", "100d 0004 4d515458 05 02 003c 0001 61", 0, 0, UnsupportedProtocolVersion},
		{"cut in the name", "1003 0004 4d", 0, 0, MalformedPacket},
		{"cut behind the level", "1007 0004 4d515454 05", 0, V5, MalformedPacket},
		{"flags", "100d 0004 4d515454 04 03 003c 0001 61", 0, V311, MalformedPacket},
		{"length in two bytes", "108e00 0004 4d515454 05 02 003c 00 0001 61", 0, V5, MalformedPacket},
		{"Will topic with a wildcard", "1013 0004 4d515454 04 06 003c 0001 61 0002 2f23 0000", 0, V311, ProtocolError},
		{"Will topic empty", "1011 0004 4d515454 04 06 003c 0001 61 0000 0000", 0, V311, ProtocolError},
		{"too large", "10ff7f 0004 4d515454 05", 100, V5, PacketTooLarge},
		{"too large, level yet to come", "10ff7f 0004 4d51", 100, 0, PacketTooLarge},
	} {
		var d Decoder
		p, n, err := d.Next(unhex(t, tt.hex), 0, tt.size)
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code || n != 0 {
			t.Errorf("%s: got %v, %d, %v; want %v", tt.what, p, n, err, tt.code)
			continue
		}
		if c, ok := p.(*Connect); !ok || c.Version != tt.v {
			t.Errorf("%s: got %+v, want version %v", tt.what, p, tt.v)
		}
	}
	// Before 5.0 no rule asks for the shortest form.
	var d Decoder
	if _, n, err := d.Next(unhex(t, "108d00 0004 4d515454 04 02 003c 0001 61"), 0, 0); n != 16 || err != nil {
		t.Errorf("remaining length in two bytes: got %d, %v", n, err)
	}
}

// Rules that no row of the test data breaks.
func TestBrokenRules(t *testing.T) {
	for _, tt := range []struct {
		what       string
		v          Version
		fromServer bool
		hex        string
		want       *Error
	}{
		{"PUBLISH without a topic or alias", V5, false, "30 04 0000 00 61", errTopicEmpty},
		{"PUBLISH with a wildcard and an alias", V5, false, "30 07 0001 23 03 23 0001", errTopicWildcard},
		{"PUBLISH with an empty response topic", V5, false, "30 07 0001 61 03 08 0000", errTopicEmpty},
		{"PUBLISH with properties cut", V5, false, "30 05 0001 61 02 01", errShort},
		{"PUBLISH with a length cut", V5, false, "30 04 0001 61 80", errShort},
		{"PUBLISH with a length in two bytes", V5, false, "30 05 0001 61 8000", errVarint},
		{"PUBLISH with a length in five bytes", V5, false, "30 08 0001 61 8080808001", errVarint},
		{"PUBLISH with packet identifier 0", V5, true, "34 06 0001 61 0000 00", errPacketID},
		{"PUBACK with packet identifier 0", V311, false, "40 02 0000", errPacketID},
		{"PUBACK with more", V311, false, "40 03 0001 00", errTrailing},
		{"PUBACK with more than properties", V5, false, "40 05 0001 00 00 00", errTrailing},
		{"PUBREL with packet identifier 0", V5, false, "62 02 0000", errPacketID},
		{"SUBSCRIBE with bit 2 in 3.1", V31, false, "82 06 0001 0001 61 05", errOptions},
		{"SUBSCRIBE with QoS 3 in 3.1", V31, false, "82 06 0001 0001 61 03", errQoS3},
		{"SUBSCRIBE without filter", V5, false, "82 03 0001 00", errNoSubscription},
		{"SUBSCRIBE with U+0000", V5, false, "82 07 0001 00 0001 00 00", errUTF8},
		{"UNSUBSCRIBE with packet identifier 0", V311, false, "a2 05 0000 0001 61", errPacketID},
		{"UNSUBSCRIBE without filter", V5, false, "a2 03 0001 00", errNoSubscription},
		{"UNSUBSCRIBE with a bad filter", V5, false, "a2 06 0001 00 0001 ff", errUTF8},
		{"SUBACK without codes", V311, true, "90 02 0001", errNoCode},
		{"SUBACK without codes", V5, true, "90 03 0001 00", errNoCode},
		{"UNSUBACK without codes", V5, true, "b0 03 0001 00", errNoCode},
		{"UNSUBACK with codes before 5.0", V311, true, "b0 03 0001 00", errTrailing},
		{"PINGREQ with more", V5, false, "c0 01 00", errTrailing},
		{"PINGRESP with more", V5, true, "d0 01 00", errTrailing},
		{"DISCONNECT with more", V5, false, "e0 03 00 00 00", errTrailing},
		{"CONNACK with more", V311, true, "20 03 00 00 00", errTrailing},
		{"CONNACK cut", V311, true, "20 01 00", errShort},
		{"AUTH with another property before the method", V5, true, "f0 05 18 03 160000", errAuthMethod},
	} {
		d := Decoder{FromServer: tt.fromServer}
		p, n, err := d.Next(unhex(t, tt.hex), tt.v, 0)
		if p != nil || n != 0 || err != error(tt.want) {
			t.Errorf("%s: got %+v, %d, %v; want %v", tt.what, p, n, err, tt.want)
		}
	}
}

// In MQTT 3.1 byte 1 of CONNACK means nothing.
func TestConnackOf31(t *testing.T) {
	d := Decoder{FromServer: true}
	for _, hex := range []string{"20 02 01 05", "20 02 fe 05"} {
		p, _, err := d.Next(unhex(t, hex), V31, 0)
		if c, ok := p.(*Connack); err != nil || !ok || c.SessionPresent || c.Code != NotAuthorized {
			t.Errorf("%s: got %+v, %v", hex, p, err)
		}
	}
}

// A field is cut so that what is appended to it does not reach the next one.
func TestViewsEndWithTheField(t *testing.T) {
	b := (&Publish{Message: Message{Topic: []byte("a"), Payload: []byte("payload"), ContentType: []byte("c")}}).Append(nil, V5)
	b = append(b, "next"...)
	want := bytes.Clone(b)
	var d Decoder
	p, _, err := d.Next(b, V5, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := p.(*Publish).Message
	for _, view := range [][]byte{m.Topic, m.Payload, m.ContentType} {
		_ = append(view, '!')
	}
	if !bytes.Equal(b, want) {
		t.Errorf("bytes became %q, want %q", b, want)
	}
}

// The lengths at which one more byte of length is needed.
func TestLengthSteps(t *testing.T) {
	for _, payload := range []int{0, 122, 123, 124, 16378, 16379, 16380, 2097146, 2097147, 2097148} {
		for _, property := range []int{-1, 0, 124, 125, 16380, 16381, 65535} {
			want := &Publish{Message: Message{Topic: []byte("a/b"), Payload: make([]byte, payload)}}
			if property >= 0 {
				want.CorrelationData = bytes.Repeat([]byte("c"), property)
			}
			b := want.Append(nil, V5)
			var d Decoder
			p, n, err := d.Next(b, V5, 0)
			if err != nil || n != len(b) {
				t.Fatalf("payload of %d, property of %d: got %d of %d bytes, %v", payload, property, n, len(b), err)
			}
			if got := p.(*Publish); string(got.Topic) != "a/b" || len(got.Payload) != payload || !bytes.Equal(got.CorrelationData, want.CorrelationData) {
				t.Errorf("payload of %d, property of %d: got %.60q, %d, %d", payload, property, got.Topic, len(got.Payload), len(got.CorrelationData))
			}
		}
	}
}

// A string too long for its length field must not spoil the packets behind.
func TestAppendCutsLongStrings(t *testing.T) {
	b := (&Disconnect{Code: UnspecifiedError, ReasonString: bytes.Repeat([]byte("r"), 70000)}).Append(nil, V5)
	var d Decoder
	p, n, err := d.Next(b, V5, 0)
	if err != nil || n != len(b) || len(p.(*Disconnect).ReasonString) != 65535 {
		t.Errorf("got %d of %d bytes, %v", n, len(b), err)
	}
}

// full are packets as rich as a device sends them, of the types that must not
// allocate.
func full() map[string]Packet {
	user := []UserProperty{{[]byte("site"), []byte("north")}, {[]byte("unit"), []byte("°C")}}
	ack := Puback{ID: 7, Code: Success, ReasonString: []byte("as you wish"), User: user}
	rec, rel, comp := Pubrec(ack), Pubrel(ack), Pubcomp(ack)
	return map[string]Packet{
		"PUBLISH QoS 0": &Publish{Message: Message{Topic: []byte("plant/7/pump/temperature"), Payload: make([]byte, 300)}},
		"PUBLISH QoS 1": &Publish{ID: 7, Message: Message{Topic: []byte("plant/7/pump/temperature"), Payload: make([]byte, 60), QoS: 1}},
		"PUBLISH QoS 2": &Publish{ID: 7, TopicAlias: 1, SubscriptionIDs: []uint32{1, 2}, Message: Message{
			Topic: []byte("plant/7/pump/temperature"), Payload: make([]byte, 60), QoS: 2,
			HasPayloadFormat: true, HasMessageExpiry: true, MessageExpiry: 60, ContentType: []byte("text/plain"),
			ResponseTopic: []byte("re/ply"), CorrelationData: []byte{1, 2}, User: user,
		}},
		"PUBACK":  &ack,
		"PUBREC":  &rec,
		"PUBREL":  &rel,
		"PUBCOMP": &comp,
	}
}

func TestNoAllocation(t *testing.T) {
	for name, p := range full() {
		for _, v := range []Version{V31, V311, V5} {
			b := p.Append(nil, v)
			d := Decoder{FromServer: true}
			if n := testing.AllocsPerRun(100, func() {
				if _, _, err := d.Next(b, v, 0); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s of %v: decoding allocates %v times", name, v, n)
			}
			out := make([]byte, 0, 2*len(b))
			if n := testing.AllocsPerRun(100, func() { out = p.Append(out[:0], v) }); n != 0 {
				t.Errorf("%s of %v: appending allocates %v times", name, v, n)
			}
		}
	}
}

// Neither a length that was only declared nor an error costs memory.
func TestNoAllocationForPromises(t *testing.T) {
	for _, hex := range []string{
		"30ffffff7f", "10ffffff7f0004", "30ffffff7fffff6161", "82ffffff7f0001ffff", "32 05 0001 ff 0001", "00", "30ffffffff",
	} {
		b := unhex(t, hex)
		v := V5
		if b[0] == 0x10 {
			v = 0
		}
		var d Decoder
		if n := testing.AllocsPerRun(100, func() { d.Next(b, v, 0) }); n != 0 {
			t.Errorf("%s: allocates %v times", hex, n)
		}
	}
}

// Lists of the smallest elements that fit cost the most memory for a byte that
// came, and a Decoder does not hold on to it.
func TestMemoryIsBounded(t *testing.T) {
	const n = 100000
	empty := make([]Subscription, n)
	for name, p := range map[string]Packet{
		"user properties":          &Publish{Message: Message{Topic: []byte("a"), User: make([]UserProperty, n)}},
		"subscription identifiers": &Publish{Message: Message{Topic: []byte("a")}, SubscriptionIDs: bytesToIDs(n)},
		"subscriptions":            &Subscribe{ID: 1, Subscriptions: empty},
		"filters":                  &Unsubscribe{ID: 1, Filters: make([][]byte, n)},
		"codes":                    &Suback{ID: 1, Codes: make([]ReasonCode, n)},
	} {
		b := p.Append(nil, V5)
		d := Decoder{FromServer: p.Type() == TypePublish || p.Type() == TypeSuback}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := d.Next(b, V5, 0)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 100*uint64(len(b)) {
			t.Errorf("%s: %d bytes allocate %d", name, len(b), got)
		} else {
			t.Logf("%s: %.1f bytes are allocated for each that came", name, float64(got)/float64(len(b)))
		}
		small := (&Publish{Message: Message{Topic: []byte("a"), User: make([]UserProperty, 1)}, SubscriptionIDs: []uint32{1}}).Append(nil, V5)
		if p.Type() != TypePublish {
			continue
		}
		if _, _, err := d.Next(small, V5, 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := cap(d.lists.users) + cap(d.lists.ids); got > 16 {
			t.Errorf("%s: room for %d is kept", name, got)
		}
	}
}

func bytesToIDs(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = 1
	}
	return ids
}

func TestMaxList(t *testing.T) {
	const most = 3
	list := func(n int) (filters [][]byte, subs []Subscription, user []UserProperty) {
		for range n {
			filters = append(filters, []byte("a"))
			subs = append(subs, Subscription{Filter: []byte("a")})
			user = append(user, UserProperty{Name: []byte("n"), Value: []byte("v")})
		}
		return filters, subs, user
	}
	d := Decoder{MaxList: most}
	next := func(p Packet) (Packet, error) {
		b := p.Append(nil, V5)
		got, n, err := d.Next(b, V5, 0)
		if err == nil && n != len(b) {
			t.Errorf("%d bytes of %d", n, len(b))
		}
		return got, err
	}
	for n, want := range map[int]error{most: nil, most + 1: errFilters} {
		filters, subs, _ := list(n)
		if _, err := next(&Subscribe{ID: 1, Subscriptions: subs}); err != want {
			t.Errorf("SUBSCRIBE of %d: %v, want %v", n, err, want)
		}
		if _, err := next(&Unsubscribe{ID: 1, Filters: filters}); err != want {
			t.Errorf("UNSUBSCRIBE of %d: %v, want %v", n, err, want)
		}
	}
	for n, want := range map[int]int{most: most, most + 1: most + 1, most + 5: most + 1} {
		m := Message{Topic: []byte("t"), Payload: []byte("x")}
		_, _, m.User = list(n)
		got, err := next(&Publish{Message: m, TopicAlias: 7})
		if err != nil {
			t.Fatal(err)
		}
		if p := got.(*Publish); len(p.User) != want || p.TopicAlias != 7 || string(p.Payload) != "x" {
			t.Errorf("of %d user properties %d are kept, want %d; alias %d, payload %q", n, len(p.User), want, p.TopicAlias, p.Payload)
		}
		got, err = next(&Connect{Version: V5, ClientID: []byte("c"), User: m.User, Will: &Will{Message: m}})
		if err != nil {
			t.Fatal(err)
		}
		if c := got.(*Connect); len(c.User) != want || len(c.Will.User) != want {
			t.Errorf("of %d user properties of CONNECT %d are kept, of its Will %d, want %d", n, len(c.User), len(c.Will.User), want)
		}
	}
}
