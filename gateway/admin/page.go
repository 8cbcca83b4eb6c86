package admin

import (
	"strconv"
	"strings"
	"time"
)

// ContentType is that of a Page: the text format of Prometheus, which all that scrape
// understand.
// https://prometheus.io/docs/instrumenting/exposition_formats/
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// A Metric is one name in a table of what there is to measure, of a T. Names follow Prometheus'
// conventions: base units, in the plural, at the end. The help is a sentence.
//
// The function adds samples of what it is given: several have different labels, none means that
// there is nothing to tell.
type Metric[T any] struct {
	name, kind, help string
	samples          func(*T, *Samples)
}

// Counter is of what grows, and begins at 0 with the process. Its name ends in _total.
func Counter[T any](name, help string, samples func(*T, *Samples)) Metric[T] {
	return Metric[T]{name, "counter", help, samples}
}

// Gauge is of what goes up and down.
func Gauge[T any](name, help string, samples func(*T, *Samples)) Metric[T] {
	return Metric[T]{name, "gauge", help, samples}
}

// Histogram is of how long something took; see Samples.AddDurations.
func Histogram[T any](name, help string, samples func(*T, *Samples)) Metric[T] {
	return Metric[T]{name, "histogram", help, samples}
}

// A Page is what one scrape gets. The zero value is empty.
type Page struct {
	text []byte
}

// String is the page's text.
func (p *Page) String() string { return string(p.text) }

// Write writes a table to the page.
func Write[T any](p *Page, table []Metric[T], of *T) {
	for _, m := range table {
		m.samples(of, &Samples{page: p, name: m.name, kind: m.kind, help: m.help})
	}
}

// Samples takes those of one metric.
type Samples struct {
	page             *Page
	name, kind, help string
	begun            bool
}

// Add adds a sample. Labels are names and values in turn.
func (s *Samples) Add(value float64, labels ...string) { s.add("", value, labels) }

// AddTime adds a time as seconds since 1970, by the machine's clock as it is now: that may have
// been set since t.
func (s *Samples) AddTime(t time.Time, labels ...string) {
	s.Add(float64(time.Now().Add(-time.Since(t)).UnixMilli())/1000, labels...)
}

// AddDurations adds a histogram in seconds: counts of what took up to each bound, and longer
// than the one before, and of what took longer than the last.
func (s *Samples) AddDurations(bounds []time.Duration, counts []uint64, sum time.Duration) {
	var n uint64
	for i, count := range counts {
		n += count
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i].Seconds(), 'f', -1, 64)
		}
		s.add("_bucket", float64(n), []string{"le", le})
	}
	s.add("_sum", sum.Seconds(), nil)
	s.add("_count", float64(n), nil)
}

func (s *Samples) add(suffix string, value float64, labels []string) {
	b := s.page.text
	if !s.begun {
		s.begun = true
		b = append(b, "# HELP "+s.name+" "+s.help+"\n# TYPE "+s.name+" "+s.kind+"\n"...)
	}
	b = append(b, s.name+suffix...)
	for i := 0; i+1 < len(labels); i += 2 {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		b = append(append(b, separator), labels[i]+`="`...)
		b = append(b, escaped.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))...)
		b = append(b, '"')
	}
	if len(labels) > 0 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	b = strconv.AppendFloat(b, value, 'f', -1, 64)
	s.page.text = append(b, '\n')
}

// escaped is how the value of a label is written.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
