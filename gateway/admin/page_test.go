package admin

import (
	"math"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	type tank struct {
		level float64
		fills int
	}
	tanks := []Metric[tank]{
		Gauge("tank_level_metres", "How full.", func(k *tank, s *Samples) { s.Add(k.level) }),
		Counter("tank_fills_total", "How often filled.", func(k *tank, s *Samples) {
			for i := range k.fills {
				s.Add(1e15+float64(i), "by", "a\\b\"c\nd\xff", "of", "x")
			}
		}),
		Histogram("tank_fill_seconds", "How long.", func(_ *tank, s *Samples) {
			s.AddDurations([]time.Duration{time.Millisecond, time.Second}, []uint64{1, 0, 2}, 7500*time.Millisecond)
		}),
	}
	const level = "# HELP tank_level_metres How full.\n# TYPE tank_level_metres gauge\n"
	const histogram = `# HELP tank_fill_seconds How long.
# TYPE tank_fill_seconds histogram
tank_fill_seconds_bucket{le="0.001"} 1
tank_fill_seconds_bucket{le="1"} 1
tank_fill_seconds_bucket{le="+Inf"} 3
tank_fill_seconds_sum 7.5
tank_fill_seconds_count 3
`
	for _, c := range []struct {
		tank tank
		want string
	}{
		{tank{0.25, 1}, level + "tank_level_metres 0.25\n" +
			"# HELP tank_fills_total How often filled.\n# TYPE tank_fills_total counter\n" +
			`tank_fills_total{by="a\\b\"c\nd` + "\uFFFD" + `",of="x"} 1000000000000000` + "\n" + histogram},
		{tank{math.Inf(1), 0}, level + "tank_level_metres +Inf\n" + histogram},
	} {
		var p Page
		Write(&p, tanks, &c.tank)
		if p.String() != c.want {
			t.Errorf("%+v gives\n%s\nwant\n%s", c.tank, p.String(), c.want)
		}
	}
}
