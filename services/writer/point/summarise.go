package point

import (
	"math"
	"slices"
	"time"
)

// Reading is one number at an event time in nanoseconds since the Unix epoch.
type Reading struct {
	Time  int64
	Value float64
}

// Summarise returns the statistics of at least one reading, in the order of their
// times, as the processor defines them.
func Summarise(in []Reading) Summary {
	n := len(in)
	first, last := in[0], in[n-1]
	values := make([]float64, n)
	mean := 0.0
	for i, r := range in {
		values[i] = r.Value
		mean += (r.Value - mean) / float64(i+1)
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	s := Summary{
		Count: uint64(n), First: first.Value, Last: last.Value, Mean: mean,
		Deviation: bounded(math.Sqrt(squares / float64(n))), TimeMean: first.Value,
	}
	if span := float64(last.Time - first.Time); span > 0 {
		s.TimeMean = 0
		for i := 1; i < n; i++ {
			s.TimeMean += (in[i-1].Value/2 + in[i].Value/2) * (float64(in[i].Time-in[i-1].Time) / span)
		}
		s.Rate = bounded((last.Value - first.Value) / (span / float64(time.Second)))
	}
	slices.Sort(values)
	s.Min, s.Max = values[0], values[n-1]
	s.Mean, s.TimeMean = min(max(bounded(s.Mean), s.Min), s.Max), min(max(bounded(s.TimeMean), s.Min), s.Max)
	s.P50 = values[n/2]
	if n%2 == 0 {
		s.P50 = values[n/2-1]/2 + values[n/2]/2
	}
	rank := func(p int) float64 { return values[(2*n*p+100)/200-1] }
	s.P90, s.P95, s.P99 = rank(90), rank(95), rank(99)
	return s
}

// bounded returns the nearest number that InfluxDB can store; 0 for NaN.
func bounded(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}
