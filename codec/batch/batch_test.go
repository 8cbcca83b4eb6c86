package batch

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"sluice/codec"
)

func reading(i int) *codec.Message {
	return &codec.Message{
		Topic: fmt.Appendf(nil, "site7/sensors/%d/temp", i%20), QoS: byte(i % 2), Retain: i%7 == 0,
		Payload:     fmt.Appendf(nil, `{"sensor":"temp-%02d","time":"2026-11-28T04:%02d:%02dZ","value":%d.%d}`, i%20, i/60%60, i%60, 20+i%3, i%10),
		ContentType: []byte("application/json"), HasMessageExpiry: i%3 == 0, MessageExpiry: uint32(i),
	}
}

func readings(n int) (messages []byte) {
	for i := range n {
		messages = Append(messages, reading(i))
	}
	return messages
}

func mustDictionary(t testing.TB, content string) *Dictionary {
	d, err := NewDictionary([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPackedComesOutAsItWas(t *testing.T) {
	d := mustDictionary(t, string(readings(20)))
	for _, c := range []struct {
		name     string
		packer   *Packer
		unpacker *Unpacker
	}{
		{"without a dictionary", NewPacker(nil), NewUnpacker(nil)},
		{"with one", NewPacker(d), NewUnpacker([]*Dictionary{mustDictionary(t, "another one"), d})},
		{"with one that is not used", NewPacker(nil), NewUnpacker([]*Dictionary{d})},
	} {
		for _, n := range []int{1, 2, 100, MaxMessages} {
			payload := c.packer.Pack(nil, readings(n))
			i := 0
			err := c.unpacker.Unpack(payload, func(m *codec.Message) {
				if got, want := Append(nil, m), Append(nil, reading(i)); !bytes.Equal(got, want) {
					t.Fatalf("%s: message %d of %d is %q, want %q", c.name, i, n, got, want)
				}
				i++
			})
			if err != nil || i != n {
				t.Errorf("%s: %d of %d messages come out, error %v", c.name, i, n, err)
			}
		}
	}
}

func TestSmallerIfPossible(t *testing.T) {
	messages := readings(100)
	without, with := NewPacker(nil).Pack(nil, messages), NewPacker(mustDictionary(t, string(readings(20)))).Pack(nil, messages)
	t.Logf("%d bytes of messages: %d, with a dictionary %d", len(messages), len(without), len(with))
	if len(without) > len(messages)/4 || len(with) >= len(without) {
		t.Errorf("%d bytes become %d, with a dictionary %d", len(messages), len(without), len(with))
	}
	incompressible := Append(nil, &codec.Message{Topic: []byte("t"), Payload: []byte{0x9d, 0x13, 0xe7, 0x42}})
	if packed := NewPacker(nil).Pack([]byte("before"), incompressible); len(packed) != len("before")+Overhead+len(incompressible) {
		t.Errorf("%d bytes that can not be compressed become % x", len(incompressible), packed)
	}
}

// What is wrong is found before the first message is handed out.
func TestBadBatch(t *testing.T) {
	compress := func(b []byte, options ...zstd.EOption) []byte {
		enc, err := zstd.NewWriter(nil, options...)
		if err != nil {
			t.Fatal(err)
		}
		return enc.EncodeAll(b, []byte{version, frames})
	}
	whole := readings(3)
	aliased := (&codec.Publish{TopicAlias: 1, Message: codec.Message{Topic: []byte("t")}}).Append(nil, codec.V5)
	for name, payload := range map[string][]byte{
		"nothing":                nil,
		"a version only":         {version},
		"another version":        append([]byte{2, plain}, whole...),
		"another packing":        append([]byte{version, 7}, whole...),
		"no message":             {version, plain},
		"no message, compressed": compress(nil),
		"half a message":         append([]byte{version, plain}, whole[:len(whole)-1]...),
		"another packet":         append([]byte{version, plain}, append(whole, 0xC0, 0)...),
		"a topic alias":          append([]byte{version, plain}, append(whole, aliased...)...),
		"a bad topic":            append([]byte{version, plain}, append(whole, 0x30, 4, 0, 1, '#', 0)...),
		"no frame":               append([]byte{version, frames}, whole...),
		"half a frame":           compress(whole)[:40],
		"a bomb":                 compress(bytes.Repeat(readings(1), 50<<20/len(readings(1)))),
		"a bomb of unknown size": bomb(t, 50<<20),
		"two frames of 600 KiB":  append(compress(make([]byte, 600<<10)), compress(make([]byte, 600<<10))[2:]...),
		"a window of 8 MiB":      compress(make([]byte, 9<<20), zstd.WithWindowSize(8<<20)),
		"too much, plain":        append([]byte{version, plain}, bytes.Repeat(readings(1), MaxSize/len(readings(1))+1)...),
		"too many messages":      compress(readings(MaxMessages + 1)),
		"an unknown dictionary":  NewPacker(mustDictionary(t, string(readings(20)))).Pack(nil, whole),
	} {
		u := NewUnpacker(nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := u.Unpack(payload, func(m *codec.Message) { t.Errorf("%s: %q comes out", name, m.Topic) })
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s is taken", name)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 6<<20 {
			t.Errorf("%s: %d bytes were allocated", name, took)
		}
		if err := u.Unpack(NewPacker(nil).Pack(nil, whole), func(*codec.Message) {}); err != nil {
			t.Errorf("after %s a good batch is not taken: %v", name, err)
		}
	}
}

// bomb is compressed as a stream: its frame does not tell the size.
func bomb(t *testing.T, size int) []byte {
	var b bytes.Buffer
	b.Write([]byte{version, frames})
	enc, err := zstd.NewWriter(&b, zstd.WithWindowSize(MaxSize))
	if err != nil {
		t.Fatal(err)
	}
	for range size >> 16 {
		enc.Write(make([]byte, 1<<16))
	}
	enc.Close()
	return b.Bytes()
}

func TestDictionary(t *testing.T) {
	for _, content := range []string{"", "short", strings.Repeat("x", MaxDictionary+1)} {
		if _, err := NewDictionary([]byte(content)); err == nil {
			t.Errorf("a dictionary of %d bytes is taken", len(content))
		}
	}
	d := mustDictionary(t, "messages as they usually are")
	if want := crc32.Checksum([]byte("messages as they usually are"), crc32.MakeTable(crc32.Castagnoli)) &^ (1 << 31); d.id != want {
		t.Errorf("the identifier is %x, want %x", d.id, want)
	}
}

func TestOffer(t *testing.T) {
	d, other := mustDictionary(t, "messages as they usually are"), mustDictionary(t, "other messages")
	offer := func(value string) []codec.UserProperty {
		return []codec.UserProperty{{Name: []byte("region"), Value: []byte("1")}, {Name: []byte(Property), Value: []byte(value)}}
	}
	for _, c := range []struct {
		offer            []codec.UserProperty
		d                *Dictionary
		batches, withOne bool
	}{
		{nil, d, false, false},
		{offer("")[:1], d, false, false},
		{offer(""), d, false, false},
		{offer("2"), d, false, false},
		{offer("1"), d, true, false},
		{offer(Offer(nil)), d, true, false},
		{offer(Offer([]*Dictionary{other})), d, true, false},
		{offer(Offer([]*Dictionary{other, d})), d, true, true},
		{offer(Offer([]*Dictionary{other, d})), nil, true, false},
	} {
		if batches, withOne := Understood(c.offer, c.d); batches != c.batches || withOne != c.withOne {
			t.Errorf("%s: batches %t, dictionary %t", c.offer, batches, withOne)
		}
	}
}

func TestRefused(t *testing.T) {
	said := func(value string) []codec.UserProperty {
		return []codec.UserProperty{{Name: []byte("region"), Value: []byte("7")}, {Name: []byte(Property), Value: []byte(value)}}
	}
	for _, c := range []struct {
		said []codec.UserProperty
		want []bool
	}{
		{said("")[:1], nil},
		{said(""), nil},
		{said(string(AppendRefused(AppendRefused(nil, 0), 2))), []bool{true, false, true}},
		{said("1  1"), []bool{false, true, false}},
		{said("3"), nil},
		{said("0 -1"), nil},
		{said("one"), nil},
	} {
		if got := Refused(c.said, 3); !slices.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s refuses %v, want %v", c.said, got, c.want)
		}
	}
}

func TestPackerIsUsedAgain(t *testing.T) {
	d := mustDictionary(t, string(readings(20)))
	p, u := NewPacker(d), NewUnpacker([]*Dictionary{d})
	for n := 1; n < 50; n++ {
		if err := u.Unpack(p.Pack(nil, readings(n)), func(*codec.Message) {}); err != nil {
			t.Fatalf("batch %d: %v", n, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	d := mustDictionary(f, string(readings(20)))
	f.Add(NewPacker(nil).Pack(nil, readings(5)))
	f.Add(NewPacker(d).Pack(nil, readings(5)))
	f.Add(append([]byte{version, plain}, readings(2)...))
	u := NewUnpacker([]*Dictionary{d})
	f.Fuzz(func(t *testing.T, payload []byte) {
		n, size := 0, 0
		err := u.Unpack(payload, func(m *codec.Message) {
			n++
			size += len(Append(nil, m))
		})
		if err != nil && n > 0 || err == nil && (n == 0 || n > MaxMessages || size > 2*MaxSize) {
			t.Errorf("%d messages of %d bytes, error %v", n, size, err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	messages := readings(100)
	p := NewPacker(nil)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = p.Pack(out[:0], messages)
	}
}

// A batch says how many user properties a message has up to one more than are good.
func TestManyUserProperties(t *testing.T) {
	for n, want := range map[int]int{MaxMessages: MaxMessages, MaxMessages + 10: MaxMessages + 1} {
		m := reading(0)
		m.User = make([]codec.UserProperty, n)
		err := NewUnpacker(nil).Unpack(NewPacker(nil).Pack(nil, Append(nil, m)), func(m *codec.Message) {
			if len(m.User) != want {
				t.Errorf("%d of %d user properties come out, want %d", len(m.User), n, want)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}
