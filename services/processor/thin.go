package processor

import (
	"math"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

const (
	// thinWidth is the window whose mean stands for the readings in it, and the
	// interval from which on a series is not fast.
	thinWidth = int64(10 * time.Second)
	// thinAfter is how many intervals in a row make a series fast, or slow again.
	thinAfter = 8
)

// thin gathers the readings of a series that come more often than every ten
// seconds. The detectors that learn get the mean of each window of ten seconds
// instead, once, when a reading behind it closes the window: their thresholds
// rest on how seldom something was seen in the past that they remember, which is
// too short when each second counts. It depends on nothing but the readings in
// their order, so that it is the same however late they come.
type thin struct {
	// first is the event time of the first reading of the open window; it counts
	// while n is above 0. The last is that of the series.
	first int64
	mean  float64
	n     uint32
	// run counts intervals in a row that speak against fast.
	run  uint8
	fast bool
}

// add takes a reading whose predecessor was at the time before. It returns the
// mean of the window that the reading closes, if it closes one, and whether the
// reading itself is one that counts as a whole.
func (t *thin) add(r detect.Sample, before int64) (mean detect.Sample, due, whole bool) {
	if t.n > 0 && thinWindow(t.first) != thinWindow(r.Time) {
		mean, due = t.take(before), true
	}
	if short := before > past && r.Time-before < thinWidth; short == t.fast {
		t.run = 0
	} else if t.run++; t.run >= thinAfter {
		t.fast, t.run = short, 0
	}
	if !t.fast {
		return mean, due, true
	}
	if t.n == 0 {
		t.first, t.mean = r.Time, 0
	}
	t.n++
	t.mean += r.Value/float64(t.n) - t.mean/float64(t.n)
	return mean, due, false
}

// take ends the window, whose last reading was at the time.
func (t *thin) take(last int64) detect.Sample {
	t.n = 0
	return detect.Sample{Time: last, Value: t.mean}
}

// thinWindow is the number of the window that a time lies in.
func thinWindow(t int64) int64 {
	n := t / thinWidth
	if t%thinWidth < 0 {
		n--
	}
	return n
}

// settle has the detectors judge what was gathered when the series has been
// silent for so long, since a time from which on that counts, that an episode may
// have to be closed.
func (m *Machine) settle(s *series, now, since int64) {
	if s.thin.n == 0 {
		return
	}
	silence := int64(math.MaxInt64)
	for i := range s.slots {
		if r := s.slots[i].rule; r.thinned {
			silence = min(silence, int64(r.rule.Silence))
		}
	}
	if now-since < silence {
		return
	}
	mean := s.thin.take(s.last)
	for i := range s.slots {
		if s.slots[i].rule.thinned {
			m.observe(s, i, mean)
		}
	}
}

// heard is up to when the detector of a rule may be told that nothing more has
// come: not beyond readings that it is still to judge.
func (s *series) heard(r *activeRule, now int64) int64 {
	if s.thin.n > 0 && r.thinned {
		return min(now, s.thin.first)
	}
	return now
}

func (t *thin) append(b []byte) []byte {
	b = codec.Uint(codec.Bool(b, t.fast), uint64(t.run))
	if b = codec.Uint(b, uint64(t.n)); t.n > 0 {
		b = codec.Float(codec.Int(b, t.first), t.mean)
	}
	return b
}

func readThin(r *codec.Reader) thin {
	t := thin{fast: r.Bool(), run: uint8(min(r.Uint(), thinAfter)), n: uint32(min(r.Uint(), math.MaxUint32))}
	if t.n > 0 {
		t.first, t.mean = r.Int(), r.Float()
	}
	return t
}
