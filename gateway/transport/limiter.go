package transport

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// limiterBuckets is how many buckets a Limiter has. Prefixes that meet in one share it.
const limiterBuckets = 4096

// Limiter bounds how often something is done for strangers: so many times a second for
// each /24 of IPv4 and /64 of IPv6, whoever they say they are. It takes some 32 KiB however
// many come. It is not safe for concurrent use.
type Limiter struct {
	// Set once by NewLimiter.
	every time.Duration // for one more
	most  time.Duration // every times the burst
	seed  maphash.Seed  // so that nobody can aim at another's bucket

	full [limiterBuckets]time.Duration // when each is full again
}

// NewLimiter allows perSecond on average, 1 to 1e9, and burst at a time, at least 1.
func NewLimiter(perSecond, burst int) *Limiter {
	every := time.Second / time.Duration(perSecond)
	return &Limiter{every: every, most: every * time.Duration(burst), seed: maphash.MakeSeed()}
}

// Allow takes one from the bucket of an address and says whether there was one. now is of
// a clock that does not go back.
func (l *Limiter) Allow(a netip.Addr, now time.Duration) bool {
	full := l.bucket(a)
	*full = max(*full, now)
	if *full+l.every > now+l.most {
		return false
	}
	*full += l.every
	return true
}

// Refund puts one back that Allow took: the stranger has proved the address since.
func (l *Limiter) Refund(a netip.Addr) { *l.bucket(a) -= l.every }

func (l *Limiter) bucket(a netip.Addr) *time.Duration {
	return &l.full[maphash.Comparable(l.seed, limitedPrefix(a))%limiterBuckets]
}

// limitedPrefix is the network that a counts for: what one subscriber is given, or can
// choose from.
func limitedPrefix(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
