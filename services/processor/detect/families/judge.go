package families

import (
	"slices"
	"time"

	"headwater/services/processor/codec"
	"headwater/services/processor/detect"
)

// Result is how a detector does on series of several families.
type Result struct {
	// FalseAlarms counts alarms in series without a fault, a series and week: over
	// all and by family, in the order of the families.
	FalseAlarms float64
	ByFamily    []float64
	// Kinds are the results for each kind of fault, in the order of Kinds.
	Kinds []Found
}

// Found counts the faults of a kind that were found: by an alarm that begins
// while the fault lasts, or within a day after a drift, because some detectors
// judge a day at its end.
type Found struct {
	Faults, Found int
	// Delay is the median time from the start of a fault to its alarm.
	Delay time.Duration
}

// Judge runs the detector on a series of each family and seed without a fault,
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
		r.Kinds[k].Found = len(all)
		if len(all) > 0 {
			slices.Sort(all)
			r.Kinds[k].Delay = all[len(all)/2]
		}
	}
	return r
}

// judge returns the false alarms of one series and counts its faults.
func judge(d detect.Detector, s *Series, r *Result, delays [][]time.Duration) (alarms int) {
	state := d.Start()
	emitted := observe(state, s.Samples[:s.Begin], nil)
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
	for _, v := range observe(state, s.Samples[s.Begin:], emitted) {
		if v.Phase == detect.Open {
			alarms++
		}
	}
	return alarms
}

func observe(s detect.State, samples []detect.Sample, emitted []detect.Verdict) []detect.Verdict {
	for _, r := range samples {
		emitted = s.Observe(r, "", emitted)
	}
	return emitted
}
