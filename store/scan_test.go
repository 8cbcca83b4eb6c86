package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/buntdb"
)

// rows makes a store of n keys, each committed alone, and returns its file.
func rows(t testing.TB, n int) []byte {
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	for i := range n {
		r.Set(fmt.Sprintf("key%03d", i), fmt.Sprintf("value%03d%s", i, strings.Repeat(".", 100)), Now)
		r.commit()
	}
	r.close()
	return fileOf(t, dir)
}

// row is the offset where the command that sets key n begins.
func row(t testing.TB, file []byte, n int) int {
	i := bytes.Index(file, fmt.Appendf(nil, "%s$6\r\nkey%03d\r\n", setHead, n))
	if i < 0 {
		t.Fatalf("key %d is not in the file", n)
	}
	return i
}

func TestDamage(t *testing.T) {
	const n = 100
	whole := rows(t, n)
	insert := func(file []byte, at int, s string) []byte {
		return append(file[:at:at], append([]byte(s), file[at:]...)...)
	}
	replace := func(file []byte, at int, s string) []byte {
		copy(file[at:], s)
		return file
	}
	value := len(setHead) + len("$6\r\nkey000\r\n")
	tests := []struct {
		name   string
		damage func(file []byte, at int) []byte // at: where the command of key 50 begins
		lost   int                              // rows at most
	}{
		{"garbage between commands", func(f []byte, at int) []byte { return insert(f, at, "garbage") }, 0},
		{"garbage with a line end", func(f []byte, at int) []byte { return insert(f, at, "gar\r\nbage\r\n") }, 0},
		{"512 NUL between commands", func(f []byte, at int) []byte { return insert(f, at, strings.Repeat("\x00", 512)) }, 0},
		{"one NUL between commands", func(f []byte, at int) []byte { return insert(f, at, "\x00") }, 0},
		{"a command of NUL", func(f []byte, at int) []byte { clear(f[at : at+value+110]); return f }, 1},
		{"a page of NUL", func(f []byte, at int) []byte { clear(f[at&^4095 : at&^4095+4096]); return f }, 25},
		{"a page of something else", func(f []byte, at int) []byte {
			rand.NewChaCha8([32]byte{1}).Read(f[at&^4095 : at&^4095+4096])
			return f
		}, 25},
		{"a bit in a value", func(f []byte, at int) []byte { f[at+value+50] ^= 4; return f }, 1},
		{"a bit in a key", func(f []byte, at int) []byte { f[at+value-4] ^= 1; return f }, 1},
		{"a bit in the CRC", func(f []byte, at int) []byte { f[at+value+len("$113\r\n")+2] ^= 1; return f }, 1},
		{"a bit in the version", func(f []byte, at int) []byte { f[at+value+len("$113\r\n")] ^= 2; return f }, 1},
		{"an empty verb", func(f []byte, at int) []byte { return insert(f, at, "*3\r\n$0\r\n\r\n$1\r\na\r\n$1\r\nb\r\n") }, 0},
		{"half a verb", func(f []byte, at int) []byte { return insert(f, at, "*3\r\n$2\r\nse\r\n$1\r\na\r\n$1\r\nb\r\n") }, 0},
		{"no parts", func(f []byte, at int) []byte { return insert(f, at, "*0\r\n") }, 0},
		{"flushdb", func(f []byte, at int) []byte { return insert(f, at, "*1\r\n$7\r\nflushdb\r\n") }, 0},
		{"4 GiB in a head", func(f []byte, at int) []byte { return insert(f, at, "*3\r\n$2147483648\r\n") }, 0},
		{"4 GiB in a value", func(f []byte, at int) []byte { return insert(f, at, setHead+"$1\r\na\r\n$2147483648\r\n") }, 0},
		{"8 EiB in a value", func(f []byte, at int) []byte {
			return insert(f, at, setHead+"$1\r\na\r\n$9223372036854775000\r\n")
		}, 0},
		{"a length beyond the end", func(f []byte, at int) []byte { return replace(f, at+value, "$99999") }, 1},
		{"a length to the end of the next row", func(f []byte, at int) []byte { return replace(f, at+value, "$311") }, 1},
		{"a length too small", func(f []byte, at int) []byte { return replace(f, at+value, "$013") }, 1},
		{"no digits", func(f []byte, at int) []byte { return insert(f, at+value+1, "\r\n") }, 1},
		{"without CRC", func(f []byte, at int) []byte { return insert(f, at, setHead+"$1\r\na\r\n$1\r\nb\r\n") }, 0},
		{"a del of nothing", func(f []byte, at int) []byte { return insert(f, at, delHead+"$0\r\n\r\n") }, 0},
		{"a marker", func(f []byte, at int) []byte { clear(f[at-30 : at]); return f }, 0},
		{"the first marker", func(f []byte, at int) []byte { clear(f[:30]); return f }, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			damaged := test.damage(bytes.Clone(whole), row(t, whole, 50))
			dir := storeOf(t, damaged)
			r := open(t, Config{Dir: dir, Sync: Never})
			rep := r.Report()
			if rep.Dropped == 0 || rep.Lost == 0 || rep.Records < n-test.lost || rep.Torn != 0 {
				t.Errorf("report is %+v", rep)
			}
			aside, err := os.ReadFile(rep.SetAside)
			if err != nil || !bytes.Equal(aside, damaged) {
				t.Errorf("the damaged file is not set aside: %v", err)
			}
			got := r.read()
			for i := range n {
				if got[fmt.Sprintf("key%03d", i)] == "" && (i < 24 || i > 76 || test.lost == 0 || test.lost == 1 && i != 50) {
					t.Errorf("key %d is lost", i)
				}
			}
			if len(got) > n {
				t.Errorf("%d keys, want no more than %d", len(got), n)
			}
			r.Set("new", "x", Now)
			r.close()
			r = open(t, Config{Dir: dir})
			if rep := r.Report(); rep.Dropped+int(rep.Lost+rep.Torn) != 0 || rep.Records != len(got)+1 {
				t.Errorf("opened again, report is %+v", rep)
			}
			r.close()
		})
	}
}

// What may have been acknowledged counts, even if its marker is damaged.
func TestDamageBehindLastMarker(t *testing.T) {
	whole := rows(t, 3)
	i := row(t, whole, 2)
	end := bytes.Index(whole[i:], []byte(markerKey+"\r\n")) + i
	file := append(bytes.Clone(whole[:end]), "garbage that was a marker\r\n"...)
	r := open(t, Config{Dir: storeOf(t, file), Sync: Never})
	if got := r.read(); len(got) != 3 {
		t.Errorf("%d keys, want 3: %+v", len(got), r.Report())
	}
	// A file that ends in NUL is what a power cut leaves: the batch was not finished.
	file = append(bytes.Clone(whole[:end-20]), make([]byte, 5000)...)
	r = open(t, Config{Dir: storeOf(t, file), Sync: Never})
	if got := r.read(); len(got) != 2 || r.Report().SetAside != "" {
		t.Errorf("%d keys, want 2: %+v", len(got), r.Report())
	}
}

func TestGarbageFile(t *testing.T) {
	random := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{}).Read(random)
	for name, file := range map[string][]byte{
		"random":        random,
		"text":          []byte("this is no store\n"),
		"stars":         bytes.Repeat([]byte("*"), 10_000),
		"heads":         bytes.Repeat([]byte(setHead), 10_000),
		"another store": []byte("*3\r\n$3\r\nset\r\n$1\r\na\r\n$6\r\nabcdef\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$6\r\nabcdef\r\n"),
	} {
		dir := storeOf(t, file)
		r := open(t, Config{Dir: dir, Sync: Never})
		if rep := r.Report(); rep.SetAside == "" || rep.Records != 0 || rep.Lost != int64(len(file)) {
			t.Errorf("%s: report is %+v", name, rep)
		}
		r.Set("a", "b", Now)
		r.close()
		open(t, Config{Dir: dir}).read().check(t, contents{"a": "b"})
	}
	for name, file := range map[string][]byte{"empty": nil, "NUL": make([]byte, 10_000)} {
		r := open(t, Config{Dir: storeOf(t, file), Sync: Never})
		if rep := r.Report(); rep != (Report{Torn: int64(len(file))}) {
			t.Errorf("%s: report is %+v", name, rep)
		}
	}
}

// A disk that dies slowly leaves few damaged files.
func TestKeptFiles(t *testing.T) {
	dir := t.TempDir()
	for range keptFiles + 2 {
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, Config{Dir: dir, Sync: Never}).close()
	}
	names, _ := filepath.Glob(filepath.Join(dir, badName+"*"))
	if len(names) != keptFiles || filepath.Base(names[0]) != badName+"3" {
		t.Errorf("kept are %q", names)
	}
}

// A record inside a payload does not come out of it, whatever is damaged around it.
func TestForgery(t *testing.T) {
	const seed = 0 // the device does not know it
	value := append(make([]byte, headerLen), 'x')
	putHeader(seed, "forged", value)
	forged := "\r\n" + string(appendSet(nil, "forged", string(value))) +
		string(appendSet(nil, markerKey, marker{epoch: 1 << 60, seed: seed}.value()))
	dir := t.TempDir()
	r := open(t, Config{Dir: dir, Sync: Never})
	r.Set("before", "x", Now)
	r.commit()
	r.Queue(1).Append([]byte(forged), Now)
	r.commit()
	r.close()
	whole := fileOf(t, dir)
	at := bytes.Index(whole, []byte(queuePrefix))
	for name, file := range map[string][]byte{
		"damaged": append(append(bytes.Clone(whole[:at]), 'X'), whole[at+1:]...),
		"head":    append(append(bytes.Clone(whole[:at-len(setHead)]), 'X'), whole[at-len(setHead)+1:]...),
		"torn":    whole[:bytes.Index(whole, []byte(forged))+len(forged)],
	} {
		r := open(t, Config{Dir: storeOf(t, file), Sync: Never})
		got := r.read()
		if _, ok := got["forged"]; ok || got["before"] != "x" {
			t.Errorf("%s: keys are %q", name, got)
		}
		if r.epoch > 1000 {
			t.Errorf("%s: epoch is %d", name, r.epoch)
		}
	}
}

func TestLongestKey(t *testing.T) {
	key := "r/" + strings.Repeat("t", 65535)
	r := open(t, Config{Dir: t.TempDir(), Sync: Never})
	r.Set(key, "x", Now)
	r.close()
	r = open(t, Config{Dir: r.dir})
	if rep := r.Report(); rep.Dropped != 0 || r.read()[key] != "x" {
		t.Errorf("a retained message of the longest topic is lost: %+v", rep)
	}
}

func TestLaterVersion(t *testing.T) {
	later := []byte(marker{epoch: 5, seed: 1}.value())
	later[0] = version + 1
	file := appendSet(nil, markerKey, string(later))
	if _, err := Open(Config{Dir: storeOf(t, file)}); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("a store of a later version: %v", err)
	}
}

// Whatever the file is, what the scan keeps is what BuntDB can read, and what a second scan keeps.
func FuzzScan(f *testing.F) {
	whole := rows(f, 3)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, file []byte) {
		s := &scanner{file: bytes.NewReader(file), size: int64(len(file))}
		s.findSeed()
		found := s.scan()
		var kept bytes.Buffer
		found.last.seed = s.seed
		if err := s.copyTo(&kept, found); err != nil {
			t.Fatal(err)
		}
		again := &scanner{file: bytes.NewReader(kept.Bytes()), size: int64(kept.Len())}
		again.findSeed()
		if f := again.scan(); f.damaged > 0 || f.torn > 0 {
			t.Fatalf("kept are %+v, scanned again %+v", found, f)
		}
		db, err := buntdb.Open(":memory:")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Load(&kept); err != nil {
			t.Fatal(err)
		}
	})
}
