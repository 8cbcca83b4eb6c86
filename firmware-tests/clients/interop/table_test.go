package interop

import (
	"encoding/json"
	"strings"
	"testing"
)

// events are those of go test -json: "test action output" each.
func events(lines ...string) *strings.Reader {
	var b strings.Builder
	for _, line := range lines {
		fields := append(strings.SplitN(line, " ", 3), "")
		j, err := json.Marshal(map[string]string{"Test": fields[0], "Action": fields[1], "Output": fields[2]})
		if err != nil {
			panic(err)
		}
		b.Write(append(j, '\n'))
	}
	return strings.NewReader(b.String())
}

func TestMarkdown(t *testing.T) {
	const one, two, three, four = "TestClients/one", "TestClients/two", "TestClients/three", "TestClients/four"
	r, err := read(events(
		"TestClients run", one+" run", two+" run", three+" run", four+" run",
		one+" output     x_test.go:5: version: one 1.2-3",
		one+"/tcp run", one+"/tcp/3.1.1 run", one+"/tcp/3.1.1/will run", one+"/tcp/3.1.1/will pass",
		one+"/tls run", one+"/tls/3.1.1 run", one+"/tls/3.1.1/will run", one+"/tls/3.1.1/offline_queue run",
		one+"/tls/3.1.1/will output     x_test.go:7: got 1, want 2", one+"/tls/3.1.1/will fail",
		one+"/tls/3.1.1/offline_queue output     x_test.go:7: loses all", one+"/tls/3.1.1/offline_queue skip",
		one+"/tcp/3.1.1 pass", one+"/tls/3.1.1 fail", one+"/tls fail", one+"/tcp pass", one+" fail",
		two+" output     x_test.go:5: two: not installed", two+" skip",
		three+" output     x_test.go:5: version: three 3",
		three+"/tcp run", three+"/tcp/3.1.1 run", three+"/tcp/3.1.1 output     x_test.go:9: 5 only", three+"/tcp/3.1.1 skip",
		three+"/ws/3.1.1 run", three+"/ws/3.1.1 output     x_test.go:9: no WebSocket", three+"/ws/3.1.1 skip",
		three+"/tcp/5.0 run", three+"/tcp/5.0/will run", three+"/tcp/5.0/will output     x_test.go:9: forgets it", three+"/tcp/5.0/will skip",
		three+"/tcp/5.0 pass", three+"/tcp pass", three+" pass",
		four+"/tcp run", four+"/tcp/3.1.1 run", // and that is the end
	))
	if err != nil {
		t.Fatal(err)
	}
	got, failure := r.markdown()
	want := `| library | version | tcp 3.1.1 | tcp 5.0 | tls 3.1.1 |
|---|---|---|---|---|
| one | 1.2-3 | pass | – | fail [1] |
| two |  | two: not installed | two: not installed | two: not installed |
| three | 3 | 5 only | pass [2] | – |
| four |  | fail | – | – |

[1] one: offline queue: loses all

[2] three: will: forgets it
`
	if got != want || !failure {
		t.Errorf("failure %v\ngot\n%s\nwant\n%s", failure, got, want)
	}
}

func TestNothingRan(t *testing.T) {
	if r, err := read(events("x output", " build-fail")); err == nil {
		t.Errorf("got %+v", r)
	}
}
