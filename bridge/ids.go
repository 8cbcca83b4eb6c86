package bridge

// An ids is a set of packet identifiers.
type ids [1 << 16 / 64]uint64

// all are all packet identifiers.
func all() (s ids) {
	for i := range s {
		s[i] = 1<<64 - 1
	}
	return s
}

func (s *ids) has(id uint16) bool { return s[id/64]&(1<<(id%64)) != 0 }
func (s *ids) add(id uint16)      { s[id/64] |= 1 << (id % 64) }
func (s *ids) remove(id uint16)   { s[id/64] &^= 1 << (id % 64) }

func (s *ids) set(id uint16, in bool) {
	if in {
		s.add(id)
	} else {
		s.remove(id)
	}
}
