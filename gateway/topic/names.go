package topic

// Names holds values by topic name. The zero Names is empty.
// It is not safe for concurrent use.
type Names[T any] struct {
	root branch[named[T]]
	len  int
}

type named[T any] struct {
	topic string // never empty where there is a value
	value T
}

func (e named[T]) empty() bool { return e.topic == "" }

// Set puts v under topic, and returns what it replaces, if anything.
// Names keeps topic.
func (n *Names[T]) Set(topic string, v T) (old T, ok bool) {
	e := &n.root.insert(topic).value
	old, ok = e.value, !e.empty()
	if !ok {
		n.len++
		e.topic = topic
	}
	e.value = v
	return old, ok
}

// Get returns the value under topic, if there is one.
func (n *Names[T]) Get(topic []byte) (v T, ok bool) {
	if c := n.root.find(view(topic)); c != nil {
		return c.value.value, !c.value.empty()
	}
	return v, false
}

// Delete takes the value under topic away and returns it, if there is one.
func (n *Names[T]) Delete(topic []byte) (old T, ok bool) {
	c := n.root.find(view(topic))
	if c == nil || c.value.empty() {
		return old, false
	}
	old = c.value.value
	c.value = named[T]{}
	n.len--
	n.root.prune(view(topic))
	return old, true
}

// Len is the number of values.
func (n *Names[T]) Len() int { return n.len }

// Match calls visit for all values whose topic name matches filter, in no
// order, until visit returns false. Of what does not match it touches only
// nodes that fit filter up to their parent. visit must not change n.
func (n *Names[T]) Match(filter []byte, visit func(topic string, v T) bool) {
	namesBranch(&n.root, view(filter), 0, visit)
}

// namesBranch matches the children of b with the levels of filter from the one
// at filter[at]. Like all functions here it reports whether to go on.
func namesBranch[T any](b *branch[named[T]], filter string, at int, visit func(string, T) bool) bool {
	level := filter[at:end(filter, at)]
	if level != "+" && level != "#" {
		c := b.child(level)
		return c == nil || namesNode(c, filter, at, visit)
	}
	for c := range b.children {
		if at == 0 && c.path != "" && c.path[0] == '$' { // [MQTT-4.7.2-1]
			continue
		}
		if !namesNode(c, filter, at, visit) {
			return false
		}
	}
	return true
}

// namesNode matches c's path, and what is below, with the levels of filter
// from the one at filter[at].
func namesNode[T any](c *node[named[T]], filter string, at int, visit func(string, T) bool) bool {
	for i := 0; i <= len(c.path); {
		if at > len(filter) {
			return true
		}
		filterEnd := end(filter, at)
		level := filter[at:filterEnd]
		if level == "#" {
			return namesAll(c, visit)
		}
		pathEnd := end(c.path, i)
		if level != "+" && level != c.path[i:pathEnd] {
			return true
		}
		i, at = pathEnd+1, filterEnd+1
	}
	switch {
	case at > len(filter):
		return c.value.empty() || visit(c.value.topic, c.value.value)
	case filter[at:] == "#": // with the parent level: "sport/#" matches "sport"
		return namesAll(c, visit)
	case c.below == nil:
		return true
	}
	return namesBranch(c.below, filter, at, visit)
}

// namesAll visits c and all that is below.
func namesAll[T any](c *node[named[T]], visit func(string, T) bool) bool {
	if !c.value.empty() && !visit(c.value.topic, c.value.value) {
		return false
	}
	if c.below != nil {
		for c := range c.below.children {
			if !namesAll(c, visit) {
				return false
			}
		}
	}
	return true
}
