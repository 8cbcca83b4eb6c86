package bridge

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strconv"

	"sluice/codec"
)

// hopsProperty is the user property that counts the bridges which a message has
// passed, up and down: what goes round in circles comes to an end. Its value is the
// number, in decimal, and after a space the mark of the last bridge that sent it up, if
// that brings down what it may have sent up.
const hopsProperty = "sluice-hops"

// MaxMaxHops is the highest Config.MaxHops.
const MaxMaxHops = 255

var hopsName = []byte(hopsProperty)

// mark is for what the bridge sends up: an upstream that has retained it gives it to a
// new subscription even of its publisher, perhaps when there is newer here.
func (cfg *Config) mark() []byte {
	h := fnv.New32a()
	h.Write([]byte(cfg.ClientID))
	return fmt.Appendf(nil, "%08x", h.Sum32())
}

// hops reads how many bridges a message has passed, and the mark of the last. What is
// no number counts as none, and is written over.
func hops(user []codec.UserProperty) (n int, mark []byte) {
	for i := range user {
		if string(user[i].Name) != hopsProperty {
			continue
		}
		number, m, _ := bytes.Cut(user[i].Value, []byte(" "))
		if v, err := strconv.ParseUint(string(number), 10, 8); err == nil && int(v) >= n { // of so few bytes it makes no string
			n, mark = int(v), m
		}
	}
	return n, mark
}

// A counter counts a bridge among those that messages have passed, for one loop.
type counter struct {
	mark []byte // nil: none

	list  []codec.UserProperty
	value []byte
}

// count returns the properties of a message, valid until the next call, with n as its
// hops behind the others.
func (c *counter) count(user []codec.UserProperty, n int) []codec.UserProperty {
	c.list = c.list[:0]
	for _, u := range user {
		if string(u.Name) != hopsProperty {
			c.list = append(c.list, u)
		}
	}
	c.value = strconv.AppendInt(c.value[:0], int64(n), 10)
	if c.mark != nil {
		c.value = append(append(c.value, ' '), c.mark...)
	}
	c.list = append(c.list, codec.UserProperty{Name: hopsName, Value: c.value})
	return c.list
}
