package transport

import (
	"container/list"
	"sync"
	"time"
)

// resumable is the sessions that devices may resume without a full handshake,
// after sleep or from another address. It is bounded, and lasts as long as the process.
type resumable struct {
	// Set once.
	max int
	ttl time.Duration

	// Guarded by mu.
	mu     sync.Mutex
	proofs map[string]*list.Element // by session id
	order  list.List                // of *proof, the first that was put in first
}

// proof is what was proved in a full handshake.
type proof struct {
	// Set once.
	id     string
	until  time.Time
	secret []byte
	peer   Identity
	digest [32]byte // of the pre-shared key
}

func newResumable(max int, ttl time.Duration) *resumable {
	return &resumable{max: max, ttl: ttl, proofs: make(map[string]*list.Element)}
}

// put takes p over, and makes room for it.
func (r *resumable) put(id []byte, p *proof) {
	p.id, p.until = string(id), time.Now().Add(r.ttl)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.order.Len() >= r.max || r.order.Len() > 0 && r.order.Front().Value.(*proof).until.Before(time.Now()) {
		delete(r.proofs, r.order.Remove(r.order.Front()).(*proof).id)
	}
	r.proofs[p.id] = r.order.PushBack(p)
}

// get is the proof of a session, nil if there is none or it is too old.
func (r *resumable) get(id []byte) *proof {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.proofs[string(id)]
	if e == nil || e.Value.(*proof).until.Before(time.Now()) {
		return nil
	}
	return e.Value.(*proof)
}

func (r *resumable) remove(id []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.proofs[string(id)]; e != nil {
		delete(r.proofs, r.order.Remove(e).(*proof).id)
	}
}
