package bridge

import (
	"strconv"

	"sluice/codec"
)

// hopsProperty is the user property that counts the bridges which a message has
// passed, up and down, in decimal: what goes round in circles comes to an end.
const hopsProperty = "sluice-hops"

// MaxMaxHops is the highest Config.MaxHops.
const MaxMaxHops = 255

var hopsName = []byte(hopsProperty)

// hopsValues are the numbers as they are sent.
var hopsValues = func() (v [MaxMaxHops + 1][]byte) {
	for n := range v {
		v[n] = strconv.AppendInt(nil, int64(n), 10)
	}
	return v
}()

// hops reads how many bridges a message has passed. What is no number counts as none,
// and is written over.
func hops(user []codec.UserProperty) (n int) {
	for i := range user {
		if string(user[i].Name) == hopsProperty {
			if v, err := strconv.ParseUint(string(user[i].Value), 10, 8); err == nil { // of so few bytes it makes no string
				n = max(n, int(v))
			}
		}
	}
	return n
}

// appendHops appends the properties of a message to list, with n as its hops behind
// the others.
func appendHops(list, user []codec.UserProperty, n int) []codec.UserProperty {
	for _, u := range user {
		if string(u.Name) != hopsProperty {
			list = append(list, u)
		}
	}
	return append(list, codec.UserProperty{Name: hopsName, Value: hopsValues[n]})
}
