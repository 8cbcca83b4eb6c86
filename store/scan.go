package store

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"strings"
)

// BuntDB's file is a sequence of commands as Redis writes them:
//
//	*3 CRLF $3 CRLF set CRLF $<length> CRLF <key> CRLF $<length> CRLF <value> CRLF
//	*2 CRLF $3 CRLF del CRLF $<length> CRLF <key> CRLF
//
// Nothing else is ours. BuntDB itself reads more, and on damage it panics, allocates what a length
// declares, or loses its place, so nothing that this scan has not accepted is shown to it.
const (
	setHead = "*3\r\n$3\r\nset\r\n"
	delHead = "*2\r\n$3\r\ndel\r\n"

	maxKey   = 1<<17 - 1     // a topic of 65,535 bytes with what the gateway puts before it
	maxValue = 1<<28 + 1<<20 // the largest packet of MQTT in a chunk of its own
)

// A verdict is what the scan thinks of the bytes at an offset.
type verdict int

const (
	fine    verdict = iota // a command
	corrupt                // a command by its form, but the CRC is wrong
	garbage                // none
	torn                   // the beginning of one, cut off by the end of the file
)

type command struct {
	end    int64 // offset of what follows
	del    bool
	mark   bool
	marker marker
}

// A scanner reads a file through a window, so that neither its size nor a length in it costs memory.
type scanner struct {
	file   io.ReaderAt
	size   int64
	buf    []byte // the file from at on
	at     int64
	seed   uint32
	seeded bool // seed is known
	newer  bool // a marker of a later version was seen
}

const window = 256 << 10

// peek returns n bytes at off, valid until the next call, or fewer at the end of the file.
// n is at most window. What the disk does not give back is 0, which is no command.
func (s *scanner) peek(off int64, n int) []byte {
	n = int(min(int64(n), max(0, s.size-off)))
	if off < s.at || off+int64(n) > s.at+int64(len(s.buf)) {
		s.at = off
		s.buf = append(s.buf[:0], make([]byte, min(window, s.size-off))...)
		if _, err := s.file.ReadAt(s.buf, off); err != nil {
			s.salvage()
		}
	}
	i := int(off - s.at)
	return s.buf[i : i+n]
}

// salvage reads the window page by page, and clears what cannot be read.
func (s *scanner) salvage() {
	const page = 4096
	for i := 0; i < len(s.buf); i += page {
		b := s.buf[i:min(i+page, len(s.buf))]
		if _, err := s.file.ReadAt(b, s.at+int64(i)); err != nil {
			clear(b)
		}
	}
}

// command judges what begins at off.
func (s *scanner) command(off int64) (c command, v verdict) {
	head := string(s.peek(off, len(setHead)))
	switch {
	case head == setHead:
	case head == delHead:
		c.del = true
	case strings.HasPrefix(setHead, head) || strings.HasPrefix(delHead, head):
		return c, torn
	default:
		return c, garbage
	}
	n, off, v := s.length(off+int64(len(head)), maxKey)
	if v != fine {
		return c, v
	}
	key := s.peek(off, n+2)
	if len(key) < n+2 {
		return c, torn
	}
	if n == 0 || string(key[n:]) != "\r\n" {
		return c, garbage
	}
	key = key[:n]
	off += int64(n) + 2
	if c.del {
		c.end = off
		return c, fine
	}
	c.mark = string(key) == markerKey
	crc := crc32.Update(s.seed, castagnoli, key)
	n, off, v = s.length(off, maxValue)
	if v != fine {
		return c, v
	}
	c.end = off + int64(n) + 2
	if c.end > s.size {
		return c, torn
	}
	if n < headerLen || !s.isLineEnd(c.end-2) {
		return c, garbage
	}
	if c.mark {
		return s.marker(c, off, n)
	}
	header := [headerLen]byte(s.peek(off, headerLen))
	for at := off + headerLen; at < c.end-2; {
		b := s.peek(at, int(min(64<<10, c.end-2-at)))
		crc = crc32.Update(crc, castagnoli, b)
		at += int64(len(b))
	}
	if header[0] != version || binary.BigEndian.Uint32(header[1:]) != crc {
		return c, corrupt
	}
	return c, fine
}

// marker judges the value of a marker, n bytes at off.
func (s *scanner) marker(c command, off int64, n int) (command, verdict) {
	if n != headerLen+markerLen {
		return c, corrupt
	}
	value := s.peek(off, n)
	c.marker = parseMarker(value[headerLen:])
	if s.seeded && c.marker.seed != s.seed ||
		binary.BigEndian.Uint32(value[1:]) != checksum(c.marker.seed, markerKey, value[headerLen:]) {
		return c, corrupt
	}
	if value[0] != version {
		s.newer = s.newer || value[0] > version
		return c, corrupt
	}
	return c, fine
}

// length reads "$<digits> CRLF" at off: a number up to limit, as BuntDB writes it.
func (s *scanner) length(off int64, limit int) (n int, next int64, v verdict) {
	line := s.peek(off, len("$268435456\r\n"))
	i := 0
	for ; i < len(line); i++ {
		switch b := line[i]; {
		case i == 0 && b == '$':
		case i == 2 && line[1] == '0' && b != '\r':
			return 0, off, garbage
		case i > 0 && b >= '0' && b <= '9':
			if n > (limit-int(b-'0'))/10 { // not after, for int may have 32 bits
				return 0, off, garbage
			}
			n = n*10 + int(b-'0')
		case i > 1 && b == '\r':
			if i+1 == len(line) {
				return 0, off, torn
			}
			if line[i+1] != '\n' {
				return 0, off, garbage
			}
			return n, off + int64(i) + 2, fine
		default:
			return 0, off, garbage
		}
	}
	if off+int64(i) < s.size {
		return 0, off, garbage
	}
	return 0, off, torn
}

// isLineEnd looks at two bytes that may be far from the window, without moving it.
func (s *scanner) isLineEnd(off int64) bool {
	if off >= s.at && off+2 <= s.at+int64(len(s.buf)) {
		return string(s.peek(off, 2)) == "\r\n"
	}
	var b [2]byte
	s.file.ReadAt(b[:], off)
	return string(b[:]) == "\r\n"
}

// find returns the first offset from off on, before to, where a command begins that accept takes, or -1.
func (s *scanner) find(off, to int64, accept func(c command) bool) int64 {
	for off < to {
		b := s.peek(off, int(min(window, to-off)))
		i := bytes.IndexByte(b, '*')
		if i < 0 {
			off += int64(len(b))
			continue
		}
		off += int64(i)
		if c, v := s.command(off); v == fine && accept(c) {
			return off
		}
		off++
	}
	return -1
}

// resync finds where commands can be believed again: a set proves itself by its CRC, others by what follows them.
func (s *scanner) resync(off int64) int64 {
	return s.find(off, s.size, func(c command) bool {
		if !c.del {
			return true
		}
		next := s.peek(c.end, 1)
		return len(next) == 0 || next[0] == '*'
	})
}

// isMark accepts markers only.
func isMark(c command) bool { return c.mark }

// findSeed learns the seed from the marker that begins every file, or, if that is damaged, from most of the others.
func (s *scanner) findSeed() {
	s.seeded = false
	c, v := s.command(0)
	if v == fine && c.mark {
		s.seed, s.seeded = c.marker.seed, true
		return
	}
	votes := make(map[uint32]int)
	for off := s.find(0, s.size, isMark); off >= 0; off = s.find(off+1, s.size, isMark) {
		c, _ := s.command(off)
		votes[c.marker.seed]++
		if !s.seeded || votes[c.marker.seed] > votes[s.seed] {
			s.seed, s.seeded = c.marker.seed, true
		}
	}
}

// A span is a piece of the file.
type span struct{ from, to int64 }

// A finding is what a scan says about a file.
type finding struct {
	keep    []span // what counts
	last    marker // the last one
	damaged int    // places with damage
	lost    int64  // bytes of damage
	torn    int64  // bytes of a batch that was not finished, behind the last marker
}

// scan reads the whole file and decides what counts.
//
// Without damage it is all up to the last marker: what follows was never acknowledged, because its batch was not finished.
// Commands that are damaged are left out, and those after them count again from the first that proves itself. If there is
// damage behind the last marker, a marker may have been there: then every good command behind it counts as well.
// So damage costs what it hit, may bring back what was deleted, and leaves nothing out that is whole and was acknowledged.
func (s *scanner) scan() (f finding) {
	var (
		marked   int   // spans of f.keep up to the last marker
		markedTo int64 // where the last of them ends then
		hurt     bool  // damage since the last marker
		off      int64
	)
	full := s.size
	s.trim()
	damage := func(to int64) {
		f.damaged++
		f.lost += to - off
		hurt = true
		off = to
	}
	for off < s.size {
		c, v := s.command(off)
		switch v {
		case fine:
			if n := len(f.keep); n > 0 && f.keep[n-1].to == off {
				f.keep[n-1].to = c.end
			} else {
				f.keep = append(f.keep, span{off, c.end})
			}
			if c.mark {
				f.last, hurt = c.marker, false
				marked, markedTo = len(f.keep), c.end
			}
			off = c.end
			continue
		case corrupt:
			// It may be the length that is damaged, and end where another command does: what proves itself before is not passed over.
			next := s.find(off+1, c.end, func(c command) bool { return !c.del })
			if next < 0 {
				next = c.end
			}
			damage(next)
			continue
		case torn:
			if s.find(off+1, s.size, isMark) < 0 { // else it is a length that is damaged
				f.torn = full - off
				off = s.size
				continue
			}
		}
		next := s.resync(off + 1)
		if next < 0 {
			next = s.size
		}
		damage(next)
	}
	if !hurt {
		f.torn = full - markedTo
		f.keep = f.keep[:marked]
		if marked > 0 {
			f.keep[marked-1].to = markedTo
		}
	}
	return f
}

// trim leaves NUL at the end of the file out of account: it is what a power cut leaves of a file that was growing,
// and no command ends in it.
func (s *scanner) trim() {
	for s.size > 0 {
		from := max(0, s.size-window)
		b := bytes.TrimRight(s.peek(from, window), "\x00")
		s.size = from + int64(len(b))
		if len(b) > 0 {
			return
		}
	}
}

// copyTo writes what counts to w, between two markers.
func (s *scanner) copyTo(w io.Writer, f finding) error {
	mark := appendSet(nil, markerKey, f.last.value())
	if _, err := w.Write(mark); err != nil {
		return err
	}
	for _, k := range f.keep {
		if _, err := io.Copy(w, io.NewSectionReader(s.file, k.from, k.to-k.from)); err != nil {
			return err
		}
	}
	_, err := w.Write(mark)
	return err
}
