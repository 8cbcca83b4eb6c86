package suite

import (
	"path"
	"reflect"
	"runtime"
	"strings"
)

// Side is who is tested.
type Side byte

const (
	Server Side = iota
	Client
)

// Test is one conversation and the statements that it checks. Statements are written
// without "MQTT-", separated by spaces: "3.1.2-8 3.1.2-10"; rules without a number
// in full. A test with statements of several versions runs once in each.
type Test struct {
	Side Side
	V311 string // statements of 3.1.1
	V5   string // statements of 5.0
	Run  func(*T)

	// Unseen, instead of Run, says why the statements cannot be seen from outside.
	Unseen string
}

// Name is the function's name.
func (t Test) Name() string {
	if t.Run == nil {
		return ""
	}
	name := path.Ext(runtime.FuncForPC(reflect.ValueOf(t.Run).Pointer()).Name())
	return strings.TrimPrefix(name, ".")
}

// statements are the identifiers of what the test checks in a version.
func (t Test) statements(version string) (ids []string) {
	list := t.V311
	if version == "5.0" {
		list = t.V5
	}
	for _, id := range strings.Fields(list) {
		if !strings.HasPrefix(id, "RULE-") {
			id = "MQTT-" + id
		}
		ids = append(ids, id)
	}
	return ids
}
