package bridge

import (
	"math/rand/v2"
	"time"
)

const (
	minWait = 500 * time.Millisecond
	maxWait = time.Minute
	stable  = 5 * time.Second // a connection that lasted this long has been a good one
)

// A backoff says how long to wait before the next attempt: at random between
// half a second and three times the last wait, at most a minute. Many gateways
// that lose the same upstream so come back spread out, and a cluster of which
// a node has died is asked again at once.
type backoff struct{ last time.Duration }

// next returns the wait after a connection that lasted so long, 0 if it was not
// made. If it failed for a reason that time alone will not mend, the wait
// is at the slow end, half a minute to a minute.
func (b *backoff) next(lasted time.Duration, permanent bool) time.Duration {
	if lasted >= stable {
		b.last = 0
	}
	low, high := minWait, min(3*max(b.last, minWait), maxWait)
	if permanent {
		low, high = maxWait/2, maxWait
	}
	b.last = low + rand.N(high-low+1)
	return b.last
}
