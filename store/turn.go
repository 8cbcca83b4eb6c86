package store

import "time"

// A turn is what an event loop does between two sleeps. Nothing that is staged meanwhile wakes the committer: at the end it
// is committed by the loop itself if that takes no fsync, which is a fraction of what it costs to hand it over, or else the
// committer is woken for all of it.

// Begin tells that the caller is going to stage something, and then to call End, soon. Turns of several callers may overlap.
func (db *DB) Begin() { db.turns.Add(1) }

// End ends what Begin began. If Sync does not ask for an fsync, what is urgent is written when it returns, and Committed was
// called, unless others are at the disk or it fails: then the committer does so. The caller holds no lock that Committed takes.
func (db *DB) End() {
	db.turns.Add(-1)
	db.mu.Lock()
	urgency := db.urgency
	db.mu.Unlock()
	if urgency == 0 || urgency == Now && db.cfg.Sync != Always && db.commitHere() {
		return
	}
	db.mu.Lock()
	db.tell()
	db.mu.Unlock()
}

// commitHere commits what is staged unless that may take long. The committer is woken for what that leaves to be done.
func (db *DB) commitHere() bool {
	if !db.disk.TryLock() {
		return false
	}
	defer db.disk.Unlock()
	if db.finished || db.broken || db.left != nil || db.copying != nil {
		return false
	}
	syncAt, checkAt := db.syncAt, db.checkAt
	b := db.take()
	db.encode(b)
	if err := db.write(b); err != nil {
		db.left, db.commitAt = b, time.Now()
		db.rouse()
		return true
	}
	db.committed(b)
	if db.syncAt != syncAt || db.checkAt != checkAt {
		db.rouse()
	}
	return true
}
