package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/bridge"
	"sluice/codec"
	"sluice/gateway"
	"sluice/gateway/topic"
)

// off stands for an address where nothing listens.
const off = "off"

// address is where to listen: host:port, :port, or off. The zero value is not
// set, which no text is.
type address string

func (a *address) UnmarshalText(text []byte) error {
	s := string(text)
	if s != off {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			if _, err := strconv.ParseUint(s, 10, 16); err == nil {
				return fmt.Errorf("%q lacks a colon: write :%s", s, s)
			}
			return fmt.Errorf("%q is not an address such as :1883, 192.168.1.1:1883, [::1]:1883 or off", s)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q has no port from 0 to 65535 behind the colon", s)
		}
	}
	*a = address(s)
	return nil
}

func (a address) host() string {
	host, _, _ := net.SplitHostPort(string(a))
	return host
}

func (a address) port() string {
	_, port, _ := net.SplitHostPort(string(a))
	return port
}

// loopback reports whether a is reached from this machine only.
func (a address) loopback() bool {
	ip, err := netip.ParseAddr(a.host())
	return a == off || a.host() == "localhost" || err == nil && ip.IsLoopback()
}

// size is a number of bytes.
type size int64

var units = []struct {
	name  string
	bytes size
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

func (s *size) UnmarshalText(text []byte) error {
	number, unit := string(text), size(1)
	for _, u := range units {
		if cut := len(number) - len(u.name); cut > 0 && strings.EqualFold(number[cut:], u.name) {
			number, unit = strings.TrimSpace(number[:cut]), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > 1<<62/int64(unit) {
		return fmt.Errorf("%q is not a size such as 64KiB, 10MB or 5000000", text)
	}
	*s = size(n) * unit
	return nil
}

func (s size) String() string {
	for _, u := range units {
		if s != 0 && s%u.bytes == 0 && u.bytes%1024 == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// prefixes is a set of addresses.
type prefixes []netip.Prefix

func (p *prefixes) UnmarshalText(text []byte) error {
	*p = nil
	return each(text, func(part string) error {
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			ip, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is not an address or prefix such as 10.1.2.3, 10.0.0.0/8 or fd00::/8", part)
			}
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		*p = append(*p, prefix)
		return nil
	})
}

// each calls add for what stands between commas, and returns all that is wrong with it.
func each(text []byte, add func(part string) error) error {
	var wrong []error
	for part := range strings.SplitSeq(string(text), ",") {
		wrong = append(wrong, add(strings.TrimSpace(part)))
	}
	return errors.Join(wrong...)
}

func (p prefixes) String() string {
	var s []string
	for _, prefix := range p {
		s = append(s, prefix.String())
	}
	return strings.Join(s, ",")
}

// group is an address that many listen at; not valid if there is none.
type group struct{ netip.Addr }

func (g *group) UnmarshalText(text []byte) error {
	ip, err := netip.ParseAddr(string(text))
	if err != nil {
		return fmt.Errorf("%q is not an address such as 225.1.1.1, ff02::1 or 192.168.1.255", text)
	}
	g.Addr = ip
	return nil
}

func (g group) String() string {
	if !g.IsValid() {
		return ""
	}
	return g.Addr.String()
}

// filters are topic filters.
type filters []string

func (f *filters) UnmarshalText(text []byte) error {
	*f = nil
	return each(text, func(part string) error {
		if err := codec.ValidFilter([]byte(part)); err != nil {
			return fmt.Errorf("%q is not a topic filter: %s", part, err.Text)
		}
		*f = append(*f, part)
		return nil
	})
}

func (f filters) String() string { return strings.Join(f, ",") }

// bytes are the filters as topics are matched with them.
func (f filters) bytes() (b [][]byte) {
	for _, filter := range f {
		b = append(b, []byte(filter))
	}
	return b
}

// files are paths.
type files []string

func (f *files) UnmarshalText(text []byte) error {
	*f = nil
	return each(text, func(part string) error {
		if part == "" {
			return errors.New("a file is missing, or there is a comma too many")
		}
		*f = append(*f, part)
		return nil
	})
}

func (f files) String() string { return strings.Join(f, ",") }

// topicIDs are predefined topic ids as they were written.
type topicIDs string

func (t *topicIDs) UnmarshalText(text []byte) error {
	*t = topicIDs(text)
	_, err := t.parse()
	return err
}

func (t topicIDs) parse() (*topic.Predefined, error) {
	return topic.ParsePredefined(strings.NewReader(strings.ReplaceAll(string(t), ",", "\n")))
}

// secret is a text that is never shown.
type secret string

func (s secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// countFlag reads how many messages are asked for.
func countFlag(count *uint64) func(string) error {
	return func(text string) (err error) {
		if *count, err = strconv.ParseUint(text, 10, 64); err != nil {
			return errors.New("a count is a whole number, 0 for no end")
		}
		return nil
	}
}

// serverURL is the URL of an MQTT server. It is shown without a password, which
// does not belong in it, and without a query.
type serverURL string

func (s serverURL) String() string {
	u, err := url.Parse(string(s))
	switch {
	case err == nil:
		return bridge.Shown(u)
	case strings.Contains(string(s), "@"):
		return "(not a URL)"
	}
	return string(s)
}

// serverURLs are the URLs of servers, in the order of preference.
type serverURLs []serverURL

func (s *serverURLs) UnmarshalText(text []byte) error {
	*s = nil
	return each(text, func(part string) error {
		if part == "" {
			return errors.New("a URL is missing, or there is a comma too many")
		}
		*s = append(*s, serverURL(part))
		return nil
	})
}

func (s serverURLs) String() string {
	var list []string
	for _, one := range s {
		list = append(list, one.String())
	}
	return strings.Join(list, ",")
}

// words are names with commas between them.
type words []string

func (w *words) UnmarshalText(text []byte) error {
	*w = nil
	return each(text, func(part string) error {
		if part == "" {
			return errors.New("a name is missing, or there is a comma too many")
		}
		*w = append(*w, part)
		return nil
	})
}

func (w words) String() string { return strings.Join(w, ",") }

// policy is a gateway.Policy by name.
type policy gateway.Policy

var policies = []string{gateway.Reject: "reject", gateway.DropOldest: "drop-oldest", gateway.DropNewest: "drop-newest"}

func (p *policy) UnmarshalText(text []byte) error {
	for i, name := range policies {
		if name == string(text) {
			*p = policy(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(policies, ", "))
}

func (p policy) String() string { return policies[p] }

// logFormat is how log lines look.
type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error {
	if s := string(text); s != "text" && s != "json" {
		return fmt.Errorf("%q is neither text nor json", s)
	}
	*f = logFormat(text)
	return nil
}

// keepAlive is a keep-alive, or one to begin with.
type keepAlive struct {
	time.Duration
	auto bool
}

func (k *keepAlive) UnmarshalText(text []byte) error {
	s := string(text)
	begin, auto := strings.CutPrefix(s, "auto:")
	if s == "auto" {
		begin, auto = "60s", true
	}
	d, err := time.ParseDuration(begin)
	if err != nil {
		return fmt.Errorf("%q is neither auto, auto:20s nor a duration such as 60s or 5m", s)
	}
	*k = keepAlive{d, auto}
	return nil
}

func (k keepAlive) String() string {
	if k.auto {
		return "auto:" + formatValue(k.Duration)
	}
	return formatValue(k.Duration)
}

// mqttVersion is a version of MQTT, 0 for what the other side takes.
type mqttVersion codec.Version

func (v *mqttVersion) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*v = 0
	case "5":
		*v = mqttVersion(codec.V5)
	case "3.1.1":
		*v = mqttVersion(codec.V311)
	default:
		return fmt.Errorf("%q is none of auto, 5, 3.1.1", text)
	}
	return nil
}

func (v mqttVersion) String() string {
	switch codec.Version(v) {
	case codec.V5:
		return "5"
	case codec.V311:
		return "3.1.1"
	}
	return "auto"
}

// rules are the topics that a bridge carries one way.
type rules []bridge.Rule

func (r *rules) UnmarshalText(text []byte) error {
	*r = nil
	return each(text, func(part string) error {
		rule, err := bridge.ParseRule(part)
		if err == nil {
			*r = append(*r, rule)
		}
		return err
	})
}

func (r rules) String() string {
	var s []string
	for _, rule := range r {
		s = append(s, rule.String())
	}
	return strings.Join(s, ",")
}

// formatValue writes a setting's value as it would be written in the environment.
func formatValue(v any) string {
	switch v := v.(type) {
	case *policy:
		if v == nil {
			return ""
		}
		return v.String()
	case time.Duration:
		s := v.String()
		if strings.HasSuffix(s, "m0s") {
			s = s[:len(s)-2]
		}
		if strings.HasSuffix(s, "h0m") {
			s = s[:len(s)-2]
		}
		return s
	case slog.Level:
		return strings.ToLower(v.String())
	case netip.Addr:
		if !v.IsValid() {
			return ""
		}
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}
