package bridge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

// Config says which upstream to bridge to and what. New copies it.
type Config struct {
	Name      string     // of the bridge: part of the gateway's session, "$bridge/" + Name
	URL       *url.URL   // mqtt, mqtts, ws, wss; without a port the usual one, ws and wss without a path: /mqtt
	Others    []*url.URL // in the same form: servers to use, in order, when URL is out of reach
	ClientID  string     // unique among the upstream's clients
	Username  string
	Password  []byte        // nil: none
	Token     Token         // makes a new password for each connection; nil: Password stays
	TokenLife time.Duration // how long such a password is good, 10 s to 23 h; 0: an hour
	TLS       *tls.Config   // for mqtts and wss; nil: the system's roots, TLS 1.2 or later

	Path       Path
	Redirect   Hosts         // where the servers may send the bridge on to, with TLS if they have it
	Failback   time.Duration // between two looks whether a server before the present one is well again; 0: 5 min, below: never
	Extensions Marker        // of upstreams of MQTT 3.1.1

	// File is where to write down what is known of the servers, for the next
	// process: about which of several servers has the session, and how long lines
	// survive silence. Empty: nowhere.
	File string

	Up, Down             []Rule
	UpPrefix, DownPrefix string // before topics that go up, that come down, but where a rule has To
	MaxHops              int    // bridges that a message may have passed before this one, up to MaxMaxHops; 0: any, they are not counted

	// What the upstream does not take and does not tell. The zero values are as it tells.
	Version   codec.Version // the only one to ask for
	MaxQoS    byte          // of messages up, and of subscriptions: 1 or 2
	MaxUpSize uint32        // of packets up, in bytes
	MaxTopic  int           // length of topics up, in bytes
	MaxLevels int           // levels of topics up: one more than slashes

	BatchDictionary *batch.Dictionary // to pack batches with, where the upstream has it too; nil: none
	BatchUnasked    bool              // the rules' batches go also to an upstream that does not say that it takes them

	KeepAlive     time.Duration // whole seconds, 1 s to 65535 s; 0: 60 s. The upstream may demand another
	AutoKeepAlive bool          // begin with KeepAlive, and be silent as long as the path is found to survive
	AckTimeout    time.Duration // for the upstream to answer, or say anything; 0: 30 s
	MaxInflight   uint16        // messages in flight each way, at most; 0: up as the upstream and its latency have it, see pace.go, down 512
	MaxPacketSize uint32        // what an upstream of MQTT 5 may send, in bytes; 0: no limit

	// Dial opens a connection to the gateway inside the process. The gateway
	// must let the client "$bridge/"+Name in without a password.
	Dial func() io.ReadWriteCloser

	// Window is told how many messages at QoS 1 and 2 the gateway may have in flight to
	// the bridge from now on: MQTT has no word for that after CONNECT. It may not wait
	// long. nil: it stays at Receive Maximum.
	Window func(n uint16)

	// Changed is called when Status is another; Lost when a message is not sent up for
	// good, for a cause of few: "refused" by the upstream, "too_large" for it, "unnamed"
	// and "circled" as in Counters. Its id is the packet identifier under which the
	// gateway has it in flight until Lost returns, 0 at QoS 0. The topic is nil if it is
	// refused: the upstream does not say it. Neither may wait long. nil: nobody wants to
	// know.
	Changed func()
	Lost    func(cause string, topic []byte, id uint16)

	Log *slog.Logger // nil: none
}

// Check names all that is wrong with cfg, as New does.
func Check(cfg Config) error { return cfg.complete() }

// complete sets what is left to defaults, and checks all.
func (cfg *Config) complete() error {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = time.Minute
	}
	if cfg.AckTimeout == 0 {
		cfg.AckTimeout = 30 * time.Second
	}
	if cfg.Failback == 0 {
		cfg.Failback = 5 * time.Minute
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = time.Hour
	}
	if cfg.MaxQoS == 0 {
		cfg.MaxQoS = 2
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Window == nil {
		cfg.Window = func(uint16) {}
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Lost == nil {
		cfg.Lost = func(string, []byte, uint16) {}
	}
	if err := cfg.check(); err != nil {
		return fmt.Errorf("bridge %q: %w", cfg.Name, err)
	}
	return nil
}

// faults is what is wrong with a Config.
type faults []error

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

func (cfg *Config) check() error {
	var found faults
	if cfg.Name == "" {
		found.add("no name")
	}
	cfg.checkURLs(&found)
	if err := cfg.Path.checkProxy(); err != nil {
		found.add("%w", err)
	}
	if cfg.ClientID == "" {
		found.add("no client identifier: without one the upstream cannot keep the session")
	}
	for _, one := range []struct{ name, text string }{{"client identifier", cfg.ClientID}, {"user name", cfg.Username}} {
		if err := codec.ValidString([]byte(one.text)); err != nil {
			found.add("%s %q: %s", one.name, one.text, err.Text)
		}
	}
	if len(cfg.Up)+len(cfg.Down) == 0 {
		found.add("no topic filter, neither up nor down")
	}
	for _, f := range CheckTopics([]Config{*cfg}) {
		found.add("topics %s: %s", f.Way, f.Text)
	}
	for _, prefix := range []string{cfg.UpPrefix, cfg.DownPrefix} {
		if prefix == "" {
			continue
		}
		if err := codec.ValidTopic([]byte(prefix)); err != nil {
			found.add("topic prefix %q: %s", prefix, err.Text)
		}
	}
	if cfg.Dial == nil {
		found.add("no way to the gateway")
	}
	cfg.checkLimits(&found)
	return errors.Join(found...)
}

func (cfg *Config) checkURLs(found *faults) {
	for i, u := range cfg.urls() {
		switch {
		case u == nil || u.Hostname() == "":
			found.add("no URL with a host, such as mqtts://cloud.example.com")
		case defaultPort[u.Scheme] == "":
			found.add("URL scheme %q: use mqtt, mqtts, ws or wss", u.Scheme)
		case u.User != nil:
			found.add("URL with user name or password: give them on their own, URLs are logged")
		case slices.ContainsFunc(cfg.urls()[:i], func(other *url.URL) bool { return other != nil && *other == *u }):
			found.add("URL %s is in the list twice", Shown(u))
		case CheckPort(u) != nil:
			found.add("URL %s: %w", Shown(u), CheckPort(u))
		}
	}
}

func (cfg *Config) checkLimits(found *faults) {
	if cfg.MaxHops < 0 || cfg.MaxHops > MaxMaxHops {
		found.add("at most %d hops: 0 to %d", cfg.MaxHops, MaxMaxHops)
	}
	if cfg.KeepAlive < time.Second || cfg.KeepAlive > maxKeepAlive {
		found.add("keep alive %v is not within 1 s and 65535 s", cfg.KeepAlive)
	}
	if cfg.TokenLife < 10*time.Second || cfg.TokenLife > 23*time.Hour {
		found.add("a token's life of %v is not within 10 s and 23 h", cfg.TokenLife)
	}
	if cfg.Version != 0 && cfg.Version != codec.V5 && cfg.Version != codec.V311 {
		found.add("MQTT %v: 3.1.1 or 5", cfg.Version)
	}
	if cfg.MaxQoS > 2 {
		found.add("highest QoS %d: 1 or 2", cfg.MaxQoS)
	}
	if cfg.MaxTopic < 0 || cfg.MaxTopic > maxTopic || cfg.MaxLevels < 0 {
		found.add("topics of at most %d bytes and %d levels: 1 to %d bytes, 1 level or more", cfg.MaxTopic, cfg.MaxLevels, maxTopic)
	}
	if cfg.AckTimeout < time.Second {
		found.add("acknowledgement time-out %v is less than 1 s", cfg.AckTimeout)
	}
}

// urls is the whole list.
func (cfg *Config) urls() []*url.URL { return append([]*url.URL{cfg.URL}, cfg.Others...) }
