package store

import (
	"fmt"
	"os"
	"time"
)

// compact begins a compaction if one is due, or goes on with the one under way by a slice.
// Commits come between the slices, and are applied to both generations.
func (db *DB) compact() {
	if db.copying == nil {
		slack := int64(compactSlack)
		if db.low || !db.reserve.held {
			slack = compactSlackLow
		}
		if db.broken || db.current.end <= 2*db.current.live+slack || time.Now().Before(db.noCopyBefore) {
			return
		}
		if err := db.beginCopy(); err != nil {
			db.failCopy(err)
			return
		}
	}
	more, err := db.copySlice()
	if err == nil && !more {
		err = db.finishCopy(db.lastEpoch())
	}
	if err != nil {
		db.failCopy(err)
	}
	if db.broken {
		db.syncAt = time.Now() // to renew it
	}
}

// renew writes everything that is in memory, with ops, to a new generation, at once.
func (db *DB) renew(epoch uint64, ops []op) error {
	db.dropCopy()
	err := db.beginCopy()
	for more := true; err == nil && more; {
		more, err = db.copySlice()
	}
	if err == nil {
		_, err = db.update(db.copying.to, ops, "", false)
	}
	if err == nil {
		err = db.finishCopy(epoch)
	}
	if err != nil {
		db.dropCopy()
	}
	return err
}

// beginCopy makes the file of the next generation. A marker comes first in every file, for its seed.
func (db *DB) beginCopy() error {
	if err := os.Remove(db.path(newName)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("begin a generation: %w", err)
	}
	to, _, err := openGeneration(db.path(newName))
	if err != nil {
		return fmt.Errorf("begin a generation: %w", err)
	}
	db.copying = &copying{to: to}
	return db.mark(to, db.lastEpoch())
}

// copySlice also fsyncs the slice, so that the one at the end does not hold commits up.
func (db *DB) copySlice() (more bool, err error) {
	if err := db.fault("copy"); err != nil {
		return false, err
	}
	more, err = db.copying.slice(db.current)
	if err != nil {
		return false, fmt.Errorf("copy to a generation: %w", err)
	}
	return more, db.fsync(db.copying.to.file)
}

// finishCopy puts the next generation in the place of the current.
func (db *DB) finishCopy(epoch uint64) error {
	to := db.copying.to
	if err := db.mark(to, epoch); err != nil {
		return err
	}
	if err := db.fsync(to.file); err != nil {
		return err
	}
	if err := db.fault("rename"); err != nil {
		return err
	}
	if err := os.Rename(db.path(newName), db.path(fileName)); err != nil {
		return fmt.Errorf("put a generation in place: %w", err)
	}
	old := db.current
	db.reading.Lock()
	db.current, db.copying = to, nil
	db.reading.Unlock()
	db.unsynced = false
	db.counts.compactions.Add(1)
	old.close()
	// Until the directory is on disk a power cut may bring the old file back: it has all that was acknowledged so far,
	// but nothing more may be.
	db.broken = true
	if err := db.fsyncDir(); err != nil {
		return err
	}
	db.broken = false
	return nil
}

func (db *DB) fsyncDir() error {
	if err := db.fault("fsync directory"); err != nil {
		return err
	}
	if err := db.lock.Sync(); err != nil {
		return fmt.Errorf("fsync the data directory: %w", err)
	}
	return nil
}

// failCopy ends a compaction that did not work. The current generation goes on.
func (db *DB) failCopy(err error) {
	db.dropCopy()
	db.noCopyBefore = time.Now().Add(copyDelay)
	db.log.Warn("compaction put off", "error", err)
}

// dropCopy ends a compaction.
func (db *DB) dropCopy() {
	if db.copying == nil {
		return
	}
	db.copying.to.close()
	db.copying = nil
	os.Remove(db.path(newName))
}
