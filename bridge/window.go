package bridge

import (
	"slices"
	"sync"
)

// A window bounds what is on its way to the gateway at QoS 1 and 2. An upstream
// of MQTT 3.1.1 knows no Receive Maximum: what it sends beyond the gateway's
// is held back here, in order.
type window struct {
	// Set once.
	local *wire
	size  int

	mu     sync.Mutex
	room   sync.Cond // there is less held than maxHeld, or the window is closed
	flying ids       // sent and not yet acknowledged
	n      int       // how many
	held   []held
	bytes  int // in held
	closed bool
}

type held struct {
	id     uint16
	packet []byte
}

// maxHeld is the number of bytes held back at which no more is read.
const maxHeld = 8 << 20

func (w *window) init(local *wire, size uint16) {
	w.local, w.size = local, int(size)
	if size == 0 {
		w.size = 1<<16 - 1
	}
	w.room.L = &w.mu
}

// full reports whether take would hold a message back. It stays false until the
// down loop takes one more.
func (w *window) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n >= w.size
}

// exceeded reports whether a message would be one more than maximum under way.
func (w *window) exceeded(id, maximum uint16) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n+len(w.held) >= int(maximum) && !w.flying.has(id)
}

// take reports whether the caller is to send the PUBLISH. If not, a copy is
// held back and sent later, maybe before take returns: all that goes before has
// to be sent already.
func (w *window) take(id uint16, packet []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n < w.size || w.flying.has(id) { // with room, nothing is held back
		w.fly(id)
		return true
	}
	w.held = append(w.held, held{id, slices.Clone(packet)})
	w.bytes += len(packet)
	return false
}

// fly counts id as sent; once, should the upstream have no patience and send
// it again.
func (w *window) fly(id uint16) {
	if !w.flying.has(id) {
		w.flying.add(id)
		w.n++
	}
}

// waitRoom waits until less than maxHeld is held back.
func (w *window) waitRoom() {
	w.mu.Lock()
	for w.bytes >= maxHeld && !w.closed {
		w.room.Wait()
	}
	w.mu.Unlock()
}

// acked makes room for what is held back: the gateway is done with id.
func (w *window) acked(id uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.flying.has(id) {
		return
	}
	w.flying.remove(id)
	w.n--
	for len(w.held) > 0 && w.n < w.size {
		h := w.held[0]
		w.held[0] = held{}
		w.held = w.held[1:]
		w.bytes -= len(h.packet)
		w.fly(h.id)
		w.local.send(h.packet)
	}
	w.room.Broadcast()
}

func (w *window) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.room.Broadcast()
}
