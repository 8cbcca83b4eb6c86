package codec

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// ValidString says what is wrong with s as a string of MQTT, nil if nothing is.
func ValidString(s []byte) *Error {
	if ok, _ := scan(s); !ok {
		return errUTF8
	}
	if len(s) > maxString {
		return errStringLong
	}
	return nil
}

// scan goes once over s. ok says whether s may be an MQTT string: well-formed
// UTF-8 [MQTT-1.5.4-1] without U+0000 [MQTT-1.5.4-2]. wild says whether it
// holds + or #, and counts only if ok.
func scan(s []byte) (ok, wild bool) {
	if len(s) > 256 { // faster here, where those are who would keep us busy
		return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0, HasWildcard(s)
	}
	whole := s
	for {
		for len(s) >= 8 && plain(binary.LittleEndian.Uint64(s)) {
			s = s[8:]
		}
		// The end, if it can be seen as a word together with what is before it.
		switch {
		case len(s) == 0:
			return true, wild
		case len(s) >= 8:
		case len(whole) >= 8:
			if plain(binary.LittleEndian.Uint64(whole[len(whole)-8:])) {
				return true, wild
			}
		case len(s) >= 4:
			if plain(uint64(binary.LittleEndian.Uint32(s)) | uint64(binary.LittleEndian.Uint32(s[len(s)-4:]))<<32) {
				return true, wild
			}
		}
		// Something is in the word: one character.
		c := s[0]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(s)
			if r == utf8.RuneError && size == 1 {
				return false, wild
			}
			s = s[size:]
			continue
		}
		if c == 0 {
			return false, wild
		}
		wild = wild || c == '+' || c == '#'
		s = s[1:]
	}
}

// plain says whether all eight bytes are ASCII without U+0000, + and #.
func plain(w uint64) bool {
	const (
		ones   = 0x0101010101010101
		high   = ones * 0x80
		differ = '+' ^ '#' // one bit, so that one test finds both
		hash   = '#' &^ differ
	)
	// Of a word of ASCII, minus ones borrows into the high bit of a byte only where,
	// or above where, a byte is zero.
	mark := w&^(ones*differ) ^ ones*hash
	return (w|(w-ones)|(mark-ones))&high == 0
}
