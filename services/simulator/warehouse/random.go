package warehouse

import (
	"math"
	"time"
)

// Streams separate the random numbers of different purposes.
const (
	streamLeftOpen uint64 = iota + 1
	streamSensor
	streamWeather
	streamSlow
	streamQuick
	streamJitter
	streamOpenings
)

// mix hashes its arguments into one well distributed number, with the finaliser of
// splitmix64 after each. Because it is a hash and not a generator, any moment can be
// computed without the moments before it.
func mix(parts ...uint64) uint64 {
	var h uint64
	for _, p := range parts {
		h += p + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// dice is a sequence of random numbers that depends only on its key.
type dice struct {
	key, n uint64
}

func (d *dice) next() uint64 {
	d.n++
	return mix(d.key, d.n)
}

// between is uniform in [low, high).
func (d *dice) between(low, high float64) float64 {
	return low + (high-low)*float64(d.next()>>11)/(1<<53)
}

// gauss turns a hash into a number of mean 0 and deviation 1, nearly normal and never
// beyond 3.5. It is the sum of the hash's four quarters.
func gauss(h uint64) float64 {
	const quarter = 1 << 16
	sum := float64(h%quarter) + float64(h>>16%quarter) + float64(h>>32%quarter) + float64(h>>48)
	return (sum/quarter - 2) * math.Sqrt(3)
}

// smooth is autocorrelated noise: a normal number at every multiple of the period, and
// a smooth curve between them.
func smooth(key uint64, t int64, period time.Duration) float64 {
	knot := floorDiv(t, int64(period))
	x := float64(t-knot*int64(period)) / float64(period)
	x = x * x * (3 - 2*x)
	return (1-x)*gauss(mix(key, uint64(knot))) + x*gauss(mix(key, uint64(knot+1)))
}

// floorDiv rounds towards minus infinity, so times before the epoch fall into the right
// span too.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
