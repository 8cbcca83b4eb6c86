package gateway

import "time"

// A budget is how fast messages that waited while a client was away may be sent when
// it is here. The zero value is no bound.
type budget struct {
	perMessage, perByte time.Duration // that each takes

	end  uint64        // what waited is below
	free time.Duration // the gateway's time from which the next may go
}

// What was not used of a budget is kept for so long: a timer that is late takes nothing
// away. And the next look is not sooner, so that a large budget wakes nobody for each
// message.
const (
	budgetKept = 100 * time.Millisecond
	budgetLook = 50 * time.Millisecond
)

func newBudget(messages int, bytes int64) (b budget) {
	if messages > 0 {
		b.perMessage = time.Second / time.Duration(messages)
	}
	if bytes > 0 {
		b.perByte = time.Second / time.Duration(bytes)
	}
	return b
}

// holds says whether a message of size bytes has to wait, and until when; else it is
// taken off the budget.
func (b *budget) holds(seq uint64, size int, now time.Duration) (until time.Duration, yes bool) {
	switch {
	case seq >= b.end:
		return 0, false
	case b.free > now:
		return max(b.free, now+budgetLook), true
	}
	b.free = max(b.free, now-budgetKept) + max(b.perMessage, time.Duration(size)*b.perByte)
	return 0, false
}

// drainer is the timer's view of a limit whose budget holds messages back.
type drainer limit

func (d *drainer) expire() {
	if !d.to.ended {
		d.to.pump()
	}
}

// here begins a client's budget: what waits now has waited.
func (l *limit) here() {
	if l != nil && (l.budget.perMessage > 0 || l.budget.perByte > 0) {
		l.budget.end, l.budget.free = l.to.queue.Next(), l.to.srv.now
	}
}

// holds says whether a message has to wait for the budget. One that may have been sent before
// a crash does not if live data waits behind it.
func (l *limit) holds(seq uint64, size int) bool {
	if seq >= l.budget.end {
		return false
	}
	if v := l.to.live; v != nil && v.unsent() > 0 && seq < v.place(v.window.sent) {
		return false
	}
	until, yes := l.budget.holds(seq, size, l.to.srv.now)
	if yes {
		l.drain.owner = (*drainer)(l)
		l.to.srv.setTimer(&l.drain, until)
	}
	return yes
}
