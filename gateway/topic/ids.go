package topic

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"sluice/codec"
)

// The bounds of IDs. For a name more one has to go, see Evict.
const (
	MaxIDs     = 1024
	maxIDBytes = 64 << 10 // of names
)

// lastID is the last number that may be given.
const lastID = 0xFFFE

// IDs are the topic ids of one MQTT-SN device: numbers from 1 that stand for topic names,
// on both ways. A number is never another name's: the device may believe that it has the
// name that was evicted. The zero value is empty. It is not safe for concurrent use.
type IDs struct {
	list  []id // by number
	index map[string]uint16
	last  uint16 // the highest number that was given
	size  int    // bytes of names
	uses  uint64 // of any, so far
}

// id is a number and what the device knows of it.
type id struct {
	name    string
	used    uint64 // of IDs.uses, when it was last
	number  uint16
	known   bool // the device knows the number
	refused bool // the device does not want the name
}

// indexedIDs is from how many on names are looked up by a map: most devices have few.
const indexedIDs = 16

// Find returns the number of a name.
func (t *IDs) Find(name []byte) (n uint16, ok bool) {
	if t.index != nil {
		n = t.index[string(name)]
		one := t.at(n)
		t.use(one)
		return n, one != nil
	}
	for i := range t.list {
		if t.list[i].name == string(name) {
			t.use(&t.list[i])
			return t.list[i].number, true
		}
	}
	return 0, false
}

// Name returns the name of a number; false if there is none.
func (t *IDs) Name(n uint16) (name string, ok bool) {
	one := t.at(n)
	if one == nil {
		return "", false
	}
	t.use(one)
	return one.name, true
}

func (t *IDs) use(one *id) {
	if one != nil {
		t.uses++
		one.used = t.uses
	}
}

// at finds a number, nil if it has no name.
func (t *IDs) at(n uint16) *id {
	if i, ok := t.search(n); ok {
		return &t.list[i]
	}
	return nil
}

func (t *IDs) search(n uint16) (i int, ok bool) {
	if i = int(n) - 1; i >= 0 && i < len(t.list) && t.list[i].number == n { // without gaps
		return i, true
	}
	return slices.BinarySearchFunc(t.list, n, func(one id, n uint16) int { return cmp.Compare(one.number, n) })
}

// Give returns the number of a name, a new one if it has none: 0 if there is no room for
// that, or no number.
func (t *IDs) Give(name []byte) (n uint16, isNew bool) {
	if n, ok := t.Find(name); ok {
		return n, false
	}
	if t.last == lastID || !t.Set(t.last+1, string(name)) {
		return 0, false
	}
	return t.last, true
}

// Full says whether there is a number for one name more, but no room. With 65,534 numbers
// given, one that has gone makes none.
func (t *IDs) Full(name []byte) bool {
	return len(t.list) > 0 && t.last < lastID && !t.room(len(name))
}

func (t *IDs) room(size int) bool { return len(t.list) < MaxIDs && t.size+size <= maxIDBytes }

// Evict takes its number from the name that was used longest ago, but for keep, and
// returns it: 0 if there is no other.
func (t *IDs) Evict(keep uint16) (n uint16) {
	oldest := -1
	for i := range t.list {
		if one := &t.list[i]; one.number != keep && (oldest < 0 || one.used < t.list[oldest].used) {
			oldest = i
		}
	}
	if oldest < 0 {
		return 0
	}
	one := t.list[oldest]
	delete(t.index, one.name)
	t.size -= len(one.name)
	t.list = slices.Delete(t.list, oldest, oldest+1)
	return one.number
}

// Set makes n, 1 to 65534, the number of a name, as it was before a restart. It is false
// if that breaks a bound or a rule.
func (t *IDs) Set(n uint16, name string) bool {
	i, taken := t.search(n)
	if n == 0 || n > lastID || name == "" || taken || !t.room(len(name)) {
		return false
	}
	t.list = slices.Insert(t.list, i, id{name: name, number: n})
	t.use(&t.list[i])
	t.last = max(t.last, n)
	t.size += len(name)
	switch {
	case t.index != nil:
		t.index[name] = n
	case len(t.list) >= indexedIDs:
		t.index = make(map[string]uint16)
		for i := range t.list {
			t.index[t.list[i].name] = t.list[i].number
		}
	}
	return true
}

// All are the numbers that have names.
func (t *IDs) All() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for i := range t.list {
			if !yield(t.list[i].number) {
				return
			}
		}
	}
}

// Known says whether the device knows the number n.
func (t *IDs) Known(n uint16) bool {
	one := t.at(n)
	return one != nil && one.known
}

// SetKnown notes whether the device knows the number n.
func (t *IDs) SetKnown(n uint16, known bool) {
	if one := t.at(n); one != nil {
		one.known, one.refused = known, false
	}
}

// Refused says whether the device has refused the name of n.
func (t *IDs) Refused(n uint16) bool {
	one := t.at(n)
	return one != nil && one.refused
}

// Refuse notes that the device does not want the name of n.
func (t *IDs) Refuse(n uint16) {
	if one := t.at(n); one != nil {
		one.refused = true
	}
}

// Predefined are the topic ids that all MQTT-SN devices and the gateway know beforehand.
// A nil *Predefined has none.
type Predefined struct {
	names map[uint16]string
	ids   map[string]uint16
}

// ParsePredefined reads predefined topic ids: one to a line, a number from 1 to 65534, a
// space or = or both, and the topic's name. Empty lines and those that begin with # are skipped.
// Its error names the line.
func ParsePredefined(r io.Reader) (*Predefined, error) {
	p := &Predefined{names: make(map[uint16]string), ids: make(map[string]uint16)}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	return p, lines.Err()
}

func (p *Predefined) add(line string) error {
	at := strings.IndexAny(line, "= \t")
	if at < 0 {
		return fmt.Errorf("%q: write a number, a space and a topic, such as 7 plant/pump/pressure", line)
	}
	number, name := line[:at], strings.TrimSpace(line[at:])
	name = strings.TrimSpace(strings.TrimPrefix(name, "="))
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || n == 0xFFFF {
		return fmt.Errorf("%q is not a topic id from 1 to 65534", number)
	}
	if err := codec.ValidTopic([]byte(name)); err != nil {
		return fmt.Errorf("topic %q: %s", name, err.Text)
	}
	if TooDeep([]byte(name)) {
		return fmt.Errorf("topic %.100q of topic id %d has more than %d levels, which the gateway does not take", name, n, MaxLevels)
	}
	if other, taken := p.names[uint16(n)]; taken {
		return fmt.Errorf("topic id %d is %q already", n, other)
	}
	if other, taken := p.ids[name]; taken {
		return fmt.Errorf("topic %q has the id %d already", name, other)
	}
	p.names[uint16(n)], p.ids[name] = name, uint16(n)
	return nil
}

// Name returns the topic of a number.
func (p *Predefined) Name(n uint16) (name string, ok bool) {
	if p == nil {
		return "", false
	}
	name, ok = p.names[n]
	return name, ok
}

// Find returns the number of a topic.
func (p *Predefined) Find(name []byte) (n uint16, ok bool) {
	if p == nil {
		return 0, false
	}
	n, ok = p.ids[string(name)]
	return n, ok
}

// Len returns how many there are.
func (p *Predefined) Len() int {
	if p == nil {
		return 0
	}
	return len(p.ids)
}
