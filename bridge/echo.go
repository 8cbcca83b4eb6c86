package bridge

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	maxEchoes = 1 << 14     // messages remembered: a megabyte at most
	echoTime  = time.Minute // for which they are
)

// echoes remember what went up to an upstream of MQTT 3.1.1, which knows no No Local,
// under names that Down brings down: as often as it went up, it is not taken when it
// comes back. A message is known by a hash of its topic and payload. So
//   - one that comes back later than a minute, or after 16,384 others, is taken for new,
//     and so is one that the upstream sends twice;
//   - one that somebody else publishes within that minute, equal in topic and payload,
//     is taken for ours if ours has not come back.
type echoes struct {
	seed maphash.Seed

	mu    sync.Mutex // guards all below
	out   map[uint64]echo
	ring  []sending // of maxEchoes once something went up
	first int       // in ring: the oldest
	n     int       // in ring
}

// An echo counts the messages of one hash in the ring.
type echo struct {
	open int16 // may come back
	back int16 // have
}

type sending struct {
	hash uint64
	at   time.Duration // since the start of the bridge
}

// mayEcho reports whether something that goes up may be what comes down.
func (b *Bridge) mayEcho() bool {
	for _, up := range b.cfg.Up {
		for _, down := range b.cfg.Down {
			if overlap(up.output(b.cfg.UpPrefix), down.filter()) {
				return true
			}
		}
	}
	return false
}

func newEchoes() *echoes { return &echoes{seed: maphash.MakeSeed(), out: map[uint64]echo{}} }

func (e *echoes) hash(topic, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(e.seed)
	h.Write(topic)
	h.WriteByte(0) // which no topic has
	h.Write(payload)
	return h.Sum64()
}

// sent notes a message that goes up; again: it may have done so before.
func (e *echoes) sent(topic, payload []byte, again bool, now time.Duration) {
	hash := e.hash(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expire(now)
	one := e.out[hash]
	if again && one.open > 0 {
		return
	}
	if e.ring == nil {
		e.ring = make([]sending, maxEchoes)
	}
	if e.n == maxEchoes {
		e.forgetOldest()
		one = e.out[hash]
	}
	e.ring[(e.first+e.n)%maxEchoes] = sending{hash, now}
	e.n++
	one.open++
	e.out[hash] = one
}

// cameBack reports whether a message that comes down is one that went up, and takes it
// off the count.
func (e *echoes) cameBack(topic, payload []byte, now time.Duration) bool {
	hash := e.hash(topic, payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expire(now)
	one := e.out[hash]
	if one.open == 0 {
		return false
	}
	one.open--
	one.back++
	e.out[hash] = one
	return true
}

// forget is for a new session of the upstream, in which nothing comes back.
func (e *echoes) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.out)
	e.first, e.n = 0, 0
}

func (e *echoes) expire(now time.Duration) {
	for e.n > 0 && now-e.ring[e.first].at > echoTime {
		e.forgetOldest()
	}
}

// forgetOldest counts one off: of equal ones the oldest is the first to have come back.
func (e *echoes) forgetOldest() {
	hash := e.ring[e.first].hash
	e.first, e.n = (e.first+1)%maxEchoes, e.n-1
	one := e.out[hash]
	if one.back > 0 {
		one.back--
	} else {
		one.open--
	}
	if one == (echo{}) {
		delete(e.out, hash)
	} else {
		e.out[hash] = one
	}
}
