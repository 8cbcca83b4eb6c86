package bridge

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

// BatchTopic is, behind Config.UpPrefix, where batches are published.
const BatchTopic = "sluice-batch"

// MaxBatch is the longest that a message may wait in a batch.
const MaxBatch = time.Hour

// maxBatchSize bounds the messages of a batch before they are packed, in bytes.
const maxBatchSize = 256 << 10

// A gathering is the messages that wait to go up in one publish. None of them has been
// acknowledged to the gateway: it sends all again on the next link if this one ends.
// Guarded by link.turn.
type gathering struct {
	messages []byte // as they stand in the batch
	members  []member
	due      time.Time // when they go, whatever else comes
}

type member struct {
	id       uint16 // 0 at QoS 0
	end      int    // in gathering.messages
	came     time.Time
	expiring bool
}

// A batcher is what a link knows of batches.
type batcher struct {
	// Set once by prepareBatches.
	topic   []byte
	maxSize int // bytes of messages

	timer *time.Timer

	// Guarded by link.turn.
	packer *batch.Packer // nil: nothing is batched
	gathering
	packed []byte        // used again
	dec    codec.Decoder // of messages that have waited
}

// prepareBatches finds out whether, and how, messages go up in batches on this link.
func (l *link) prepareBatches() {
	b := &l.batches
	b.timer = time.AfterFunc(time.Hour, l.hurry)
	b.timer.Stop()
	if !l.cfg.wantsBatches() || l.up.wire.version != codec.V5 || l.alone || time.Now().Before(l.unbatched) {
		return
	}
	if !l.up.batches {
		l.log.Info("upstream does not say that it takes batches: messages go up one by one")
		return
	}
	b.topic = []byte(l.cfg.UpPrefix + BatchTopic)
	b.maxSize = maxBatchSize
	if most := int64(l.up.maximumPacketSize); most > 0 {
		b.maxSize = int(min(int64(b.maxSize), most-int64(len(b.topic)+len(batch.ContentType)+batch.Overhead+32)))
	}
	b.packer = l.packer(l.up.dictionary)
}

func (cfg *Config) wantsBatches() bool {
	for _, r := range cfg.Up {
		if r.Batch > 0 {
			return true
		}
	}
	return false
}

// packer makes or finds a packer: they are large.
func (b *Bridge) packer(dictionary bool) *batch.Packer {
	n, d := 0, (*batch.Dictionary)(nil)
	if dictionary {
		n, d = 1, b.cfg.BatchDictionary
	}
	if b.packers[n] == nil {
		b.packers[n] = batch.NewPacker(d)
	}
	return b.packers[n]
}

// gather lets a message, which has its name there, wait for others. It is false for one
// that has to go by itself; all that wait go before it then. Those at QoS 2 do: a batch is
// sent again after a break with other messages in it, which the upstream could not tell
// from the first. Called with turn held.
func (l *link) gather(p *codec.Publish, id uint16, qos byte, within time.Duration) bool {
	b := &l.batches
	if b.packer == nil {
		return false
	}
	before := len(b.messages)
	b.messages = batch.Append(b.messages, &p.Message)
	size := len(b.messages) - before
	if p.QoS == 2 || p.QoS == 0 && qos > 0 || size > b.maxSize {
		b.messages = b.messages[:before]
		l.sendBatch()
		return false
	}
	if len(b.messages) > b.maxSize {
		b.messages = b.messages[:before]
		l.sendBatch()
		b.messages = batch.Append(b.messages, &p.Message)
	}
	if p.QoS == 0 {
		id = 0
	}
	now := time.Now()
	b.members = append(b.members, member{id, len(b.messages), now, p.HasMessageExpiry})
	l.counts.up.Add(1)
	if p.QoS < qos {
		l.short.set(id, qos == 2)
		l.mu.Lock()
		l.lowered.add(id)
		l.mu.Unlock()
	}
	if p.HasMessageExpiry { // it has to be there before
		within = min(within, time.Duration(p.MessageExpiry)*time.Second/2)
	}
	if due := now.Add(within); len(b.members) == 1 || due.Before(b.due) {
		b.due = due
		b.timer.Reset(within)
	}
	if len(b.members) >= l.maxMembers(id != 0) {
		l.sendBatch()
	}
	return true
}

// maxMembers is how many messages a batch may have: those of the other half of the
// window can be under way meanwhile. One that takes a place in it has come.
func (l *link) maxMembers(one bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one {
		l.pace.begin()
	}
	return max(1, min(l.pace.window/2, batch.MaxMessages))
}

// hurry sends what waits.
func (l *link) hurry() {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.sendBatch()
	l.flushUp()
}

// endBatches forgets what waits: it comes again on the next link. At QoS 0 it does not,
// so that a bridge that leaves sends it, if nothing else waits.
func (l *link) endBatches(leaving bool) {
	l.turn.Lock()
	defer l.turn.Unlock()
	b := &l.batches
	b.timer.Stop()
	if leaving && !slices.ContainsFunc(b.members, func(m member) bool { return m.id != 0 }) {
		l.sendBatch()
		l.flushUp()
	}
	b.members, b.packer = nil, nil
}

// sendBatch puts what waits into one publish. It has the packet identifier of the first
// message that has one, and its acknowledgement is that of all of them. Called with turn
// held.
func (l *link) sendBatch() {
	b := &l.batches
	if len(b.members) == 0 {
		return
	}
	b.timer.Stop()
	now := time.Now()
	l.upNow = now.Sub(l.start)
	p := codec.Publish{Message: codec.Message{Topic: b.topic, ContentType: []byte(batch.ContentType)}}
	ids := make([]uint16, len(b.members))
	for i, m := range b.members {
		if ids[i] = m.id; p.ID == 0 {
			p.ID = m.id
		}
	}
	if p.ID != 0 {
		p.QoS = 1
		l.mu.Lock()
		l.together[p.ID] = ids
		l.pace.sent(p.ID, l.upNow)
		l.mu.Unlock()
		l.owed.ask(l.up.wire)
	}
	b.packed = b.packer.Pack(b.packed[:0], b.countDown(now))
	p.Payload = b.packed
	begin := len(l.toUp)
	l.toUp = p.Append(l.toUp, l.up.wire.version)
	if p.ID != 0 {
		l.lead(p.ID, p.Topic, len(l.toUp)-begin)
	}
	l.counts.batches.Add(1)
	b.messages, b.members = b.messages[:0], b.members[:0]
}

// countDown returns the messages with what is left of their expiry intervals now
// [MQTT-3.3.2-6].
func (b *batcher) countDown(now time.Time) (messages []byte) {
	begin, changed := 0, false
	for _, m := range b.members {
		packet := b.messages[begin:m.end]
		begin = m.end
		waited := uint32(now.Sub(m.came) / time.Second)
		if !m.expiring || waited == 0 {
			if changed {
				messages = append(messages, packet...)
			}
			continue
		}
		if !changed {
			messages, changed = append(messages, b.messages[:begin-len(packet)]...), true
		}
		p, _, err := b.dec.Next(packet, codec.V5, 0)
		if err != nil {
			panic("bridge: a message in a batch is broken: " + err.Error()) // which Append made
		}
		message := &p.(*codec.Publish).Message
		message.MessageExpiry -= min(waited, message.MessageExpiry)
		messages = batch.Append(messages, message)
	}
	if !changed {
		return b.messages
	}
	return messages
}

// ackedTogether takes a PUBACK, and returns all identifiers that it is for, 0 for a
// message at QoS 0; nil: it is of no batch.
func (l *link) ackedTogether(id uint16) ([]uint16, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unfinished.has(id) {
		return nil, errInexact
	}
	l.ackedFirst(id)
	ids := l.together[id]
	if ids == nil {
		l.pace.end(1)
		return nil, nil
	}
	delete(l.together, id)
	for _, one := range ids {
		if one != 0 { // else it was not counted
			l.pace.end(1)
		}
	}
	return ids, nil
}

// batchAcked takes the acknowledgement of a batch of these messages. The upstream may refuse
// some of them.
func (l *link) batchAcked(p *codec.Puback, ids []uint16) error {
	var refused []bool
	if p.Code >= 0x80 {
		if refused = batch.Refused(p.User, len(ids)); refused == nil {
			return l.batchRefused(p.Code, p.ReasonString)
		}
	}
	for place, id := range ids {
		code := codec.Success
		if refused != nil && refused[place] {
			code = p.Code
			l.checkRefused(id, code, p.ReasonString)
		}
		if id != 0 {
			l.acked(id, code)
		}
	}
	return nil
}

// batchRefused ends the link: which of the messages is not wanted, or whether it is batches,
// is found out when they come one by one.
func (l *link) batchRefused(code codec.ReasonCode, reason []byte) error {
	l.unbatched = time.Now().Add(askAgain)
	return fmt.Errorf("%w: %v (%q)", errBatchRefused, code, reason)
}

var errBatchRefused = errors.New("upstream refuses a batch; its messages go up one by one, and so do others for an hour")
