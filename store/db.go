package store

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Names in Config.Dir.
const (
	fileName    = "sluice.db"
	newName     = "sluice.db.new" // a generation that is not complete; removed by Open
	badName     = "sluice.db.bad-"
	reserveName = "sluice.db.reserve"
)

// Config says where and how to store.
type Config struct {
	Dir      string        // made if it is not there, mode 0700
	Sync     Sync          // what Committed promises; the zero value is Always
	Linger   time.Duration // how long, up to twice, a record that is not urgent waits for being done instead, and up to five times if others of its queue are being done; 0 means 2 ms
	MaxBytes int64         // bound on Bytes for Room; 0 means 64 MiB

	// Committed is called when the batch of epoch, and all before it, are as durable as Sync promises.
	// Failed is called with the reason when commits stop, when the reason changes, and with nil when they go on.
	// They are called one at a time: by the committer, and Committed by End as well; nil means nobody listens.
	Committed func(epoch uint64)
	Failed    func(err error)

	// Together is held while a batch is taken, by the committer or by End: what is staged while another holds it is on disk
	// as a whole or not at all. nil: each call is staged for itself.
	Together sync.Locker

	Log *slog.Logger // nil: discarded

	// fault is asked before each step on the disk; an error makes the step fail. Set by tests.
	fault func(step string) error
}

// Urgency says how long what is staged may wait for the disk. The more urgent takes the others along.
type Urgency uint8

const (
	Lazy Urgency = iota + 1 // with the next commit, at latest after a second
	Soon                    // may linger, in the hope that it is not needed any more
	Now                     // at once
)

// lazyDelay is how long something Lazy waits if nothing else comes.
const lazyDelay = time.Second

// A DB is the store of one gateway: keys with values, queues, and a clock. See the package comment.
//
// Its methods are safe for concurrent use. None but Open and Close waits for the disk; End may write to the kernel's cache of it.
type DB struct {
	// Set once by Open.
	cfg    Config
	log    *slog.Logger
	lock   *os.File
	seed   uint32
	clock  time.Duration // at opened
	opened time.Time
	report Report
	wake   chan struct{} // urgency was raised
	quit   chan struct{} // closed by Close
	done   chan struct{} // closed by the committer
	closed sync.Once

	counts counts

	// Guarded by mu, which is never held across I/O or a callback.
	mu       sync.Mutex
	epoch    uint64
	urgency  Urgency
	told     Urgency // what the committer was woken for
	young    bool    // a change is Soon that came after the committer last looked, see look
	old      bool    // or before
	changes  map[string]change
	spare    map[string]change // empty, for the next batch
	dirty    []dirtyQueue
	usual    int               // bytes of a chunk as it is sealed, about: room for that spares growing it and giving the rest back
	loaded   map[uint64]*Queue // as found on disk, not opened yet
	live     int64             // charge of what is committed
	inFlight int64             // charge of the batch that is being written
	pending  int64             // charge of what is staged
	err      error

	turns   atomic.Int32 // between Begin and End
	reading sync.RWMutex // held by Ascend, and by the committer while it replaces current

	committer
}

// A dirtyQueue was appended to since the last batch was taken.
type dirtyQueue struct {
	*Queue
	seen [patience]uint64 // next as it was when the committer looked, the last time first
}

// A change is the last thing staged for a key: its value with room for the header, or nil for its end.
type change []byte

func (c change) charge(key string) int64 { return charge(key, freeze(c)) }

// Open opens the store in cfg.Dir, after it has mended the file, and keeps other processes out.
// Damage is no error: see Report. The error says what to do.
func Open(cfg Config) (*DB, error) {
	if cfg.Linger == 0 {
		cfg.Linger = 2 * time.Millisecond
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{
		cfg:     cfg,
		log:     cfg.Log,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		changes: make(map[string]change),
		spare:   make(map[string]change),
		loaded:  make(map[uint64]*Queue),
	}
	var err error
	if db.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := db.load(); err != nil {
		db.lock.Close()
		return nil, err
	}
	go db.run()
	return db, nil
}

// lockDir makes the directory and locks it against another process.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("data directory %s is in use by another process: stop that one, or give this one a directory of its own", dir)
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	return f, nil
}

// load mends and reads the file.
func (db *DB) load() error {
	if err := os.Remove(db.path(newName)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove an unfinished generation: %w", err)
	}
	if err := db.mend(); err != nil {
		return err
	}
	g, m, err := openGeneration(db.path(fileName))
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if m.epoch == 0 {
		m, err = db.plant(g)
		if err != nil {
			g.close()
			return fmt.Errorf("begin the store: %w", err)
		}
	}
	db.epoch, db.seed, db.clock, db.opened = m.epoch+1, m.seed, m.clock, time.Now()
	err = g.ascend("", func(key, value string) bool {
		g.live += charge(key, value)
		db.report.Records++
		if strings.HasPrefix(key, queuePrefix) {
			db.loadChunk(key, value)
		}
		return true
	})
	if err != nil {
		g.close()
		return fmt.Errorf("read the store: %w", err)
	}
	db.live = g.live
	db.committer.start(db, g)
	return nil
}

// plant begins an empty file.
func (db *DB) plant(g *generation) (m marker, err error) {
	m = marker{epoch: 1, seed: rand.Uint32()}
	if _, err := g.update(nil, m.value(), true); err != nil {
		return m, err
	}
	if err := g.file.Sync(); err != nil {
		return m, err
	}
	return m, db.lock.Sync()
}

func (db *DB) loadChunk(key, value string) {
	id, first, ok := parseQueueKey(key)
	if ok {
		q := db.loaded[id]
		if q == nil {
			q = &Queue{db: db, id: id, first: 1, next: 1, durable: 1}
			db.loaded[id] = q
		}
		ok = q.load(first, value)
	}
	if !ok {
		db.report.Dropped++
		db.stage(key, nil, Lazy)
	}
}

func (db *DB) path(name string) string { return filepath.Join(db.cfg.Dir, name) }

// Report returns what the scan of the file found when the store was opened.
func (db *DB) Report() Report { return db.report }

// Close commits what is staged, with the clock, and gives the directory free. It returns the reason if that cannot be done:
// what was staged last is lost then, and was never acknowledged. What is staged after Close is lost.
func (db *DB) Close() error {
	db.closed.Do(func() { close(db.quit) })
	<-db.done
	return db.closeErr
}

// Ascend calls fn in order for the keys that begin with prefix, until it returns false. Only for reading at start:
// it does not see what is staged. Key and value stay valid. fn does not call Ascend.
func (db *DB) Ascend(prefix string, fn func(key, value string) bool) {
	db.reading.RLock()
	defer db.reading.RUnlock()
	db.current.ascend(prefix, func(key, value string) bool {
		return strings.HasPrefix(key, prefix) && fn(key, value[headerLen:])
	})
}

// Set stages a value for key. The key is not empty, shorter than 128 KiB, and begins neither with "q/" nor with 0xFF.
func (db *DB) Set(key, value string, when Urgency) { db.Keep(key, view(value), when) }

// Keep is Set of a copy of value, which it returns: a caller who holds on to what the store does needs no other.
func (db *DB) Keep(key string, value []byte, when Urgency) (kept string) {
	c := make(change, headerLen+len(value))
	copy(c[headerLen:], value)
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stage(key, c, when)
	return freeze(c[headerLen:])
}

// Delete stages the end of key, whether it is there or not.
func (db *DB) Delete(key string, when Urgency) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.stage(key, nil, when)
}

// stage is called with mu held.
func (db *DB) stage(key string, c change, when Urgency) {
	if old := db.changes[key]; old != nil {
		db.pending -= old.charge(key)
	}
	if c != nil {
		db.pending += c.charge(key)
	}
	db.changes[key] = c
	db.young = db.young || when == Soon
	db.want(when)
}

// want notes how urgent what is staged is, and has the committer told unless an End is to come. Called with mu held.
func (db *DB) want(when Urgency) {
	if when <= db.urgency {
		return
	}
	db.urgency = when
	if db.turns.Load() == 0 {
		db.tell()
	}
}

// tell wakes the committer if it does not know how urgent what is staged is. Called with mu held.
func (db *DB) tell() {
	if db.urgency <= db.told {
		return
	}
	db.told = db.urgency
	db.rouse()
}

// rouse wakes the committer.
func (db *DB) rouse() {
	select {
	case db.wake <- struct{}{}:
	default: // it has not looked yet
	}
}

// Epoch returns the number of the batch that holds what was staged last, be it staged still, on its way or committed:
// all of it is durable once Committed came with this number or a greater one. It is never the number of an empty batch,
// for which nobody might come.
func (db *DB) Epoch() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.urgency == 0 {
		return db.epoch - 1
	}
	return db.epoch
}

// Err returns why commits fail, or that the disk is about to be full; nil when all is well.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.err
}

// Bytes returns what the items cost in memory: key, value and 130 bytes each, those being staged included.
// One that is staged in place of another counts twice until it is committed.
func (db *DB) Bytes() int64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.live + db.inFlight + db.pending
}

// Room reports whether n bytes more keep within Config.MaxBytes.
func (db *DB) Room(n int64) bool {
	return db.Bytes()+n <= db.cfg.MaxBytes
}

// Queue returns the queue of that id, with what was found of it on disk, or an empty one. A queue is opened once.
// A nil DB makes a queue in memory only, whatever the id.
func (db *DB) Queue(id uint64) *Queue {
	if db == nil {
		return &Queue{first: 1, next: 1}
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if q := db.loaded[id]; q != nil {
		delete(db.loaded, id)
		return q
	}
	return &Queue{db: db, id: id, first: 1, next: 1, durable: 1}
}

// Waits reports whether a queue of that id was found on disk, and was not opened yet.
func (db *DB) Waits(id uint64) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.loaded[id] != nil
}

// RemoveUnopened deletes the queues on disk that nobody has opened, and returns how many: called once all sessions are loaded,
// it gives back the room of those whose session was lost by damage.
func (db *DB) RemoveUnopened() int {
	db.mu.Lock()
	queues := db.loaded
	db.loaded = nil
	db.mu.Unlock()
	for _, q := range queues {
		q.Remove()
	}
	return len(queues)
}
