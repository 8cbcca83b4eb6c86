package store

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCommit has so many records waiting for the disk at any time, each appended when another is committed.
func BenchmarkCommit(b *testing.B) {
	for _, sync := range []Sync{Always, Never} {
		for _, waiting := range []int{1, 10, 50, 500} {
			b.Run(fmt.Sprintf("sync=%v/waiting=%d", sync, waiting), func(b *testing.B) {
				dir := b.TempDir()
				fakeReserve(b, dir)
				committed := make(chan uint64, 1024)
				db, err := Open(Config{Dir: dir, Sync: sync, Committed: func(epoch uint64) { committed <- epoch }})
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				q := db.Queue(1)
				rec := make([]byte, 128)
				var acked uint64
				before := db.current.end
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; {
					for ; n < b.N && q.Next() <= acked+uint64(waiting); n++ {
						q.Append(rec, Now)
					}
					<-committed
					for ; acked+1 < q.Next() && q.Committed(acked+1); acked++ {
						q.Done(acked + 1)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(db.current.end-before)/float64(b.N), "disk-B/op")
			})
		}
	}
}

// BenchmarkStage is what the gateway pays under its lock.
func BenchmarkStage(b *testing.B) {
	rec := make([]byte, 128)
	dir := b.TempDir()
	fakeReserve(b, dir)
	db, err := Open(Config{Dir: dir, Sync: Never, Linger: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for name, db := range map[string]*DB{"memory": nil, "disk": db} {
		b.Run("append+record+done/"+name, func(b *testing.B) {
			q := db.Queue(1)
			b.ReportAllocs()
			for b.Loop() {
				seq := q.Append(rec, Soon)
				q.Record(seq)
				q.Done(seq)
			}
		})
	}
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			db.Set("session/12345", "state", Soon)
		}
	})
}

// BenchmarkMemory tells what a waiting record of 64 bytes costs: committed alone, in tens, or in hundreds.
func BenchmarkMemory(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			const records = 5_000 // few enough that the file is not compacted meanwhile
			for b.Loop() {
				r := open(b, Config{Dir: b.TempDir(), Sync: Never})
				q := r.Queue(1)
				rec := make([]byte, 64)
				before := heap()
				for n := range records {
					q.Append(rec, Now)
					if n%batch == 0 {
						r.commit()
					}
				}
				r.commit()
				b.ReportMetric(float64(heap()-before)/records, "RAM-B/record")
				b.ReportMetric(float64(r.current.end)/records, "disk-B/record")
				r.close()
			}
		})
	}
	b.Run("idle-queue", func(b *testing.B) {
		r := open(b, Config{Dir: b.TempDir(), Sync: Never})
		for b.Loop() {
			queues := make([]*Queue, 10_000)
			before := heap()
			for i := range queues {
				queues[i] = r.Queue(uint64(i))
				queues[i].Done(queues[i].Append(make([]byte, 64), Lazy))
			}
			r.commit()
			b.ReportMetric(float64(heap()-before)/float64(len(queues)), "RAM-B/queue")
		}
	})
}

// BenchmarkOpen loads 100,000 waiting records: of one queue, or of a thousand.
func BenchmarkOpen(b *testing.B) {
	for _, queues := range []int{1, 1000, 20_000} {
		b.Run(fmt.Sprint("queues=", queues), func(b *testing.B) {
			dir := b.TempDir()
			r := open(b, Config{Dir: dir, Sync: Never})
			rec := make([]byte, 128)
			for id := range queues {
				q := r.Queue(uint64(id))
				for range 100_000 / queues {
					q.Append(rec, Lazy)
				}
			}
			r.close()
			for b.Loop() {
				db, err := Open(Config{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for _, q := range db.loaded {
					n += q.Len()
				}
				if n != 100_000 {
					b.Fatalf("%d records", n)
				}
				b.StopTimer()
				db.Close()
				b.StartTimer()
			}
		})
	}
}
