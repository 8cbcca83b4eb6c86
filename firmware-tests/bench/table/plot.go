package main

import (
	"cmp"
	"fmt"
	"html"
	"strings"
)

// Sizes of a plot, in its own units.
const (
	plotWidth  = 720
	plotLabels = 130 // left of the bars
	plotBars   = 500
	barHeight  = 14
	barStep    = 18
	rowHead    = 24 // above a row's bars
	rowGap     = 10 // below
)

// plotStyle has colours for light and dark.
const plotStyle = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.bar { fill: #a8b3bd } .first { fill: #0b6bcb } .goal { stroke: #c4320a; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.bar { fill: #5b6672 } .first { fill: #58a6ff } .goal { stroke: #ff8a5c }
}
`

// file is the name of the plot's file.
func (g *group) file() string {
	return strings.ToLower(strings.ReplaceAll(g.name, " ", "-")) + ".svg"
}

// plot is the group as SVG: for every row bars from zero to the figures, on a scale
// of its own, and a line where the goal is.
func (g *group) plot() string {
	var s strings.Builder
	y := 0
	for _, r := range g.results {
		for _, w := range r.load.rows {
			y = r.plot(&s, w, y)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>%s</title>
<style>%s</style>
%s</svg>
`, plotWidth, y, html.EscapeString(g.name), plotStyle, s.String())
}

// plot draws a row from y downwards and returns where it ends.
func (r *result) plot(s *strings.Builder, w row, y int) int {
	base, _ := r.median(w, r.load.base)
	limit := w.goal.limit(base)
	top := limit
	for _, side := range r.load.sides {
		m, _ := r.median(w, side.label)
		top = max(top, m)
	}
	length := func(v float64) float64 { return max(0, v) / cmp.Or(top, 1) * plotBars }
	head := r.load.name + ": " + w.name()
	if limit > 0 {
		head += ", goal " + cell(limit)
	}
	fmt.Fprintf(s, `<text class="head" x="0" y="%d">%s</text>`+"\n", y+rowHead-8, html.EscapeString(head))
	y += rowHead
	from := y
	for _, side := range r.load.sides {
		class := "bar"
		if side.label == r.whose(w) {
			class = "bar first"
		}
		text := "failed"
		m, ok := r.median(w, side.label)
		if ok {
			text = cell(m)
		}
		if r.faulty(side.label) {
			text += " *"
		}
		fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLabels-8, y+barHeight-3, html.EscapeString(side.label))
		fmt.Fprintf(s, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, plotLabels, y, length(m), barHeight)
		fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotWidth-10, y+barHeight-3, text)
		y += barStep
	}
	if limit > 0 {
		x := plotLabels + length(limit)
		fmt.Fprintf(s, `<line class="goal" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", x, x, from-2, y-2)
	}
	return y + rowGap
}
