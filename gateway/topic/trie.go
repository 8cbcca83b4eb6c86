package topic

import (
	"strings"
)

// maxFew is the number of children up to which a slice serves better than a map.
const maxFew = 8

// value is what a node holds for the filter or name that ends there.
type value interface{ empty() bool }

// A node stands for the levels from its parent down to itself. But for the
// root's branch, it has a value or at least two children.
type node[V value] struct {
	path  string // one or more levels joined by '/'; may be a part of what was inserted
	value V
	below *branch[V] // nil for a leaf
}

// A branch holds the children of a node. No two begin with the same level.
// The zero branch is empty.
type branch[V value] struct {
	plus, hash *node[V]            // whose paths begin with the level + or #
	few        []*node[V]          // the others, while they are few
	many       map[string]*node[V] // the others by first level, otherwise
	peak       int                 // most that many has held since it was made: maps do not shrink
}

// insert returns the node of path, making it where it is missing.
// The trie keeps path.
func (b *branch[V]) insert(path string) *node[V] {
	for {
		n := b.child(first(path))
		if n == nil {
			n = &node[V]{path: path}
			b.add(n)
			return n
		}
		k := common(n.path, path)
		if k < len(n.path) {
			n.split(k)
		}
		if k == len(path) {
			return n
		}
		if n.below == nil {
			n.below = new(branch[V])
		}
		b, path = n.below, path[k+1:]
	}
}

// find returns the node of path, or nil.
func (b *branch[V]) find(path string) *node[V] {
	for b != nil {
		n := b.child(first(path))
		if n == nil || common(n.path, path) < len(n.path) {
			return nil
		}
		if len(n.path) == len(path) {
			return n
		}
		b, path = n.below, path[len(n.path)+1:]
	}
	return nil
}

// prune takes the node of path, whose value has become empty, out of the trie,
// and mends what this leaves.
func (b *branch[V]) prune(path string) {
	var up *node[V]
	n := b.child(first(path))
	for len(n.path) < len(path) {
		path = path[len(n.path)+1:]
		up, b = n, n.below
		n = b.child(first(path))
	}
	if n.below != nil {
		n.merge()
		return
	}
	b.remove(n)
	if up != nil {
		up.merge()
	}
}

// split moves all but the first k bytes of n's path into a child.
func (n *node[V]) split(k int) {
	tail := &node[V]{path: n.path[k+1:], value: n.value, below: n.below}
	*n = node[V]{path: strings.Clone(n.path[:k]), below: new(branch[V])}
	n.below.add(tail)
}

// merge makes n one with its only child, or a leaf without any.
func (n *node[V]) merge() {
	switch n.below.len() {
	case 0:
		n.below = nil
	case 1:
		if !n.value.empty() {
			return
		}
		for c := range n.below.children {
			*n = node[V]{path: n.path + "/" + c.path, value: c.value, below: c.below}
		}
	}
}

// child returns the child that begins with the level, or nil.
func (b *branch[V]) child(level string) *node[V] {
	switch level {
	case "+":
		return b.plus
	case "#":
		return b.hash
	}
	if b.many != nil {
		return b.many[level]
	}
	for _, n := range b.few {
		if len(n.path) >= len(level) && n.path[:len(level)] == level && (len(n.path) == len(level) || n.path[len(level)] == '/') {
			return n
		}
	}
	return nil
}

func (b *branch[V]) add(n *node[V]) {
	switch level := first(n.path); {
	case level == "+":
		b.plus = n
	case level == "#":
		b.hash = n
	case b.many == nil && len(b.few) < maxFew:
		b.few = append(b.few, n)
	default:
		if b.many == nil {
			b.many = make(map[string]*node[V], 2*maxFew)
			for _, n := range b.few {
				b.many[first(n.path)] = n
			}
			b.few = nil
		}
		b.many[level] = n
		b.peak = max(b.peak, len(b.many))
	}
}

func (b *branch[V]) remove(n *node[V]) {
	switch level := first(n.path); {
	case level == "+":
		b.plus = nil
	case level == "#":
		b.hash = nil
	case b.many != nil:
		delete(b.many, level)
		if len(b.many) <= b.peak/4 {
			b.shrink()
		}
	default:
		for i := range b.few {
			if b.few[i] == n {
				last := len(b.few) - 1
				b.few[i], b.few[last] = b.few[last], nil
				b.few = b.few[:last]
				return
			}
		}
	}
}

// shrink gives back what many has held at its peak.
func (b *branch[V]) shrink() {
	old := *b
	*b = branch[V]{plus: old.plus, hash: old.hash}
	for _, n := range old.many {
		b.add(n)
	}
}

// children yields all children in no order.
func (b *branch[V]) children(yield func(*node[V]) bool) {
	if b.plus != nil && !yield(b.plus) || b.hash != nil && !yield(b.hash) {
		return
	}
	for _, n := range b.few {
		if !yield(n) {
			return
		}
	}
	for _, n := range b.many {
		if !yield(n) {
			return
		}
	}
}

func (b *branch[V]) len() int {
	n := len(b.few) + len(b.many)
	if b.plus != nil {
		n++
	}
	if b.hash != nil {
		n++
	}
	return n
}

// first returns the first level of path.
func first(path string) string { return path[:end(path, 0)] }

// end returns where the level that begins at path[at] ends. The next level
// begins one byte later; that being past len(path), there is none.
func end(path string, at int) int {
	for at < len(path) && path[at] != '/' {
		at++
	}
	return at
}

// common returns the length of the levels with which both a and b begin.
// Their first levels are equal.
func common(a, b string) int {
	k := 0
	for i := 0; ; i++ {
		endA, endB := i == len(a) || a[i] == '/', i == len(b) || b[i] == '/'
		switch {
		case endA != endB:
			return k
		case endA:
			k = i
			if i == len(a) || i == len(b) {
				return k
			}
		case a[i] != b[i]:
			return k
		}
	}
}
