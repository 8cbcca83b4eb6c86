package bench

import "math/bits"

const (
	histSubBits = 7 // 128 linear steps per power of two: under 1% error
	histSub     = 1 << histSubBits
	histMaxExp  = 64 - histSubBits
)

// histogram counts non-negative values with a bounded relative error, in the
// manner of HDR histograms: linear steps inside each power of two.
type histogram struct {
	counts [histMaxExp * histSub]uint64
	n      uint64
	sum    float64
	max    int64
}

// histIndex returns the bucket of v.
func histIndex(v int64) int {
	if v < histSub {
		return int(v)
	}
	exp := bits.Len64(uint64(v)) - histSubBits - 1
	return exp*histSub + int(v>>exp)
}

// histValue returns the highest value that falls into bucket i.
func histValue(i int) int64 {
	if i < 2*histSub {
		return int64(i)
	}
	exp := i/histSub - 1
	sub := int64(i - exp*histSub)
	return (sub+1)<<exp - 1
}

// add counts v; negative values count as 0.
func (h *histogram) add(v int64) {
	if v < 0 {
		v = 0
	}
	h.counts[histIndex(v)]++
	h.n++
	h.sum += float64(v)
	if v > h.max {
		h.max = v
	}
}

// merge adds the counts of o to h.
func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	if o.max > h.max {
		h.max = o.max
	}
}

// quantile returns the value below which the share q of all values lies.
func (h *histogram) quantile(q float64) int64 {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q*float64(h.n) + 0.5)
	if rank < 1 {
		rank = 1
	}
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if seen >= rank {
			return min(histValue(i), h.max)
		}
	}
	return h.max
}

// mean returns the average of all values.
func (h *histogram) mean() float64 {
	if h.n == 0 {
		return 0
	}
	return h.sum / float64(h.n)
}
