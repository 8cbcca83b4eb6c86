package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is a load on three sides, one of which fails and one of which loses a message.
func example() *result {
	return &result{
		load: &workload{
			group: "Kept & messages", name: "a <b>", flags: "offline -qos 1", sides: []side{sluice, mosquitto, nats}, base: mosquitto.label,
			rows: []row{{"store, CPU us/message", storeCPU, "", goal{ratio: 0.5}}, {"acknowledged/s", acknowledged, "", goal{atLeast: 2000}}},
		},
		outcomes: map[string][]outcome{
			"Sluice":      {{StoreCPU: 9, InPerSec: 1500, Seconds: 1}, {StoreCPU: 2, InPerSec: 1700, Seconds: 1}, {StoreCPU: 3, InPerSec: 1600, Seconds: 1}},
			"Mosquitto":   {{StoreCPU: 18, InPerSec: 3000, Seconds: 1, Lost: 1}, {StoreCPU: 5, InPerSec: 5000, Seconds: 1}},
			"nats-server": {{Notes: []string{"failed: the server hangs up"}}},
		},
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got, ok := median(c.values); got != c.want || !ok {
			t.Errorf("median of %v is %v", c.values, got)
		}
	}
	if _, ok := median(nil); ok {
		t.Error("there is a median of nothing")
	}
}

func TestMarkdown(t *testing.T) {
	g := groupsOf([]*result{example(), example()})
	if len(g) != 1 || len(g[0].results) != 2 {
		t.Fatalf("%d groups", len(g))
	}
	g[0].results = g[0].results[:1]
	const want = `| load | figure | Sluice | Mosquitto | nats-server | ratio | goal | |
|---|---|---:|---:|---:|---:|---|---|
| a <b> | store, CPU us/message | **3.00** | 11.5 \* | failed \* | 0.45 | 0.50 or less | met |
| a <b> | acknowledged/s | **1,600** | 4,000 \* | failed \* | 0.42 | 2,000 or more | missed |

- \* a <b>, Mosquitto: 1 of 2 runs: 1 lost, 0 duplicated, 0 out of order
- \* a <b>, nats-server: 1 of 1 runs: failed: the server hangs up
`
	if got := g[0].markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The best figure is the lowest, or of rates the highest, and not that of a broker
// that lost messages.
func TestBest(t *testing.T) {
	r := example()
	r.outcomes["Mosquitto"][0].Lost = 0
	for i, want := range []string{"Sluice", "Mosquitto"} {
		if got := r.best(r.load.rows[i]); got != want {
			t.Errorf("%s: best is %s, want %s", r.load.rows[i].figure, got, want)
		}
	}
}

func TestGoal(t *testing.T) {
	for _, c := range []struct {
		goal          goal
		figure, ratio float64
		met           bool
		text          string
	}{
		{goal{ratio: 0.1}, 1, 0.1, true, "0.10 or less"},
		{goal{ratio: 0.1}, 1.1, 0.11, false, "0.10 or less"},
		{goal{atMost: 12288}, 12288, 0, true, "12,288 or less"},
		{goal{atMost: 5}, 5.1, 0.01, false, "5.00 or less"},
		{goal{ratio: 1.2, atMost: 2000}, 1999, 20, true, "2,000 or ratio 1.20, or less"},
		{goal{ratio: 1.2, atMost: 2000}, 3599, 1.19, true, "2,000 or ratio 1.20, or less"},
		{goal{ratio: 1.2, atMost: 2000}, 3601, 1.21, false, "2,000 or ratio 1.20, or less"},
		{goal{atLeast: 150000}, 150000, 1, true, "150,000 or more"},
		{goal{atLeast: 150000}, 149999, 1, false, "150,000 or more"},
	} {
		if got := c.goal.met(c.figure, c.ratio); got != c.met || c.goal.String() != c.text {
			t.Errorf("%v, ratio %v: %v is %v", c.figure, c.ratio, c.goal, got)
		}
	}
}

func TestCell(t *testing.T) {
	for v, want := range map[float64]string{0.588: "0.59", 12.34: "12.3", 345.6: "346", 1012: "1,012", 1234567: "1,234,567", -1500: "-1,500", 0: "0.00"} {
		if got := cell(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

// A plot is well-formed, with a bar for each side of each row and a line for each
// goal, and nothing goes over its edge.
func TestPlot(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader((&group{name: "a & b", results: []*result{example()}}).plot()))
	count := map[string]int{}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Name.Local == "width" && strings.HasPrefix(a.Value, "-") {
					t.Errorf("%s has %s %q", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	if count["svg"] != 1 || count["rect"] != 6 || count["line"] != 2 {
		t.Errorf("elements: %v", count)
	}
}

// The document names every load with the plot of its group, which is there.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	groups := groupsOf([]*result{example()})
	if err := write(dir, description{Date: time.Now(), Command: "table", Rounds: 3}, groups); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Medians of 3 rounds ", "## Kept & messages", "![Kept & messages](plots/kept-&-messages.svg)", "`offline -qos 1`", "![Match](match/match.svg)", "\n| gateway/Route/qos=1 | "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "plots", "kept-&-messages.svg")); err != nil {
		t.Error(err)
	}
}

// What sluice bench writes of a run that failed is understood, and counts as a fault.
func TestOutcome(t *testing.T) {
	var o outcome
	line := `{"label":"Sluice","scenario":"offline","seconds":0.5,"lost":-1,"misordered":2,"store_cpu_us_per_msg":1.5,"notes":["failed: x"]}`
	if err := json.Unmarshal([]byte(line), &o); err != nil {
		t.Fatal(err)
	}
	if want := "-1 lost, 0 duplicated, 2 out of order; failed: x"; o.fault() != want || o.StoreCPU != 1.5 {
		t.Errorf("%q, %+v", o.fault(), o)
	}
}

// Every load has what the tables need.
func TestLoads(t *testing.T) {
	for _, l := range slices.Concat(loads, alone) {
		if len(l.rows) == 0 || len(l.sides) == 0 || l.group == "" {
			t.Errorf("%s: %+v", l.name, l)
		}
		known := map[string]bool{"": true}
		for _, s := range l.sides {
			known[s.label] = true
		}
		if !known[l.base] {
			t.Errorf("%s: nobody is %s", l.name, l.base)
		}
		for _, w := range l.rows {
			if !known[w.side] {
				t.Errorf("%s: nobody is %s", l.name, w.side)
			}
		}
	}
}
