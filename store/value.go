package store

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// A value on disk is a version byte, four bytes of CRC-32C and a body.
// The CRC covers key and body, and starts from the seed of the store, which no device knows:
// bytes in a payload that look like a record do not become one when the scan looks for its way after damage.
const (
	version   = 1
	headerLen = 5
)

// overhead is what an item costs in memory beside its key and value:
// about 105 bytes in BuntDB, as measured, and what refers to it here.
const overhead = 130

func charge(key, value string) int64 { return int64(len(key)) + int64(len(value)) + overhead }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(seed uint32, key string, body []byte) uint32 {
	crc := crc32.Update(seed, castagnoli, view(key))
	return crc32.Update(crc, castagnoli, body)
}

// putHeader fills the first headerLen bytes of data, whose body follows them.
func putHeader(seed uint32, key string, data []byte) {
	data[0] = version
	binary.BigEndian.PutUint32(data[1:], checksum(seed, key, data[headerLen:]))
}

// view returns the bytes of s, which must not be written.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// freeze returns b as a string; b must not be written any more.
func freeze(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
