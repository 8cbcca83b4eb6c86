package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

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
	packers    [2]*batch.Packer // without and with BatchDictionary; nil: not used yet
	suspect    suspect
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
	pausedBy  string             // guarded by mu: who paused it last
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
	Hint      string        // what to do about Err; empty: nothing that is known
	Err       error         // why the last connection ended or failed; nil before that happens first, and after Pause
	Counters
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
		b.mu.Lock()
		by := b.pausedBy
		b.mu.Unlock()
		b.log.Info("bridge is paused, what is to go up waits", "by", by)
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
	b.status.Err, b.status.Hint, b.status.Window = err, hint(err), 0
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

// maxTopic is the longest topic, in bytes.
const maxTopic = 1<<16 - 1

// brief is the beginning of a topic, for logs.
func brief(topic []byte) string {
	if len(topic) <= 100 {
		return string(topic)
	}
	return string(topic[:100]) + "..."
}
