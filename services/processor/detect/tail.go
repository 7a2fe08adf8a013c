package detect

import (
	"math"

	"headwater/services/processor/codec"
)

const (
	// tailBuckets is the number of buckets for deviations from 2^tailFrom on, with
	// tailParts of them an octave.
	tailBuckets = 160
	tailFrom    = -12
	tailParts   = 4
	// tailLeast is the number of deviations from which probabilities are known.
	tailLeast = 60
	// tailHalf is the number of deviations after which an old one weighs half.
	tailHalf = 5000
	// tailRescale bounds the weights, which grow instead of the old ones
	// shrinking. It is a power of two, so that rescaling rounds nothing.
	tailRescale = 1 << 12
	// tailPart of the deviations, but at least tailCount of them, form the tail
	// that follows a Pareto law.
	tailPart  = 0.03
	tailCount = 8
	// tailOctaves is the farthest that a deviation counts for the slope of the
	// law: one that is a million times the usual teaches no more.
	tailOctaves = 2
	// The slope of the law begins as if slopePrior deviations had shown the slope
	// slopePrior, and stays between the other two.
	slopePrior, slopeLeast, slopeMost = 3, 1, 12
	// maxSurprise bounds -log10 p.
	maxSurprise = 10
	// maxDeviation bounds deviations, so that they stay finite.
	maxDeviation = 1e9
)

// tailGrowth is the factor by which a deviation outweighs its predecessor.
var tailGrowth = math.Exp2(1.0 / tailHalf)

// octaves holds the middle of each bucket as a power of two.
var octaves = func() (o [tailBuckets]float64) {
	for i := range o {
		o[i] = math.Log2(bucketFrom(i) * (1 + 0.5/float64(tailParts+i%tailParts)))
	}
	return o
}()

// tail learns how often a series deviates by how much, and so turns deviations
// into probabilities: what is rare for one series may be common for another.
// The deviations are kept in a histogram on a logarithmic axis. Beyond its
// upper end a Pareto law, fitted to the largest deviations, takes its place.
type tail struct {
	weights [tailBuckets]float32
	// total is the sum of the weights, point the weight of the next deviation.
	total, point float64
	// top is the highest bucket that is not empty.
	top int32
	// seen counts deviations, up to tailLeast.
	seen int32
}

// bucketFrom is the lower end of the bucket.
func bucketFrom(i int) float64 {
	return math.Ldexp(1+float64(i%tailParts)/tailParts, tailFrom+i/tailParts)
}

// bucket returns the bucket of a deviation from 0 to maxDeviation.
func bucket(deviation float64) int {
	bits := math.Float64bits(deviation)
	octave := int(bits>>52) - 1023 - tailFrom
	if octave < 0 {
		return 0
	}
	return min(octave*tailParts+int(bits>>50&(tailParts-1)), tailBuckets-1)
}

// surprise returns -log10 of the share of deviations that are as large, or 0
// while too few are known.
//
// Common is the share of readings that may all be faults: deviations that occur
// more often are usual, whatever law the largest ones seem to follow.
func (t *tail) surprise(deviation, common float64) float64 {
	if t.seen < tailLeast {
		return 0
	}
	b := bucket(deviation)
	above := 0.0
	for i := b + 1; i <= int(t.top); i++ {
		above += float64(t.weights[i])
	}
	from := bucketFrom(b)
	upper := bucketFrom(b + 1)
	own := min(max((upper-deviation)/(upper-from), 0), 1)
	p := (above + own*float64(t.weights[b]) + t.point/2) / (t.total + t.point)
	if p < tailPart {
		if q, ok := t.pareto(deviation); ok {
			for i := max(b-2, 0); i <= b; i++ {
				above += float64(t.weights[i])
			}
			p = max(q, above/t.total-common)
		}
	}
	return min(max(-math.Log10(p), 0), maxSurprise)
}

// pareto returns the share of deviations beyond one in the tail. It returns
// false if the deviation is not in the tail.
func (t *tail) pareto(deviation float64) (float64, bool) {
	enough := max(tailPart*t.total, tailCount*t.point)
	weight, begin := 0.0, int(t.top)
	for ; begin > 0; begin-- {
		weight += float64(t.weights[begin])
		if weight >= enough {
			break
		}
	}
	from := bucketFrom(begin)
	if deviation <= from {
		return 0, false
	}
	start := math.Log2(from)
	sum := 0.0
	for i := begin; i <= int(t.top); i++ {
		sum += float64(t.weights[i]) * min(octaves[i]-start, tailOctaves)
	}
	points := weight / t.point
	slope := (points + slopePrior) / (sum/t.point*math.Ln2 + slopePrior/float64(slopePrior))
	slope = min(max(slope, slopeLeast), slopeMost)
	return (weight + t.point/2) / (t.total + t.point) * math.Pow(deviation/from, -slope), true
}

// beyond returns the smallest deviation of that surprise or more.
func (t *tail) beyond(surprise, common float64) float64 {
	low, high := 0.0, maxDeviation
	for range 60 {
		middle := math.Sqrt(max(low, 1e-6) * high)
		if t.surprise(middle, common) >= surprise {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// learn adds a deviation.
func (t *tail) learn(deviation float64) {
	if t.point == 0 {
		t.point = 1
	}
	b := bucket(deviation)
	t.weights[b] += float32(t.point)
	t.total += t.point
	t.top = max(t.top, int32(b))
	t.seen = min(t.seen+1, tailLeast)
	t.point *= tailGrowth
	if t.point < tailRescale {
		return
	}
	t.top = 0
	for i := range t.weights {
		t.weights[i] /= tailRescale
		if t.weights[i] > 0 {
			t.top = int32(i)
		}
	}
	t.total /= tailRescale
	t.point /= tailRescale
}

func (t *tail) learning() bool { return t.seen < tailLeast }

func (t *tail) append(b []byte) []byte {
	b = appendSmall(b, t.weights[:t.top+1])
	return codec.Uint(codec.Float(codec.Float(b, t.total), t.point), uint64(t.seen))
}

func (t *tail) read(r *codec.Reader) {
	t.top = int32(readSmall(r, t.weights[:])) - 1
	t.total, t.point, t.seen = r.Float(), r.Float(), int32(min(r.Uint(), tailLeast))
	if t.top < 0 {
		t.top = 0
		r.Fail()
	}
}

// appendSmall appends values of half precision, many of which may be 0.
func appendSmall(b []byte, values []float32) []byte {
	b = codec.Uint(b, uint64(len(values)))
	for _, v := range values {
		b = codec.Uint(b, uint64(math.Float32bits(v)))
	}
	return b
}

// readSmall reads what appendSmall wrote and returns the number of values.
func readSmall(r *codec.Reader, into []float32) int {
	n := r.Count()
	if n > len(into) {
		r.Fail()
		return 0
	}
	for i := range n {
		into[i] = math.Float32frombits(uint32(r.Uint()))
	}
	return n
}
