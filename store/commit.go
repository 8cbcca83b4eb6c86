package store

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	patience     = 4             // looks that a record is given if others of its queue were done in the last as many
	lingerMost   = lazyDelay / 4 // for what is staged while records that are done soon keep coming
	syncInterval = time.Second   // Sync = Interval
	retryDelay   = time.Second   // between attempts while commits fail
	checkDelay   = time.Second   // between looks at the free space while there is little
	copyDelay    = time.Minute   // after a compaction that did not work

	updateBytes = 1 << 20 // bound on one transaction of BuntDB, which keeps a buffer as large as the largest
	maxSpare    = 1 << 10 // changes of a batch whose memory is used again
	checkBytes  = 1 << 18 // written between two looks at the free space and the size of the file

	// A file is compacted when it is larger than twice the live bytes, and this; the latter on a disk that is about full.
	compactSlack    = 16 << 20
	compactSlackLow = 1 << 20
)

// A committer is what who works on the disk knows: the goroutine of that name, and those who commit in their turn.
type committer struct {
	disk    sync.Mutex // guards all below; held while the disk is worked on, so the others only try to take it
	current *generation
	copying *copying // nil: no compaction under way
	reserve reserve

	ops      []op   // room for those of the next batch
	left     *batch // could not be written; the next goes on with it
	closeErr error  // what Close returns

	// The next time for each duty; zero: none.
	commitAt, syncAt, checkAt time.Time

	lingerTo     time.Time // what is staged is committed by then in any case; zero: nothing is
	noCopyBefore time.Time // after a compaction that has failed
	unsynced     bool      // something is written and not fsynced
	unchecked    int64     // bytes written since the last check, about
	broken       bool      // an fsync of current has failed: it is never fsynced again
	low          bool      // the disk is about full
	finished     bool      // the store is closed
}

// A batch is what is committed at once: after a crash all of it is there, or nothing.
type batch struct {
	epoch   uint64
	changes map[string]change
	chunks  []sealedChunk
	queues  []sealedQueue
	ops     []op // the commands, with the values as they are on disk
	close   bool // the last one: the clock is written even if nothing else is
	wrote   int  // changes of all attempts
}

// A sealedChunk has room for the header, which is computed after mu is unlocked.
type sealedChunk struct {
	id, first uint64
	data      []byte
}

// A sealedQueue is durable up to the number once the batch is.
type sealedQueue struct {
	*Queue
	upto uint64
}

func (b *batch) put(id uint64, c *chunk) {
	b.chunks = append(b.chunks, sealedChunk{id, c.first, c.data})
}

func (c *committer) start(db *DB, g *generation) {
	c.current = g
	c.checkAt = time.Now()
	c.reserve = reserve{path: db.path(reserveName)}
	c.reserve.take()
}

// run is the committer: the goroutine that does all on the disk that may take long.
func (db *DB) run() {
	defer close(db.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if db.work(timer) {
			select {
			case <-db.quit:
				db.finish()
				return
			default:
			}
			continue
		}
		select {
		case <-db.wake:
		case <-timer.C:
		case <-db.quit:
			db.finish()
			return
		}
	}
}

// work does what is due, and reports whether there was anything.
func (db *DB) work(timer *time.Timer) bool {
	db.disk.Lock()
	defer db.disk.Unlock()
	db.schedule()
	if !db.due(timer) {
		return false
	}
	db.step()
	return true
}

// schedule sets when to commit what is staged.
func (db *DB) schedule() {
	db.mu.Lock()
	urgency := db.urgency
	db.mu.Unlock()
	var at time.Time
	switch urgency {
	case 0:
		return
	case Lazy:
		at = time.Now().Add(lazyDelay)
	case Soon:
		at = time.Now().Add(db.cfg.Linger)
	case Now:
		at = time.Now()
	}
	if db.commitAt.IsZero() || at.Before(db.commitAt) {
		db.commitAt = at
		db.look()
	}
	if db.lingerTo.IsZero() {
		db.lingerTo = time.Now().Add(lingerMost)
	}
}

// look notes what waits for the disk.
func (db *DB) look() {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i := range db.dirty {
		q := &db.dirty[i]
		copy(q.seen[1:], q.seen[:])
		q.seen[0] = q.next
		q.still = min(q.still+1, patience)
	}
	db.young, db.old = false, db.young || db.old
}

// lingers reports whether all that waits for the disk came after the last look, Config.Linger ago, or a few looks ago if its
// recipient is only busy. Then records may be done by the next look, and be replaced by others: while messages flow there are
// always some.
func (db *DB) lingers() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.urgency != Soon || db.old {
		return false
	}
	young := db.young
	for _, q := range db.dirty {
		if seq, ok := q.unwritten(); ok {
			if seq < q.seen[patience-1] || seq < q.seen[0] && q.still == patience {
				return false
			}
			young = true
		}
	}
	return young
}

// due reports whether there is something to do now, and sets the timer for the next duty if not.
func (db *DB) due(timer *time.Timer) bool {
	if db.copying != nil {
		return true
	}
	var next time.Time
	for _, at := range []time.Time{db.commitAt, db.syncAt, db.checkAt} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		timer.Stop()
		return false
	}
	wait := time.Until(next)
	timer.Reset(wait)
	return wait <= 0
}

// step does what is due.
func (db *DB) step() {
	now := time.Now()
	is := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	if is(db.commitAt) {
		db.commitAt = time.Time{}
		if db.left == nil && !is(db.lingerTo) && db.lingers() {
			return // to schedule
		}
		if !db.commit(db.take()) {
			return // a part of it may be written, which no compaction may put a marker behind
		}
	}
	if is(db.syncAt) {
		db.syncAt = time.Time{}
		if db.persist(db.flush) {
			db.checkAt = now
		}
	}
	if is(db.checkAt) {
		db.checkAt = time.Time{}
		db.check()
		db.compact()
	} else if db.copying != nil {
		db.compact()
	}
}

// finish commits what is staged, and the clock.
func (db *DB) finish() {
	db.disk.Lock()
	defer db.disk.Unlock()
	db.finished = true
	b := db.take()
	b.close = true
	if !db.commit(b) {
		db.closeErr = db.Err()
	}
	db.dropCopy()
	db.current.close()
	db.lock.Close()
}

// take makes a batch of what is staged, behind what could not be written, and begins the next.
func (db *DB) take() *batch {
	db.commitAt, db.lingerTo = time.Time{}, time.Time{}
	if db.cfg.Together != nil {
		db.cfg.Together.Lock()
		defer db.cfg.Together.Unlock()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	b := &batch{epoch: db.epoch, changes: db.changes}
	if db.left != nil {
		b.queues, b.ops, b.wrote = db.left.queues, db.left.ops, db.left.wrote
		db.left = nil
	}
	for _, q := range db.dirty {
		q.seal(b)
		b.queues = append(b.queues, sealedQueue{q.Queue, q.next})
	}
	clear(db.dirty)
	db.dirty = db.dirty[:0]
	db.changes, db.spare = db.spare, nil
	if db.changes == nil {
		db.changes = make(map[string]change)
	}
	db.inFlight, db.pending = db.inFlight+db.pending, 0
	db.urgency, db.told, db.young, db.old = 0, 0, false, false
	db.epoch++
	return b
}

// commit writes b, however long that takes, and says so. It gives up, and returns false, only if the store is closed meanwhile.
func (db *DB) commit(b *batch) bool {
	db.encode(b)
	if !db.persist(func() error { return db.write(b) }) {
		db.left = b // for the attempt of Close
		return false
	}
	db.committed(b)
	return true
}

// committed says that b is as durable as Sync promises.
func (db *DB) committed(b *batch) {
	if b.wrote > 0 {
		db.counts.commits.Add(1)
	}
	db.mu.Lock()
	for _, q := range b.queues {
		q.durable = max(q.durable, q.upto)
	}
	db.inFlight = 0
	db.live = db.current.live
	failing := db.err != nil
	if len(b.changes) < maxSpare {
		clear(b.changes)
		db.spare = b.changes
	}
	db.mu.Unlock()
	if len(b.ops) < maxSpare {
		clear(b.ops)
		db.ops = b.ops[:0]
	}
	if db.cfg.Committed != nil {
		db.cfg.Committed(b.epoch)
	}
	if failing || db.unchecked >= checkBytes {
		db.checkAt = time.Now()
	}
}

// encode makes the commands of b, behind those that it has.
func (db *DB) encode(b *batch) {
	if b.ops == nil {
		b.ops, db.ops = db.ops, nil
	}
	b.ops = slices.Grow(b.ops, len(b.chunks)+len(b.changes))
	for key, c := range b.changes {
		if c == nil {
			b.ops = append(b.ops, op{key: key, del: true})
		} else {
			putHeader(db.seed, key, c)
			b.ops = append(b.ops, op{key: key, value: freeze(c)})
		}
	}
	// After the changes: a queue that was removed and begins anew uses the keys that are deleted.
	for _, c := range b.chunks {
		key := queueKey(c.id, c.first)
		putHeader(db.seed, key, c.data)
		b.ops = append(b.ops, op{key: key, value: freeze(c.data)})
	}
}

// persist repeats try until it works, and reports failures as they begin, change and end.
// It returns false if the store is closed before.
func (db *DB) persist(try func() error) bool {
	for {
		err := try()
		if err == nil {
			break
		}
		if isFull(err) && db.reserve.giveUp() {
			db.log.Warn("disk is full, reserve given up")
			continue
		}
		db.health(err)
		select {
		case <-db.quit:
			return false
		case <-time.After(retryDelay):
		}
	}
	return true
}

// write is one attempt to make b durable. After a failure it may be repeated: all its commands may.
func (db *DB) write(b *batch) error {
	if db.broken {
		b.wrote += len(b.ops)
		return db.renew(b.epoch, b.ops)
	}
	begun := b.wrote > 0 || b.close
	if len(b.ops) == 0 && !begun {
		return nil
	}
	wrote, err := db.update(db.current, b.ops, db.marker(b.epoch), begun)
	b.wrote += wrote
	if err != nil {
		return err
	}
	if b.wrote == 0 && !b.close {
		return nil // all was done before it came to the disk
	}
	if db.copying != nil {
		if _, err := db.update(db.copying.to, b.ops, "", false); err != nil {
			db.failCopy(err)
		}
	}
	db.unsynced = true
	switch {
	case db.cfg.Sync == Always || b.close:
		return db.flush()
	case db.cfg.Sync == Interval && db.syncAt.IsZero():
		db.syncAt = time.Now().Add(syncInterval)
	}
	return nil
}

// update writes ops, and the marker behind them as generation.update does, in transactions of bounded size, so that the buffer is.
func (db *DB) update(g *generation, ops []op, mark string, begun bool) (wrote int, err error) {
	for more := true; more; more = len(ops) > 0 {
		n, size := 0, 0
		for n < len(ops) && (n == 0 || size+len(ops[n].value) <= updateBytes) {
			size += len(ops[n].key) + len(ops[n].value)
			n++
		}
		last := ""
		if n == len(ops) {
			last = mark
		}
		db.unchecked += int64(size)
		if err := db.fault("write"); err != nil {
			return wrote, err
		}
		w, err := g.update(ops[:n], last, begun || wrote > 0)
		if err != nil {
			return wrote, fmt.Errorf("write to the store: %w", err)
		}
		wrote += w
		ops = ops[n:]
	}
	return wrote, nil
}

// marker is the value that ends the batch of that epoch.
func (db *DB) marker(epoch uint64) string {
	return marker{epoch: epoch, clock: db.Clock(), seed: db.seed}.value()
}

// mark writes a marker alone.
func (db *DB) mark(g *generation, epoch uint64) error {
	_, err := db.update(g, nil, db.marker(epoch), true)
	return err
}

// flush fsyncs what is written. After an fsync that failed the kernel may have dropped the pages and call them clean:
// the file is not trusted again, a new generation is written from memory.
func (db *DB) flush() error {
	if db.broken {
		return db.renew(db.lastEpoch(), nil)
	}
	if !db.unsynced {
		return nil
	}
	if err := db.fsync(db.current.file); err != nil {
		db.broken = true
		db.dropCopy()
		return err
	}
	db.unsynced = false
	return nil
}

func (db *DB) fsync(f *os.File) error {
	err := db.fault("fsync")
	if err == nil {
		begin := time.Now()
		err = f.Sync()
		db.counts.fsynced(time.Since(begin))
	}
	if err != nil {
		return fmt.Errorf("fsync %s: %w", f.Name(), err)
	}
	return nil
}

// lastEpoch is the epoch of the last batch that was taken.
func (db *DB) lastEpoch() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.epoch - 1
}

func (db *DB) fault(step string) error {
	if db.cfg.fault == nil {
		return nil
	}
	return db.cfg.fault(step)
}

// health sets what Err says and calls Failed if that is news.
func (db *DB) health(err error) {
	db.mu.Lock()
	news := (err == nil) != (db.err == nil) || err != nil && err.Error() != db.err.Error()
	db.err = err
	db.mu.Unlock()
	if !news {
		return
	}
	if err != nil {
		db.log.Error("store fails", "error", err)
	} else {
		db.log.Info("store works again")
	}
	if db.cfg.Failed != nil {
		db.cfg.Failed(err)
	}
}

// check says that all is well, unless the disk is about full: then it looks again after a while.
func (db *DB) check() {
	db.unchecked = 0
	free, err := room(db.cfg.Dir)
	if err != nil {
		db.health(fmt.Errorf("free space of the data disk: %w", err))
		db.checkAt = time.Now().Add(checkDelay)
		return
	}
	if !db.reserve.held && free > lowWater+2*reserveSize {
		db.reserve.take()
	}
	db.low = free < lowWater
	if db.low || !db.reserve.held {
		db.checkAt = time.Now().Add(checkDelay)
	}
	if db.low {
		db.health(errLow)
	} else {
		db.health(nil)
	}
}
