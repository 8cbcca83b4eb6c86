package main

import (
	"fmt"
	"math"
	"strings"
)

// Sizes of the plot, in its own units: a panel for each depth, side by side.
const (
	panelWidth  = 170
	panelHeight = 200
	panelGap    = 20
	leftLabels  = 60
	headHeight  = 50
	footHeight  = 40
	margin      = 16 // inside a panel, left and right
)

// style has colours for light and dark.
const style = `
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 } .grid { stroke: #d0d7de } polyline { fill: none; stroke-width: 2 }
.i0 { stroke: #0b6bcb; fill: #0b6bcb } .i1 { stroke: #b35900; fill: #b35900 } .i2 { stroke: #57606a; fill: #57606a }
polyline.i0, polyline.i1, polyline.i2 { fill: none } text.i0, text.i1, text.i2 { stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .grid { stroke: #3d444d }
.i0 { stroke: #58a6ff; fill: #58a6ff } .i1 { stroke: #ffa657; fill: #ffa657 } .i2 { stroke: #9198a1; fill: #9198a1 }
}
`

// plot is the figures as SVG, both axes logarithmic: a line that is level does not grow
// with the number of filters.
func plot(figures []figure) string {
	var s strings.Builder
	bottom, top := 2.0, math.Ceil(math.Log10(float64(dearest(figures).Nanoseconds()))) // powers of ten, in ns
	y := func(ns float64) float64 {
		return headHeight + panelHeight*(1-(max(math.Log10(ns), bottom)-bottom)/(top-bottom))
	}
	x := func(depth, n int) float64 { // by places in depths and filters
		step := float64(panelWidth-2*margin) / float64(len(filters)-1)
		return float64(leftLabels+depth*(panelWidth+panelGap)+margin) + step*float64(n)
	}
	fmt.Fprintf(&s, `<text class="head" x="4" y="14">ns per match, by the number of filters</text>`+"\n")
	for i, index := range indexes {
		fmt.Fprintf(&s, `<text class="i%d" x="%d" y="14">%s</text>`+"\n", i, 320+100*i, index.name)
	}
	for p := bottom; p <= top; p++ {
		at := y(math.Pow(10, p))
		fmt.Fprintf(&s, `<text x="%d" y="%.1f" text-anchor="end">%.0f</text>`, leftLabels-8, at+4, math.Pow(10, p))
		fmt.Fprintf(&s, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%[3]f"/>`+"\n", leftLabels, leftLabels+len(depths)*(panelWidth+panelGap)-panelGap, at)
	}
	for d, depth := range depths {
		fmt.Fprintf(&s, `<text class="head" x="%.1f" y="%d">%d levels</text>`+"\n", x(d, 0), headHeight-10, depth)
		for f, n := range filters {
			fmt.Fprintf(&s, `<text x="%.1f" y="%d" text-anchor="middle">%dk</text>`+"\n", x(d, f), headHeight+panelHeight+20, n/1000)
		}
		for i := range indexes {
			var points []string
			for _, g := range figures {
				if g.index == i && g.depth == d {
					points = append(points, fmt.Sprintf("%.1f,%.1f", x(d, g.filters), y(float64(g.cost.Nanoseconds()))))
				}
			}
			fmt.Fprintf(&s, `<polyline class="i%d" points="%s"/>`+"\n", i, strings.Join(points, " "))
		}
	}
	width := leftLabels + len(depths)*(panelWidth+panelGap)
	height := headHeight + panelHeight + footHeight
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>What a match costs</title>
<style>%s</style>
%s</svg>
`, width, height, style, s.String())
}
