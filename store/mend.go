package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Report is what Open found.
type Report struct {
	Records  int    // items that are there: keys and chunks of queues
	Dropped  int    // places with damage; how many records each held cannot be known
	Lost     int64  // bytes of damage
	Torn     int64  // bytes of a batch that was not finished; none of it was acknowledged
	SetAside string // where the damaged file is kept; empty without damage
}

// keptFiles is how many damaged files are kept, so that a disk that dies slowly is not full of them.
const keptFiles = 3

// mend makes the file one that BuntDB can read.
func (db *DB) mend() error {
	file, err := os.OpenFile(db.path(fileName), os.O_RDWR, 0)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	s := &scanner{file: file, size: info.Size()}
	s.findSeed()
	if s.newer && !s.seeded {
		return fmt.Errorf("%s was written by a later version of the program: use that one, or move the file away", file.Name())
	}
	f := s.scan()
	db.report.Dropped, db.report.Lost, db.report.Torn = f.damaged, f.lost, f.torn
	if f.damaged > 0 {
		return db.replace(s, f)
	}
	if f.torn == 0 {
		return nil
	}
	db.log.Info("cut a batch that was not finished", "bytes", f.torn)
	if err := file.Truncate(info.Size() - f.torn); err != nil {
		return fmt.Errorf("cut a batch that was not finished: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("fsync the store: %w", err)
	}
	return nil
}

// replace puts what counts into a new file and keeps the old one aside.
func (db *DB) replace(s *scanner, f finding) error {
	if f.last.epoch == 0 {
		f.last = marker{epoch: 1, seed: s.seed}
		if !s.seeded {
			f.last.seed = rand.Uint32()
		}
	}
	err := db.writeNew(s, f)
	if isFull(err) && os.Remove(db.path(reserveName)) == nil {
		err = db.writeNew(s, f)
	}
	if err != nil {
		return fmt.Errorf("write what is left of a damaged store (make room on the disk, or move %s away): %w", db.path(fileName), err)
	}
	aside, err := db.setAside()
	if err != nil {
		return fmt.Errorf("keep the damaged store aside: %w", err)
	}
	if err := os.Rename(db.path(newName), db.path(fileName)); err != nil {
		return fmt.Errorf("replace the damaged store: %w", err)
	}
	if err := db.lock.Sync(); err != nil {
		return fmt.Errorf("fsync the data directory: %w", err)
	}
	db.report.SetAside = aside
	db.log.Error("the store was damaged: what is whole was kept, some may be lost or come twice",
		"places", f.damaged, "bytes", f.lost, "damaged file", aside)
	return nil
}

func (db *DB) writeNew(s *scanner, f finding) error {
	w, err := os.OpenFile(db.path(newName), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := s.copyTo(w, f); err != nil {
		return err
	}
	return w.Sync()
}

// setAside gives the damaged file a second name, so that there is a store at every moment, and removes the oldest of such files.
func (db *DB) setAside() (aside string, err error) {
	last := 0
	names, _ := filepath.Glob(db.path(badName + "*"))
	for _, name := range names {
		n, _ := strconv.Atoi(strings.TrimPrefix(name, db.path(badName)))
		last = max(last, n)
	}
	aside = db.path(badName + strconv.Itoa(last+1))
	if err = os.Link(db.path(fileName), aside); err != nil { // a file system without links
		err = copyFile(aside, db.path(fileName))
	}
	os.Remove(db.path(badName + strconv.Itoa(last+1-keptFiles)))
	return aside, err
}

func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = io.Copy(w, r)
	return err
}
