package bridge

import (
	"strings"
	"testing"
	"time"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]Rule{
		"plant/#":                                  {Filter: "plant/#", QoS: 2},
		"plant/# 1":                                {Filter: "plant/#", QoS: 1},
		"a b/c 0":                                  {Filter: "a b/c", QoS: 0},
		"a b":                                      {Filter: "a b", QoS: 2},
		"sensors/+/temp -> site7/$1/t":             {Filter: "sensors/+/temp", QoS: 2, To: "site7/$1/t"},
		"sensors/+/temp 1 -> site7/$1/t":           {Filter: "sensors/+/temp", QoS: 1, To: "site7/$1/t"},
		"s/+/#  0  ->  $2 of/$1/$2 retain=off":     {Filter: "s/+/#", QoS: 0, To: "$2 of/$1/$2", Retain: RetainOff},
		"s/# retain=on":                            {Filter: "s/#", QoS: 2, Retain: RetainOn},
		"s 1 retain=off":                           {Filter: "s", QoS: 1, Retain: RetainOff},
		"sensors/# 1 batch=10s":                    {Filter: "sensors/#", QoS: 1, Batch: 10 * time.Second},
		"a/+ -> b/$1 batch=1m0s retain=off":        {Filter: "a/+", QoS: 2, To: "b/$1", Retain: RetainOff, Batch: time.Minute},
		"alarms/# 1 ack=upstream":                  {Filter: "alarms/#", QoS: 1, EndToEnd: true},
		"a/+ -> b/$1 ack=upstream  retain=on":      {Filter: "a/+", QoS: 2, To: "b/$1", Retain: RetainOn, EndToEnd: true},
		"a ack=disk":                               {Filter: "a", QoS: 2},
		"a b=c":                                    {Filter: "a b=c", QoS: 2},
		"ack=upstream":                             {Filter: "ack=upstream", QoS: 2},
		"$share/g/jobs/+ 1 -> jobs/$1":             {Filter: "$share/g/jobs/+", QoS: 1, To: "jobs/$1"},
		"s/+/update 1 -> $aws/things/$1/shadow/up": {Filter: "s/+/update", QoS: 1, To: "$aws/things/$1/shadow/up"},
	} {
		got, err := ParseRule(text)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseRule(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q and read %+v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"":                            "a topic filter is missing",
		" -> b":                       "a topic filter is missing",
		"a 3":                         "a quality of service is 0, 1 or 2",
		"a/#/b":                       "is not a topic filter",
		"a/# 1 batch":                 "in this order, its QoS, -> and a topic",
		"a/# batch=10s 1":             "in this order, its QoS, -> and a topic",
		"a batch=1s batch=2s":         "has batch= twice",
		"a -> ":                       "lacks the topic behind ->",
		"a/+ -> b/$1 1":               "the quality of service goes before ->, as in a/+ 1 -> b/$1",
		"a -> b retain=maybe":         "write retain=on or retain=off",
		"a batch=0s":                  "such as batch=10s",
		"a batch=soon":                "such as batch=10s",
		"a batch=61m":                 "up to 1h",
		"a 1 ack=cloud":               "write ack=upstream or ack=disk",
		"a 0 ack=upstream":            "with ack=upstream write a 1 or 2",
		"a/+ -> b/+":                  "behind -> is no topic: wildcard",
		"a/+ -> b/$2":                 "there is no $2, the filter has 1 wildcard",
		"a -> b/$1":                   "there is no $1, the filter has no wildcard",
		"a/+ -> b/$0":                 "the filter has 1 wildcard",
		"a/+ -> b/$99999999999999999": "the filter has 1 wildcard",
		"a/# -> $1/b":                 "$1 is what # matched, any number of levels: write it at the end",
		"a/+/c -> b//c":               "if a shell took $1 out of it, write the setting between single quotes",
	} {
		if r, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %+v, %v; want an error with %q", text, r, err, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		f, g    string
		overlap bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"#", "a/b", true},
		{"#", "$SYS/a", false},
		{"+/a", "$SYS/a", false},
		{"$SYS/#", "$SYS/+/a", true},
		{"a/#", "a", true},
		{"a", "a/#", true},
		{"a/+", "a/#", true},
		{"a/#", "a/+/b", true},
		{"a/+/b", "a/#", true},
		{"+/b", "a/+", true},
		{"+/b", "a/c", false},
		{"a/+", "a/b/c", false},
		{"a/b/c", "a/+", false},
		{"a/b/#", "a/+", true},
		{"a/b/c/#", "a/+", false},
		{"a/", "a/+", true},
		{"a/+", "a/", true},
		{"+", "a/#", true},
	} {
		for _, pair := range [][2]string{{c.f, c.g}, {c.g, c.f}} {
			if got := overlap([]byte(pair[0]), []byte(pair[1])); got != c.overlap {
				t.Errorf("%s and %s overlap: %v", pair[0], pair[1], got)
			}
		}
	}
	if !overlap([]byte("site+/a"), []byte("site7/a")) || !overlap([]byte("site#"), []byte("site7/a/b")) {
		t.Error("a prefix without a slash hides topics")
	}
}
