package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"sluice/codec"
)

// A server is one of those that the upstream consists of: of the list, or one that
// the bridge was sent on to.
type server struct {
	// Set once.
	name string // its URL as it is shown, which is its identity
	url  *url.URL

	// Owned by Run, and by the link that it waits for.
	version    version
	quiet      quiet
	inexact    time.Time   // when it last answered QoS 2 with PUBACK; zero: it has not
	moved      *server     // where to, it has said, for good; nil: it has not
	unreleased *unreleased // of the session there, and of all servers where it was found to be the same
}

// unreleased is what a session of an upstream may hold at QoS 2.
type unreleased struct {
	sent  ids  // QoS 2 messages sent up that it may wait to see released; guarded by link.mu
	known bool // sent is all there are, also of earlier processes
}

// server returns the one at u, always the same.
func (b *Bridge) server(u *url.URL) *server {
	name := Shown(u)
	s := b.servers[name]
	if s == nil {
		s = &server{name: name, url: u, quiet: b.begin(name), unreleased: new(unreleased)}
		b.servers[name] = s
	}
	return s
}

// Shown is a URL without what may be a secret: a password, and what stands behind the
// question mark of a WebSocket's.
func Shown(u *url.URL) string {
	shown := *u
	if shown.RawQuery != "" {
		shown.RawQuery = "xxxxx"
	}
	return shown.Redacted()
}

// reach connects to the first server that accepts: the one that the bridge was sent
// on to when the last link ended, then those of the list, in order. Where one says
// that it has moved for good, that is tried before it.
func (b *Bridge) reach(ctx context.Context) (*upstream, error) {
	var failed []error
	try := func(s *server, rank int) *upstream {
		up, err := b.follow(ctx, s)
		if err != nil {
			failed = append(failed, err)
			return nil
		}
		up.rank = rank
		return up
	}
	if s := b.sentOn; s == nil {
		b.hops = maxHops
	} else {
		b.sentOn = nil
		if up := try(s, b.rank); up != nil {
			return up, nil
		}
	}
	for rank, s := range b.home {
		for _, s := range []*server{s.moved, s} {
			if s == nil || ctx.Err() != nil {
				continue
			}
			if up := try(s, rank); up != nil {
				return up, nil
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(failed) == 1:
		return nil, failed[0]
	}
	return nil, errors.Join(failed...)
}

// follow connects to s, or to where it sends the bridge on.
func (b *Bridge) follow(ctx context.Context, s *server) (*upstream, error) {
	for {
		up, err := b.attempt(ctx, s)
		if err == nil {
			return up, nil
		}
		if b.severalServers() {
			err = fmt.Errorf("%s: %w", s.name, err)
		}
		next := b.redirect(s, err)
		if next == nil || ctx.Err() != nil {
			return nil, err
		}
		s = next
	}
}

// severalServers reports whether there may be more than one.
func (b *Bridge) severalServers() bool { return len(b.home) > 1 || !b.cfg.Redirect.none() }

// attempt connects to s, in the version of MQTT that it takes, or in the only one
// that it may be asked for.
func (b *Bridge) attempt(ctx context.Context, s *server) (*upstream, error) {
	if v := b.cfg.Version; v != 0 {
		return b.connectUpstream(ctx, s, v)
	}
	v := s.version.ask(time.Now())
	up, err := b.connectUpstream(ctx, s, v)
	if v == codec.V5 && errors.Is(err, errOldVersion) {
		b.log.Debug("trying MQTT 3.1.1", "server", s.name, "error", err)
		v = codec.V311
		up, err = b.connectUpstream(ctx, s, v)
	}
	s.version.answered(v, err, time.Now())
	return up, err
}

// A lineage says with which server's session that of the gateway goes on. Servers of
// a cluster may share the session of a client, and others do not; nobody says
// which are which. A server that has no session after another had one shares none
// with it: should the bridge come back to that other one, the session there is
// behind. It knows nothing of what went on meanwhile, and holds identifiers that
// now belong to other messages.
type lineage struct {
	last   string   // server of the session that goes on; empty: not known
	shared []string // others where it was found to go on
	behind []string // servers that may hold a session which is behind
}

// accepted takes a CONNACK of the server name with Session Present, and reports
// whether the session there is the one that goes on.
func (l *lineage) accepted(name string, present bool) bool {
	goesOn := present && !slices.Contains(l.behind, name) && !slices.Contains(l.behind, l.last)
	if !present {
		l.caughtUp(name)
	}
	if l.last != "" && l.last != name {
		l.shared = append(slices.DeleteFunc(l.shared, func(one string) bool { return one == name }), l.last)
		if !goesOn {
			for _, one := range l.shared {
				l.fallBehind(one)
			}
			l.shared = nil
		}
	}
	l.last = name
	return goesOn
}

// shares takes that the server name has the session that goes on, as last has.
func (l *lineage) shares(name string) {
	l.caughtUp(name)
	if !slices.Contains(l.shared, name) {
		l.shared = append(l.shared, name)
	}
}

// unanswered takes a CONNECT to name that was not answered: it may have begun a
// session there.
func (l *lineage) unanswered(name string) {
	if l.last != "" && l.last != name {
		l.fallBehind(name)
	}
}

func (l *lineage) fallBehind(name string) {
	if !slices.Contains(l.behind, name) {
		l.behind = append(l.behind, name)
	}
}

// caughtUp takes that the server name holds nothing any more that is behind.
func (l *lineage) caughtUp(name string) {
	l.behind = slices.DeleteFunc(l.behind, func(one string) bool { return one == name })
}
