package batch

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"sluice/codec"
)

// ContentType is the Content Type of a PUBLISH whose payload is a batch.
const ContentType = "application/vnd.sluice.batch"

// Property is the name of the user property by which a server says in CONNACK that it
// unpacks batches, and in PUBACK and PUBREC which messages of one it refuses.
const Property = "sluice-batch"

// Bounds of a batch.
const (
	MaxMessages = 4096
	MaxSize     = 1 << 20 // bytes of the messages before they are packed
)

// Overhead is how many bytes a batch takes besides its messages, unless they are packed.
const Overhead = 2

// MaxDictionary is the largest dictionary, in bytes.
const MaxDictionary = 128 << 10

const (
	version = 1

	plain  = 0
	frames = 1
)

// keep is how large a buffer may be that is kept for the next batch.
const keep = 128 << 10

// A Dictionary is what both ends know of the messages beforehand.
type Dictionary struct {
	id      uint32
	content []byte
}

// NewDictionary makes a dictionary of the contents of a file, which it keeps.
func NewDictionary(content []byte) (*Dictionary, error) {
	if len(content) < 8 || len(content) > MaxDictionary {
		return nil, fmt.Errorf("a dictionary has %d bytes: write messages as they usually are into it, 8 bytes to 128 KiB in all", len(content))
	}
	const private = 1 << 15 // identifiers below are not for everybody, nor are those with the highest bit
	id := crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)) &^ (1 << 31)
	if id < private {
		id += private
	}
	return &Dictionary{id, content}, nil
}

// Offer is the value of Property of a server that has these dictionaries.
func Offer(dictionaries []*Dictionary) string {
	s := strconv.Itoa(version)
	for _, d := range dictionaries {
		s += fmt.Sprintf(" %08x", d.id)
	}
	return s
}

// Understood reports whether a server that offers this, in CONNACK, takes batches, and
// whether also such that are packed with d, which may be nil.
func Understood(offer []codec.UserProperty, d *Dictionary) (batches, dictionary bool) {
	for _, u := range offer {
		if string(u.Name) != Property {
			continue
		}
		words := strings.Fields(string(u.Value))
		if len(words) == 0 || words[0] != strconv.Itoa(version) {
			continue
		}
		return true, d != nil && slices.Contains(words[1:], fmt.Sprintf("%08x", d.id))
	}
	return false, false
}

// AppendRefused appends the place of a refused message in its batch, from 0, to the value
// of Property in the batch's acknowledgement.
func AppendRefused(value []byte, place int) []byte {
	if len(value) > 0 {
		value = append(value, ' ')
	}
	return strconv.AppendInt(value, int64(place), 10)
}

// Refused says of each of the n messages of a batch whether its acknowledgement refuses
// it; nil: that does not say which, or names none.
func Refused(user []codec.UserProperty, n int) (refused []bool) {
	for _, u := range user {
		if string(u.Name) != Property {
			continue
		}
		for word := range strings.FieldsSeq(string(u.Value)) {
			place, err := strconv.Atoi(word)
			if err != nil || place < 0 || place >= n {
				return nil
			}
			if refused == nil {
				refused = make([]bool, n)
			}
			refused[place] = true
		}
	}
	return refused
}

// Append appends a message as it stands in a batch.
func Append(b []byte, m *codec.Message) []byte {
	p := codec.Publish{Message: *m}
	if p.QoS > 0 {
		p.ID = 1
	}
	return p.Append(b, codec.V5)
}

// A Packer makes batches.
type Packer struct {
	without, with *zstd.Encoder // with a dictionary: nil if there is none
}

// NewPacker makes a packer, with a dictionary or, for nil, without. It takes half a MiB,
// with a dictionary one. The slower levels of zstd take up to 70, and make batches of
// readings no smaller.
func NewPacker(d *Dictionary) *Packer {
	p := &Packer{without: newEncoder()}
	if d != nil {
		p.with = newEncoder(zstd.WithEncoderDictRaw(d.id, d.content))
	}
	return p
}

func newEncoder(more ...zstd.EOption) *zstd.Encoder {
	options := append([]zstd.EOption{
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(256 << 10), zstd.WithEncoderLevel(zstd.SpeedFastest),
	}, more...)
	enc, err := zstd.NewWriter(nil, options...)
	if err != nil {
		panic(err) // one of the options is wrong
	}
	return enc
}

// Pack appends the payload with these messages, which were made by Append, in the form
// that is the smallest.
func (p *Packer) Pack(b, messages []byte) []byte {
	begin := len(b)
	b = p.without.EncodeAll(messages, append(b, version, frames))
	if p.with != nil {
		other := len(b)
		b = p.with.EncodeAll(messages, append(b, version, frames))
		if len(b)-other < other-begin {
			b = append(b[:begin], b[other:]...)
		} else {
			b = b[:other]
		}
	}
	if len(b)-begin >= Overhead+len(messages) {
		b = append(append(b[:begin], version, plain), messages...)
	}
	return b
}

// What is wrong with a batch.
var (
	errVersion  = errors.New("a batch of another version than 1")
	errPacking  = errors.New("a batch packed in an unknown way")
	errSize     = errors.New("a batch of more than 1 MiB of messages")
	errMessages = errors.New("a batch of more than 4096 messages")
	errEmpty    = errors.New("a batch of no message")
	errPacket   = errors.New("a batch with something else in it than whole messages")
)

// An Unpacker takes batches apart. It is used by one goroutine at a time.
type Unpacker struct {
	zstd *zstd.Decoder
	dec  codec.Decoder
	buf  []byte // of the last batch that was compressed
}

// NewUnpacker makes an unpacker that has these dictionaries.
func NewUnpacker(dictionaries []*Dictionary) *Unpacker {
	options := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxSize), zstd.WithDecoderMaxWindow(MaxSize),
	}
	for _, d := range dictionaries {
		options = append(options, zstd.WithDecoderDictRaw(d.id, d.content))
	}
	z, err := zstd.NewReader(nil, options...)
	if err != nil {
		panic(err) // one of the options is wrong
	}
	return &Unpacker{zstd: z, dec: codec.Decoder{MaxList: MaxMessages}}
}

// Unpack calls fn for each message in payload, in order, if there is nothing wrong with
// any of them; else it returns what is. The messages are views, valid until fn returns.
// Of more user properties than MaxMessages, which is too many, a message has one more.
func (u *Unpacker) Unpack(payload []byte, fn func(m *codec.Message)) error {
	messages, err := u.open(payload)
	if err != nil {
		return err
	}
	if err := u.each(messages, func(*codec.Message) {}); err != nil {
		return err
	}
	return u.each(messages, fn)
}

// open returns the messages in one piece.
func (u *Unpacker) open(payload []byte) (messages []byte, err error) {
	if len(payload) < Overhead || payload[0] != version {
		return nil, errVersion
	}
	messages = payload[Overhead:]
	switch payload[1] {
	case plain:
	case frames:
		if cap(u.buf) > keep {
			u.buf = nil
		}
		messages, err = u.zstd.DecodeAll(messages, u.buf[:0])
		switch {
		case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
			return nil, errSize
		case errors.Is(err, zstd.ErrUnknownDictionary):
			return nil, errors.New("a batch packed with a dictionary that is not here")
		case err != nil:
			return nil, fmt.Errorf("a batch that can not be unpacked: %w", err)
		}
		u.buf = messages
	default:
		return nil, errPacking
	}
	if len(messages) > MaxSize {
		return nil, errSize
	}
	return messages, nil
}

func (u *Unpacker) each(messages []byte, fn func(*codec.Message)) error {
	n := 0
	for ; len(messages) > 0; n++ {
		if n == MaxMessages {
			return errMessages
		}
		packet, size, err := u.dec.Next(messages, codec.V5, 0)
		if err != nil {
			return fmt.Errorf("%w: %w", errPacket, err)
		}
		p, ok := packet.(*codec.Publish)
		if !ok || p.TopicAlias != 0 {
			return errPacket
		}
		messages = messages[size:]
		fn(&p.Message)
	}
	if n == 0 {
		return errEmpty
	}
	return nil
}
