package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/codec"
)

// A Rule says which messages a bridge carries one way, and what they are there. Of
// several rules the first whose filter matches a topic counts.
type Rule struct {
	Filter string // in Down, may be shared: $share/group/filter
	QoS    byte   // 0, 1, 2: the highest; what is lower stays so
	Retain Retain

	// EndToEnd, of Up, has the acknowledgement of a publisher's message wait for the
	// upstream's. Of several rules that match a topic one is enough.
	EndToEnd bool

	// Batch, of Up, is how long a message at QoS 0 or 1 may wait to go up in one publish
	// with others, if the upstream takes that; up to MaxBatch. 0: it goes by itself.
	Batch time.Duration

	// To is the topic on the other side, where a level $1 is what the first wildcard
	// of Filter matched, $2 the second; one for # comes last and may be several
	// levels, or none. Empty: the prefix and the topic.
	To string
}

// Retain says what a rule does with RETAIN.
type Retain byte

const (
	RetainAsPublished Retain = iota
	RetainOff
	RetainOn
)

// apply returns RETAIN of a message as the rule wants it.
func (r Retain) apply(retain bool) bool {
	return r == RetainOn || r == RetainAsPublished && retain
}

var retains = []string{RetainAsPublished: "", RetainOff: " retain=off", RetainOn: " retain=on"}

// String is the rule as ParseRule reads it.
func (r Rule) String() string {
	s := fmt.Sprintf("%s %d", r.Filter, r.QoS)
	if r.To != "" {
		s += arrow + r.To
	}
	s += retains[r.Retain]
	if r.EndToEnd {
		s += " ack=upstream"
	}
	if r.Batch != 0 {
		s += " batch=" + r.Batch.String()
	}
	return s
}

const arrow = " -> "

// ParseRule reads a rule: a topic filter, and what else it says, in this order.
//
//	plant/#                                      at QoS 2, under the prefix
//	plant/# 1                                    at most at QoS 1
//	sensors/+/temp 1 -> site7/$1/t               renamed
//	sensors/+/temp 1 -> site7/$1/t retain=off    without RETAIN, or with: retain=on
//	sensors/# 1 batch=10s                        many in one publish, none of which waits for longer
//	alarms/# 1 ack=upstream                      acknowledged when the upstream has it; ack=disk is as if left out
func ParseRule(text string) (Rule, error) {
	r := Rule{QoS: 2}
	left := text
	for had := map[string]bool{}; ; {
		var option string
		var err error
		if left, option, err = r.cutOption(left); err != nil {
			return r, fmt.Errorf("%q %w", text, err)
		}
		if option == "" {
			break
		}
		if had[option] {
			return r, fmt.Errorf("%q has %s= twice: keep one", text, option)
		}
		had[option] = true
	}
	left, to, renamed := strings.Cut(left, arrow)
	if left, r.To = strings.TrimSpace(left), strings.TrimSpace(to); renamed && r.To == "" {
		return r, fmt.Errorf("%q lacks the topic behind ->", text)
	}
	if i := strings.LastIndexByte(r.To, ' '); i >= 0 && len(r.To) == i+2 && r.To[i+1] >= '0' && r.To[i+1] <= '2' {
		return r, fmt.Errorf("%q: the quality of service goes before ->, as in %s %s -> %s", text, left, r.To[i+1:], r.To[:i])
	}
	r.Filter = left
	if i := strings.LastIndexByte(left, ' '); i >= 0 {
		if qos, err := strconv.ParseUint(left[i+1:], 10, 64); err == nil {
			if qos > 2 {
				return r, fmt.Errorf("%q asks for QoS %d: a quality of service is 0, 1 or 2", text, qos)
			}
			r.Filter, r.QoS = strings.TrimSpace(left[:i]), byte(qos)
		}
	}
	if r.Filter == "" {
		return r, errors.New("a topic filter is missing, or there is a comma too many")
	}
	if err := r.check(); err != nil {
		return r, err
	}
	return r, nil
}

// cutOption takes an option off the end of a rule's text; its name is empty if none is there.
func (r *Rule) cutOption(text string) (left, name string, err error) {
	i := strings.LastIndexByte(text, ' ')
	name, value, _ := strings.Cut(text[i+1:], "=")
	switch {
	case i < 0 || name != "retain" && name != "ack" && name != "batch" || len(name) == len(text)-i-1:
		return text, "", nil
	case name == "retain" && value == "on":
		r.Retain = RetainOn
	case name == "retain" && value == "off":
		r.Retain = RetainOff
	case name == "retain":
		return text, "", fmt.Errorf("has retain=%s: write retain=on or retain=off", value)
	case name == "batch":
		if r.Batch, err = time.ParseDuration(value); err != nil || r.Batch <= 0 || r.Batch > MaxBatch {
			return text, "", fmt.Errorf("has batch=%s: write how long a message may wait for others, such as batch=10s, up to 1h", value)
		}
	case value == "upstream":
		r.EndToEnd = true
	case value != "disk":
		return text, "", fmt.Errorf("has ack=%s: write ack=upstream or ack=disk", value)
	}
	return strings.TrimRight(text[:i], " "), name, nil
}

// check says what is wrong with a rule by itself.
func (r Rule) check() error {
	if err := codec.ValidFilter([]byte(r.Filter)); err != nil && strings.Contains(r.Filter, " ") {
		return fmt.Errorf("%q is not a topic filter: %s: behind a filter come, in this order, its QoS, -> and a topic, and then retain=, ack= and batch=, and a comma before the next rule", r.Filter, err.Text)
	} else if err != nil {
		return fmt.Errorf("%q is not a topic filter: %s", r.Filter, err.Text)
	}
	if r.QoS > 2 {
		return fmt.Errorf("%s asks for QoS %d: a quality of service is 0, 1 or 2", r.Filter, r.QoS)
	}
	if r.EndToEnd && r.QoS == 0 {
		return fmt.Errorf("%s: nothing is acknowledged at QoS 0: with ack=upstream write %s 1 or 2", r.Filter, r.Filter)
	}
	if r.Retain > RetainOn {
		return fmt.Errorf("%s: there is no Retain %d", r.Filter, r.Retain)
	}
	if r.Batch < 0 || r.Batch > MaxBatch {
		return fmt.Errorf("%s: batch=%v is not within %v", r.Filter, r.Batch, MaxBatch)
	}
	if r.To == "" {
		return nil
	}
	if err := codec.ValidTopic([]byte(r.To)); err != nil {
		return fmt.Errorf("%s%s%s: behind -> is no topic: %s", r.Filter, arrow, r.To, err.Text)
	}
	wildcards, many := wildcardsOf(r.filter())
	levels, hasEmpty := parseLevels(r.To), strings.Contains(r.Filter+"/", "//") || r.Filter[0] == '/'
	for i, l := range levels {
		switch {
		case l.capture > wildcards:
			return fmt.Errorf("%s%s%s: there is no $%d, the filter has %s", r.Filter, arrow, r.To, l.capture, plural(wildcards, "wildcard"))
		case many && l.capture == wildcards && i != len(levels)-1:
			return fmt.Errorf("%s%s%s: $%d is what # matched, any number of levels: write it at the end", r.Filter, arrow, r.To, l.capture)
		case l.capture == 0 && len(l.text) == 0 && wildcards > 0 && !hasEmpty:
			return fmt.Errorf("%s%s%s has an empty level: if a shell took $1 out of it, write the setting between single quotes", r.Filter, arrow, r.To)
		}
	}
	return nil
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// filter is what topics are matched with.
func (r Rule) filter() []byte {
	_, inner, _ := codec.SplitShare([]byte(r.Filter))
	return inner
}

// wildcardsOf counts the wildcards of a filter; many: the last is #.
func wildcardsOf(filter []byte) (n int, many bool) {
	n = bytes.Count(filter, []byte("+"))
	if many = len(filter) > 0 && filter[len(filter)-1] == '#'; many {
		n++
	}
	return n, many
}

// unused is the first wildcard of the filter that To leaves out, 0 if none: then a
// topic on the other side has no one name here.
func (r Rule) unused() int {
	if r.To == "" {
		return 0
	}
	wildcards, _ := wildcardsOf(r.filter())
	used := make([]bool, wildcards+1)
	for _, l := range parseLevels(r.To) {
		used[min(l.capture, wildcards)] = true
	}
	for n := 1; n <= wildcards; n++ {
		if !used[n] {
			return n
		}
	}
	return 0
}

// A level of the topic behind ->: text, or what a wildcard of the filter matched.
type level struct {
	text    []byte
	capture int // which wildcard, from 1; 0: text
}

func parseLevels(to string) (levels []level) {
	for part := range strings.SplitSeq(to, "/") {
		l := level{text: []byte(part)}
		if number, ok := strings.CutPrefix(part, "$"); ok && number != "" && strings.Trim(number, "0123456789") == "" {
			l.capture = 1 << 16 // more than any filter has
			if n, err := strconv.Atoi(number); err == nil && n > 0 {
				l.capture = min(n, l.capture)
			}
		}
		levels = append(levels, l)
	}
	return levels
}

// output is a filter for the topics that the rule makes.
func (r Rule) output(prefix string) []byte {
	if r.To == "" {
		return append([]byte(prefix), r.filter()...)
	}
	wildcards, many := wildcardsOf(r.filter())
	var out []byte
	for i, l := range parseLevels(r.To) {
		if i > 0 {
			out = append(out, '/')
		}
		switch {
		case l.capture == 0:
			out = append(out, l.text...)
		case many && l.capture == wildcards:
			out = append(out, '#')
		default:
			out = append(out, '+')
		}
	}
	return out
}

// overlap reports whether there may be a topic that both filters match. A level that
// ends in a wildcard, as a prefix without a slash makes them, counts as the wildcard.
func overlap(f, g []byte) bool {
	if g[0] == '$' && (f[0] == '+' || f[0] == '#') || f[0] == '$' && (g[0] == '+' || g[0] == '#') {
		return false
	}
	for {
		a, restF, moreF := bytes.Cut(f, slash)
		b, restG, moreG := bytes.Cut(g, slash)
		switch {
		case bytes.HasSuffix(a, []byte("#")), bytes.HasSuffix(b, []byte("#")):
			return true
		case !bytes.HasSuffix(a, []byte("+")) && !bytes.HasSuffix(b, []byte("+")) && !bytes.Equal(a, b):
			return false
		case !moreF && !moreG:
			return true
		case !moreF:
			return string(restG) == "#"
		case !moreG:
			return string(restF) == "#"
		}
		f, g = restF, restG
	}
}

var slash = []byte("/")
