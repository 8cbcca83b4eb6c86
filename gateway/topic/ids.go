package topic

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sluice/codec"
)

// The bounds of IDs. A device that registers more gets no number.
const (
	MaxIDs     = 1024
	maxIDBytes = 64 << 10 // of names
)

// IDs are the topic ids of one MQTT-SN device: numbers from 1 that stand for topic names,
// on both ways. The zero value is empty. It is not safe for concurrent use.
type IDs struct {
	list  []id // by number, from 1
	index map[string]uint16
	size  int // bytes of names
}

// id is a number and what the device knows of it.
type id struct {
	name    string // "": a gap
	known   bool   // the device knows the number
	refused bool   // the device does not want the name
}

// indexedIDs is from how many on names are looked up by a map: most devices have few.
const indexedIDs = 16

// Find returns the number of a name.
func (t *IDs) Find(name []byte) (n uint16, ok bool) {
	if t.index != nil {
		n, ok = t.index[string(name)]
		return n, ok
	}
	for i := range t.list {
		if t.list[i].name == string(name) && len(name) > 0 {
			return uint16(i + 1), true
		}
	}
	return 0, false
}

// Name returns the name of a number; false if there is none.
func (t *IDs) Name(n uint16) (name string, ok bool) {
	if n == 0 || int(n) > len(t.list) || t.list[n-1].name == "" {
		return "", false
	}
	return t.list[n-1].name, true
}

// Give returns the number of a name, a new one if it has none: 0 if there is no room for
// that.
func (t *IDs) Give(name []byte) (n uint16, isNew bool) {
	if n, ok := t.Find(name); ok {
		return n, false
	}
	if len(t.list) >= MaxIDs || t.size+len(name) > maxIDBytes {
		return 0, false
	}
	n = uint16(len(t.list) + 1)
	t.Set(n, string(name))
	return n, true
}

// Set makes n, 1 to MaxIDs, the number of a name, as it was before a restart.
// It is false if that breaks a bound or a rule.
func (t *IDs) Set(n uint16, name string) bool {
	if n == 0 || n > MaxIDs || name == "" || t.size+len(name) > maxIDBytes {
		return false
	}
	for len(t.list) < int(n) {
		t.list = append(t.list, id{})
	}
	t.list[n-1] = id{name: name}
	t.size += len(name)
	switch {
	case t.index != nil:
		t.index[name] = n
	case len(t.list) >= indexedIDs:
		t.index = make(map[string]uint16)
		for i := range t.list {
			if t.list[i].name != "" {
				t.index[t.list[i].name] = uint16(i + 1)
			}
		}
	}
	return true
}

// Len returns the highest number there is.
func (t *IDs) Len() int { return len(t.list) }

// Known says whether the device knows the number n.
func (t *IDs) Known(n uint16) bool { return t.list[n-1].known }

// SetKnown notes whether the device knows the number n.
func (t *IDs) SetKnown(n uint16, known bool) { t.list[n-1].known, t.list[n-1].refused = known, false }

// Refused says whether the device has refused the name of n.
func (t *IDs) Refused(n uint16) bool { return t.list[n-1].refused }

// Refuse notes that the device does not want the name of n.
func (t *IDs) Refuse(n uint16) { t.list[n-1].refused = true }

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
