package bench

import (
	"math"
	"math/rand"
	"sort"
	"testing"
)

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 127, 128, 255, 256, 257, 258, 511, 512, 1e6, 1e9, 1e12, math.MaxInt64} {
		i := histIndex(v)
		if i < last {
			t.Errorf("bucket of %d is below that of a lower value", v)
		}
		last = i
		top := histValue(i)
		if top < v || float64(top-v) > float64(v)/histSub {
			t.Errorf("%d is counted as %d", v, top)
		}
		if histIndex(top) != i {
			t.Errorf("highest value %d of bucket %d is in bucket %d", top, i, histIndex(top))
		}
	}
}

func TestHistogramQuantiles(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	var a, b histogram
	values := make([]int64, 100000)
	for i := range values {
		values[i] = int64(math.Exp(rnd.Float64() * 20))
		if i%2 == 0 {
			a.add(values[i])
		} else {
			b.add(values[i])
		}
	}
	a.merge(&b)
	sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := float64(values[int(q*float64(len(values)-1))])
		if got := float64(a.quantile(q)); math.Abs(got-want) > want*0.02+1 {
			t.Errorf("quantile %v is %v, not %v", q, got, want)
		}
	}
	if a.n != uint64(len(values)) || a.max != values[len(values)-1] {
		t.Errorf("count %d, maximum %d", a.n, a.max)
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("median of nothing is %d", got)
	}
}
