package differential

import "time"

// shrink removes steps as long as differs holds, and as long as there is time.
func shrink(c *Conversation, limit time.Duration, differs func(*Conversation) bool) *Conversation {
	began := time.Now()
	for size := len(c.Steps) / 2; size > 0; {
		removed := false
		for at := 0; at < len(c.Steps) && time.Since(began) < limit; {
			shorter := without(c, at, size)
			if differs(shorter) {
				c, removed = shorter, true
				continue
			}
			at += size
		}
		if !removed || size > 1 {
			size /= 2
		}
	}
	return c
}

// without is a conversation without some steps, nor those that have no sense then.
func without(c *Conversation, at, size int) *Conversation {
	shorter := &Conversation{Seed: c.Seed, Versions: c.Versions}
	st := newState(c)
	for i, s := range c.Steps {
		if (i < at || i >= at+size) && s.take(st) {
			shorter.Steps = append(shorter.Steps, s)
		}
	}
	return shorter
}
