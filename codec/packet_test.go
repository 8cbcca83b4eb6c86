package codec

import (
	"bytes"
	"reflect"
	"testing"
)

// packets draws packets byte by byte, beside what they mean. The bytes are the
// ones Append writes.
var packets = []struct {
	what       string
	v          Version
	fromServer bool
	hex        string
	p          Packet
}{
	{
		"CONNECT of 3.1", V31, false,
		"10 27  0006 4d5149736470 03 f6 0258  0003 636964  0003 772f74  0003 627965  0004 75736572  0004 70617373",
		&Connect{
			Version: V31, CleanStart: true, KeepAlive: 600, ClientID: []byte("cid"),
			Username: []byte("user"), Password: []byte("pass"),
			Will: &Will{Message: Message{Topic: []byte("w/t"), Payload: []byte("bye"), QoS: 2, Retain: true}},
		},
	},
	{
		"CONNECT of 3.1.1, Will at QoS 1, no clean session", V311, false,
		"10 14  0004 4d515454 04 0c 001e  0001 61  0001 77  0002 ff00",
		&Connect{
			Version: V311, KeepAlive: 30, ClientID: []byte("a"),
			Will: &Will{Message: Message{Topic: []byte("w"), Payload: []byte{0xff, 0}, QoS: 1}},
		},
	},
	{
		"CONNECT of 5.0 with all properties", V5, false,
		"10 67  0004 4d515454 05 46 003c" +
			"28 11 0000003c  21 0014  27 00010000  22 000a  19 01  17 00  26 0001 6b 0001 76  15 0005 5343524d41  16 0002 0001" +
			"0000" +
			"27 18 00000005  01 01  02 0000001e  03 0001 74  08 0003 722f74  09 0001 02  26 0001 61 0000  26 0001 61 0001 32" +
			"0001 77  0003 627965  0000",
		&Connect{
			Version: V5, CleanStart: true, KeepAlive: 60, ClientID: []byte{}, Password: []byte{},
			SessionExpiry: 60, ReceiveMaximum: 20, MaximumPacketSize: 65536, TopicAliasMaximum: 10,
			RequestResponseInfo: true, NoProblemInfo: true,
			AuthMethod: []byte("SCRMA"), AuthData: []byte{0, 1},
			User: []UserProperty{{[]byte("k"), []byte("v")}},
			Will: &Will{
				Delay: 5,
				Message: Message{
					Topic: []byte("w"), Payload: []byte("bye"),
					HasPayloadFormat: true, PayloadFormat: 1, HasMessageExpiry: true, MessageExpiry: 30,
					ContentType: []byte("t"), ResponseTopic: []byte("r/t"), CorrelationData: []byte{2},
					User: []UserProperty{{[]byte("a"), []byte{}}, {[]byte("a"), []byte("2")}},
				},
			},
		},
	},
	{
		"CONNACK of 3.1.1", V311, true,
		"20 02 01 00",
		&Connack{SessionPresent: true, MaximumQoS: 2},
	},
	{
		"CONNACK of 3.1.1, not authorized", V311, true,
		"20 02 00 05",
		&Connack{Code: NotAuthorized, MaximumQoS: 2},
	},
	{
		"CONNACK of 5.0 with nothing", V5, true,
		"20 03 01 00 00",
		&Connack{SessionPresent: true, MaximumQoS: 2},
	},
	{
		"CONNACK of 5.0 with all properties", V5, true,
		"20 46 00 9c 43  11 ffffffff  21 000a  24 00  25 00  27 000f4240  12 0002 6964  22 0005  1f 0002 6f6b" +
			"26 0001 6b 0001 76  28 00  29 00  2a 00  13 0000  1a 0001 72  1c 0006 622e3a313838  15 0001 4d  16 0001 01",
		&Connack{
			Code: UseAnotherServer, HasSessionExpiry: true, SessionExpiry: 0xffffffff, ReceiveMaximum: 10,
			MaximumQoS: 0, NoRetain: true, MaximumPacketSize: 1000000, AssignedClientID: []byte("id"),
			TopicAliasMaximum: 5, ReasonString: []byte("ok"), User: []UserProperty{{[]byte("k"), []byte("v")}},
			NoWildcard: true, NoSubscriptionIDs: true, NoShared: true, HasServerKeepAlive: true,
			ResponseInfo: []byte("r"), ServerReference: []byte("b.:188"), AuthMethod: []byte("M"), AuthData: []byte{1},
		},
	},
	{
		"PUBLISH at QoS 0", V311, false,
		"31 08  0003 612f62  010203",
		&Publish{Message: Message{Topic: []byte("a/b"), Payload: []byte{1, 2, 3}, Retain: true}},
	},
	{
		"PUBLISH at QoS 1, again", V31, true,
		"3a 05  0001 61  fffe",
		&Publish{Message: Message{Topic: []byte("a"), Payload: []byte{}, QoS: 1}, Dup: true, ID: 0xfffe},
	},
	{
		"PUBLISH of 5.0 at QoS 2 with all properties", V5, true,
		"34 32  0001 61  1234" +
			"2b  01 00  02 0000003c  03 0001 74  08 0001 72  09 0000  26 0001 78 0001 31  26 0000 0000  23 0003  0b 01  0b ffffff7f  0b 8001" +
			"68",
		&Publish{
			Message: Message{
				Topic: []byte("a"), Payload: []byte("h"), QoS: 2,
				HasPayloadFormat: true, HasMessageExpiry: true, MessageExpiry: 60,
				ContentType: []byte("t"), ResponseTopic: []byte("r"), CorrelationData: []byte{},
				User: []UserProperty{{[]byte("x"), []byte("1")}, {[]byte{}, []byte{}}},
			},
			ID: 0x1234, TopicAlias: 3, SubscriptionIDs: []uint32{1, 268435455, 128},
		},
	},
	{
		"PUBLISH of 5.0 by alias", V5, false,
		"30 07  0000  03 23 ffff  78",
		&Publish{Message: Message{Topic: []byte{}, Payload: []byte("x")}, TopicAlias: 0xffff},
	},
	{"PUBACK", V311, false, "40 02 1234", &Puback{ID: 0x1234}},
	{"PUBREC", V31, true, "50 02 0001", &Pubrec{ID: 1}},
	{"PUBREL", V311, true, "62 02 0001", &Pubrel{ID: 1}},
	{"PUBCOMP", V5, false, "70 02 0001", &Pubcomp{ID: 1}},
	{"PUBACK of 5.0 with a reason", V5, true, "40 03 0001 10", &Puback{ID: 1, Code: NoMatchingSubscribers}},
	{
		"PUBREC of 5.0 with all properties", V5, true,
		"50 12  0001 97  0e  1f 0001 66  26 0000 0000  26 0000 0000",
		&Pubrec{ID: 1, Code: QuotaExceeded, ReasonString: []byte("f"), User: []UserProperty{{[]byte{}, []byte{}}, {[]byte{}, []byte{}}}},
	},
	{
		"PUBREL of 5.0 with a user property", V5, false,
		"62 0b  0001 00  07  26 0001 6b 0001 76",
		&Pubrel{ID: 1, User: []UserProperty{{[]byte("k"), []byte("v")}}},
	},
	{
		"PUBCOMP of 5.0 with an empty reason string", V5, false,
		"70 07  0001 92  03  1f 0000",
		&Pubcomp{ID: 1, Code: PacketIdentifierNotFound, ReasonString: []byte{}},
	},
	{
		"SUBSCRIBE of 3.1.1", V311, false,
		"82 0b  000a  0001 23 02  0002 2b2f 00",
		&Subscribe{ID: 10, Subscriptions: []Subscription{{Filter: []byte("#"), QoS: 2}, {Filter: []byte("+/")}}},
	},
	{
		"SUBSCRIBE of 5.0 with all options", V5, false,
		"82 1c  000a  09 0b 8001 26 0000 0001 76  0001 61 04  0001 62 08  0001 63 11  0001 64 22",
		&Subscribe{
			ID: 10, SubscriptionID: 128, User: []UserProperty{{[]byte{}, []byte("v")}},
			Subscriptions: []Subscription{
				{Filter: []byte("a"), NoLocal: true},
				{Filter: []byte("b"), RetainAsPublished: true},
				{Filter: []byte("c"), QoS: 1, RetainHandling: 1},
				{Filter: []byte("d"), QoS: 2, RetainHandling: 2},
			},
		},
	},
	{
		"SUBACK of 3.1.1", V311, true,
		"90 06 000a  00 01 02 80",
		&Suback{ID: 10, Codes: []ReasonCode{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}},
	},
	{
		"SUBACK of 5.0", V5, true,
		"90 10 000a  0b 1f 0001 6e 26 0001 6b 0001 76  02 8f",
		&Suback{ID: 10, ReasonString: []byte("n"), User: []UserProperty{{[]byte("k"), []byte("v")}}, Codes: []ReasonCode{GrantedQoS2, TopicFilterInvalid}},
	},
	{
		"UNSUBSCRIBE of 3.1", V31, false,
		"a2 08  000b  0001 61  0001 62",
		&Unsubscribe{ID: 11, Filters: [][]byte{[]byte("a"), []byte("b")}},
	},
	{
		"UNSUBSCRIBE of 5.0", V5, false,
		"a2 0d  000b  07 26 0001 6b 0001 76  0001 61",
		&Unsubscribe{ID: 11, User: []UserProperty{{[]byte("k"), []byte("v")}}, Filters: [][]byte{[]byte("a")}},
	},
	{"UNSUBACK of 3.1.1", V311, true, "b0 02 000b", &Unsuback{ID: 11}},
	{
		"UNSUBACK of 5.0", V5, true,
		"b0 10  000b  0b 1f 0001 6e 26 0001 6b 0001 76  00 11",
		&Unsuback{ID: 11, ReasonString: []byte("n"), User: []UserProperty{{[]byte("k"), []byte("v")}}, Codes: []ReasonCode{Success, NoSubscriptionExisted}},
	},
	{"PINGREQ", V31, false, "c0 00", &Pingreq{}},
	{"PINGRESP", V5, true, "d0 00", &Pingresp{}},
	{"DISCONNECT of 3.1.1", V311, false, "e0 00", &Disconnect{}},
	{"DISCONNECT of 5.0, normal", V5, false, "e0 00", &Disconnect{}},
	{"DISCONNECT of 5.0 with a reason", V5, false, "e0 01 04", &Disconnect{Code: DisconnectWithWill}},
	{
		"DISCONNECT of 5.0 with expiry", V5, false,
		"e0 12  00  10  11 00000000  1f 0001 62  26 0001 6b 0001 76",
		&Disconnect{HasSessionExpiry: true, ReasonString: []byte("b"), User: []UserProperty{{[]byte("k"), []byte("v")}}},
	},
	{
		"DISCONNECT of 5.0 to another server", V5, true,
		"e0 07  9d  05  1c 0002 622e",
		&Disconnect{Code: ServerMoved, ServerReference: []byte("b.")},
	},
	{
		"AUTH", V5, false,
		"f0 14  18  12  15 0001 4d  16 0001 ff  1f 0001 72  26 0000 0001 76",
		&Auth{Code: ContinueAuthentication, AuthMethod: []byte("M"), AuthData: []byte{0xff}, ReasonString: []byte("r"), User: []UserProperty{{[]byte{}, []byte("v")}}},
	},
	{"AUTH, success", V5, true, "f0 06  00  04  15 0001 4d", &Auth{AuthMethod: []byte("M")}},
	{"AUTH, again", V5, false, "f0 05  19  03  15 0000", &Auth{Code: Reauthenticate, AuthMethod: []byte{}}},
}

func TestPackets(t *testing.T) {
	for _, tt := range packets {
		b := unhex(t, tt.hex)
		d := &Decoder{FromServer: tt.fromServer}
		v := tt.v
		if tt.p.Type() == TypeConnect {
			v = 0
		}
		p, n, err := d.Next(b, v, uint32(len(b)))
		if err != nil || n != len(b) || !reflect.DeepEqual(p, tt.p) {
			t.Errorf("%s: decoded as\n%+v, %d, %v; want\n%+v, %d", tt.what, p, n, err, tt.p, len(b))
		}
		if got := tt.p.Append(nil, tt.v); !bytes.Equal(got, b) {
			t.Errorf("%s: appended as\n% x, want\n% x", tt.what, got, b)
		}
	}
}

// Nothing of a packet may be seen in the next one of its type.
func TestDecoderForgets(t *testing.T) {
	for _, fromServer := range []bool{false, true} {
		d := &Decoder{FromServer: fromServer}
		for range 2 {
			for _, tt := range packets {
				if tt.fromServer != fromServer {
					continue
				}
				v := tt.v
				if tt.p.Type() == TypeConnect {
					v = 0
				}
				if p, _, err := d.Next(unhex(t, tt.hex), v, 0); err != nil || !reflect.DeepEqual(p, tt.p) {
					t.Errorf("%s: decoded as\n%+v, %v; want\n%+v", tt.what, p, err, tt.p)
				}
			}
		}
	}
}

// What older versions cannot say is translated or left out.
func TestAppendToOlderVersions(t *testing.T) {
	user := []UserProperty{{[]byte("k"), []byte("v")}}
	for _, tt := range []struct {
		what string
		v    Version
		p    Packet
		hex  string
	}{
		{"session present", V31, &Connack{SessionPresent: true}, "20 02 00 00"},
		{"properties of CONNACK", V311, &Connack{ReceiveMaximum: 1, User: user}, "20 02 00 00"},
		{"properties of PUBLISH", V311, &Publish{Message: Message{Topic: []byte("a"), ContentType: []byte("t"), User: user}, TopicAlias: 1, SubscriptionIDs: []uint32{1}}, "30 03 0001 61"},
		{"reason of PUBACK", V311, &Puback{ID: 1, Code: QuotaExceeded, ReasonString: []byte("full"), User: user}, "40 02 0001"},
		{"options of SUBSCRIBE", V311, &Subscribe{ID: 1, SubscriptionID: 1, User: user, Subscriptions: []Subscription{{[]byte("a"), 1, true, true, 2}}}, "82 06 0001 0001 61 01"},
		{"codes of SUBACK", V311, &Suback{ID: 1, User: user, Codes: []ReasonCode{GrantedQoS2, NotAuthorized, UnspecifiedError, WildcardSubscriptionsNotSupported}}, "90 06 0001 02 80 80 80"},
		{"UNSUBSCRIBE", V311, &Unsubscribe{ID: 1, User: user, Filters: [][]byte{[]byte("a")}}, "a2 05 0001 0001 61"},
		{"codes of UNSUBACK", V311, &Unsuback{ID: 1, User: user, Codes: []ReasonCode{NoSubscriptionExisted}}, "b0 02 0001"},
		{"reason of DISCONNECT", V311, &Disconnect{Code: ServerShuttingDown, HasSessionExpiry: true}, "e0 00"},
		{"AUTH", V311, &Auth{AuthMethod: []byte("M")}, ""},
	} {
		if got, want := tt.p.Append(nil, tt.v), unhex(t, tt.hex); !bytes.Equal(got, want) {
			t.Errorf("%s: appended as % x, want % x", tt.what, got, want)
		}
	}
}

func TestReturnCodes(t *testing.T) {
	want := map[ReasonCode]byte{
		Success:                    0,
		UnsupportedProtocolVersion: 1,
		ClientIdentifierNotValid:   2,
		UnspecifiedError:           3, ImplementationSpecificError: 3, ServerUnavailable: 3, ServerBusy: 3,
		QuotaExceeded: 3, UseAnotherServer: 3, ServerMoved: 3, ConnectionRateExceeded: 3,
		BadUserNameOrPassword: 4, BadAuthenticationMethod: 4,
		NotAuthorized: 5, Banned: 5,
	}
	for c := range 256 {
		got := (&Connack{Code: ReasonCode(c)}).Append(nil, V311)
		code, ok := want[ReasonCode(c)]
		if ok && !bytes.Equal(got, []byte{0x20, 2, 0, code}) || !ok && len(got) != 0 {
			t.Errorf("%v: appended as % x, want return code %d, %v", ReasonCode(c), got, code, ok)
		}
	}
}

// The tables of reason codes of section 2.4 and of chapter 3, written again.
func TestReasonCodes(t *testing.T) {
	for _, tt := range []struct {
		name       string
		v          Version
		fromServer bool
		packet     func(c byte) []byte
		codes      string
	}{
		{"CONNACK", V5, true, func(c byte) []byte { return []byte{0x20, 3, 0, c, 0} }, "00 80818283848586878889 8a 8c 90 95 97 99 9a9b9c9d 9f"},
		{"CONNACK", V311, true, func(c byte) []byte { return []byte{0x20, 2, 0, c} }, "000102030405"},
		{"PUBACK", V5, false, func(c byte) []byte { return []byte{0x40, 3, 0, 1, c} }, "00 10 80 83 87 90 91 97 99"},
		{"PUBREC", V5, true, func(c byte) []byte { return []byte{0x50, 3, 0, 1, c} }, "00 10 80 83 87 90 91 97 99"},
		{"PUBREL", V5, false, func(c byte) []byte { return []byte{0x62, 3, 0, 1, c} }, "00 92"},
		{"PUBCOMP", V5, true, func(c byte) []byte { return []byte{0x70, 3, 0, 1, c} }, "00 92"},
		{"SUBACK", V5, true, func(c byte) []byte { return []byte{0x90, 4, 0, 1, 0, c} }, "000102 80 83 87 8f 91 97 9e a1a2"},
		{"SUBACK", V311, true, func(c byte) []byte { return []byte{0x90, 3, 0, 1, c} }, "000102 80"},
		{"UNSUBACK", V5, true, func(c byte) []byte { return []byte{0xb0, 4, 0, 1, 0, c} }, "00 11 80 83 87 8f 91"},
		{"DISCONNECT", V5, false, func(c byte) []byte { return []byte{0xe0, 1, c} }, "00 04 80818283 90 93949596979899 9b"},
		{"DISCONNECT", V5, true, func(c byte) []byte { return []byte{0xe0, 1, c} }, "00 80818283 87 89 8b8c8d8e8f90 939495969798999a9b9c9d9e9f a0a1a2"},
		{"AUTH", V5, false, func(c byte) []byte { return []byte{0xf0, 6, c, 4, 0x15, 0, 1, 'M'} }, "1819"},
		{"AUTH", V5, true, func(c byte) []byte { return []byte{0xf0, 6, c, 4, 0x15, 0, 1, 'M'} }, "0018"},
	} {
		allowed := unhex(t, tt.codes)
		d := &Decoder{FromServer: tt.fromServer}
		for c := range 256 {
			_, _, err := d.Next(tt.packet(byte(c)), tt.v, 0)
			if got, want := err == nil, bytes.IndexByte(allowed, byte(c)) >= 0; got != want {
				t.Errorf("%s of %v, from server %v, code %#02x: error %v", tt.name, tt.v, tt.fromServer, c, err)
			}
		}
	}
	for c := range 256 {
		_, named := reasonNames[ReasonCode(c)]
		if text := ReasonCode(c).String(); named == (text[0] == 'r' && len(text) > 8 && text[:8] == "reason 0") {
			t.Errorf("code %#02x is %q", c, text)
		}
	}
}

// The table of properties of section 2.2.2.2: each property in each packet, once
// and twice.
func TestProperties(t *testing.T) {
	values := map[byte]string{
		0x01: "01", 0x02: "00000001", 0x03: "000161", 0x08: "000161", 0x09: "000161", 0x0b: "01", 0x11: "00000001",
		0x12: "000161", 0x13: "0001", 0x15: "000161", 0x16: "000161", 0x17: "01", 0x18: "00000001", 0x19: "01",
		0x1a: "000161", 0x1c: "000161", 0x1f: "000161", 0x21: "0001", 0x22: "0001", 0x23: "0001", 0x24: "01",
		0x25: "01", 0x26: "000161000162", 0x27: "00000001", 0x28: "01", 0x29: "01", 0x2a: "01",
	}
	for _, tt := range []struct {
		what       string
		fromServer bool
		c          byte
		before     string
		own        string // properties that must be there
		after      string
		ids        string
	}{
		{"CONNECT", false, 0x10, "00044d51545405020000", "", "000161", "11 15 17 19 21 22 26 27"}, // 16 needs 15
		{"CONNECT with a method", false, 0x10, "00044d51545405020000", "150000", "000161", "11 16 17 19 21 22 26 27"},
		{"Will", false, 0x10, "00044d5154540506000000000161", "", "0001770000", "01 02 03 08 09 18 26"},
		{"CONNACK", true, 0x20, "0000", "", "", "11 12 13 15 16 1a 1c 1f 21 22 24 25 26 27 28 29 2a"},
		{"PUBLISH of a client", false, 0x30, "000161", "", "", "01 02 03 08 09 23 26"},
		{"PUBLISH of a server", true, 0x30, "000161", "", "", "01 02 03 08 09 0b 23 26"},
		{"PUBACK", false, 0x40, "000100", "", "", "1f 26"},
		{"PUBREC", true, 0x50, "000100", "", "", "1f 26"},
		{"PUBREL", false, 0x62, "000100", "", "", "1f 26"},
		{"PUBCOMP", true, 0x70, "000100", "", "", "1f 26"},
		{"SUBSCRIBE", false, 0x82, "0001", "", "00016100", "0b 26"},
		{"SUBACK", true, 0x90, "0001", "", "00", "1f 26"},
		{"UNSUBSCRIBE", false, 0xa2, "0001", "", "000161", "26"},
		{"UNSUBACK", true, 0xb0, "0001", "", "00", "1f 26"},
		{"DISCONNECT of a client", false, 0xe0, "00", "", "", "11 1f 26"},
		{"DISCONNECT of a server", true, 0xe0, "00", "", "", "1c 1f 26"},
		{"AUTH", false, 0xf0, "18", "150000", "", "16 1f 26"},
	} {
		d := &Decoder{FromServer: tt.fromServer}
		decode := func(properties string) error {
			block := unhex(t, tt.own+properties)
			body := append(unhex(t, tt.before), byte(len(block)))
			body = append(append(body, block...), unhex(t, tt.after)...)
			b := append([]byte{tt.c, byte(len(body))}, body...)
			v := V5
			if tt.c == 0x10 {
				v = 0
			}
			p, n, err := d.Next(b, v, 0)
			if err == nil && (p == nil || n != len(b)) {
				t.Fatalf("%s: %x: got %v, %d of %d", tt.what, b, p, n, len(b))
			}
			return err
		}
		code := func(err error) ReasonCode {
			if err == nil {
				return Success
			}
			return err.(*Error).Code
		}
		allowed := unhex(t, tt.ids)
		for i := range 256 {
			id := byte(i)
			value := values[id]
			once := decode(hexByte(id) + value)
			switch {
			case bytes.IndexByte(allowed, id) >= 0:
				if once != nil {
					t.Errorf("%s: property %02x: %v", tt.what, id, once)
				}
				want := errPropertyTwice.Code
				if id == 0x26 || id == 0x0b && tt.c == 0x30 {
					want = Success
				}
				if twice := decode(hexByte(id) + value + hexByte(id) + value); code(twice) != want {
					t.Errorf("%s: property %02x twice: %v", tt.what, id, twice)
				}
			case once == nil:
				t.Errorf("%s: property %02x accepted", tt.what, id)
			case code(once) != MalformedPacket && once != errSubscriptionID && once != errAuthData &&
				once != errDisconnectExpiry && once != errDisconnectRedirect && once != errPropertyTwice:
				t.Errorf("%s: property %02x: %v", tt.what, id, once)
			}
			// A property that is cut is malformed, wherever it is.
			if err := decode(hexByte(id) + value[:max(len(value)-2, 0)]); id != 0 && value != "" && err == nil {
				t.Errorf("%s: property %02x cut: accepted", tt.what, id)
			}
		}
	}
}

func hexByte(b byte) string {
	return string("0123456789abcdef"[b>>4]) + string("0123456789abcdef"[b&15])
}
