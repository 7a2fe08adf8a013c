package families

import (
	"slices"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

// Result is how a detector does on series of several families.
type Result struct {
	// FalseAlarms are those in series without a fault, a series and week: over all
	// and by family, in the order of the families.
	FalseAlarms float64
	ByFamily    []float64
	// Kinds are the faults, in the order of Kinds.
	Kinds []Found
}

// Found says how many faults of a kind are found: by an alarm that begins while
// the fault lasts, or, as some detectors judge a day when it is over, within a
// day after a drift.
type Found struct {
	Faults, Found int
	// Delay is the median time from the begin of a fault to its alarm.
	Delay time.Duration
}

// Judge lets the detector watch a series of each family and seed without a fault,
// and again with a fault of each kind.
func Judge(d detect.Detector, families []Family, seeds []uint64) Result {
	r := Result{ByFamily: make([]float64, len(families)), Kinds: make([]Found, kinds)}
	delays := make([][]time.Duration, kinds)
	for i := range families {
		for _, seed := range seeds {
			alarms := judge(d, families[i].Make(seed), &r, delays)
			r.ByFamily[i] += float64(alarms) / Weeks / float64(len(seeds))
		}
		r.FalseAlarms += r.ByFamily[i] / float64(len(families))
	}
	for k, all := range delays {
		if r.Kinds[k].Found = len(all); len(all) > 0 {
			slices.Sort(all)
			r.Kinds[k].Delay = all[len(all)/2]
		}
	}
	return r
}

// judge returns the false alarms of one series, and counts its faults.
func judge(d detect.Detector, s *Series, r *Result, delays [][]time.Duration) (alarms int) {
	state := d.Start()
	told := observe(state, s.Samples[:s.Begin], nil)
	before := state.Append(nil)
	for _, k := range Kinds() {
		samples, end := s.With(k)
		if len(samples) == 0 {
			continue
		}
		if k == Drift {
			end += int64(day)
		}
		r.Kinds[k].Faults++
		for _, v := range observe(d.Read(codec.NewReader(before)), samples, nil) {
			if v.Phase == detect.Open && v.Time < end {
				delays[k] = append(delays[k], time.Duration(v.Time-samples[0].Time))
				break
			}
		}
	}
	for _, v := range observe(state, s.Samples[s.Begin:], told) {
		if v.Phase == detect.Open {
			alarms++
		}
	}
	return alarms
}

func observe(s detect.State, samples []detect.Sample, told []detect.Verdict) []detect.Verdict {
	for _, r := range samples {
		told = s.Observe(r, "", told)
	}
	return told
}
