package bridge

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/codec"
)

const (
	readSize  = 64 << 10  // of the buffer to read into, while packets are smaller
	highWater = 256 << 10 // of output: whoever can wait does until it has drained

	// holdTime is how long output may wait for more, to be written with it.
	holdTime = time.Millisecond
)

// A wire is one MQTT connection: packets in, bytes of many packets out.
// What is sent is gathered while a write is under way and goes with the next.
type wire struct {
	// Set once.
	rwc     io.ReadWriteCloser
	version codec.Version
	maxSize uint32    // bytes, the largest packet that the peer may send; 0: any
	start   time.Time // heard and said count from here

	// Owned by the loop that reads.
	dec codec.Decoder
	in  []byte // read; from in[at] on not yet decoded
	at  int

	heard, said atomic.Int64 // when bytes last came, and began to go; nanoseconds since start

	// Silences, both ways, in nanoseconds.
	unheard atomic.Int64 // the longest that this side ended since it last heard the other; 0: it has said nothing since
	longest atomic.Int64 // the longest after which the other side was heard

	written atomic.Int64 // bytes

	mu      sync.Mutex
	out     []byte     // guarded by mu
	held    bool       // guarded by mu: out waits for more
	writing bool       // guarded by mu: a write is under way
	closing bool       // guarded by mu: nothing more is to be sent
	changed *sync.Cond // out, held or closing
	enough  *time.Timer
}

func newWire(rwc io.ReadWriteCloser, v codec.Version) *wire {
	w := &wire{rwc: rwc, version: v, start: time.Now(), dec: codec.Decoder{FromServer: true}}
	w.changed = sync.NewCond(&w.mu)
	w.enough = time.AfterFunc(holdTime, func() {
		w.mu.Lock()
		w.held = false
		w.mu.Unlock()
		w.changed.Broadcast()
	})
	w.enough.Stop()
	return w
}

// decode returns the next packet of what has been read, nil if there is none
// that is complete. The packet is valid until the next call of decode or fill.
func (w *wire) decode() (codec.Packet, error) {
	p, n, err := w.dec.Next(w.in[w.at:], w.version, w.maxSize)
	w.at += n
	return p, err
}

// fill reads once.
func (w *wire) fill() error {
	w.in = w.in[:copy(w.in, w.in[w.at:])]
	w.at = 0
	switch {
	case len(w.in) == cap(w.in): // grows with what has come, not with what a length announces
		w.in = slices.Grow(w.in, max(readSize, len(w.in)))
	case cap(w.in) > readSize && len(w.in) == 0:
		w.in = make([]byte, 0, readSize)
	}
	n, err := w.rwc.Read(w.in[len(w.in):cap(w.in)])
	w.in = w.in[:len(w.in)+n]
	if n > 0 {
		now := int64(time.Since(w.start))
		silence := max(w.unheard.Swap(0), now-max(w.heard.Load(), w.said.Load()))
		w.heard.Store(now)
		w.longest.Store(max(w.longest.Load(), silence))
		return nil
	}
	return err
}

// survived is the longest silence after which the other side was heard.
func (w *wire) survived() time.Duration { return time.Duration(w.longest.Load()) }

// fatal is the silence after which nothing has been heard: up to this side's
// first word since, or up to now.
func (w *wire) fatal() time.Duration {
	if silence := w.unheard.Load(); silence > 0 {
		return time.Duration(silence)
	}
	return time.Since(w.start) - time.Duration(max(w.heard.Load(), w.said.Load()))
}

// send takes a copy of b to be written. It does not wait.
func (w *wire) send(b []byte) {
	if len(b) == 0 {
		return
	}
	w.mu.Lock()
	w.out = append(w.out, b...)
	w.held = false
	w.mu.Unlock()
	w.changed.Broadcast()
}

// hold is send, but that it lets b wait for what is sent next, for as long as holdTime.
func (w *wire) hold(b []byte) {
	if len(b) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.out) == 0 {
		w.held = true
		w.enough.Reset(holdTime)
	}
	w.out = append(w.out, b...)
}

// waitRoom waits until there is less to be written than highWater.
func (w *wire) waitRoom() {
	w.mu.Lock()
	for len(w.out) >= highWater && !w.closing {
		w.changed.Wait()
	}
	w.mu.Unlock()
}

// write writes what is sent until leave, or until the connection breaks.
func (w *wire) write() error {
	var batch []byte
	for {
		w.mu.Lock()
		for (len(w.out) == 0 || w.held) && !w.closing {
			w.changed.Wait()
		}
		if len(w.out) == 0 {
			w.mu.Unlock()
			return nil
		}
		batch, w.out = w.out, batch[:0]
		w.writing = true
		w.mu.Unlock()
		w.changed.Broadcast()
		w.say()
		if _, err := w.rwc.Write(batch); err != nil {
			return err
		}
		w.written.Add(int64(len(batch)))
		w.mu.Lock()
		w.writing = false
		w.mu.Unlock()
		if cap(batch) > 2*highWater {
			batch = nil
		}
	}
}

// say notes that bytes begin to go.
func (w *wire) say() {
	now := int64(time.Since(w.start))
	silence := now - max(w.heard.Load(), w.said.Load())
	w.said.Store(now)
	for {
		longest := w.unheard.Load()
		if silence <= longest || w.unheard.CompareAndSwap(longest, silence) {
			return
		}
	}
}

// delivered returns how many bytes the other side has, as far as can be known,
// and whether there are more on the way.
func (w *wire) delivered() (n int64, more bool) {
	w.mu.Lock()
	more = w.writing || len(w.out) > 0
	w.mu.Unlock()
	if acked, unacked, ok := socketState(w.rwc); ok {
		return acked, more || unacked
	}
	return w.written.Load(), more
}

// leave sends DISCONNECT and lets write end when all that is sent is written.
func (w *wire) leave(code codec.ReasonCode) {
	w.send((&codec.Disconnect{Code: code}).Append(nil, w.version))
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.changed.Broadcast()
}

// handshake sends p and returns the CONNACK that answers it. What follows the
// CONNACK stays to be decoded.
func (w *wire) handshake(p *codec.Connect) (*codec.Connack, error) {
	answered := time.AfterFunc(patience, func() { w.rwc.Close() })
	defer answered.Stop()
	w.say()
	if _, err := w.rwc.Write(p.Append(nil, w.version)); err != nil {
		return nil, err
	}
	for {
		if oldConnack(w.in) {
			w.version = codec.V311
		}
		p, err := w.decode()
		if err != nil {
			return nil, err
		}
		if p == nil {
			if err := w.fill(); err != nil {
				if !answered.Stop() {
					return nil, errNoAnswer
				}
				return nil, err
			}
			continue
		}
		if ack, ok := p.(*codec.Connack); ok {
			return ack, nil
		}
		return nil, errNotConnack
	}
}

// oldConnack reports whether b begins with a CONNACK in the form of MQTT 3.1.1,
// which some servers answer also to what they do not understand. In MQTT 5 it
// is one byte longer at least.
func oldConnack(b []byte) bool { return len(b) >= 2 && b[0] == 0x20 && b[1] == 2 }
