package store

import (
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/tidwall/buntdb"
)

// A generation is one file, and its items in memory. Compaction and a failed fsync begin the next.
//
// BuntDB has the items and reads the file, but does not write it: it would write the sets of a transaction in any order, so
// that a marker needs a transaction of its own, drop the errors of fsync, and panic where a disk is full.
//
// Used by the committer only, after Open.
type generation struct {
	bunt *buntdb.DB // in memory
	file *os.File
	end  int64  // of what is written whole, as BuntDB would write it
	torn bool   // what a write that failed has left may be behind that
	buf  []byte // for the commands of the next transaction
	live int64  // charge of all items
}

// An op is a command of BuntDB.
type op struct {
	key, value string
	del        bool
}

// openGeneration reads a file that mend has left, or begins one. last is the last marker, the zero value if there is none.
func openGeneration(path string) (g *generation, last marker, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, last, err
	}
	bunt, err := buntdb.Open(":memory:")
	if err != nil {
		file.Close()
		return nil, last, err
	}
	g = &generation{bunt: bunt, file: file}
	if err = bunt.Load(file); err == nil {
		g.end, err = file.Seek(0, io.SeekEnd)
	}
	if err == nil {
		last, err = g.prepare()
	}
	if err != nil {
		g.close()
		return nil, last, err
	}
	return g, last, nil
}

// expiredKey sorts behind every other.
const expiredKey = "\xff\xff"

// prepare takes the marker out of what was read, for there is no use for it in memory, and ends BuntDB's manager, a
// goroutine that wakes every second for what is not used here: items that expire, an fsync and Shrink of its own. No call
// does so, but it ends when OnExpiredSync says that the database is closed: so it is shown one item that has expired.
func (g *generation) prepare() (last marker, err error) {
	var cfg buntdb.Config
	if err := g.bunt.ReadConfig(&cfg); err != nil {
		return last, err
	}
	cfg.OnExpiredSync = func(string, string, *buntdb.Tx) error { return buntdb.ErrDatabaseClosed }
	if err := g.bunt.SetConfig(cfg); err != nil {
		return last, err
	}
	return last, g.bunt.Update(func(tx *buntdb.Tx) error {
		value, err := tx.Delete(markerKey)
		if err == nil && len(value) == headerLen+markerLen {
			last = parseMarker(view(value[headerLen:]))
		} else if err != nil && err != buntdb.ErrNotFound {
			return err
		}
		const longAgo = -1 << 63 // whatever the clock is set to
		_, _, err = tx.Set(expiredKey, "", &buntdb.SetOptions{Expires: true, TTL: longAgo})
		return err
	})
}

// close does not fsync.
func (g *generation) close() error {
	return errors.Join(g.file.Close(), g.bunt.Close())
}

// update makes ops one transaction, in memory and in the file, or none of it. Behind them it writes the value of a marker,
// unless that is empty, or nothing changed now nor before, as begun says. wrote is how many ops changed something: deleting
// what is not there does not.
func (g *generation) update(ops []op, mark string, begun bool) (wrote int, err error) {
	var live int64
	g.buf = g.buf[:0]
	err = g.bunt.Update(func(tx *buntdb.Tx) error {
		for _, op := range ops {
			old, there, err := op.apply(tx)
			if err != nil {
				return err
			}
			if there {
				live -= charge(op.key, old)
			}
			switch {
			case !op.del:
				live += charge(op.key, op.value)
				g.buf = appendSet(g.buf, op.key, op.value)
			case there:
				g.buf = appendDelete(g.buf, op.key)
			default:
				continue
			}
			wrote++
		}
		if mark != "" && (begun || wrote > 0) {
			g.buf = appendSet(g.buf, markerKey, mark)
		}
		return g.write(g.buf)
	})
	if cap(g.buf) > 2*updateBytes {
		g.buf = nil
	}
	if err != nil {
		return 0, err
	}
	g.live += live
	return wrote, nil
}

// apply returns what the key had before, if it was there.
func (op op) apply(tx *buntdb.Tx) (old string, there bool, err error) {
	if !op.del {
		return tx.Set(op.key, op.value, nil)
	}
	old, err = tx.Delete(op.key)
	if err == buntdb.ErrNotFound {
		return "", false, nil
	}
	return old, err == nil, err
}

// write appends b to the file. What is left of a write that failed is cut off before the next, or by Open: no marker is behind it.
func (g *generation) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if g.torn {
		if err := g.file.Truncate(g.end); err != nil {
			return err
		}
	}
	_, err := g.file.WriteAt(b, g.end)
	g.torn = err != nil
	if err == nil {
		g.end += int64(len(b))
	}
	return err
}

// appendSet appends the command that sets key, as BuntDB writes it.
func appendSet(b []byte, key, value string) []byte {
	return appendString(appendString(append(b, setHead...), key), value)
}

// appendDelete appends the command that deletes key, as BuntDB writes it.
func appendDelete(b []byte, key string) []byte {
	return appendString(append(b, delHead...), key)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, '\r', '\n')
	b = append(b, s...)
	return append(b, '\r', '\n')
}

// ascend calls fn for the items from key on, in order, until it returns false.
func (g *generation) ascend(key string, fn func(key, value string) bool) error {
	return g.bunt.View(func(tx *buntdb.Tx) error {
		return tx.AscendGreaterOrEqual("", key, func(key, value string) bool {
			return key < expiredKey && fn(key, value)
		})
	})
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
	_, err = c.to.update(ops, "", false)
	return more, err
}
