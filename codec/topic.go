package codec

import (
	"bytes"
	"strings"
)

// ValidTopic says what is wrong with a topic name, nil if nothing: it has 1 to
// 65535 bytes of UTF-8 without U+0000 and no wildcard. The result is an *Error
// so that it can be looked into; do not put a nil one into an error.
func ValidTopic(t []byte) *Error {
	ok, wild := scan(t)
	switch {
	case len(t) == 0:
		return errTopicEmpty
	case !ok:
		return errUTF8
	case wild:
		return errTopicWildcard
	case len(t) > maxString:
		return errTopicLong
	}
	return nil
}

// ValidFilter says what is wrong with a topic filter, nil if nothing. The filter
// of a shared subscription, $share/GROUP/FILTER, is checked as one, although
// MQTT 3.1 and 3.1.1 know none.
func ValidFilter(f []byte) *Error {
	ok, wild := scan(f)
	switch {
	case len(f) == 0:
		return errFilterEmpty
	case !ok:
		return errUTF8
	case len(f) > maxString:
		return errFilterLong
	}
	if group, filter, shared := SplitShare(f); shared {
		switch {
		case len(group) == 0 || HasWildcard(group):
			return errShareName
		case len(filter) == 0:
			return errShareFilter
		}
		f = filter
	}
	if !wild {
		return nil
	}
	for i, c := range f {
		starts := i == 0 || f[i-1] == '/'
		ends := i == len(f)-1
		if c == '#' && !(starts && ends) {
			return errFilterHash // [MQTT-4.7.1-1]
		}
		if c == '+' && !(starts && (ends || f[i+1] == '/')) {
			return errFilterPlus // [MQTT-4.7.1-2]
		}
	}
	return nil
}

const sharePrefix = "$share/"

// SplitShare takes the filter of a shared subscription apart. What has no
// "$share/" in front is not shared, and filter is all of it. The parts of a
// shared one may be empty or wrong unless ValidFilter accepts it.
func SplitShare(f []byte) (group, filter []byte, shared bool) {
	if len(f) < len(sharePrefix) || string(f[:len(sharePrefix)]) != sharePrefix {
		return nil, f, false
	}
	group, filter, _ = bytes.Cut(f[len(sharePrefix):], []byte("/"))
	return group, filter, true
}

// HasWildcard says whether f holds + or #.
func HasWildcard(f []byte) bool {
	return bytes.IndexByte(f, '+') >= 0 || bytes.IndexByte(f, '#') >= 0
}

// Match says whether a topic name matches a filter, by section 4.7. Both are
// valid; the filter is the inner one of a shared subscription.
func Match(filter, topic []byte) bool {
	if len(filter) == 0 || len(topic) == 0 {
		return false
	}
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	t := 0
	for f, c := range filter {
		switch {
		case c == '#':
			return true
		case c == '+':
			for t < len(topic) && topic[t] != '/' {
				t++
			}
		case t == len(topic):
			return string(filter[f:]) == "/#" // "a/#" takes in "a"
		case c != topic[t]:
			return false
		default:
			t++
		}
	}
	return t == len(topic)
}

// Covers says whether a filter matches every topic that another one does, by section 4.7.
// Both are valid and inner ones of shared subscriptions; a topic name is a filter that
// matches itself. Levels of the first without a wildcard are compared with those of the
// other by same; nil: as they are.
func Covers(filter, other string, same func(level, of string) bool) bool {
	if other[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	if same == nil {
		same = func(level, of string) bool { return level == of }
	}
	for {
		var a, b string
		var more, moreOther bool
		a, filter, more = strings.Cut(filter, "/")
		b, other, moreOther = strings.Cut(other, "/")
		switch {
		case a == "#":
			return true
		case b == "#":
			return false
		case a != "+" && !same(a, b):
			return false
		case !moreOther:
			return !more || filter == "#" // "a/#" takes in "a"
		case !more:
			return false
		}
	}
}
