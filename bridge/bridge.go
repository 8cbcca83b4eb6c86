package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"sync"
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

// ClientPrefix and the name of a bridge are its client identifier in the gateway.
const ClientPrefix = "$bridge/"

const maxKeepAlive = 65535 * time.Second // of MQTT

// A Bridge relays between the gateway and one upstream while Run runs.
type Bridge struct {
	// Set once by New.
	cfg      Config
	clientID []byte // in the gateway
	log      *slog.Logger
	dial     func(context.Context, *url.URL) (io.ReadWriteCloser, error) // to the upstream
	home     []*server                                                   // the list
	start    time.Time

	upNames, downNames *names
	echoes             *echoes // nil: what goes up is nothing that comes down
	mark               []byte  // nil for the same reason, or nothing is counted

	counts counts

	// Owned by Run, and by the link that it waits for.
	servers    map[string]*server // by name, those that others sent the bridge on to included
	lineage    lineage
	silences   map[string]memoryOfQuiet // of the last process
	remembered []byte                   // as in the file
	unwritten  []byte                   // as it should be there, and can not be; nil: it is
	current    *server                  // that of the last link
	rank       int                      // of that
	wentBack   bool                     // the last link ended for an earlier server
	sentOn     *server                  // where the last link's server sent the bridge on to; nil: it did not
	hops       int                      // how often it may be sent on again
	failbacks  int                      // how many times longer to wait for a look at earlier servers; 0: no longer
	backoff    backoff
	packers    [2]*batch.Packer       // without and with BatchDictionary; nil: not used yet
	unbatched  time.Time              // until then nothing goes up in batches
	subscribed bool                   // the upstream's session has all of Down
	asked      [][]codec.Subscription // of each SUBSCRIBE of this connection
	filters    map[string][]string    // by server: what its session may have, of Down and from before
	leaving    []string               // of each UNSUBSCRIBE of this connection

	synchronised bool // the upstream's session has had what the gateway retains
	allRetained  bool // else: not only what is new to the gateway's session
	received     ids  // QoS 2 messages come down that the gateway may wait to see released
	known        bool // received is all there are, also of earlier processes
	stale        bool // they are of a session that the upstream has lost
	doubtful     ids  // of received, that may be of a session that the upstream has lost
	strange      bool // the upstream may have a session of which the gateway knows nothing

	resumed   chan struct{} // has room for one
	finishing struct {      // see Finish
		once  sync.Once
		asked chan struct{}
	}

	mu        sync.Mutex
	status    Status             // guarded by mu; without Counters
	interrupt context.CancelFunc // guarded by mu: ends the present attempt; nil before the first
}

// Status is how a bridge fares.
type Status struct {
	Connected bool
	Paused    bool
	Since     time.Time     // of the last change of Connected; zero before the first connection
	Version   codec.Version // of the last connection to the upstream
	Server    string        // URL of the last that was connected; empty before
	KeepAlive time.Duration // in force; 0 while not connected
	Window    int           // messages at QoS 1 and 2 that may be under way up now; 0: not connected
	Err       error         // why the last connection ended or failed; nil before that happens first, and after Pause
	Counters
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

// New makes a bridge, or names all that is wrong with cfg.
func New(cfg Config) (*Bridge, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Bridge{
		cfg:       cfg,
		clientID:  []byte(ClientPrefix + cfg.Name),
		start:     time.Now(),
		resumed:   make(chan struct{}, 1),
		upNames:   newNames(cfg.Up, cfg.UpPrefix),
		downNames: newNames(cfg.Down, cfg.DownPrefix),
		log:       cfg.Log.With("bridge", cfg.Name),
		servers:   make(map[string]*server),
		filters:   make(map[string][]string),
		hops:      maxHops,
		doubtful:  all(), // the last process may have ended before it knew of a new session
	}
	if b.mayEcho() {
		b.echoes = newEchoes()
		if cfg.MaxHops > 0 {
			b.mark = cfg.mark()
		}
	}
	b.finishing.asked = make(chan struct{})
	if err := b.recall(); err != nil {
		b.log.Warn("what was known of the servers is lost", "error", err)
	}
	for _, u := range cfg.urls() {
		b.home = append(b.home, b.server(u))
	}
	b.dial = func(ctx context.Context, u *url.URL) (io.ReadWriteCloser, error) {
		return cfg.Path.dial(ctx, u, cfg.TLS)
	}
	return b, nil
}

func (cfg *Config) check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if cfg.Name == "" {
		fault("no name")
	}
	for i, u := range cfg.urls() {
		switch {
		case u == nil || u.Hostname() == "":
			fault("no URL with a host, such as mqtts://cloud.example.com")
		case defaultPort[u.Scheme] == "":
			fault("URL scheme %q: use mqtt, mqtts, ws or wss", u.Scheme)
		case u.User != nil:
			fault("URL with user name or password: give them on their own, URLs are logged")
		case slices.ContainsFunc(cfg.urls()[:i], func(other *url.URL) bool { return other != nil && *other == *u }):
			fault("URL %s is in the list twice", Shown(u))
		case CheckPort(u) != nil:
			fault("URL %s: %w", Shown(u), CheckPort(u))
		}
	}
	if err := cfg.Path.checkProxy(); err != nil {
		fault("%w", err)
	}
	if cfg.ClientID == "" {
		fault("no client identifier: without one the upstream cannot keep the session")
	}
	for _, one := range []struct{ name, text string }{{"client identifier", cfg.ClientID}, {"user name", cfg.Username}} {
		if err := codec.ValidString([]byte(one.text)); err != nil {
			fault("%s %q: %s", one.name, one.text, err.Text)
		}
	}
	if len(cfg.Up)+len(cfg.Down) == 0 {
		fault("no topic filter, neither up nor down")
	}
	for _, f := range CheckTopics([]Config{*cfg}) {
		fault("topics %s: %s", f.Way, f.Text)
	}
	if cfg.MaxHops < 0 || cfg.MaxHops > MaxMaxHops {
		fault("at most %d hops: 0 to %d", cfg.MaxHops, MaxMaxHops)
	}
	for _, prefix := range []string{cfg.UpPrefix, cfg.DownPrefix} {
		if prefix == "" {
			continue
		}
		if err := codec.ValidTopic([]byte(prefix)); err != nil {
			fault("topic prefix %q: %s", prefix, err.Text)
		}
	}
	if cfg.KeepAlive < time.Second || cfg.KeepAlive > maxKeepAlive {
		fault("keep alive %v is not within 1 s and 65535 s", cfg.KeepAlive)
	}
	if cfg.TokenLife < 10*time.Second || cfg.TokenLife > 23*time.Hour {
		fault("a token's life of %v is not within 10 s and 23 h", cfg.TokenLife)
	}
	if cfg.Version != 0 && cfg.Version != codec.V5 && cfg.Version != codec.V311 {
		fault("MQTT %v: 3.1.1 or 5", cfg.Version)
	}
	if cfg.MaxQoS > 2 {
		fault("highest QoS %d: 1 or 2", cfg.MaxQoS)
	}
	if cfg.MaxTopic < 0 || cfg.MaxTopic > maxTopic || cfg.MaxLevels < 0 {
		fault("topics of at most %d bytes and %d levels: 1 to %d bytes, 1 level or more", cfg.MaxTopic, cfg.MaxLevels, maxTopic)
	}
	if cfg.AckTimeout < time.Second {
		fault("acknowledgement time-out %v is less than 1 s", cfg.AckTimeout)
	}
	if cfg.Dial == nil {
		fault("no way to the gateway")
	}
	return errors.Join(errs...)
}

// urls is the whole list.
func (cfg *Config) urls() []*url.URL { return append([]*url.URL{cfg.URL}, cfg.Others...) }

// Subscriptions are what the gateway's session of the bridge has to have: the
// filters of Up, not matching what the bridge itself brought down, and with
// RETAIN as published. The gateway has to have them before Run.
func (b *Bridge) Subscriptions() []codec.Subscription {
	subs := make([]codec.Subscription, len(b.cfg.Up))
	for i, r := range b.cfg.Up {
		subs[i] = codec.Subscription{Filter: []byte(r.Filter), QoS: r.QoS, NoLocal: true, RetainAsPublished: true, RetainHandling: 1}
	}
	return subs
}

// EndToEnd are the filters of Subscriptions that have publishers wait until the upstream
// has acknowledged their messages.
func (b *Bridge) EndToEnd() (filters []string) {
	for _, r := range b.cfg.Up {
		if r.EndToEnd {
			filters = append(filters, r.Filter)
		}
	}
	return filters
}

// Name is Config.Name.
func (b *Bridge) Name() string { return b.cfg.Name }

// ClientID is the bridge's client identifier in the gateway.
func (b *Bridge) ClientID() string { return string(b.clientID) }

// Run connects, relays and reconnects until ctx ends; then it takes leave of
// both sides, within about a second, and returns nil. Call it once.
func (b *Bridge) Run(ctx context.Context) error {
	defer b.remember()
	for {
		attempt, done := b.unpaused(ctx)
		if attempt == nil {
			return nil
		}
		wait := b.once(ctx, attempt)
		select {
		case <-time.After(wait):
		case <-b.resumed:
		case <-b.finishing.asked:
		case <-attempt.Done():
		}
		done()
		if ctx.Err() != nil || b.finished() {
			return nil
		}
	}
}

// once connects and relays until the link ends, or the attempt does, and returns how
// long to wait before the next.
func (b *Bridge) once(ctx, attempt context.Context) (wait time.Duration) {
	err := b.connect(attempt)
	if ctx.Err() != nil {
		return 0
	}
	if attempt.Err() != nil {
		err = errPaused
	}
	lasted := b.ended(err)
	b.remember()
	if errors.Is(err, errFinished) {
		return 0
	}
	if planned(err) {
		b.log.Info("connecting anew", "reason", err)
		b.wentBack = errors.Is(err, errFailback)
		return 0
	}
	if err == errPaused {
		b.log.Info("bridge is paused, what is to go up waits")
		return 0
	}
	if lasted >= stable {
		b.hops = maxHops
	}
	if lasted > 0 {
		if b.sentOn = b.redirect(b.current, err); b.sentOn != nil {
			return 0
		}
	}
	wait = b.backoff.next(lasted, permanent(err))
	attrs := []any{"error", err, "retry_in", wait.Round(time.Millisecond)}
	if hint := hint(err); hint != "" {
		attrs = append(attrs, "hint", hint)
	}
	b.log.Warn("bridge is not connected", attrs...)
	return wait
}

// connect makes both connections and relays until one of them ends.
func (b *Bridge) connect(ctx context.Context) error {
	up, err := b.reach(ctx)
	if err != nil {
		return fmt.Errorf("connect to upstream: %w", err)
	}
	b.remember() // before a message goes by it
	l := newLink(b, up)
	defer l.close()
	if err := l.connectLocal(ctx); err != nil {
		return fmt.Errorf("connect to gateway: %w", err)
	}
	b.connected(up)
	b.setWindow(l.pace.window)
	return l.run(ctx)
}

func (b *Bridge) connected(up *upstream) {
	b.counts.connects.Add(1)
	switch {
	case up.rank == 0:
		b.failbacks = 0
	case b.wentBack && up.rank >= b.rank: // in vain
		b.failbacks = min(max(2*b.failbacks, 2), maxFailbacks)
	}
	b.current, b.rank, b.wentBack = up.server, up.rank, false
	b.mu.Lock()
	b.status.Connected, b.status.Since = true, time.Now()
	b.status.Version, b.status.Server, b.status.KeepAlive = up.wire.version, up.server.name, up.keepAlive
	b.mu.Unlock()
	b.cfg.Changed()
	b.log.Info("bridge connected", "server", up.server.name, "version", up.wire.version, "session_present", up.sessionPresent, "keep_alive", up.keepAlive,
		"receive_maximum", up.receiveMaximum, "maximum_qos", up.maximumQoS, "maximum_packet_size", up.maximumPacketSize)
}

func (b *Bridge) setWindow(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Window = n
}

// ended returns how long the connection lasted: 0 if it was not made.
func (b *Bridge) ended(err error) (lasted time.Duration) {
	defer b.cfg.Changed()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.status.Connected {
		lasted = max(time.Since(b.status.Since), 1)
		b.status.Connected, b.status.Since, b.status.KeepAlive = false, time.Now(), 0
	}
	b.status.Err, b.status.Window = err, 0
	if err == errPaused {
		b.status.Err = nil // Paused says so
	}
	return lasted
}

// Status may be called at any time.
func (b *Bridge) Status() Status {
	b.mu.Lock()
	s := b.status
	b.mu.Unlock()
	s.Counters = b.counts.read()
	return s
}

// A version remembers whether the upstream has to be asked for MQTT 3.1.1.
type version struct {
	old   bool
	since time.Time // when it was last found not to take MQTT 5
}

// askAgain is how long an upstream is asked for 3.1.1 only.
const askAgain = time.Hour

func (v *version) ask(now time.Time) codec.Version {
	if v.old && now.Sub(v.since) < askAgain {
		return codec.V311
	}
	return codec.V5
}

// answered takes what came of asking for asked.
func (v *version) answered(asked codec.Version, err error, now time.Time) {
	var refused *refusal
	switch {
	case errors.Is(err, errOldVersion): // nor does it take this one
		v.old = false
	case err != nil && !errors.As(err, &refused): // it did not answer
	case asked == codec.V5:
		v.old = false
	case !v.old || now.Sub(v.since) >= askAgain:
		v.old, v.since = true, now
	}
}

// An ids is a set of packet identifiers.
type ids [1 << 16 / 64]uint64

// all are all packet identifiers.
func all() (s ids) {
	for i := range s {
		s[i] = 1<<64 - 1
	}
	return s
}

func (s *ids) has(id uint16) bool { return s[id/64]&(1<<(id%64)) != 0 }
func (s *ids) add(id uint16)      { s[id/64] |= 1 << (id % 64) }
func (s *ids) remove(id uint16)   { s[id/64] &^= 1 << (id % 64) }

func (s *ids) set(id uint16, in bool) {
	if in {
		s.add(id)
	} else {
		s.remove(id)
	}
}

// maxTopic is the longest topic, in bytes.
const maxTopic = 1<<16 - 1

// brief is the beginning of a topic, for logs.
func brief(topic []byte) string {
	if len(topic) <= 100 {
		return string(topic)
	}
	return string(topic[:100]) + "..."
}
