package topic

import (
	"slices"
	"unsafe"
)

// A Tree holds subscriptions by topic filter. The zero Tree is empty.
// It is not safe for concurrent use.
type Tree[T comparable] struct {
	root       branch[subscribers[T]]
	generation uint64
}

type subscribers[T comparable] []T

func (s subscribers[T]) empty() bool { return len(s) == 0 }

// Add puts v under filter. It does not look whether v is there already:
// what is added twice is matched twice, until it is removed twice.
// The tree keeps filter.
func (t *Tree[T]) Add(filter string, v T) {
	n := t.root.insert(filter)
	n.value = append(n.value, v)
	t.generation++
}

// Remove takes v from under filter, and reports whether it was there.
// The time it takes grows with the number of values under filter.
func (t *Tree[T]) Remove(filter string, v T) bool {
	n := t.root.find(filter)
	if n == nil {
		return false
	}
	i := slices.Index(n.value, v)
	if i < 0 {
		return false
	}
	t.generation++
	last := len(n.value) - 1
	var zero T
	n.value[i], n.value[last] = n.value[last], zero
	n.value = n.value[:last]
	switch {
	case last == 0:
		n.value = nil
		t.root.prune(filter)
	case last <= cap(n.value)/4:
		n.value = slices.Clip(slices.Clone(n.value))
	}
	return true
}

// Match calls visit for all values whose filter matches the topic name, in no
// order. The time it takes grows with the depth of topic and with the filters
// of its levels or + on the way, of which it returns about how many there were; it
// allocates nothing. visit must not change the tree.
func (t *Tree[T]) Match(topic []byte, visit func(T)) (steps int) {
	name := view(topic)
	if name == "" {
		return 0
	}
	if name[0] == '$' { // a filter that begins with a wildcard does not match [MQTT-4.7.2-1]
		if n := t.root.child(first(name)); n != nil {
			return matchNode(n, name, 0, visit)
		}
		return 0
	}
	return matchBranch(&t.root, name, 0, visit)
}

// Generation changes with every Add and Remove: what was matched before is
// good for as long as it stays the same.
func (t *Tree[T]) Generation() uint64 { return t.generation }

// matchBranch matches the levels of name from the one at name[at], if any is
// left, with the children of b.
func matchBranch[T comparable](b *branch[subscribers[T]], name string, at int, visit func(T)) (steps int) {
	if b.hash != nil { // also where no level is left: "sport/#" matches "sport"
		steps += visitAll(b.hash, visit)
	}
	if at > len(name) {
		return steps
	}
	if n := b.child(name[at:end(name, at)]); n != nil {
		steps += matchNode(n, name, at, visit)
	}
	if b.plus != nil {
		steps += matchNode(b.plus, name, at, visit)
	}
	return steps
}

// matchNode matches the levels of name from the one at name[at] with n's path
// and what is below.
func matchNode[T comparable](n *node[subscribers[T]], name string, at int, visit func(T)) (steps int) {
	for i := 0; i <= len(n.path); steps++ {
		levelEnd := end(n.path, i)
		level := n.path[i:levelEnd]
		if level == "#" {
			return steps + visitAll(n, visit)
		}
		if at > len(name) {
			return steps + 1
		}
		nameEnd := end(name, at)
		if level != "+" && level != name[at:nameEnd] {
			return steps + 1
		}
		i, at = levelEnd+1, nameEnd+1
	}
	if at > len(name) {
		steps += visitAll(n, visit)
	}
	if n.below != nil {
		steps += matchBranch(n.below, name, at, visit)
	}
	return steps
}

func visitAll[T comparable](n *node[subscribers[T]], visit func(T)) (steps int) {
	for _, v := range n.value {
		visit(v)
	}
	return len(n.value)
}

// view is b as a string, for as long as b does not change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
