package bridge

import (
	"errors"
	"time"

	"sluice/codec"
)

// A version remembers whether the upstream has to be asked for MQTT 3.1.1.
type version struct {
	old   bool
	since time.Time // when it was last found not to take MQTT 5
}

// askAgain is how long an upstream is asked for 3.1.1 only.
const askAgain = time.Hour

func (v *version) ask(now time.Time) codec.Version {
	if v.old && now.Sub(v.since) < askAgain {
		return codec.V311
	}
	return codec.V5
}

// answered takes what came of asking for asked.
func (v *version) answered(asked codec.Version, err error, now time.Time) {
	var refused *refusal
	switch {
	case errors.Is(err, errOldVersion): // nor does it take this one
		v.old = false
	case err != nil && !errors.As(err, &refused): // it did not answer
	case asked == codec.V5:
		v.old = false
	case !v.old || now.Sub(v.since) >= askAgain:
		v.old, v.since = true, now
	}
}
