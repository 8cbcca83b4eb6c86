package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// All indexes find what they should, and the plot of it is well-formed.
func TestMatch(t *testing.T) {
	var figures []figure
	for x := range indexes {
		for d, depth := range depths {
			cost, err := measure(indexes[x], depth, 1_000, 2*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			for f := range filters {
				figures = append(figures, figure{x, d, f, cost})
			}
		}
	}
	in := xml.NewDecoder(strings.NewReader(plot(figures)))
	for {
		if _, err := in.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
