package codec

import (
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
	const (
		ones   = 0x0101010101010101
		high   = ones * 0x80
		differ = '+' ^ '#' // one bit, so that one test finds both
		hash   = '#' &^ differ
	)
	for {
		for len(s) >= 8 {
			// Of a word of ASCII, minus ones borrows into the high bit
			// of a byte only where, or above where, a byte is zero.
			w := binary.LittleEndian.Uint64(s)
			mark := w&^(ones*differ) ^ ones*hash
			if (w|(w-ones)|(mark-ones))&high != 0 {
				break
			}
			s = s[8:]
		}
		// A word with something in it, or the end: one character.
		if len(s) == 0 {
			return true, wild
		}
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
		if c&^differ == hash {
			wild = true
		}
		s = s[1:]
	}
}
