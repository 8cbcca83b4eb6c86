package access

import (
	"strings"

	"sluice/codec"
)

// verbs is what a grant allows on its topics.
type verbs byte

const (
	read verbs = 1 << iota
	write
)

// grant allows verbs on the topics of a filter.
type grant struct {
	verbs  verbs
	filter string // may hold %u and %c
}

// covers reports whether every topic that filter matches is matched by g's
// filter too, with user and clientID in the places of %u and %c. A topic name
// is a filter that matches itself.
func (g grant) covers(filter, user, clientID string) bool {
	return codec.Covers(g.filter, filter, func(pattern, level string) bool {
		return levelIs(pattern, level, user, clientID)
	})
}

// levelIs reports whether level is pattern with user and clientID in the places
// of %u and %c. A name that is empty or would span levels or be a wildcard
// fits nowhere: a client chooses its identifier, and may not choose "#".
func levelIs(pattern, level, user, clientID string) bool {
	for {
		before, after, found := strings.Cut(pattern, "%")
		if !found {
			return level == pattern
		}
		rest, ok := strings.CutPrefix(level, before)
		if !ok {
			return false
		}
		name := "%"
		if after != "" {
			switch after[0] {
			case 'u':
				name, after = user, after[1:]
			case 'c':
				name, after = clientID, after[1:]
			}
		}
		if name == "" || strings.ContainsAny(name, "+#/") {
			return false
		}
		if level, ok = strings.CutPrefix(rest, name); !ok {
			return false
		}
		pattern = after
	}
}
