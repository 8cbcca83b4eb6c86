package gateway

import (
	"sluice/codec"
)

// maxAliases is the Topic Alias Maximum that clients are told, and the most that is
// used of theirs. They cost memory on both sides.
const maxAliases = 32

// aliases are the topic aliases of one connection; they do not outlive it. [MQTT-3.3.2-7]
type aliases struct {
	in  [][]byte          // by alias, set by the client
	out map[string]uint16 // set by us
	max uint16            // the client's Topic Alias Maximum, at most maxAliases
}

var (
	errAliasRange = &codec.Error{Code: codec.TopicAliasInvalid, Clause: "MQTT-3.3.2-9", Text: "topic alias above the maximum"}
	errAliasUnset = &codec.Error{Code: codec.ProtocolError, Clause: "MQTT-3.3.2-8", Text: "topic alias was never set"}
)

// resolveAlias sets the topic of a PUBLISH that has only an alias, and notes a new one.
func (c *conn) resolveAlias(p *codec.Publish) *codec.Error {
	if p.TopicAlias == 0 {
		return nil // the codec refuses an empty topic without an alias
	}
	if p.TopicAlias > maxAliases {
		return errAliasRange
	}
	if c.aliases == nil {
		c.aliases = &aliases{}
	}
	a := c.aliases
	for len(a.in) < int(p.TopicAlias) {
		a.in = append(a.in, nil)
	}
	name := &a.in[p.TopicAlias-1]
	switch {
	case len(p.Topic) > 0:
		*name = append((*name)[:0], p.Topic...)
	case len(*name) == 0:
		return errAliasUnset
	default:
		p.Topic = *name
	}
	return nil
}

// alias finds or makes the alias under which topic goes out: 0 for none, and whether
// the client knows it already.
func (a *aliases) alias(topic []byte) (alias uint16, known bool) {
	if alias, known = a.out[string(topic)]; known {
		return alias, true
	}
	if len(a.out) >= int(a.max) || len(topic) < 4 {
		return 0, false
	}
	if a.out == nil {
		a.out = make(map[string]uint16)
	}
	alias = uint16(len(a.out) + 1)
	a.out[string(topic)] = alias
	return alias, false
}

// forget takes back the alias that was made last: the packet that tells of it did not go out.
func (a *aliases) forget(topic []byte) { delete(a.out, string(topic)) }
