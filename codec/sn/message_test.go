package sn

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"
)

// messages draws messages byte by byte, beside what they mean. The bytes are the
// ones Append writes.
var messages = []struct {
	hex string
	m   Message
}{
	{"05 00  07 0384", &Advertise{GatewayID: 7, Duration: 900}},
	{"03 01  02", &SearchGateway{Radius: 2}},
	{"03 02  07", &GatewayInfo{GatewayID: 7, Address: []byte{}}},
	{"07 02  07 7f000001", &GatewayInfo{GatewayID: 7, Address: []byte{127, 0, 0, 1}}},
	{"0a 04  0c 01 1234 64657631", &Connect{Will: true, CleanSession: true, ProtocolID: 1, Duration: 0x1234, ClientID: []byte("dev1")}},
	{"07 04  08 01 0000 61", &Connect{Will: true, ProtocolID: 1, ClientID: []byte("a")}},
	{"03 05  01", &Connack{Code: Congestion}},
	{"02 06", &WillTopicRequest{}},
	{"06 07  50 772f74", &WillTopic{QoS: 2, Retain: true, Topic: []byte("w/t")}},
	{"02 07", &WillTopic{}},
	{"02 08", &WillMessageRequest{}},
	{"06 09  676f6e65", &WillMessage{Message: []byte("gone")}},
	{"02 09", &WillMessage{Message: []byte{}}},
	{"09 0a  1234 5678 612f62", &Register{TopicID: 0x1234, MessageID: 0x5678, Topic: []byte("a/b")}},
	{"07 0b  1234 5678 03", &Regack{TopicID: 0x1234, MessageID: 0x5678, Code: NotSupported}},
	{"09 0c  d0 1234 5678 6869", &Publish{Dup: true, QoS: 2, Retain: true, TopicID: 0x1234, MessageID: 0x5678, Data: []byte("hi")}},
	{"08 0c  62 7474 0000 00", &Publish{QoS: -1, TopicIDType: ShortTopic, TopicID: 't'<<8 | 't', Data: []byte{0}}},
	{"07 0c  21 0003 0009", &Publish{QoS: 1, TopicIDType: PredefinedTopic, TopicID: 3, MessageID: 9, Data: []byte{}}},
	{"07 0d  1234 5678 02", &Puback{TopicID: 0x1234, MessageID: 0x5678, Code: InvalidTopicID}},
	{"04 0e  1234", &Pubcomp{MessageID: 0x1234}},
	{"04 0f  1234", &Pubrec{MessageID: 0x1234}},
	{"04 10  1234", &Pubrel{MessageID: 0x1234}},
	{"08 12  c0 1234 612f23", &Subscribe{Dup: true, QoS: 2, MessageID: 0x1234, Topic: []byte("a/#")}},
	{"07 12  21 0002 0003", &Subscribe{QoS: 1, TopicIDType: PredefinedTopic, MessageID: 2, TopicID: 3}},
	{"07 12  02 0002 6131", &Subscribe{TopicIDType: ShortTopic, MessageID: 2, TopicID: 'a'<<8 | '1'}},
	{"08 13  40 1234 5678 00", &Suback{QoS: 2, TopicID: 0x1234, MessageID: 0x5678}},
	{"08 14  00 1234 612f62", &Unsubscribe{MessageID: 0x1234, Topic: []byte("a/b")}},
	{"07 14  01 0002 0003", &Unsubscribe{TopicIDType: PredefinedTopic, MessageID: 2, TopicID: 3}},
	{"07 14  02 0002 6131", &Unsubscribe{TopicIDType: ShortTopic, MessageID: 2, TopicID: 'a'<<8 | '1'}},
	{"04 15  1234", &Unsuback{MessageID: 0x1234}},
	{"06 16  64657631", &Pingreq{ClientID: []byte("dev1")}},
	{"02 16", &Pingreq{ClientID: []byte{}}},
	{"02 17", &Pingresp{}},
	{"04 18  0078", &Disconnect{Duration: 120, HasDuration: true}},
	{"04 18  0000", &Disconnect{HasDuration: true}},
	{"02 18", &Disconnect{}},
	{"06 1a  20 772f74", &WillTopicUpdate{QoS: 1, Topic: []byte("w/t")}},
	{"02 1a", &WillTopicUpdate{}},
	{"03 1b  00", &WillTopicResponse{}},
	{"05 1c  6e6577", &WillMessageUpdate{Message: []byte("new")}},
	{"03 1d  03", &WillMessageResponse{Code: NotSupported}},
}

// One Decoder for all, twice: nothing of a message may be seen in the next one of
// its type.
func TestMessages(t *testing.T) {
	var d Decoder
	for range 2 {
		for _, tt := range messages {
			b := unhex(t, tt.hex)
			if m, err := d.Decode(b); err != nil || !reflect.DeepEqual(m, tt.m) {
				t.Errorf("%s: decoded as\n%#v, %v; want\n%#v", tt.hex, m, err, tt.m)
			} else if m.Type() != MessageType(b[1]) {
				t.Errorf("%s: type %v", tt.hex, m.Type())
			}
			if got := tt.m.Append(nil); !bytes.Equal(got, b) {
				t.Errorf("%v: appended as\n% x, want\n% x", tt.m.Type(), got, b)
			}
		}
	}
}

// The bodies that each type may have, in bytes, when they hold nothing but zeros.
// Every other body is refused, and so is every other type.
func TestBodies(t *testing.T) {
	const most = 20
	exactly := func(n ...int) func(int) bool { return func(v int) bool { return slices.Contains(n, v) } }
	from := func(n int) func(int) bool { return func(v int) bool { return v >= n } }
	bodies := map[MessageType]func(n int) bool{
		TypeAdvertise:           exactly(3),
		TypeSearchGateway:       exactly(1),
		TypeGatewayInfo:         from(1),
		TypeConnect:             from(4),
		TypeConnack:             exactly(1),
		TypeWillTopicRequest:    exactly(0),
		TypeWillTopic:           from(0),
		TypeWillMessageRequest:  exactly(0),
		TypeWillMessage:         from(0),
		TypeRegister:            from(5),
		TypeRegack:              exactly(5),
		TypePublish:             from(5),
		TypePuback:              exactly(5),
		TypePubcomp:             exactly(2),
		TypePubrec:              exactly(2),
		TypePubrel:              exactly(2),
		TypeSubscribe:           from(4),
		TypeSuback:              exactly(6),
		TypeUnsubscribe:         from(4),
		TypeUnsuback:            exactly(2),
		TypePingreq:             from(0),
		TypePingresp:            exactly(0),
		TypeDisconnect:          exactly(0, 2),
		TypeWillTopicUpdate:     from(0),
		TypeWillTopicResponse:   exactly(1),
		TypeWillMessageUpdate:   from(0),
		TypeWillMessageResponse: exactly(1),
	}
	var d Decoder
	for c := range 256 {
		typ := MessageType(c)
		for n := range most {
			b := append(appendFrame(nil, typ, n), make([]byte, n)...)
			m, err := d.Decode(b)
			if want := bodies[typ] != nil && bodies[typ](n); (err == nil) != want {
				t.Errorf("%v with a body of %d bytes: %+v, %v", typ, n, m, err)
			}
		}
	}
}

// An id in a subscription takes two bytes, whatever comes behind.
func TestBodiesOfIDs(t *testing.T) {
	for _, typ := range []MessageType{TypeSubscribe, TypeUnsubscribe} {
		for _, kind := range []TopicIDType{PredefinedTopic, ShortTopic} {
			for n := range 5 {
				b := append(appendFrame(nil, typ, 3+n), byte(kind), 0, 1)
				if m, err := new(Decoder).Decode(append(b, make([]byte, n)...)); (err == nil) != (n == 2) {
					t.Errorf("%v, %v, of %d bytes: %+v, %v", typ, kind, n, m, err)
				}
			}
		}
	}
}

// A Will without a topic is none, whatever its flags.
func TestEmptyWillTopic(t *testing.T) {
	for typ, want := range map[MessageType]Message{TypeWillTopic: &WillTopic{}, TypeWillTopicUpdate: &WillTopicUpdate{}} {
		m, err := new(Decoder).Decode([]byte{3, byte(typ), 0x30})
		if err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("%v: %+v, %v", typ, m, err)
		}
	}
}

func TestLengths(t *testing.T) {
	for n := 253; n <= 258; n++ {
		b := (&Publish{QoS: 1, TopicID: 5, MessageID: 7, Data: make([]byte, n-7)}).Append(nil)
		long := n > 255
		if want := n + 2*btoi(long); len(b) != want || (b[0] == 1) != long {
			t.Fatalf("%d bytes in short form: %d, first % x", n, len(b), b[:4])
		}
		if _, err := new(Decoder).Decode(b); err != nil {
			t.Errorf("%d bytes in short form: %v", n, err)
		}
		// The long form, whether it has to be or not.
		body := b[2+2*btoi(long):]
		b = append([]byte{1, 0, 0}, b[len(b)-len(body)-1:]...)
		binary.BigEndian.PutUint16(b[1:], uint16(len(b)))
		if m, err := new(Decoder).Decode(b); err != nil || len(m.(*Publish).Data) != n-7 {
			t.Errorf("%d bytes in long form: %+v, %v", len(b), m, err)
		}
		// An embedded C library counts two bytes too few.
		binary.BigEndian.PutUint16(b[1:], uint16(len(b)-2))
		if m, err := new(Decoder).Decode(b); err != errLength {
			t.Errorf("%d bytes with a length of %d: %+v, %v", len(b), len(b)-2, m, err)
		}
	}
	b := (&WillMessage{Message: make([]byte, 65535-4)}).Append(nil)
	if m, err := new(Decoder).Decode(b); err != nil || len(b) != 65535 || !bytes.Equal(m.Append(nil), b) {
		t.Errorf("the longest message: %d bytes, %v", len(b), err)
	}
}

func TestSetDup(t *testing.T) {
	for _, n := range []int{7, 255, 256} { // bytes in short form
		want := &Publish{QoS: 1, Retain: true, TopicIDType: ShortTopic, TopicID: 5, MessageID: 7, Data: make([]byte, n-7)}
		b := want.Append(nil)
		SetDup(b)
		want.Dup = true
		if m, err := new(Decoder).Decode(b); err != nil || !reflect.DeepEqual(m, Message(want)) {
			t.Errorf("%d bytes: %+v, %v", n, m, err)
		}
	}
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		TypeSearchGateway.String():       "SEARCHGW",
		TypeWillMessageResponse.String(): "WILLMSGRESP",
		TypeForward.String():             "FORWARD",
		MessageType(3).String():          "reserved 0x3",
		MessageType(0x1e).String():       "reserved 0x1e",
		InvalidTopicID.String():          "invalid topic id",
		ReturnCode(0x80).String():        "return code 0x80",
		ShortTopic.String():              "short",
		TopicIDType(3).String():          "reserved",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestViews(t *testing.T) {
	b := append(make([]byte, 0, 64), unhex(t, "08 0c  00 0005 0000 78")...) // as a receive buffer is
	m, _ := new(Decoder).Decode(b)
	data := m.(*Publish).Data
	if b[7] = 'y'; string(data) != "y" || cap(data) != 1 {
		t.Errorf("data %q with capacity %d is no view of its own", data, cap(data))
	}
}

func TestNoAllocations(t *testing.T) {
	var d Decoder
	for _, tt := range messages {
		b := unhex(t, tt.hex)
		out := make([]byte, 0, 2*len(b))
		if n := testing.AllocsPerRun(100, func() {
			if _, err := d.Decode(b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("decode %v: %v allocations", tt.m.Type(), n)
		}
		if n := testing.AllocsPerRun(100, func() { out = tt.m.Append(out[:0]) }); n != 0 {
			t.Errorf("append %v: %v allocations", tt.m.Type(), n)
		}
	}
	for _, r := range vectors(t) {
		if n := testing.AllocsPerRun(100, func() {
			if _, inner, err := CutForward(r.b); err == nil {
				d.Decode(inner)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", r.name, n)
		}
	}
}
