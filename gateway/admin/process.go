package admin

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// start is that of the process, as good as.
var start = time.Now()

// process is this one.
type process struct{}

// processMetrics are what this process takes of the machine. Their names are those of Prometheus' own
// libraries, where these have any.
var processMetrics = []Metric[process]{
	Gauge("process_start_time_seconds", "When the process began, by the machine's clock as it is now.", func(_ *process, s *Samples) {
		s.AddTime(start)
	}),
	Counter("process_cpu_seconds_total", "CPU time of the process, the kernel's for it included.", func(_ *process, s *Samples) {
		var use syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
			s.Add(time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds())
		}
	}),
	Gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.", func(_ *process, s *Samples) {
		if pages, ok := word("/proc/self/statm", 1); ok {
			s.Add(pages * float64(os.Getpagesize()))
		}
	}),
	Counter("process_storage_written_bytes_total", "What the process had written to disks, in whole pages: the wear of a flash.", func(_ *process, s *Samples) {
		if written, ok := word("/proc/self/io", 11); ok { // behind write_bytes:
			s.Add(written)
		}
	}),
	Gauge("go_info", "Version of Go that the program was built with.", func(_ *process, s *Samples) {
		s.Add(1, "version", runtime.Version())
	}),
	Gauge("go_goroutines", "Goroutines.", ofRuntime("/sched/goroutines:goroutines")),
	Gauge("go_memstats_heap_alloc_bytes", "Heap in use, and what is not collected yet; up to 12 MiB of it are never touched and take no memory.", ofRuntime("/memory/classes/heap/objects:bytes")),
	Gauge("go_memstats_sys_bytes", "Address space that Go has of the system.", ofRuntime("/memory/classes/total:bytes")),
	Gauge("go_gc_gomemlimit_bytes", "How much memory to stay under, if possible.", ofRuntime("/gc/gomemlimit:bytes")),
	Counter("go_gc_cycles_total", "Garbage collections.", ofRuntime("/gc/cycles/total:gc-cycles")),
	Counter("go_gc_cpu_seconds_total", "CPU time of garbage collection, as of the last.", ofRuntime("/cpu/classes/gc/total:cpu-seconds")),
}

// word is the number at a place, from 0, in a file of words.
func word(path string, at int) (n float64, ok bool) {
	text, _ := os.ReadFile(path)
	words := strings.Fields(string(text))
	if at >= len(words) {
		return 0, false
	}
	n, err := strconv.ParseFloat(words[at], 64)
	return n, err == nil
}

func ofRuntime(name string) func(*process, *Samples) {
	return func(_ *process, s *Samples) {
		read := []metrics.Sample{{Name: name}}
		metrics.Read(read)
		switch v := read[0].Value; v.Kind() {
		case metrics.KindUint64:
			s.Add(float64(v.Uint64()))
		case metrics.KindFloat64:
			s.Add(v.Float64())
		}
	}
}
