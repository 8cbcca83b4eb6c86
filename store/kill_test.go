package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childEnv makes the test binary a process that writes to the store in that directory until it is killed.
const childEnv = "STORE_TEST_CHILD"

// killsEnv is how often TestKill kills; 5 if it is not set.
const killsEnv = "STORE_TEST_KILLS"

// childWindow is how many records wait in the child's queue.
const childWindow = 2000

// runChild appends numbers to a queue, sets a key to the last, prints what is committed.
func runChild(dir string) {
	committed := make(chan uint64, 1<<16)
	db, err := Open(Config{Dir: dir, Committed: func(epoch uint64) { committed <- epoch }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	q := db.Queue(1)
	last := make(map[uint64]uint64) // by epoch
	for n := q.Next(); ; n++ {
		db.Set("last", strconv.FormatUint(n, 10), Soon)
		seq := q.Append(binary.BigEndian.AppendUint64(nil, n), Now)
		last[db.Epoch()] = seq
		for q.First()+childWindow <= n { // also what an earlier process had done and could not delete
			q.Done(q.First())
		}
		for len(last) > 3 || len(committed) > 0 {
			e := <-committed
			if seq, ok := last[e]; ok {
				fmt.Println(seq)
				delete(last, e)
			}
		}
	}
}

// TestKill kills a process with SIGKILL in the middle of its work, again and again.
// What it said was committed is there, in order.
func TestKill(t *testing.T) {
	kills := 5
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	dir := t.TempDir()
	fakeReserve(t, dir)
	var most uint64
	for range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(100*time.Millisecond+time.Duration(time.Now().UnixNano()%100)*time.Millisecond, func() { cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64)
			if err != nil {
				t.Fatalf("the child says %q", lines.Text())
			}
			most = max(most, n)
		}
		timer.Stop()
		cmd.Wait()

		db := open(t, Config{Dir: dir})
		if r := db.Report(); r.Dropped > 0 {
			t.Fatalf("damage by a kill: %+v", r)
		}
		q := db.Queue(1)
		if q.Next() <= most {
			t.Fatalf("committed up to %d, there up to %d", most, q.Next()-1)
		}
		there := 0
		for seq := q.First(); seq < q.Next(); seq++ {
			rec, ok := q.Record(seq)
			if ok && binary.BigEndian.Uint64(rec) != seq || !ok && seq+childWindow >= q.Next() {
				t.Fatalf("record %d of %d..%d is %x, %v", seq, q.First(), q.Next(), rec, ok)
			}
			if ok {
				there++
			}
		}
		if there > childWindow+2*maxChunk/9 {
			t.Errorf("%d records, of which %d wait: chunks were not deleted", there, childWindow)
		}
		db.Ascend("last", func(_, value string) bool {
			if n, _ := strconv.ParseUint(value, 10, 64); n+1 < q.Next() || n > q.Next() {
				t.Errorf("the key of the batch says %d, the queue %d", n, q.Next()-1)
			}
			return true
		})
		db.close()
	}
	if most == 0 {
		t.Fatal("nothing was committed")
	}
	t.Logf("%d kills, %d records", kills, most)
}
