package differential

// shrink removes steps as long as differs holds. differs is asked at most tries times.
func shrink(c *Conversation, tries int, differs func(*Conversation) bool) *Conversation {
	for size := len(c.Steps) / 2; size > 0; {
		removed := false
		for at := 0; at < len(c.Steps) && tries > 0; {
			shorter := without(c, at, size)
			tries--
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
