package bridge

import "time"

// A quiet learns how long the path to an upstream survives silence. NATs,
// firewalls and mobile networks forget a connection over which nothing goes, and
// tell nobody; each PINGREQ that is saved is a hundred bytes and more of a metered
// line, and a radio that stays asleep.
//
//	first      good         bad
//	──┼──────────┼────────────┼──────────▶ silence
//	  survived   longest      shortest
//	             survived     that was not
//
// As long as nothing is bad, the silence grows by half each time that it was
// survived. What is not survived twice in a row is bad; a line may break once for
// another reason. Then the silence stays a tenth below good for a day, and after
// that is tried half-way to bad; a failure doubles the wait, up to a week. When
// the two are close, what was bad is tried once a week: paths change. If the
// silence that has been good is not survived twice, half of that is good.
//
// It knows only what links report, so that it lengthens while idle only.
type quiet struct {
	first time.Duration // never below; known to do

	good   time.Duration // longest survived; 0: first
	bad    time.Duration // shortest not survived; 0: none known
	struck time.Duration // not survived once, since when no longer one was survived; 0: none
	wait   time.Duration // before good is exceeded again, the last time
	again  time.Time     // when it is
}

const (
	tryAgain      = 24 * time.Hour
	tryAgainAtMax = 7 * 24 * time.Hour
)

// next is how long the next silence may be, limit at most.
func (q *quiet) next(now time.Time, limit time.Duration) time.Duration {
	good := max(q.good, q.first)
	var try time.Duration
	switch {
	case q.good == 0:
		try = q.first
	case q.bad == 0:
		try = good + good/2
	case now.Before(q.again):
		try = good - good/10
	case q.near():
		try = q.bad
	default:
		try = (good + q.bad) / 2
	}
	return min(max(try, q.first), limit)
}

// near reports whether good and bad are as close as is worth a lost connection.
func (q *quiet) near() bool { return q.bad-q.good <= q.good/8 }

// survived takes a silence after which the upstream was heard.
func (q *quiet) survived(silence time.Duration) {
	if silence >= q.struck {
		q.struck = 0
	}
	if silence <= q.good || silence < q.first {
		return
	}
	q.good = silence
	switch {
	case q.bad == 0:
	case q.good >= q.bad:
		q.bad, q.wait = 0, 0
	case q.near():
		q.wait, q.again = tryAgainAtMax, time.Now().Add(tryAgainAtMax)
	}
}

// lost takes a silence after which the upstream was not heard again, and reports
// whether that says anything new.
func (q *quiet) lost(silence time.Duration) bool {
	if silence <= q.first {
		return false
	}
	if q.struck == 0 {
		q.struck = silence
		return false
	}
	q.bad, q.struck = min(q.struck, silence), 0
	if q.good >= q.bad {
		q.good = max(q.first, q.bad/2)
	}
	q.wait = min(max(2*q.wait, tryAgain), tryAgainAtMax)
	q.again = time.Now().Add(q.wait)
	return true
}
