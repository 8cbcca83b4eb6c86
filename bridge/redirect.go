package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"sluice/codec"
)

// maxHops is how often in a row a bridge lets itself be sent on.
const maxHops = 3

// maxServers is how many servers a bridge remembers.
const maxServers = 100

// Hosts are servers that an upstream may send the bridge on to: names, all names
// below one (*.example.com), addresses and prefixes of addresses. The zero value is
// none.
type Hosts struct {
	names    []string
	prefixes []netip.Prefix
}

// UnmarshalText reads hosts with commas between them.
func (h *Hosts) UnmarshalText(text []byte) error {
	*h = Hosts{}
	var wrong []error
	for part := range strings.SplitSeq(string(text), ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if prefix, err := netip.ParsePrefix(part); err == nil {
			h.prefixes = append(h.prefixes, prefix.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(strings.Trim(part, "[]")); err == nil {
			h.prefixes = append(h.prefixes, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		if name := strings.TrimPrefix(part, "*."); name == "" || strings.ContainsAny(name, "*/: ") {
			wrong = append(wrong, fmt.Errorf("%q is not a host such as b.example.com, *.example.com, 10.1.2.3 or 10.0.0.0/8", part))
			continue
		}
		h.names = append(h.names, part)
	}
	return errors.Join(wrong...)
}

func (h Hosts) String() string {
	list := h.names[:len(h.names):len(h.names)]
	for _, prefix := range h.prefixes {
		if prefix.IsSingleIP() {
			list = append(list, prefix.Addr().String())
		} else {
			list = append(list, prefix.String())
		}
	}
	return strings.Join(list, ",")
}

func (h Hosts) none() bool { return len(h.names)+len(h.prefixes) == 0 }

// allow reports whether host, a name or an address, is one of them.
func (h Hosts) allow(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		for _, prefix := range h.prefixes {
			if prefix.Contains(ip.Unmap()) {
				return true
			}
		}
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, name := range h.names {
		if below, all := strings.CutPrefix(name, "*"); name == host || all && len(host) > len(below) && strings.HasSuffix(host, below) {
			return true
		}
	}
	return false
}

// redirect returns the server that s sends the bridge on to with err, nil if it
// does not, not to where the bridge may go, or too often in a row.
func (b *Bridge) redirect(s *server, err error) *server {
	var r *refusal
	if !errors.As(err, &r) || r.server == "" || r.code != codec.UseAnotherServer && r.code != codec.ServerMoved {
		return nil
	}
	if b.cfg.Redirect.none() {
		return nil // the error says where to
	}
	if len(r.server) > maxReference {
		b.log.Warn("not following a server reference", "server", s.name, "error", "too long", "size", len(r.server))
		return nil
	}
	for reference := range strings.FieldsSeq(r.server) {
		u, fault := parseReference(reference, s.url)
		switch {
		case fault != nil:
		case (secure(b.cfg.URL) || secure(s.url)) && !secure(u):
			fault = errors.New("without TLS")
		case !b.cfg.Redirect.allow(u.Hostname()):
			fault = errors.New("not among the hosts that are allowed")
		case Shown(u) == s.name:
			fault = errors.New("to itself")
		case len(b.servers) >= maxServers && b.servers[Shown(u)] == nil:
			fault = fmt.Errorf("more than %d servers", maxServers)
		case b.hops == 0:
			fault = errors.New("sent on too often in a row")
		}
		if fault != nil {
			b.log.Warn("not following a server reference", "server", s.name, "to", reference, "error", fault)
			continue
		}
		next := b.server(u)
		if r.code == codec.ServerMoved {
			s.moved = next
		}
		b.hops = min(b.hops-1, r.hops)
		b.log.Info("sent on to another server", "server", s.name, "to", next.name, "reason", r.code.String())
		return next
	}
	return nil
}

// schemes of alternate servers, in the words of that extension and in ours.
var schemes = map[string]string{
	"tcp": "mqtt", "ssl": "mqtts", "mqtt": "mqtt", "mqtts": "mqtts", "ws": "ws", "wss": "wss",
}

// maxReference is the longest list of server references that is read, in bytes.
const maxReference = 1024

// parseReference reads host, host:port, or a URL of those without user and path.
// What it does not say is as with from.
func parseReference(text string, from *url.URL) (*url.URL, error) {
	u := &url.URL{Scheme: from.Scheme, Host: text, Path: from.Path}
	if scheme, host, ok := strings.Cut(text, "://"); ok {
		if schemes[scheme] == "" {
			return nil, fmt.Errorf("unknown scheme %q", scheme)
		}
		u = &url.URL{Scheme: schemes[scheme], Host: host}
		if u.Scheme == from.Scheme {
			u.Path = from.Path
		}
	}
	// url.Parse knows what a host may look like.
	parsed, err := url.Parse(u.Scheme + "://" + u.Host)
	if err != nil || parsed.Hostname() == "" || parsed.Host != u.Host || parsed.User != nil || parsed.Path != "" || parsed.RawQuery != "" {
		return nil, errors.New("not a host with or without port")
	}
	return u, nil
}

func secure(u *url.URL) bool { return u.Scheme == "mqtts" || u.Scheme == "wss" }
