package machine

import (
	"math"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

const (
	// meanWidth is the length of the windows of which detectors get the mean. A series
	// whose readings are closer together is fast.
	meanWidth = int64(10 * time.Second)
	// fastAfter is how many short intervals in a row make a series fast, and how many
	// long ones make it slow again.
	fastAfter = 8
)

// downsampler computes means of ten seconds of a fast series. The detectors that learn get
// each mean once, when a reading after the window closes it, and no single readings. The
// reason: their thresholds depend on how rarely something happened in the time that they
// remember, and with a reading a second that time is too short. The means depend on
// nothing but the readings in their order, so they are the same however late the readings
// arrive.
type downsampler struct {
	// n is how many readings the open window has, mean is their mean, and first is the
	// event time of the first one if n is above 0. The last one is the last of the
	// series.
	first int64
	mean  float64
	n     uint32
	// run counts the intervals in a row that contradict fast.
	run  uint8
	fast bool
}

// add takes a reading; before is the event time of the previous one. If the reading closes
// a window, due is set and mean is the mean of that window. Whole reports whether the
// detectors get the reading itself.
func (t *downsampler) add(r detect.Sample, before int64) (mean detect.Sample, due, whole bool) {
	if t.n > 0 && meanWindow(t.first) != meanWindow(r.Time) {
		mean, due = t.take(before), true
	}
	short := before > past && r.Time-before < meanWidth
	if short == t.fast {
		t.run = 0
	} else {
		t.run++
	}
	if t.run >= fastAfter {
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

// take closes the window, whose last reading was at the time, and returns its mean.
func (t *downsampler) take(last int64) detect.Sample {
	t.n = 0
	return detect.Sample{Time: last, Value: t.mean}
}

// meanWindow returns the number of the window that contains the time.
func meanWindow(t int64) int64 {
	n := t / meanWidth
	if t%meanWidth < 0 {
		n--
	}
	return n
}

// settle passes the mean of an open window to the detectors if the series has been silent
// since a time so long ago that one of them may have to close an episode.
func (m *Machine) settle(s *series, now, since int64) {
	if s.downsampler.n == 0 {
		return
	}
	silence := int64(math.MaxInt64)
	for i := range s.slots {
		if r := s.slots[i].rule; r.downsampled {
			silence = min(silence, int64(r.rule.Silence))
		}
	}
	if now-since < silence {
		return
	}
	mean := s.downsampler.take(s.last)
	for i := range s.slots {
		if s.slots[i].rule.downsampled {
			m.observe(s, i, mean)
		}
	}
}

// silentUntil returns up to when the detector of a rule may assume that there are no
// further readings. That is not later than readings that it has yet to judge.
func (s *series) silentUntil(r *activeRule, now int64) int64 {
	if s.downsampler.n > 0 && r.downsampled {
		return min(now, s.downsampler.first)
	}
	return now
}

func (t *downsampler) append(b []byte) []byte {
	b = codec.Uint(codec.Bool(b, t.fast), uint64(t.run))
	b = codec.Uint(b, uint64(t.n))
	if t.n > 0 {
		b = codec.Float(codec.Int(b, t.first), t.mean)
	}
	return b
}

func readDownsampler(r *codec.Reader) downsampler {
	t := downsampler{fast: r.Bool(), run: uint8(min(r.Uint(), fastAfter)), n: uint32(min(r.Uint(), math.MaxUint32))}
	if t.n > 0 {
		t.first, t.mean = r.Int(), r.Float()
	}
	return t
}
