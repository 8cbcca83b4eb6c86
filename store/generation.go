package store

import (
	"errors"
	"os"
	"time"

	"github.com/tidwall/buntdb"
)

// A generation is one file of BuntDB. Compaction and a failed fsync begin the next.
//
// Used by the committer only, after Open.
type generation struct {
	bunt *buntdb.DB
	file *os.File // a handle of our own for fsync, whose errors BuntDB drops; open since before the first write
	live int64    // charge of all items
}

// An op is a command of BuntDB.
type op struct {
	key, value string
	del        bool
}

func openGeneration(path string) (*generation, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	bunt, err := buntdb.Open(path)
	if err != nil {
		file.Close()
		return nil, err
	}
	g := &generation{bunt: bunt, file: file}
	var cfg buntdb.Config
	if err = bunt.ReadConfig(&cfg); err == nil {
		cfg.SyncPolicy = buntdb.Never
		cfg.AutoShrinkDisabled = true
		err = bunt.SetConfig(cfg)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// The item that quiet shows, and its command: expired since 1970. It sorts behind every other.
const (
	expiredKey     = "\xff\xff"
	expiredCommand = "*5\r\n$3\r\nset\r\n$2\r\n" + expiredKey + "\r\n$0\r\n\r\n$2\r\nae\r\n$1\r\n1\r\n"
)

// quiet ends BuntDB's manager, a goroutine that wakes every second for what is not used here: items that expire, an fsync
// and Shrink of its own. No call does so, but it ends when OnExpiredSync says that the database is closed: so it is shown
// one item that has expired. Should that not be possible, on a disk that is full, it goes on, which does no harm.
func (g *generation) quiet() {
	var cfg buntdb.Config
	if g.bunt.ReadConfig(&cfg) != nil {
		return
	}
	cfg.OnExpiredSync = func(string, string, *buntdb.Tx) error { return buntdb.ErrDatabaseClosed }
	g.bunt.SetConfig(cfg)
	g.bunt.Update(func(tx *buntdb.Tx) error { return setExpired(tx, time.Now()) })
}

var errClock = errors.New("the clock was set, or the machine stood still")

// setExpired sets the item of quiet. BuntDB takes a time to live and looks at the clock itself: should half a second lie
// between that and now, another command than expiredCommand would be written, which the scan takes for damage. So none is.
func setExpired(tx *buntdb.Tx, now time.Time) error {
	now = now.Round(0) // the wall clock's, which jumps
	ttl := time.Unix(1, 5e8).Sub(now)
	if _, _, err := tx.Set(expiredKey, "", &buntdb.SetOptions{Expires: true, TTL: ttl}); err != nil {
		return err
	}
	if d := time.Since(now); d < 0 || d >= time.Second/2 {
		return errClock
	}
	return nil
}

// close also fsyncs, inside BuntDB.
func (g *generation) close() error {
	g.file.Close()
	return g.bunt.Close()
}

// size returns the bytes of the file.
func (g *generation) size() int64 {
	info, err := g.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// update makes ops one transaction. wrote is how many of them changed something: deleting what is not there does not.
func (g *generation) update(ops []op) (wrote int, err error) {
	var live int64
	err = g.bunt.Update(func(tx *buntdb.Tx) error {
		for _, op := range ops {
			if op.del {
				old, err := tx.Delete(op.key)
				if err == buntdb.ErrNotFound {
					continue
				}
				if err != nil {
					return err
				}
				live -= charge(op.key, old)
			} else {
				old, replaced, err := tx.Set(op.key, op.value, nil)
				if err != nil {
					return err
				}
				live += charge(op.key, op.value)
				if replaced {
					live -= charge(op.key, old)
				}
			}
			wrote++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	g.live += live
	return wrote, nil
}

// ascend calls fn for the items from key on, in order, without the marker, until it returns false.
func (g *generation) ascend(key string, fn func(key, value string) bool) error {
	return g.bunt.View(func(tx *buntdb.Tx) error {
		return tx.AscendGreaterOrEqual("", key, func(key, value string) bool {
			return key < markerKey && fn(key, value)
		})
	})
}

// marker returns what the last commit left.
func (g *generation) marker() (m marker, ok bool) {
	g.bunt.View(func(tx *buntdb.Tx) error {
		value, err := tx.Get(markerKey)
		if err == nil && len(value) == headerLen+markerLen {
			m, ok = parseMarker(view(value[headerLen:])), true
		}
		return err
	})
	return m, ok
}

// sliceBytes bounds what a compaction writes between two commits, so that it delays none for long.
const sliceBytes = 256 << 10

// A copying is a generation on the way.
type copying struct {
	to   *generation
	from string // key from which on it is still to be copied
}

// slice copies the next items of g. The strings are shared, only what BuntDB needs beside them is there twice.
// It returns false at the end.
func (c *copying) slice(g *generation) (more bool, err error) {
	var ops []op
	var size int
	err = g.ascend(c.from, func(key, value string) bool {
		if size >= sliceBytes {
			c.from, more = key, true
			return false
		}
		ops = append(ops, op{key: key, value: value})
		size += len(key) + len(value)
		return true
	})
	if err != nil {
		return false, err
	}
	_, err = c.to.update(ops)
	return more, err
}
