package topic

import "bytes"

// MaxLevels bounds the levels of a topic name or filter, which MQTT does not: what a tree
// does for one grows with them, so that a name of 65,000 slashes, which is one packet, would
// take as long as thousands of others.
const MaxLevels = 200

// TooDeep says whether a topic name, or a filter without $share/group/, has more than
// MaxLevels levels.
func TooDeep(t []byte) bool {
	return len(t) >= MaxLevels && bytes.Count(t, slash) >= MaxLevels
}

var slash = []byte{'/'}
