package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
	"sluice/codec/sn"
	"sluice/gateway/access"
	"sluice/gateway/topic"
	"sluice/gateway/transport"
	"sluice/store"
)

// Policy says what happens to a message at QoS 1 or 2 when the queue of a session
// that wants it, or the store, is full.
type Policy int

const (
	Reject     Policy = iota // refuse it: reason 0x97 in MQTT 5, in 3.1.1 the connection is closed and the message stays unacknowledged
	DropOldest               // make room by dropping what waits longest in that queue
	DropNewest               // take it, but not for that session
)

// Config is what a Server is told. Zero values of the limits mean the defaults named.
type Config struct {
	Access    *access.List // accounts; nil: there are none and everybody may connect
	Anonymous bool         // with accounts: clients without a user name may connect as well

	MaxPacketSize    uint32        // bytes, 1 MiB; the largest packet accepted
	MaxInflight      uint16        // 512; QoS 1 and 2 messages unacknowledged per connection and direction
	QueueMaxBytes    int64         // 64 MiB; what may wait for one session
	QueuePolicy      Policy        // at that bound, and at store.Config.MaxBytes
	MaxKeepAlive     time.Duration // 0: the client's choice; else MQTT 5 clients are told this at most
	MaxSessionExpiry time.Duration // 0: the client's choice, up to never
	ConnectTimeout   time.Duration // 10 s; from accept to CONNECT
	Batches          Batches
	SN               SN

	// Control obeys a command, and says what came of it: Success, or why nothing. It is
	// called with the server's lock held: it may not wait, nor call the server. nil: there
	// is nothing to control.
	Control func(*Command) codec.ReasonCode

	Log *slog.Logger // nil: discards
}

// Server is the MQTT server. It implements transport.Handler; its methods may be
// called from any goroutine.
type Server struct {
	// Set once by New and Start, but for cfg.Access, which mu guards.
	cfg   Config
	log   *slog.Logger
	db    *store.DB     // nil: everything is kept in memory only
	start time.Time     // of the clock where there is no db
	hash  chan struct{} // bounds the passwords being verified at a time

	mu sync.Mutex // guards all below, and all of conn and session

	now        time.Duration   // the gateway's time at the call being served
	dec        codec.Decoder   // of what devices send
	records    codec.Decoder   // of what waits in queues
	unpacker   *batch.Unpacker // nil: no batch has come
	sessions   map[string]*session
	conns      map[*conn]struct{}
	subs       topic.Tree[*subscription]
	groups     map[string]*group
	retained   topic.Names[string] // records, see record.go
	cleared    uint64              // the epoch that takes the last of them that went off the disk
	unstored   int64               // bytes that wait for sessions that end with their connections
	rejecting  int                 // sessions with limits and the policy Reject
	slow       int                 // clients that are slow, see conn.behind
	routes     map[string]*route
	routesGen  uint64
	routesSize int // of routes, about, in bytes
	timers     timers
	alarm      *time.Timer
	nextKey    uint64                // of the next session
	committed  uint64                // the last epoch known to be durable
	waiting    []*conn               // with acknowledgements that wait for the disk or for others
	unfinished map[*conn]subscribing // packets that are handled in parts
	blocked    []*session            // with QoS 2 messages that wait for the disk to be sent
	tickets    []*ticket             // used no more
	touched    []movedLane           // whose windows have moved since they were stored
	released   []movedLane           // in whose windows messages were released by the read being served
	saver      timer                 // stores them
	failing    error                 // what the disk says; nil: it is well
	closing    bool
	stats      Stats
	reported   Stats         // as the log was last told
	reporter   timer         // tells it
	braked     []*conn       // publishers that are not read from for a moment
	brakes     timer         // ends it
	warned     time.Duration // when the log was last told of a full queue
	refused    time.Duration // and of a batch
	scratch    []byte        // records are made here
	copied     uint64        // bytes of messages that recipients got, in their output or queue

	// Of MQTT-SN.
	datagrams  sn.Decoder
	devices    map[deviceKey]*device // where they are
	connecting int                   // devices that have no session yet
	remembered int                   // sessions of those that have, or had
	group      path                  // where ADVERTISE goes
	advertiser timer
	answers    *transport.Limiter // to those who are not connected
	greetings  *transport.Limiter // CONNECTs of devices that are not here
	published  codec.Publish      // what a device publishes
	name       []byte             // the topic that a message means
	out        []byte             // datagrams are made here
	wrapped    []byte             // and wrapped for forwarders here
}

// New makes a server that keeps everything in memory until Start.
func New(cfg Config) *Server {
	setDefault(&cfg.MaxPacketSize, 1<<20)
	setDefault(&cfg.MaxInflight, 512)
	setDefault(&cfg.QueueMaxBytes, 64<<20)
	setDefault(&cfg.ConnectTimeout, 10*time.Second)
	cfg.SN.setDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg:        cfg,
		log:        cfg.Log,
		start:      time.Now(),
		hash:       make(chan struct{}, 2),
		dec:        codec.Decoder{MaxList: maxList},
		records:    codec.Decoder{FromServer: true},
		sessions:   make(map[string]*session),
		conns:      make(map[*conn]struct{}),
		groups:     make(map[string]*group),
		routes:     make(map[string]*route),
		unfinished: make(map[*conn]subscribing),
		nextKey:    1,
		devices:    make(map[deviceKey]*device),
		answers:    transport.NewLimiter(20, 100),
		greetings:  transport.NewLimiter(1000, 10000),
	}
}

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

// Start loads the sessions and retained messages of db, which tells the server of
// its commits by Committed. It is called before the first connection.
func (s *Server) Start(db *store.DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
	s.tick()
	s.load()
}

// Shutdown ends all connections with DISCONNECT 0x8B (Server shutting down) and lets
// no more in. Sessions, and wills with a delay, go on after the next Start. The
// transport and the store are closed by their owner, afterwards and in this order.
func (s *Server) Shutdown(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	s.closing = true
	for c := range s.conns {
		if c.dev != nil {
			continue // it goes on when the gateway is back
		}
		code := codec.ServerShuttingDown
		if c.state == challenged {
			code = codec.ServerUnavailable // which is the word for it in CONNACK
		}
		c.close(code, "server shutting down")
	}
	(*saver)(s).expire()
	(*reporter)(s).expire()
	if s.alarm != nil {
		s.alarm.Stop()
	}
	return nil
}

// SetAccess replaces the accounts of a server that has some. Clients whose account is no
// more are closed, and subscriptions that are not allowed any more end; a new password counts
// from the next connection.
func (s *Server) SetAccess(list *access.List) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	s.cfg.Access = list
	for c := range s.conns {
		if c.state == connected && !c.trusted && c.user != "" && !list.Has(c.user) {
			c.close(codec.NotAuthorized, "the account is no more")
		}
	}
	for _, to := range s.sessions {
		to.endForbidden()
	}
}

// Together is for store.Config: what one packet changes is on disk as a whole or not
// at all. A QoS 2 message without its identifier would come twice, an identifier
// without its message never.
func (s *Server) Together() sync.Locker { return &s.mu }

// Committed tells the server that what was staged in an epoch, and all before, is as
// durable as the store promises. The store's committer calls it.
func (s *Server) Committed(epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	s.committed = max(s.committed, epoch)
	waiting := s.waiting
	s.waiting = nil
	for _, c := range waiting {
		c.waits = false
		c.releaseAcks()
	}
	blocked := s.blocked
	s.blocked = nil
	for _, to := range blocked {
		to.blocked = false
		to.pump()
		if c := to.conn; c != nil && c.dev != nil {
			c.dev.advance()
		}
	}
}

// Failed tells the server that the disk can not be written, or, with nil, that it can
// again. Meanwhile nothing is acknowledged that should be on it.
func (s *Server) Failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

// tick reads the clock.
func (s *Server) tick() {
	if s.db != nil {
		s.now = s.db.Clock()
	} else {
		s.now = time.Since(s.start)
	}
}

// Open begins a connection. Part of transport.Handler.
func (s *Server) Open(tc *transport.Conn) {
	c := &conn{srv: s, tc: tc}
	tc.User = c
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	if s.closing {
		c.state = closed
		tc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.stats.Connections++
	c.timer.owner = c
	s.setTimer(&c.timer, s.now+s.cfg.ConnectTimeout)
}

// Receive takes what a device sent. Part of transport.Handler.
func (s *Server) Receive(tc *transport.Conn, b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	n := tc.User.(*conn).receive(b)
	s.storeReleased()
	return n, nil
}

// BeginRound has what is staged in this round committed at its end. Part of
// transport.Handler.
func (s *Server) BeginRound() {
	if s.db != nil {
		s.db.Begin()
	}
}

// EndRound commits what was staged, unless that takes long: its acknowledgements leave right
// after. Part of transport.Handler.
func (s *Server) EndRound() {
	if s.db != nil {
		s.db.End()
	}
}

// Writable goes on where a slow reader held things up. Part of transport.Handler.
func (s *Server) Writable(tc *transport.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	c := tc.User.(*conn)
	c.caughtUp()
	if c.deaf {
		c.deaf = false
		c.listen()
	}
	if c.state == connected {
		c.session.pump()
	}
}

// Closed ends a connection. Part of transport.Handler.
func (s *Server) Closed(tc *transport.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tick()
	c := tc.User.(*conn)
	if c.state == closed {
		return
	}
	why := "connection closed by peer"
	if err != nil && !errors.Is(err, io.EOF) {
		why = err.Error()
	}
	c.end(why)
}
