package store

import (
	"encoding/binary"
	"time"
)

// markerKey is written last in every batch. It sorts behind every other key.
const markerKey = "\xff"

// A marker ends a batch: what precedes it counts, what follows the last one is a batch that was never acknowledged.
type marker struct {
	epoch uint64
	clock time.Duration
	seed  uint32
}

const markerLen = 8 + 8 + 4

func (m marker) value() string {
	b := make([]byte, headerLen, headerLen+markerLen)
	b = binary.BigEndian.AppendUint64(b, m.epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(m.clock))
	b = binary.BigEndian.AppendUint32(b, m.seed)
	putHeader(m.seed, markerKey, b)
	return freeze(b)
}

// parseMarker reads the body of a marker, whose CRC the caller has checked or is about to.
func parseMarker(body []byte) marker {
	return marker{
		epoch: binary.BigEndian.Uint64(body),
		clock: time.Duration(binary.BigEndian.Uint64(body[8:])),
		seed:  binary.BigEndian.Uint32(body[16:]),
	}
}

// Clock is the time of the gateway: it starts at 0 with an empty store, runs with the monotonic clock, stands still
// while the program is down and goes on from the last marker after that. It never goes back while the program runs;
// over a power cut it may go back to the last commit. Safe for concurrent use, takes no lock.
func (db *DB) Clock() time.Duration {
	return db.clock + time.Since(db.opened)
}
